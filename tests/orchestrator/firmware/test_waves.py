"""Who goes when: order by rack, sizes of waves."""

from __future__ import annotations

import pytest

from orchestrator.cluster.schema import Wave
from orchestrator.firmware.waves import rollout_order, wave_size


def test_machines_go_rack_by_rack() -> None:
    racks = {"b-1": "r1", "a-2": "r2", "a-1": "r2", "c-1": "r1"}
    assert rollout_order(racks) == ["b-1", "c-1", "a-1", "a-2"]


@pytest.mark.parametrize(
    ("wave", "remaining", "size"),
    [
        ({"machines": 1}, 8, 1),
        ({"machines": 9}, 8, 8),
        ({"share": "25%"}, 8, 2),
        ({"share": "25%"}, 7, 2),  # 1.75, rounded up
        ({"share": "0.1%"}, 7, 1),
        ({"share": "100%"}, 7, 7),
        ({"share": "50%"}, 0, 0),
        ({"machines": 1}, 0, 0),
    ],
)
def test_a_wave_takes_its_number_or_its_share_of_what_remains(
    wave: dict[str, object], remaining: int, size: int
) -> None:
    assert wave_size(Wave.model_validate(wave), remaining) == size
