"""The steps that make a Realm, in the order that fixes its measurement (DEN0137 1.0-rel0, sections A7.1 and B1.2).

Delegate, create, initialise RAM, load measured contents, back the rest of RAM, create RECs, activate; by which calls is
the front's. RAM is backed at once, in 2 MiB blocks where memory allows it, as KVM does. A call that the RMM refuses
takes everything back and names itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from cca_machine.hardware.address import GRANULE_BYTES, align_down
from cca_machine.host.buffers import HostMemory
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Refusal
from cca_machine.host.footprint import BLOCK_BYTES, PAGE_LEVEL, Footprint, Span, TableGranule
from cca_machine.host.fronts.front import Front
from cca_machine.host.teardown import dismantle
from cca_machine.layout import LoadPlan

SPARE_BATCH = 16
"""Granules taken at a time when tables need some."""


class Builder:
    """Builds one Realm after a plan; `footprint` is its account, complete at every moment."""

    def __init__(self, front: Front, pool: GranulePool, buffers: HostMemory, plan: LoadPlan, vmid: int) -> None:
        self.front = front
        self.pool = pool
        self.buffers = buffers
        self.plan = plan
        self.footprint = Footprint.empty()
        self.footprint.vmid = vmid

    def build(self) -> Footprint:
        """Make the Realm and activate it. Raises Refusal, after taking everything back."""
        try:
            self.create()
            self.initialise_ram()
            self.load()
            self.back_ram()
            self.create_recs()
            self.front.activate(self.footprint.rd)
        except Refusal:
            self.undo()
            raise
        return self.footprint

    def build_shell(self) -> Footprint:
        """Make the Realm that an import (modelled) fills: no contents, not active. Raises Refusal as `build`."""
        try:
            self.create()
            self.initialise_ram()
            self.back_ram()
            self.create_recs()
        except Refusal:
            self.undo()
            raise
        return self.footprint

    def undo(self) -> None:
        """Take back whatever was made so far."""
        dismantle(self.front, self.pool, self.footprint)
        self.front.door.wipe(self.buffers.params, 1)

    # -- steps -------------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Memory for everything, and the Realm itself."""
        plan, footprint = self.plan, self.footprint
        ram = self.pool.take_blocks(plan.ram_bytes // GRANULE_BYTES)
        if ram is None:
            raise Refusal("no-granules", f"{plan.ram_bytes // GRANULE_BYTES} granules wanted, {self.pool.free} free")
        ipa = plan.ram_base
        for base, count in ram:
            footprint.taken.give(base, count)
            footprint.ram.append(Span(ipa, base, count))
            ipa += count * GRANULE_BYTES
        roots = plan.rtt_num_start
        footprint.root = self.take(roots, roots * GRANULE_BYTES)
        footprint.root_count = roots
        footprint.rd = self.take(1)
        for span in footprint.ram:
            self._delegate(span.pa, span.count)
        self.front.create_realm(plan, footprint)
        footprint.created = True

    def initialise_ram(self) -> None:
        """RAM from end to end, with tables only where an entry reaches too far: that keeps the RIM canonical."""
        base, top = self.plan.ram_base, self.plan.ram_top
        while base < top:
            base, missing = self.front.init_ripas(self.footprint.rd, base, top)
            if missing is not None:
                self.create_table(base, missing + 1)
        self.front.door.meter.charge("rmi.ripas-entry", len(self.plan.ripas))

    def load(self) -> None:
        """Measured contents by rising IPA, staged through normal-world memory."""
        for ipa, pages in self.plan.loads():
            at = 0
            while at < len(pages):
                span = self._span_at(ipa + at * GRANULE_BYTES)
                count = min(len(pages) - at, self.buffers.staging_pages, span.count)
                self._load_piece(span, pages[at : at + count])
                at += count

    def back_ram(self) -> None:
        """Zeroed memory for all RAM that has no contents, in blocks where whole blocks lie so."""
        working = align_down(self.plan.mailbox, BLOCK_BYTES)
        for span in self.footprint.ram:
            ipa = span.ipa
            while ipa < span.top:
                whole = self._whole_blocks(span, ipa, working)
                if whole:
                    self.front.back_blocks(self, Span(ipa, span.at(ipa), whole * BLOCK_BYTES // GRANULE_BYTES))
                    ipa += whole * BLOCK_BYTES
                else:
                    end = min(align_down(ipa, BLOCK_BYTES) + BLOCK_BYTES, span.top)
                    self._back_pages(span, ipa, end)
                    ipa = end
        self.footprint.data = list(self.footprint.ram)

    def create_recs(self) -> None:
        """One REC per vCPU; only the first can be entered before another one turns it on."""
        self.front.create_recs(self)
        self.front.door.wipe(self.buffers.params, 1)

    # -- granules and tables -----------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Granules that may be had."""
        return self.pool.free

    def take(self, count: int, alignment: int = GRANULE_BYTES) -> int:
        """A run of delegated granules, entered in the account. Raises Refusal."""
        base = self.pool.take(count, alignment)
        if base is None:
            raise Refusal("no-granules", f"{count} granules wanted, {self.pool.free} free")
        self.footprint.taken.give(base, count)
        self._delegate(base, count)
        return base

    def give_back(self, base: int, count: int) -> None:
        """Undelegate and return a run. Raises RmiRefusal."""
        undone = self.front.undelegate(base, count)
        self.footprint.delegated.take_at(base, undone.done)
        undone.whole()
        self.footprint.taken.take_at(base, count)
        self.pool.give(base, count)

    def create_table(self, ipa: int, level: int) -> None:
        """A table with a spare granule. Raises Refusal."""
        create_table(self.front, self.footprint, self._spare(), ipa, level)

    def ensure_table(self, ipa: int, level: int = PAGE_LEVEL) -> None:
        """Make the tables that a walk to `level` at `ipa` needs, from where it stops now."""
        while True:
            reached = self.front.walk_level(self.footprint.rd, align_down(ipa, GRANULE_BYTES))
            if reached >= level:
                return
            self.create_table(ipa, reached + 1)

    def _delegate(self, base: int, count: int) -> None:
        reached = self.front.delegate(base, count)
        if reached.done:
            self.footprint.delegated.give(base, reached.done)
        reached.whole()

    def _spare(self) -> int:
        if not self.footprint.spare:
            count = min(SPARE_BATCH, self.pool.free)
            base = self.take(max(count, 1)) if count < SPARE_BATCH else self.take(SPARE_BATCH)
            self.footprint.spare = [base + index * GRANULE_BYTES for index in reversed(range(max(count, 1)))]
        return self.footprint.spare[-1]

    # -- contents ----------------------------------------------------------------------------------------------------

    def _span_at(self, ipa: int) -> Span:
        for span in self.footprint.ram:
            piece = span.cut(ipa, span.top)
            if piece is not None and piece.ipa == ipa:
                return piece
        raise Refusal("no-memory", f"IPA {ipa:#x} is not RAM of the Realm")

    def _load_piece(self, span: Span, pages: Sequence[bytes]) -> None:
        buffer, rd = self.buffers.staging, self.footprint.rd
        self.front.door.write_pages(buffer, pages)
        at = 0
        try:
            while at < len(pages):
                ipa = span.ipa + at * GRANULE_BYTES
                reached = self.front.load(rd, span.at(ipa), ipa, buffer + at * GRANULE_BYTES, len(pages) - at)
                self.assigned(span, at, reached.done)
                at += reached.done
                if reached.missing is not None:
                    self.create_table(span.ipa + at * GRANULE_BYTES, reached.missing + 1)
                else:
                    reached.whole()
        finally:
            self.front.door.wipe(buffer, len(pages))

    def _back_pages(self, span: Span, ipa: int, end: int) -> None:
        """Back [ipa, end), which lies in one block, page by page around what is assigned; fold it if it can be."""
        holes = [(ipa, end)]
        for data in self.footprint.data:
            holes = [
                (low, high)
                for base, top in holes
                for low, high in ((base, min(top, data.ipa)), (max(base, data.top), top))
                if low < high
            ]
        for low, high in holes:
            self.ensure_table(low)
            count = (high - low) // GRANULE_BYTES
            reached = self.front.back_page(self.footprint.rd, span.at(low), low, count)
            self.assigned(span, (low - span.ipa) // GRANULE_BYTES, reached.done)
            reached.whole()
        whole = end - ipa == BLOCK_BYTES and span.at(ipa) % BLOCK_BYTES == 0
        if whole and not ipa <= self.plan.mailbox < end:
            self._fold(ipa)

    def _fold(self, ipa: int) -> None:
        granule = self.front.fold(self.footprint.rd, ipa, PAGE_LEVEL)
        self.footprint.tables = [table for table in self.footprint.tables if table.pa != granule]
        self.footprint.spare.append(granule)

    def assigned(self, span: Span, first: int, count: int) -> None:
        """Enter pages of `span` as assigned."""
        if count:
            ipa = span.ipa + first * GRANULE_BYTES
            self.footprint.data.append(Span(ipa, span.at(ipa), count))

    def _whole_blocks(self, span: Span, ipa: int, working: int) -> int:
        """Blocks from `ipa` that can be backed whole: aligned, in one span, without contents or mailbox."""
        if ipa % BLOCK_BYTES or span.at(ipa) % BLOCK_BYTES:
            return 0
        limit = span.top
        for base in (*(data.ipa for data in self.footprint.data), working):
            if align_down(base, BLOCK_BYTES) >= ipa:
                limit = min(limit, align_down(base, BLOCK_BYTES))
        inside = any(data.ipa < ipa + BLOCK_BYTES and ipa < data.top for data in self.footprint.data)
        return 0 if inside else (limit - ipa) // BLOCK_BYTES


def create_table(front: Front, footprint: Footprint, granule: int, ipa: int, level: int) -> None:
    """A translation table in a spare granule; it is entered in the account. Raises RmiRefusal."""
    base = align_down(ipa, 1 << (39 - 9 * (level - 1)))
    front.create_table(footprint.rd, granule, base, level)
    if granule in footprint.spare:
        footprint.spare.remove(granule)
    footprint.tables.append(TableGranule(base, level, granule))
