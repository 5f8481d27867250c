"""The workbench of the corpus generator: machines drawn from a seed, and tokens with anything in them replaced.

Everything comes from the seed, so the same seed gives the same bytes. Claim sets are taken apart to plain CBOR maps,
because what is forged here is just what the encoders of this package refuse to write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from attestation import cbor, claims, cose
from attestation.claim_records import (
    MecPolicy,
    PlatformClaims,
    PlatformProfile,
    RealmClaims,
    RealmProfile,
    SoftwareComponent,
)
from attestation.keys import Curve, SigningKey, derive_key
from attestation.stores import ComponentReference, PlatformReference, RealmReference, TrustAnchor
from attestation.token import Wrapper, bind, encode_collection

COMPONENTS = (("RSE_BL2", "2.1.0"), ("AP_BL31", "2.12.1"), ("RMM", "0.6.0"))
MISSING: Any = object()
"""Stands for "without this claim" where a value is replaced."""


class Draw:
    """A stream of bytes from a seed: SHA-256 in counter mode."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._count = seed, 0

    def bytes(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        data = b""
        while len(data) < size:
            data += hashlib.sha256(self._seed + self._count.to_bytes(8, "big")).digest()
            self._count += 1
        return data[:size]

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1; the bias of 64 bits is far below what a corpus could show."""
        return int.from_bytes(self.bytes(8), "big") % limit


class Machine(NamedTuple):
    """One machine with one Realm: its keys, and the claims that its tokens make."""

    cpak: SigningKey
    rak: SigningKey
    platform: PlatformClaims
    realm: RealmClaims

    def anchor(self) -> TrustAnchor:
        """Its trust anchor."""
        return TrustAnchor(self.platform.instance_id, self.platform.implementation_id, self.cpak.public)

    def platform_reference(self) -> PlatformReference:
        """Reference values under which its firmware and configuration are known."""
        components = tuple(
            ComponentReference(
                measurement_value=component.measurement_value,
                signer_id=component.signer_id,
                name=component.measurement_type,
                version=component.version,
            )
            for component in self.platform.sw_components
        )
        return PlatformReference(
            implementation_id=self.platform.implementation_id, components=components, config=self.platform.config
        )

    def realm_reference(self) -> RealmReference:
        """Reference values under which its Realm is known."""
        return RealmReference(
            initial_measurement=self.realm.initial_measurement,
            extensible_measurements=self.realm.extensible_measurements,
        )


class Bench:
    """Two machines and a challenge; each recipe of one round makes its token here."""

    def __init__(self, seed: bytes, number: int) -> None:
        self.draw = Draw(hashlib.sha256(b"token corpus\0" + seed + number.to_bytes(8, "big")).digest())
        self.nonce = self.draw.bytes(64)
        self.old_nonce = self.draw.bytes(64)
        self.machine = self.make()
        self.neighbour = self.make()

    def make(self, cpak: Curve = Curve.P384, rak: Curve = Curve.P384) -> Machine:
        """A new machine, bound, under the profiles that every verifier accepts."""
        draw, seed = self.draw, self.draw.bytes(32)
        signer = draw.bytes(32)
        platform = PlatformClaims(
            implementation_id=draw.bytes(32),
            instance_id=b"\x01" + draw.bytes(32),
            config=draw.bytes(4),
            lifecycle=0x3000 + draw.below(256),
            sw_components=tuple(
                SoftwareComponent(
                    measurement_type=name, measurement_value=draw.bytes(32), version=version, signer_id=signer,
                    description="sha-256",
                )
                for name, version in COMPONENTS
            ),
            service_indicator="https://verifier.example/",
        )  # fmt: skip
        realm = RealmClaims(
            challenge=self.nonce,
            personalization_value=draw.bytes(64),
            initial_measurement=draw.bytes(32),
            extensible_measurements=tuple(draw.bytes(32) for _ in range(4)),
        )
        return bound(Machine(derive_key(seed, "CPAK", cpak), derive_key(seed, "RAK", rak), platform, realm))

    @cached_property
    def platform_token(self) -> bytes:
        """The good platform token of the machine."""
        return self.platform({})

    @cached_property
    def realm_token(self) -> bytes:
        """The good Realm token of the machine."""
        return self.realm({})

    def platform(self, changes: Mapping[Any, Any], key: SigningKey | None = None) -> bytes:
        """A platform token with claims replaced, really signed."""
        return cose.sign(self.platform_payload(changes), key or self.machine.cpak)

    def realm(self, changes: Mapping[Any, Any], key: SigningKey | None = None) -> bytes:
        """A Realm token with claims replaced, really signed; the binding is left as it was."""
        return cose.sign(self.realm_payload(changes), key or self.machine.rak)

    def platform_payload(self, changes: Mapping[Any, Any]) -> bytes:
        """The platform claim set with claims replaced."""
        return _replaced(claims.encode_platform_claims(self.machine.platform), changes)

    def realm_payload(self, changes: Mapping[Any, Any]) -> bytes:
        """The Realm claim set with claims replaced."""
        return _replaced(claims.encode_realm_claims(self.machine.realm), changes)

    def wrap(
        self, platform: bytes | None = None, realm: bytes | None = None, wrapper: Wrapper = Wrapper.EAT_399
    ) -> bytes:
        """A collection; a half that is not given is the good one."""
        return encode_collection(platform or self.platform_token, realm or self.realm_token, wrapper)

    def with_rak(self, encoded: bytes, key: SigningKey | None = None, **realm_changes: Any) -> bytes:
        """A whole token whose RAK claim is ``encoded``, rebound, so that only the RAK itself can be wrong."""
        changes: dict[Any, Any] = {44237: encoded, **{int(name[1:]): value for name, value in realm_changes.items()}}
        platform = self.platform({10: hashlib.sha256(encoded).digest()})
        return self.wrap(platform, self.realm(changes, key))

    def component(self, index: int, changes: Mapping[int, Any]) -> bytes:
        """A whole token in which members of one software component are replaced."""
        components = cbor.decode(claims.encode_platform_claims(self.machine.platform))[2399]
        components[index] = _merged(components[index], changes)
        return self.wrap(self.platform({2399: components}))

    def flipped(self, value: bytes, *, after: int = 0) -> bytes:
        """The good token with one drawn bit of ``value`` turned over; ``after`` spares its first bytes."""
        token = bytearray(self.wrap())
        at = bytes(token).index(value) + after + self.draw.below(len(value) - after)
        token[at] ^= 1 << self.draw.below(8)
        return bytes(token)


def bound(machine: Machine) -> Machine:
    """The machine with RAK and binding set as its profiles want them."""
    platform, realm = bind(machine.platform, machine.realm, machine.rak.public)
    return machine._replace(platform=platform, realm=realm)


def with_profiles(machine: Machine, platform: PlatformProfile, realm: RealmProfile) -> Machine:
    """The machine under other profiles, with the claims that those demand."""
    platform_changes: dict[str, Any] = {"profile": platform}
    realm_changes: dict[str, Any] = {"profile": realm}
    if platform in (PlatformProfile.V2024_2_0, PlatformProfile.V2026_2_0):
        platform_changes["client_id"] = 1
    if platform is PlatformProfile.V2026_2_0:
        platform_changes["challenge"] = None
    if realm in (RealmProfile.V2024_2_0, RealmProfile.V2026_2_0):
        realm_changes |= {"instance_id": machine.platform.instance_id, "mec_policy": MecPolicy.PRIVATE}
    return bound(
        machine._replace(
            platform=msgspec.structs.replace(machine.platform, **platform_changes),
            realm=msgspec.structs.replace(machine.realm, **realm_changes),
        )
    )


def token_of(machine: Machine, wrapper: Wrapper = Wrapper.EAT_399) -> bytes:
    """The good token of a machine."""
    platform = cose.sign(claims.encode_platform_claims(machine.platform), machine.cpak)
    return encode_collection(platform, cose.sign(claims.encode_realm_claims(machine.realm), machine.rak), wrapper)


def _replaced(payload: bytes, changes: Mapping[Any, Any]) -> bytes:
    return cbor.encode(_merged(cbor.decode(payload), changes)) if changes else payload


def _merged(values: Mapping[Any, Any], changes: Mapping[Any, Any]) -> dict[Any, Any]:
    return {label: value for label, value in {**values, **changes}.items() if value is not MISSING}
