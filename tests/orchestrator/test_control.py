"""The control plane as the engine sees it: silence when nothing is due, numbers without gaps, exact instants."""

from __future__ import annotations

from typing import Any

import msgspec

from cca_machine.commands import CONTROL, DeliverSecret
from orchestrator.engine.ports import APART, ControlStep, Priority

S = 1_000_000_000
EVENTS = [{"kind": "migrate", "at": "5s", "realm": "web-001"}, {"kind": "stop", "at": "9s", "realm": "web-003"}]


def tags(step: ControlStep) -> list[str]:
    return [str(type(entry.what).__struct_config__.tag) for entry in step.records]


def test_a_step_with_nothing_arrived_and_nothing_due_says_nothing_and_changes_nothing(world: Any) -> None:
    small = world().run(5)
    control = small.control
    due_ns = control.step(5 * S, []).next_due_ns
    before = msgspec.json.encode([control.store.machines, control.store.realms, control.store.sessions])
    assert control.step(5 * S + 1, []) == ControlStep([], [], [], [], [], due_ns)
    assert msgspec.json.encode([control.store.machines, control.store.realms, control.store.sessions]) == before


def test_visiting_every_beat_gives_the_same_trace(world: Any) -> None:
    skipping, plodding = world(events=EVENTS), world(events=EVENTS, skip=False)
    for small in (skipping, plodding):
        small.cut("r2-std-01", 12, 60)
        small.run(70)
    assert skipping.engine.beats < plodding.engine.beats
    assert skipping.engine.finish() == plodding.engine.finish()
    assert skipping.trace.count > 50


def test_pausing_a_run_anywhere_changes_nothing(world: Any) -> None:
    whole, pieces = world(events=EVENTS).run(20), world(events=EVENTS)
    for until in (0.05, 0.3, 5.0, 5.1, 5.15, 20):
        pieces.run(until)
    assert whole.engine.finish() == pieces.engine.finish()


def test_two_runs_of_one_seed_say_the_same_and_another_seed_asks_other_challenges(world: Any) -> None:
    one, same, other = (world(seed=seed).run(3).engine.finish() for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_messages_and_records_are_numbered_per_source_without_gaps(world: Any) -> None:
    small = world(events=EVENTS).run(15)
    messages = [message for _, step in small.watched.steps for message in step.messages]
    records = [entry for _, step in small.watched.steps for entry in step.records]
    ordered = [message.number for message in messages if message.number < APART]
    heartbeats = [message.number for message in messages if message.number >= APART]
    assert ordered == list(range(1, len(ordered) + 1))
    assert heartbeats == sorted(set(heartbeats))
    assert [entry.number for entry in records] == list(range(1, len(records) + 1))
    assert {(entry.source, entry.priority) for entry in records} == {(CONTROL, Priority.CONTROL)}


def test_nothing_is_sent_or_traced_before_the_boundary_it_was_decided_at(world: Any) -> None:
    for now_ns, step in world(events=EVENTS).run(15).watched.steps:
        assert all(message.sent_ns >= now_ns for message in step.messages)
        assert all(entry.at_ns >= now_ns for entry in step.records)
        assert step.messages == sorted(step.messages, key=lambda message: message.sent_ns)


def test_a_secret_leaves_at_the_instant_of_the_reply_and_not_at_a_boundary(world: Any) -> None:
    attestation = {"servers": 1, "service": "40ms", "latency": "90ms"}
    small = world(attestation=attestation).run(10)
    sent = {
        message.body.realm: message.sent_ns
        for _, step in small.watched.steps
        for message in step.messages
        if isinstance(message.body, DeliverSecret)
    }
    replied = {verdict.realm: verdict.replied_ns for _, verdict in small.records("realm.verdict")}
    released = {record.realm: at_ns for at_ns, record in small.records("secret.released")}
    assert sent == replied == released
    assert len(sent) == 3
    assert all(at_ns % 100_000_000 for at_ns in sent.values())


def test_requests_wake_the_control_plane_at_the_next_boundary(world: Any) -> None:
    small = world().run(5)
    step = small.control.step(5 * S, [])
    assert step.next_due_ns is not None
    small.store.request_stop("web-001")
    later = small.control.step(step.next_due_ns, [])
    assert later.next_due_ns is not None
    assert "realm.state" in tags(later)
