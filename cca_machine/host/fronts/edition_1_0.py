"""RMI 1.0 as the host speaks it: one granule per call, blocks by folding (DEN0137 1.0-rel0, section B4.3)."""

from __future__ import annotations

from cca_machine.abi.rmi import (
    DATA_FLAG_MEASURE,
    REC_FLAG_RUNNABLE,
    RUN_EXIT_OFFSET,
    RealmParams,
    RecEnter,
    RecExit,
    RecParams,
    Rmi,
)
from cca_machine.commands import RealmSpec
from cca_machine.errors import BrokenPromise
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.host.buffers import HostMemory
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door, RmiRefusal, missing_level
from cca_machine.host.footprint import BLOCK_BYTES, PAGE_LEVEL, Footprint, RecGranules, Span, TableGranule
from cca_machine.host.fronts.front import Hands, Progress, Reached
from cca_machine.layout import DISALLOW, LATER_HASHES, PRIVATE, LoadPlan

S2_NORMAL_WRITE_BACK = 6 << 2
"""MemAttr of an unprotected mapping with FEAT_S2FWB (KVM MT_S2_FWB_NORMAL)."""
S2_READ_WRITE = 3 << 6
PAGES_PER_BLOCK = BLOCK_BYTES // GRANULE_BYTES


class Front10:
    """Implements `host.fronts.front.Front`."""

    reserved_vmids = 1
    """VMID 0, as KVM leaves it."""

    def __init__(self, door: Door, buffers: HostMemory) -> None:
        self.door = door
        self._buffers = buffers

    def boot(self) -> int:
        """RMM 1.0 is ready at once, and has no encryption contexts to give."""
        return 0

    def lacks(self, realm: RealmSpec) -> str:
        """An encryption context of its own, a say about live activation, or SHA-384."""
        if realm.mec == PRIVATE:
            return "RMM 1.0 has no memory encryption contexts; a private one needs edition 2.0"
        if realm.lfa == DISALLOW:
            return "RMM 1.0 has no LFA policy: it cannot keep firmware from being activated; that needs edition 2.0"
        if realm.hash_algo in LATER_HASHES:
            return f"RMM 1.0 does not measure with {realm.hash_algo}; that needs edition 2.0"
        return ""

    def vmid(self, used: set[int], bits: int) -> int | None:
        """The lowest VMID that no Realm here uses; 0 stays unused."""
        return next((vmid for vmid in range(self.reserved_vmids, 1 << bits) if vmid not in used), None)

    # -- granules and tables -----------------------------------------------------------------------------------------

    def delegate(self, base: int, count: int) -> Reached:
        """RMI_GRANULE_DELEGATE, granule by granule."""
        return self._granules(Rmi.GRANULE_DELEGATE, base, count)

    def undelegate(self, base: int, count: int) -> Reached:
        """RMI_GRANULE_UNDELEGATE, granule by granule."""
        return self._granules(Rmi.GRANULE_UNDELEGATE, base, count)

    def walk_level(self, rd: int, ipa: int) -> int:
        """RMI_RTT_READ_ENTRY."""
        return self.door.rmi(Rmi.RTT_READ_ENTRY, rd, ipa, PAGE_LEVEL)[1]

    def create_table(self, rd: int, granule: int, ipa: int, level: int) -> None:
        """RMI_RTT_CREATE."""
        self.door.rmi(Rmi.RTT_CREATE, rd, granule, ipa, level)

    def destroy_table(self, rd: int, ipa: int, level: int) -> int:
        """RMI_RTT_DESTROY."""
        return self.door.rmi(Rmi.RTT_DESTROY, rd, ipa, level)[1]

    def fold(self, rd: int, ipa: int, level: int) -> int:
        """RMI_RTT_FOLD."""
        return self.door.rmi(Rmi.RTT_FOLD, rd, ipa, level)[1]

    # -- a Realm's birth ---------------------------------------------------------------------------------------------

    def create_realm(self, plan: LoadPlan, footprint: Footprint) -> None:
        """RMI_REALM_CREATE with the VMID that the host chose."""
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
            rtt_num_start=plan.rtt_num_start,
        )
        self.door.write(self._buffers.params, params.encode())
        self.door.rmi(Rmi.REALM_CREATE, footprint.rd, self._buffers.params)

    def init_ripas(self, rd: int, base: int, top: int) -> Progress:
        """RMI_RTT_INIT_RIPAS."""
        result = self.door.ask(Rmi.RTT_INIT_RIPAS, rd, base, top)
        level = missing_level(result[0])
        if result[0] == 0:
            return Progress(result[1])
        if level is not None and level < PAGE_LEVEL:
            return Progress(base, level)
        raise RmiRefusal(Rmi.RTT_INIT_RIPAS, result[0], (rd, base, top))

    def load(self, rd: int, pa: int, ipa: int, source: int, count: int) -> Reached:
        """RMI_DATA_CREATE, page by page."""
        step = GRANULE_BYTES
        args = (rd, pa, ipa, source, DATA_FLAG_MEASURE)
        done, last = self.door.ask_run(Rmi.DATA_CREATE, args, (0, step, step, step, 0), count)
        return _reached(Rmi.DATA_CREATE, done, count, last[0], (rd, ipa + done * step))

    def back_page(self, rd: int, pa: int, ipa: int, count: int) -> Reached:
        """RMI_DATA_CREATE_UNKNOWN, page by page."""
        args, stride = (rd, pa, ipa), (0, GRANULE_BYTES, GRANULE_BYTES)
        done, last = self.door.ask_run(Rmi.DATA_CREATE_UNKNOWN, args, stride, count)
        return _reached(Rmi.DATA_CREATE_UNKNOWN, done, count, last[0], args)

    def back_blocks(self, hands: Hands, span: Span) -> None:
        """Tables, pages, tables folded away, in batches of what memory allows."""
        blocks, at = span.count // PAGES_PER_BLOCK, 0
        while at < blocks:
            batch = min(blocks - at, max(hands.free, 1))
            tables, ipa = hands.take(batch), span.ipa + at * BLOCK_BYTES
            self._create_tables(hands, ipa, tables, batch)
            reached = self.back_page(hands.footprint.rd, span.at(ipa), ipa, batch * PAGES_PER_BLOCK)
            hands.assigned(span, at * PAGES_PER_BLOCK, reached.done)
            try:
                reached.whole()
            except RmiRefusal:
                _list_tables(hands.footprint, ipa, tables, batch)
                raise
            self._fold_tables(hands.footprint, ipa, tables, batch)
            hands.give_back(tables, batch)
            at += batch

    def create_recs(self, hands: Hands) -> None:
        """RMI_REC_CREATE with as many auxiliary granules as RMI_REC_AUX_COUNT names."""
        footprint, params_page = hands.footprint, self._buffers.params
        aux_count = self.door.rmi(Rmi.REC_AUX_COUNT, footprint.rd)[1]
        for plan in hands.plan.recs:
            rec = hands.take(1 + aux_count)
            params = RecParams(
                flags=REC_FLAG_RUNNABLE if plan.runnable else 0,
                mpidr=plan.mpidr,
                pc=plan.pc,
                gprs=plan.gprs,
                num_aux=aux_count,
                aux=tuple(rec + (1 + index) * GRANULE_BYTES for index in range(aux_count)),
            )
            self.door.write(params_page, params.encode())
            self.door.rmi(Rmi.REC_CREATE, footprint.rd, rec, params_page)
            footprint.recs.append(RecGranules(rec, plan.mpidr, aux_count))

    def activate(self, rd: int) -> None:
        """RMI_REALM_ACTIVATE."""
        self.door.rmi(Rmi.REALM_ACTIVATE, rd)

    # -- its life ----------------------------------------------------------------------------------------------------

    def enter(self, rec: int, reply: tuple[int, ...]) -> RecExit:
        """RMI_REC_ENTER."""
        run = self._buffers.run
        self.door.write(run, RecEnter(gprs=reply + (0,) * (31 - len(reply))).encode())
        self.door.rmi(Rmi.REC_ENTER, rec, run)
        self.door.meter.charge("host.exit")
        return RecExit.decode(self.door.read(run + RUN_EXIT_OFFSET, GRANULE_BYTES - RUN_EXIT_OFFSET))

    def complete_psci(self, rec: int, target: int, status: int) -> None:
        """RMI_PSCI_COMPLETE."""
        self.door.rmi(Rmi.PSCI_COMPLETE, rec, target, status)

    def set_ripas(self, rd: int, rec: int, base: int, top: int) -> Progress:
        """RMI_RTT_SET_RIPAS."""
        result = self.door.ask(Rmi.RTT_SET_RIPAS, rd, rec, base, top)
        level = missing_level(result[0])
        if result[0] == 0:
            self.door.meter.charge("rmi.ripas-entry", (result[1] - base) // GRANULE_BYTES)
            return Progress(result[1])
        return Progress(base, level if level is not None and level < PAGE_LEVEL else None)

    def take_pages(self, rd: int, ipa: int, count: int) -> None:
        """RMI_DATA_DESTROY, page by page."""
        self.door.rmi_run(Rmi.DATA_DESTROY, (rd, ipa), (0, GRANULE_BYTES), count)

    def share(self, rd: int, ipa: int, pa: int, count: int) -> Reached:
        """RMI_RTT_MAP_UNPROTECTED, page by page."""
        args = (rd, ipa, PAGE_LEVEL, pa | S2_NORMAL_WRITE_BACK | S2_READ_WRITE)
        stride = (0, GRANULE_BYTES, 0, GRANULE_BYTES)
        done, last = self.door.ask_run(Rmi.RTT_MAP_UNPROTECTED, args, stride, count)
        return _reached(Rmi.RTT_MAP_UNPROTECTED, done, count, last[0], (rd, ipa + done * GRANULE_BYTES))

    # -- its end -----------------------------------------------------------------------------------------------------

    def stop(self, rd: int) -> None:
        """RMM 1.0 need not be told."""

    def take_memory(self, pool: GranulePool, footprint: Footprint) -> None:
        """RMI_DATA_DESTROY led by the `top` that the RMM answers; blocks are unfolded first."""
        for span in list(footprint.data):
            self._take_span(pool, footprint, span)

    def destroy_rec(self, rec: int) -> None:
        """RMI_REC_DESTROY."""
        self.door.rmi(Rmi.REC_DESTROY, rec)

    def destroy_realm(self, rd: int) -> None:
        """RMI_REALM_DESTROY."""
        self.door.rmi(Rmi.REALM_DESTROY, rd)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _take_span(self, pool: GranulePool, footprint: Footprint, span: Span) -> None:
        ipa = span.ipa
        while ipa < span.top:
            count = (span.top - ipa) // GRANULE_BYTES
            done, last = self.door.ask_run(Rmi.DATA_DESTROY, (footprint.rd, ipa), (0, GRANULE_BYTES), count)
            ipa += done * GRANULE_BYTES
            if done == count:
                return
            top = last[2]
            if missing_level(last[0]) is None:
                raise RmiRefusal(Rmi.DATA_DESTROY, last[0], (footprint.rd, ipa))
            ipa = self._take_blocks(pool, footprint, ipa, span.top) if top == ipa else max(top, ipa + GRANULE_BYTES)

    def _granules(self, command: Rmi, base: int, count: int) -> Reached:
        done, last = self.door.ask_run(command, (base,), (GRANULE_BYTES,), count)
        return _reached(command, done, count, last[0], (base + done * GRANULE_BYTES,))

    def _create_tables(self, hands: Hands, ipa: int, tables: int, count: int) -> None:
        """`count` level 3 tables from `ipa`, one per block, with the tables above them where they are missing.

        They are to be folded away at once, so only what a refusal leaves behind is entered in the account.
        """
        done, footprint = 0, hands.footprint
        try:
            while done < count:
                args = (footprint.rd, tables + done * GRANULE_BYTES, ipa + done * BLOCK_BYTES, PAGE_LEVEL)
                made, last = self.door.ask_run(Rmi.RTT_CREATE, args, (0, GRANULE_BYTES, BLOCK_BYTES, 0), count - done)
                done += made
                if done < count:
                    level = missing_level(last[0])
                    if level is None or level >= PAGE_LEVEL - 1:
                        raise RmiRefusal(Rmi.RTT_CREATE, last[0], args)
                    hands.create_table(ipa + done * BLOCK_BYTES, level + 1)
        except RmiRefusal:
            _list_tables(footprint, ipa, tables, done)
            raise

    def _fold_tables(self, footprint: Footprint, ipa: int, tables: int, count: int) -> None:
        """Fold the level 3 tables of `count` blocks from `ipa` into block entries."""
        args = (footprint.rd, ipa, PAGE_LEVEL)
        done, last = self.door.ask_run(Rmi.RTT_FOLD, args, (0, BLOCK_BYTES, 0), count)
        if done < count:
            left = ipa + done * BLOCK_BYTES
            _list_tables(footprint, left, tables + done * GRANULE_BYTES, count - done)
            raise RmiRefusal(Rmi.RTT_FOLD, last[0], (footprint.rd, left, PAGE_LEVEL))

    def _take_blocks(self, pool: GranulePool, footprint: Footprint, ipa: int, top: int) -> int:
        """Unfold the run of blocks at `ipa`, as many as there are granules for tables, and destroy all of it."""
        if ipa % BLOCK_BYTES:
            raise BrokenPromise(f"a block begins inside IPA {ipa:#x}")
        tables, count = self._granules_for_tables(pool, footprint, (top - ipa) // BLOCK_BYTES)
        args = (footprint.rd, tables, ipa, PAGE_LEVEL)
        made, last = self.door.ask_run(Rmi.RTT_CREATE, args, (0, GRANULE_BYTES, BLOCK_BYTES, 0), count)
        if not made:
            raise RmiRefusal(Rmi.RTT_CREATE, last[0], args)
        self.door.rmi_run(Rmi.DATA_DESTROY, (footprint.rd, ipa), (0, GRANULE_BYTES), made * PAGES_PER_BLOCK)
        self.door.rmi_run(Rmi.RTT_DESTROY, (footprint.rd, ipa, PAGE_LEVEL), (0, BLOCK_BYTES, 0), made)
        return ipa + made * BLOCK_BYTES

    def _granules_for_tables(self, pool: GranulePool, footprint: Footprint, wanted: int) -> tuple[int, int]:
        """A delegated run for up to `wanted` tables: free memory if there is some, else the one spare granule kept."""
        count = wanted
        while count > 1:
            base = pool.take(count)
            if base is not None:
                footprint.taken.give(base, count)
                self.delegate(base, count).whole()
                footprint.delegated.give(base, count)
                return base, count
            count //= 2
        if not footprint.spare:
            raise BrokenPromise("no granule is left to unfold a block with")
        return footprint.spare[-1], 1


def _reached(command: Rmi, done: int, count: int, x0: int, args: tuple[int, ...]) -> Reached:
    if done == count:
        return Reached(done)
    level = missing_level(x0)
    missing = level if level is not None and level < PAGE_LEVEL else None
    return Reached(done, missing, RmiRefusal(command, x0, args))


def _list_tables(footprint: Footprint, ipa: int, tables: int, count: int) -> None:
    """Enter level 3 tables of neighbouring blocks, in neighbouring granules, in the account."""
    footprint.tables += [
        TableGranule(ipa + index * BLOCK_BYTES, PAGE_LEVEL, tables + index * GRANULE_BYTES) for index in range(count)
    ]
