"""The CCA token: two signed claim sets in one collection.

:func:`decode` reads and validates, and judges nothing; the original bytes are kept, because the binding hash runs over
the RAK as received and the signatures over the payloads as received. Sources: draft-ffm-rats-cca-token (collection
forms 399 and 907), RFC 9052 (COSE_Sign1).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from attestation import cbor, claims, cose
from attestation.claim_records import BindingMode, PlatformClaims, RealmClaims, RealmProfile
from attestation.errors import Malformed, Refused
from attestation.hashes import HASH_NAMES
from attestation.keys import PublicKey, SigningKey

PLATFORM_LABEL = 44234
REALM_LABEL = 44241
EAT_CWT = 263
"""CoAP content format of application/eat+cwt, the type of both entries of a CMW collection."""
NONCE_SIZE = 64
_WORKLOAD_BINDING_PREFIX = "tag:arm.com,2026:"


class Wrapper(IntEnum):
    """Outer tag of the collection: bare byte strings under 399, [263, bytes] under 907."""

    EAT_399 = 399
    CMW_907 = 907


class PlatformToken(NamedTuple):
    """A decoded platform token and the bytes it came from."""

    token: bytes
    sign1: cose.Sign1
    claims: PlatformClaims
    ignored: tuple[str, ...]


class RealmToken(NamedTuple):
    """A decoded Realm token and the bytes it came from; ``sign1`` is None in direct mode, where it is unsigned."""

    token: bytes
    sign1: cose.Sign1 | None
    claims: RealmClaims
    ignored: tuple[str, ...]


class Evidence(NamedTuple):
    """A decoded CCA token; nothing in it is to be trusted before it is verified."""

    token: bytes
    wrapper: Wrapper
    platform: PlatformToken
    realm: RealmToken
    ignored: tuple[str, ...]


def encode_platform(platform_claims: PlatformClaims, key: SigningKey) -> bytes:
    """Sign a platform token with the CPAK. Raises BadClaims when the claims break their profile."""
    return cose.sign(claims.encode_platform_claims(platform_claims), key)


def encode_realm(realm_claims: RealmClaims, rak: SigningKey) -> bytes:
    """Sign a Realm token with the RAK. Raises BadClaims when the claims break their profile."""
    return cose.sign(claims.encode_realm_claims(realm_claims), rak)


def encode_realm_direct(realm_claims: RealmClaims) -> bytes:
    """Encode the unsigned Realm claim set of direct mode. Raises BadClaims when the claims break their profile."""
    return claims.encode_realm_claims(realm_claims, direct=True)


def encode_collection(platform_token: bytes, realm_token: bytes, wrapper: Wrapper = Wrapper.EAT_399) -> bytes:
    """Put both tokens into a collection, the platform token first."""
    entries: dict[int, Any] = {PLATFORM_LABEL: platform_token, REALM_LABEL: realm_token}
    if wrapper is Wrapper.CMW_907:
        entries = {label: [EAT_CWT, token] for label, token in entries.items()}
    return cbor.encode(cbor.tagged(wrapper, entries))


def bind(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, rak: PublicKey
) -> tuple[PlatformClaims, RealmClaims]:
    """Set the RAK into the Realm claims, in the form its profile wants, and its hash into the platform claims."""
    encoded = rak.raw() if realm_claims.profile == RealmProfile.LEGACY else rak.cose_key()
    realm_claims = msgspec.structs.replace(realm_claims, public_key=encoded)
    bound = HASH_NAMES[realm_claims.public_key_hash_algo_id].digest(encoded)
    field = "workload_binding" if platform_claims.profile.startswith(_WORKLOAD_BINDING_PREFIX) else "challenge"
    return msgspec.structs.replace(platform_claims, **{field: bound}), realm_claims


def create(
    platform_claims: PlatformClaims,
    realm_claims: RealmClaims,
    cpak: SigningKey,
    rak: SigningKey,
    wrapper: Wrapper = Wrapper.EAT_399,
) -> bytes:
    """Bind, sign and wrap a whole token. Raises BadClaims when the claims break their profiles."""
    platform_claims, realm_claims = bind(platform_claims, realm_claims, rak.public)
    platform_token, realm_token = encode_platform(platform_claims, cpak), encode_realm(realm_claims, rak)
    return encode_collection(platform_token, realm_token, wrapper)


def pad_nonce(nonce: bytes) -> bytes:
    """Pad a nonce with zero bytes on the right to the 64 bytes of a Realm challenge. Raises ValueError when longer."""
    if len(nonce) > NONCE_SIZE:
        raise ValueError(f"nonce is {len(nonce)} bytes, more than {NONCE_SIZE}")
    return nonce.ljust(NONCE_SIZE, b"\0")


def decode(token: bytes, known: Callable[[bytes], PlatformToken | None] | None = None) -> Evidence:
    """Decode a CCA token and validate both claim sets. Raises Malformed or BadClaims; judges nothing.

    ``known`` may answer with a platform token decoded before from the very same bytes.
    """
    wrapper, entries, ignored = _unwrap(token)
    for label, name in ((PLATFORM_LABEL, "platform"), (REALM_LABEL, "realm")):
        if label not in entries:
            raise Malformed(f"{name} token is missing", label=label)
    label = PLATFORM_LABEL
    try:
        platform = known(entries[label]) if known is not None else None
        if platform is None:
            platform = decode_platform_token(entries[label])
        label = REALM_LABEL
        realm = decode_realm_token(entries[label], direct=platform.claims.mode is BindingMode.DIRECT)
    except Refused as refusal:
        path = (label,) if wrapper is Wrapper.EAT_399 else (label, 1)
        raise refusal.located(base=cbor.locate(token, path, content=True)) from None
    return Evidence(token, wrapper, platform, realm, ignored)


def _unwrap(token: bytes) -> tuple[Wrapper, dict[Any, bytes], tuple[str, ...]]:
    collection = cbor.decode(token)
    if not isinstance(collection, cbor.Tag) or collection.number not in (399, 907):
        got = f"tag {collection.number}" if isinstance(collection, cbor.Tag) else "no tag"
        raise Malformed(f"not a CCA token: expected tag 399 or 907, got {got}", offset=0)
    entries = collection.value
    if not isinstance(entries, dict):
        raise Malformed("collection is not a map", offset=3)
    wrapper = Wrapper(collection.number)
    tokens: dict[Any, bytes] = {}
    ignored = []
    for label, entry in entries.items():
        if label not in (PLATFORM_LABEL, REALM_LABEL):
            if wrapper is Wrapper.EAT_399:
                raise Malformed("unknown entry in a collection with tag 399", label=_shown(label), offset=3)
            ignored.append(f"collection entry {_shown(label)}")
            continue
        tokens[label] = _entry(wrapper, label, entry, token)
    return wrapper, tokens, tuple(ignored)


def _shown(label: object) -> str | int:
    return label if isinstance(label, int | str) else repr(label)


def _entry(wrapper: Wrapper, label: int, entry: Any, token: bytes) -> bytes:
    if wrapper is Wrapper.EAT_399:
        if isinstance(entry, bytes):
            return entry
        raise Malformed("entry is not a byte string", label=label, offset=cbor.locate(token, (label,)))
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], bytes):
        raise Malformed("entry is not [content format, bytes]", label=label, offset=cbor.locate(token, (label,)))
    if type(entry[0]) is not int or entry[0] != EAT_CWT:
        raise Malformed(
            f"content format is not {EAT_CWT} (application/eat+cwt)",
            label=label,
            offset=cbor.locate(token, (label, 0)),
        )
    return entry[1]


def decode_platform_token(token: bytes) -> PlatformToken:
    """Decode and validate a standalone platform token (a bare COSE_Sign1). Raises Malformed or BadClaims."""
    try:
        sign1 = cose.parse(token)
        try:
            platform_claims, ignored = claims.decode_platform(sign1.payload)
        except Refused as refusal:
            raise refusal.located(base=cbor.locate(token, (2,), content=True)) from None
    except Refused as refusal:
        raise refusal.located(part="platform token") from None
    return PlatformToken(token, sign1, platform_claims, ignored)


def decode_realm_token(token: bytes, *, direct: bool = False) -> RealmToken:
    """Decode and validate a Realm token; in direct mode an unsigned claim set. Raises Malformed or BadClaims."""
    try:
        if direct:
            realm_claims, ignored = claims.decode_realm(token, direct=True)
            return RealmToken(token, None, realm_claims, ignored)
        sign1 = cose.parse(token)
        try:
            realm_claims, ignored = claims.decode_realm(sign1.payload)
        except Refused as refusal:
            raise refusal.located(base=cbor.locate(token, (2,), content=True)) from None
    except Refused as refusal:
        raise refusal.located(part="realm token") from None
    return RealmToken(token, sign1, realm_claims, ignored)
