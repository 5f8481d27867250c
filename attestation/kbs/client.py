"""The guest's side of the key-broker exchange: message in, message out.

Source: confidential-containers/guest-components, attestation-agent/kbs_protocol.
"""

from __future__ import annotations

import msgspec

from attestation.errors import Denied, RefusalReason
from attestation.kbs import jwe, messages
from attestation.keys import Curve, SigningKey, derive_key


class Guest(msgspec.Struct):
    """A guest in one exchange; its P-256 key is derived from ``key_seed``, so that a snapshot holds no key object."""

    key_seed: bytes
    nonce: str = ""

    def key(self) -> SigningKey:
        """The key to which the broker encrypts."""
        return derive_key(self.key_seed, "kbs guest key", Curve.P256)

    def request(self) -> bytes:
        """The Request that opens an exchange."""
        return messages.request_body()

    def receive(self, challenge_body: bytes) -> bytes:
        """Take the broker's Challenge and return the 64 bytes for the token, like :meth:`challenge`."""
        return self.challenge(messages.read_challenge(challenge_body))

    def challenge(self, nonce: str) -> bytes:
        """The 64-byte challenge for RSI_ATTESTATION_TOKEN_INIT that binds the broker's nonce to the guest's key."""
        self.nonce = nonce
        return messages.bound_challenge(nonce, messages.tee_pubkey(self.key().public))

    def attestation(self, token: bytes) -> bytes:
        """The Attestation with the CCA token. Raises Denied (session) before a challenge was taken."""
        if not self.nonce:
            raise Denied("no challenge was received yet", reason=RefusalReason.SESSION)
        return messages.attestation_body(self.nonce, messages.tee_pubkey(self.key().public), token)

    def open(self, resource: bytes) -> bytes:
        """Decrypt a resource. Raises Refused when it was not sealed for this guest."""
        return jwe.unseal(resource, self.key())
