"""What a claim value may be: readers that check a decoded value, and writers back to CBOR values.

A reader returns the field value or raises :class:`RuleBroken`; the codec adds label and byte offset. Rules are those of
draft-ffm-rats-cca-token as tabulated by its CDDL; where the existing verifiers are lax, these are not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from attestation import cbor
from attestation.claim_records import (
    ExtensionDevice,
    MecPolicy,
    RotPublicKey,
    SoftwareComponent,
    lifecycle_name,
)
from attestation.errors import Malformed
from attestation.hashes import HASH_NAMES, HASH_SIZES

Path = tuple[int | str, ...]
Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]

SPDM_PROTOCOLS = frozenset(
    f"spdm-{version}" for version in ("1.2.0", "1.2.1", "1.2.2", "1.2.3", "1.3.0", "1.3.1", "1.3.2", "1.4.0")
)
"""Protocols under which an extension device must carry a VCA digest."""
CXL_TYPE_3 = "cxl-type-3"
_COSE_KEY_P384 = bytes.fromhex("a401022002215830"), bytes.fromhex("225830")


class RuleBroken(Exception):
    """A value breaks its rule; ``path`` leads from the claim to the place."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def as_is(value: Any) -> Any:
    """Write a value unchanged."""
    return value


def size_text(sizes: Collection[int]) -> str:
    """Name sizes for a message: "32, 48 or 64"."""
    names = [str(size) for size in sorted(sizes)]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def byte_string(*sizes: int) -> Reader:
    """A byte string of one of ``sizes`` bytes; any size when none is given."""
    allowed = frozenset(sizes)

    def read(value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise RuleBroken("must be a single byte string")
        if allowed and len(value) not in allowed:
            raise RuleBroken(f"must be {size_text(allowed)} bytes, is {len(value)}")
        return value

    return read


digest = byte_string(*HASH_SIZES)


def non_empty_bytes(value: Any) -> bytes:
    """A byte string of at least one byte."""
    if not isinstance(value, bytes) or not value:
        raise RuleBroken("must be a non-empty byte string")
    return value


def instance_id(value: Any) -> bytes:
    """A UEID of type RAND: 33 bytes, the first 0x01."""
    if not isinstance(value, bytes) or len(value) != 33:
        raise RuleBroken("must be a byte string of 33 bytes")
    if value[0] != 1:
        raise RuleBroken(f"first byte must be 0x01 (EAT UEID RAND), is {value[0]:#04x}")
    return value


def text(value: Any) -> str:
    """A text string."""
    if not isinstance(value, str):
        raise RuleBroken("must be a text string")
    return value


def non_empty_text(value: Any) -> str:
    """A text string that is not empty."""
    if not isinstance(value, str) or not value:
        raise RuleBroken("must be a non-empty text string")
    return value


def boolean(value: Any) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise RuleBroken("must be a boolean")
    return value


def integer(value: Any) -> int:
    """An integer."""
    if type(value) is not int:
        raise RuleBroken("must be an integer")
    return value


def one_of(*choices: int) -> Reader:
    """One of a few integers."""

    def read(value: Any) -> int:
        if type(value) is not int or value not in choices:
            raise RuleBroken(f"must be {size_text(choices)}")
        return value

    return read


def lifecycle(value: Any) -> int:
    """An unsigned integer in one of the seven lifecycle ranges."""
    if type(value) is not int or value < 0:
        raise RuleBroken("must be an unsigned integer")
    if lifecycle_name(value) is None:
        raise RuleBroken(f"value {value:#06x} is in no lifecycle range")
    return value


def hash_name(value: Any) -> str:
    """One of the accepted hash names."""
    if not isinstance(value, str) or value not in HASH_NAMES:
        raise RuleBroken(f"must be one of {', '.join(HASH_NAMES)}")
    return value


def raw_point(value: Any) -> bytes:
    """A RAK as a raw uncompressed P-384 point; whether it is on the curve is judged with the signature."""
    if not isinstance(value, bytes) or len(value) != 97:
        raise RuleBroken("must be the 97 bytes of an uncompressed P-384 point")
    return value


def cose_key(value: Any) -> bytes:
    """A RAK as the bytes of one COSE_Key of type EC2; whether it is on the curve is judged with the signature."""
    if not isinstance(value, bytes):
        raise RuleBroken("must be a byte string that holds a COSE_Key")
    head, middle = _COSE_KEY_P384
    if len(value) == 107 and value.startswith(head) and value[56:59] == middle:
        return value
    try:
        members = cbor.decode(value)
    except Malformed as refusal:
        raise RuleBroken(f"holds no COSE_Key: {refusal.message}") from None
    if not isinstance(members, dict):
        raise RuleBroken("holds no COSE_Key: not a map")
    if type(members.get(1)) is not int or members[1] != 2:
        raise RuleBroken("COSE_Key is not of key type EC2")
    for label in (-2, -3):
        if not isinstance(members.get(label), bytes):
            raise RuleBroken(f"COSE_Key coordinate {label} is not a byte string")
    return value


def extensible_measurements(value: Any) -> tuple[bytes, ...]:
    """Exactly four digests."""
    if not isinstance(value, list):
        raise RuleBroken("must be an array")
    if len(value) != 4:
        raise RuleBroken(f"must hold exactly 4 measurements, holds {len(value)}")
    return _each(value, digest)


def mec_policy(value: Any) -> str:
    """MEC policy: integer 0 shared, 1 private, or the older text form."""
    if type(value) is int and value in (0, 1):
        return (MecPolicy.SHARED, MecPolicy.PRIVATE)[value].value
    if isinstance(value, str) and value in tuple(MecPolicy):
        return value
    raise RuleBroken('must be 0 (shared), 1 (private), or the text "shared" or "private"')


def write_mec_policy(value: str) -> int:
    """The integer form, which the newest texts use."""
    return 1 if value == MecPolicy.PRIVATE else 0


def write_list(value: tuple[Any, ...]) -> list[Any]:
    """An array."""
    return list(value)


def peer_signers(value: Any) -> tuple[bytes, ...]:
    """Peer signers: one byte string (Veraison libraries) or an array of them (draft -04)."""
    if isinstance(value, bytes):
        return (non_empty_bytes(value),)
    if not isinstance(value, list) or not value:
        raise RuleBroken("must be a non-empty byte string or array of byte strings")
    return _each(value, non_empty_bytes)


def write_peer_signers(value: tuple[bytes, ...]) -> Any:
    """One byte string where it suffices, else an array."""
    return value[0] if len(value) == 1 else list(value)


def _each(items: list[Any], read: Reader) -> tuple[Any, ...]:
    result = []
    for index, item in enumerate(items):
        try:
            result.append(read(item))
        except RuleBroken as broken:
            raise RuleBroken(f"[{index}] {broken.message}", (index, *broken.path)) from None
    return tuple(result)


Members = tuple[tuple[int, str, Reader, bool], ...]
"""Members of a nested map: key, field, reader, must be present."""

COMPONENT_MEMBERS: Members = (
    (1, "measurement_type", text, False),
    (5, "signer_id", digest, True),
    (4, "version", text, False),
    (2, "measurement_value", digest, True),
    (6, "description", text, False),
)
"""Software component in the order in which firmware writes it."""


def _countersigners(value: Any) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not value:
        raise RuleBroken("must be a non-empty array")
    return _each(value, digest)


COMPONENT_MEMBERS_2026: Members = (
    *COMPONENT_MEMBERS,
    (7, "live_activation", boolean, False),
    (8, "countersigners", _countersigners, False),
)
_ROTPK_MEMBERS: Members = (
    (1, "owner", text, True),
    (2, "active", integer, True),
    (3, "index", integer, True),
    (4, "digest", digest, True),
)
_DEVICE_MEMBERS: Members = (
    (1, "hash_algo_id", hash_name, False),
    (2, "measurements", digest, True),
    (3, "certificates", digest, True),
    (4, "uses_ide", boolean, True),
    (5, "protocol", non_empty_text, True),
    (6, "vca", digest, False),
    (7, "device_type", non_empty_text, True),
    (8, "encryption", one_of(0, 1, 2), False),
)


def _members(value: Any, members: Members) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RuleBroken("must be a map")
    fields: dict[str, Any] = {}
    for key, field, read, required in members:
        if key in value:
            try:
                fields[field] = read(value[key])
            except RuleBroken as broken:
                raise RuleBroken(f"key {key} {broken.message}", (key, *broken.path)) from None
        elif required:
            raise RuleBroken(f"key {key} ({field.replace('_', '-')}) is missing")
    return fields


def write_members(record: Any, members: Members) -> dict[int, Any]:
    """A nested map with the members that are set, in table order."""
    pairs = ((key, getattr(record, field)) for key, field, _, _ in members)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in pairs if value not in (None, ())}


def components(members: Members) -> Reader:
    """At least one software component."""

    def read_one(value: Any) -> SoftwareComponent:
        return SoftwareComponent(**_members(value, members))

    def read(value: Any) -> tuple[SoftwareComponent, ...]:
        if not isinstance(value, list):
            raise RuleBroken("must be an array")
        if not value:
            raise RuleBroken("must hold at least one software component")
        return _each(value, read_one)

    return read


def write_components(members: Members) -> Writer:
    """Software components with the members that the profile knows, in the firmware's order."""

    def write(value: tuple[SoftwareComponent, ...]) -> list[dict[int, Any]]:
        return [write_members(component, members) for component in value]

    return write


def unknown_component_keys(value: list[Any], members: Members) -> list[str]:
    """Name the component keys that the profile does not know (they are ignored, and reported)."""
    known = {key for key, *_ in members}
    return [
        f"platform component {index} key {key}"
        for index, component in enumerate(value)
        if not known.issuperset(component)
        for key in component
        if key not in known
    ]


def rot_public_keys(value: Any) -> tuple[RotPublicKey, ...]:
    """At least one root-of-trust public key."""

    def read_one(item: Any) -> RotPublicKey:
        record = RotPublicKey(**_members(item, _ROTPK_MEMBERS))
        if record.owner not in ("CM", "DM"):
            raise RuleBroken('key 1 must be "CM" or "DM"', (1,))
        return record

    if not isinstance(value, list) or not value:
        raise RuleBroken("must be a non-empty array")
    return _each(value, read_one)


def write_rot_public_keys(value: tuple[RotPublicKey, ...]) -> list[dict[int, Any]]:
    """Root-of-trust public keys in key order."""
    return [write_members(record, _ROTPK_MEMBERS) for record in value]


def extension(value: Any) -> tuple[ExtensionDevice, ...]:
    """Extension devices: VCA digest exactly under SPDM, encryption type exactly for CXL type 3, no unknown keys."""
    known = {key for key, *_ in _DEVICE_MEMBERS}

    def read_one(item: Any) -> ExtensionDevice:
        device = ExtensionDevice(**_members(item, _DEVICE_MEMBERS))
        for key in item:
            if key not in known:
                raise RuleBroken(f"unknown key {key} in an extension device", (key,))
        if (device.vca is not None) != (device.protocol in SPDM_PROTOCOLS):
            raise RuleBroken("key 6 (VCA digest) must be present exactly under an SPDM protocol")
        if (device.encryption is not None) != (device.device_type == CXL_TYPE_3):
            raise RuleBroken(f"key 8 (encryption type) must be present exactly for {CXL_TYPE_3}")
        return device

    if not isinstance(value, list) or not value:
        raise RuleBroken("must be a non-empty array")
    return _each(value, read_one)


def write_extension(value: tuple[ExtensionDevice, ...]) -> list[dict[int, Any]]:
    """Extension devices in key order."""
    return [write_members(record, _DEVICE_MEMBERS) for record in value]
