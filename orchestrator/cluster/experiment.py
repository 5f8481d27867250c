"""The experiment file: a hypothesis, what goes wrong, what limits it, and what must hold afterwards.

An experiment names a cluster file and adds faults to it. `expand` turns its method into the faults of one seed:
repeated steps become single faults, jitter is drawn from a named stream that the caller hands in, and a plan that names
what does not exist or strikes more than the blast radius allows is refused before anything runs. The three-valued
verdict is computed from the trace, elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from orchestrator.cluster import deeds
from orchestrator.cluster.check import check_cluster
from orchestrator.cluster.deeds import PlacedFault
from orchestrator.cluster.diagnostics import Finding, Path, Severity, path_text
from orchestrator.cluster.facts import Facts, gather
from orchestrator.cluster.quantities import LARGEST, PPM, Duration, Name, Share, format_duration, format_fraction
from orchestrator.cluster.schema import (
    Cluster,
    Fault,
    LinkFault,
    LinkFaultKind,
    MachineFault,
    MachineFaultKind,
    Record,
    Selector,
    Side,
    default,
)

Draw: TypeAlias = Callable[[str, int], int]
"""A named random stream: `draw(name, bound)` lies between 0 and bound - 1 and depends on seed, name and call number."""

MOST_FAULTS = 2_000
"""Faults that one method may expand to."""


class Expect(Record):
    """What a number must be; equals, or bounds."""

    equals: int | None = Field(None, description="Exactly this.")
    min: int | None = Field(None, description="At least this.")
    max: int | None = Field(None, description="At most this.")


class PropertyProbe(Record):
    """A checker that must pass over the whole trace."""

    name: Name = Field(description="Name in reports.")
    kind: Literal["property"] = Field("property", description="What is asked.")
    checker: Name = Field(description="Checker of the catalogue.")


class StateProbe(Record):
    """A number of the run's result (`realmfleet run --json`)."""

    name: Name = Field(description="Name in reports.")
    kind: Literal["state"] = Field("state", description="What is asked.")
    path: str = Field(
        min_length=1, max_length=100, description="Path into the run's result, as in attestations.refused."
    )
    expect: Expect = Field(description="What it must be.")


class Hypothesis(Record):
    """What is believed to hold although things go wrong."""

    title: str = Field(min_length=1, max_length=200, description="One sentence.")
    probes: list[Annotated[PropertyProbe | StateProbe, Field(discriminator="kind")]] = Field(
        default_factory=list, description="How it is judged; without probes only the checkers judge."
    )


class Step(Record):
    """When a step of the method strikes: once `at`, or `every` so often from `from` until `until`."""

    at: Duration | None = Field(None, description="When it begins; or give every and from.")
    every: Annotated[Duration, Field(gt=0)] | None = Field(None, description="Repeats at this interval.")
    begin: Duration | None = Field(None, alias="from", description="First time of a repeated step.")
    until: Duration | None = Field(None, description="No repetition starts later; default: when recovery begins.")
    jitter: Duration = default("0s", "Added to each start, drawn between zero and this.")
    during: Duration = Field(alias="for", gt=0, description="Lease of the fault; healed when it ends.")


class MachineStep(Step):
    """A fault inside machines, once or repeatedly."""

    fault: MachineFaultKind = Field(description="What strikes.")
    select: Selector = Field(description="Which machines it strikes.")


class LinkStep(Step):
    """A fault of the links between two groups, once or repeatedly."""

    fault: LinkFaultKind = Field(description="What strikes.")
    between: list[Side] = Field(min_length=2, max_length=2, description="The two ends: selectors, or control.")
    one_way: bool = Field(False, description="Only what goes from the first end to the second is struck.")
    loss: Share | None = Field(None, description="For network.loss: share of the messages lost.")
    delay: Duration | None = Field(None, description="For network.delay: added to the latency.")


class BlastRadius(Record):
    """The most that may be struck at any one time; a plan beyond it is refused."""

    machines: Share = default("100%", "Share of the fleet's machines.")
    racks: int | None = Field(None, ge=0, le=1_000_000, description="Racks with a struck machine; absent: any number.")


class Guards(Record):
    """Limits that are checked before anything runs."""

    blast_radius: BlastRadius = Field(BlastRadius(), description="The most that may be struck at any one time.")


class Condition(Record):
    """A number of the run's result (`realmfleet run --json`) and what it must be."""

    path: str = Field(
        min_length=1, max_length=100, description="Path into the run's result, as in attestations.refused."
    )
    expect: Expect = Field(description="What it must be.")


class Recovery(Record):
    """The quiet time at the end, in which no fault is on, and what must hold when it is over."""

    quiet: Duration = default("90s", "Time from the last healing to the end.")
    must: list[Condition] = Field(default_factory=list, description="What must hold at the end.")


class Experiment(Record):
    """One experiment on one fleet."""

    kind: Literal["experiment"] = Field(description="Tells an experiment from a cluster file.")
    version: Literal[1] = Field(description="Version of this format.")
    name: Name = Field(description="Name of the experiment, used in run directories and reports.")
    description: str = Field("", max_length=2000, description="What it shows, for reports.")
    fleet: str = Field(min_length=1, max_length=400, description="Path of the cluster file, from this file's folder.")
    seed: int | None = Field(None, ge=0, lt=2**64, description="Goes before the cluster file's seed.")
    duration: Annotated[Duration, Field(gt=0)] | None = Field(None, description="Goes before the cluster's duration.")
    hypothesis: Hypothesis = Field(description="What is believed to hold.")
    method: list[Annotated[MachineStep | LinkStep, Field(discriminator="fault")]] = Field(
        min_length=1, max_length=200, description="What goes wrong."
    )
    guards: Guards = Field(Guards(), description="Limits that are checked before anything runs.")
    recovery: Recovery = Field(Recovery(), description="The quiet end.")
    checkers: list[Name] = Field(default_factory=list, description="Checkers to run; none listed means all of them.")


# -- what can be asked without the fleet -----------------------------------------------------------------------------


def check_experiment(experiment: Experiment) -> list[Finding]:
    """Findings that need no fleet: times of steps, expectations, names given twice."""
    found = [*_twice(("hypothesis", "probes"), [probe.name for probe in experiment.hypothesis.probes], "name")]
    found += _twice(("checkers",), experiment.checkers, None)
    for index, step in enumerate(experiment.method):
        found += _timing(("method", index), step)
    for index, probe in enumerate(experiment.hypothesis.probes):
        if isinstance(probe, StateProbe):
            found += _expectation(("hypothesis", "probes", index, "expect"), probe.expect)
    for index, condition in enumerate(experiment.recovery.must):
        found += _expectation(("recovery", "must", index, "expect"), condition.expect)
    return found


def _twice(path: Path, names: Sequence[str], key: str | None) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            where = (*path, index) if key is None else (*path, index, key)
            yield Finding(where, f"'{name}' is listed twice", "names must differ")


def _expectation(path: Path, expect: Expect) -> Iterator[Finding]:
    if expect.equals is None and expect.min is None and expect.max is None:
        yield Finding(path, "expects nothing", "give equals, min or max")
    if expect.equals is not None and (expect.min is not None or expect.max is not None):
        yield Finding(path, "gives equals and a bound", "give either equals, or min and max")
    if expect.min is not None and expect.max is not None and expect.min > expect.max:
        yield Finding(path, f"min {expect.min} is above max {expect.max}", "exchange them")


def _timing(path: Path, step: MachineStep | LinkStep) -> Iterator[Finding]:
    if (step.at is None) == (step.every is None):
        yield Finding(path, "give either at, or every and from", "for example every: 45s, from: 2min")
    elif step.every is None:
        repeated = {"from": step.begin, "until": step.until}
        for key in (key for key, value in repeated.items() if value is not None):
            yield Finding((*path, key), f"{key} belongs to a repeated step", "give every instead of at", at="key")
    elif step.begin is None:
        yield Finding(path, "a repeated step needs from", "for example from: 2min")
    elif step.until is not None and step.until < step.begin:
        yield Finding((*path, "until"), f"before from ({format_duration(step.begin)})", "exchange them")
    drawn = isinstance(step, MachineStep) and step.select.count is not None
    if step.every is not None and step.every < step.during + step.jitter and not drawn:
        least = format_duration(step.during + step.jitter)
        message = "the next repetition may begin before this one is healed"
        yield Finding((*path, "every"), message, f"write at least {least} (for plus jitter), or select by count")


# -- the plan for one fleet and one seed -------------------------------------------------------------------------------


class PlanRefused(Exception):
    """An experiment that cannot run on its fleet; `findings` have paths into the experiment file."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(f"{path_text(finding.path)}: {finding.message}" for finding in findings))
        self.findings = findings


def staged(experiment: Experiment, cluster: Cluster, draw: Draw) -> Cluster:
    """The cluster with the experiment's seed, duration and faults; raises `PlanRefused` as `expand` does."""
    faults = expand(experiment, cluster, draw)
    together = sorted([*cluster.faults, *faults], key=lambda fault: fault.at)
    return _overridden(experiment, cluster).model_copy(update={"faults": together})


def _overridden(experiment: Experiment, cluster: Cluster) -> Cluster:
    given = {"seed": experiment.seed, "duration": experiment.duration}
    return cluster.model_copy(update={key: value for key, value in given.items() if value is not None})


def expand(experiment: Experiment, cluster: Cluster, draw: Draw) -> list[Fault]:
    """Faults of one seed in the order of their beginning; the cluster's own faults are not among them.

    `draw("chaos/<step>/<repetition>", bound)` gives each repetition's jitter. Raises `PlanRefused` when a fault names
    what the fleet has not, overlaps another on its target, leaves less quiet than `recovery.quiet`, or when faults
    that are on together strike more than `guards.blast_radius`.
    """
    effective = _overridden(experiment, cluster)
    facts = gather(effective)
    placed = list(_placed(experiment, effective.duration, draw))
    own: list[PlacedFault] = [(("fleet", "faults", index), fault) for index, fault in enumerate(cluster.faults)]
    findings = [*_fleet_fits(experiment, effective), *deeds.fault_findings(facts, own + placed)]
    findings += _quiet(experiment, effective.duration, placed)
    findings += _blast(experiment, facts, own + placed)
    errors = [finding for finding in dict.fromkeys(findings) if finding.severity is Severity.ERROR]
    if errors:
        raise PlanRefused(errors)
    return sorted((fault for _, fault in placed), key=lambda fault: fault.at)


def _placed(experiment: Experiment, duration_ns: int, draw: Draw) -> Iterator[PlacedFault]:
    quiet_from_ns = max(0, duration_ns - experiment.recovery.quiet)
    produced = 0
    for index, step in enumerate(experiment.method):
        for number, start_ns in enumerate(_starts(step, quiet_from_ns)):
            produced += 1
            if produced > MOST_FAULTS:
                message = f"the method expands to more than {MOST_FAULTS} faults"
                raise PlanRefused([Finding(("method", index), message, "repeat less often")])
            jitter_ns = draw(f"chaos/{index}/{number}", step.jitter + 1) if step.jitter else 0
            # beyond any end is refused later, in words
            yield ("method", index), _fault(step, min(start_ns + jitter_ns, LARGEST))


def _starts(step: MachineStep | LinkStep, quiet_from_ns: int) -> range:
    """Instants before jitter; an absent `until` leaves each repetition time to heal before the quiet begins."""
    if step.every is None:
        return range(step.at or 0, (step.at or 0) + 1)
    last_ns = quiet_from_ns - step.during - step.jitter if step.until is None else step.until
    return range(step.begin or 0, last_ns + 1, step.every)


def _fault(step: MachineStep | LinkStep, at_ns: int) -> Fault:
    common = {"fault": step.fault, "at": format_duration(at_ns), "for": format_duration(step.during)}
    if isinstance(step, MachineStep):
        return MachineFault.model_validate({**common, "select": step.select})
    rest = {"between": step.between, "one_way": step.one_way}
    fault = LinkFault.model_validate({**common, **rest})
    return fault.model_copy(update={"loss": step.loss, "delay": step.delay})


def _fleet_fits(experiment: Experiment, effective: Cluster) -> Iterator[Finding]:
    """With the experiment's duration the cluster must still make sense: its events may now come after the end."""
    if experiment.duration is not None:
        for finding in check_cluster(effective):
            if finding.severity is Severity.ERROR:
                message = f"the fleet no longer fits it: {path_text(finding.path)}: {finding.message}"
                yield Finding(("duration",), message, finding.hint)


def _quiet(experiment: Experiment, duration_ns: int, placed: Sequence[PlacedFault]) -> Iterator[Finding]:
    quiet_from_ns = duration_ns - experiment.recovery.quiet
    for path, fault in placed:
        healed_ns = fault.at + fault.during
        if healed_ns > quiet_from_ns:
            message = f"healed at {format_duration(healed_ns)}, inside the quiet end"
            hint = f"recovery.quiet begins at {format_duration(max(0, quiet_from_ns))}"
            yield Finding((*path, "for"), message, hint)


def _blast(experiment: Experiment, facts: Facts, placed: Sequence[PlacedFault]) -> Iterator[Finding]:
    """The first instant at which the faults that are on together strike more than the budget."""
    budget = experiment.guards.blast_radius
    fleet = len(facts.machines)
    for instant_ns in sorted({fault.at for _, fault in placed}):
        together = [(path, fault) for path, fault in placed if fault.at <= instant_ns < fault.at + fault.during]
        machines, racks = _reach(facts, [fault for _, fault in together])
        where = f"at {format_duration(instant_ns)} {', '.join(dict.fromkeys(path_text(path) for path, _ in together))}"
        path: Path = ("guards", "blast_radius")
        if machines * PPM > budget.machines * fleet:
            message = (
                f"{where} may strike {machines} of {fleet} machines; allowed are {format_fraction(budget.machines)}"
            )
            yield Finding((*path, "machines"), message, "strike fewer at a time, or raise the budget")
            return
        if budget.racks is not None and racks > budget.racks:
            message = f"{where} may strike machines in {racks} racks; allowed are {budget.racks}"
            yield Finding((*path, "racks"), message, "strike fewer at a time, or raise the budget")
            return


def _reach(facts: Facts, faults: Sequence[Fault]) -> tuple[int, int]:
    """Most machines and racks that these faults may strike; what is drawn at run time counts at its worst."""
    named: set[str] = set()
    drawn = 0
    for fault in faults:
        for side in (fault.select,) if isinstance(fault, MachineFault) else fault.between:
            machines = deeds.struck(facts, side)
            if machines is not None:
                named |= machines
            elif isinstance(side, Selector):
                drawn += side.count or 1
    racks = {facts.machines[name].rack for name in named if name in facts.machines}
    fleet_racks = len({place.rack for place in facts.machines.values()})
    return min(len(named) + drawn, len(facts.machines)), min(len(racks) + drawn, fleet_racks)
