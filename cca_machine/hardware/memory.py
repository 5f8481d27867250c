"""Physical memory: contents by granule, only where something was written."""

from __future__ import annotations

import hashlib

import msgspec

from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK, GRANULE_SHIFT, ZERO_GRANULE, is_granule_aligned
from cca_machine.hardware.encryption import EncryptionContexts, scrambled
from cca_machine.hardware.gpt import GranuleProtectionTable, World
from cca_machine.hardware.granule_map import Bank


class PhysicalMemory(msgspec.Struct):
    """Sparse memory behind a granule protection table.

    A granule that was never written reads zero and costs nothing. Whole pages are kept as the bytes object they were
    written with, so that equal images are stored once per object. Every access names its world and is checked first:
    a refused access has no effect. With `contexts`, what the Realm world reads and writes goes through the key of the
    MECID that it names; methods that are unchecked look behind the encryption.
    """

    gpt: GranuleProtectionTable
    contents: dict[int, bytes] = {}
    contexts: EncryptionContexts | None = None

    @classmethod
    def over(cls, *banks: Bank) -> PhysicalMemory:
        """Zero-filled Non-secure memory."""
        return cls(GranuleProtectionTable.over(*banks))

    def read(self, world: World, pa: int, size: int, mecid: int = 0) -> bytes:
        """`size` bytes from `pa`; what the Realm world reads under another key than it was written shows nothing.

        Raises:
            GranuleProtectionFault: some granule belongs to another world.
        """
        self.gpt.check(world, pa, size)
        if self.contexts is not None and world is World.REALM:
            return self._decrypted(self.contexts, pa, size, mecid)
        return self._read(pa, size)

    def write(self, world: World, pa: int, data: bytes, mecid: int = 0) -> None:
        """Store `data` at `pa`, all or nothing; under another key than before, the rest of a granule is spoilt.

        Raises:
            GranuleProtectionFault: some granule belongs to another world.
        """
        self.gpt.check(world, pa, len(data))
        if self.contexts is not None and world is World.REALM:
            self._rekey(self.contexts, pa, len(data), mecid)
        self._write(pa, data)

    def assign(self, pa: int, count: int, mecid: int) -> None:
        """`count` granules from `pa` were written in full under `mecid`; without contexts there is nothing to do."""
        if self.contexts is not None:
            self.contexts.put(pa >> GRANULE_SHIFT, count, self.contexts.key_of(mecid))

    def refresh(self, mecid: int) -> None:
        """Give a MECID a new key: what was written under the old one cannot be read any more."""
        if self.contexts is not None:
            self.contexts.refresh(mecid)

    def fill(self, world: World, pa: int, size: int, byte: int) -> None:
        """Store `size` times `byte` at `pa`; whole granules of zeros are forgotten.

        Raises:
            GranuleProtectionFault: some granule belongs to another world.
        """
        self.gpt.check(world, pa, size)
        page = bytes((byte,)) * GRANULE_BYTES
        while size:
            span = min(GRANULE_BYTES - (pa & GRANULE_MASK), size)
            self._write(pa, page if span == GRANULE_BYTES else page[:span])
            pa += span
            size -= span

    def scrub(self, pa: int) -> None:
        """Forget the contents of the granule at `pa`: what the RMM's zeroing of its own granules comes to."""
        self.contents.pop(pa >> GRANULE_SHIFT, None)

    def scrub_run(self, pa: int, count: int) -> None:
        """Forget the contents of `count` granules from `pa`, in steps of what is stored, not of the range."""
        first = pa >> GRANULE_SHIFT
        if len(self.contents) < count:
            for granule in [stored for stored in self.contents if first <= stored < first + count]:
                del self.contents[granule]
        else:
            for granule in range(first, first + count):
                self.contents.pop(granule, None)

    def page(self, pa: int) -> bytes:
        """All 4096 bytes of the granule at `pa`, unchecked: for whoever was already let through."""
        return self.contents.get(pa >> GRANULE_SHIFT, ZERO_GRANULE)

    def put_page(self, pa: int, page: bytes) -> None:
        """Replace the granule at `pa`, unchecked; `page` is shared, not copied."""
        if page == ZERO_GRANULE:
            self.contents.pop(pa >> GRANULE_SHIFT, None)
        else:
            self.contents[pa >> GRANULE_SHIFT] = page

    def pages(self, pa: int, count: int) -> tuple[bytes, ...]:
        """`count` granules from `pa`, unchecked."""
        first, get = pa >> GRANULE_SHIFT, self.contents.get
        return tuple([get(granule, ZERO_GRANULE) for granule in range(first, first + count)])

    def put_pages(self, pa: int, pages: tuple[bytes, ...]) -> None:
        """Replace the granules from `pa`, unchecked; `pages` are shared, not copied."""
        if ZERO_GRANULE in pages:
            for at, page in enumerate(pages):
                self.put_page(pa + (at << GRANULE_SHIFT), page)
        else:
            first = pa >> GRANULE_SHIFT
            self.contents.update(zip(range(first, first + len(pages)), pages, strict=True))

    def digest(self) -> bytes:
        """SHA-256 over the protection of every granule and every byte that is not zero."""
        state = hashlib.sha256()
        for base, count, gpi in self.gpt.granules.runs():
            state.update(msgspec.msgpack.encode((base, count, gpi)))
        for granule in sorted(self.contents):
            state.update(granule.to_bytes(8, "little"))
            state.update(self.contents[granule])
        if self.contexts is not None:
            state.update(self.contexts.digest())
        return state.digest()

    def _decrypted(self, contexts: EncryptionContexts, pa: int, size: int, mecid: int) -> bytes:
        key, pieces = contexts.key_of(mecid), []
        while size:
            offset, granule = pa & GRANULE_MASK, pa >> GRANULE_SHIFT
            span = min(GRANULE_BYTES - offset, size)
            written, page = contexts.key_at(granule), self.page(pa)
            if written != key:
                page = scrambled(page, granule, written, key)
            pieces.append(page[offset : offset + span])
            pa += span
            size -= span
        return b"".join(pieces)

    def _rekey(self, contexts: EncryptionContexts, pa: int, size: int, mecid: int) -> None:
        """Bring the granules that a store touches under its key: what stays of them is what the key makes of it."""
        key = contexts.key_of(mecid)
        for granule in range(pa >> GRANULE_SHIFT, (pa + size - 1 >> GRANULE_SHIFT) + 1):
            written = contexts.key_at(granule)
            if written != key:
                base = granule << GRANULE_SHIFT
                self.put_page(base, scrambled(self.page(base), granule, written, key))
                contexts.put(granule, 1, key)

    def _read(self, pa: int, size: int) -> bytes:
        offset = pa & GRANULE_MASK
        if offset + size <= GRANULE_BYTES:
            page = self.contents.get(pa >> GRANULE_SHIFT, ZERO_GRANULE)
            return page if size == GRANULE_BYTES else page[offset : offset + size]
        pieces = []
        while size:
            span = min(GRANULE_BYTES - (pa & GRANULE_MASK), size)
            pieces.append(self._read(pa, span))
            pa += span
            size -= span
        return b"".join(pieces)

    def _write(self, pa: int, data: bytes) -> None:
        taken = 0
        while taken < len(data):
            here = pa + taken
            offset = here & GRANULE_MASK
            span = min(GRANULE_BYTES - offset, len(data) - taken)
            if span == GRANULE_BYTES and is_granule_aligned(here):
                page = data if span == len(data) else data[taken : taken + span]
                self.put_page(here, bytes(page))
            else:
                old = self.page(here)
                self.put_page(here, old[:offset] + data[taken : taken + span] + old[offset + span :])
            taken += span
