"""Event logs of Realms: read strictly, replayed into RIM and REMs, matched with what a token says.

The log is a TCG2 crypto-agile log; three tagged events tell how the host built the Realm, so that the RIM can be
computed again from log and images. A log may end in zero filling (it lives in a memory region of fixed size), and one
cut inside an event counts up to its last whole event. Sources: TCG PC Client Platform Firmware Profile 1.06 section 10,
veraison/cca-realm-measurements (event log of Realms, map of PCRs to registers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

import msgspec

from attestation.claim_records import RealmClaims
from attestation.errors import Malformed, RefusalReason, Untrusted
from attestation.hashes import HashName
from attestation.rim import (
    PAGE,
    DataCreate,
    HashAlgorithm,
    PageDigests,
    RealmCreate,
    RecCreate,
    RemRule,
    RimEvent,
    RimRule,
    compute,
    extend_rem,
    ripas_blocks,
    zero_rem,
)

MAX_BYTES = 1024 * 1024
MAX_IMAGE_BYTES = 1024 * 1024 * 1024
MAX_STEPS = 1 << 18
"""Most extensions of the RIM that a log may ask for: 1 GiB loaded page by page."""
_SPEC_ID = b"Spec ID Event03\0"
_VM_VERSION = b"VM VERSION".ljust(16, b"\0")
TCG_ALGORITHMS = {HashName.SHA_256: 0x0B, HashName.SHA_384: 0x0C, HashName.SHA_512: 0x0D}
"""TCG algorithm number by claim text."""
_KNOWN_SIZES = {0x04: 20, **{number: name.size for name, number in TCG_ALGORITHMS.items()}}
_MAX_ALGORITHMS = 8


class EventType(IntEnum):
    """The event types that mean something for a Realm's measurements."""

    NO_ACTION = 0x03
    EVENT_TAG = 0x06
    POST_CODE2 = 0x13
    PLATFORM_FIRMWARE_BLOB2 = 0x8000000A


class RealmTag(IntEnum):
    """Ids of tagged events that tell how the host built the Realm."""

    REALM_CREATE = 1
    INIT_RIPAS = 2
    REC_CREATE = 3


class Event(NamedTuple):
    """One entry; ``digests`` by TCG algorithm number, ``offset`` in bytes from the start of the log."""

    offset: int
    pcr: int
    kind: int
    digests: dict[int, bytes]
    data: bytes


class EventLog(msgspec.Struct, frozen=True):
    """A log that was read: digest sizes it declares, whole events, and whether it ended inside one."""

    algorithms: dict[int, int]
    events: tuple[Event, ...]
    truncated: bool


class VmVersion(NamedTuple):
    """Which virtual machine monitor built the Realm, and its size (bytes)."""

    name: str
    version: str
    ram_bytes: int
    vcpus: int


class Blob(NamedTuple):
    """An image that was loaded: its name, address and size in bytes, digest under each algorithm."""

    name: str
    base: int
    size: int
    digests: dict[int, bytes]


class Register(msgspec.Struct, frozen=True):
    """One measurement register: what the log explains and what the token says; ``replayed`` is trimmed to the hash."""

    name: str
    replayed: bytes
    found: bytes

    @property
    def explained(self) -> bool:
        """Whether the log explains the register."""
        return self.replayed == self.found


# -- reading ----------------------------------------------------------------------------------------------------------


class _Cut(Exception):
    """The log ends inside an event."""


class _Cursor:
    """Little-endian reading with bounds."""

    def __init__(self, data: bytes, pos: int) -> None:
        self.data, self.pos = data, pos

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        end = self.pos + size
        if end > len(self.data):
            raise _Cut
        start, self.pos = self.pos, end
        return self.data[start:end]


def read(data: bytes) -> EventLog:
    """Read a log. Raises Malformed with the byte offset of the event that is wrong."""
    if len(data) > MAX_BYTES:
        raise Malformed(f"event log of {len(data)} bytes exceeds the limit of {MAX_BYTES}", offset=MAX_BYTES)
    try:
        algorithms, start = _read_header(data)
    except _Cut:
        raise Malformed("event log ends inside its specification event", offset=len(data)) from None
    events: list[Event] = []
    while start < len(data) and any(data[start:]):
        cursor = _Cursor(data, start)
        try:
            events.append(_read_event(cursor, algorithms))
        except _Cut:
            return EventLog(algorithms, tuple(events), True)
        start = cursor.pos
    return EventLog(algorithms, tuple(events), False)


def _read_header(data: bytes) -> tuple[dict[int, int], int]:
    """The first event, in the old format: which algorithms the log uses, and where the next event starts."""
    cursor = _Cursor(data, 0)
    pcr, kind, digest = cursor.number(4), cursor.number(4), cursor.take(20)
    if pcr != 0 or kind != EventType.NO_ACTION or any(digest):
        raise Malformed("event log does not start with a specification event", offset=0)
    end = cursor.number(4) + cursor.pos
    at = cursor.pos
    if cursor.take(16) != _SPEC_ID:
        raise Malformed("event log is not a crypto-agile TCG2 log", offset=at)
    cursor.take(8)
    count = cursor.number(4)
    if not 1 <= count <= _MAX_ALGORITHMS:
        raise Malformed(f"event log declares {count} digest algorithms", offset=cursor.pos - 4)
    algorithms: dict[int, int] = {}
    for _ in range(count):
        at = cursor.pos
        number, size = cursor.number(2), cursor.number(2)
        if number in algorithms:
            raise Malformed(f"digest algorithm {number:#06x} is declared twice", offset=at)
        if size != _KNOWN_SIZES.get(number, size) or not 0 < size <= 128:
            raise Malformed(f"digests of algorithm {number:#06x} cannot be {size} bytes", offset=at)
        algorithms[number] = size
    cursor.take(cursor.number(1))
    if cursor.pos != end:
        raise Malformed("size of the specification event does not fit its content", offset=28)
    return algorithms, end


def _read_event(cursor: _Cursor, algorithms: dict[int, int]) -> Event:
    offset = cursor.pos
    pcr, kind, count = cursor.number(4), cursor.number(4), cursor.number(4)
    if count > len(algorithms):
        raise Malformed(f"event carries {count} digests, the log declares {len(algorithms)}", offset=offset + 8)
    digests: dict[int, bytes] = {}
    for _ in range(count):
        at = cursor.pos
        number = cursor.number(2)
        if number not in algorithms or number in digests:
            what = "twice" if number in digests else "but not declared"
            raise Malformed(f"digest algorithm {number:#06x} is used {what}", offset=at)
        digests[number] = cursor.take(algorithms[number])
    return Event(offset, pcr, kind, digests, cursor.take(cursor.number(4)))


def vm_version(log: EventLog) -> VmVersion | None:
    """The "VM VERSION" event, when there is one. Raises Malformed when it has a wrong size."""
    for event in log.events:
        if event.kind == EventType.NO_ACTION and event.data.startswith(_VM_VERSION):
            # the document puts start and size of the log before the RAM size; older writers leave them out
            if len(event.data) not in (100, 116):
                raise Malformed("VM VERSION event has a wrong size", offset=event.offset)
            ram_bytes, vcpus = struct.unpack("<QI", event.data[-12:])
            return VmVersion(_name(event.data[16:48], event), _name(event.data[48:88], event), ram_bytes, vcpus)
    return None


def _name(data: bytes, event: Event) -> str:
    try:
        return data.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("name in an event is not ASCII", offset=event.offset) from None


def read_blob(event: Event) -> Blob | None:
    """The image that an event reports; None for an event of another kind. Raises Malformed."""
    if event.kind not in (EventType.POST_CODE2, EventType.PLATFORM_FIRMWARE_BLOB2):
        return None
    size = event.data[0] if event.data else 0
    if len(event.data) != 1 + size + 16:
        raise Malformed("image event has a wrong size", offset=event.offset)
    base, length = struct.unpack("<QQ", event.data[-16:])
    return Blob(_name(event.data[1 : 1 + size], event), base, length, event.digests)


def read_tag(event: Event) -> RealmCreate | RecCreate | tuple[int, int] | None:
    """What a tagged event tells of the Realm's building; base and size (bytes) for INIT_RIPAS. Raises Malformed."""
    if event.kind != EventType.EVENT_TAG:
        return None
    if len(event.data) < 8:
        raise Malformed("tagged event is too short", offset=event.offset)
    tag, size = struct.unpack_from("<II", event.data)
    body = event.data[8:]
    if size != len(body):
        raise Malformed("tagged event has a wrong size", offset=event.offset)
    if tag not in tuple(RealmTag):
        return None
    form = _TAG_FORMS[RealmTag(tag)]
    if size != struct.calcsize(form):
        raise Malformed(f"{RealmTag(tag).name} event is {size} bytes, not {struct.calcsize(form)}", offset=event.offset)
    values = struct.unpack(form, body)
    if tag == RealmTag.INIT_RIPAS:
        return values[0], values[1]
    if tag == RealmTag.REC_CREATE:
        return RecCreate(values[0], values[1], tuple(values[2:]))
    flags, s2sz, sve_vl, num_bps, num_wps, pmu, algorithm = values
    if algorithm not in tuple(HashAlgorithm) or not 12 < s2sz <= 52:
        raise Malformed("REALM_CREATE event names no known hash algorithm or address width", offset=event.offset)
    return RealmCreate(
        flags=flags, s2sz=s2sz, sve_vl=sve_vl, num_bps=num_bps, num_wps=num_wps, pmu_num_ctrs=pmu, hash_algo=algorithm
    )


_TAG_FORMS = {RealmTag.REALM_CREATE: "<Q6B", RealmTag.INIT_RIPAS: "<QQ", RealmTag.REC_CREATE: "<QQ8Q"}


# -- replaying --------------------------------------------------------------------------------------------------------


def rim_events(log: EventLog, images: Mapping[bytes, bytes]) -> Iterator[RimEvent]:
    """The operations that made the Realm, in the order of the log; ``images`` are contents by their logged digest.

    An image event without digest is data loaded unmeasured. Raises Malformed, or Untrusted (binding) when an image is
    missing or is not the one that the log names.
    """
    created: RealmCreate | None = None
    pages: PageDigests | None = None
    for event in log.events:
        told, blob = read_tag(event), read_blob(event)
        if isinstance(told, RealmCreate):
            if created is not None:
                raise Malformed("Realm is created twice", offset=event.offset)
            created, pages = told, PageDigests(HashAlgorithm(told.hash_algo))
            yield told
        elif told is None and blob is None:
            continue
        elif created is None or pages is None:
            raise Malformed("event before the creation of the Realm", offset=event.offset)
        elif isinstance(told, RecCreate):
            yield told
        elif told is not None:
            yield from _ripas(told, created.s2sz, event)
        elif blob is not None:
            yield from _load(blob, images, pages, event)


def _ripas(told: tuple[int, int], s2sz: int, event: Event) -> Iterator[RimEvent]:
    base, size = told
    if base % PAGE or size % PAGE or not size or base + size > 1 << s2sz:
        raise Malformed("INIT_RIPAS range is not whole pages of the Realm's address space", offset=event.offset)
    yield from ripas_blocks(base, base + size, s2sz)


def _load(blob: Blob, images: Mapping[bytes, bytes], pages: PageDigests, event: Event) -> Iterator[RimEvent]:
    if blob.size > MAX_IMAGE_BYTES or blob.base + blob.size >= 1 << 52:
        raise Malformed(f"image {blob.name} is too large, or beyond every address", offset=event.offset)
    if not blob.digests:
        first = blob.base - blob.base % PAGE
        yield from (DataCreate(ipa, 0) for ipa in range(first, blob.base + blob.size, PAGE))
        return
    content = next((images[digest] for digest in blob.digests.values() if digest in images), None)
    if content is None:
        raise Untrusted(
            f"image {blob.name} of the log is not among those given", reason=RefusalReason.BINDING, offset=event.offset
        )
    if len(content) != blob.size:
        raise Untrusted(
            f"image {blob.name} is {len(content)} bytes, the log says {blob.size}",
            reason=RefusalReason.BINDING,
            offset=event.offset,
        )
    yield from pages.data_events(content, blob.base)


def index_images(contents: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """Contents of image files by their digests under every algorithm that logs use."""
    return {name.digest(content): content for content in contents.values() for name in HashName}


def replay_rim(log: EventLog, images: Mapping[bytes, bytes], rule: RimRule = RimRule.RMM_1_0) -> bytes:
    """The RIM that the log explains. Raises like :func:`rim_events`; Malformed when no Realm is created."""
    events = list(islice(rim_events(log, images), MAX_STEPS + 1))
    if len(events) > MAX_STEPS:
        raise Malformed(f"event log asks for more than {MAX_STEPS} measurements")
    if not events:
        raise Malformed("event log does not tell how the Realm was created")
    return compute(events, rule=rule)


def register_of(pcr: int) -> int | None:
    """The REM (0 to 3) that a PCR of the log stands for; None for PCR 0, which is the RIM."""
    if pcr == 0:
        return None
    if pcr in (1, 7):
        return 0
    return 1 if pcr <= 6 else 2 if pcr <= 15 else 3


def replay_rems(log: EventLog, algorithm: HashAlgorithm, rule: RemRule = RemRule.TF) -> tuple[bytes, ...]:
    """The four REMs after all measured events. Raises Malformed when one has no digest under ``algorithm``."""
    rems = [zero_rem(algorithm)] * 4
    number = TCG_ALGORITHMS[algorithm.hash_name]
    for event in log.events:
        register = register_of(event.pcr)
        if register is None or event.kind == EventType.NO_ACTION:
            continue
        if number not in event.digests:
            raise Malformed(f"measured event has no {algorithm.hash_name} digest", offset=event.offset)
        rems[register] = extend_rem(rems[register], event.digests[number], algorithm, rule)
    return tuple(rems)


def match(
    log: EventLog,
    claims: RealmClaims,
    images: Mapping[bytes, bytes] | None = None,
    *,
    rim_rule: RimRule = RimRule.RMM_1_0,
    rem_rule: RemRule = RemRule.TF,
) -> tuple[Register, ...]:
    """Match a log with the measurements of a verified token: REM0 to REM3, and before them the RIM if images are given.

    Raises Malformed or Untrusted when the log cannot be replayed; a register that it does not explain is a result.
    """
    names = {algorithm.hash_name: algorithm for algorithm in HashAlgorithm}
    algorithm = names[HashName(claims.hash_algo_id)]
    registers = []
    if images is not None:
        registers.append(Register("RIM", replay_rim(log, images, rim_rule), claims.initial_measurement))
    rems = zip(replay_rems(log, algorithm, rem_rule), claims.extensible_measurements, strict=True)
    return (*registers, *(Register(f"REM{index}", expected, found) for index, (expected, found) in enumerate(rems)))
