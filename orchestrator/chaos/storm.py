"""Faults of the cluster file or of an experiment, played at their instants: strikes on machines, rules on links.

The storm stands beside the controllers because it acts at the same boundaries, but it tells them nothing: what it does
reaches a machine as a `Strike` or the network as a `Rule`, and the trace as a record. Selectors are resolved at the
boundary of the beat in which the fault begins; the fault itself begins and ends at its exact instant.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from cca_machine.commands import CONTROL, FaultKind, Heal, Inject
from orchestrator.chaos.catalogue import LinkKind
from orchestrator.chaos.records import FaultHealed, FaultInjected, FaultSkipped
from orchestrator.chaos.select import Topology, resolve
from orchestrator.cluster.schema import Fault, LinkFault, MachineFault, Selector
from orchestrator.controller import Decision
from orchestrator.engine.links import Delay, Drop, Lose, Rule, Verdict
from orchestrator.engine.ports import Delivery, Strike
from orchestrator.engine.streams import Stream, run_seed
from orchestrator.store import Store


class LinkRules(Protocol):
    """Where rules of the network go: `orchestrator.engine.links.Links`."""

    def impose(self, rule: Rule, now_ns: int) -> None:
        """Add a rule behind those in force."""
        ...

    def lift(self, name: str, at_ns: int) -> None:
        """End the rules of this name at `at_ns` (virtual ns)."""
        ...


class Deed(Struct, frozen=True):
    """One fault of the schedule under the name by which the trace knows it; `healed_ns` if it is healed early."""

    name: str
    fault: Fault
    healed_ns: int | None = None

    @property
    def at_ns(self) -> int:
        return self.fault.at

    @property
    def until_ns(self) -> int:
        return self.fault.at + self.fault.during if self.healed_ns is None else self.healed_ns


class InForce(Struct, frozen=True):
    """A fault that has begun, on the machines it was resolved to."""

    deed: Deed
    targets: tuple[str, ...]
    peers: tuple[str, ...] = ()


def schedule(faults: Sequence[Fault]) -> list[Deed]:
    """Faults by instant, named by their place in the file (`fault-1` is the first one written)."""
    deeds = [Deed(f"fault-{number}", fault) for number, fault in enumerate(faults, 1)]
    return sorted(deeds, key=lambda deed: deed.at_ns)


class Storm:
    """The chaos controller: plays a schedule and undoes everything that it began."""

    name = "chaos"

    def __init__(self, faults: Sequence[Fault], seed: int, links: LinkRules) -> None:
        self._seed = run_seed(seed)
        self._links = links
        self._coming = schedule(faults)
        self._in_force: list[InForce] = []
        self._named = len(self._coming)

    @property
    def over(self) -> bool:
        """Whether everything has been done and undone."""
        return not self._coming and not self._in_force

    @property
    def coming(self) -> tuple[Deed, ...]:
        """Faults that have not begun, by instant."""
        return tuple(self._coming)

    @property
    def in_force(self) -> tuple[InForce, ...]:
        """Faults that have begun and are not undone, by beginning."""
        return tuple(self._in_force)

    def add(self, fault: Fault) -> str:
        """Put a fault on the schedule, at the present boundary or later; returns the name the trace will know."""
        self._named += 1
        deed = Deed(f"fault-{self._named}", fault)
        insort(self._coming, deed, key=lambda deed: deed.at_ns)
        return deed.name

    def heal(self, name: str, now_ns: int) -> bool:
        """Undo a fault in force from `now_ns` on (virtual ns); False if no fault of that name is in force."""
        for place, fault in enumerate(self._in_force):
            if fault.deed.name == name:
                self._in_force[place] = replace(fault, deed=replace(fault.deed, healed_ns=now_ns))
                self._links.lift(name, now_ns)
                return True
        return False

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Chaos does not listen."""

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Begin and heal what falls into the beat that starts now."""
        decision = Decision()
        beat = store.cluster.control.beat
        while self._coming and self._coming[0].at_ns < now_ns + beat:
            deed = self._coming.pop(0)
            self._begin(deed, store, decision)
        self._heal(store, now_ns + beat, decision)
        instants = [deed.at_ns for deed in self._coming[:1]] + [fault.deed.until_ns for fault in self._in_force]
        for instant in instants:
            decision.due(instant // beat * beat)
        return decision

    # -- beginning -----------------------------------------------------------------------------------------------------

    def _begin(self, deed: Deed, store: Store, decision: Decision) -> None:
        topology = _topology(store)
        if isinstance(deed.fault, MachineFault):
            self._strike(deed, deed.fault, topology, store, decision)
        else:
            self._cut(deed, deed.fault, topology, store)

    def _strike(self, deed: Deed, fault: MachineFault, topology: Topology, store: Store, decision: Decision) -> None:
        meant = self._resolve(deed, "select", fault.select, topology)
        already = self._struck(fault.fault, deed.at_ns)
        targets = tuple(machine for machine in meant if machine not in already)
        if not targets:
            why = "the same fault is in force there" if meant else f"{_said(fault.select)} means no machine now"
            store.note(FaultSkipped(deed.name, fault.fault, why), deed.at_ns)
            return
        kind = FaultKind(fault.fault)
        decision.strikes += [Strike(machine, max(deed.at_ns, store.now_ns), Inject(kind)) for machine in targets]
        store.note(FaultInjected(deed.name, fault.fault, targets, deed.until_ns), deed.at_ns)
        self._in_force.append(InForce(deed, targets))

    def _cut(self, deed: Deed, fault: LinkFault, topology: Topology, store: Store) -> None:
        left, right = (self._end(deed, place, topology, fault) for place in (0, 1))
        if not left or not right:
            missing = fault.between[0 if not left else 1]
            why = f"{_said(missing)} means no machine now" if isinstance(missing, Selector) else "nobody is there"
            store.note(FaultSkipped(deed.name, fault.fault, why), deed.at_ns)
            return
        verdict, amount = _verdict(fault)
        ways = [("out", left, right)] if fault.one_way else [("out", left, right), ("in", right, left)]
        for way, sources, targets in ways:
            rule = Rule(f"{deed.name}/{way}", sources, targets, deed.at_ns, deed.until_ns, verdict)
            self._links.impose(rule, store.now_ns)
        record = FaultInjected(deed.name, fault.fault, left, deed.until_ns, right, fault.one_way, amount)
        store.note(record, deed.at_ns)
        self._in_force.append(InForce(deed, left, right))

    def _end(self, deed: Deed, place: int, topology: Topology, fault: LinkFault) -> tuple[str, ...]:
        end = fault.between[place]
        return self._resolve(deed, f"between-{place}", end, topology) if isinstance(end, Selector) else (CONTROL,)

    def _resolve(self, deed: Deed, use: str, selector: Selector, topology: Topology) -> tuple[str, ...]:
        stream = Stream.named(self._seed, "chaos", deed.name, use)
        return resolve(selector, topology, self._struck(None, deed.at_ns), stream)

    def _struck(self, kind: str | None, at_ns: int) -> frozenset[str]:
        """Machines in a fault (of `kind`, if one is named) that still holds at `at_ns`."""
        return frozenset(
            machine
            for fault in self._in_force
            if fault.deed.until_ns > at_ns and kind in (None, fault.deed.fault.fault)
            for machine in (*fault.targets, *fault.peers)
        )

    # -- undoing -------------------------------------------------------------------------------------------------------

    def _heal(self, store: Store, before_ns: int, decision: Decision) -> None:
        """Undo, latest begun first, what ends before `before_ns`; link rules end by themselves."""
        for fault in [fault for fault in reversed(self._in_force) if fault.deed.until_ns < before_ns]:
            deed = fault.deed
            if isinstance(deed.fault, MachineFault):
                heal = Heal(FaultKind(deed.fault.fault))
                decision.strikes += [Strike(machine, deed.until_ns, heal) for machine in fault.targets]
            store.note(FaultHealed(deed.name, deed.fault.fault, fault.targets, fault.peers), deed.until_ns)
            self._in_force.remove(fault)


def _topology(store: Store) -> Topology:
    racks = {name: view.rack for name, view in store.machines.items()}
    return Topology(racks, {name: realm.machine for name, realm in store.realms.items() if realm.hosted})


def _verdict(fault: LinkFault) -> tuple[Verdict, int]:
    """What the rule says, and its amount for the record."""
    kind = LinkKind(fault.fault)
    if kind is LinkKind.LOSS:
        return Lose(fault.loss or 0), fault.loss or 0
    if kind is LinkKind.DELAY:
        return Delay(fault.delay or 0), fault.delay or 0
    return Drop(), 0


def _said(selector: Selector) -> str:
    """The selector as its author wrote it."""
    return ", ".join(f"{key}: {value}" for key, value in selector.model_dump(exclude_none=True).items()) or "everything"
