"""The REC-enter loop: a Realm runs until its guest has something to say, and the host answers every exit on the way.

Host calls end a conversation's turn; PSCI requests, RIPAS changes, aborts and interrupts are served and the REC is
entered again (DEN0137 1.0-rel0, section A4.3; KVM arch/arm64/kvm/rme-exit.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cca_machine.abi.psci import Psci, PsciStatus
from cca_machine.abi.rmi import ExitReason, RecExit, Ripas
from cca_machine.errors import BrokenPromise
from cca_machine.hardware.address import GRANULE_BYTES, align_down
from cca_machine.host.buffers import HostMemory
from cca_machine.host.build import SPARE_BATCH, create_table
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Refusal
from cca_machine.host.footprint import PAGE_LEVEL, Footprint, Span, without
from cca_machine.host.fronts.front import Front
from cca_machine.layout import GuestCall, HostRequest, LoadPlan

MAX_ENTRIES = 100_000
"""Entries in one turn after which a guest is taken to be out of its mind."""

DATA_ABORT_CLASS = 0x24


class Said(NamedTuple):
    """What the guest said at the end of a turn; `call` is None when it turned itself off."""

    call: GuestCall | None
    message: bytes = b""


class VirtualMachine:
    """One Realm as its VMM runs it; made for each piece of work from the account that the host keeps."""

    def __init__(
        self, front: Front, pool: GranulePool, buffers: HostMemory, plan: LoadPlan, footprint: Footprint
    ) -> None:
        self.front = front
        self.door = front.door
        self.pool = pool
        self.buffers = buffers
        self.plan = plan
        self.footprint = footprint
        self._off = False

    def ask(self, request: HostRequest, message: bytes = b"") -> Said:
        """Put `message` into the mailbox, answer the guest's last host call with `request`, and let it speak.

        The mailbox is empty again afterwards. Raises Refusal when the RMM does not let the REC run or the message does
        not fit.
        """
        if len(message) > self.plan.mailbox_bytes:
            raise Refusal("message-too-large", f"{len(message)} bytes do not fit the mailbox")
        if message:
            self._mailbox_write(message)
        exit_ = self._run((int(request), len(message)))
        if self._off:
            said = Said(None)
        else:
            said = Said(GuestCall(exit_.imm), self._mailbox_read(exit_.gprs[0]))
        self._wipe()
        return said

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _run(self, reply: tuple[int, ...]) -> RecExit:
        boot = self.footprint.recs[0].rec
        for _ in range(MAX_ENTRIES):
            exit_ = self.front.enter(boot, reply)
            if exit_.exit_reason == ExitReason.HOST_CALL:
                return exit_
            self._serve(boot, exit_)
            if self._off:
                return exit_
        raise BrokenPromise(f"a guest exited {MAX_ENTRIES} times without a host call")

    def _serve(self, rec: int, exit_: RecExit) -> None:
        handlers: dict[int, Callable[[int, RecExit], None]] = {
            ExitReason.PSCI: self._psci,
            ExitReason.RIPAS_CHANGE: self._ripas_change,
            ExitReason.SYNC: self._abort,
            ExitReason.IRQ: self._interrupt,
            ExitReason.FIQ: self._interrupt,
        }
        handler = handlers.get(exit_.exit_reason)
        if handler is None:
            raise Refusal("realm-crashed", f"REC exit {ExitReason(exit_.exit_reason).name} has no handler")
        handler(rec, exit_)

    def _interrupt(self, rec: int, exit_: RecExit) -> None:
        """The interrupt was the host's; the REC goes on."""

    # -- PSCI --------------------------------------------------------------------------------------------------------

    def _psci(self, rec: int, exit_: RecExit) -> None:
        call = exit_.gprs[0]
        if call in (Psci.SYSTEM_OFF, Psci.SYSTEM_RESET):
            self._off = True
        elif call in (Psci.CPU_ON, Psci.CPU_ON_32, Psci.AFFINITY_INFO, Psci.AFFINITY_INFO_32):
            target = self._rec_of(exit_.gprs[1])
            self.front.complete_psci(rec, target, PsciStatus.SUCCESS)
            if call in (Psci.CPU_ON, Psci.CPU_ON_32):
                # the secondary vCPU comes up on another PE and idles until the first one has work for it
                self.front.enter(target, ())

    def _rec_of(self, mpidr: int) -> int:
        for rec in self.footprint.recs:
            if rec.mpidr == mpidr:
                return rec.rec
        raise BrokenPromise(f"the RMM forwarded a PSCI call for vCPU {mpidr:#x}, which does not exist")

    # -- memory ------------------------------------------------------------------------------------------------------

    def _ripas_change(self, rec: int, exit_: RecExit) -> None:
        base, top = exit_.ripas_base, exit_.ripas_top
        at = base
        while at < top:
            reached, missing = self.front.set_ripas(self.footprint.rd, rec, at, top)
            if missing is not None:
                self._create_table(at, missing + 1)
            elif reached == at:
                break
            at = reached
        if exit_.ripas_value == Ripas.EMPTY and at > base:
            self.give_up(base, at, shared=True)

    def give_up(self, base: int, top: int, *, shared: bool) -> None:
        """Take the pages of [base, top), mapped one by one, out of the Realm, to be `shared` or just kept."""
        footprint = self.footprint
        for span in [piece for data in footprint.data if (piece := data.cut(base, top)) is not None]:
            self.front.take_pages(footprint.rd, span.ipa, span.count)
            self.front.undelegate(span.pa, span.count).whole()
            footprint.delegated.take_at(span.pa, span.count)
            if shared:
                footprint.shared.append(span)
        footprint.data = without(footprint.data, base, top)

    def _abort(self, rec: int, exit_: RecExit) -> None:
        if exit_.esr >> 26 != DATA_ABORT_CLASS:
            raise Refusal("realm-crashed", f"the Realm left with syndrome {exit_.esr:#x}")
        ipa = exit_.hpfar >> 4 << 12
        half = 1 << self.plan.ipa_width - 1
        if ipa >= half:
            self._share(ipa, half)
        else:
            self._bring_in(ipa)

    def _share(self, ipa: int, half: int) -> None:
        span = next((span for span in self.footprint.shared if span.ipa <= ipa - half < span.top), None)
        if span is None:
            raise Refusal("realm-crashed", f"the Realm touched unprotected IPA {ipa:#x}, where nothing is")
        at = 0
        while at < span.count:
            here, pa = span.ipa + half + at * GRANULE_BYTES, span.pa + at * GRANULE_BYTES
            reached = self.front.share(self.footprint.rd, here, pa, span.count - at)
            at += reached.done
            if reached.missing is not None:
                self._create_table(span.ipa + half + at * GRANULE_BYTES, reached.missing + 1)
            else:
                reached.whole()

    def _bring_in(self, ipa: int) -> None:
        """Back a page of RAM that has none: a page of the pool, zeroed by the RMM."""
        granule = self._spare()
        while (reached := self.front.back_page(self.footprint.rd, granule, ipa, 1)).missing is not None:
            self._create_table(ipa, reached.missing + 1)
            granule = self._spare()
        reached.whole()
        self.footprint.spare.remove(granule)
        self.footprint.data.append(Span(align_down(ipa, GRANULE_BYTES), granule, 1))

    def ensure_pages(self, ipa: int) -> None:
        """Make the tables that map `ipa` page by page, unfolding a block if there is one."""
        while (level := self.front.walk_level(self.footprint.rd, ipa)) < PAGE_LEVEL:
            self._create_table(ipa, level + 1)

    def _create_table(self, ipa: int, level: int) -> None:
        create_table(self.front, self.footprint, self._spare(), ipa, level)

    def _spare(self) -> int:
        """A delegated granule without use; one more is always kept back for teardown."""
        footprint = self.footprint
        if len(footprint.spare) < 2:
            base = self.pool.take(SPARE_BATCH)
            if base is None:
                raise Refusal("no-granules", f"{SPARE_BATCH} granules wanted for tables, {self.pool.free} free")
            footprint.taken.give(base, SPARE_BATCH)
            self.front.delegate(base, SPARE_BATCH).whole()
            footprint.delegated.give(base, SPARE_BATCH)
            footprint.spare.extend(base + index * GRANULE_BYTES for index in reversed(range(SPARE_BATCH)))
        return footprint.spare[-1]

    # -- the mailbox -------------------------------------------------------------------------------------------------

    def _mailbox_write(self, message: bytes) -> None:
        at = 0
        for span in self.footprint.shared:
            piece = message[at : at + span.count * GRANULE_BYTES]
            if piece:
                self.door.write(span.pa, piece)
            at += len(piece)
        if at < len(message):
            raise Refusal("no-mailbox", "the Realm shares too little memory with its host")

    def _mailbox_read(self, size: int) -> bytes:
        pieces = []
        for span in self.footprint.shared:
            count = min(size, span.count * GRANULE_BYTES)
            if count > 0:
                pieces.append(self.door.read(span.pa, count))
            size -= count
        return b"".join(pieces)

    def _wipe(self) -> None:
        for span in self.footprint.shared:
            self.door.wipe(span.pa, span.count)
        self.door.wipe(self.buffers.run, 1)
