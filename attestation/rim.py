"""Realm measurements computed from events, independently of any RMM model.

The Realm Initial Measurement chains over what the host did before activation; the extensible measurements chain over
what the Realm extended. Digests are returned at the hash length (32, 48 or 64 bytes), as tokens carry them; a register
read over RSI is the digest zero padded to 64 bytes.
Sources: Arm DEN0137 (RMM 1.0-rel0) sections on Realm measurement and types; TF-RMM/tf-rmm lib/measurement;
veraison/cca-realm-measurements src/realm.rs. Integers are little endian, pages 4096 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum, StrEnum

import msgspec

from attestation.hashes import HashName

PAGE = 4096
REGISTER = 64
DESCRIPTOR = 0x100
REC_RUNNABLE = 1
DATA_MEASURED = 1


class HashAlgorithm(IntEnum):
    """The Realm hash algorithm as RealmParams numbers it."""

    SHA_256 = 0
    SHA_512 = 1
    SHA_384 = 2

    @property
    def hash_name(self) -> HashName:
        """The algorithm by its claim text."""
        return (HashName.SHA_256, HashName.SHA_512, HashName.SHA_384)[self]


class RimRule(StrEnum):
    """Which edition's rules apply to the RIM.

    ``RMM_1_0`` measures INIT_RIPAS; ``RMM_2_0`` (TF-RMM since 2026-04) does not; ``RMM_2_0_TEXT`` (DEN0137 2.0 drafts)
    moreover starts from zero instead of measuring the parameters.
    """

    RMM_1_0 = "rmm-1.0"
    RMM_2_0 = "rmm-2.0"
    RMM_2_0_TEXT = "rmm-2.0-text"


class RemRule(StrEnum):
    """How a REM is extended: ``TF`` hashes old digest and value unpadded, ``TEXT`` both padded to 64 bytes."""

    TF = "tf"
    TEXT = "text"


class RealmCreate(msgspec.Struct, frozen=True, kw_only=True, tag="create"):
    """RMI_REALM_CREATE: the measured fields of RmiRealmParams, as encoded (``num_bps`` is the count minus one)."""

    flags: int = 0
    s2sz: int
    sve_vl: int = 0
    num_bps: int
    num_wps: int
    pmu_num_ctrs: int = 0
    hash_algo: int = HashAlgorithm.SHA_256


class RipasInit(msgspec.Struct, frozen=True, tag="ripas"):
    """RMI_RTT_INIT_RIPAS: one processed RTT entry, base inclusive, top exclusive (addresses in bytes)."""

    base: int
    top: int


class DataCreate(msgspec.Struct, frozen=True, tag="data"):
    """RMI_DATA_CREATE: address, flags, and the digest of the page (empty when it is not measured)."""

    ipa: int
    flags: int
    content_digest: bytes = b""


class RecCreate(msgspec.Struct, frozen=True, tag="rec"):
    """RMI_REC_CREATE: flags, entry point and the eight general registers."""

    flags: int
    pc: int
    gprs: tuple[int, ...] = (0,) * 8


RimEvent = RealmCreate | RipasInit | DataCreate | RecCreate


class RimLog(msgspec.Struct):
    """The events that made a Realm, in the order in which they happened."""

    events: list[RimEvent] = []

    def add(self, event: RimEvent) -> None:
        """Append an event."""
        self.events.append(event)

    def rim(self, rule: RimRule = RimRule.RMM_1_0) -> bytes:
        """The RIM after all events."""
        return compute(self.events, rule=rule)


def create(params: RealmCreate) -> bytes:
    """The RIM after RMI_REALM_CREATE: the hash of the parameter page with only the measured fields set."""
    page = bytearray(PAGE)
    struct.pack_into("<Q", page, 0x00, params.flags)
    page[0x08] = params.s2sz
    page[0x10] = params.sve_vl
    page[0x18] = params.num_bps
    page[0x20] = params.num_wps
    page[0x28] = params.pmu_num_ctrs
    page[0x30] = params.hash_algo
    return HashAlgorithm(params.hash_algo).hash_name.digest(bytes(page))


def _extend(rim: bytes, kind: int, body: bytes, algorithm: HashAlgorithm) -> bytes:
    head = struct.pack("<Q Q 64s", kind, DESCRIPTOR, rim)
    return algorithm.hash_name.digest((head + body).ljust(DESCRIPTOR, b"\0"))


def extend_data(rim: bytes, ipa: int, flags: int, content_digest: bytes, algorithm: HashAlgorithm) -> bytes:
    """The RIM after RMI_DATA_CREATE; ``content_digest`` counts only when ``flags`` ask for measurement."""
    content = content_digest if flags & DATA_MEASURED else b""
    return _extend(rim, 0, struct.pack("<Q Q 64s", ipa, flags, content), algorithm)


def extend_rec(rim: bytes, flags: int, pc: int, gprs: tuple[int, ...], algorithm: HashAlgorithm) -> bytes:
    """The RIM after RMI_REC_CREATE; a REC that is not runnable is not measured."""
    if not flags & REC_RUNNABLE:
        return rim
    page = bytearray(PAGE)
    struct.pack_into("<Q", page, 0x000, flags)
    struct.pack_into("<Q", page, 0x200, pc)
    struct.pack_into("<8Q", page, 0x300, *gprs)
    return _extend(rim, 1, struct.pack("<64s", algorithm.hash_name.digest(bytes(page))), algorithm)


def extend_ripas(rim: bytes, base: int, top: int, algorithm: HashAlgorithm) -> bytes:
    """The RIM after RMI_RTT_INIT_RIPAS has processed one RTT entry."""
    return _extend(rim, 2, struct.pack("<Q Q", base, top), algorithm)


def extend_rem(rem: bytes, value: bytes, algorithm: HashAlgorithm, rule: RemRule = RemRule.TF) -> bytes:
    """A REM after RSI_MEASUREMENT_EXTEND with 0 to 64 bytes. Raises ValueError beyond 64."""
    if len(value) > REGISTER:
        raise ValueError(f"cannot extend by {len(value)} bytes, at most {REGISTER}")
    if rule is RemRule.TEXT:
        return algorithm.hash_name.digest(rem.ljust(REGISTER, b"\0") + value.ljust(REGISTER, b"\0"))
    return algorithm.hash_name.digest(rem + value)


def zero_rem(algorithm: HashAlgorithm) -> bytes:
    """The initial value of a REM."""
    return bytes(algorithm.hash_name.size)


def steps(
    events: Iterable[RimEvent], algorithm: HashAlgorithm | None = None, rule: RimRule = RimRule.RMM_1_0
) -> Iterator[bytes]:
    """The RIM after each event; the first event is the creation. Raises ValueError when it is not."""
    rim = b""
    for event in events:
        if isinstance(event, RealmCreate):
            chosen = HashAlgorithm(event.hash_algo)
            if algorithm is not None and algorithm is not chosen:
                raise ValueError(f"Realm was created with hash algorithm {chosen.name}, not {algorithm.name}")
            algorithm = chosen
            rim = bytes(chosen.hash_name.size) if rule is RimRule.RMM_2_0_TEXT else create(event)
        elif algorithm is None or not rim:
            raise ValueError("the first event of a Realm is its creation")
        elif isinstance(event, RipasInit):
            rim = extend_ripas(rim, event.base, event.top, algorithm) if rule is RimRule.RMM_1_0 else rim
        elif isinstance(event, DataCreate):
            rim = extend_data(rim, event.ipa, event.flags, event.content_digest, algorithm)
        else:
            rim = extend_rec(rim, event.flags, event.pc, event.gprs, algorithm)
        yield rim


def compute(
    events: Iterable[RimEvent], algorithm: HashAlgorithm | None = None, rule: RimRule = RimRule.RMM_1_0
) -> bytes:
    """The RIM after all events; ``algorithm``, when given, must be the one the Realm was created with."""
    last = b""
    for rim in steps(events, algorithm, rule):
        last = rim
    if not last:
        raise ValueError("no events, no measurement")
    return last


def ripas_blocks(base: int, top: int, ipa_bits: int) -> Iterator[RipasInit]:
    """The RTT entries that INIT_RIPAS meets over [base, top) when tables are only as deep as they must be.

    Block sizes follow from the IPA width, with as much concatenation at the start level as the architecture allows
    (veraison/cca-realm-measurements src/realm.rs).
    """
    bits = ipa_bits - 12
    levels = -(-bits // 9)
    if bits - 9 * (levels - 1) <= 4:
        levels -= 1
    sizes = [PAGE << (9 * level) for level in reversed(range(levels))]
    while base < top:
        size = next(size for size in sizes if base % size == 0 and base + size <= top)
        yield RipasInit(base, base + size)
        base += size


class PageDigests:
    """Digests of 4 KiB pages under one hash, memoised by content, so that shared images are hashed once."""

    def __init__(self, algorithm: HashAlgorithm, capacity: int = 4096) -> None:
        self.algorithm = algorithm
        self.capacity = capacity
        self._digests: dict[bytes, bytes] = {}
        self._images: dict[tuple[bytes, int], tuple[bytes, ...]] = {}

    def page(self, content: bytes) -> bytes:
        """The digest of one page; shorter content is zero filled behind."""
        digest = self._digests.get(content)
        if digest is None:
            if len(self._digests) >= self.capacity:
                del self._digests[next(iter(self._digests))]
            digest = self._digests[content] = self.algorithm.hash_name.digest(content.ljust(PAGE, b"\0"))
        return digest

    def image(self, content: bytes, base: int = 0) -> tuple[bytes, ...]:
        """The digests of the pages that an image covers from address ``base``, zero filled at both ends."""
        key = content, base % PAGE
        digests = self._images.get(key)
        if digests is None:
            padded = bytes(base % PAGE) + content
            digests = tuple(self.page(padded[at : at + PAGE]) for at in range(0, len(padded), PAGE))
            if len(self._images) >= self.capacity:
                del self._images[next(iter(self._images))]
            self._images[key] = digests
        return digests

    def data_events(self, content: bytes, base: int) -> Iterator[DataCreate]:
        """The measured DATA_CREATE events that load an image at address ``base``, by rising address."""
        first = base - base % PAGE
        for index, digest in enumerate(self.image(content, base)):
            yield DataCreate(first + index * PAGE, DATA_MEASURED, digest)
