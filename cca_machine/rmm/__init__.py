"""The Realm Management Monitor: granules, Realms, RECs, RTTs, measurement, and the services for Host and Realm."""
