"""What a Realm must look like follows from its kind alone, and differs as soon as anything measured does."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest

from cca_machine import layout
from orchestrator.cluster.schema import Cluster
from orchestrator.realms.reference import expected_rim, personalization, realm_references, realm_spec


def spec(cluster_file: Any, name: str = "web-001", incarnation: int = 1, **kind: Any) -> Any:
    web = {"image": "web", "memory": "16MiB", **kind}
    return realm_spec(Cluster.model_validate(cluster_file(realms={"web": web})), "web", name, incarnation)


def rim_by_hand(realm: Any) -> bytes:
    """DEN0137 1.0-rel0, section A7.1, written out once more: hash chain over 256-byte descriptors."""
    digest = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}[realm.hash_algo]
    plan = layout.plan(realm)
    params = bytearray(4096)
    struct.pack_into("<Q", params, 0x0, plan.flags)
    for offset, value in ((0x8, plan.ipa_width), (0x18, plan.num_bps), (0x20, plan.num_wps), (0x30, plan.hash_algo)):
        params[offset] = value
    rim = digest(params).digest()

    def extend(kind: int, body: bytes) -> bytes:
        return digest((struct.pack("<QQ64s", kind, 0x100, rim) + body).ljust(0x100, b"\0")).digest()

    for base, top in plan.ripas:
        rim = extend(2, struct.pack("<QQ", base, top))
    for base, pages in plan.loads():
        for index, page in enumerate(pages):
            rim = extend(0, struct.pack("<QQ64s", base + 4096 * index, 1, digest(page).digest()))
    for rec in plan.recs:
        if rec.runnable:
            params = bytearray(4096)
            struct.pack_into("<Q", params, 0, 1)
            struct.pack_into("<Q", params, 0x200, rec.pc)
            struct.pack_into("<8Q", params, 0x300, *rec.gprs)
            rim = extend(1, struct.pack("<64s", digest(params).digest()))
    return rim


@pytest.mark.parametrize("changes", [{}, {"vcpus": 3}, {"hash": "sha-512"}, {"memory": "20MiB"}])
def test_the_expected_rim_is_the_hash_chain_of_the_specification(cluster_file: Any, changes: dict[str, Any]) -> None:
    realm = spec(cluster_file, **changes)
    assert expected_rim(realm) == rim_by_hand(realm)


def test_name_incarnation_and_workload_do_not_enter_the_rim(cluster_file: Any) -> None:
    assert expected_rim(spec(cluster_file)) == expected_rim(spec(cluster_file, "web-007", 3, workload={"cpu": "50%"}))


def test_the_rpv_names_the_realm_in_64_bytes(cluster_file: Any) -> None:
    assert spec(cluster_file, "web-001").rpv == spec(cluster_file, "web-001", 2).rpv == personalization("web-001")
    assert personalization("web-001") != personalization("web-002")
    assert len(personalization("web-001")) == 64


def test_kinds_that_are_built_alike_share_one_reference(cluster_file: Any) -> None:
    web = {"image": "web", "memory": "16MiB"}
    cluster = Cluster.model_validate(cluster_file(realms={"a": web, "b": web, "c": {**web, "memory": "32MiB"}}))
    assert len(realm_references(cluster)) == 2
