"""Every row of the crash and abort matrix of the migration reference (13.10), between two machines and their witness.

Rows about control planes stand in `tests/orchestrator/migration/test_control_planes.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cca_machine import commands as c
from cca_machine.abi.rmi import Ripas
from cca_machine.host.work import Work
from cca_machine.layout import plan
from cca_machine.migration import wire
from cca_machine.migration.precopy import Terms

S, MS = 1_000_000_000, 1_000_000
DEADLINE_NS = 20 * S
Carry = Callable[[str, c.Sent], list[c.Parcel]]


def without(*steps: str, session: str = "s") -> Carry:
    """Links that lose these steps (or prefixes of them) of a session."""

    def carry(name: str, sent: c.Sent) -> list[c.Parcel]:
        step = wire.step_of(sent.body.payload)  # type: ignore[union-attr]
        return [] if step.startswith(steps) and sent.body.session == session else [sent.body]  # type: ignore

    return carry


def cut(*machines: str) -> Carry:
    """Links that lose everything from and to these machines."""
    return lambda name, sent: [] if name in machines or sent.target in machines else [sent.body]  # type: ignore


def state(pair: Any, machine: str) -> str:
    return str(pair.told(c.SessionStep, machine)[-1][1].state)


def held(pair: Any) -> list[str]:
    return [name for _, _, name, _, until in pair.lives() if until is None]


def decisions(pair: Any) -> list[str]:
    return [one.decision for _, one in pair.told(c.LineageStep) if one.decision]


def die(pair: Any, machine: str, back: bool = False) -> None:
    pair.order(machine, c.Inject(c.FaultKind.POWER_LOSS))
    if back:
        pair.order(machine, c.Heal(c.FaultKind.POWER_LOSS), pair.now_ns + S)


@pytest.fixture
def move(pair: Any) -> Callable[..., Any]:
    """Serve a Realm on `a` and open its session to `b` over these links, for so long."""

    def begin(carry: Carry | None = None, for_ns: int = S, **fields: Any) -> Any:
        pair.serve("a", fields.get("realm"))
        if carry is not None:
            pair.carry = carry
        pair.open_session(deadline_ns=fields.pop("deadline_ns", DEADLINE_NS), **fields)
        pair.run(for_ns)
        return pair

    return begin


def test_row_1_a_failure_before_the_keys_leaves_no_trace_of_the_session(move: Any) -> None:
    pair = move(without("handshake-hello-destination"), 30 * S)
    assert (state(pair, "a"), state(pair, "b")) == ("active", "failed")
    assert pair.told(c.RealmStill, "a") == []
    assert decisions(pair) == ["abort"]


def test_row_2_a_link_lost_in_live_export_leaves_the_realm_running_at_its_source(move: Any, kit: Any) -> None:
    work = c.Workload(dirty_bytes_per_s=30 << 20, working_set_bytes=32 << 20)
    spec = kit.realm_spec(workload=work)
    pair = move(None, 2 * S, realm=spec, terms=Terms(bytes_per_s=10 << 20, downtime_ns=MS))
    assert state(pair, "a") == "live-export"
    pair.carry = lambda name, sent: [] if sent.target == "b" and name == "a" else [sent.body]
    pair.run(60 * S)
    assert (state(pair, "a"), state(pair, "b")) == ("active", "failed")
    assert pair.told(c.RealmStill, "a") == []
    assert decisions(pair) == ["abort"]


def test_row_3_a_source_that_dies_before_its_start_token_takes_the_realm_with_it(move: Any) -> None:
    pair = move(without("freight"), 200 * MS)
    die(pair, "a")
    pair.run(60 * S)
    assert state(pair, "b") == "failed"
    assert decisions(pair) == ["abort"]
    assert held(pair) == []


def test_row_4_a_destination_that_dies_before_the_start_token_costs_a_pause(move: Any) -> None:
    pair = move(None, 60 * MS)
    die(pair, "b")
    pair.run(90 * S)
    pair.order("witness", c.EndSession("s", "r/1", "the target rebooted", fenced=True))
    pair.run(2 * S)
    assert state(pair, "a") == "active"
    assert held(pair) == ["a"]


def test_row_5_a_source_that_dies_before_its_tail_is_delivered_takes_the_realm_with_it(move: Any) -> None:
    pair = move(without("freight-7"), 2 * S)
    die(pair, "a")
    pair.run(60 * S)
    assert state(pair, "b") == "failed"
    assert held(pair) == []


def test_row_6_a_source_that_dies_after_everything_was_delivered_loses_nothing(move: Any) -> None:
    pair = move(without("ready"), S)
    die(pair, "a")
    pair.carry = without()
    pair.run(5 * S)
    assert state(pair, "b") == "live"
    assert held(pair) == ["b"]


def test_row_7_a_ready_destination_that_dies_before_the_grant_does_not_strand_the_source(move: Any) -> None:
    pair = move(without("confirm"), S)
    assert (state(pair, "a"), state(pair, "b")) == ("relinquished", "ready")
    die(pair, "b")
    pair.run(40 * S)
    assert decisions(pair) == ["abort"]
    assert held(pair) == ["a"]


def test_row_7_fencing_ends_it_without_waiting_for_the_silence(move: Any) -> None:
    pair = move(without("confirm"), S)
    die(pair, "b")
    pair.do("witness", c.EndSession("s", "r/1", "power is off", fenced=True))
    pair.run(3 * S)
    assert held(pair) == ["a"]


def test_row_8_a_destination_that_dies_after_the_grant_takes_the_realm_with_it(move: Any) -> None:
    pair = move(without("decided"), S)
    assert decisions(pair) == ["grant"]
    die(pair, "b")
    pair.carry = without()
    pair.run(60 * S)
    assert state(pair, "a") == "scrubbed"
    assert held(pair) == []


def test_row_9_a_lost_grant_is_fetched_again(move: Any) -> None:
    pair = move(without("decided"), 4 * S)
    assert (state(pair, "a"), state(pair, "b"), held(pair)) == ("relinquished", "ready", [])
    pair.carry = without()
    pair.run(3 * S)
    assert (state(pair, "a"), state(pair, "b"), held(pair)) == ("scrubbed", "live", ["b"])


def test_row_10_without_a_witness_everybody_waits_and_nobody_guesses(move: Any) -> None:
    pair = move(cut("witness"), 300 * S)
    assert (state(pair, "a"), state(pair, "b"), held(pair)) == ("relinquished", "ready", [])
    pair.carry = without()
    pair.run(30 * S)
    assert len(held(pair)) == 1
    assert len(decisions(pair)) == 1


def test_row_11_a_partition_between_the_machines_leaves_the_decision_to_the_witness(move: Any) -> None:
    pair = move(without("freight-7"), 300 * MS)
    pair.carry = lambda name, sent: [] if {name, sent.target} == {"a", "b"} else [sent.body]
    pair.run(60 * S)
    assert decisions(pair) == ["abort"]
    assert (state(pair, "a"), held(pair)) == ("active", ["a"])


def test_row_12_bundles_that_are_replayed_in_their_session_are_rejected(move: Any) -> None:
    pair = move(None, 3 * S)
    parcels = [sent.body for name, sent in pair.sent if name == "a" and isinstance(sent.body, c.Parcel)]
    for number, parcel in enumerate(parcels):
        pair.machines["b"].submit(parcel, pair.now_ns + number, 1, "a", 5000 + number)
    pair.run(3 * S)
    assert (state(pair, "b"), held(pair)) == ("live", ["b"])


def test_row_13_bundles_of_an_older_session_end_a_newer_one(move: Any) -> None:
    pair = move(without("decided"), S, session="old")
    old = {wire.step_of(p.payload): p.payload for p in pair.bodies(c.Parcel, "a")}
    pair.run(3 * S)
    pair.carry = without()
    pair.run(5 * S)
    assert held(pair) == ["b"]

    def replay(name: str, sent: c.Sent) -> list[c.Parcel]:
        parcel: Any = sent.body
        step = wire.step_of(parcel.payload)
        payload = old.get(step, parcel.payload) if step.startswith("freight") else parcel.payload
        return [c.Parcel(parcel.session, payload, parcel.modelled_bytes)]

    pair.carry = replay
    pair.open_session("new", source="b", target="a", generation=1)
    pair.run(30 * S)
    assert state(pair, "a") == "failed"
    assert "another session" in pair.told(c.SessionStep, "a")[-1][1].why
    assert held(pair) == ["b"]


def test_row_14_a_page_written_behind_the_hosts_back_crosses_before_the_start_token(move: Any, pair: Any) -> None:
    pair.serve("a")
    rmm = pair.machines["a"]._on().migration._calls
    found: dict[str, bytes] = {}
    vcpus = rmm.vcpus

    def write(rd: int) -> Any:
        if not found:
            memory = pair.machines["a"]._state.running.hardware.memory
            granule = max(memory.contents)
            found["page"] = memory.contents[granule] = b"written late".ljust(4096, b"!")
        return vcpus(rd)

    rmm.vcpus = write
    pair.open_session()
    pair.run(3 * S)
    assert held(pair) == ["b"]
    assert found["page"] in pair.machines["b"]._state.running.hardware.memory.contents.values()


def test_row_15_a_host_that_drops_a_bundle_is_found_out_by_the_totals(move: Any) -> None:
    def renumber(name: str, sent: c.Sent) -> list[c.Parcel]:
        message = wire.decode(sent.body.payload)  # type: ignore[union-attr]
        if not isinstance(message, wire.Freight) or message.sequence < 2:
            return [sent.body]  # type: ignore[list-item]
        if message.sequence == 2:
            return []
        payload = wire.encode(wire.Freight(message.sequence - 1, message.bundle))
        return [c.Parcel("s", payload, len(payload))]

    pair = move(renumber, 30 * S)
    assert state(pair, "b") == "failed"
    assert held(pair) == ["a"]


def test_row_18_a_reset_of_either_machine_forgets_the_session(move: Any) -> None:
    pair = move(cut("witness"), 2 * S)
    die(pair, "a", back=True)
    die(pair, "b", back=True)
    pair.run(600 * S)
    for machine in ("a", "b"):
        assert pair.do(machine, c.SettleSession("s", 0)) == c.SessionClosed("s", "unknown")
    assert held(pair) == []


def test_row_19_a_realm_that_is_shut_down_during_export_ends_the_session_and_itself(move: Any) -> None:
    pair = move(without("freight-3"), 100 * MS)
    pair.order("a", c.Stop("r", 1))
    pair.carry = without()
    pair.run(30 * S)
    assert pair.bodies(c.Stopped) == [c.Stopped("r", 1)]
    assert (state(pair, "a"), state(pair, "b")) == ("gone", "failed")
    assert held(pair) == []


def test_row_20_memory_that_the_realm_gave_up_during_export_is_not_there_after_it(move: Any, kit: Any) -> None:
    spec = kit.realm_spec(workload=c.Workload(dirty_bytes_per_s=8 << 20, working_set_bytes=16 << 20))
    pair = move(None, S, realm=spec, terms=Terms(bytes_per_s=16 << 20, downtime_ns=MS))
    assert state(pair, "a") == "live-export"
    running, ipa = pair.machines["a"]._state.running, plan(spec).loads()[0][0]
    work = pair.machines["a"]._floor_now()
    hosted = running.host.find("r", 1)
    machine = Work(work.site, pair.now_ns, 0).machine_of(hosted)
    machine.ensure_pages(ipa)
    machine.give_up(ipa, ipa + 4096, shared=False)
    first = plan(spec).loads()[0][1][0]
    pair.run(60 * S)
    assert held(pair) == ["b"]
    calls = pair.machines["b"]._on().migration._calls
    there = next(iter(pair.machines["b"]._state.running.rmm.realms))
    runs = calls.memory_map(there, plan(spec).ram_base, plan(spec).ram_top).runs
    assert (runs[0].ipa, runs[0].count, runs[0].assigned) == (ipa, 1, False)
    assert runs[0].ripas in (Ripas.DESTROYED, Ripas.EMPTY)
    assert first not in pair.machines["b"]._state.running.hardware.memory.contents.values()
