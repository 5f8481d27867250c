"""The beat engine over toy machines: order, boundaries, coupling, and twins that must agree to the byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import FACTORY, toy_fleet
from toy_run import BEAT, Deed, ToyRun, toy_topology

from orchestrator.engine.errors import OrderBroken
from orchestrator.engine.instant import MS, US, S
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.links import ANYONE, Delay, Drop, LinkShape, Lose, Rule, partition
from orchestrator.engine.loop import Engine
from orchestrator.engine.ports import ControlStep, Delivery, MachineReport, Message, Strike, TraceEntry
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.fleet.local import LocalFleet

NAMES = [f"m{number}" for number in range(5)]
END = 2 * S


def local(nodes: int = 1, count: int = 5, period_ns: int = 40 * MS, seed: int = 1) -> LocalFleet:
    return LocalFleet(toy_fleet(count, period_ns, seed), nodes, FACTORY)


machines = st.sampled_from(NAMES)
deeds = st.builds(
    Deed,
    at_ns=st.integers(0, END).map(lambda at_ns: at_ns - at_ns % 1000),
    what=st.sampled_from(["ask", "strike", "couple", "couple", "couple", "uncouple"]),
    one=machines,
    other=machines,
)
groups = st.one_of(st.just(ANYONE), st.sets(machines, min_size=1).map(lambda names: tuple(sorted(names))))
verdicts = st.one_of(
    st.builds(Drop), st.builds(Delay, st.integers(0, 300 * MS)), st.builds(Lose, st.integers(0, 1_000_000))
)
rules = st.builds(
    lambda name, sources, targets, ends, verdict: Rule(name, sources, targets, min(ends), max(ends), verdict),
    st.text("abc", min_size=1, max_size=3),
    groups,
    groups,
    st.tuples(st.integers(0, END), st.integers(0, END)),
    verdicts,
)
plans = st.lists(deeds, max_size=12)
storms = st.lists(rules, max_size=4)
seeds = st.integers(1, 1000)


@settings(max_examples=25, deadline=None)
@given(plan=plans, storm=storms, seed=seeds)
def test_visiting_every_boundary_gives_the_trace_of_skipping_the_idle_ones(
    plan: list[Deed], storm: list[Rule], seed: int
) -> None:
    # a period well beyond the beat, so that there is something to skip
    skipping = ToyRun(local(period_ns=400 * MS, seed=seed), plan, storm, seed=seed).run(END)
    visiting = ToyRun(local(period_ns=400 * MS, seed=seed), plan, storm, seed=seed, skip=False).run(END)
    assert skipping.lines == visiting.lines
    assert visiting.engine.beats == END // BEAT


@settings(max_examples=25, deadline=None)
@given(plan=plans, storm=storms, seed=seeds, stops=st.lists(st.integers(0, END), max_size=4))
def test_stopping_on_the_way_changes_nothing(plan: list[Deed], storm: list[Rule], seed: int, stops: list[int]) -> None:
    straight = ToyRun(local(seed=seed), plan, storm, seed=seed).run(END)
    halting = ToyRun(local(seed=seed), plan, storm, seed=seed).run(*sorted(stops), END)
    assert straight.lines == halting.lines


@settings(max_examples=20, deadline=None)
@given(plan=plans, storm=storms, seed=seeds, order=st.permutations(range(5)))
def test_neither_the_order_of_machines_nor_the_number_of_nodes_matters(
    plan: list[Deed], storm: list[Rule], seed: int, order: list[int]
) -> None:
    specs = toy_fleet(5, 40 * MS, seed)
    one = ToyRun(LocalFleet(specs, 1, FACTORY), plan, storm, seed=seed).run(END)
    five = ToyRun(LocalFleet([specs[place] for place in order], 5, FACTORY), plan, storm, seed=seed).run(END)
    assert one.digest == five.digest


@settings(max_examples=20, deadline=None)
@given(plan=plans, storm=storms, seed=seeds)
def test_the_trace_is_in_total_order(plan: list[Deed], storm: list[Rule], seed: int) -> None:
    run = ToyRun(local(seed=seed), plan, storm, seed=seed).run(END)
    keys = [line.entry.key for line in run.sink.lines]
    assert keys == sorted(set(keys))
    assert len(keys) > 50


def test_one_microsecond_on_one_link_changes_the_digest() -> None:
    shape = LinkShape(175 * US, 0)
    moved = LinkShape(176 * US, 0)
    plan = [Deed(0, "couple", "m0", "m3")]
    before = ToyRun(local(), plan, topology=toy_topology(NAMES, {("m0", "m3"): shape})).run(END)
    after = ToyRun(local(), plan, topology=toy_topology(NAMES, {("m0", "m3"): moved})).run(END)
    again = ToyRun(local(), plan, topology=toy_topology(NAMES, {("m0", "m3"): shape})).run(END)
    assert before.digest == again.digest
    assert before.digest != after.digest


def test_another_seed_gives_another_run() -> None:
    assert ToyRun(local(seed=1), seed=1).run(END).digest != ToyRun(local(seed=1), seed=2).run(END).digest


# -- a fleet by hand: exact instants -----------------------------------------------------------------------------------


class Script:
    """A fleet of machines that send what the script says and remember what they got, and until when they ran."""

    def __init__(self, names: Sequence[str], sends: Mapping[str, Sequence[tuple[int, str, Any]]]) -> None:
        self._names = sorted(names)
        self._sends = {name: sorted(sends.get(name, ())) for name in self._names}
        self._numbers = dict.fromkeys(self._names, 0)
        self.got: list[tuple[str, int, int, str]] = []
        self.calls: list[tuple[int, tuple[str, ...]]] = []

    def machines(self) -> Sequence[str]:
        return self._names

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        self.calls.append((until_ns, tuple(only)))
        return [self._report(name, until_ns, inbox.get(name, ())) for name in only]

    def _report(self, name: str, until_ns: int, mail: Sequence[Delivery]) -> MachineReport:
        for delivery in mail:
            self.got.append((name, delivery.arrives_ns, int(delivery.priority), delivery.message.source))
        sent = []
        while self._sends[name] and self._sends[name][0][0] < until_ns:
            at_ns, target, body = self._sends[name].pop(0)
            self._numbers[name] += 1
            sent.append(Message(name, self._numbers[name], target, at_ns, body))
        due_ns = self._sends[name][0][0] if self._sends[name] else None
        return MachineReport(name, sent, [], due_ns)


class Steps:
    """A control plane that gives prepared steps and remembers what it saw when."""

    def __init__(self, steps: Mapping[int, ControlStep] | None = None) -> None:
        self._steps = dict(steps or {})
        self.saw: list[tuple[int, list[tuple[int, str, int]]]] = []

    def step(self, now_ns: int, arrived: Sequence[Delivery]) -> ControlStep:
        self.saw.append((now_ns, [(each.arrives_ns, each.message.source, int(each.priority)) for each in arrived]))
        step = self._steps.pop(now_ns, nothing())
        return msgspec.structs.replace(step, next_due_ns=min(self._steps, default=None))


class Wires:
    """Links that take 250 us, or what `latencies` says, and lose what `lost` names."""

    def __init__(
        self, latencies: Mapping[tuple[str, str], int] | None = None, lost: Sequence[tuple[str, int]] = ()
    ) -> None:
        self._latencies = latencies or {}
        self._lost = lost

    def latency_min_ns(self, source: str, target: str) -> int:
        return self._latencies.get((source, target), 250 * US)

    def arrival_ns(self, message: Message) -> int | None:
        if (message.source, message.number) in self._lost:
            return None
        return message.sent_ns + self.latency_min_ns(message.source, message.target)


def nothing(**changes: Any) -> ControlStep:
    return msgspec.structs.replace(ControlStep([], [], [], [], [], None), **changes)


def engine(fleet: Script, control: Steps, links: Wires | None = None, **more: Any) -> tuple[Engine, MemorySink]:
    sink = MemorySink()
    journal = more.pop("journal", MemoryJournal())
    return Engine(100 * MS, fleet, control, links or Wires(), Trace(sink), journal, **more), sink


def test_an_answer_reaches_the_control_plane_at_the_boundary_after_its_arrival() -> None:
    fleet = Script(["m0"], {"m0": [(130 * MS, "control", "late"), (199_750_000, "control", "on the boundary")]})
    control = Steps()
    engine(fleet, control)[0].run_until(S)
    seen = [(now, arrived) for now, arrived in control.saw if arrived]
    # the second arrives exactly at 200 ms, and a boundary sees what arrives up to and including it
    assert seen == [(200 * MS, [(130_250_000, "m0", 3), (200 * MS, "m0", 3)])]


def test_an_order_arrives_at_its_exact_instant_inside_the_beat() -> None:
    fleet = Script(["m0"], {})
    order = Message("control", 1, "m0", 100 * MS, "do")
    later = Message("control", 2, "m0", 170 * MS, "do")
    control = Steps({100 * MS: nothing(messages=[order, later])})
    engine(fleet, control)[0].run_until(S)
    assert fleet.got == [("m0", 100_250_000, 2, "control"), ("m0", 170_250_000, 2, "control")]


def test_a_strike_comes_before_everything_else_of_its_instant() -> None:
    fleet = Script(["m0"], {})
    order = Message("control", 1, "m0", 100 * MS, "do")
    control = Steps({100 * MS: nothing(messages=[order], strikes=[Strike("m0", 100_250_000, "freeze")])})
    engine(fleet, control)[0].run_until(S)
    assert [priority for _, _, priority, _ in fleet.got] == [0, 2]


def test_a_strike_in_a_later_beat_waits_for_it_and_wakes_the_engine() -> None:
    fleet = Script(["m0"], {})
    control = Steps({0: nothing(strikes=[Strike("m0", 730 * MS, "freeze")])})
    loop, _ = engine(fleet, control)
    loop.run_until(S)
    assert fleet.got == [("m0", 730 * MS, 0, "chaos")]
    assert loop.beats == 2
    assert fleet.calls == [(100 * MS, ("m0",)), (800 * MS, ("m0",))]


def test_a_parcel_between_uncoupled_machines_waits_for_the_next_boundary() -> None:
    fleet = Script(["m0", "m1"], {"m0": [(110 * MS, "m1", "hello"), (199_900_000, "m1", "across")]})
    engine(fleet, Steps())[0].run_until(S)
    assert fleet.got == [("m1", 200 * MS, 1, "m0"), ("m1", 200_150_000, 1, "m0")]


def couple(at_ns: int, *pairs: tuple[str, str]) -> dict[int, ControlStep]:
    return {at_ns: nothing(couple=[(f"{one}+{other}", one, other) for one, other in pairs])}


def test_a_parcel_between_coupled_machines_arrives_at_its_exact_instant() -> None:
    fleet = Script(["m0", "m1"], {"m0": [(110 * MS, "m1", "hello")], "m1": [(111 * MS, "m0", "hello")]})
    engine(fleet, Steps(couple(100 * MS, ("m0", "m1"))))[0].run_until(S)
    assert fleet.got == [("m1", 110_250_000, 1, "m0"), ("m0", 111_250_000, 1, "m1")]


def test_a_parcel_to_a_third_machine_waits_even_if_its_sender_is_coupled() -> None:
    fleet = Script(["m0", "m1", "m2"], {"m0": [(110 * MS, "m2", "hello")]})
    engine(fleet, Steps(couple(100 * MS, ("m0", "m1"))))[0].run_until(S)
    assert fleet.got == [("m2", 200 * MS, 1, "m0")]


def test_windows_end_before_anything_sent_in_them_can_arrive() -> None:
    sends = {"m0": [(110 * MS, "m1", 1), (110_100_000, "m1", 2)], "m1": [(150 * MS, "m0", 3)]}
    fleet = Script(["m0", "m1", "m2"], sends)
    engine(fleet, Steps(couple(100 * MS, ("m0", "m1"))))[0].run_until(200 * MS)
    windows = [(until, names) for until, names in fleet.calls if until > 100 * MS]
    assert windows == [
        (110_250_000, ("m0",)),  # first event 110 ms plus the latency of its link
        (110_500_000, ("m1",)),  # both parcels
        (150_250_000, ("m1",)),
        (150_500_000, ("m0",)),
    ]


def test_a_chain_of_sessions_keeps_each_link_exact() -> None:
    latencies = {("m0", "m1"): 10 * US, ("m1", "m2"): 400 * US}
    sends = {"m0": [(110 * MS, "m1", 1)], "m1": [(110_010_000, "m2", 2), (110_020_000, "m2", 3)]}
    fleet = Script(["m0", "m1", "m2"], sends)
    engine(fleet, Steps(couple(0, ("m0", "m1"), ("m1", "m2"))), Wires(latencies))[0].run_until(S)
    assert fleet.got == [("m1", 110_010_000, 1, "m0"), ("m2", 110_410_000, 1, "m1"), ("m2", 110_420_000, 1, "m1")]


def test_a_session_closed_at_a_boundary_no_longer_couples() -> None:
    fleet = Script(["m0", "m1"], {"m0": [(110 * MS, "m1", 1), (210 * MS, "m1", 2)]})
    steps = couple(100 * MS, ("m0", "m1")) | {200 * MS: nothing(uncouple=["m0+m1"])}
    engine(fleet, Steps(steps))[0].run_until(S)
    assert [arrives_ns for _, arrives_ns, _, _ in fleet.got] == [110_250_000, 300 * MS]


def test_a_lost_message_leaves_a_record_and_a_count() -> None:
    fleet = Script(["m0"], {"m0": [(110 * MS, "control", 1), (120 * MS, "control", 2)]})
    control = Steps()
    loop, sink = engine(fleet, control, Wires(lost=[("m0", 1)]))
    loop.run_until(S)
    loop.finish()
    assert (loop.delivered, loop.lost) == (1, 1)
    assert [msgspec.json.decode(line.line) for line in sink.lines] == [
        {
            "at_ns": 110 * MS,
            "kind": "message.lost",
            "number": 1,
            "priority": 0,
            "source": "link:m0",
            "what": {"answers": 0, "target": "control"},
        }
    ]


# -- external inputs ---------------------------------------------------------------------------------------------------


def test_an_input_is_journaled_at_once_and_takes_effect_at_the_next_boundary() -> None:
    control, journal = Steps(), MemoryJournal()
    loop, _ = engine(Script(["m0"], {}), control, journal=journal)
    loop.run_until(250 * MS)
    assert loop.admit("drain m0") == 1
    assert [(entry.number, entry.at_ns) for entry in journal.inputs] == [(1, 300 * MS)]
    loop.run_until(S)
    assert control.saw[-1] == (300 * MS, [(300 * MS, "operator", 5)])


def test_what_pace_admits_takes_effect_at_the_boundary_it_was_called_for() -> None:
    control = Steps()
    loop, _ = engine(Script(["m0"], {}), control)
    paced: list[int] = []

    def pace(boundary_ns: int) -> None:
        paced.append(boundary_ns)
        if boundary_ns == 400 * MS:
            loop.admit("drain m0")

    loop.run_until(S, pace)
    assert paced == list(range(0, S, 100 * MS))
    assert control.saw[-1] == (400 * MS, [(400 * MS, "operator", 5)])


def test_a_replay_of_the_journal_gives_the_same_trace() -> None:
    live = ToyRun(local())
    live.engine.run_until(700 * MS)
    live.engine.admit("first")
    live.engine.run_until(S)
    live.engine.admit("second")
    live.engine.admit("third")
    live.run(END)
    replay = ToyRun(local(), recorded=live.journal.inputs).run(END)
    assert replay.lines == live.lines
    assert ToyRun(local()).run(END).digest != live.digest


def test_new_inputs_are_refused_while_recorded_ones_are_replayed() -> None:
    live = ToyRun(local())
    live.engine.run_until(700 * MS)
    live.engine.admit("first")
    replay = ToyRun(local(), recorded=live.journal.inputs)
    with pytest.raises(OrderBroken, match="replayed"):
        replay.engine.admit("too early")
    replay.engine.run_until(S)
    assert replay.engine.admit("second") == 2


def test_step_goes_to_the_next_due_boundary_and_says_when_there_is_none() -> None:
    fleet = Script(["m0"], {"m0": [(730 * MS, "control", 1)]})
    loop, _ = engine(fleet, Steps())
    assert [loop.step() for _ in range(4)] == [0, 700 * MS, 800 * MS, None]


# -- contracts of the ports --------------------------------------------------------------------------------------------


def test_a_control_plane_that_sends_into_the_past_stops_the_run() -> None:
    order = Message("control", 1, "m0", 99 * MS, "do")
    loop, _ = engine(Script(["m0"], {}), Steps({100 * MS: nothing(messages=[order])}))
    with pytest.raises(OrderBroken, match="past"):
        loop.run_until(S)


def test_a_gap_in_message_numbers_stops_the_run() -> None:
    orders = [Message("control", number, "m0", 100 * MS, "do") for number in (1, 3)]
    loop, _ = engine(Script(["m0"], {}), Steps({100 * MS: nothing(messages=orders)}))
    with pytest.raises(OrderBroken, match="3 after 1"):
        loop.run_until(S)


def test_a_strike_on_the_past_stops_the_run() -> None:
    loop, _ = engine(Script(["m0"], {}), Steps({100 * MS: nothing(strikes=[Strike("m0", 99 * MS, "freeze")])}))
    with pytest.raises(OrderBroken, match="chaos"):
        loop.run_until(S)


def test_a_record_that_is_a_whole_beat_old_stops_the_run() -> None:
    old = TraceEntry(100 * MS, 5, "control", 1, Drop())
    loop, _ = engine(Script(["m0"], {}), Steps({200 * MS: nothing(records=[old])}))
    with pytest.raises(OrderBroken, match="a beat back"):
        loop.run_until(S)


def test_a_link_that_undercuts_its_least_latency_stops_the_run() -> None:
    class Hasty(Wires):
        def arrival_ns(self, message: Message) -> int | None:
            return message.sent_ns + 1

    fleet = Script(["m0", "m1"], {"m0": [(110 * MS, "m1", 1)]})
    loop, _ = engine(fleet, Steps(couple(0, ("m0", "m1"))), Hasty())
    with pytest.raises(OrderBroken, match="undercut"):
        loop.run_until(S)


def test_a_partition_cuts_both_ways_and_only_between_the_sides() -> None:
    cut = partition("split", ("m0",), ("m1", "m2"), 0, END)
    lost = [line for line in ToyRun(local(count=3), rules=cut).run(END).sink.lines if line.kind == "message.lost"]
    ends = {(line.entry.source.removeprefix("link:"), line.entry.what.target) for line in lost}
    assert ends == {("m0", "m1"), ("m0", "m2"), ("m1", "m0"), ("m2", "m0")}
