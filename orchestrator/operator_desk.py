"""The desk: judges what operators ask for, and turns it into requests of the store, rollout cues and faults.

A controller like the others. It stands before those it asks something of, so that a request is served in the step in
which its input is admitted. Every input leaves one record, accepted or refused with the reason; a refused one changes
nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from orchestrator import inputs as i
from orchestrator.chaos.storm import Storm
from orchestrator.cluster import deeds
from orchestrator.cluster.diagnostics import Finding, Severity, path_text, suggestion
from orchestrator.cluster.load import load_text
from orchestrator.cluster.quantities import format_duration
from orchestrator.cluster.schema import Fault, MachineFault, RevokeEvent, RolloutEvent, Selector
from orchestrator.controller import Decision
from orchestrator.engine.ports import Delivery
from orchestrator.engine.post import OPERATOR
from orchestrator.firmware.gates import Answer as GateAnswer
from orchestrator.firmware.gates import Verdict
from orchestrator.firmware.phases import Cue, Stage
from orchestrator.firmware.rollout import IN_THE_WAY, Rollout
from orchestrator.firmware.rollouts import Rollouts
from orchestrator.migration.admission import Declined, admit
from orchestrator.migration.drain import GOALS
from orchestrator.migration.phases import UNDECIDED
from orchestrator.operator_deeds import (
    read_fault,
    read_revocation,
    read_rollout,
    standing,
    wrong_revocation,
    wrong_rollout,
)
from orchestrator.reconcile import reconcile, sentences
from orchestrator.store import DrainRequest, MigrationRequest, RealmState, RealmView, Store

MOST_AT_ONCE = 10_000
"""Realms that one input may launch."""
KEPT_ANSWERS = 10_000

_ENDED = frozenset({RealmState.STOPPED, RealmState.FAILED})
_LEAVING = _ENDED | {RealmState.STOPPING}


class Refusal(Exception):
    """Why an input changes nothing; `rule` is unknown, conflict or invalid."""

    def __init__(self, rule: str, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.rule, self.why, self.hint = rule, why, hint


class Answer(NamedTuple):
    """What came of input `number`; `rule` is empty when it was accepted."""

    number: int
    asked: str
    rule: str
    what: str
    hint: str
    subjects: tuple[str, ...]


class Done(NamedTuple):
    """What an accepted input is about, and a sentence."""

    subjects: tuple[str, ...]
    what: str


class OperatorDesk:
    """The controller of operators' inputs."""

    name = "operator"

    def __init__(self, rollouts: Rollouts, storm: Storm) -> None:
        self._rollouts = rollouts
        self._storm = storm
        self._waiting: list[tuple[int, i.Input]] = []
        self._answers: deque[Answer] = deque(maxlen=KEPT_ANSWERS)

    def take_answers(self) -> list[Answer]:
        """Answers since the last call, by input; for whoever asked."""
        taken = list(self._answers)
        self._answers.clear()
        return taken

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Take an input; everything else is for other controllers."""
        if delivery.message.source == OPERATOR:
            self._waiting.append((delivery.message.number, delivery.message.body))

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Judge the inputs of this boundary one by one, each under what those before it left."""
        waiting, self._waiting = self._waiting, []
        for number, body in waiting:
            self._answer(store, number, body)
        return Decision()

    def _answer(self, store: Store, number: int, body: i.Input) -> None:
        asked = i.word(body)
        try:
            done = _ACTS[type(body)](self, store, body)
        except Refusal as refusal:
            store.note(i.InputRefused(number, asked, refusal.rule, refusal.why, refusal.hint))
            self._answers.append(Answer(number, asked, refusal.rule, refusal.why, refusal.hint, ()))
        else:
            store.note(i.InputAccepted(number, asked, done.subjects, done.what))
            self._answers.append(Answer(number, asked, "", done.what, "", done.subjects))
            store.requested = True

    # -- Realms --------------------------------------------------------------------------------------------------------

    def _launch(self, store: Store, body: i.LaunchRealms) -> Done:
        _known("kind", body.kind, store.cluster.realms)
        _within("count", body.count, 1, MOST_AT_ONCE)
        names = _next_names(store, body.kind, body.count)
        for name in names:
            store.request_launch(name, body.kind)
        return Done(names, f"{body.count} more of kind {body.kind}")

    def _stop(self, store: Store, body: i.StopRealm) -> Done:
        realm = _realm(store, body.realm)
        if realm.state in _LEAVING or realm.stop_wanted:
            raise Refusal("conflict", f"{realm.name} is {_told(realm)}", "there is nothing to stop")
        store.request_stop(realm.name)
        return Done((realm.name,), f"{realm.name} is stopped for good; it was {realm.state}")

    def _delete(self, store: Store, body: i.DeleteRealm) -> Done:
        realm = _realm(store, body.realm)
        was = realm.state
        if was not in _LEAVING and not realm.stop_wanted:
            store.request_stop(realm.name)
        realm.deleted = True
        return Done((realm.name,), f"{realm.name} is deleted; it was {was}")

    def _migrate(self, store: Store, body: i.MigrateRealm) -> Done:
        realm = _realm(store, body.realm)
        if body.to:
            _known("machine", body.to, store.machines)
        pending = {request.realm for request in store.migrations_wanted}
        if realm.name in pending:
            raise Refusal("conflict", f"a move of {realm.name} is asked for already")
        verdict = admit(store, MigrationRequest(realm.name, body.to, i.OPERATOR, store.now_ns))
        if isinstance(verdict, Declined):
            raise Refusal("conflict", verdict.why, f"rule {verdict.rule}")
        store.request_migration(realm.name, body.to, i.OPERATOR)
        return Done((realm.name, verdict.target), f"{realm.name} moves from {realm.machine} to {verdict.target}")

    def _cancel(self, store: Store, body: i.CancelMigration) -> Done:
        _known("session", body.session, store.sessions)
        session = store.sessions[body.session]
        if session.phase not in UNDECIDED:
            raise Refusal("conflict", f"{body.session} is {session.phase}: it is decided", "the decision stands")
        store.request_cancel(body.session, f"{i.OPERATOR} cancelled it")
        return Done((session.realm, body.session), f"the witness is asked to end {body.session}")

    def _drain(self, store: Store, body: i.DrainMachines) -> Done:
        if bool(body.machine) == bool(body.rack):
            raise Refusal("invalid", "give either a machine or a rack")
        racks = sorted({view.rack for view in store.machines.values()})
        if body.machine:
            _known("machine", body.machine, store.machines)
        else:
            _known("rack", body.rack, dict.fromkeys(racks))
        for drain in store.drains.values():
            if body.machine in drain.machines and not drain.goals and not body.dry_run:
                raise Refusal("conflict", f"{drain.name} empties {body.machine} already")
        store.request_drain(DrainRequest(body.machine, body.rack, body.dry_run))
        return Done((body.machine or body.rack,), f"{'planned' if body.dry_run else 'emptied'} (modelled moves)")

    def _rebalance(self, store: Store, body: i.RebalanceFleet) -> Done:
        if body.goal not in GOALS:
            raise Refusal("invalid", f"goal {body.goal!r} is none of {', '.join(GOALS)}")
        _within("budget", body.budget, 1, MOST_AT_ONCE)
        store.request_drain(DrainRequest(dry_run=body.dry_run, goal=body.goal, budget=body.budget))
        return Done((), f"{body.goal} with at most {body.budget} moves (modelled)")

    def _end_drain(self, store: Store, body: i.EndDrain) -> Done:
        _known("drain", body.drain, store.drains)
        store.request_drain_end(body.drain)
        return Done((body.drain, *store.drains[body.drain].machines), f"{body.drain} is given up")

    def _scale(self, store: Store, body: i.ScaleKind) -> Done:
        return self._apply(store, i.ApplyCounts({body.kind: body.count}))

    def _apply(self, store: Store, body: i.ApplyCounts) -> Done:
        for kind, count in body.counts.items():
            _known("kind", kind, store.cluster.realms)
            _within(f"count of {kind}", count, 0, MOST_AT_ONCE)
        subjects: list[str] = []
        told = []
        for kind, count in sorted(body.counts.items()):
            have = wanted_of(store, kind)
            told.append(f"{kind} {len(have)} to {count}")
            for realm in have[count:]:
                store.request_stop(realm.name)
            subjects += [realm.name for realm in have[count:]]
            for name in _next_names(store, kind, max(count - len(have), 0)):
                store.request_launch(name, kind)
                subjects.append(name)
        return Done(tuple(subjects), ", ".join(told) or "nothing to change")

    def _verifier_answered(self, store: Store, body: i.VerifierAnswered) -> Done:
        realm = _realm(store, body.realm)
        store.verifier_answers.append(body)
        said = "accepts" if body.accepted else f"refuses ({body.reason})"
        return Done((realm.name,), f"the verifier outside {said} the evidence of {realm.name}: {body.detail}")

    def _apply_file(self, store: Store, body: i.ApplyFile) -> Done:
        loaded = load_text(body.text, "the file")
        if loaded.value is None:
            raise Refusal("invalid", loaded.render())
        asked = reconcile(store.cluster, loaded.value, held_counts(store))
        if asked.refused:
            raise Refusal("conflict", "; ".join(asked.refused), "nothing was changed")
        for kind, count in asked.counts.items():
            _within(f"count of {kind}", count, 0, MOST_AT_ONCE)
        store.now_in(asked.cluster)
        done = self._apply(store, i.ApplyCounts(asked.counts))
        return Done(done.subjects, "; ".join(sentences(asked.changes)) or "nothing to change")

    # -- machines ------------------------------------------------------------------------------------------------------

    def _cordon(self, store: Store, body: i.CordonMachine) -> Done:
        _known("machine", body.machine, store.machines)
        if i.OPERATOR in store.machines[body.machine].cordons:
            raise Refusal("conflict", f"{body.machine} is cordoned already")
        store.cordon(body.machine, body.why, i.OPERATOR)
        return Done((body.machine,), f"{body.machine} takes no new Realms")

    def _uncordon(self, store: Store, body: i.UncordonMachine) -> Done:
        _known("machine", body.machine, store.machines)
        if i.OPERATOR not in store.machines[body.machine].cordons:
            others = ", ".join(sorted(store.machines[body.machine].cordons))
            raise Refusal("conflict", f"no operator cordoned {body.machine}", f"cordoned by {others}" if others else "")
        store.uncordon(body.machine, i.OPERATOR)
        return Done((body.machine,), f"{body.machine} takes Realms again")

    # -- rollouts ------------------------------------------------------------------------------------------------------

    def _start_rollout(self, store: Store, body: i.StartRollout) -> Done:
        event = read_rollout(body.deed, format_duration(store.now_ns))
        if not isinstance(event, RolloutEvent):
            raise _wrong(event)
        _known("release", event.release, store.cluster.firmware.releases)
        _refuse_if(wrong_rollout(store, event))
        rollout = self._rollouts.add(event, store)
        before = [other.goal.rollout for other in self._rollouts.rollouts if other.state.stage in IN_THE_WAY]
        waits = f"; it waits for {before[0]}" if before else ""
        return Done((rollout.goal.rollout,), f"{event.release} to {len(store.machines)} machines{waits}")

    def _cue(self, name: str, cue: Cue) -> Done:
        known = {rollout.goal.rollout: rollout for rollout in self._rollouts.rollouts}
        _known("rollout", name, known)
        rollout = known[name]
        if not self._rollouts.request(rollout, cue):
            raise Refusal("conflict", f"a rollout that is {rollout.state.stage} cannot {cue}", _why_not(rollout))
        return Done((name,), f"{name} was {rollout.state.stage} in wave {rollout.state.wave}")

    def _pause(self, store: Store, body: i.PauseRollout) -> Done:
        return self._cue(body.rollout, Cue.PAUSE)

    def _resume(self, store: Store, body: i.ResumeRollout) -> Done:
        return self._cue(body.rollout, Cue.RESUME)

    def _abort(self, store: Store, body: i.AbortRollout) -> Done:
        return self._cue(body.rollout, Cue.ABORT)

    def _promote(self, store: Store, body: i.PromoteRollout) -> Done:
        return self._cue(body.rollout, Cue.PROMOTE)

    def _retry(self, store: Store, body: i.RetryRollout) -> Done:
        return self._cue(body.rollout, Cue.RETRY)

    def _answer_gate(self, store: Store, body: i.AnswerGate) -> Done:
        if body.answer not in list(GateAnswer):
            raise Refusal("invalid", f"a gate does not say {body.answer}", ", ".join(GateAnswer))
        verdict = Verdict(GateAnswer(body.answer), body.why)
        if not self._rollouts.answer(body.rollout, body.gate, body.number, verdict):
            raise Refusal("conflict", f"{body.rollout} does not ask question {body.number} of gate {body.gate}")
        return Done((body.rollout,), f"gate {body.gate}: {body.answer}")

    def _revoke(self, store: Store, body: i.RevokeFirmware) -> Done:
        event = read_revocation(body.deed, format_duration(store.now_ns))
        if not isinstance(event, RevokeEvent):
            raise _wrong(event)
        _refuse_if(wrong_revocation(store, event))
        store.request_revocation(event)
        what = f"signer {event.signer}" if event.signer else f"{event.component} {event.version}"
        return Done((what,), f"{what} is revoked")

    # -- faults --------------------------------------------------------------------------------------------------------

    def _inject(self, store: Store, body: i.InjectFault) -> Done:
        fault = read_fault(body.deed, format_duration(store.now_ns))
        if isinstance(fault, list):
            raise _wrong(fault)
        _all_known(store, fault)
        _refuse_if(deeds.fault_findings(standing(store, fault), [((), fault)]))
        return Done((self._storm.add(fault),), f"{fault.fault} for {format_duration(fault.during)}")

    def _heal(self, store: Store, body: i.HealFault) -> Done:
        in_force = {fault.deed.name: fault for fault in self._storm.in_force}
        coming = {deed.name for deed in self._storm.coming}
        if body.fault in coming:
            raise Refusal("conflict", f"{body.fault} has not begun")
        if body.fault not in in_force:
            raise Refusal(
                "unknown", f"no fault {body.fault} is in force", _close(body.fault, in_force, "faults in force")
            )
        self._storm.heal(body.fault, store.now_ns)
        fault = in_force[body.fault]
        return Done((body.fault, *fault.targets), f"{fault.deed.fault.fault} is undone")


_ACTS: dict[type[Any], Callable[[OperatorDesk, Store, Any], Done]] = {
    i.LaunchRealms: OperatorDesk._launch,
    i.StopRealm: OperatorDesk._stop,
    i.VerifierAnswered: OperatorDesk._verifier_answered,
    i.DeleteRealm: OperatorDesk._delete,
    i.MigrateRealm: OperatorDesk._migrate,
    i.CancelMigration: OperatorDesk._cancel,
    i.DrainMachines: OperatorDesk._drain,
    i.RebalanceFleet: OperatorDesk._rebalance,
    i.EndDrain: OperatorDesk._end_drain,
    i.ScaleKind: OperatorDesk._scale,
    i.ApplyCounts: OperatorDesk._apply,
    i.ApplyFile: OperatorDesk._apply_file,
    i.CordonMachine: OperatorDesk._cordon,
    i.UncordonMachine: OperatorDesk._uncordon,
    i.StartRollout: OperatorDesk._start_rollout,
    i.PauseRollout: OperatorDesk._pause,
    i.ResumeRollout: OperatorDesk._resume,
    i.AbortRollout: OperatorDesk._abort,
    i.PromoteRollout: OperatorDesk._promote,
    i.RetryRollout: OperatorDesk._retry,
    i.AnswerGate: OperatorDesk._answer_gate,
    i.RevokeFirmware: OperatorDesk._revoke,
    i.InjectFault: OperatorDesk._inject,
    i.HealFault: OperatorDesk._heal,
}


def wanted_of(store: Store, kind: str) -> list[RealmView]:
    """Realms of a kind that should run, lowest number first: those not stopped, failed or on the way there."""
    of_kind = [realm for realm in store.realms.values() if realm.kind == kind]
    wanted = [realm for realm in of_kind if realm.state not in _LEAVING and not realm.stop_wanted]
    return sorted(wanted, key=lambda realm: _number(realm.name))


def held_counts(store: Store) -> dict[str, int]:
    """How many Realms of each kind should run now."""
    return {kind: len(wanted_of(store, kind)) for kind in store.cluster.realms}


def _realm(store: Store, name: str) -> RealmView:
    shown = {name: realm for name, realm in store.realms.items() if not realm.deleted}
    _known("Realm", name, shown)
    return shown[name]


def _known(what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        raise Refusal("unknown", f"there is no {what} {name}", _close(name, names, f"{what}s"))


def _close(name: str, known: Iterable[str], noun: str) -> str:
    return suggestion(name, list(known), noun)


def _within(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Refusal("invalid", f"{what} is {value}", f"a number from {least} to {most}")


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _next_names(store: Store, kind: str, count: int) -> tuple[str, ...]:
    """Names that no Realm of the run ever had, by the rule of `orchestrator.cluster.names`."""
    last = max((_number(realm.name) for realm in store.realms.values() if realm.kind == kind), default=0)
    return tuple(f"{kind}-{number:03d}" for number in range(last + 1, last + count + 1))


def _told(realm: RealmView) -> str:
    return realm.state if realm.state in _LEAVING else "about to be stopped"


def _why_not(rollout: Rollout) -> str:
    if rollout.state.stage is Stage.HELD:
        return "promote, retry or abort it, or start another rollout when the cause is gone"
    return ""


def _all_known(store: Store, fault: Fault) -> None:
    """Every name in the fault's selectors exists."""
    sides = [fault.select] if isinstance(fault, MachineFault) else fault.between
    for side in sides:
        if isinstance(side, Selector):
            if side.machine is not None:
                _known("machine", side.machine, store.machines)
            if side.rack is not None:
                _known("rack", side.rack, store.cluster.racks)
            if side.realm is not None:
                _realm(store, side.realm)


def _wrong(wrong: Iterable[Finding]) -> Refusal:
    """Everything that is wrong with a deed, at once."""
    told = [f"{path_text(found.path)}: {found.message}" if found.path else found.message for found in wrong]
    return Refusal("invalid", "; ".join(told), "; ".join(found.hint for found in wrong if found.hint))


def _refuse_if(findings: Iterable[Finding]) -> None:
    wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
    if wrong:
        raise _wrong(wrong)
