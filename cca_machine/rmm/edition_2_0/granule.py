"""Granules: GRANULE_RANGE_DELEGATE and GRANULE_RANGE_UNDELEGATE (DEN0137 2.0-bet0; TF-RMM runtime/rmi/granule.c)."""

from __future__ import annotations

from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.granule_map import GranuleMap
from cca_machine.rmm.core import Core, RmmPanicked
from cca_machine.rmm.edition_2_0.answers import INPUT, Answer, success
from cca_machine.rmm.edition_2_0.checks import DELEGATED, UNDELEGATED


def delegate(core: Core, base: int, top: int) -> Answer:
    """GRANULE_RANGE_DELEGATE: as much of the range as is NS, from its start; EL3 has the last word."""
    if (base | top) & GRANULE_MASK or top < base + GRANULE_BYTES:
        return (*INPUT, base)
    states, count = _states(core, base), _count(core, base, top)
    ready = states.run_length(base, UNDELEGATED, count)
    done = core.el3.delegate_run(base, ready) if ready else 0
    if not done:
        return (*INPUT, base)
    states.set_run(base, DELEGATED, done)
    core.memory.scrub_run(base, done)
    return success(base + done * GRANULE_BYTES)


def undelegate(core: Core, base: int, top: int) -> Answer:
    """GRANULE_RANGE_UNDELEGATE: as much of the range as is DELEGATED, from its start, wiped.

    Raises:
        RmmPanicked: EL3 refuses, so that the GPT and the granule table disagree.
    """
    if (base | top) & GRANULE_MASK or top < base + GRANULE_BYTES:
        return (*INPUT, base)
    states, count = _states(core, base), _count(core, base, top)
    ready = states.run_length(base, DELEGATED, count)
    if not ready:
        return (*INPUT, base)
    done = core.el3.undelegate_run(base, ready)
    states.set_run(base, UNDELEGATED, done)
    core.memory.scrub_run(base, done)
    if done < ready:
        raise RmmPanicked(f"EL3 refuses to undelegate {base + done * GRANULE_BYTES:#x}")
    return success(base + done * GRANULE_BYTES)


def _states(core: Core, address: int) -> GranuleMap:
    devices = core.state.device_granules
    if devices is not None and devices.contains(address):
        return devices
    return core.granules


def _count(core: Core, base: int, top: int) -> int:
    return 1 if core.quirks.one_granule_per_call else (top - base) // GRANULE_BYTES
