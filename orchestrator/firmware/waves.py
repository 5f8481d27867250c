"""Who goes when: machines in rollout order, and how many a wave takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.cluster.schema import RolloutEvent, Wave

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


def at_once(event: RolloutEvent, machines: int) -> int:
    """How many machines may be under way at once; one at a time where they go down, unless the event says otherwise."""
    if event.max_unavailable is not None:
        return event.max_unavailable
    return machines if event.strategy == "live" else 1


def next_opening(event: RolloutEvent, now_ns: int) -> int | None:
    """When machines may be taken next: `now_ns` itself inside a window and outside every freeze; None: never again."""
    candidates = [now_ns, *(window.begin for window in event.windows), *(freeze.end for freeze in event.freezes)]
    for at_ns in sorted(set(candidates)):
        open_then = not event.windows or any(window.begin <= at_ns < window.end for window in event.windows)
        frozen = any(freeze.begin <= at_ns < freeze.end for freeze in event.freezes)
        if at_ns >= now_ns and open_then and not frozen:
            return at_ns
    return None
