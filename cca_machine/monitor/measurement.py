"""Measurement registers: extended, never written; the event log explains their values.

Source: RSE measured boot (TF-M; TF-A docs/components/measured_boot): new value = H(old value joined with measurement).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cca_machine.monitor.state import ZERO_REGISTER, MeasurementEvent, MeasurementSlot


class SlotRefused(Exception):
    """A register was extended under another signer than before: RSE answers NOT_PERMITTED."""


def extended(register: bytes, digest: bytes) -> bytes:
    """SHA-256 over the old value and the measurement."""
    return hashlib.sha256(register + digest).digest()


def extend(slots: dict[int, MeasurementSlot], event: MeasurementEvent) -> dict[int, MeasurementSlot]:
    """The slots after `event`.

    Raises:
        SlotRefused: the slot was last extended for another signer.
    """
    before = slots.get(event.slot)
    if before is not None and before.last.signer != event.signer:
        raise SlotRefused(f"slot {event.slot} belongs to signer {before.last.signer.hex()}, not {event.signer.hex()}")
    register = extended(before.register if before is not None else ZERO_REGISTER, event.digest)
    return {**slots, event.slot: MeasurementSlot(register=register, last=event)}


def replay(log: Iterable[MeasurementEvent]) -> dict[int, bytes]:
    """The registers that an event log stands for, by slot."""
    registers: dict[int, bytes] = {}
    for event in log:
        registers[event.slot] = extended(registers.get(event.slot, ZERO_REGISTER), event.digest)
    return registers
