"""The normal-world hypervisor of a machine: lends memory, builds, runs and takes apart Realms, renews firmware."""
