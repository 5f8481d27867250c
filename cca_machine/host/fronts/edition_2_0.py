"""RMI 2.0 as the host speaks it: ranges, blocks mapped at once, stateful operations (DEN0137 2.0-bet0, section B4.5).

The RMM chooses VMID and MECID. Whatever answers INCOMPLETE is driven to its end before the next call: memory is
donated from the granules taken for it, and what is given back is noted by the RMM's own list. An operation that cannot
have the memory it wants is cancelled, or, where the RMM cannot cancel, given a granule that it must refuse.
"""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.address_range import DELEGATED, UNDELEGATED, descriptor
from cca_machine.abi.rmi import DATA_FLAG_MEASURE, REC_FLAG_RUNNABLE, RUN_EXIT_OFFSET, RecExit
from cca_machine.abi.rmi2 import (
    MEC_COUNT_REGISTER,
    VERSION_2_0,
    AddressType,
    MemoryRequest,
    RealmParams2,
    RecEnter2,
    RecExit2,
    RecParams2,
    Rmi2,
    Rmi2Status,
    donated_pages,
    request_of,
)
from cca_machine.abi.smc import Registers
from cca_machine.commands import RealmSpec
from cca_machine.errors import BrokenPromise
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.host.buffers import HostMemory
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door, Refusal, RmiRefusal, missing_level
from cca_machine.host.footprint import BLOCK_BYTES, PAGE_LEVEL, Footprint, RecGranules, Span
from cca_machine.host.fronts.front import Hands, Progress, Reached
from cca_machine.layout import LoadPlan

BLOCK_LEVEL = PAGE_LEVEL - 1
TABLE_ENTRIES = 512
"""A range command works on one table."""
NORMAL_WRITE_BACK = 6 << 16
READ_WRITE = 3 << 19
LIST_SLOTS = GRANULE_BYTES // 8
MAX_STEPS = 1 << 16
"""Calls of one stateful operation after which the RMM is taken to be out of its mind."""

Donor = Callable[[int], int]
"""Gives a run of that many delegated granules. Raises Refusal."""


class Front20:
    """Implements `host.fronts.front.Front`."""

    reserved_vmids = 0

    def __init__(self, door: Door, buffers: HostMemory) -> None:
        self.door = door
        self._buffers = buffers

    def boot(self) -> int:
        """Agree on the version, keep the configuration that the RMM has, and activate it."""
        self.door.rmi(Rmi2.VERSION, VERSION_2_0)
        contexts = self.door.rmi(Rmi2.FEATURES, MEC_COUNT_REGISTER)[1]
        self.door.rmi(Rmi2.RMM_CONFIG_GET, self._buffers.params)
        self.door.rmi(Rmi2.RMM_CONFIG_SET, self._buffers.params)
        self._operation(Rmi2.RMM_ACTIVATE)
        self.door.wipe(self._buffers.params, 1)
        return contexts

    def lacks(self, realm: RealmSpec) -> str:
        """Nothing: the RMM decides about contexts when the Realm is created."""
        return ""

    def vmid(self, used: set[int], bits: int) -> int | None:
        """The RMM chooses."""
        return 0

    # -- granules and tables -----------------------------------------------------------------------------------------

    def delegate(self, base: int, count: int) -> Reached:
        """RMI_GRANULE_RANGE_DELEGATE until all of the range is done."""
        return self._granules(Rmi2.GRANULE_RANGE_DELEGATE, "rmi.range-delegate", base, count)

    def undelegate(self, base: int, count: int) -> Reached:
        """RMI_GRANULE_RANGE_UNDELEGATE until all of the range is done."""
        return self._granules(Rmi2.GRANULE_RANGE_UNDELEGATE, "rmi.range-undelegate", base, count)

    def walk_level(self, rd: int, ipa: int) -> int:
        """RMI_RTT_READ_ENTRY."""
        return self.door.rmi(Rmi2.RTT_READ_ENTRY, rd, ipa, PAGE_LEVEL)[1]

    def create_table(self, rd: int, granule: int, ipa: int, level: int) -> None:
        """RMI_RTT_CREATE."""
        self.door.rmi(Rmi2.RTT_CREATE, rd, granule, ipa, level)

    def destroy_table(self, rd: int, ipa: int, level: int) -> int:
        """RMI_RTT_DESTROY."""
        return self.door.rmi(Rmi2.RTT_DESTROY, rd, ipa, level)[1]

    def fold(self, rd: int, ipa: int, level: int) -> int:
        """RMI_RTT_FOLD."""
        return self.door.rmi(Rmi2.RTT_FOLD, rd, ipa, level)[1]

    # -- a Realm's birth ---------------------------------------------------------------------------------------------

    def create_realm(self, plan: LoadPlan, footprint: Footprint) -> None:
        """RMI_REALM_CREATE; VMID and MECID are the RMM's choice, the policy of the context stands in the flags."""
        params = RealmParams2(
            flags=plan.flags | plan.policy_flags,
            s2sz=plan.ipa_width,
            sve_vl=plan.sve_vl,
            num_bps=plan.num_bps,
            num_wps=plan.num_wps,
            pmu_num_ctrs=plan.pmu_num_ctrs,
            hash_algo=plan.hash_algo,
            rpv=plan.rpv,
            rtt_base=footprint.root,
            rtt_level_start=plan.rtt_level_start,
            rtt_num_start=plan.rtt_num_start,
        )
        self.door.write(self._buffers.params, params.encode())
        self.door.rmi(Rmi2.REALM_CREATE, footprint.rd, self._buffers.params)

    def init_ripas(self, rd: int, base: int, top: int) -> Progress:
        """RMI_RTT_INIT_RIPAS."""
        result = self.door.ask(Rmi2.RTT_INIT_RIPAS, rd, base, top)
        level = missing_level(result[0])
        if result[0] == 0:
            return Progress(result[1])
        if level is not None and level < PAGE_LEVEL:
            return Progress(base, level)
        raise RmiRefusal(Rmi2.RTT_INIT_RIPAS, result[0], (rd, base, top))

    def load(self, rd: int, pa: int, ipa: int, source: int, count: int) -> Reached:
        """RMI_RTT_DATA_MAP_INIT, page by page."""
        step = GRANULE_BYTES
        args = (rd, pa, ipa, source, DATA_FLAG_MEASURE)
        done, last = self.door.ask_run(Rmi2.RTT_DATA_MAP_INIT, args, (0, step, step, step, 0), count)
        if done == count:
            return Reached(done)
        return _stopped(Rmi2.RTT_DATA_MAP_INIT, done, last[0], (rd, ipa + done * step), PAGE_LEVEL)

    def back_page(self, rd: int, pa: int, ipa: int, count: int) -> Reached:
        """RMI_RTT_DATA_MAP of pages."""
        return self._map_data(rd, pa, ipa, count, PAGE_LEVEL)

    def back_blocks(self, hands: Hands, span: Span) -> None:
        """RMI_RTT_DATA_MAP of blocks, with the tables above them where they are missing."""
        per_block = BLOCK_BYTES // GRANULE_BYTES
        blocks, at = span.count // per_block, 0
        while at < blocks:
            ipa = span.ipa + at * BLOCK_BYTES
            reached = self._map_data(hands.footprint.rd, span.at(ipa), ipa, blocks - at, BLOCK_LEVEL)
            hands.assigned(span, at * per_block, reached.done * per_block)
            at += reached.done
            if reached.missing is not None:
                hands.create_table(span.ipa + at * BLOCK_BYTES, reached.missing + 1)
            else:
                reached.whole()

    def create_recs(self, hands: Hands) -> None:
        """RMI_REC_CREATE, which asks for its auxiliary granules to be donated."""
        footprint, params_page = hands.footprint, self._buffers.params
        for plan in hands.plan.recs:
            rec = hands.take(1)
            flags = REC_FLAG_RUNNABLE if plan.runnable else 0
            params = RecParams2(flags=flags, mpidr=plan.mpidr, pc=plan.pc, gprs=plan.gprs)
            self.door.write(params_page, params.encode())
            self._operation(Rmi2.REC_CREATE, footprint.rd, rec, params_page, donor=hands.take)
            footprint.recs.append(RecGranules(rec, plan.mpidr, 0))

    def activate(self, rd: int) -> None:
        """RMI_REALM_ACTIVATE."""
        self.door.rmi(Rmi2.REALM_ACTIVATE, rd)

    # -- its life ----------------------------------------------------------------------------------------------------

    def enter(self, rec: int, reply: tuple[int, ...]) -> RecExit:
        """RMI_REC_ENTER."""
        run = self._buffers.run
        self.door.write(run, RecEnter2(gprs=reply + (0,) * (31 - len(reply))).encode())
        self.door.rmi(Rmi2.REC_ENTER, rec, run)
        self.door.meter.charge("host.exit")
        return RecExit2.decode(self.door.read(run + RUN_EXIT_OFFSET, GRANULE_BYTES - RUN_EXIT_OFFSET))

    def complete_psci(self, rec: int, target: int, status: int) -> None:
        """RMI_PSCI_COMPLETE."""
        self.door.rmi(Rmi2.PSCI_COMPLETE, rec, target, status)

    def set_ripas(self, rd: int, rec: int, base: int, top: int) -> Progress:
        """RMI_RTT_SET_RIPAS."""
        result = self.door.ask(Rmi2.RTT_SET_RIPAS, rd, rec, base, top)
        level = missing_level(result[0])
        if result[0] == 0:
            self.door.meter.charge("rmi.ripas-entry", (result[1] - base) // GRANULE_BYTES)
            return Progress(result[1])
        return Progress(base, level if level is not None and level < PAGE_LEVEL else None)

    def take_pages(self, rd: int, ipa: int, count: int) -> None:
        """RMI_RTT_DATA_UNMAP."""
        self._unmap(rd, ipa, ipa + count * GRANULE_BYTES)

    def share(self, rd: int, ipa: int, pa: int, count: int) -> Reached:
        """RMI_RTT_UNPROT_MAP."""
        flags = AddressType.SINGLE | NORMAL_WRITE_BACK | READ_WRITE
        return self._map(Rmi2.RTT_UNPROT_MAP, rd, pa, ipa, count, PAGE_LEVEL, flags, UNDELEGATED)

    # -- its end -----------------------------------------------------------------------------------------------------

    def stop(self, rd: int) -> None:
        """RMI_REALM_TERMINATE: the Realm is a ZOMBIE from now on."""
        self.door.rmi(Rmi2.REALM_TERMINATE, rd)

    def take_memory(self, pool: GranulePool, footprint: Footprint) -> None:
        """RMI_RTT_DATA_UNMAP, blocks as they are: pages that were loaded may have become part of one."""
        ranges: list[tuple[int, int]] = []
        for span in sorted(footprint.data, key=lambda span: span.ipa):
            if ranges and ranges[-1][1] == span.ipa:
                ranges[-1] = ranges[-1][0], span.top
            else:
                ranges.append((span.ipa, span.top))
        for base, top in ranges:
            self._unmap(footprint.rd, base, top)

    def destroy_rec(self, rec: int) -> None:
        """RMI_REC_DESTROY; the auxiliary granules are reclaimed."""
        self._operation(Rmi2.REC_DESTROY, rec)

    def destroy_realm(self, rd: int) -> None:
        """RMI_REALM_DESTROY."""
        self.door.rmi(Rmi2.REALM_DESTROY, rd)

    # -- ranges ------------------------------------------------------------------------------------------------------

    def _granules(self, command: Rmi2, cost: str, base: int, count: int) -> Reached:
        top, here = base + count * GRANULE_BYTES, base
        while here < top:
            result = self.door.ask(command, here, top)
            done, left = (result[1] - here) // GRANULE_BYTES, (top - here) // GRANULE_BYTES
            if result[0] == 0 and done == 1 < left:
                # this RMM does one granule per call, whatever it is asked for
                more, result = self.door.ask_run(command, (result[1], top), (GRANULE_BYTES, 0), left - 1)
                done += more
            self.door.meter.charge(cost, done if done > 0 else 0)
            if result[0]:
                here += done * GRANULE_BYTES if done > 0 else 0
                refusal = RmiRefusal(command, result[0], (here, top))
                return Reached((here - base) // GRANULE_BYTES, None, refusal)
            here += done * GRANULE_BYTES
        return Reached(count)

    def _map_data(self, rd: int, pa: int, ipa: int, count: int, level: int) -> Reached:
        return self._map(Rmi2.RTT_DATA_MAP, rd, pa, ipa, count, level, AddressType.SINGLE, DELEGATED)

    def _map(
        self, command: Rmi2, rd: int, pa: int, ipa: int, count: int, level: int, flags: int, state: int
    ) -> Reached:
        """`count` entries of `level`, table by table; one contiguous piece of memory per call."""
        step, done = 1 << (39 - 9 * level), 0
        while done < count:
            here, piece = ipa + done * step, min(count - done, TABLE_ENTRIES)
            args = (rd, here, here + piece * step, flags, descriptor(pa + done * step, level, piece, state))
            result = self._ask(command, args)
            if result[0]:
                return _stopped(command, done, result[0], args, level)
            mapped = (result[1] - here) // step
            self.door.meter.charge("rmi.range-map", mapped * step // GRANULE_BYTES)
            done += mapped
        return Reached(done)

    def _unmap(self, rd: int, ipa: int, top: int) -> None:
        """The host knows what lies where, and asks for no list of it."""
        while ipa < top:
            args = (rd, ipa, top, int(AddressType.NONE), 0)
            result = self._ask(Rmi2.RTT_DATA_UNMAP, args)
            if result[0]:
                raise RmiRefusal(Rmi2.RTT_DATA_UNMAP, result[0], args)
            self.door.meter.charge("rmi.range-unmap", (result[1] - ipa) // GRANULE_BYTES)
            ipa = result[1]

    # -- stateful operations -----------------------------------------------------------------------------------------

    def _operation(self, command: Rmi2, *args: int, donor: Donor | None = None) -> None:
        """A call, and all that it takes to bring it to a good end. Raises Refusal."""
        result = self._ask(command, args, donor)
        if result[0]:
            raise RmiRefusal(command, result[0], args)

    def _ask(self, command: Rmi2, args: tuple[int, ...], donor: Donor | None = None) -> Registers:
        """The last answer to a call that may go on as a stateful operation."""
        result = self.door.ask(command, *args)
        if result[0] & 0xFF != Rmi2Status.INCOMPLETE:
            return result
        handle, lack = result[1], None
        for _ in range(MAX_STEPS):
            request = request_of(result[0])
            if request is MemoryRequest.DONATE and lack is None:
                try:
                    result = self._donate(handle, donated_pages(result[2]), donor)
                except Refusal as refusal:
                    lack = refusal
                    result = self._abandon(handle)
            elif request is MemoryRequest.DONATE:
                raise BrokenPromise(f"RMI_{command.name} cannot be ended without memory that the host does not have")
            elif request is MemoryRequest.RECLAIM:
                result = self.door.ask(Rmi2.OP_MEM_RECLAIM, handle, self._buffers.lists, LIST_SLOTS)
            else:
                result = self.door.ask(Rmi2.OP_CONTINUE, handle, 0)
            if result[0] & 0xFF != Rmi2Status.INCOMPLETE:
                self.door.wipe(self._buffers.lists, 1)
                if lack is not None:
                    raise lack
                return result
        raise BrokenPromise(f"RMI_{command.name} asks to be continued without end")

    def _donate(self, handle: int, pages: int, donor: Donor | None) -> Registers:
        """Give an operation what it wants, in one piece if there is one. Raises Refusal: no-granules."""
        if donor is None:
            raise Refusal("no-granules", f"{pages} granules wanted by an operation that nobody expected to want any")
        ranges = [descriptor(donor(pages), PAGE_LEVEL, pages)]
        self._write_list(ranges)
        return self.door.ask(Rmi2.OP_MEM_DONATE, handle, self._buffers.lists, len(ranges))

    def _abandon(self, handle: int) -> Registers:
        """End an operation whose memory cannot be had: by cancelling, else with a page that it cannot take."""
        result = self.door.ask(Rmi2.OP_CANCEL, handle)
        if result[0] & 0xFF == Rmi2Status.ERROR_INPUT:
            self._write_list([descriptor(self._buffers.run, PAGE_LEVEL)])
            result = self.door.ask(Rmi2.OP_MEM_DONATE, handle, self._buffers.lists, 1)
        return result

    def _write_list(self, ranges: list[int]) -> None:
        self.door.write(self._buffers.lists, b"".join(each.to_bytes(8, "little") for each in ranges))


def _stopped(command: Rmi2, done: int, x0: int, args: tuple[int, ...], wanted: int) -> Reached:
    """`missing` where the walk ended above the level `wanted`."""
    level = missing_level(x0)
    missing = level if level is not None and level < wanted else None
    return Reached(done, missing, RmiRefusal(command, x0, args))
