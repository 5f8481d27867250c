"""Answers of RMI 2.0: as many registers from x0 up as the command writes; the door fills in the rest."""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.rmi2 import Rmi2Status

Answer = tuple[int, ...]
Handler = Callable[..., Answer]
"""`handler(core, *arguments)`: one command."""


def success(*results: int) -> Answer:
    """SUCCESS with outputs from x1 up."""
    return (0, *results)


SUCCESS: Answer = (0,)
INPUT: Answer = (int(Rmi2Status.ERROR_INPUT),)
REALM: Answer = (int(Rmi2Status.ERROR_REALM),)
REC: Answer = (int(Rmi2Status.ERROR_REC),)
GLOBAL: Answer = (int(Rmi2Status.ERROR_GLOBAL),)
BUSY: Answer = (int(Rmi2Status.BUSY),)
BLOCKED: Answer = (int(Rmi2Status.BLOCKED),)
GPT: Answer = (int(Rmi2Status.ERROR_GPT),)


def rtt(level: int, *results: int) -> Answer:
    """ERROR_RTT at `level`."""
    return (Rmi2Status.ERROR_RTT | (level & 0xFF) << 8, *results)


def rtt_aux(level: int, *results: int) -> Answer:
    """ERROR_RTT_AUX at `level`."""
    return (Rmi2Status.ERROR_RTT_AUX | (level & 0xFF) << 8, *results)
