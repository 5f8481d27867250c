"""The RMI calls that make a Realm, in the order that fixes its measurement (DEN0137 1.0-rel0, sections A7.1 and B1.2).

Delegate, create, initialise RAM, load measured contents, back the rest of RAM, create RECs, activate. RAM is backed at
once, in 2 MiB blocks where memory allows it, as KVM does: a table, 512 pages, and the table folded away again. A call
that the RMM refuses takes everything back and names itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from cca_machine.abi.rmi import DATA_FLAG_MEASURE, REC_FLAG_RUNNABLE, RealmParams, RecParams, Rmi
from cca_machine.hardware.address import GRANULE_BYTES, align_down
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door, Refusal, RmiRefusal, missing_level
from cca_machine.host.footprint import BLOCK_BYTES, PAGE_LEVEL, Footprint, RecGranules, Span, TableGranule
from cca_machine.host.teardown import dismantle
from cca_machine.layout import LoadPlan

SPARE_BATCH = 16
"""Granules taken at a time when tables need some."""


class HostMemory:
    """Addresses of the host's own buffers, outside the pool that it lends from."""

    def __init__(self, base: int, granules: int) -> None:
        self.params = base
        self.run = base + GRANULE_BYTES
        self.staging = base + 2 * GRANULE_BYTES
        self.staging_pages = granules - 2


class Builder:
    """Builds one Realm after a plan; `footprint` is its account, complete at every moment."""

    def __init__(self, door: Door, pool: GranulePool, buffers: HostMemory, plan: LoadPlan, vmid: int) -> None:
        self.door = door
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
            self.door.rmi(Rmi.REALM_ACTIVATE, self.footprint.rd)
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
        dismantle(self.door, self.pool, self.footprint)
        self.door.wipe(self.buffers.params, 1)

    # -- steps -------------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Memory for everything, and RMI_REALM_CREATE."""
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
        footprint.root = self._take(roots, roots * GRANULE_BYTES)
        footprint.root_count = roots
        footprint.rd = self._take(1)
        for span in footprint.ram:
            self._delegate(span.pa, span.count)
        params = RealmParams(
            flags=plan.flags,
            s2sz=plan.ipa_width,
            sve_vl=plan.sve_vl,
            num_bps=plan.num_bps,
            num_wps=plan.num_wps,
            pmu_num_ctrs=plan.pmu_num_ctrs,
            hash_algo=plan.hash_algo,
            rpv=plan.rpv,
            vmid=footprint.vmid,
            rtt_base=footprint.root,
            rtt_level_start=plan.rtt_level_start,
            rtt_num_start=roots,
        )
        self.door.write(self.buffers.params, params.encode())
        self.door.rmi(Rmi.REALM_CREATE, footprint.rd, self.buffers.params)
        footprint.created = True

    def initialise_ram(self) -> None:
        """RTT_INIT_RIPAS over RAM, with tables only where an entry reaches too far: that keeps the RIM canonical."""
        base, top = self.plan.ram_base, self.plan.ram_top
        while base < top:
            result = self.door.ask(Rmi.RTT_INIT_RIPAS, self.footprint.rd, base, top)
            level = missing_level(result[0])
            if result[0] == 0:
                base = result[1]
            elif level is not None and level < PAGE_LEVEL:
                self._create_table(base, level + 1)
            else:
                raise RmiRefusal(Rmi.RTT_INIT_RIPAS, result[0], (self.footprint.rd, base, top))
        self.door.meter.charge("rmi.ripas-entry", len(self.plan.ripas))

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
        """RMI_DATA_CREATE_UNKNOWN for all RAM that has no contents, folded into blocks where whole blocks lie so."""
        working = align_down(self.plan.mailbox, BLOCK_BYTES)
        for span in self.footprint.ram:
            ipa = span.ipa
            while ipa < span.top:
                whole = self._whole_blocks(span, ipa, working)
                if whole:
                    self._back_blocks(Span(ipa, span.at(ipa), whole * BLOCK_BYTES // GRANULE_BYTES))
                    ipa += whole * BLOCK_BYTES
                else:
                    end = min(align_down(ipa, BLOCK_BYTES) + BLOCK_BYTES, span.top)
                    self._back_pages(span, ipa, end)
                    ipa = end
        self.footprint.data = list(self.footprint.ram)

    def create_recs(self) -> None:
        """One REC per vCPU; only the first can be entered before another one turns it on."""
        footprint = self.footprint
        aux_count = self.door.rmi(Rmi.REC_AUX_COUNT, footprint.rd)[1]
        for plan in self.plan.recs:
            rec = self._take(1 + aux_count)
            params = RecParams(
                flags=REC_FLAG_RUNNABLE if plan.runnable else 0,
                mpidr=plan.mpidr,
                pc=plan.pc,
                gprs=plan.gprs,
                num_aux=aux_count,
                aux=tuple(rec + (1 + index) * GRANULE_BYTES for index in range(aux_count)),
            )
            self.door.write(self.buffers.params, params.encode())
            self.door.rmi(Rmi.REC_CREATE, footprint.rd, rec, self.buffers.params)
            footprint.recs.append(RecGranules(rec, plan.mpidr, aux_count))
        self.door.wipe(self.buffers.params, 1)

    # -- granules and tables -----------------------------------------------------------------------------------------

    def _take(self, count: int, alignment: int = GRANULE_BYTES) -> int:
        base = self.pool.take(count, alignment)
        if base is None:
            raise Refusal("no-granules", f"{count} granules wanted, {self.pool.free} free")
        self.footprint.taken.give(base, count)
        self._delegate(base, count)
        return base

    def _delegate(self, base: int, count: int) -> None:
        done, last = self.door.ask_run(Rmi.GRANULE_DELEGATE, (base,), (GRANULE_BYTES,), count)
        if done:
            self.footprint.delegated.give(base, done)
        if done < count:
            raise RmiRefusal(Rmi.GRANULE_DELEGATE, last[0], (base + done * GRANULE_BYTES,))

    def _spare(self) -> int:
        if not self.footprint.spare:
            count = min(SPARE_BATCH, self.pool.free)
            base = self._take(max(count, 1)) if count < SPARE_BATCH else self._take(SPARE_BATCH)
            self.footprint.spare = [base + index * GRANULE_BYTES for index in reversed(range(max(count, 1)))]
        return self.footprint.spare[-1]

    def _create_table(self, ipa: int, level: int) -> None:
        create_table(self.door, self.footprint, self._spare(), ipa, level)

    def ensure_table(self, ipa: int, level: int = PAGE_LEVEL) -> None:
        """Make the tables that a walk to `level` at `ipa` needs, from where it stops now."""
        while True:
            result = self.door.ask(Rmi.RTT_READ_ENTRY, self.footprint.rd, align_down(ipa, GRANULE_BYTES), PAGE_LEVEL)
            if result[0]:
                raise RmiRefusal(Rmi.RTT_READ_ENTRY, result[0], (self.footprint.rd, ipa, PAGE_LEVEL))
            if result[1] >= level:
                return
            self._create_table(ipa, result[1] + 1)

    # -- contents ----------------------------------------------------------------------------------------------------

    def _span_at(self, ipa: int) -> Span:
        for span in self.footprint.ram:
            piece = span.cut(ipa, span.top)
            if piece is not None and piece.ipa == ipa:
                return piece
        raise Refusal("no-memory", f"IPA {ipa:#x} is not RAM of the Realm")

    def _load_piece(self, span: Span, pages: Sequence[bytes]) -> None:
        buffer, footprint = self.buffers.staging, self.footprint
        self.door.write_pages(buffer, pages)
        step = GRANULE_BYTES
        at = 0
        try:
            while at < len(pages):
                ipa = span.ipa + at * step
                args = (footprint.rd, span.at(ipa), ipa, buffer + at * step, DATA_FLAG_MEASURE)
                done, last = self.door.ask_run(Rmi.DATA_CREATE, args, (0, step, step, step, 0), len(pages) - at)
                self._assigned(span, at, done)
                at += done
                if at < len(pages):
                    self._next_table(Rmi.DATA_CREATE, last[0], span.ipa + at * step)
        finally:
            self.door.wipe(buffer, len(pages))

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
            args = (self.footprint.rd, span.at(low), low)
            done, last = self.door.ask_run(Rmi.DATA_CREATE_UNKNOWN, args, (0, GRANULE_BYTES, GRANULE_BYTES), count)
            self._assigned(span, (low - span.ipa) // GRANULE_BYTES, done)
            if done < count:
                raise RmiRefusal(Rmi.DATA_CREATE_UNKNOWN, last[0], args)
        whole = end - ipa == BLOCK_BYTES and span.at(ipa) % BLOCK_BYTES == 0
        if whole and not ipa <= self.plan.mailbox < end:
            self._fold(ipa)

    def _back_blocks(self, span: Span) -> None:
        """Back whole blocks without contents: tables, pages, tables folded away, in batches of what memory allows."""
        per_block = BLOCK_BYTES // GRANULE_BYTES
        blocks, at = span.count // per_block, 0
        while at < blocks:
            batch = min(blocks - at, max(self.pool.free, 1))
            tables, ipa = self._take(batch), span.ipa + at * BLOCK_BYTES
            self._create_tables(ipa, tables, batch)
            args = (self.footprint.rd, span.at(ipa), ipa)
            stride = (0, GRANULE_BYTES, GRANULE_BYTES)
            done, last = self.door.ask_run(Rmi.DATA_CREATE_UNKNOWN, args, stride, batch * per_block)
            self._assigned(span, at * per_block, done)
            if done < batch * per_block:
                raise RmiRefusal(Rmi.DATA_CREATE_UNKNOWN, last[0], args)
            self._fold_tables(ipa, batch)
            self._return(tables, batch)
            at += batch

    def _create_tables(self, ipa: int, tables: int, count: int) -> None:
        """`count` level 3 tables from `ipa`, one per block, with the tables above them where they are missing."""
        done = 0
        while done < count:
            here, granule = ipa + done * BLOCK_BYTES, tables + done * GRANULE_BYTES
            args = (self.footprint.rd, granule, here, PAGE_LEVEL)
            made, last = self.door.ask_run(Rmi.RTT_CREATE, args, (0, GRANULE_BYTES, BLOCK_BYTES, 0), count - done)
            self.footprint.tables += [
                TableGranule(here + index * BLOCK_BYTES, PAGE_LEVEL, granule + index * GRANULE_BYTES)
                for index in range(made)
            ]
            done += made
            if done < count:
                level = missing_level(last[0])
                if level is None or level >= PAGE_LEVEL - 1:
                    raise RmiRefusal(Rmi.RTT_CREATE, last[0], args)
                self._create_table(ipa + done * BLOCK_BYTES, level + 1)

    def _fold_tables(self, ipa: int, count: int) -> None:
        """Fold the level 3 tables of `count` blocks from `ipa` into block entries."""
        args = (self.footprint.rd, ipa, PAGE_LEVEL)
        done, last = self.door.ask_run(Rmi.RTT_FOLD, args, (0, BLOCK_BYTES, 0), count)
        top = ipa + done * BLOCK_BYTES
        self.footprint.tables = [
            table for table in self.footprint.tables if table.level < PAGE_LEVEL or not ipa <= table.ipa < top
        ]
        if done < count:
            raise RmiRefusal(Rmi.RTT_FOLD, last[0], (self.footprint.rd, top, PAGE_LEVEL))

    def _next_table(self, command: Rmi, x0: int, ipa: int) -> None:
        level = missing_level(x0)
        if level is None or level >= PAGE_LEVEL:
            raise RmiRefusal(command, x0, (self.footprint.rd, ipa))
        self._create_table(ipa, level + 1)

    def _fold(self, ipa: int) -> None:
        result = self.door.rmi(Rmi.RTT_FOLD, self.footprint.rd, ipa, PAGE_LEVEL)
        self.footprint.tables = [table for table in self.footprint.tables if table.pa != result[1]]
        self.footprint.spare.append(result[1])

    def _assigned(self, span: Span, first: int, count: int) -> None:
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

    def _return(self, base: int, count: int) -> None:
        done, last = self.door.ask_run(Rmi.GRANULE_UNDELEGATE, (base,), (GRANULE_BYTES,), count)
        self.footprint.delegated.take_at(base, done)
        if done < count:
            raise RmiRefusal(Rmi.GRANULE_UNDELEGATE, last[0], (base + done * GRANULE_BYTES,))
        self.footprint.taken.take_at(base, count)
        self.pool.give(base, count)


def create_table(door: Door, footprint: Footprint, granule: int, ipa: int, level: int) -> None:
    """RMI_RTT_CREATE with a spare granule; the table is entered in the account. Raises RmiRefusal."""
    base = align_down(ipa, 1 << (39 - 9 * (level - 1)))
    door.rmi(Rmi.RTT_CREATE, footprint.rd, granule, base, level)
    if granule in footprint.spare:
        footprint.spare.remove(granule)
    footprint.tables.append(TableGranule(base, level, granule))
