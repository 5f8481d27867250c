"""Every interleaving of one session (modelled): messages lost, late or repeated, crashes, an unreachable control plane.

What was sent stays in `net`, from where it may arrive at any time, any number of times, or never. A state is a *dead
end* if, with everything under way lost and no further fault, no order of events brings the session to its end with the
Realm running on one side, unless it went down with its holder (the source before the commit, the target after it).
Properties P1 (single run) and P2 (no rollback) are those of part C of the migration reference.
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
)
from orchestrator.migration.phases import ORDERS, UNDECIDED, Effect, Event, PhaseOrder, through
from orchestrator.migration.protocol import Mode
from orchestrator.store import SessionPhase

S, D, P = SourceState, DestinationState, SessionPhase
SI, DI = SourceInput, DestinationInput

OPEN_ENDS = frozenset({S.HELLO, S.RELINQUISHED, D.HELLO, D.RECEIVING, D.READY})
"""States in which an end still waits for something."""


class State(Struct, frozen=True):
    """Everything about one session, on both machines, in the control plane and under way.

    A source that died (`source_down`) is gone for good; a target may have rebooted once (`boot` 2). `*_cut`: silent
    past its last lease, though alive.
    """

    phase: SessionPhase = P.OPEN
    source: SourceState = S.NEW
    target: DestinationState = D.NEW
    source_down: bool = False
    boot: int = 1
    source_cut: bool = False
    target_cut: bool = False
    source_answered: bool = False
    target_answered: bool = False
    sealed_for: int = 0
    arrived: int = 0
    committed: bool = False
    moved_on: bool = False
    ran: bool = False
    outcome: str = ""
    net: frozenset[str] = frozenset({"open-export", "open-import"})

    @property
    def source_runs(self) -> bool:
        """Whether the Realm executes on the source."""
        up = not self.source_down and not self.source_cut and self.outcome != "lost"
        return up and self.source in (S.NEW, S.HELLO, S.RESUMED, S.FAILED)

    @property
    def target_runs(self) -> bool:
        """Whether the Realm executes on the target."""
        return self.target is D.LIVE and not self.target_cut

    @property
    def source_lost(self) -> bool:
        """What the control plane takes for the end of the source."""
        return self.source_down or self.source_cut

    @property
    def target_lost(self) -> bool:
        """What the control plane takes for the end of the target."""
        return self.boot > 1 or self.target_cut

    @property
    def excused(self) -> bool:
        """Whether the Realm's holder is gone."""
        if self.committed or self.ran:
            return self.target_lost
        return self.source_lost or self.outcome == "lost"

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
            if not state.source_cut:
                yield "the source is cut off past its leases", replace(state, source_cut=True)
            yield from self._source(state, SI.HELLO_BAD, "a bad share reaches the source")
            yield from self._source(state, SI.BUNDLE, "a stray bundle reaches the source")
        if state.boot == 1:
            yield "the target reboots", replace(state, boot=2, target=D.NEW, arrived=0)
            if not state.target_cut:
                yield "the target is cut off past its leases", replace(state, target_cut=True)
        yield from self._target(state, DI.HELLO_BAD, "a bad share reaches the target")
        yield from self._target(state, DI.BUNDLE_BAD, "a bad bundle reaches the target")
        if state.target in self.mode.host_aborts:
            yield from self._target(state, DI.ABORT, "the target's host aborts")

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """What happens by itself."""
        for message in sorted(state.net):
            for after in _ARRIVALS[message.partition("/")[0]](self, state, message):
                yield f"{message} arrives", after
        yield from self._control(state)

    # -- the two ends --------------------------------------------------------------------------------------------------

    def _source(self, state: State, given: SourceInput, label: str) -> Iterator[tuple[str, State]]:
        row = self.mode.source.get((state.source, given))
        if row is None or state.source_down:
            return
        after, effect = row
        moved = replace(state, source=after)
        match effect:
            case SourceEffect.EXPORT:
                sealed = moved.sealed_for
                moved = moved.send(f"pages/{sealed}", f"start/{sealed}", "export-ready")
            case SourceEffect.GREET:
                moved = moved.send("source-share")
            case SourceEffect.RUN_AGAIN:
                moved = replace(moved, moved_on=True).send("source-closed")
            case SourceEffect.RUN_ON | SourceEffect.FAIL | SourceEffect.FORGET | SourceEffect.DESTROY:
                moved = moved.send("source-closed")
            case SourceEffect.IGNORE:
                pass
        yield label, moved

    def _target(self, state: State, given: DestinationInput, label: str) -> Iterator[tuple[str, State]]:
        row = self.mode.destination.get((state.target, given))
        if row is None:
            return
        after, effect = row
        moved = replace(state, target=after)
        match effect:
            case DestinationEffect.BUILD | DestinationEffect.AGREE:
                moved = moved.send(f"target-share/{state.boot}")
            case DestinationEffect.READY:
                moved = moved.send("import-ready")
            case DestinationEffect.RUN | DestinationEffect.REPEAT:
                moved = replace(moved, ran=moved.ran or moved.target_runs).send("imported")
            case DestinationEffect.CLEAR | DestinationEffect.FORGET:
                moved = moved.send("target-closed", *([f"abort-bundle/{state.boot}"] if self.mode.abort_bundle else []))
            case DestinationEffect.APPLY | DestinationEffect.IGNORE:
                pass
        yield label, moved

    # -- arrivals ------------------------------------------------------------------------------------------------------

    def _open_export(self, state: State, _: str) -> Iterator[State]:
        yield from (after for _, after in self._source(state, SI.OPEN, ""))

    def _open_import(self, state: State, _: str) -> Iterator[State]:
        yield from (after for _, after in self._target(state, DI.OPEN, ""))

    def _resume(self, state: State, _: str) -> Iterator[State]:
        if state.source is S.RELINQUISHED and not self.mode.obeyed:
            return
        if (state.source, SI.RESUME) in self.mode.source:
            yield from (after for _, after in self._source(state, SI.RESUME, ""))
        else:
            yield state.send("source-closed")

    def _abort_bundle(self, state: State, message: str) -> Iterator[State]:
        """One is sealed under the key of its boot, so the source takes only that of the boot it sealed for."""
        if state.source is S.RELINQUISHED and int(message[-1]) == state.sealed_for:
            yield from (after for _, after in self._source(state, SI.RESUME, ""))

    def _discard(self, state: State, _: str) -> Iterator[State]:
        if (state.source, SI.DISCARD) in self.mode.source:
            yield from (after for _, after in self._source(state, SI.DISCARD, ""))
        else:
            yield state.send("source-closed")

    def _commit(self, state: State, _: str) -> Iterator[State]:
        if (state.target, DI.COMMIT) in self.mode.destination:
            yield from (after for _, after in self._target(state, DI.COMMIT, ""))
        else:
            yield state.send("commit-refused")

    def _abort(self, state: State, _: str) -> Iterator[State]:
        if (state.target, DI.ABORT) in self.mode.destination:
            yield from (after for _, after in self._target(state, DI.ABORT, ""))
        else:
            yield state.send("target-closed")

    def _source_share(self, state: State, _: str) -> Iterator[State]:
        given = DI.HELLO_GOOD if state.target is D.HELLO else DI.HELLO_AGAIN
        yield from (after for _, after in self._target(state, given, ""))

    def _target_share(self, state: State, message: str) -> Iterator[State]:
        if state.source is S.HELLO:
            yield from (after for _, after in self._source(state, SI.STALLED, ""))
            state = replace(state, sealed_for=int(message[-1]))
        yield from (after for _, after in self._source(state, SI.HELLO_GOOD, ""))

    def _pages(self, state: State, message: str) -> Iterator[State]:
        yield from self._bundle(state, message, 0)

    def _start(self, state: State, message: str) -> Iterator[State]:
        yield from self._bundle(state, message, 1)

    def _bundle(self, state: State, message: str, counter: int) -> Iterator[State]:
        """A bundle in its turn; one that comes early waits, which is as if it came later."""
        if counter > state.arrived or state.target is D.HELLO:
            return
        if counter < state.arrived:
            given = DI.BUNDLE_AGAIN
        else:
            given = DI.BUNDLE_GOOD if int(message[-1]) == state.boot else DI.BUNDLE_BAD
        for _, after in self._target(state, given, ""):
            if given is not DI.BUNDLE_GOOD:
                yield after
            elif counter == 0:
                yield replace(after, arrived=1)
            else:
                yield from (done for _, done in self._target(replace(after, arrived=2), DI.COMPLETE, ""))

    def _export_ready(self, state: State, _: str) -> Iterator[State]:
        yield from self._take(state, Event.EXPORT_READY)

    def _import_ready(self, state: State, _: str) -> Iterator[State]:
        yield from self._take(state, Event.IMPORT_READY)

    def _imported(self, state: State, _: str) -> Iterator[State]:
        yield from self._take(state, Event.IMPORTED)

    def _commit_refused(self, state: State, _: str) -> Iterator[State]:
        if state.target is not D.LIVE:
            yield from self._take(state, Event.FAILED)

    def _source_closed(self, state: State, _: str) -> Iterator[State]:
        yield from self._closed(replace(state, source_answered=True))

    def _target_closed(self, state: State, _: str) -> Iterator[State]:
        if state.phase is P.COMMITTED:
            yield from self._commit_refused(state, "")
        else:
            yield from self._closed(replace(state, target_answered=True))

    def _closed(self, state: State) -> Iterator[State]:
        taken = list(self._take(state, Event.FAILED)) if state.phase in UNDECIDED else []
        yield from taken or [state]

    # -- the control plane ---------------------------------------------------------------------------------------------

    def _control(self, state: State) -> Iterator[tuple[str, State]]:
        for lost, event in ((state.source_lost, Event.SOURCE_LOST), (state.target_lost, Event.TARGET_LOST)):
            if lost:
                yield from ((event, after) for after in self._take(state, event))
        yield from (("the deadline passes", after) for after in self._take(state, Event.DEADLINE))
        if state.phase not in (P.DONE, *UNDECIDED):
            yield "orders are repeated", self._order(state)
            source_over, target_over = (
                state.source_answered or state.source_lost,
                state.target_answered or state.target_lost,
            )
            if state.phase is P.ABORTING and source_over and not state.outcome:
                yield "the source is settled", replace(state, outcome="lost" if state.source_lost else "resumed")
            elif through(state.phase, source_over, target_over):
                yield from (("the session is over", after) for after in self._take(state, Event.CLOSED))
        if state.phase is P.DONE:
            if (state.outcome != "moved" or state.boot > 1) and state.target in OPEN_ENDS:
                yield from self._target(state, DI.STOP, "a stray copy is stopped")
            if state.outcome != "resumed" and state.source in OPEN_ENDS:
                yield from self._source(state, SI.STOP, "a stray copy is stopped")
        if not state.outcome and (state.source_cut or state.target_cut):
            yield "links heal", replace(state, source_cut=False, target_cut=False)

    def _take(self, state: State, event: Event) -> Iterator[State]:
        row = self.mode.phases.get((state.phase, event))
        if row is None:
            return
        phase, effect = row
        after = replace(state, phase=phase)
        if effect is Effect.COMMIT:
            after = replace(after, committed=True)
        elif effect is Effect.HAND_OVER:
            after = replace(after, outcome="moved")
        elif effect is Effect.GIVE_UP:
            after = replace(after, outcome="lost")
        yield after if effect in (Effect.NONE, Effect.FINISH) else self._order(after)

    def _order(self, state: State) -> State:
        """Send what the phase repeats, to ends that have not answered and are heard."""
        for order in ORDERS.get(state.phase, ()):
            if order is PhaseOrder.COMMIT or order is PhaseOrder.ABORT:
                open_end = not (state.target_answered or state.target_lost)
            else:
                open_end = not (state.source_answered or state.source_lost)
            if open_end:
                state = state.send(order)
        return state


_ARRIVALS: dict[str, Callable[[Session, State, str], Iterator[State]]] = {
    "open-export": Session._open_export,
    "open-import": Session._open_import,
    PhaseOrder.RESUME: Session._resume,
    PhaseOrder.DISCARD: Session._discard,
    PhaseOrder.COMMIT: Session._commit,
    PhaseOrder.ABORT: Session._abort,
    "abort-bundle": Session._abort_bundle,
    "source-share": Session._source_share,
    "target-share": Session._target_share,
    "pages": Session._pages,
    "start": Session._start,
    "export-ready": Session._export_ready,
    "import-ready": Session._import_ready,
    "imported": Session._imported,
    "commit-refused": Session._commit_refused,
    "source-closed": Session._source_closed,
    "target-closed": Session._target_closed,
}


def explore(mode: Mode) -> Report:
    """Walk every state of the mode, breadth first, so that the way to each finding is the shortest."""
    session, start = Session(mode), State()
    came: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for steps in (session.steps(state), session.faults(state)):
            for label, after in steps:
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
        for _, after in session.steps(state):
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
