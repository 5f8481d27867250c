"""The storm: faults strike at their exact instants, undo themselves, and say so in the trace alone."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from cca_machine.commands import FaultKind, Heal, Inject
from orchestrator.chaos.catalogue import CATALOGUE, LinkKind
from orchestrator.chaos.records import FaultHealed, FaultInjected, FaultSkipped
from orchestrator.chaos.storm import Storm
from orchestrator.cluster.schema import Cluster, LinkFaultKind, MachineFaultKind
from orchestrator.engine.links import Links, LinkShape, Rule, Topology
from orchestrator.engine.ports import Message, Strike
from orchestrator.engine.streams import run_seed
from orchestrator.store import MachineState, MachineView, RealmState, RealmView, Store

MS, S = 1_000_000, 1_000_000_000
BEAT = 100 * MS
NAMES = ("m0", "m1", "m2", "m3")


class Weather:
    """A store of four machines in two racks, the network, and a storm played over beats."""

    def __init__(self, *faults: dict[str, Any], seed: int = 1) -> None:
        component = {"version": "1.0.0", "signed_by": "vendor"}
        cluster = Cluster.model_validate(
            {
                "version": 1,
                "name": "weather",
                "profiles": {"std": {"pes": 4, "memory": "1GiB", "firmware": "base"}},
                "racks": {"r0": {"machines": {"std": 2}}, "r1": {"machines": {"std": 2}}},
                "firmware": {"releases": {"base": {"components": {"RMM": component}}}},
                "images": {"web": {}},
                "realms": {"web": {"image": "web"}},
                "faults": list(faults),
            }
        )
        self.store = Store(cluster, seed)
        for number, name in enumerate(NAMES):
            self.store.machines[name] = MachineView(name, f"r{number // 2}", "std", 4, 100, MachineState.ADMITTED)
        self.store.realms["web-001"] = RealmView("web-001", "web", 0, RealmState.SERVING, incarnation=1)
        self.store.bind(self.store.realms["web-001"], "m2")
        shape = LinkShape(1000)
        racks = {name: view.rack for name, view in self.store.machines.items()}
        self.links = Links(run_seed(seed), Topology(racks, shape, shape, shape))
        self.imposed: list[Rule] = []
        self.storm = Storm(cluster.faults, seed, self)
        self.strikes: list[Strike] = []

    def impose(self, rule: Rule, now_ns: int) -> None:
        self.imposed.append(rule)
        self.links.impose(rule, now_ns)

    def play(self, until_s: float, *, when_due: bool = True) -> Weather:
        due: int | None = 0
        for now_ns in range(0, round(until_s * S) + 1, BEAT):
            if when_due and (due is None or due > now_ns):
                continue
            self.store.now_ns = now_ns
            decision = self.storm.decide(self.store, now_ns)
            assert decision.orders == []
            assert all(strike.at_ns >= now_ns for strike in decision.strikes)
            self.strikes += decision.strikes
            due = decision.next_due_ns
        return self

    def told(self) -> list[tuple[int, Any]]:
        return [(note.at_ns, note.what) for note in sorted(self.store.notes, key=lambda note: note.at_ns)]


def fault(kind: str, at: str, during: str, **more: Any) -> dict[str, Any]:
    return {"fault": kind, "at": at, "for": during, **more}


def test_a_machine_fault_strikes_and_heals_at_its_exact_instants() -> None:
    played = Weather(fault("machine.freeze", "1.234s", "2s", select={"machine": "m1"})).play(10)
    at, until = 1234 * MS, 3234 * MS
    assert played.strikes == [
        Strike("m1", at, Inject(FaultKind.FREEZE)),
        Strike("m1", until, Heal(FaultKind.FREEZE)),
    ]
    assert played.told() == [
        (at, FaultInjected("fault-1", "machine.freeze", ("m1",), until)),
        (until, FaultHealed("fault-1", "machine.freeze", ("m1",))),
    ]
    assert played.storm.over


def test_calling_every_beat_and_only_when_due_is_the_same() -> None:
    faults = (
        fault("machine.freeze", "1.25s", "40ms", select={"count": 2}),
        fault("rmm.panic", "3s", "4s", select={"rack": "r1"}),
        fault("network.loss", "2s", "1s", between=[{"rack": "r0"}, "control"], loss="5%"),
    )
    lazy, busy = Weather(*faults).play(10), Weather(*faults).play(10, when_due=False)
    assert (lazy.strikes, lazy.told(), lazy.imposed) == (busy.strikes, busy.told(), busy.imposed)
    assert len(lazy.strikes) == 8


def test_the_draw_follows_from_seed_and_fault_alone() -> None:
    def drawn(seed: int, *before: dict[str, Any]) -> str:
        last = fault("machine.power-loss", "5s", "1s", select={"count": 1})
        return Weather(*before, last, seed=seed).play(9).strikes[-1].machine

    assert drawn(3) == drawn(3)
    assert len({drawn(seed) for seed in range(40)}) == len(NAMES)
    early = fault("machine.freeze", "1s", "1s", select={"count": 1})
    assert len({drawn(seed, early) for seed in range(40)}) == len(NAMES)


def test_a_drawn_fault_avoids_machines_in_another_fault() -> None:
    freeze = [fault("machine.freeze", "1s", "9s", select={"machine": name}) for name in ("m0", "m1", "m2")]
    assert Weather(*freeze, fault("rmm.panic", "2s", "1s", select={"count": 1})).play(4).strikes[-1].machine == "m3"


def test_the_machine_of_a_realm_is_the_one_at_the_instant_of_the_fault() -> None:
    weather = Weather(fault("machine.freeze", "2s", "1s", select={"realm": "web-001"}))
    weather.store.bind(weather.store.realms["web-001"], "m0")
    assert weather.play(5).strikes[0].machine == "m0"


def test_a_fault_that_means_nobody_or_is_there_already_is_skipped_and_says_why() -> None:
    weather = Weather(
        fault("machine.freeze", "1s", "1s", select={"realm": "web-001"}),
        fault("rmm.panic", "2s", "5s", select={"machine": "m1"}),
        fault("rmm.panic", "3s", "5s", select={"machine": "m1"}),
    )
    weather.store.unbind(weather.store.realms["web-001"])
    told = [what for _, what in weather.play(20).told()]
    assert told[0] == FaultSkipped("fault-1", "machine.freeze", "realm: web-001 means no machine now")
    assert told[2] == FaultSkipped("fault-3", "rmm.panic", "the same fault is in force there")
    assert [type(strike.body) for strike in weather.strikes] == [Inject, Heal]


def crosses(weather: Weather, source: str, target: str, at_ns: int, number: int = 1) -> bool:
    return weather.links.arrival_ns(Message(source, number, target, at_ns, None)) is not None


def test_a_partition_cuts_both_ways_from_its_first_to_its_last_nanosecond() -> None:
    cut = fault("network.partition", "1.5s", "2s", between=[{"rack": "r0"}, "control"])
    weather = Weather(cut).play(1.5)
    assert [what.peers for _, what in weather.told()] == [("control",)]
    for source, target in (("m0", "control"), ("control", "m1")):
        assert crosses(weather, source, target, 1500 * MS - 1)
        assert not crosses(weather, source, target, 1500 * MS)
        assert not crosses(weather, source, target, 3500 * MS - 1)
        assert crosses(weather, source, target, 3500 * MS)
    assert crosses(weather, "m2", "control", 2 * S)
    assert crosses(weather, "m0", "m1", 2 * S)


def test_a_one_way_fault_leaves_the_way_back() -> None:
    cut = fault("network.partition", "1s", "2s", between=["control", {"machine": "m0"}], one_way=True)
    weather = Weather(cut).play(2)
    assert not crosses(weather, "control", "m0", 2 * S)
    assert crosses(weather, "m0", "control", 2 * S)


def test_loss_and_delay_carry_their_amount() -> None:
    weather = Weather(
        fault("network.delay", "1s", "2s", between=[{"machine": "m0"}, "control"], delay="7ms"),
        fault("network.loss", "1s", "2s", between=[{"machine": "m1"}, "control"], loss="30%"),
    ).play(4)
    assert [what.amount for _, what in weather.told()[:2]] == [7 * MS, 300_000]
    shape_ns = 1000
    assert weather.links.arrival_ns(Message("m0", 1, "control", 2 * S, None)) == 2 * S + shape_ns + 7 * MS
    lost = sum(not crosses(weather, "m1", "control", 2 * S, number) for number in range(1000))
    assert 250 < lost < 350


@pytest.mark.parametrize("kind", [*FaultKind, *LinkKind])
def test_every_fault_kind_stands_in_the_catalogue_with_its_undo(kind: str) -> None:
    facts = CATALOGUE[kind]
    assert facts.does.endswith(".")
    assert facts.undo.endswith(".")
    assert facts.at_stake


def test_the_catalogue_holds_what_the_cluster_file_may_name_and_nothing_else() -> None:
    assert set(CATALOGUE) == {*get_args(MachineFaultKind), *get_args(LinkFaultKind)}
