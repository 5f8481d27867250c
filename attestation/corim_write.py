"""Write CoRIM for CCA, so that a fleet's anchors and reference values can be given to a real verifier.

The bytes are those that veraison/corim accepts under its two CCA profiles.
Sources: draft-ietf-rats-corim, draft-cca-rats-endorsements, veraison/corim profiles/cca.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attestation import cbor, cose
from attestation.corim import (
    CONTENT_TYPE,
    MKEY_COMPONENT,
    MKEY_CONFIG,
    MKEY_REMS,
    MKEY_RIM,
    MKEY_RPV,
    TAG_BYTES,
    TAG_COMID,
    TAG_CORIM,
    TAG_PKIX_KEY,
    TAG_UEID,
    TAG_URI,
    CorimProfile,
)
from attestation.keys import SigningKey
from attestation.stores import PlatformReference, RealmReference, TrustAnchor

_DIGEST_ALGORITHMS = {32: 1, 48: 7, 64: 8}
"""Named information hash algorithm by digest size in bytes."""
_CORIM_META = 8


def _write(corim_id: str, profile: CorimProfile, comids: Iterable[bytes], entity: str) -> bytes:
    body = {
        0: corim_id,
        1: [cbor.tagged(TAG_COMID, comid) for comid in comids],
        3: cbor.tagged(TAG_URI, str(profile)),
        5: [{0: entity, 2: [1]}],
    }
    return cbor.encode(cbor.tagged(TAG_CORIM, body))


def _comid(tag_id: bytes, triples: dict[int, Any]) -> bytes:
    return cbor.encode({1: {0: tag_id}, 4: triples})


def _mval_digest(digest: bytes) -> dict[int, Any]:
    return {2: [[_DIGEST_ALGORITHMS[len(digest)], digest]]}


def write_platform(
    corim_id: str,
    tag_id: bytes,
    references: Iterable[PlatformReference],
    anchors: Iterable[TrustAnchor] = (),
    *,
    entity: str = "Realmfleet",
) -> bytes:
    """Write platform endorsements: references and anchors; ``tag_id`` is a 16-byte UUID.

    Revoked components are left out, and versions too, because the Veraison library cannot read them.
    """  # fmt: skip
    triples: dict[int, Any] = {}
    values = [_platform_triple(reference) for reference in references]
    keys = [_anchor_triple(anchor) for anchor in anchors if anchor.public_key is not None]
    if values:
        triples[0] = values
    if keys:
        triples[3] = keys
    return _write(corim_id, CorimProfile.PLATFORM, [_comid(tag_id, triples)], entity)


def _class(identifier: bytes) -> dict[int, Any]:
    return {0: {0: cbor.tagged(TAG_BYTES, identifier)}}


def _platform_triple(reference: PlatformReference) -> list[Any]:
    measurements: list[dict[int, Any]] = []
    for component in reference.components:
        if component.revoked or component.signer_id is None:
            continue
        values = _mval_digest(component.measurement_value)
        if component.name is not None:
            values[11] = component.name
        values[13] = [cbor.tagged(TAG_BYTES, component.signer_id)]
        measurements.append({0: MKEY_COMPONENT, 1: values})
    if reference.config is not None:
        mask = b"\xff" * len(reference.config)
        measurements.append({0: MKEY_CONFIG, 1: {4: cbor.tagged(TAG_BYTES, reference.config), 5: mask}})
    return [_class(reference.implementation_id), measurements]


def _anchor_triple(anchor: TrustAnchor) -> list[Any]:
    environment = {**_class(anchor.implementation_id), 1: cbor.tagged(TAG_UEID, anchor.instance_id)}
    pem = anchor.public_key.pem().strip() if anchor.public_key is not None else ""
    return [environment, [cbor.tagged(TAG_PKIX_KEY, pem)]]


def write_realm(
    corim_id: str, tag_id: bytes, references: Iterable[RealmReference], *, entity: str = "Realmfleet"
) -> bytes:
    """Write Realm endorsements; ``tag_id`` is a 16-byte UUID. Digests have the length of their hash."""
    triples = {0: [_realm_triple(reference) for reference in references]}
    return _write(corim_id, CorimProfile.REALM, [_comid(tag_id, triples)], entity)


def _realm_triple(reference: RealmReference) -> list[Any]:
    measurements: list[dict[int, Any]] = [{0: MKEY_RIM, 1: _mval_digest(reference.initial_measurement)}]
    for key, rem in zip(MKEY_REMS, reference.extensible_measurements, strict=True):
        if rem is not None:
            measurements.append({0: key, 1: _mval_digest(rem)})
    if reference.personalization_value is not None:
        measurements.append({0: MKEY_RPV, 1: {4: cbor.tagged(TAG_BYTES, reference.personalization_value)}})
    return [_class(reference.class_id or reference.initial_measurement), measurements]


def sign(corim: bytes, key: SigningKey, *, signer: str = "Realmfleet", key_id: bytes = b"") -> bytes:
    """Sign an unsigned CoRIM as it is (draft-ietf-rats-corim, signed CoRIM): content type, kid and signer protected."""
    meta = cbor.encode({0: {0: signer}})
    headers = {cose.CONTENT_TYPE: CONTENT_TYPE, cose.KID: key_id, _CORIM_META: meta}
    return cose.sign(corim, key, protected=headers)
