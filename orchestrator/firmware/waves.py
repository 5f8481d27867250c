"""Who goes when: machines in rollout order, and how many a wave takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.cluster.schema import Wave

PPM = 1_000_000


def rollout_order(racks: Mapping[str, str]) -> list[str]:
    """All machines, rack by rack and by name: a wave then stands in as few racks as it can.

    Realms that are spread over racks are so never paused all at once by one wave. `racks` maps machine to rack.
    """
    return sorted(racks, key=lambda machine: (racks[machine], machine))


def wave_size(wave: Wave, remaining: int) -> int:
    """How many of `remaining` machines the wave takes: a number, or a share rounded up."""
    if wave.machines is not None:
        return min(wave.machines, remaining)
    return -(-remaining * (wave.share or 0) // PPM)
