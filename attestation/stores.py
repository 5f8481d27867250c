"""What a verifier trusts and compares with: trust anchors and reference values.

Both have a memory form, and both read and write the JSON stores of the ccatoken tools
(veraison/rust-ccatoken, src/store: hex in either case, public keys as JWK).
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from attestation.errors import Malformed, RefusalReason, Refused, Untrusted
from attestation.keys import PublicKey

MAX_STORE_BYTES = 16 * 1024 * 1024


class TrustAnchor(msgspec.Struct, frozen=True):
    """The public CPAK of one platform; ``problem`` says why its key cannot be used (then ``public_key`` is None)."""

    instance_id: bytes
    implementation_id: bytes
    public_key: PublicKey | None
    problem: str = ""


class TrustAnchors:
    """Trust anchors by instance id; one platform has exactly one."""

    def __init__(self, anchors: Iterable[TrustAnchor] = (), *, any_instance: PublicKey | None = None) -> None:
        self._by_instance: dict[bytes, TrustAnchor] = {}
        self._any_instance = any_instance
        for anchor in anchors:
            self.add(anchor)

    @classmethod
    def any_instance(cls, key: PublicKey) -> TrustAnchors:
        """Trust one key for whatever instance a token names: for a key file given without identities."""
        return cls(any_instance=key)

    def add(self, anchor: TrustAnchor) -> None:
        """Add an anchor; adding the same twice changes nothing. Raises Refused when it contradicts a known one."""
        known = self._by_instance.get(anchor.instance_id)
        if known is not None and known != anchor:
            raise Malformed(
                f"two different trust anchors for instance {anchor.instance_id.hex()}",
                reason=RefusalReason.UNKNOWN_KEY,
            )
        self._by_instance[anchor.instance_id] = anchor

    def remove(self, instance_id: bytes) -> None:
        """Forget the anchor of an instance, if there is one."""
        self._by_instance.pop(instance_id, None)

    def lookup(self, instance_id: bytes, implementation_id: bytes) -> TrustAnchor:
        """Find the anchor of a platform, with a usable key. Raises Untrusted (unknown-instance or unknown-key)."""
        anchor = self._by_instance.get(instance_id)
        if anchor is None and self._any_instance is not None:
            return TrustAnchor(instance_id, implementation_id, self._any_instance)
        if anchor is None:
            raise Untrusted(
                f"no trust anchor for instance {instance_id.hex()}", reason=RefusalReason.UNKNOWN_INSTANCE, label=256
            )
        if anchor.implementation_id != implementation_id:
            raise Untrusted(
                f"trust anchor of instance {instance_id.hex()} is for implementation {anchor.implementation_id.hex()}",
                reason=RefusalReason.UNKNOWN_INSTANCE,
                label=2396,
            )
        if anchor.public_key is None:
            raise Untrusted(
                f"trust anchor of instance {instance_id.hex()} has no usable key: {anchor.problem}",
                reason=RefusalReason.UNKNOWN_KEY,
            )
        return anchor

    def __iter__(self) -> Iterator[TrustAnchor]:
        return iter(self._by_instance.values())

    def __len__(self) -> int:
        return len(self._by_instance)


class ComponentReference(msgspec.Struct, frozen=True, kw_only=True):
    """An endorsed firmware component; fields left None match anything. ``revoked`` marks one known to be vulnerable."""

    measurement_value: bytes
    signer_id: bytes | None = None
    name: str | None = None
    version: str | None = None
    security_version: int | None = None
    revoked: bool = False
    source: str = ""


class PlatformReference(msgspec.Struct, frozen=True, kw_only=True):
    """Endorsed firmware and configuration of one implementation id; ``config`` None means no reference."""

    implementation_id: bytes
    components: tuple[ComponentReference, ...] = ()
    config: bytes | None = None
    source: str = ""


class RealmReference(msgspec.Struct, frozen=True, kw_only=True):
    """An endorsed Realm image: selected by ``class_id`` (normally the RIM), compared by ``initial_measurement``."""

    initial_measurement: bytes
    class_id: bytes = b""
    extensible_measurements: tuple[bytes | None, ...] = (None, None, None, None)
    personalization_value: bytes | None = None
    key_hash_algo_id: str | None = None
    name: str = ""
    source: str = ""


class ReferenceValues:
    """Reference values by implementation id and by RIM, in the order in which they were added."""

    def __init__(self, platform: Iterable[PlatformReference] = (), realm: Iterable[RealmReference] = ()) -> None:
        self._platform: dict[bytes, list[PlatformReference]] = {}
        self._realm: dict[bytes, list[RealmReference]] = {}
        self._by_digest: dict[bytes, dict[bytes, ComponentReference]] = {}
        for platform_reference in platform:
            self.add_platform(platform_reference)
        for realm_reference in realm:
            self.add_realm(realm_reference)

    def add_platform(self, reference: PlatformReference) -> None:
        """Add references for an implementation; of two components with the same digest the later one counts."""
        self._platform.setdefault(reference.implementation_id, []).append(reference)
        by_digest = self._by_digest.setdefault(reference.implementation_id, {})
        for component in reference.components:
            by_digest[component.measurement_value] = component

    def revoke(self, measurements: Collection[bytes]) -> None:
        """Mark the components with these digests as vulnerable, for every implementation; the others stay."""
        for references in self._platform.values():
            references[:] = [
                msgspec.structs.replace(
                    reference,
                    components=tuple(
                        msgspec.structs.replace(each, revoked=each.revoked or each.measurement_value in measurements)
                        for each in reference.components
                    ),
                )
                for reference in references
            ]
        for by_digest in self._by_digest.values():
            for digest, component in by_digest.items():
                if digest in measurements:
                    by_digest[digest] = msgspec.structs.replace(component, revoked=True)

    def add_realm(self, reference: RealmReference) -> None:
        """Add a reference for a Realm image."""
        self._realm.setdefault(reference.class_id or reference.initial_measurement, []).append(reference)

    def platform(self, implementation_id: bytes) -> tuple[PlatformReference, ...]:
        """References of one implementation."""
        return tuple(self._platform.get(implementation_id, ()))

    def component(self, implementation_id: bytes, measurement_value: bytes) -> ComponentReference | None:
        """The component reference with this digest."""
        return self._by_digest.get(implementation_id, {}).get(measurement_value)

    def realm(self, initial_measurement: bytes) -> tuple[RealmReference, ...]:
        """References of one Realm image."""
        return tuple(self._realm.get(initial_measurement, ()))

    def records(self) -> tuple[tuple[PlatformReference, ...], tuple[RealmReference, ...]]:
        """All references, for export and snapshots; the constructor takes them back."""
        platform = tuple(reference for group in self._platform.values() for reference in group)
        return platform, tuple(reference for group in self._realm.values() for reference in group)


def read_json(data: bytes | str, what: str) -> Any:
    """Parse JSON from a stranger: bounded size, no duplicate members. Raises Malformed."""
    if len(data) > MAX_STORE_BYTES:
        raise Malformed(f"{what} is larger than {MAX_STORE_BYTES} bytes")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise Malformed(f"{what} has a duplicate member")
        return members

    def no_constant(name: str) -> Any:
        raise Malformed(f"{what} is not JSON: {name}")

    try:
        return json.loads(data, object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON") from None


def _hex(entry: Any, member: str, sizes: tuple[int, ...] = ()) -> bytes:
    value = entry.get(member) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise Malformed(f"{member} is missing or not a string", label=member)
    try:
        data = binascii.unhexlify(value)
    except (binascii.Error, ValueError):
        raise Malformed(f"{member} is not hexadecimal", label=member) from None
    if sizes and len(data) not in sizes:
        raise Malformed(f"{member} is {len(data)} bytes", label=member)
    return data


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"{what} is not an array")
    return value


def read_anchor_store(data: bytes | str) -> TrustAnchors:
    """Read a ccatoken trust-anchor store. An unusable key is kept as a problem of its anchor. Raises Malformed."""
    anchors = TrustAnchors()
    for entry in _list(read_json(data, "trust-anchor store"), "trust-anchor store"):
        instance_id = _hex(entry, "instance-id", (33,))
        implementation_id = _hex(entry, "implementation-id", (32,))
        key, problem = None, ""
        try:
            key = PublicKey.from_jwk(entry.get("pkey"))
        except Refused as refusal:
            problem = refusal.message
        anchors.add(TrustAnchor(instance_id, implementation_id, key, problem))
    return anchors


def write_anchor_store(anchors: Iterable[TrustAnchor]) -> str:
    """Write a ccatoken trust-anchor store; anchors without a usable key are left out."""
    entries = [
        {
            "pkey": anchor.public_key.jwk(),
            "implementation-id": anchor.implementation_id.hex(),
            "instance-id": anchor.instance_id.hex(),
        }
        for anchor in anchors
        if anchor.public_key is not None
    ]
    return json.dumps(entries, indent=2)


_DIGESTS = (32, 48, 64)


def read_reference_store(data: bytes | str) -> ReferenceValues:
    """Read a ccatoken golden store of platform and Realm reference values. Raises Malformed."""
    document = read_json(data, "reference store")
    if not isinstance(document, dict):
        raise Malformed("reference store is not an object")
    return ReferenceValues(
        [_platform_entry(entry) for entry in _list(document.get("platform", []), "platform")],
        [_realm_entry(entry) for entry in _list(document.get("realm", []), "realm")],
    )


def _optional_text(entry: dict[str, Any], member: str) -> str | None:
    value = entry.get(member)
    if value is not None and not isinstance(value, str):
        raise Malformed(f"{member} is not a string", label=member)
    return value


def _platform_entry(entry: Any) -> PlatformReference:
    implementation_id = _hex(entry, "implementation-id", (32,))
    components = []
    for item in _list(entry.get("sw-components", []), "sw-components"):
        components.append(
            ComponentReference(
                measurement_value=_hex(item, "measurement-value", _DIGESTS),
                signer_id=_hex(item, "signer-id"),
                name=_optional_text(item, "component-type"),
                version=_optional_text(item, "version"),
                source="ccatoken store",
            )
        )
    return PlatformReference(
        implementation_id=implementation_id,
        components=tuple(components),
        config=_hex(entry, "platform-configuration"),
        source="ccatoken store",
    )


def _realm_entry(entry: Any) -> RealmReference:
    rim = _hex(entry, "initial-measurement", _DIGESTS)
    rems: tuple[bytes | None, ...] = (None, None, None, None)
    listed = entry.get("extensible-measurements")
    if listed is not None:
        listed = _list(listed, "extensible-measurements")
        if len(listed) != 4:
            raise Malformed("extensible-measurements does not hold 4 values", label="extensible-measurements")
        rems = tuple(_hex({"extensible-measurements": value}, "extensible-measurements", _DIGESTS) for value in listed)
    rpv = _hex(entry, "personalization-value", (64,)) if entry.get("personalization-value") is not None else None
    return RealmReference(
        initial_measurement=rim,
        extensible_measurements=rems,
        personalization_value=rpv,
        key_hash_algo_id=_optional_text(entry, "rak-hash-algorithm"),
        source="ccatoken store",
    )


def write_reference_store(references: ReferenceValues) -> str:
    """Write a ccatoken golden store; what the form cannot say (names of images, revocation) is left out."""
    platform, realm = references.records()
    return json.dumps(
        {
            "platform": [_platform_json(reference) for reference in platform],
            "realm": [_realm_json(reference) for reference in realm],
        },
        indent=2,
    )


def _platform_json(reference: PlatformReference) -> dict[str, Any]:
    components = []
    for component in reference.components:
        if component.revoked:
            continue
        item = {"measurement-value": component.measurement_value.hex(), "signer-id": (component.signer_id or b"").hex()}
        if component.name is not None:
            item["component-type"] = component.name
        if component.version is not None:
            item["version"] = component.version
        components.append(item)
    return {
        "implementation-id": reference.implementation_id.hex(),
        "platform-configuration": (reference.config or b"").hex(),
        "sw-components": components,
    }


def _realm_json(reference: RealmReference) -> dict[str, Any]:
    entry: dict[str, Any] = {"initial-measurement": reference.initial_measurement.hex()}
    rems = [rem.hex() for rem in reference.extensible_measurements if rem is not None]
    if len(rems) == 4:
        entry["extensible-measurements"] = rems
    if reference.personalization_value is not None:
        entry["personalization-value"] = reference.personalization_value.hex()
    if reference.key_hash_algo_id is not None:
        entry["rak-hash-algorithm"] = reference.key_hash_algo_id
    return entry
