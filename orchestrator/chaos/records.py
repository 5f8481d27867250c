"""Trace records of chaos: what began, whom it struck, when it was undone. Controllers never see them."""

from __future__ import annotations

from msgspec import Struct


class FaultInjected(Struct, frozen=True, tag="fault.injected"):
    """A fault begins and holds until `until_ns`.

    `targets` are the machines struck, or one end of the links; `peers` is the other end (empty for machine faults).
    With `one_way` only what goes from `targets` to `peers` is struck. `amount` is the loss in parts per million or the
    delay in nanoseconds, 0 for kinds without one.
    """

    fault: str
    kind: str
    targets: tuple[str, ...]
    until_ns: int
    peers: tuple[str, ...] = ()
    one_way: bool = False
    amount: int = 0


class FaultHealed(Struct, frozen=True, tag="fault.healed"):
    """The fault is undone."""

    fault: str
    kind: str
    targets: tuple[str, ...]
    peers: tuple[str, ...] = ()


class FaultSkipped(Struct, frozen=True, tag="fault.skipped"):
    """The fault struck nobody: its selector meant no machine, or the same fault was there already."""

    fault: str
    kind: str
    why: str


ChaosRecord = FaultInjected | FaultHealed | FaultSkipped
