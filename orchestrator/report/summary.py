"""The numbers of a run, computed from its trace alone: what `realmfleet run --json` prints and the table shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from cca_machine.pod import WALK, PodStep
from orchestrator.chaos.history import Line, Readable, read
from orchestrator.chaos.verdict import Facts
from orchestrator.report.availability import Gap, Service, service

PPM = 1_000_000
LISTED = 20
"""Gaps that the summary lists one by one, the longest first; the rest is in the counts and the trace."""


class Attestations(Struct, frozen=True):
    """Verdicts over evidence."""

    passed: int
    refused: int


class Availability(Struct, frozen=True):
    """Served share of wanted Realm-time: `ppm` is rounded down, None when nothing was wanted; `percent` is its text."""

    ppm: int | None
    percent: str
    wanted_ns: int
    served_ns: int


class Spread(Struct, frozen=True):
    """Durations in milliseconds, by nearest rank: half of the events took at most `median_ms`, 99 in 100 `p99_ms`."""

    events: int
    median_ms: float
    p99_ms: float
    max_ms: float
    total_ms: float


class ListedGap(Struct, frozen=True):
    """One of the longest stretches in which a wanted Realm did not serve."""

    realm: str
    cause: str
    at_s: float
    duration_ms: float
    machine: str
    open: bool


class Pods(Struct, frozen=True):
    """Confidential pods: starts of workloads, and attempts that were stopped, by the step at which they were."""

    started: int
    stopped: int
    stopped_by_step: dict[str, int]


class RolloutSummary(Struct, frozen=True):
    """One rollout: `state` is running, waiting, held or finished; `duration_s` is None until one of the latter two."""

    rollout: str
    release: str
    state: str
    duration_s: float | None
    waves: int
    done: int
    failed: int
    why: str = ""


class Summary(Struct, frozen=True):
    """What happened in a run. Counts are of events in the trace; `realms_running` serve at the end of the run.

    `requests_served` counts up to where each copy of a Realm last stood still: what a copy has served since then is not
    in the trace. `downtime` has one spread for all events and one by cause; bring-ups are apart, as nothing was down.
    """

    machines: int
    realms_wanted: int
    realms_running: int
    attestations: Attestations
    platform_attestations: Attestations
    availability: Availability
    bring_up: Spread
    downtime: Spread
    downtime_by_cause: dict[str, Spread]
    downtime_longest: tuple[ListedGap, ...]
    migrations: int
    migrations_failed: int
    activations: int
    activations_refused: int
    activation_pause: Spread
    rollouts: tuple[RolloutSummary, ...]
    faults: int
    faults_by_kind: dict[str, int]
    machines_lost: int
    realm_restarts: int
    secrets_released: int
    pods: Pods
    requests_served: int


def summarise(lines: Iterable[Readable], facts: Facts) -> Summary:
    """Compute the summary of a trace; only `facts.end_ns`, the instant at which the run ended, is needed besides."""
    trace = read(lines)
    served = service(trace, facts.end_ns)
    count = Counter(line.kind for line in trace)
    outages = [gap for gap in served.gaps if gap.cause != "bring-up"]
    causes = sorted({gap.cause for gap in outages})
    injected = Counter(line.what["kind"] for line in trace if line.kind == "fault.injected")
    moved = [line.what["outcome"] == "moved" for line in trace if line.kind == "migration.finished"]
    return Summary(
        machines=len({line.source for line in trace if line.kind == "machine.booted"}),
        realms_wanted=len({line.what["realm"] for line in trace if line.kind == "realm.wanted"}),
        realms_running=len(served.serving_at_end),
        attestations=_attestations(line.what["passed"] for line in trace if line.kind == "realm.verdict"),
        platform_attestations=_platforms(trace),
        availability=_availability(served),
        bring_up=spread(gap.duration_ns for gap in served.gaps if gap.cause == "bring-up"),
        downtime=spread(gap.duration_ns for gap in outages),
        downtime_by_cause={
            str(cause): spread(gap.duration_ns for gap in outages if gap.cause == cause) for cause in causes
        },
        downtime_longest=_longest(outages),
        migrations=sum(moved),
        migrations_failed=len(moved) - sum(moved),
        activations=count["firmware.activated"],
        activations_refused=count["firmware.refused"],
        activation_pause=spread(line.what["pause_ns"] for line in trace if line.kind == "firmware.activated"),
        rollouts=_rollouts(trace),
        faults=sum(injected.values()),
        faults_by_kind=dict(sorted(injected.items())),
        machines_lost=_losses(trace),
        realm_restarts=count["realm.restart"],
        secrets_released=count["secret.released"],
        pods=_pods(trace),
        requests_served=_requests(trace),
    )


def spread(durations_ns: Iterable[int]) -> Spread:
    """Spread of durations in ns by nearest rank; all zero when there are none."""
    ranked = sorted(durations_ns)
    if not ranked:
        return Spread(0, 0.0, 0.0, 0.0, 0.0)
    return Spread(
        events=len(ranked),
        median_ms=_ms(_nearest_rank(ranked, 50)),
        p99_ms=_ms(_nearest_rank(ranked, 99)),
        max_ms=_ms(ranked[-1]),
        total_ms=_ms(sum(ranked)),
    )


def _nearest_rank(ranked: Sequence[int], percent: int) -> int:
    return ranked[-(-len(ranked) * percent // 100) - 1]


def _ms(duration_ns: int) -> float:
    """Milliseconds with microseconds behind the point, rounded half up."""
    return (duration_ns + 500) // 1000 / 1000


def _attestations(passed: Iterable[bool]) -> Attestations:
    verdicts = Counter(passed)
    return Attestations(verdicts[True], verdicts[False])


def _platforms(trace: Sequence[Line]) -> Attestations:
    admitted = sum(line.kind == "machine.admitted" and line.what["vouched"] for line in trace)
    return Attestations(admitted, sum(line.kind == "machine.distrusted" for line in trace))


def _availability(served: Service) -> Availability:
    if served.wanted_ns == 0:
        return Availability(None, "", 0, 0)
    ppm = served.served_ns * PPM // served.wanted_ns
    return Availability(ppm, f"{ppm // 10_000}.{ppm % 10_000:04d}", served.wanted_ns, served.served_ns)


def _longest(gaps: Sequence[Gap]) -> tuple[ListedGap, ...]:
    ordered = sorted(gaps, key=lambda gap: (-gap.duration_ns, gap.from_ns, gap.realm))[:LISTED]
    return tuple(
        ListedGap(gap.realm, gap.cause, gap.from_ns // 1000 / 1_000_000, _ms(gap.duration_ns), gap.machine, gap.open)
        for gap in ordered
    )


def _rollouts(trace: Sequence[Line]) -> tuple[RolloutSummary, ...]:
    found = []
    for start in (line for line in trace if line.kind == "rollout.started"):
        own = [line for line in trace if line.what.get("rollout") == start.what["rollout"]]
        state, ended, why = "running", None, ""
        for line in own:
            if line.kind in ("rollout.held", "rollout.finished"):
                state, ended, why = line.kind.removeprefix("rollout."), line, line.what.get("why", "")
            elif line.kind in ("rollout.waiting", "wave.started"):
                state = "waiting" if line.kind == "rollout.waiting" else "running"
        phases = {line.what["machine"]: line.what["phase"] for line in own if line.kind == "rollout.machine"}
        duration_s = None if ended is None else (ended.at_ns - start.at_ns) // 1_000_000 / 1000
        found.append(
            RolloutSummary(
                rollout=start.what["rollout"],
                release=start.what["release"],
                state=state,
                duration_s=duration_s,
                waves=sum(line.kind == "wave.started" for line in own),
                done=list(phases.values()).count("done"),
                failed=list(phases.values()).count("failed"),
                why=why,
            )
        )
    return tuple(found)


def _losses(trace: Sequence[Line]) -> int:
    """Times that a machine was lost; the reset of a machine whose RMM had failed is no second loss."""
    lost: set[str] = set()
    losses = 0
    for line in trace:
        if line.kind == "machine.lost":
            losses += line.source not in lost
            lost.add(line.source)
        elif line.kind == "machine.booted":
            lost.discard(line.source)
    return losses


def _pods(trace: Sequence[Line]) -> Pods:
    stopped = Counter(line.what["step"] for line in trace if line.kind == "pod.refused")
    started = sum(line.kind == "pod.step" and line.what["step"] == PodStep.WORKLOAD for line in trace)
    return Pods(started, sum(stopped.values()), {row.step: stopped[row.step] for row in WALK if stopped[row.step]})


def _requests(trace: Sequence[Line]) -> int:
    """Last count of each copy: (machine, Realm, incarnation)."""
    last = {(line.source, *line.incarnation): line.what["served"] for line in trace if line.kind == "realm.still"}
    return sum(last.values())
