"""Verify a CCA token: keys, signatures, binding, freshness.

A check that matters raises; what returns has passed every one of them. Order and failure classes follow the order of
draft-ffm-rats-cca-token and of the Veraison libraries: decode, claims, anchor, platform signature, RAK and Realm
signature, binding, freshness. Every result says how many signature verifications were really done.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from attestation.claim_records import BindingMode, PlatformClaims, RealmClaims, RealmProfile
from attestation.errors import Malformed, RefusalReason, Refused, Stale, Untrusted
from attestation.hashes import HASH_NAMES
from attestation.keys import PublicKey
from attestation.stores import TrustAnchor, TrustAnchors
from attestation.token import NONCE_SIZE, Evidence, PlatformToken, RealmToken, decode, decode_platform_token, pad_nonce


class VerifiedPlatform(NamedTuple):
    """A platform token whose signature holds under the anchor of its instance."""

    token: bytes
    claims: PlatformClaims
    anchor: TrustAnchor
    operations: int
    ignored: tuple[str, ...] = ()


class Verified(NamedTuple):
    """A CCA token that passed every check; ``operations`` counts the signature verifications really done.

    ``fresh`` is False only when the caller passed no nonce.
    """

    evidence: Evidence
    platform: PlatformClaims
    realm: RealmClaims
    anchor: TrustAnchor
    fresh: bool
    operations: int

    @property
    def ignored(self) -> tuple[str, ...]:
        """Unknown claims and entries, which were ignored."""
        return self.evidence.ignored + self.evidence.platform.ignored + self.evidence.realm.ignored


class PlatformCache:
    """Platform tokens already verified, byte for byte, so that each is verified once per boot or activation.

    A hit counts only while the anchor of the instance still is the one it was verified under. Bounded: the oldest entry
    leaves first.
    """

    def __init__(self, capacity: int = 16384) -> None:
        self.capacity = capacity
        self._platforms: dict[bytes, tuple[PlatformToken, TrustAnchor]] = {}
        self._raks: dict[bytes, PublicKey] = {}

    def platform(self, token: bytes) -> PlatformToken | None:
        """A platform token decoded and verified before."""
        entry = self._platforms.get(token)
        return None if entry is None else entry[0]

    def vouches(self, platform: PlatformToken, anchor: TrustAnchor) -> bool:
        """Whether these bytes were verified under just this anchor."""
        entry = self._platforms.get(platform.token)
        return entry is not None and entry[1] == anchor

    def add(self, platform: PlatformToken, anchor: TrustAnchor) -> None:
        """Remember a verified platform token."""
        _make_room(self._platforms, self.capacity)
        self._platforms[platform.token] = (platform, anchor)

    def rak(self, encoded: bytes) -> PublicKey | None:
        """A RAK parsed before."""
        return self._raks.get(encoded)

    def add_rak(self, encoded: bytes, key: PublicKey) -> None:
        """Remember a parsed RAK."""
        _make_room(self._raks, self.capacity)
        self._raks[encoded] = key

    def __len__(self) -> int:
        return len(self._platforms)


def _make_room(entries: dict[bytes, PublicKey] | dict[bytes, tuple[PlatformToken, TrustAnchor]], capacity: int) -> None:
    while len(entries) >= capacity:
        del entries[next(iter(entries))]


def verify_platform(
    platform_token: bytes, anchors: TrustAnchors, *, trusted_platforms: PlatformCache | None = None
) -> VerifiedPlatform:
    """Verify a standalone platform token (a bare COSE_Sign1). Raises Refused."""
    platform, anchor, operations = _platform(decode_platform_token(platform_token), anchors, trusted_platforms)
    return VerifiedPlatform(platform.token, platform.claims, anchor, operations, platform.ignored)


def verify(
    token: bytes,
    anchors: TrustAnchors,
    nonce: bytes | None,
    *,
    trusted_platforms: PlatformCache | None = None,
) -> Verified:
    """Verify a CCA token against trust anchors and the nonce posed (1 to 64 bytes, zero padded on the right).

    ``nonce`` None leaves freshness unjudged: only for a token looked at after the fact. Raises Refused.
    """
    evidence = decode(token, None if trusted_platforms is None else trusted_platforms.platform)
    _, anchor, operations = _platform(evidence.platform, anchors, trusted_platforms)
    operations += _realm_signature(evidence.realm, trusted_platforms)
    check_binding(evidence)
    if nonce is not None:
        check_freshness(evidence.realm.claims, nonce)
    return Verified(evidence, evidence.platform.claims, evidence.realm.claims, anchor, nonce is not None, operations)


def _platform(
    platform: PlatformToken, anchors: TrustAnchors, cache: PlatformCache | None
) -> tuple[PlatformToken, TrustAnchor, int]:
    anchor = anchors.lookup(platform.claims.instance_id, platform.claims.implementation_id)
    if cache is not None and cache.vouches(platform, anchor):
        return platform, anchor, 0
    if anchor.public_key is None:
        raise Untrusted("trust anchor has no usable key", reason=RefusalReason.UNKNOWN_KEY)
    try:
        platform.sign1.verify(anchor.public_key)
    except Refused as refusal:
        raise refusal.located(part="platform token") from None
    if cache is not None:
        cache.add(platform, anchor)
    return platform, anchor, 1


def read_rak(claims: RealmClaims) -> PublicKey:
    """Read the RAK in the form that the Realm profile fixes, on its curve. Raises Refused (unknown-key)."""
    if claims.profile != RealmProfile.LEGACY:
        return PublicKey.from_cose_key(claims.public_key)
    return PublicKey.from_raw(claims.public_key)


def _realm_signature(realm: RealmToken, cache: PlatformCache | None) -> int:
    """Verify the Realm signature with the RAK it carries; how many verifications that took."""
    if realm.sign1 is None:
        return 0
    try:
        key = None if cache is None else cache.rak(realm.claims.public_key)
        if key is None:
            key = read_rak(realm.claims)
            if cache is not None:
                cache.add_rak(realm.claims.public_key, key)
        realm.sign1.verify(key)
    except Malformed as refusal:
        raise Untrusted(
            f"realm attestation key: {refusal.message}",
            reason=RefusalReason.UNKNOWN_KEY,
            label=44237,
            part="realm token",
        ) from None
    except Refused as refusal:
        raise refusal.located(part="realm token") from None
    return 1


def check_binding(evidence: Evidence) -> None:
    """Check that the platform token vouches for this Realm token. Raises Untrusted (binding).

    Delegated: H(claim 44237 as received), named by 44240. Direct: H(the whole Realm claim set), named by 44236. HESRAK:
    as delegated, and platform claim 10 repeats the Realm challenge.
    """
    platform, realm = evidence.platform.claims, evidence.realm.claims
    if platform.mode is BindingMode.DIRECT:
        bound = HASH_NAMES[realm.hash_algo_id].digest(evidence.realm.token)
    else:
        bound = HASH_NAMES[realm.public_key_hash_algo_id].digest(realm.public_key)
    expected = platform.binding
    label = 10 if platform.workload_binding is None else 2408
    if expected is None or not hmac.compare_digest(expected, bound):
        raise Untrusted(
            "platform token is not bound to this realm token: the hash of the realm attestation key does not match",
            reason=RefusalReason.BINDING,
            label=label,
            part="platform token",
        )
    if platform.mode is BindingMode.HESRAK and platform.challenge != realm.challenge:
        raise Untrusted(
            "platform challenge does not repeat the realm challenge",
            reason=RefusalReason.BINDING,
            label=10,
            part="platform token",
        )


def check_freshness(claims: RealmClaims, nonce: bytes) -> None:
    """Check that the Realm token answers ``nonce``. Raises Stale."""
    if not 0 < len(nonce) <= NONCE_SIZE:
        raise Stale(f"a nonce has 1 to {NONCE_SIZE} bytes, this one has {len(nonce)}")
    if not hmac.compare_digest(claims.challenge, pad_nonce(nonce)):
        raise Stale(
            f"freshness: realm challenge ({claims.challenge.hex()}) does not match session nonce ({nonce.hex()})",
            label=10,
            part="realm token",
        )
