"""Every interleaving of one session (modelled): messages lost, late or repeated, crashes, an unreachable party.

What was sent stays in `net`, from where it may arrive at any time, any number of times, or never. Clocks may run down
at any time. A state is a *dead end* if, with everything under way lost and no further fault, no order of events brings
the session to its end with the Realm running on one side, unless it went down with its holder (the source before the
grant, the destination after it). Properties P1 (single run) and P2 (no rollback) are those of the migration reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from cca_machine.migration.tables import (
    DestinationEffect,
    DestinationInput,
    DestinationState,
    SourceEffect,
    SourceInput,
    SourceState,
    WitnessEffect,
    WitnessInput,
    WitnessState,
)
from orchestrator.migration.phases import ORDERS, TIMED, Effect, Event, PhaseOrder, through
from orchestrator.migration.protocol import Mode
from orchestrator.store import SessionPhase

S, D, W, P = SourceState, DestinationState, WitnessState, SessionPhase
SI, DI, WI = SourceInput, DestinationInput, WitnessInput

OPEN_ENDS = frozenset(
    {S.HANDSHAKE, S.LIVE_EXPORT, S.PAUSED, S.RELINQUISHED, D.SHELL, D.MEM_IMPORT, D.STATE_IMPORT, D.READY}
)
"""States in which an end still waits for something."""

FREIGHT = (("immutable", DI.IMMUTABLE), ("state", DI.REALM_MUTABLE), ("start", DI.COMPLETE))
"""What crosses, in its order, and what it is to the destination."""


class State(Struct, frozen=True):
    """Everything about one session: both machines, witness, control plane, and what is under way.

    A source that died (`source_down`) is gone for good; a target may have rebooted once (`boot` 2). `decided` is what
    the witness decided, for the target in boot `granted_to`: whoever asks may learn it at any time. The control plane
    may take either machine for lost at any time, rightly or not.
    """

    phase: SessionPhase = P.OPENING
    source: SourceState = S.NEW
    target: DestinationState = D.NEW
    witness: WitnessState = W.HELD
    decided: str = ""
    again: str = ""
    """A second decision, of a witness that forgot the first."""
    granted_to: int = 0
    source_down: bool = False
    boot: int = 1
    source_answered: bool = False
    target_answered: bool = False
    sealed_for: int = 0
    arrived: int = 0
    registered: int = 0
    moved_on: bool = False
    ran: bool = False
    outcome: str = ""
    net: frozenset[str] = frozenset({"open-lineage"})

    @property
    def source_runs(self) -> bool:
        """Whether the Realm executes on the source."""
        return not self.source_down and self.source in (S.NEW, S.HANDSHAKE, S.LIVE_EXPORT, S.ACTIVE)

    @property
    def target_runs(self) -> bool:
        """Whether the Realm executes on the target."""
        return self.target is D.LIVE

    @property
    def excused(self) -> bool:
        """Whether the Realm's holder is gone."""
        if self.decided == "grant" or self.ran:
            return self.boot > 1
        return self.source_down

    @property
    def settled(self) -> bool:
        """Whether the session is over and the Realm as well as it can be."""
        if self.phase is not P.DONE or (self.source in OPEN_ENDS and not self.source_down):
            return False
        return self.target not in OPEN_ENDS and (self.source_runs or self.target_runs or self.excused)

    def send(self, *messages: str) -> State:
        """The state with more under way."""
        return replace(self, net=self.net | set(messages))


class Finding(Struct, frozen=True):
    """A bad state and the shortest way to it."""

    kind: str
    way: tuple[str, ...]


class Report(Struct, frozen=True):
    """What exploring a mode came to; `shortest` has one finding of each kind that was found."""

    mode: str
    what: str
    states: int
    violations: dict[str, int]
    dead_ends: int
    shortest: tuple[Finding, ...]


class Session:
    """The steps that a mode allows."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode

    def faults(self, state: State) -> Iterator[tuple[str, State]]:
        """What chaos and hostile hosts can do."""
        if not state.source_down:
            yield "the source dies", replace(state, source_down=True)
            yield from self._source(state, SI.PEER_REFUSED, "a bad handshake reaches the source")
        if state.boot == 1:
            yield "the target reboots", replace(state, boot=2, target=D.NEW, arrived=0)
        yield from self._target(state, DI.PEER_REFUSED, "a bad handshake reaches the target")
        yield from self._target(state, DI.BAD, "a bad bundle reaches the target")
        yield from self._target(state, DI.GIVE_UP, "the target's host gives up")
        if self.mode.equivocates and state.decided == "abort" and state.target is D.READY:
            yield "the witness decides again", replace(state, again="grant", granted_to=state.boot)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """What happens by itself."""
        for message in sorted(state.net):
            for after in _ARRIVALS[message.partition("/")[0]](self, state, message):
                yield f"{message} arrives", after
        if state.decided:
            yield from self._verdict(state, f"the witness's {state.decided} arrives")
        yield from self._clocks(state)
        yield from self._control(state)

    # -- the two ends --------------------------------------------------------------------------------------------------

    def _source(self, state: State, given: SourceInput, label: str) -> Iterator[tuple[str, State]]:
        row = self.mode.source.get((state.source, given))
        if row is None or state.source_down:
            return
        after, effect = row
        moved = replace(state, source=after)
        match effect:
            case SourceEffect.GREET:
                moved = moved.send("source-hello")
            case SourceEffect.BEGIN:
                moved = moved.send(f"immutable/{moved.sealed_for}")
            case SourceEffect.PAUSE:
                moved = moved.send(f"state/{moved.sealed_for}")
            case SourceEffect.RELINQUISH:
                moved = moved.send(f"start/{moved.sealed_for}", "export-ready")
            case SourceEffect.RUN_AGAIN:
                moved = replace(moved, moved_on=True).send("source-closed")
            case SourceEffect.RUN_ON | SourceEffect.FORGET | SourceEffect.SCRUB:
                moved = moved.send("source-closed")
        if given in (SI.PEER_REFUSED, SI.STALLED, SI.GIVE_UP, SI.ABORT_BUNDLE, SI.STOP):
            moved = moved.send("want-abort/source")
        yield label, moved

    def _target(self, state: State, given: DestinationInput, label: str) -> Iterator[tuple[str, State]]:
        row = self.mode.destination.get((state.target, given))
        if row is None:
            return
        after, effect = row
        moved = replace(state, target=after)
        match effect:
            case DestinationEffect.REGISTER:
                moved = moved.send(f"ready/{state.boot}")
            case DestinationEffect.RUN:
                moved = replace(moved, ran=moved.ran or moved.target_runs).send("imported")
            case DestinationEffect.FAIL:
                moved = moved.send("target-closed", "want-abort/target")
                if state.arrived or state.sealed_for == state.boot:
                    moved = moved.send(f"abort-bundle/{state.boot}")
            case DestinationEffect.CLEAR | DestinationEffect.FORGET:
                moved = moved.send("target-closed")
            case DestinationEffect.BUILD | DestinationEffect.APPLY:
                pass
        yield label, moved

    def _clocks(self, state: State) -> Iterator[tuple[str, State]]:
        """What ends do by their own clocks: go on, give up at the deadline, ask again."""
        yield from self._source(state, SI.CONVERGED, "pre-copy converges")
        yield from self._source(state, SI.STALLED, "pre-copy stalls")
        yield from self._source(state, SI.START, "the start token is issued")
        yield from self._source(state, SI.GIVE_UP, "the source's deadline passes")
        yield from self._target(state, DI.GIVE_UP, "the target's deadline passes")
        if state.source is S.RELINQUISHED and not state.source_down and self.mode.forced:
            yield (
                "the operator lets the source run",
                replace(state, source=S.ACTIVE, moved_on=True).send("source-closed"),
            )
        if state.target is D.FAILED and state.sealed_for == state.boot and state.source in OPEN_ENDS:
            yield "the failed target shows its abort bundle again", state.send(f"abort-bundle/{state.boot}")
        if state.target is D.READY:
            yield "the target registers again", state.send(f"ready/{state.boot}")
        if state.source is S.HANDSHAKE and not state.source_down:
            yield "the source greets again", state.send("source-hello")

    # -- the witness ---------------------------------------------------------------------------------------------------

    def _witness(self, state: State, given: WitnessInput) -> State:
        if not self.mode.witnessed:
            return state
        if state.decided:
            return state
        row = self.mode.witness.get((state.witness, given))
        if row is None:
            return state
        after, effect = row
        moved = replace(state, witness=after)
        match effect:
            case WitnessEffect.OFFER:
                return moved.send("offered")
            case WitnessEffect.CHALLENGE:
                return moved.send(f"challenge/{moved.registered}")
            case WitnessEffect.GRANT:
                return replace(moved, decided="grant", granted_to=moved.registered)
            case WitnessEffect.ABORT:
                return replace(moved, decided="abort")
            case WitnessEffect.WAIT:
                return moved

    def _verdict(self, state: State, label: str) -> Iterator[tuple[str, State]]:
        """What was decided reaches anyone at any time."""
        for decision in (state.decided, state.again) if state.decided else ():
            granted = decision == "grant"
            if not decision:
                continue
            yield from self._source(state, SI.GRANTED if granted else SI.ABORTED, label)
            if not granted or state.granted_to == state.boot:
                yield from self._target(state, DI.GRANTED if granted else DI.ABORTED, label)
            for after in self._take(state, Event.GRANTED if granted else Event.ABORTED):
                yield label, after

    # -- arrivals ------------------------------------------------------------------------------------------------------

    def _open_lineage(self, state: State, _: str) -> Iterator[State]:
        if not self.mode.witnessed:
            yield state.send("offered")
        elif state.witness is not W.REGISTERED:
            yield self._witness(state, WI.OPEN)

    def _ready(self, state: State, message: str) -> Iterator[State]:
        if state.witness in (W.OFFERED, W.REGISTERED):
            yield self._witness(replace(state, registered=int(message[-1])), WI.READY)

    def _confirm(self, state: State, message: str) -> Iterator[State]:
        if int(message[-1]) == state.registered:
            yield self._witness(state, WI.CONFIRM)

    def _want_abort(self, state: State, message: str) -> Iterator[State]:
        yield self._end(state, WI.FENCED if message.endswith("target") else WI.ABORT)

    def _end_session(self, state: State, message: str) -> Iterator[State]:
        yield self._end(state, WI.FENCED if message.endswith("fenced") else WI.ABORT)
        if not self.mode.witnessed:
            yield from self._settle_source(state, message)
            yield from self._settle_target(state, message)

    def _end(self, state: State, given: WitnessInput) -> State:
        if self.mode.witnessed and state.witness is W.HELD and not state.decided:
            return replace(state, decided="abort")  # never opened: it never will be
        return self._witness(state, given)

    def _offered(self, state: State, _: str) -> Iterator[State]:
        yield from self._take(state, Event.OFFERED)

    def _open_export(self, state: State, _: str) -> Iterator[State]:
        yield from (after for _, after in self._source(state, SI.OPEN, ""))

    def _open_import(self, state: State, _: str) -> Iterator[State]:
        yield from (after for _, after in self._target(state, DI.OPEN, ""))

    def _source_hello(self, state: State, _: str) -> Iterator[State]:
        if state.target is D.SHELL:
            yield state.send(f"target-hello/{state.boot}")

    def _target_hello(self, state: State, message: str) -> Iterator[State]:
        if state.source is S.HANDSHAKE:
            agreed = replace(state, sealed_for=int(message[-1]))
            yield from (after for _, after in self._source(agreed, SI.KEYS, ""))

    def _freight(self, state: State, message: str) -> Iterator[State]:
        """A bundle in its turn; one that comes early waits, which is as if it came later; a repeated one is dropped."""
        place = [name for name, _ in FREIGHT].index(message.partition("/")[0])
        if place != state.arrived or state.target not in (D.SHELL, D.MEM_IMPORT, D.STATE_IMPORT):
            return
        if int(message[-1]) != state.boot:
            yield from (after for _, after in self._target(state, DI.BAD, ""))
            return
        taken = replace(state, arrived=state.arrived + 1)
        yield from (after for _, after in self._target(taken, FREIGHT[place][1], ""))

    def _abort_bundle(self, state: State, message: str) -> Iterator[State]:
        """One is sealed under the key of its boot, so the source takes only that of the boot it sealed for."""
        if int(message[-1]) == state.sealed_for:
            yield from (after for _, after in self._source(state, SI.ABORT_BUNDLE, ""))

    def _challenge(self, state: State, message: str) -> Iterator[State]:
        if state.target is D.READY and int(message[-1]) == state.boot:
            yield state.send(f"confirm/{state.boot}")

    def _settle_source(self, state: State, _: str) -> Iterator[State]:
        if state.source_down:
            return
        if state.source is S.NEW:
            yield replace(state, source=S.ACTIVE).send("source-closed")  # remembered: it cannot be opened any more
        elif state.source not in OPEN_ENDS:
            yield state.send("source-closed")

    def _settle_target(self, state: State, _: str) -> Iterator[State]:
        if state.target is D.NEW:
            yield replace(state, target=D.FAILED).send("target-closed")
        elif state.target not in OPEN_ENDS:
            yield state.send("imported" if state.target is D.LIVE else "target-closed")

    def _export_ready(self, state: State, _: str) -> Iterator[State]:
        yield from self._take(state, Event.EXPORT_READY)

    def _imported(self, state: State, _: str) -> Iterator[State]:
        yield from self._take(state, Event.IMPORTED)

    def _source_closed(self, state: State, _: str) -> Iterator[State]:
        answered = replace(state, source_answered=True)
        if not self.mode.witnessed and (ended := list(self._take(answered, Event.ABORTED))):
            yield from ended
            return
        yield from list(self._take(answered, Event.FAILED)) if state.phase in TIMED else [answered]

    def _target_closed(self, state: State, _: str) -> Iterator[State]:
        answered = replace(state, target_answered=True)
        yield from list(self._take(answered, Event.FAILED)) or [answered]

    # -- the control plane ---------------------------------------------------------------------------------------------

    def _control(self, state: State) -> Iterator[tuple[str, State]]:
        for event in (Event.SOURCE_LOST, Event.TARGET_LOST):
            yield from ((event, after) for after in self._take(state, event))
        yield from (("the deadline passes", after) for after in self._take(state, Event.DEADLINE))
        if self.mode.witnessed:
            for given in (WI.UNREACHABLE, *((WI.ABORT,) if state.witness is W.OFFERED else ())):
                after = self._witness(state, given)
                if after is not state and not state.decided:
                    yield "the witness's clock runs down", after
        if not self.mode.witnessed and state.phase is P.WITHDRAWING and state.source_down:
            yield from (("the source is given up", after) for after in self._take(state, Event.ABORTED))
        if state.phase is P.DONE:
            return
        yield "orders are repeated", self._order(state)
        source_over = state.source_answered or state.source_down
        target_over = state.target_answered or state.boot > 1
        if state.phase is P.ABORTED and source_over and not state.outcome:
            yield "the source is settled", replace(state, outcome="lost" if state.source_down else "resumed")
        elif through(state.phase, source_over, target_over):
            yield from (("the session is over", after) for after in self._take(state, Event.CLOSED))

    def _take(self, state: State, event: Event) -> Iterator[State]:
        row = self.mode.phases.get((state.phase, event))
        if row is None:
            return
        phase, effect = row
        after = replace(state, phase=phase)
        if effect is Effect.HAND_OVER:
            after = replace(after, outcome="moved")
        elif effect is Effect.GIVE_UP:
            after = replace(after, outcome="lost")
        yield after if effect in (Effect.NONE, Effect.FINISH) else self._order(after)

    def _order(self, state: State) -> State:
        """Send what the phase repeats, to those that have not answered and are heard."""
        for order in ORDERS.get(state.phase, ()):
            match order:
                case PhaseOrder.SETTLE_SOURCE:
                    wanted = not (state.source_answered or state.source_down)
                case PhaseOrder.SETTLE_TARGET:
                    wanted = not state.target_answered
                case _:
                    wanted = order is not PhaseOrder.ASK_LINEAGE
            if wanted:
                fenced = order is PhaseOrder.END_SESSION and state.boot > 1
                state = state.send(f"{order}/fenced" if fenced else order.value)
        return state


_ARRIVALS: dict[str, Callable[[Session, State, str], Iterator[State]]] = {
    PhaseOrder.OPEN_LINEAGE: Session._open_lineage,
    PhaseOrder.END_SESSION: Session._end_session,
    PhaseOrder.OPEN_EXPORT: Session._open_export,
    PhaseOrder.OPEN_IMPORT: Session._open_import,
    PhaseOrder.SETTLE_SOURCE: Session._settle_source,
    PhaseOrder.SETTLE_TARGET: Session._settle_target,
    "offered": Session._offered,
    "source-hello": Session._source_hello,
    "target-hello": Session._target_hello,
    **{name: Session._freight for name, _ in FREIGHT},
    "abort-bundle": Session._abort_bundle,
    "ready": Session._ready,
    "challenge": Session._challenge,
    "confirm": Session._confirm,
    "want-abort": Session._want_abort,
    "export-ready": Session._export_ready,
    "imported": Session._imported,
    "source-closed": Session._source_closed,
    "target-closed": Session._target_closed,
}


_SPENT: dict[str, Callable[[State, int], bool]] = {
    "open-lineage": lambda state, _: state.witness is not W.HELD or bool(state.decided),
    "offered": lambda state, _: state.phase is not P.OPENING,
    "open-export": lambda state, _: state.source is not S.NEW,
    "open-import": lambda state, _: state.target is not D.NEW and state.boot > 1,
    "source-hello": lambda state, _: state.source is not S.HANDSHAKE,
    "target-hello": lambda state, _: state.source is not S.HANDSHAKE,
    **{
        name: lambda state, boot: (
            state.boot > 1
            and (boot > 1 or state.target in (D.READY, D.LIVE, D.FAILED))
            and state.target not in (D.NEW, D.SHELL, D.MEM_IMPORT, D.STATE_IMPORT)
        )
        for name, _ in FREIGHT
    },
    "abort-bundle": lambda state, boot: state.source not in OPEN_ENDS or boot not in (0, state.sealed_for),
    "ready": lambda state, _: bool(state.decided),
    "challenge": lambda state, boot: bool(state.decided) or boot < state.boot,
    "confirm": lambda state, _: bool(state.decided),
    "want-abort": lambda state, _: bool(state.decided),
    "end-session": lambda state, _: bool(state.decided),
    "settle-source": lambda state, _: state.source_answered or state.source_down,
    "settle-target": lambda state, _: state.target_answered,
    "export-ready": lambda state, _: state.phase not in (P.OPENING, P.OPEN),
    "imported": lambda state, _: state.phase in (P.HANDING_OVER, P.ABORTED, P.DONE),
    "source-closed": lambda state, _: state.source_answered,
    "target-closed": lambda state, _: state.target_answered and state.phase is not P.GRANTED,
}
"""Of each message: when its arrival can change nothing any more, so that it need not be remembered."""


def _remember(state: State) -> State:
    """The state without what is spent: fewer states, the same ways."""
    kept = frozenset(
        message
        for message in state.net
        if not _SPENT[message.partition("/")[0]](state, int(message[-1]) if message[-1].isdigit() else 0)
    )
    return state if len(kept) == len(state.net) else replace(state, net=kept)


def explore(mode: Mode) -> Report:
    """Walk every state of the mode, breadth first, so that the way to each finding is the shortest."""
    session, start = Session(mode), State()
    came: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for steps in (session.steps(state), session.faults(state)):
            for label, found in steps:
                after = _remember(found)
                if after not in came:
                    came[after] = (state, label)
                    queue.append(after)
    bad = {"P1": _is_double, "P2": _is_rolled_back}
    violations = {name: sum(map(test, came)) for name, test in bad.items()}
    findings = [Finding(name, _way(came, next(filter(test, came)))) for name, test in bad.items() if violations[name]]
    stranded = _stranded(session, came)
    if stranded:
        findings.append(Finding("dead end", _way(came, stranded[0])))
    return Report(mode.name, mode.what, len(came), violations, len(stranded), tuple(findings))


def _is_double(state: State) -> bool:
    return state.source_runs and state.target_runs


def _is_rolled_back(state: State) -> bool:
    """The source ran on after its export, and the copy ran as well: one of them is older than the other."""
    return state.moved_on and state.ran


def _way(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    way = []
    step = came[state]
    while step is not None:
        way.append(step[1])
        step = came[step[0]]
    return tuple(reversed(way))


def _stranded(session: Session, reached: dict[State, tuple[State, str] | None]) -> list[State]:
    """Reached states from which, with everything under way lost and no more faults, no good end can be reached."""
    quiet = {state: replace(state, net=frozenset()) for state in reached}
    backward: dict[State, list[State]] = {}
    known = dict.fromkeys(quiet.values())
    queue = deque(known)
    while queue:
        state = queue.popleft()
        for _, found in session.steps(state):
            after = _remember(found)
            backward.setdefault(after, []).append(state)
            if after not in known:
                known[after] = None
                queue.append(after)
    good = {state for state in known if state.settled}
    queue = deque(good)
    while queue:
        for before in backward.get(queue.popleft(), ()):
            if before not in good:
                good.add(before)
                queue.append(before)
    return [state for state, stripped in quiet.items() if stripped not in good]
