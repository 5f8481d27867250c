"""What a machine has on its agenda: things that happen at an instant, each a record so that a snapshot can hold it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from cca_machine.commands import Input, Output, Record
from cca_machine.host.states import HostedEvent


class Arrived(Struct, frozen=True, tag="arrived"):
    """Something reaches the machine from `source`, which numbered it."""

    source: str
    number: int
    body: Input


class Say(Struct, frozen=True, tag="say"):
    """Something leaves the machine; `answers` is the number of the message it replies to."""

    target: str
    body: Output
    answers: int = 0


class Tell(Struct, frozen=True, tag="tell"):
    """A line for the trace."""

    what: Record


class Happen(Struct, frozen=True, tag="happen"):
    """A hosted Realm takes a step of its table; `why` goes into the trace if its execution begins or ends by it."""

    realm: str
    incarnation: int
    event: HostedEvent
    why: str


class Built(Struct, frozen=True, tag="built"):
    """All RMI calls that make a Realm are done: it may be lost from here on."""

    realm: str
    incarnation: int
    rim: str
    calls: dict[str, int]


class Gone(Struct, frozen=True, tag="gone"):
    """A Realm is taken apart: its granules go back to the pool, and nothing of it is left here."""

    realm: str
    incarnation: int
    granules: tuple[tuple[int, int], ...]


class LeaseTimer(Struct, frozen=True, tag="lease-timer"):
    """The earliest lease may end now."""


class Wake(Struct, frozen=True, tag="wake"):
    """A control PE or a Realm's lock becomes free: waiting commands may start."""


class BlackoutEnd(Struct, frozen=True, tag="blackout-end"):
    """An activation is over: the PEs go on."""


class Hang(Struct, frozen=True, tag="hang"):
    """The PEs of a rendezvous wait for one that does not come; the watchdog bites after `watchdog_ns`."""

    component: str
    absent: int
    watchdog_ns: int


class Watchdog(Struct, frozen=True, tag="watchdog"):
    """The watchdog resets a machine that hangs."""


class ImageFails(Struct, frozen=True, tag="image-fails"):
    """The RMM image entered as number `rmm_sequence` of boot `boot` comes to the end that was planted in it."""

    boot: int
    rmm_sequence: int


class BootEnd(Struct, frozen=True, tag="boot-end"):
    """The machine is up."""


class Reset(Struct, frozen=True, tag="reset"):
    """The machine goes down by order, to boot again."""


Happening: TypeAlias = (
    Arrived | Say | Tell | Happen | Built | Gone | LeaseTimer | Wake | BlackoutEnd | Hang | Watchdog | ImageFails
    | BootEnd | Reset
)  # fmt: skip
