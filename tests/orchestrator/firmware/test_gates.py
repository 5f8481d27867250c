"""Gates: three answers, a hold while one is missing, outside answers by the journal; and operators who steer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cca_machine.commands import Activate, Prime, Primed, Reboot, Refused
from cca_machine.host.lfa import NO_RMM
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import PromqlGate, PythonGate
from orchestrator.errors import UserMistake
from orchestrator.extensions import Extensions
from orchestrator.firmware.gates import Answer, GateAsked, GateJudged, Question, Verdict
from orchestrator.firmware.phases import Cue, Phase, Stage
from orchestrator.firmware.records import (
    RolloutFinished,
    RolloutHeld,
    RolloutPromoted,
    RolloutRetried,
    RolloutRolledBack,
    RolloutSteered,
    WaveStarted,
)
from orchestrator.gate_keeper import GateKeeper, read_gates
from orchestrator.inputs import AnswerGate
from orchestrator.store import MachineState, RealmState

S = 1_000_000_000
WAVES = [{"machines": 1}, {"share": "100%"}]
Answers = Callable[[str, Any], list[Any]]


def waves_of(floor: Any) -> list[tuple[str, ...]]:
    return [wave.machines for wave in floor.of(WaveStarted)]


def judged(floor: Any) -> list[tuple[int, str, str]]:
    return [(one.wave, one.gate, one.answer) for one in floor.of(GateJudged)]


# -- what the store knows ----------------------------------------------------------------------------------------------


def test_with_all_gates_passing_the_rollout_goes_on_and_each_is_recorded_once_per_wave(floor: Any) -> None:
    done = floor(3, waves=WAVES, gates=[{"gate": "health"}, {"gate": "service"}, {"gate": "attested"}]).run(60)
    names = ["health", "service of every kind", "attested"]
    assert judged(done) == [(wave, name, "pass") for wave in (1, 2) for name in names]
    assert done.of(RolloutFinished)[0].done == 3


@pytest.mark.parametrize(
    ("state", "answer"),
    [(MachineState.SUSPECT, "inconclusive"), (MachineState.REFUSED, "fail")],
)
def test_the_health_gate_waits_for_a_silent_machine_and_fails_on_a_lost_one(
    floor: Any, state: MachineState, answer: str
) -> None:
    at = floor(2, waves=WAVES, gates=[{"gate": "health"}], bake="0s", max_failures=5)
    while at.rollout.state.updates.get("m0") is None or at.phase("m0") != Phase.REATTESTING:
        at.step()
    for realm in at.store.realms.values():
        realm.attest_wanted, realm.attested_ns = "", at.now_ns + 1
    at.store.machines["m0"].state = state
    at.run(20)
    assert judged(at)[0] == (1, "health", answer)
    held = at.rollout.state.stage
    assert held is (Stage.HELD if answer == "fail" else Stage.GATED)
    assert at.sent(Prime) == ["m0"]


def test_an_inconclusive_gate_holds_and_lets_go_when_it_passes(floor: Any) -> None:
    at = floor(2, waves=WAVES, gates=[{"gate": "health"}], bake="0s", gate_every="3s")
    while not at.rollout.state.updates or at.phase("m0") != Phase.REATTESTING:
        at.step()
    at.store.machines["m0"].state = MachineState.SUSPECT
    at.run(30)
    assert at.rollout.state.stage is Stage.GATED
    at.store.machines["m0"].state = MachineState.ADMITTED
    at.run(60)
    assert [one[2] for one in judged(at) if one[0] == 1] == ["inconclusive", "pass"]
    assert at.of(RolloutFinished)[0].done == 2


def test_the_service_gate_counts_realms_of_its_kind_and_those_started_anew(floor: Any) -> None:
    gate = {"gate": "service", "kind": "web", "serving": "60%", "max_restarts": 0}
    held = floor(3, waves=WAVES, gates=[gate], bake="5s")
    held.run(3)
    held.store.realms["w2"].restarts += 1
    held.run(20)
    [record] = held.of(RolloutHeld)
    assert "1 Realms were started anew" in record.why
    short = floor(3, waves=WAVES, gates=[gate], bake="5s")
    for name in ("w1", "w2"):
        short.store.realms[name].state = RealmState.WANTED
    short.run(20)
    assert "1 of 3 Realms serve" in short.of(RolloutHeld)[0].why


def test_the_attested_gate_waits_for_a_realm_that_came_to_the_machine_and_fails_when_its_evidence_is_refused(
    floor: Any,
) -> None:
    at = floor(2, waves=WAVES, gates=[{"gate": "attested"}], bake="0s", gate_every="2s")
    while not at.rollout.state.updates or at.phase("m0") != Phase.REATTESTING:
        at.step()
    mover = at.store.realms["w1"]
    at.store.bind(mover, "m0")
    at.run(10)
    assert judged(at) == [(1, "attested", "inconclusive")]
    mover.excluded = ["m0"]
    at.run(20)
    assert at.rollout.state.stage is Stage.HELD
    assert "evidence of w1" in at.of(RolloutHeld)[0].why


# -- what the outside knows --------------------------------------------------------------------------------------------


def test_an_outside_question_is_asked_once_at_a_time_and_again_while_it_is_inconclusive(floor: Any) -> None:
    at = floor(2, waves=WAVES, gates=[{"gate": "python", "name": "mine"}], gate_every="4s", bake="0s").run(3)
    [first, *_] = at.rollouts.take_questions()
    assert (first.rollout, first.wave, first.gate, first.number) == ("rollout-1", 1, 0, 1)
    assert first.machines == {"m0": "admitted"}
    assert at.rollouts.answer("rollout-1", 0, 1, Verdict(Answer.INCONCLUSIVE, "not yet"))
    at.run(12)
    assert [record.number for record in at.of(GateAsked)][:2] == [1, 2]
    latest = at.of(GateAsked)[-1].number
    assert not at.rollouts.answer("rollout-1", 0, 1, Verdict(Answer.PASS, "too late"))
    assert at.rollouts.answer("rollout-1", 0, latest, Verdict(Answer.PASS, "fine"))
    at.run(14)
    assert waves_of(at) == [("m0",), ("m1",)]


def question(asks: Any) -> Question:
    return Question("rollout-1", 1, 0, 1, asks, "next", "RMM", "1.1.0", {"m0": "admitted"}, {"w0": "serving"})


class Desk:
    """Where a keeper takes questions from, and puts answers."""

    def __init__(self, asks: Any, *, replaying: bool = False) -> None:
        self.questions = [question(asks)]
        self.replaying = replaying
        self.admitted: list[AnswerGate] = []

    def take_questions(self) -> list[Question]:
        taken, self.questions = self.questions, []
        return taken

    def admit(self, body: Any) -> int:
        self.admitted.append(body)
        return 1


def said(asks: Any, given: Extensions) -> tuple[str, str]:
    desk = Desk(asks)
    GateKeeper(desk, desk, given).answer()
    [answer] = desk.admitted
    return answer.answer, answer.why


def raises(asked: Question) -> bool:
    raise ValueError("no idea")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda asked: asked.realms["w0"] == "serving", ("pass", "")),
        (lambda asked: (False, "too slow"), ("fail", "too slow")),
        (lambda asked: None, ("inconclusive", "")),
        (raises, ("inconclusive", "it raised ValueError: no idea")),
        (lambda asked: "yes", ("inconclusive", "it said 'yes', which is neither True, False nor None")),
    ],
)
def test_the_users_function_answers_in_three_values(function: Any, expected: tuple[str, str]) -> None:
    assert said(PythonGate(name="mine"), Extensions(gates={"mine": function})) == expected


def test_a_python_gate_without_a_function_is_inconclusive_and_says_what_to_add() -> None:
    assert (
        said(PythonGate(name="mine"), Extensions())[1] == "no function is given for it: add --gate NAME=FILE:FUNCTION"
    )


def test_while_recorded_inputs_are_replayed_the_keeper_is_silent() -> None:
    desk = Desk(PythonGate(name="mine"), replaying=True)
    GateKeeper(desk, desk, Extensions(gates={"mine": lambda asked: True})).answer()
    assert (desk.admitted, desk.questions) == ([], [])


class Prometheus(BaseHTTPRequestHandler):
    """As much of the instant-query API as a gate asks."""

    results: ClassVar[dict[str, Any]] = {
        "good": {"resultType": "vector", "result": [{"value": [0, "1"]}, {"value": [0, "3.5"]}]},
        "zero": {"resultType": "vector", "result": [{"value": [0, "1"]}, {"value": [0, "0"]}]},
        "nan": {"resultType": "vector", "result": [{"value": [0, "NaN"]}]},
        "none": {"resultType": "vector", "result": []},
        "scalar": {"resultType": "scalar", "result": [0, "2"]},
    }

    def do_GET(self) -> None:
        data = self.results.get(self.path.rpartition("query=")[2])
        self.send_response(200 if data else 400)
        self.end_headers()
        self.wfile.write(json.dumps({"status": "success", "data": data}).encode() if data else b"parse error")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def prometheus() -> Any:
    server = HTTPServer(("127.0.0.1", 0), Prometheus)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("good", "pass"), ("scalar", "pass"), ("zero", "fail"), ("nan", "fail"), ("none", "fail"),
        ("wrong", "inconclusive"),
    ],
)  # fmt: skip
def test_prometheus_passes_with_numbers_above_zero_and_an_error_is_no_answer(
    prometheus: str, query: str, answer: str
) -> None:
    assert said(PromqlGate(query=query), Extensions(prometheus=prometheus))[0] == answer


def test_a_prometheus_that_is_not_there_is_inconclusive() -> None:
    assert said(PromqlGate(query="up"), Extensions(prometheus="http://127.0.0.1:9"))[0] == "inconclusive"
    assert said(PromqlGate(query="up"), Extensions())[0] == "inconclusive"


def test_functions_are_read_from_a_file_and_mistakes_are_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def enough(asked):\n    return len(asked.machines) > 0\n")
    assert read_gates([f"enough={file}:enough"])["enough"](question(PythonGate(name="enough"))) is True
    for text, told in (
        ("enough", "names no function"),
        (f"enough={file}:other", "has no function other"),
        (f"enough={tmp_path / 'none.py'}:f", "is no Python file"),
    ):
        with pytest.raises(UserMistake, match=told):
            read_gates([text])


# -- steering ----------------------------------------------------------------------------------------------------------


def test_events_pause_resume_and_abort_and_a_useless_one_says_why(floor: Any) -> None:
    steer = [
        {"at": "2s", "do": "resume"},
        {"at": "3s", "do": "pause"},
        {"at": "30s", "do": "resume"},
        {"at": "31s", "do": "abort"},
    ]
    done = floor(2, waves=WAVES, steer=steer).run(60)
    told = [(one.do, one.refused) for one in done.of(RolloutSteered)]
    assert told[0][0] == "resume"
    assert "cannot resume" in told[0][1]
    assert told[1:] == [("pause", ""), ("resume", ""), ("abort", "")]
    assert waves_of(done) == [("m0",)]
    assert done.of(RolloutFinished)[0].left == 1


def test_promotion_ends_the_bake_and_passes_the_gates_by(floor: Any) -> None:
    gate = [{"gate": "python", "name": "never"}]
    done = floor(2, waves=WAVES, bake="1000s", gates=gate, steer=[{"at": "5s", "do": "promote"}]).run(20)
    assert len(done.of(RolloutPromoted)) == 1
    assert waves_of(done) == [("m0",), ("m1",)]
    assert done.rollout.state.stage is Stage.BAKING


def test_a_held_rollout_retries_its_canary_before_anybody_else_is_taken(
    floor: Any, refusing: Callable[[str], Answers]
) -> None:
    at = floor(2, waves=WAVES)
    at.behaviour["m0"] = refusing("prime")
    at.run(20)
    assert at.rollout.state.stage is Stage.HELD
    del at.behaviour["m0"]
    assert at.rollouts.request(at.rollout, Cue.RETRY)
    at.run(60)
    assert at.of(RolloutRetried) == [RolloutRetried("rollout-1", 1, ("m0",))]
    assert at.sent(Prime) == ["m0", "m0", "m1"]
    assert at.of(RolloutFinished)[0].done == 2


# -- blast radius and selected waves -----------------------------------------------------------------------------------


def most_under_way(floor: Any, until_s: float, place: Callable[[str], str]) -> int:
    most = 0
    while floor.now_ns < until_s * S:
        floor.step()
        counts: dict[str, int] = {}
        for machine, update in floor.rollout.state.updates.items():
            if update.phase in ("draining", "priming", "activating", "appraising", "reattesting"):
                counts[place(machine)] = counts.get(place(machine), 0) + 1
        most = max(most, *counts.values(), 0)
    return most


@pytest.mark.parametrize(("radius", "most"), [({}, 3), ({"rack": 1}, 1), ({"rack": 2}, 2)])
def test_no_more_machines_of_a_rack_are_under_way_than_the_blast_radius_allows(
    floor: Any, radius: dict[str, Any], most: int
) -> None:
    at = floor(6, racks=2, waves=[{"share": "100%"}], blast_radius=radius)
    assert most_under_way(at, 60, lambda machine: at.store.machines[machine].rack) == most
    assert at.of(RolloutFinished)[0].done == 6


def test_no_more_realms_of_a_kind_are_at_stake_than_the_blast_radius_allows(floor: Any) -> None:
    at = floor(6, waves=[{"share": "100%"}], blast_radius={"realms": "34%"})
    assert most_under_way(at, 60, lambda machine: "fleet") == 2
    assert at.of(RolloutFinished)[0].done == 6


def test_waves_are_for_a_rack_a_power_domain_or_the_hosts_of_a_kind(floor: Any) -> None:
    waves = [{"machines": 1, "rack": "r2"}, {"share": "100%", "power": "b"}, {"share": "100%", "kind": "web"}]
    at = floor(6, racks=3, waves=waves, bake="0s")
    at.store.unbind(at.store.realms["w4"])
    at.run(60)
    assert waves_of(at) == [("m1",), ("m0", "m3", "m2", "m5")]
    assert at.of(RolloutFinished)[0].left == 1


# -- taking back -------------------------------------------------------------------------------------------------------


def test_a_wave_is_taken_back_and_what_was_done_before_stays(floor: Any) -> None:
    at = floor(4, waves=[{"machines": 1}, {"machines": 2}, {"share": "100%"}], rollback="wave")
    at.bad_tokens = {"m2"}
    at.run(60)
    [record] = at.of(RolloutRolledBack)
    assert (record.release, record.refused, record.machines) == ("base", "", ("m1", "m2"))
    assert at.rollouts.rollouts[1].state.only == ["m1", "m2"]


def test_only_the_machine_that_failed_is_taken_back(floor: Any) -> None:
    at = floor(4, waves=[{"machines": 1}, {"machines": 2}, {"share": "100%"}], rollback="machine")
    at.bad_tokens = {"m2"}
    at.run(60)
    assert at.of(RolloutRolledBack)[0].machines == ("m2",)


def test_a_machine_that_lost_its_rmm_in_the_activation_is_reset_into_what_it_ran(floor: Any) -> None:
    at = floor(2, waves=WAVES, rollback="machine")

    def loses_it(machine: str, command: Any) -> list[Any]:
        if isinstance(command, Prime):
            return [Primed("RMM", "1.1.0")]
        lost = Refused("activate", "RMM", "LFA_ACTIVATE: ACTIVATION_FAILED", f"it panicked, and {NO_RMM}")
        return [lost] if isinstance(command, Activate) else []

    at.behaviour["m0"] = loses_it
    at.run(10)
    assert at.rollout.state.stage is Stage.HELD
    assert at.sent(Reboot) == ["m0"]
    at.boot("m0", "1.0.0")
    at.run(20)
    assert at.of(RolloutRolledBack) == [RolloutRolledBack("rollout-1", "", "", "", ("m0",))]
    assert at.store.machines["m0"].cordons == {}


def test_machines_go_back_to_what_each_of_them_ran(floor: Any) -> None:
    at = floor(3, waves=[{"share": "100%"}], rollback=True)
    at.store.machines["m1"].versions = {"RMM": "0.9.0"}
    at.bad_tokens = {"m2"}
    at.run(30)
    found = {record.machines: (record.release, record.refused) for record in at.of(RolloutRolledBack)}
    assert found == {("m1",): ("", "no release holds RMM 0.9.0"), ("m0", "m2"): ("base", "")}


# -- bad input ---------------------------------------------------------------------------------------------------------

FILE = (Path(__file__).resolve().parents[3] / "clusters" / "small.yaml").read_text()
EVENT = "    max_failures: 2\n"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            "    max_unavailable: 4\n    blast_radius: {rack: 1}\n",
            "may take down 4 at once, its blast_radius lets it take 3",
        ),
        ("    after: rollout-1\n", "no earlier rollout is called 'rollout-1'"),
        ("    gates: [{gate: service, kind: wbe}]\n", "no kind is called 'wbe'"),
        ("    gates: [{gate: magic}]\n", "magic"),
        ("    gates: [{gate: python}]\n", "name"),
        ("  - {kind: steer, at: 5min, do: promote, rollout: rollout-2}\n", "no rollout is called 'rollout-2'"),
        ("  - {kind: steer, at: 5min, do: stop}\n", "stop"),
    ],
)
def test_a_rollout_that_contradicts_itself_is_refused_at_validation(more: str, told: str) -> None:
    loaded = load_text(FILE.replace(EVENT, EVENT + more), "small.yaml")
    assert loaded.value is None
    assert told in loaded.render()
