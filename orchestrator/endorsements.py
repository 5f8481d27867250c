"""CoRIMs and attestation results as people and scripts want to see them, and a fleet's own to be given to others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attestation.corim import Corim
from attestation.corim_write import write_platform, write_realm
from attestation.ear import Ear
from attestation.stores import write_anchor_store, write_reference_store
from attestation.trust import meaning, tier_of
from orchestrator import rundir
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.errors import UserMistake
from orchestrator.plan import plan, trust_anchors
from orchestrator.replay import cluster_of


def plain(corim: Corim) -> dict[str, Any]:
    """What a CoRIM endorses as plain data, byte strings in hex."""
    return {
        "id": corim.id,
        "profile": corim.profile.value if corim.profile is not None else None,
        "anchors": [
            {
                "instance_id": anchor.instance_id.hex(),
                "implementation_id": anchor.implementation_id.hex(),
                "key": anchor.public_key.jwk() if anchor.public_key is not None else None,
            }
            for anchor in corim.anchors
        ],
        "platform": [
            {
                "implementation_id": reference.implementation_id.hex(),
                "config": reference.config.hex() if reference.config is not None else None,
                "components": [
                    {
                        "name": component.name,
                        "version": component.version,
                        "measurement_value": component.measurement_value.hex(),
                        "signer_id": component.signer_id.hex() if component.signer_id is not None else None,
                    }
                    for component in reference.components
                ],
            }
            for reference in corim.platform
        ],
        "realm": [
            {
                "initial_measurement": reference.initial_measurement.hex(),
                "extensible_measurements": [
                    rem.hex() if rem is not None else None for rem in reference.extensible_measurements
                ],
                "personalization_value": _hex(reference.personalization_value),
            }
            for reference in corim.realm
        ],
    }


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None


def describe(corim: Corim) -> Iterator[str]:
    """What a CoRIM endorses, line by line."""
    yield f"CoRIM {corim.id}"
    yield f"profile {corim.profile or 'none: nothing in it is read as CCA'}"
    for anchor in corim.anchors:
        yield f"trust anchor for instance {anchor.instance_id.hex()}: {anchor.public_key!r}"
    for platform in corim.platform:
        yield f"platform {platform.implementation_id.hex()}"
        if platform.config is not None:
            yield f"  configuration {platform.config.hex()}"
        for component in platform.components:
            name = " ".join(word for word in (component.name or "any name", component.version) if word)
            yield f"  {name}: {component.measurement_value.hex()}"
    for realm in corim.realm:
        yield f"realm {realm.initial_measurement.hex()}"
        for index, rem in enumerate(realm.extensible_measurements):
            if rem is not None:
                yield f"  REM{index} {rem.hex()}"
        if realm.personalization_value is not None:
            yield f"  RPV {realm.personalization_value.hex()}"


def describe_result(result: Ear) -> Iterator[str]:
    """An attestation result, line by line: each member of each vector in words."""
    yield f"{'accepted' if result.affirming else 'refused (policy)'}: signature holds"
    yield f"verifier {result.verifier.developer}, {result.verifier.build}; profile {result.profile}"
    for name, submod in result.submods.items():
        yield f"{name}: {submod.status.text}" + (", CONTRADICTED by its own vector" if submod.contradicted else "")
        for claim, value in (submod.vector or {}).items():
            yield f"  {claim:<18} {value:>4}  {tier_of(value).text}: {meaning(claim, value)}"
        problem = (submod.policy_claims or {}).get("problem")
        if problem is not None:
            yield f"  problem: {problem}"


def export(file: Path, out: Path, seed: int | None = None) -> list[str]:
    """Write the trust anchors and reference values of a cluster file's fleet, or of a run's; the names of the files.

    Releases that are not endorsed and revoked firmware are not in it; what a run revoked later is not either.
    """
    if file.is_dir():
        cluster, own = cluster_of(file), int(rundir.read_manifest(file)["seed"])
    else:
        cluster, own = _load(file)
    made = plan(cluster, own if seed is None else seed)
    platform, realm = made.references.records()
    anchors = list(trust_anchors(made))
    tag_id = hashlib.sha256(f"{cluster.name}\0{made.seed}".encode()).digest()
    contents: dict[str, bytes] = {
        "platform.corim": write_platform(f"{cluster.name}-platform", tag_id[:16], platform, anchors),
        "anchors.json": write_anchor_store(anchors).encode(),
        "references.json": write_reference_store(made.references).encode(),
    }
    if realm:
        contents["realm.corim"] = write_realm(f"{cluster.name}-realm", tag_id[16:], realm)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise UserMistake(f"cannot write {out}: {error.strerror}", "choose another --out") from error
    return [str(out / name) for name in contents]


def _load(file: Path) -> tuple[Cluster, int]:
    try:
        loaded = load_text(file.read_bytes(), str(file))
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "check the path") from error
    if loaded.value is None:
        raise UserMistake(f"{file} cannot be used\n{loaded.render()}")
    return loaded.value, loaded.value.seed
