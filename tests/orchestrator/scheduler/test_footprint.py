"""What a Realm is expected to take is never less than what its host takes for it."""

from __future__ import annotations

from typing import Any

import pytest

from cca_machine import layout
from cca_machine.abi.rmi import MAX_REC_AUX_GRANULES
from orchestrator.cluster.schema import Cluster
from orchestrator.realms.reference import realm_spec
from orchestrator.scheduler.footprint import demand_ppm, granules


def tables(base: int, top: int, level: int) -> int:
    """RTT granules below the start level that map every page of [base, top), counted level by level."""
    count = 0
    for at in range(level + 1, 4):
        span = 1 << (39 - 9 * (at - 1))
        count += (top - 1) // span - base // span + 1
    return count


@pytest.mark.parametrize("memory", ["16MiB", "130MiB", "1GiB", "3GiB"])
@pytest.mark.parametrize("vcpus", [1, 8])
def test_the_estimate_covers_data_tables_and_vcpus_of_the_real_layout(
    cluster_file: Any, memory: str, vcpus: int
) -> None:
    kind = {"image": "web", "memory": memory, "vcpus": vcpus}
    cluster = Cluster.model_validate(cluster_file(realms={"web": kind}))
    made = layout.plan(realm_spec(cluster, "web", "web-001", 1))
    needed = (
        1
        + made.rtt_num_start
        + made.ram_bytes // 4096
        + tables(made.ram_base, made.ram_top, made.rtt_level_start)
        + vcpus * (1 + MAX_REC_AUX_GRANULES)
    )
    estimate = granules(cluster.realms["web"])
    assert needed <= estimate <= needed + 64


def test_demand_is_counted_per_vcpu(cluster_file: Any) -> None:
    kind = {"image": "web", "vcpus": 3, "workload": {"cpu": "75%"}}
    cluster = Cluster.model_validate(cluster_file(realms={"web": kind}))
    assert demand_ppm(cluster.realms["web"]) == 2_250_000
