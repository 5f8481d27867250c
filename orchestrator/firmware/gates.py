"""Gates: what must hold before a rollout goes on to its next wave. Each answers pass, fail or inconclusive.

Gates are asked when a wave's bake is over, in the order of the file. A fail holds the rollout; while one is
inconclusive nothing further is started, and it is asked again. What the store knows (health, Realm service, evidence)
is judged here; a question to the user's own function or to Prometheus leaves as a `Question`, and its answer comes back
as a journaled input, so a replay needs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from orchestrator.cluster.schema import (
    AttestedGate,
    Gate,
    HealthGate,
    PromqlGate,
    PythonGate,
    ServiceGate,
)
from orchestrator.firmware.phases import Phase
from orchestrator.firmware.update import Update
from orchestrator.store import MachineState, RealmState, RealmView, Store

PPM = 1_000_000
_SERVES = frozenset({RealmState.SERVING, RealmState.MIGRATING})
_ENDED = frozenset({RealmState.AWAITED, RealmState.STOPPING, RealmState.STOPPED})


class Answer(StrEnum):
    """What a gate says."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Verdict(Struct, frozen=True):
    """An answer and its sentence."""

    answer: Answer
    why: str


class Question(Struct, frozen=True):
    """Something that only the outside can answer; `number` counts the questions of this gate in this wave."""

    rollout: str
    wave: int
    gate: int
    number: int
    asks: PythonGate | PromqlGate
    release: str
    component: str
    version: str
    machines: dict[str, str]
    """State of each machine of the wave."""
    realms: dict[str, str]
    """State of each Realm."""


class GateJudged(Struct, frozen=True, tag="gate.judged"):
    """A gate of the wave answered, or changed its answer."""

    rollout: str
    wave: int
    gate: str
    answer: str
    why: str


class GateAsked(Struct, frozen=True, tag="gate.asked"):
    """A question left to the user's function, or to Prometheus."""

    rollout: str
    wave: int
    gate: str
    number: int


GateRecord = GateJudged | GateAsked


def outside(gate: Gate) -> bool:
    """Whether somebody else must answer it."""
    return isinstance(gate, PythonGate | PromqlGate)


def title(gate: Gate) -> str:
    """The gate in a few words."""
    match gate:
        case PythonGate():
            return f"python {gate.name}"
        case PromqlGate():
            return f"promql {gate.query}"
        case ServiceGate():
            return f"service of {gate.kind or 'every kind'}"
        case _:
            return str(gate.gate)


def judge(gate: Gate, members: Sequence[Update], restarts: dict[str, int], store: Store) -> Verdict:
    """What the store says of a gate; `restarts` are those of each Realm when the wave began."""
    match gate:
        case HealthGate():
            return _health(members, store)
        case ServiceGate():
            return _service(gate, restarts, store)
        case AttestedGate():
            return _attested(members, store)
        case _:
            return Verdict(Answer.INCONCLUSIVE, "no answer yet")


def _health(members: Sequence[Update], store: Store) -> Verdict:
    """Machines that the wave brought to the release answer, and are trusted."""
    silent = []
    for update in members:
        view = store.machines[update.machine]
        if update.phase is Phase.DONE and view.state in (MachineState.DOWN, MachineState.REFUSED):
            return Verdict(Answer.FAIL, f"{view.name} is {view.state}")
        if update.phase is Phase.DONE and view.state is not MachineState.ADMITTED:
            silent.append(f"{view.name} is {view.state}")
    if silent:
        return Verdict(Answer.INCONCLUSIVE, silent[0])
    return Verdict(Answer.PASS, "every machine of the wave answers")


def _service(gate: ServiceGate, restarts: dict[str, int], store: Store) -> Verdict:
    wanted = [
        realm
        for realm in store.realms.values()
        if gate.kind in (None, realm.kind) and realm.state not in _ENDED and not realm.stop_wanted
    ]
    if not wanted:
        return Verdict(Answer.INCONCLUSIVE, "there is no such Realm")
    again = sum(max(realm.restarts - restarts.get(realm.name, realm.restarts), 0) for realm in wanted)
    if gate.max_restarts is not None and again > gate.max_restarts:
        return Verdict(Answer.FAIL, f"{again} Realms were started anew since the wave began")
    serving = sum(realm.state in _SERVES for realm in wanted)
    share = serving * PPM // len(wanted)
    told = f"{serving} of {len(wanted)} Realms serve"
    return Verdict(Answer.PASS if share >= gate.serving else Answer.FAIL, told)


def _attested(members: Sequence[Update], store: Store) -> Verdict:
    """Every machine of the wave is vouched for, and every Realm there gave evidence over the new reference values."""
    waiting = []
    for update in members:
        if update.phase is not Phase.DONE:
            continue
        view = store.machines[update.machine]
        if view.distrusted:
            return Verdict(Answer.FAIL, f"{view.name}: {view.distrusted}")
        if not view.platform_token_sha256:
            waiting.append(f"{view.name} was not vouched for yet")
        for realm in store.realms_on(update.machine):
            if update.machine in realm.excluded:
                return Verdict(Answer.FAIL, f"evidence of {realm.name} on {view.name} was refused")
            if not _fresh(realm, update):
                waiting.append(f"{realm.name} on {view.name} has not attested since")
    if waiting:
        return Verdict(Answer.INCONCLUSIVE, f"{waiting[0]}; {len(waiting)} in all")
    return Verdict(Answer.PASS, "machines and Realms of the wave attest over the release")


def _fresh(realm: RealmView, update: Update) -> bool:
    if realm.state not in _SERVES:
        return False
    asked = realm.attest_wanted or realm.nonce
    return realm.attested_ns > update.proven_from_ns and not asked
