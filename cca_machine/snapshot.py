"""A machine as bytes and back: one declared record, a versioned frame, and a load that accepts nothing else.

Pages that belong to a Realm image are written as a reference to it, because every machine can compute them; a snapshot
then costs what is peculiar to the machine, not what the fleet shares.
"""

from __future__ import annotations

import hashlib
import struct
from enum import StrEnum
from typing import Any

import msgspec

from cca_machine import image as images
from cca_machine.commands import ImageSpec, MachineSpec
from cca_machine.errors import SnapshotRefused
from cca_machine.guest.attester import GuestsState
from cca_machine.hardware.state import HardwareState
from cca_machine.host.happenings import Arrived, Happening
from cca_machine.host.hosted import HostState
from cca_machine.migration.session import Sessions
from cca_machine.monitor.state import MonitorState
from cca_machine.rmm.state import RmmState

MAGIC = b"RFMS"
VERSION = 1
_HEADER = struct.Struct(">4sHQ32s")


class Power(StrEnum):
    """Whether the machine has power and how far it came."""

    OFF = "off"
    BOOTING = "booting"
    ON = "on"
    HUNG = "hung"
    """Its PEs wait in the pen of an activation that can neither go on nor be given up."""


class Due(msgspec.Struct, frozen=True, array_like=True):
    """Something on the agenda, with its place in the total order."""

    at_ns: int
    priority: int
    source: str
    number: int
    what: Happening

    @property
    def key(self) -> tuple[int, int, str, int]:
        """Place in the total order."""
        return (self.at_ns, self.priority, self.source, self.number)


class Running(msgspec.Struct, kw_only=True):
    """What exists only while the machine is on."""

    hardware: HardwareState
    rmm: RmmState
    host: HostState
    guests: GuestsState = msgspec.field(default_factory=GuestsState)
    sessions: Sessions = msgspec.field(default_factory=Sessions)


class MachineState(msgspec.Struct, kw_only=True):
    """The root, without what the machine was built as.

    `sent`, `recorded` and `planned` number what left, what was traced and what the machine put on its own agenda.
    `queue` holds commands and parcels that wait for a control PE or for their Realm; `pes` and `locks` say until when
    (virtual ns) those are taken. `held` is what fell due while the machine was frozen. `faults` are active chaos.
    """

    monitor: MonitorState
    power: Power = Power.OFF
    running: Running | None = None
    clock_ns: int = 0
    sent: int = 0
    recorded: int = 0
    planned: int = 0
    agenda: list[Due] = []
    held: list[Happening] = []
    queue: list[Arrived] = []
    pes: list[int] = []
    locks: dict[str, int] = {}
    faults: list[str] = []


class _Framed(msgspec.Struct, array_like=True):
    """The state with image pages taken out: granule -> (image, page). `spec` is the digest of the specification."""

    spec: bytes
    state: MachineState
    images: list[ImageSpec]
    pages: dict[int, tuple[int, int]]


def spec_digest(spec: MachineSpec) -> bytes:
    """SHA-256 over a specification, firmware images included: a snapshot names it instead of repeating it."""
    return hashlib.sha256(msgspec.msgpack.encode(spec)).digest()


def save(state: MachineState, spec: bytes) -> bytes:
    """The snapshot of a machine; a machine that was restored from it gives the same bytes again."""
    known: list[ImageSpec] = []
    pages: dict[int, tuple[int, int]] = {}
    running = state.running
    if running is None:
        payload = msgspec.msgpack.encode(_Framed(spec, state, known, pages))
    else:
        known = _images(running.host)
        memory = running.hardware.memory
        contents = memory.contents
        pages, memory.contents = _split(contents, known)
        try:
            payload = msgspec.msgpack.encode(_Framed(spec, state, known, pages))
        finally:
            memory.contents = contents
    return _HEADER.pack(MAGIC, VERSION, len(payload), hashlib.sha256(payload).digest()) + payload


def load(snapshot: bytes, spec: bytes) -> MachineState:
    """The state that `save` wrote.

    Raises:
        SnapshotRefused: no snapshot, another version, cut short, changed, or of a machine with another specification.
    """
    if len(snapshot) < _HEADER.size or snapshot[:4] != MAGIC:
        raise SnapshotRefused("these bytes are not a machine snapshot")
    _, version, size, digest = _HEADER.unpack_from(snapshot)
    if version != VERSION:
        raise SnapshotRefused(f"snapshot of version {version}, this program reads version {VERSION}")
    payload = snapshot[_HEADER.size :]
    if len(payload) != size:
        raise SnapshotRefused(f"snapshot holds {len(payload)} of {size} bytes")
    if hashlib.sha256(payload).digest() != digest:
        raise SnapshotRefused("snapshot was changed after it was written")
    try:
        framed = msgspec.msgpack.decode(payload, type=_Framed)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SnapshotRefused(f"snapshot is not of this program's form: {error}") from None
    if framed.spec != spec:
        raise SnapshotRefused("snapshot belongs to a machine with another specification")
    if framed.state.running is not None:
        contents = framed.state.running.hardware.memory.contents
        for granule, (image, index) in framed.pages.items():
            contents[granule] = images.page(framed.images[image], index)
    return framed.state


def canonical(value: object) -> bytes:
    """Any records as bytes that do not depend on the order in which their dicts were filled."""
    return msgspec.msgpack.encode(_ordered(msgspec.to_builtins(value, builtin_types=(bytes, bytearray))))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return [[key, _ordered(value[key])] for key in sorted(value)]
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return value


def _images(host: HostState) -> list[ImageSpec]:
    """Images of the Realms here, each once, in a fixed order."""
    found = {hosted.spec.image for hosted in host.realms.values()}
    return sorted(found, key=lambda image: (image.name, image.version, image.size_bytes))


def _split(contents: dict[int, bytes], known: list[ImageSpec]) -> tuple[dict[int, tuple[int, int]], dict[int, bytes]]:
    """Contents as references to image pages, and the rest; both in address order."""
    place = {
        page: (number, index)
        for number, image in reversed(list(enumerate(known)))
        for index, page in reversed(list(enumerate(images.pages(image))))
    }
    references: dict[int, tuple[int, int]] = {}
    rest: dict[int, bytes] = {}
    for granule in sorted(contents):
        found = place.get(contents[granule])
        if found is None:
            rest[granule] = contents[granule]
        else:
            references[granule] = found
    return references, rest
