"""A paravisor in P0 that runs an unmodified guest in P1 and serves it a TPM (cca-1.1, planes: paravisor start).

P0 gives P1 its memory by overlay indices, measures P1's first page into PCR 4, enters P1 and answers what comes back:
HVCs are TPM commands, PSCI is emulated, anything that P1 may not touch ends it. A quote is bound to the Realm: the
challenge of the CCA token beside it is the SHA-512 of the quote, so that who trusts the Realm's RIM, which covers P0,
may trust the PCRs that P0 keeps.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum

import msgspec

from cca_machine.abi.guest import Access as Touch
from cca_machine.abi.guest import Exception_, ExceptionKind, GuestEvent, RealmAccessFault, RecView, SetRegister, Smc
from cca_machine.abi.psci import VERSION_1_1, Psci, PsciStatus
from cca_machine.abi.rsi import Rsi, RsiStatus
from cca_machine.abi.rsi2 import PLANE_EXIT_OFFSET, Label, PlaneEnter, PlaneExit, PlaneExitReason, Rsi2
from cca_machine.abi.smc import MASK64
from cca_machine.guest.tpm import Tpm, TpmCommand, TpmResult

PAGE = 4096
OF_GUEST, OF_MAILBOX = 1, 2
"""Overlay indices: P1's own memory, and what it shares with P0."""
KERNEL_PCR = 4
"""Where a boot loader's code is measured (TCG PC Client Platform Firmware Profile)."""
HVC = Exception_(ExceptionKind.SYNC, 0x16 << 26)
EC_HVC, EC_SMC, EC_WFX = 0x16, 0x17, 0x01
PSTATE_EL1H = 0x3C5


class Stage(IntEnum):
    """Where P0 is."""

    LABEL_GUEST = 0
    LABEL_MAILBOX = 1
    GIVE_GUEST = 2
    GIVE_MAILBOX = 3
    START = 4
    RUN = 5
    TOKEN_BEGIN = 6
    TOKEN = 7
    HAND_OVER = 8
    STOPPED = 9


class ParavisorLayout(msgspec.Struct, frozen=True, kw_only=True):
    """IPAs, all page aligned: P0's run page and token page, P1's memory with its entry point at the start, mailbox."""

    run: int
    token: int
    guest: int
    guest_top: int
    mailbox: int
    mailbox_top: int


class ParavisorState(msgspec.Struct, kw_only=True):
    """Everything that P0 and the guest in P1 remember."""

    layout: ParavisorLayout
    work: list[tuple[int, ...]]
    """What the guest in P1 asks of its TPM, one register list per HVC."""
    tpm: Tpm = msgspec.field(default_factory=Tpm.started)
    stage: Stage = Stage.LABEL_GUEST
    asked: bool = False
    reached: tuple[int, int] = (0, 0)
    """Base and cookie of the last request for memory of P1."""
    quote: bytes = b""
    evidence: bytes = b""
    resume: PlaneExit = msgspec.field(default_factory=PlaneExit)
    ended: str = ""
    register: int = 0
    answers: list[tuple[int, ...]] = []
    """x0..x4 that the guest got back, one per piece of work."""


class Paravisor:
    """Implements `abi.guest.GuestPort` for one Realm with P0 and P1 on its first vCPU.

    The record changes only after the memory that a step needs was reached: an access that stage 2 does not let
    through is taken as an abort, and the step repeated.
    """

    def __init__(self, state: ParavisorState) -> None:
        self.state = state

    def next_event(self, rec: RecView) -> GuestEvent:
        """What the software of the plane that runs does next."""
        try:
            return self._guest(rec) if rec.plane else self._p0(rec)
        except RealmAccessFault as fault:
            return Touch(ipa=fault.ipa, register=30)

    # -- P1: an ordinary guest that measures its boot ------------------------------------------------------------------

    def _guest(self, rec: RecView) -> GuestEvent:
        state = self.state
        done = len(state.answers)
        if done == len(state.work):
            return Smc((Psci.SYSTEM_OFF,))
        registers = state.work[done]
        if state.register < len(registers):
            state.register += 1
            return SetRegister(state.register - 1, registers[state.register - 1])
        return HVC

    # -- P0 ------------------------------------------------------------------------------------------------------------

    def _p0(self, rec: RecView) -> GuestEvent:
        state, where = self.state, self.state.layout
        while True:
            match state.stage:
                case Stage.LABEL_GUEST | Stage.LABEL_MAILBOX:
                    guest = state.stage is Stage.LABEL_GUEST
                    if not state.asked:
                        state.asked = True
                        label = Label.RW_X if guest else Label.RW
                        return Smc((Rsi2.MEM_SET_PERM_VALUE, 1, OF_GUEST if guest else OF_MAILBOX, label))
                    self._next(rec.gprs[0] == RsiStatus.SUCCESS, "a label was refused")
                case Stage.GIVE_GUEST:
                    event = self._give(rec, where.guest, where.guest_top, OF_GUEST)
                    if event is not None:
                        return event
                case Stage.GIVE_MAILBOX:
                    event = self._give(rec, where.mailbox, where.mailbox_top, OF_MAILBOX)
                    if event is not None:
                        return event
                case Stage.START:
                    kernel = rec.read(where.guest, PAGE)
                    state.resume = PlaneExit(elr_el2=where.guest, pstate=PSTATE_EL1H)
                    entered = self._enter(rec)
                    state.tpm.extend(KERNEL_PCR, hashlib.sha256(kernel).digest())
                    state.stage = Stage.RUN
                    return entered
                case Stage.RUN:
                    event = self._answer(rec)
                    if event is not None:
                        return event
                case Stage.TOKEN_BEGIN | Stage.TOKEN:
                    event = self._token(rec)
                    if event is not None:
                        return event
                case Stage.HAND_OVER:
                    return self._hand_over(rec)
                case Stage.STOPPED:
                    return Smc((Psci.SYSTEM_OFF,))

    def _next(self, good: bool, otherwise: str) -> None:
        state = self.state
        state.asked = False
        state.stage = Stage(state.stage + 1) if good else Stage.STOPPED
        state.ended = state.ended if good else otherwise

    def _give(self, rec: RecView, base: int, top: int, index: int) -> GuestEvent | None:
        """RSI_MEM_SET_PERM_INDEX until the Host has done the whole range, in each tree if planes have their own."""
        state, step = self.state, (base, 0)
        if state.asked:
            status, reached, response, cookie = rec.gprs[:4]
            step = (reached, cookie)
            if status or response or step == state.reached:
                self._next(False, f"the host does not give P1 {base:#x}")
                return None
            if reached >= top and not cookie:
                self._next(True, "")
                return None
        state.asked, state.reached = True, step
        return Smc((Rsi2.MEM_SET_PERM_INDEX, step[0], top, index, step[1]))

    def _enter(self, rec: RecView, *results: int) -> GuestEvent:
        """Go on with P1 where it stopped, with `results` from x0 up."""
        last = self.state.resume
        gprs = (*results, *last.gprs[len(results) :])
        page = PlaneEnter(pc=last.elr_el2, pstate=last.pstate, gprs=gprs, elr_el1=last.elr_el1)
        rec.write(self.state.layout.run, page.encode())
        return Smc((Rsi2.PLANE_ENTER, 1, self.state.layout.run))

    def _answer(self, rec: RecView) -> GuestEvent | None:
        """P1 has stopped: serve it."""
        state = self.state
        if rec.gprs[0] != RsiStatus.SUCCESS:
            self._end("P1 cannot be entered")
            return None
        page = rec.read(state.layout.run + PLANE_EXIT_OFFSET, PAGE - PLANE_EXIT_OFFSET)
        state.resume = PlaneExit.decode(page)
        cause = state.resume.esr_el2 >> 26
        if state.resume.reason != PlaneExitReason.SYNC or cause == EC_WFX:
            return self._enter(rec)
        if cause == EC_SMC:
            return self._psci(rec, state.resume.gprs[0])
        if cause != EC_HVC:
            self._end(f"P1 touched {state.resume.hpfar_el2 << 8:#x}, which is not its own")
            return None
        return self._command(rec, *state.resume.gprs[:6])

    def _end(self, why: str) -> None:
        self.state.stage, self.state.ended = Stage.STOPPED, why

    def _psci(self, rec: RecView, fid: int) -> GuestEvent | None:
        if fid in (Psci.SYSTEM_OFF, Psci.SYSTEM_RESET):
            self._end("P1 has switched itself off")
            return None
        return self._enter(rec, VERSION_1_1 if fid == Psci.VERSION else PsciStatus.NOT_SUPPORTED & MASK64)

    def _command(self, rec: RecView, command: int, what: int, *words: int) -> GuestEvent | None:
        """A TPM command: x1 names a PCR, or the set of PCRs to quote; x2..x5 are a digest, or a nonce."""
        tpm, given = self.state.tpm, struct.pack("<4Q", *words)
        if command == TpmCommand.PCR_EXTEND:
            return self._reply(rec, tpm.extend(what, given))
        if command == TpmCommand.PCR_READ:
            if what >= len(tpm.pcrs):
                return self._reply(rec, TpmResult.VALUE)
            return self._reply(rec, TpmResult.SUCCESS, *struct.unpack("<4Q", tpm.pcrs[what]))
        if command != TpmCommand.QUOTE:
            return self._reply(rec, TpmResult.COMMAND_CODE)
        self.state.quote, self.state.evidence = tpm.quoted(what, given), b""
        self.state.stage = Stage.TOKEN_BEGIN
        return None

    def _reply(self, rec: RecView, *results: int) -> GuestEvent:
        """Enter P1 with the answer, which it notes, and goes on to its next piece of work."""
        event = self._enter(rec, *map(int, results))
        self.state.answers.append(tuple(map(int, results)))
        self.state.register = 0
        self.state.stage = Stage.RUN
        return event

    def _token(self, rec: RecView) -> GuestEvent | None:
        """Get a CCA token for the quote."""
        state = self.state
        if state.stage is Stage.TOKEN_BEGIN:
            state.stage = Stage.TOKEN
            state.asked = False
            return Smc((Rsi.ATTESTATION_TOKEN_INIT, *struct.unpack("<8Q", hashlib.sha512(state.quote).digest())))
        status, size = rec.gprs[:2]
        if state.asked:
            state.evidence += rec.read(state.layout.token, size) if size else b""
            if status == RsiStatus.SUCCESS:
                state.stage = Stage.HAND_OVER
                return None
        if status not in (RsiStatus.SUCCESS, RsiStatus.INCOMPLETE):
            self._end("the RMM makes no token")
            return None
        state.asked = True
        return Smc((Rsi.ATTESTATION_TOKEN_CONTINUE, state.layout.token, 0, PAGE))

    def _hand_over(self, rec: RecView) -> GuestEvent:
        """Put quote and token into the mailbox, and tell P1 how long they are."""
        state = self.state
        message = b"".join(len(part).to_bytes(4, "little") + part for part in (state.quote, state.evidence))
        room = state.layout.mailbox_top - state.layout.mailbox
        if len(message) > room:
            return self._reply(rec, TpmResult.VALUE)
        rec.write(state.layout.mailbox, message)
        return self._reply(rec, TpmResult.SUCCESS, len(message))


def parts_of(message: bytes) -> tuple[bytes, bytes]:
    """Quote and CCA token in a mailbox.

    Raises:
        ValueError: The lengths do not fit the message.
    """
    found, here = [], 0
    for _ in range(2):
        size = int.from_bytes(message[here : here + 4], "little")
        found.append(message[here + 4 : here + 4 + size])
        here += 4 + size
    if here > len(message) or not all(found):
        raise ValueError("the mailbox holds no quote and token")
    return found[0], found[1]
