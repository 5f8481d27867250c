"""Key agreement between the two RMMs of a session (modelled): ephemeral P-384 shares, each signed by its RAK.

Each side checks the other's signature against the RAK that the control plane verified at the peer's boot, so that only
the attested firmware of just that machine can read what is sealed. The key is HKDF-SHA-384 over the ECDH secret, salted
with the hash of both messages.
"""

from __future__ import annotations

import hashlib

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from attestation.errors import Refused
from attestation.keys import PublicKey, SigningKey, derive_key

LABEL = b"realmfleet migration v1"
KEY_BYTES = 32


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """One side's key share: an uncompressed P-384 point, and the RAK's signature over everything before it."""

    session: str
    role: str
    realm: str
    incarnation: int
    share: bytes
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return LABEL + msgspec.msgpack.encode(msgspec.structs.replace(self, signature=b""))


class HelloRefused(Exception):
    """A key share that is not the peer's for this session."""


def fresh_share(seed: bytes, boot: int, session: str, role: str) -> SigningKey:
    """The ephemeral key of one side of one session, from the machine's seed: no session or boot shares another's."""
    return derive_key(seed, f"migration/{boot}/{session}/{role}")


def make_hello(session: str, role: str, realm: str, incarnation: int, share: SigningKey, rak: SigningKey) -> bytes:
    """The message that carries a key share."""
    hello = Hello(session, role, realm, incarnation, share.public.raw())
    return msgspec.msgpack.encode(msgspec.structs.replace(hello, signature=rak.sign(hello.signed_bytes())))


def check_hello(message: bytes, session: str, role: str, realm: str, incarnation: int, rak: bytes) -> PublicKey:
    """The peer's share. Raises HelloRefused: malformed, of another session, or not signed by `rak` (COSE_Key)."""
    try:
        hello = msgspec.msgpack.decode(message, type=Hello)
    except msgspec.MsgspecError as error:
        raise HelloRefused(f"malformed key share: {error}") from None
    if (hello.session, hello.role, hello.realm, hello.incarnation) != (session, role, realm, incarnation):
        raise HelloRefused("the key share belongs to another session, side or Realm")
    try:
        PublicKey.from_cose_key(rak).verify(hello.signed_bytes(), hello.signature)
        return PublicKey.from_raw(hello.share)
    except Refused as refusal:
        raise HelloRefused(f"the key share is not signed by the peer's RAK: {refusal}") from None


def session_keys(
    own: SigningKey, peer: PublicKey, source_hello: bytes, destination_hello: bytes
) -> tuple[bytes, bytes]:
    """The session keys, forward (the source seals) and backward. Raises Refused (attestation): curves differ."""
    salt = hashlib.sha384(LABEL + hashlib.sha384(source_hello).digest() + hashlib.sha384(destination_hello).digest())
    both = HKDF(hashes.SHA384(), 2 * KEY_BYTES, salt.digest(), LABEL).derive(own.agree(peer))
    return both[:KEY_BYTES], both[KEY_BYTES:]
