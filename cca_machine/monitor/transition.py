"""Granule transitions: the only code that changes the GPT of a running machine.

A granule leaves the Normal world or returns to it; nothing goes to or from Root, or from Secure to Realm directly.
Source: TF-A lib/gpt_rme (gpt_delegate_pas, gpt_undelegate_pas). Cleaning caches and TLBs has no effect that a program
could see here, so it costs time only.
"""

from __future__ import annotations

from enum import Enum

from cca_machine.abi.rmm_el3 import El3Status
from cca_machine.hardware.address import GRANULE_BYTES, is_granule_aligned
from cca_machine.hardware.gpt import Gpi, GranuleProtectionTable


class Transition(Enum):
    """The moves that EL3 knows: (from, to)."""

    DELEGATE = (Gpi.NON_SECURE, Gpi.REALM)
    UNDELEGATE = (Gpi.REALM, Gpi.NON_SECURE)
    SECURE = (Gpi.NON_SECURE, Gpi.SECURE)
    RELEASE = (Gpi.SECURE, Gpi.NON_SECURE)


def move(gpt: GranuleProtectionTable, transition: Transition, pa: int) -> El3Status:
    """Move one granule.

    BAD_ADDRESS when `pa` is not aligned to a granule or no memory; then BAD_PAS when the granule is not where the
    transition starts. A refused move changes nothing.
    """
    source, target = transition.value
    if not is_granule_aligned(pa):
        return El3Status.BAD_ADDRESS
    if gpt.granules.get(pa) != source:
        return El3Status.BAD_PAS if gpt.granules.contains(pa) else El3Status.BAD_ADDRESS
    gpt.set(pa, target)
    return El3Status.OK


def move_run(gpt: GranuleProtectionTable, transition: Transition, pa: int, count: int) -> int:
    """What `count` calls of `move` from `pa` upward come to, up to the first refusal: how many succeeded."""
    source, target = transition.value
    if count <= 0 or not is_granule_aligned(pa):
        return 0
    movable = gpt.run_length(pa, source, count)
    gpt.set_run(pa, target, movable)
    return movable


def carve(gpt: GranuleProtectionTable, transition: Transition, base: int, size: int) -> None:
    """Set a whole region aside, as BL2 does before the machine runs; sizes in bytes.

    Raises:
        ValueError: some granule of the region cannot make the transition; those below it did.
    """
    count = size // GRANULE_BYTES
    if move_run(gpt, transition, base, count) != count:
        raise ValueError(f"region {base:#x} to {base + size:#x} is not all {transition.value[0].name} memory")
