"""Read CoRIM for CCA: trust anchors and reference values as endorsers publish them.

Unsigned CoRIM (tag 501) with CoMIDs (tag 506 in byte strings), and signed CoRIM (COSE_Sign1 around it). Read strictly
under the two CCA profiles; refusals use the words of the Veraison library, so that logs compare.
Sources: draft-ietf-rats-corim, draft-cca-rats-endorsements, veraison/corim profiles/cca.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from attestation import cbor, cose
from attestation.errors import Malformed, RefusalReason, Refused
from attestation.hashes import HASH_SIZES
from attestation.keys import PublicKey
from attestation.stores import ComponentReference, PlatformReference, RealmReference, TrustAnchor

TAG_CORIM, TAG_COMID, TAG_URI = 501, 506, 32
TAG_UEID, TAG_PKIX_KEY, TAG_BYTES, TAG_MASKED = 550, 554, 560, 563
CORIM_LIMITS = cbor.Limits(max_bytes=4 * 1024 * 1024, max_depth=24)
CONTENT_TYPE = "application/rim+cbor"
_TYPE_NAMES = {37: "uuid", 111: "oid", TAG_UEID: "ueid", TAG_BYTES: "bytes", TAG_PKIX_KEY: "pkix-base64-key",
               555: "pkix-base64-cert", 556: "pkix-base64-cert-path", 557: "thumbprint", 558: "cose-key",
               559: "cert-thumbprint", 561: "cert-path-thumbprint"}  # fmt: skip
MKEY_COMPONENT, MKEY_CONFIG = "cca.software-component", "cca.platform-config"
MKEY_RIM, MKEY_RPV = "cca.rim", "cca.rpv"
MKEY_REMS = ("cca.rem0", "cca.rem1", "cca.rem2", "cca.rem3")


class CorimProfile(StrEnum):
    """The CoRIM profiles of CCA (key 3 of the CoRIM map)."""

    PLATFORM = "tag:arm.com,2025:cca_platform#1.0.0"
    REALM = "tag:arm.com,2025:cca_realm#1.0.0"


class Corim(msgspec.Struct, frozen=True, kw_only=True):
    """What one CoRIM endorses; without a profile nothing in it is read as CCA."""

    id: str
    profile: CorimProfile | None
    anchors: tuple[TrustAnchor, ...] = ()
    platform: tuple[PlatformReference, ...] = ()
    realm: tuple[RealmReference, ...] = ()


def _type_name(value: Any) -> str:
    if isinstance(value, cbor.Tag):
        return _TYPE_NAMES.get(value.number, f"tag {value.number}")
    if type(value) is int:
        return "uint"
    kind = type(value).__name__
    return {"str": "string", "dict": "map", "list": "array"}.get(kind, kind)


def _map(value: Any, what: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not a map")
    return value


def _array(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Malformed(f"{what} is not a non-empty array")
    return value


def _pair(value: Any, what: str) -> tuple[dict[Any, Any], list[Any]]:
    if not isinstance(value, list) or len(value) != 2:
        raise Malformed(f"{what} is not a pair")
    return _map(value[0], f"{what}: environment"), _array(value[1], what)


def _tagged_bytes(value: Any, number: int) -> bytes | None:
    if isinstance(value, cbor.Tag) and value.number == number and isinstance(value.value, bytes):
        return value.value
    return None


def read(data: bytes) -> Corim:
    """Read an unsigned CoRIM. Raises Malformed (profile, when its profile is none of CCA's)."""
    outer = cbor.decode(data, CORIM_LIMITS)
    if not isinstance(outer, cbor.Tag) or outer.number != TAG_CORIM:
        raise Malformed(f"not an unsigned CoRIM: tag {TAG_CORIM} is missing", offset=0)
    corim = _map(outer.value, "CoRIM")
    if 0 not in corim or 1 not in corim:
        raise Malformed("CoRIM lacks id or tags", label=0 if 0 not in corim else 1)
    identifier = corim[0].hex() if isinstance(corim[0], bytes) else str(corim[0])
    profile = _profile(corim.get(3)) if 3 in corim else None
    anchors: list[TrustAnchor] = []
    platform: list[PlatformReference] = []
    realm: list[RealmReference] = []
    for index, tag in enumerate(_array(corim[1], "CoRIM tags")):
        content = _tagged_bytes(tag, TAG_COMID)
        if content is None:
            continue
        try:
            triples = _triples(content)
            if profile is CorimProfile.PLATFORM:
                anchors += [_anchor(i, triple) for i, triple in enumerate(triples.get(3, []))]
                platform += [_platform(i, triple, identifier) for i, triple in enumerate(triples.get(0, []))]
            elif profile is CorimProfile.REALM:
                realm += [_realm(i, triple, identifier) for i, triple in enumerate(triples.get(0, []))]
        except Refused as refusal:
            base = cbor.locate(data, (1, index), content=True)
            raise refusal.located(part=f"CoMID tag at index {index}", base=base) from None
    return Corim(id=identifier, profile=profile, anchors=tuple(anchors), platform=tuple(platform), realm=tuple(realm))


def _profile(value: Any) -> CorimProfile:
    if not isinstance(value, cbor.Tag) or value.number != TAG_URI or not isinstance(value.value, str):
        raise Malformed(
            f"profile must be a URI under tag {TAG_URI}, got '{_type_name(value)}'",
            reason=RefusalReason.PROFILE,
            label=3,
        )
    try:
        return CorimProfile(value.value)
    except ValueError:
        raise Malformed(
            f"profile {value.value!r:.80} is not one of CCA's", reason=RefusalReason.PROFILE, label=3
        ) from None


def _triples(content: bytes) -> dict[Any, list[Any]]:
    comid = _map(cbor.decode(content, CORIM_LIMITS), "CoMID")
    identity = _map(comid.get(1), "CoMID tag identity")
    if 0 not in identity:
        raise Malformed("CoMID has no tag id", label=1)
    triples = _map(comid.get(4), "CoMID triples")
    for key in (0, 3):
        if key in triples:
            _array(triples[key], "CoMID triples")
    return triples


def _class_id(environment: dict[Any, Any], prefix: str, required: str) -> Any:
    if 0 not in environment:
        raise Malformed(f"{prefix}: {required}", label=0)
    class_map = _map(environment[0], f"{prefix}: environment.class")
    if 0 not in class_map:
        raise Malformed(f"{prefix}: environment.class.id is required", label=0)
    return class_map[0]


def _implementation_id(environment: dict[Any, Any], prefix: str) -> bytes:
    value = _class_id(environment, prefix, "environment.class is required")
    content = _tagged_bytes(value, TAG_BYTES)
    if content is None:
        raise Malformed(f"{prefix}: implementation-id must be of type 'bytes', got '{_type_name(value)}'")
    if len(content) != 32:
        raise Malformed(f"{prefix}: implementation-id must be 32 bytes, got {len(content)}")
    return content


def _anchor(index: int, triple: Any) -> TrustAnchor:
    prefix = f"platform attestation verification key at index {index}"
    environment, keys = _pair(triple, prefix)
    implementation_id = _implementation_id(environment, prefix)
    if 1 not in environment:
        raise Malformed(f"{prefix}: environment.instance (instance-id) is required", label=1)
    instance_id = _tagged_bytes(environment[1], TAG_UEID)
    if instance_id is None:
        raise Malformed(f"{prefix}: instance-id must be of type 'ueid', got '{_type_name(environment[1])}'")
    if len(instance_id) != 33 or instance_id[0] != 1:
        raise Malformed(f"{prefix}: instance-id must be 33 bytes that start with 0x01")
    if len(keys) != 1:
        raise Malformed(f"{prefix}: verification-keys must contain exactly one entry, got {len(keys)}")
    key = keys[0]
    if not isinstance(key, cbor.Tag) or key.number != TAG_PKIX_KEY or not isinstance(key.value, str):
        raise Malformed(f"{prefix}: verification-key must be of type 'pkix-base64-key', got '{_type_name(key)}'")
    return TrustAnchor(instance_id, implementation_id, PublicKey.from_pem(key.value))


def _measurements(prefix: str, items: list[Any]) -> list[tuple[str, dict[Any, Any], str]]:
    """Key, value map and message prefix of each measurement."""
    result = []
    for index, item in enumerate(items):
        where = f"{prefix}, measurement at index {index}"
        measurement = _map(item, where)
        if measurement.get(0) is None:
            raise Malformed(f"{where}: mkey is mandatory but not set", label=0)
        if not isinstance(measurement[0], str):
            raise Malformed(f"{where}: mkey must be of type 'string', got '{_type_name(measurement[0])}'", label=0)
        result.append((measurement[0], _map(measurement.get(1), where), where))
    return result


def _digest(values: dict[Any, Any], where: str) -> bytes:
    if 2 not in values:
        raise Malformed(f"{where}: digests field is mandatory but not set", label=2)
    digests = _array(values[2], f"{where}: digests")
    if len(digests) != 1:
        raise Malformed(f"{where}: digests must contain exactly one entry, got {len(digests)}", label=2)
    entry = digests[0]
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], bytes):
        raise Malformed(f"{where}: digest is not [algorithm, bytes]", label=2)
    if len(entry[1]) not in HASH_SIZES:
        raise Malformed(f"{where}: hash value must be 32, 48, or 64 bytes, got {len(entry[1])}", label=2)
    return entry[1]


def _raw_value(values: dict[Any, Any], where: str, key: str) -> bytes:
    raw = values.get(4)
    if raw is None:
        raise Malformed(f"{where}: raw-value is mandatory for {key}", label=4)
    content = _tagged_bytes(raw, TAG_BYTES)
    if content is not None:
        return content
    if isinstance(raw, cbor.Tag) and raw.number == TAG_MASKED and isinstance(raw.value, list) and len(raw.value) == 2:
        value, mask = raw.value
        if isinstance(value, bytes) and isinstance(mask, bytes):
            return value
    raise Malformed(f"{where}: unable to extract bytes from raw-value", label=4)


def _platform(index: int, triple: Any, source: str) -> PlatformReference:
    prefix = f"platform reference value at index {index}"
    environment, items = _pair(triple, prefix)
    implementation_id = _implementation_id(environment, prefix)
    components = []
    config = None
    for key, values, where in _measurements(prefix, items):
        if key == MKEY_COMPONENT:
            components.append(_component(values, where, source))
        elif key == MKEY_CONFIG:
            if config is not None:
                raise Malformed(f"{prefix}: only one platform-config measurement allowed per triple")
            config = _raw_value(values, where, MKEY_CONFIG)
            masked = isinstance(values[4], cbor.Tag) and values[4].number == TAG_MASKED
            if not masked and not isinstance(values.get(5), bytes):
                raise Malformed(f"{where}: raw-value-mask is mandatory for {MKEY_CONFIG}", label=5)
        else:
            raise Malformed(f'{where}: invalid mkey "{key:.40}"', label=0)
    if not components:
        raise Malformed(f"{prefix}: at least one software component measurement is required")
    return PlatformReference(
        implementation_id=implementation_id, components=tuple(components), config=config, source=source
    )


def _component(values: dict[Any, Any], where: str, source: str) -> ComponentReference:
    digest = _digest(values, where)
    keys = values.get(13)
    if not isinstance(keys, list) or len(keys) != 1:
        raise Malformed(f"{where}: cryptokeys (signer-id) must contain exactly one entry", label=13)
    signer = _tagged_bytes(keys[0], TAG_BYTES)
    if signer is None:
        raise Malformed(
            f"{where}: cryptokeys (signer-id) must be of type 'bytes', got '{_type_name(keys[0])}'", label=13
        )
    if len(signer) not in HASH_SIZES:
        raise Malformed(f"{where}: signer-id must be 32, 48, or 64 bytes, got {len(signer)}", label=13)
    version = None
    if 0 in values:
        version_map = _map(values[0], f"{where}: version")
        if 1 in version_map:
            raise Malformed(f"{where}: version-scheme field MUST NOT be present in {MKEY_COMPONENT}", label=0)
        version = version_map.get(0)
        if not isinstance(version, str):
            raise Malformed(f"{where}: version is not text", label=0)
    name = values.get(11)
    if name is not None and not isinstance(name, str):
        raise Malformed(f"{where}: name is not text", label=11)
    return ComponentReference(measurement_value=digest, signer_id=signer, name=name, version=version, source=source)


def _realm(index: int, triple: Any, source: str) -> RealmReference:
    prefix = f"realm reference value at index {index}"
    environment, items = _pair(triple, prefix)
    class_value = _class_id(environment, prefix, "environment.class is required for CCA Realm profile")
    class_id = _tagged_bytes(class_value, TAG_BYTES)
    if class_id is None:
        raise Malformed(f"{prefix}: RIM must be of type 'bytes', got '{_type_name(class_value)}'")
    if len(class_id) not in HASH_SIZES:
        raise Malformed(f"{prefix}: RIM must be 32, 48, or 64 bytes, got {len(class_id)}")
    rim: bytes | None = None
    rpv: bytes | None = None
    rems: list[bytes | None] = [None] * 4
    seen = set()
    for key, values, where in _measurements(prefix, items):
        if key in seen:
            raise Malformed(f"{where}: {key:.40} given twice", label=0)
        seen.add(key)
        if key == MKEY_RIM:
            rim = _digest(values, where)
        elif key in MKEY_REMS:
            rems[MKEY_REMS.index(key)] = _digest(values, where)
        elif key == MKEY_RPV:
            rpv = _raw_value(values, where, MKEY_RPV)
        else:
            raise Malformed(f'{where}: invalid mkey "{key:.40}"', label=0)
    if rim is None:
        raise Malformed(f"{prefix}: RIM ({MKEY_RIM}) measurement is mandatory but not found")
    return RealmReference(
        initial_measurement=rim, class_id=class_id, extensible_measurements=tuple(rems),
        personalization_value=rpv, source=source,
    )  # fmt: skip


def read_signed(data: bytes, key: PublicKey) -> Corim:
    """Verify a signed CoRIM (content type in the protected header) and read it. Raises Refused."""
    sign1 = cose.parse(data, CORIM_LIMITS)
    if sign1.headers.get(cose.CONTENT_TYPE) != CONTENT_TYPE:
        raise Malformed(f"signed CoRIM is not of content type {CONTENT_TYPE}", label=cose.CONTENT_TYPE)
    sign1.verify(key)
    return read(sign1.payload)
