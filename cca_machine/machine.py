"""One simulated server: what reaches it, what it does with its time, and what leaves it.

A machine knows nothing but what is submitted to it. `run_until` works off its agenda in total order (instant, priority,
source, number); commands wait for one of two control PEs and for their Realm, change the state when they start, and
have their consequences on the agenda at the instants that their costs give. It is pure: no clock, no I/O, no chance
that does not come from its seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import msgspec

from cca_machine import snapshot as snapshots
from cca_machine.abi.smc import Registers
from cca_machine.board import Board
from cca_machine.commands import (
    CONTROL,
    HEARTBEATS,
    Advance,
    Booted,
    FaultKind,
    FirmwareBooted,
    FirmwareRefused,
    Heal,
    Inject,
    Input,
    MachineBooted,
    MachineFrozen,
    MachineHung,
    MachineLost,
    MachineRebooting,
    MachineSpec,
    MachineThawed,
    Record,
    Sent,
    SessionClosed,
    Traced,
)
from cca_machine.errors import LateInput, MachineError
from cca_machine.hardware.gpt import World
from cca_machine.host.floor import Floor
from cca_machine.host.fluid import accrue
from cca_machine.host.happenings import (
    Arrived,
    BootEnd,
    Hang,
    Happening,
    ImageFails,
    LeaseTimer,
    Reset,
    Say,
    Tell,
    Watchdog,
)
from cca_machine.host.hosted import HostedRealm
from cca_machine.monitor.boot import BootRefused, BootReverted
from cca_machine.monitor.components import RMM
from cca_machine.monitor.state import MonitorState
from cca_machine.snapshot import Due, MachineState, Power

ENVIRONMENT = 0
"""Priority at which faults arrive (`orchestrator.engine.ports.Priority`)."""

OWN = 3
"""Priority of what the machine itself put on its agenda: after parcels and orders of the same instant."""

Key = tuple[int, int, str, int]


class Machine:
    """A server from power-on. It boots at virtual instant 0, having done its power-on self test before."""

    def __init__(self, spec: MachineSpec) -> None:
        self.spec = spec
        self._door_sink: Callable[[dict[str, Any]], None] | None = None
        self._start(MachineState(monitor=MonitorState()))
        self._power_on(0, self.spec.timing["boot.rmm"] + self.spec.timing["boot.platform-token"])

    # -- the contract ------------------------------------------------------------------------------------------------

    def submit(self, item: Input, at_ns: int, priority: int, source: str, number: int) -> None:
        """Put `item` on the agenda at the instant of its arrival (virtual ns).

        The same item under the same key a second time is dropped: a message that was sent again. Raises LateInput.
        """
        if at_ns < self._state.clock_ns:
            raise LateInput(f"{self.spec.name} has run to {self._state.clock_ns} ns; nothing can arrive at {at_ns} ns")
        self._plan(Due(at_ns, priority, source, number, Arrived(source, number, item)))

    def run_until(self, until_ns: int) -> Advance:
        """Do everything that is due strictly before `until_ns` (virtual ns); say what left, what is to be traced."""
        self._advance = Advance([], [], None)
        while self._heap and self._heap[0][0] < until_ns:
            key = heappop(self._heap)
            for due in self._due.pop(key):
                self._now_ns = key[0]
                self._meet(due)
        self._state.clock_ns = max(self._state.clock_ns, until_ns)
        next_ns = self._heap[0][0] if self._heap else None
        return Advance(self._advance.sent, self._advance.records, next_ns, self._idle())

    def snapshot(self) -> bytes:
        """The whole state as bytes; `restore` and `snapshot` again give the same bytes."""
        self._state.agenda = [due for key in sorted(self._due) for due in self._due[key]]
        return snapshots.save(self._state, snapshots.spec_digest(self.spec))

    def restore(self, snapshot: bytes) -> None:
        """Take over the state that a machine of the same specification gave. Raises SnapshotRefused."""
        self._start(snapshots.load(snapshot, snapshots.spec_digest(self.spec)))

    def digest(self) -> str:
        """SHA-256 (hex) over what the machine is: memory, firmware, Realms, guests, sessions.

        Left out, because a refused command may move them: clocks, agenda and numbers, counts of served requests, and
        the PC of each REC, which in this model counts the instructions that left the Realm.
        """
        state, running = self._state, self._state.running
        parts: list[object] = [state.power, state.monitor]
        if running is not None:
            rmm = msgspec.structs.replace(
                running.rmm, recs={pa: msgspec.structs.replace(rec, pc=0) for pa, rec in running.rmm.recs.items()}
            )
            realms = [msgspec.structs.replace(hosted, served=0, rest=0) for hosted in running.host.hosted()]
            parts += [running.hardware.digest(), rmm.digest(), running.host.pool, realms, running.guests]
            parts.append([running.sessions, running.host.first_tokens, running.host.blackout])
        return hashlib.sha256(snapshots.canonical(parts)).hexdigest()

    # -- the raw firmware door ---------------------------------------------------------------------------------------

    def smc(self, fid: int, args: Sequence[int] = (), pe: int = 0) -> Registers:
        """One SMC of the normal world, past the host: x0..x7. Raises MachineError while the machine is not on."""
        return self._on().monitor.smc(fid, args, pe)

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int = 0
    ) -> tuple[int, Registers]:
        """Defined as up to `count` calls of `smc` with arguments advancing by `stride`, ended by the first refusal."""
        return self._on().monitor.smc_run(fid, args, stride, count, pe)

    def read(self, pa: int, size: int) -> bytes:
        """Normal-world memory. Raises GranuleProtectionFault elsewhere."""
        return self._on().hardware.memory.read(World.NS, pa, size)

    def write(self, pa: int, data: bytes) -> None:
        """Store into normal-world memory. Raises GranuleProtectionFault elsewhere."""
        self._on().hardware.memory.write(World.NS, pa, data)

    def record_door(self, recorder: Callable[[dict[str, Any]], None]) -> None:
        """Hand every RMI call from the next boot of the RMM on to `recorder`, one record each; a header comes first.

        Recording is no state: a restored machine records nothing.
        """
        self._door_sink = recorder

    def counters(self) -> dict[tuple[str, str], int]:
        """RMI and RSI calls by (command, status) since the machine booted; no state."""
        return self._on().slot.counters

    # -- starting and powering ---------------------------------------------------------------------------------------

    def _start(self, state: MachineState) -> None:
        self._state = state
        self._now_ns = state.clock_ns
        self._advance = Advance([], [], None)
        self._due: dict[Key, list[Due]] = {}
        for due in state.agenda:
            self._due.setdefault(due.key, []).append(due)
        self._heap: list[Key] = list(self._due)
        heapify(self._heap)
        state.agenda = []
        self._board: Board | None = None
        self._floor: Floor | None = None
        if state.running is not None:
            self._furnish(Board.around(self.spec, state))

    def _furnish(self, board: Board) -> None:
        self._board = board
        self._floor = Floor(board.site, self._state, board.migration, self)

    def _on(self) -> Board:
        if self._board is None or self._state.power is not Power.ON:
            raise MachineError(f"{self.spec.name} is {self._state.power}: there is no firmware to call")
        return self._board

    def _power_on(self, now_ns: int, takes_ns: int) -> None:
        self._state.power = Power.BOOTING
        self.later(now_ns + takes_ns, BootEnd())

    def _boot(self) -> None:
        board = Board.fresh(self.spec, self._state)
        tried = sorted(self._state.monitor.nonvolatile.trial)
        try:
            asked = board.boot(self._door_sink)
        except BootReverted as reverted:
            self._state.running = None
            self.tell(FirmwareRefused(reverted.component, "boot", "BOOT_REVERTED", reverted.why))
            self._power_on(self._now_ns, self._cold_boot_ns())
            return
        except BootRefused as refused:
            self._state.power, self._state.running = Power.OFF, None
            self.tell(FirmwareRefused(refused.component, "boot", "BOOT_REFUSED", refused.why))
            return
        self._state.power = Power.ON
        self._state.pes = [0] * board.control_pes
        self._furnish(board)
        assert self._state.running is not None
        self._state.running.host.accrued_ns = self._now_ns
        boots, versions = self._state.monitor.nonvolatile.boots, board.monitor.versions
        self.tell(MachineBooted(boots, versions))
        if asked is not None:
            self.tell(asked)
        for component in tried:
            self.tell(FirmwareBooted(component, *board.truth.running(component)))
        self.watch_rmm()
        self.say(Say(CONTROL, Booted(boots, board.truth.platform_token(), board.truth.rak(), versions)))

    def _lose_power(self, why: FaultKind) -> None:
        """Everything volatile is gone, at once: the state, what was to happen, and what waited."""
        was = self._state.power
        lost = self._built()
        self._go_dark()
        if was is not Power.OFF:
            self.tell(MachineLost(why, lost))

    def _go_dark(self) -> None:
        self._state.monitor.power_loss()
        self._state.power, self._state.running = Power.OFF, None
        self._board = self._floor = None
        self._state.queue, self._state.pes, self._state.locks, self._state.held = [], [], {}, []
        self._forget_plans()

    def _restart(self) -> None:
        """Reset by order: what the host stopped before is gone, the rest goes now."""
        boot = self._state.monitor.nonvolatile.boots
        self._go_dark()
        self.tell(MachineRebooting(boot))
        self._power_on(self._now_ns, self._cold_boot_ns())

    def _hang(self, hang: Hang) -> None:
        """Nothing executes any more; whatever reaches the machine is lost until the watchdog resets it."""
        self._state.power = Power.HUNG
        self.tell(MachineHung(hang.component, hang.absent))
        self.later(self._now_ns + hang.watchdog_ns, Watchdog())

    def watch_rmm(self) -> None:
        """Plan the end of an RMM that has just been entered with a late defect in it."""
        monitor = self._state.monitor
        launch = monitor.now.launch
        after_ns = launch.running[RMM].fails_after_ns
        if after_ns is not None:
            self.later(self._now_ns + after_ns, ImageFails(monitor.nonvolatile.boots, launch.rmm_sequence))

    def _image_fails(self, what: ImageFails) -> None:
        """Unless another image was entered since, the RMM panics; the host lives on until somebody resets it."""
        monitor = self._state.monitor
        if (monitor.nonvolatile.boots, monitor.now.launch.rmm_sequence) == (what.boot, what.rmm_sequence):
            self._panic()

    # -- the agenda --------------------------------------------------------------------------------------------------

    def later(self, at_ns: int, what: Happening) -> None:
        """Put something of the machine's own on the agenda."""
        self._state.planned += 1
        self._plan(Due(at_ns, OWN, self.spec.name, self._state.planned, what))

    def say(self, said: Say) -> None:
        """Something leaves now."""
        number = said.answers
        if number < HEARTBEATS:
            self._state.sent += 1
            number = self._state.sent
        self._advance.sent.append(Sent(self._now_ns, number, said.target, said.body, said.answers))

    def tell(self, record: Record) -> None:
        """A line for the trace, now."""
        self._state.recorded += 1
        self._advance.records.append(Traced(self._now_ns, self._state.recorded, record))

    def lose_rmm(self) -> None:
        """The RMM is gone; the host lives on without Realms, and what it was doing with them is lost."""
        assert self._state.running is not None
        lost, running = self._built(), self._state.running
        self._forget_plans()
        for session in running.sessions.lose(self._on().migration.closed):
            self.later(self._now_ns, Say(CONTROL, SessionClosed(session.session, session.state, session.why)))
        running.host.realms, running.guests.guests = {}, {}
        running.host.blackout, running.host.lease_timer_ns = False, 0
        self._state.pes, self._state.locks = [self._now_ns] * len(self._state.pes), {}
        self.tell(MachineLost(FaultKind.RMM_PANIC, lost))

    def _plan(self, due: Due) -> None:
        there = self._due.get(due.key)
        if there is None:
            self._due[due.key] = [due]
            heappush(self._heap, due.key)
        elif due not in there:
            # two deeds of chaos may share a key: their order must not depend on who was submitted first
            there.append(due)
            there.sort(key=msgspec.msgpack.encode)

    def _idle(self) -> bool:
        """Whether nothing but the end of leases is on the agenda."""
        return all(isinstance(due.what, LeaseTimer) for dues in self._due.values() for due in dues)

    def _forget_plans(self) -> None:
        """Drop what the machine itself had planned; what is on its way to it from outside still arrives."""
        self._due = {
            key: dues
            for key, dues in self._due.items()
            if isinstance(dues[0].what, Arrived) and key[2] != self.spec.name
        }
        self._heap = list(self._due)
        heapify(self._heap)

    def _meet(self, due: Due) -> None:
        what = due.what
        if isinstance(what, Arrived) and isinstance(what.body, Inject | Heal):
            self._chaos(what.body)
        elif FaultKind.FREEZE in self._state.faults:
            self._state.held.append(what)
        elif isinstance(what, BootEnd):
            if self._state.power is Power.BOOTING:
                self._boot()
        elif isinstance(what, Watchdog):
            if self._state.power is Power.HUNG:
                self._lose_power(FaultKind.PE_ABSENT)
                self._power_on(self._now_ns, self._cold_boot_ns())
        elif self._state.power is Power.ON:
            self._happen(what)

    def _happen(self, what: Happening) -> None:
        if isinstance(what, Say):
            self.say(what)
        elif isinstance(what, Tell):
            self.tell(what.what)
        elif isinstance(what, Reset):
            self._restart()
        elif isinstance(what, Hang):
            self._hang(what)
        elif isinstance(what, ImageFails):
            self._image_fails(what)
        else:
            self._floor_now().meet(what, self._now_ns)

    def _floor_now(self) -> Floor:
        assert self._floor is not None
        return self._floor

    # -- chaos -------------------------------------------------------------------------------------------------------

    def _chaos(self, deed: Inject | Heal) -> None:
        faults = self._state.faults
        begins = isinstance(deed, Inject)
        if begins == (deed.kind in faults):
            return
        if begins:
            faults.append(deed.kind)
            faults.sort()
        else:
            faults.remove(deed.kind)
        if deed.kind is FaultKind.POWER_LOSS:
            self._cut_power() if begins else self._restore_power()
        elif deed.kind is FaultKind.FREEZE:
            self._freeze() if begins else self._thaw()
        elif deed.kind is FaultKind.RMM_PANIC:
            self._panic() if begins else self._reset()

    def _cut_power(self) -> None:
        self._lose_power(FaultKind.POWER_LOSS)

    def _restore_power(self) -> None:
        self._power_on(self._now_ns, self._cold_boot_ns())

    def _cold_boot_ns(self) -> int:
        return sum(self.spec.timing[name] for name in ("boot.post", "boot.host-os", "boot.rmm", "boot.platform-token"))

    def _panic(self) -> None:
        if self._state.power is Power.ON and self._on().truth.rmm_alive():
            self._on().monitor.fail_rmm()
            self.lose_rmm()
            self._floor_now().dispatch(self._now_ns)

    def _reset(self) -> None:
        """A cold reset, unless the power is gone anyway and will bring one when it returns."""
        if FaultKind.POWER_LOSS not in self._state.faults:
            self._lose_power(FaultKind.RMM_PANIC)
            self._power_on(self._now_ns, self._cold_boot_ns())

    def _freeze(self) -> None:
        running = self._state.running
        if running is not None:
            accrue(running.host, self._now_ns, self.spec.pes)
        self.tell(MachineFrozen(self._executing()))

    def _thaw(self) -> None:
        """Leases end before anything else executes; then what fell due meanwhile happens, in its order, now."""
        running = self._state.running
        if running is not None:
            running.host.accrued_ns = self._now_ns
            self._floor_now().end_leases(self._now_ns)
        self.tell(MachineThawed(self._executing()))
        held, self._state.held = self._state.held, []
        for what in held:
            self.later(self._now_ns, what)

    def _hosted(self) -> list[HostedRealm]:
        return self._state.running.host.hosted() if self._state.running is not None else []

    def _executing(self) -> tuple[tuple[str, int], ...]:
        return tuple(hosted.name for hosted in self._hosted() if hosted.running)

    def _built(self) -> tuple[tuple[str, int], ...]:
        return tuple(hosted.name for hosted in self._hosted() if hosted.built)
