"""A small valid cluster as plain data, to be broken in one place per test."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.cluster.check import check_cluster
from orchestrator.cluster.diagnostics import path_text
from orchestrator.cluster.schema import Cluster

SOUND: dict[str, Any] = {
    "version": 1,
    "name": "sound",
    "duration": "10min",
    "profiles": {"std": {"pes": 8, "memory": "8GiB", "firmware": "fw"}},
    "racks": {"r1": {"machines": {"std": 2}}, "r2": {"machines": {"std": 2}}},
    "firmware": {
        "releases": {
            "fw": {
                "components": {
                    "BL2": {"version": "1.0.0", "signed_by": "vendor"},
                    "BL31": {"version": "1.0.0", "signed_by": "vendor"},
                    "RMM": {"version": "1.0.0", "signed_by": "vendor"},
                }
            }
        }
    },
    "images": {"web": {}},
    "realms": {"web": {"image": "web", "count": 3}},
}


@pytest.fixture
def sound() -> dict[str, Any]:
    """The data of a cluster without any finding; the test's own copy."""
    return copy.deepcopy(SOUND)


Say = Callable[[dict[str, Any]], list[str]]


@pytest.fixture
def findings_of() -> Say:
    """What the checks say of cluster data, as `path: message`."""

    def say(data: dict[str, Any]) -> list[str]:
        found = check_cluster(Cluster.model_validate(data))
        return [f"{path_text(finding.path)}: {finding.message}" for finding in found]

    return say
