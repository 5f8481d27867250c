"""Answers of RMI 1.0 as registers x0..x7; outputs that a command does not specify are zero."""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.rmi import RmiStatus, rmi_result
from cca_machine.abi.smc import Registers

Handler = Callable[..., Registers]
"""`handler(core, *arguments)`: one command; it changes nothing unless it answers SUCCESS."""


def answer(x0: int, x1: int = 0, x2: int = 0, x3: int = 0, x4: int = 0) -> Registers:
    """x0..x4 as given, the rest zero."""
    return (x0, x1, x2, x3, x4, 0, 0, 0)


SUCCESS = answer(RmiStatus.SUCCESS)
INPUT = answer(RmiStatus.ERROR_INPUT)
REALM = answer(RmiStatus.ERROR_REALM)
REALM_OFF = answer(rmi_result(RmiStatus.ERROR_REALM, 1))
REC = answer(RmiStatus.ERROR_REC)

RTT = {level: answer(rmi_result(RmiStatus.ERROR_RTT, level)) for level in range(-1, 4)}
"""ERROR_RTT by level."""


def rtt(level: int, x1: int = 0, x2: int = 0) -> Registers:
    """ERROR_RTT with outputs."""
    return answer(rmi_result(RmiStatus.ERROR_RTT, level), x1, x2)
