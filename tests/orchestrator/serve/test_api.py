"""The API over a real loopback port: what may be read, what may be asked, and what happens to bad requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from orchestrator.engine.run_store import RunReader
from orchestrator.inputs import decode
from orchestrator.rundir import DATABASE
from orchestrator.serve.guard import LARGEST_BODY


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The body of an answer that must be a problem (RFC 9457, section 3)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    return body


# -- reading -----------------------------------------------------------------------------------------------------------


def test_health_readiness_and_discovery_say_that_a_fleet_is_there(up: Any) -> None:
    assert (up.get("/healthz").status_code, up.get("/readyz").status_code) == (200, 200)
    found = up.get("/-/sd")
    assert found.headers["content-type"] == "application/json"
    assert found.json() == [{"targets": [up.server.listen.text], "labels": {"job": "realmfleet", "cluster": "small"}}]


def test_status_counts_what_the_lists_hold(up: Any) -> None:
    up.post("/clock", paused=True)
    try:
        up.wait(lambda: up.session.snapshot.pace.paused)
        status = up.get("/api/v1/status").json()
        machines, realms = (up.get(f"/api/v1/{sort}").json()["items"] for sort in ("machines", "realms"))
    finally:
        up.post("/clock", paused=False)
    assert sum(status["machines"].values()) == len(machines) == 6
    assert status["realms_serving"] == sum(realm["state"] == "serving" for realm in realms)
    for machine in machines:
        assert machine["realms"] == sum(realm["machine"] == machine["name"] for realm in realms)


def test_a_realm_tells_its_verdict_claim_by_claim_and_why_it_is_where_it_is(up: Any) -> None:
    found = up.get("/api/v1/realms/web-001").json()
    assert found["verdict"]["what"]["passed"] is True
    assert {claim.split("/")[0] for claim in found["verdict"]["what"]["tiers"]} == {"platform", "realm"}
    placed = found["placement"]["what"]
    assert placed["considered"] == 6
    assert placed["best"][0]["machine"] == placed["machine"]
    assert sum(placed["best"][0]["parts"].values()) == placed["best"][0]["score"]
    assert found["history"][0]["at_ns"] >= found["history"][-1]["at_ns"]


def test_a_machine_tells_who_is_there_and_what_the_verifier_said(up: Any) -> None:
    found = up.get("/api/v1/machines/r1-std-01").json()
    assert found["truth"] == "up"
    assert found["appraisal"]["what"]["vouched"] is True
    assert found["versions"]["RMM"] in ("1.0.0", "1.0.1")


def test_lists_can_be_narrowed_down(up: Any) -> None:
    assert {row["rack"] for row in up.get("/api/v1/machines", rack="r2").json()["items"]} == {"r2"}
    assert {row["kind"] for row in up.get("/api/v1/realms", kind="db").json()["items"]} == {"db"}


def test_checkers_judge_the_trace_so_far(up: Any) -> None:
    outcomes = {row["name"]: row["outcome"] for row in up.get("/api/v1/checkers").json()["items"]}
    assert outcomes["alive-once"] == "pass"
    assert outcomes["attested-before-serving"] == "pass"


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("text/plain", plain_families), ("application/openmetrics-text; version=1.0.0", text_string_to_metric_families)],
)
def test_metrics_parse_in_both_formats(up: Any, accept: str, parse: Any) -> None:
    answer = up.client.get("/metrics", headers={"accept": accept})
    families = {family.name: family for family in parse(answer.text)}
    assert accept.partition(";")[0] in answer.headers["content-type"]
    live = families["realmfleet_live_realms"]
    serving = sum(sample.value for sample in live.samples if sample.labels["doing"] == "serving")
    assert serving >= 9


def test_the_openapi_document_describes_every_answer_it_names(up: Any) -> None:
    document = up.get("/openapi.json").json()
    schema = {"$ref": "#/components/schemas/Status", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(up.get("/api/v1/status").json())
    row = {"$ref": "#/components/schemas/RealmShown", "components": document["components"]}
    jsonschema.Draft202012Validator(row).validate(up.get("/api/v1/realms").json()["items"][0])
    assert {"/api/v1/faults", "/api/v1/rollouts/{name}/pause", "/api/v1/events"} <= document["paths"].keys()


# -- acting ------------------------------------------------------------------------------------------------------------


def test_an_action_is_answered_when_it_has_been_decided(up: Any) -> None:
    answer = up.post("/realms", kind="web", count=1).json()
    assert answer["accepted"] is True
    (name,) = answer["subjects"]
    up.wait(lambda: up.get(f"/api/v1/realms/{name}").json()["state"] == "serving")
    assert up.post(f"/realms/{name}/stop").json()["accepted"] is True
    up.wait(lambda: up.get(f"/api/v1/realms/{name}").json()["state"] == "stopped")
    assert problem(up.post(f"/realms/{name}/stop"), 409)["detail"] == f"{name} is stopped"
    assert up.client.delete(f"/api/v1/realms/{name}").json()["accepted"] is True
    up.wait(lambda: up.get(f"/api/v1/realms/{name}").status_code == 404)


def test_a_fault_shows_on_its_machine_while_the_control_plane_is_not_told(up: Any) -> None:
    fault = {"fault": "attest.stale-token", "for": "1h", "select": {"machine": "r3-std-02"}}
    name = up.client.post("/api/v1/faults", json=fault).json()["subjects"][0]
    up.wait(lambda: up.get("/api/v1/machines/r3-std-02").json()["faults"] == [name])
    assert up.get("/api/v1/machines/r3-std-02").json()["state"] == "admitted"
    assert up.post(f"/faults/{name}/heal").json()["accepted"] is True
    up.wait(lambda: up.get("/api/v1/machines/r3-std-02").json()["faults"] == [])


def test_a_changed_file_is_shown_as_a_difference_first_and_then_applied(up: Any) -> None:
    text = (Path(up.session.run_dir) / "cluster.yaml").read_text().replace("count: 3", "count: 4")
    dry = up.post("/apply", text=text, dry_run=True).json()
    assert (dry["changes"]["realms.db.count"], dry["applied"]) == ({"from": 3, "to": 4}, False)
    assert "db-004" in up.post("/apply", text=text).json()["subjects"]
    up.post("/scale", kind="db", count=3)
    fixed = problem(up.post("/apply", text=text.replace("8GiB", "4GiB")), 409)
    assert fixed["detail"] == "profiles.std.memory: only a new run can change it"
    shown = up.post("/apply", text=text.replace("8GiB", "4GiB"), dry_run=True).json()["changes"]
    assert "only a new run" in shown["profiles.std.memory"]["refused"]
    broken = problem(up.post("/apply", text=text.replace("count: 4", "cuont: 4")), 422)
    assert "did you mean 'count'?" in broken["problems"][0]["hint"]


def test_while_time_is_paused_an_action_is_queued_and_decided_afterwards(up: Any) -> None:
    up.post("/clock", paused=True)
    try:
        up.wait(lambda: up.session.snapshot.pace.paused)
        queued = up.post("/machines/r1-std-02/cordon", why="drill")
        assert (queued.status_code, queued.json()["accepted"]) == (202, None)
    finally:
        up.post("/clock", paused=False)
    up.wait(lambda: up.get("/api/v1/machines/r1-std-02").json()["cordons"] == {"operator": "drill"})
    assert up.post("/machines/r1-std-02/uncordon").status_code == 200


# -- bad requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/v1/realms/web-01", "did you mean 'web-001'?"),
        ("/api/v1/machines/r1-std-1", "did you mean 'r1-std-01'?"),
        ("/api/v1/rollouts/rolout-1", "did you mean 'rollout-1'?"),
        ("/api/v1/statsu", "did you mean '/api/v1/status'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest_one(up: Any, path: str, hint: str) -> None:
    assert hint in problem(up.get(path), 404)["hint"]


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        ("/realms", {"kind": "web", "count": "two"}, "body.count"),
        ("/realms", {"kind": "web", "count": True}, "body.count"),
        ("/realms", {"kind": 7}, "body.kind"),
        ("/realms", {"kind": "web", "cuont": 1}, "body.cuont"),
        ("/realms", {}, "body"),
        ("/scale", {"kind": "web", "count": -1}, "body.count"),
        ("/faults", {"fault": "machine.freeze", "between": ["control"]}, "body.between"),
        ("/clock", {"speed": 0}, "body.speed"),
    ],
)
def test_a_body_of_the_wrong_shape_names_the_field_and_admits_no_input(
    up: Any, path: str, body: dict[str, Any], at: str
) -> None:
    before = inputs(up)
    wrong = problem(up.post(path, **body), 422)
    assert [found for found in wrong["errors"] if found["at"].startswith(at)], wrong
    assert inputs(up) == before


def inputs(up: Any) -> int:
    """How many inputs the journal holds."""
    with RunReader(Path(up.session.run_dir) / DATABASE) as reader:
        return len(reader.inputs(decode))


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ({"fault": "machine.freezee", "select": {"machine": "r1-std-01"}}, "no fault is called 'machine.freezee'"),
        ({"fault": "machine.freeze"}, "select"),
        ({"fault": "machine.freeze", "select": {}}, "selects nothing"),
        ({"fault": "machine.freeze", "for": "0s", "select": {"rack": "r1"}}, "for"),
        ({"fault": "machine.freeze", "for": 30, "select": {"rack": "r1"}}, "body.for"),
        ({"fault": "network.loss", "between": [{"rack": "r1"}, "control"]}, "loss"),
        ({"fault": "network.delay", "between": ["control", "control"], "delay": "5ms"}, "both ends are the same"),
    ],
)
def test_a_fault_that_makes_no_sense_says_which_field_and_changes_nothing(
    up: Any, fault: dict[str, Any], detail: str
) -> None:
    assert detail in problem(up.client.post("/api/v1/faults", json=fault), 422)["detail"]
    assert up.get("/api/v1/faults").json()["items"] == []


def test_bytes_that_are_no_json_are_refused(up: Any) -> None:
    headers = {"content-type": "application/json"}
    for content in (b"", b"{", b"\xff\xfe", b"[" * 5000, b"null", b'"web"'):
        answer = up.client.post("/api/v1/realms", content=content, headers=headers)
        problem(answer, 422 if content in (b"", b"null", b'"web"') else answer.status_code)
        assert answer.status_code in (400, 422)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(up: Any) -> None:
    headers = {"content-type": "application/json"}
    problem(up.client.post("/api/v1/apply", content=b" " * (LARGEST_BODY + 1), headers=headers), 413)
    chunks = (b" " * 65536 for _ in range(LARGEST_BODY // 65536 + 1))  # sent without a length
    problem(up.client.post("/api/v1/apply", content=chunks, headers=headers), 413)


def test_a_method_that_a_path_does_not_have_is_refused(up: Any) -> None:
    problem(up.client.delete("/api/v1/status"), 405)
    problem(up.client.put("/api/v1/realms/web-001"), 405)
