"""Key broker: the exchange by which a Realm proves itself and gets a secret, without sockets.

Request, Challenge, Attestation, Response, then resources (confidential-containers/trustee, kbs/docs, protocol 0.4.0).
"""
