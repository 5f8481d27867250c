"""Firmware versions over time, and rollouts: waves, how the fleet came to the release, who was exposed meanwhile."""

from __future__ import annotations

from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.gather.rollouts import SHARES, Rollout
from orchestrator.report.page import charts, words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, chip, el, section, table
from orchestrator.report.page.palette import series

STATES = {"finished": "good", "held": "bad", "aborting": "warn", "paused": "warn", "waiting": "warn", "running": "info"}

ANSWERS = {"pass": "good", "fail": "bad", "inconclusive": "warn"}


def firmware(gathered: Gathering, facts: ReportFacts) -> Markup:
    """Machines that are up, by the version they run."""
    found = gathered.versions
    parts: list[Child] = []
    for component in found.changing():
        versions = found.machines[component]
        layers = [(series(place), steps.points()) for place, steps in enumerate(versions.values())]
        label = f"Machines that are up by version of {component} over time: {', '.join(versions)}."
        named = [(series(place), f"{component} {version}") for place, version in enumerate(versions)]
        parts += [el("h3", component), charts.stacked(layers, gathered.end_ns, label), charts.legend(named)]
    fixed = [
        f"{component} {', '.join(found.machines[component])}"
        for component in sorted(found.machines)
        if component not in found.changing()
    ]
    if fixed:
        parts.append(el("p", f"Unchanged: {', '.join(fixed)}.", class_="note"))
    if found.activated or found.booted:
        pause = f", all PEs still for {words.duration(found.pauses.longest_ns)} at most" if found.activated else ""
        booted = f"; {words.plural(found.booted, 'image')} first run by a reboot" if found.booted else ""
        parts.append(el("p", f"{words.plural(found.activated, 'live activation')}{pause}{booted}."))
    if found.refused:
        rows: list[list[Child]] = [
            [step, el("code", status), count] for (step, status), count in sorted(found.refused.items())
        ]
        parts += [
            el("h3", "Refused"),
            table(("step", "status", "times"), rows, numbers=(2,), caption="Refused firmware"),
        ]
    lead = "How many machines ran which version, as they themselves say it; a machine that is lost runs none."
    return section("firmware", "Firmware over time", parts or el("p", "No machine booted.", class_="empty"), lead=lead)


def rollouts(gathered: Gathering, facts: ReportFacts) -> Markup | None:
    """One part per rollout; nothing if there was none."""
    if not gathered.rollouts.all:
        return None
    lead = (
        "Exposure is Realm-time on machines that did not yet run what the rollout brings. Downtime by the update "
        "counts activations, migrations and reboots from its beginning on; what faults cost meanwhile stands apart."
    )
    return section(
        "rollouts", "Rollouts", [_rollout(gathered, rollout) for rollout in gathered.rollouts.all], lead=lead
    )


def _rollout(gathered: Gathering, rollout: Rollout) -> Child:
    took = words.duration(rollout.until_ns - rollout.from_ns) if rollout.until_ns is not None else "not ended"
    reached = [
        (
            f"{share} % of machines after",
            words.duration(rollout.reached_ns[share]) if share in rollout.reached_ns else "never",
        )
        for share in SHARES
    ]
    pairs = (
        ("Machines", f"{rollout.updated:,} of {rollout.machines:,} run it"),
        ("Took", took),
        *reached,
        ("Exposure", f"{rollout.exposed_ns / 3.6e12:,.3f} Realm-hours"),
        ("Downtime by the update", f"{rollout.downtime_ns / 1e9:,.3f} Realm-seconds"),
        ("Downtime by faults meanwhile", f"{rollout.downtime_faults_ns / 1e9:,.1f} Realm-seconds"),
        ("Migrations, restarts meanwhile", f"{rollout.migrations:,}, {rollout.restarts:,}"),
    )
    heading = el(
        "h3",
        f"{rollout.rollout}: {rollout.release} ({rollout.component} {rollout.version}) ",
        chip(rollout.state, STATES.get(rollout.state, "")),
    )
    facts = el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs], class_="facts")
    return el(
        "div",
        heading,
        el("p", rollout.why) if rollout.why else None,
        facts,
        _picture(gathered, rollout),
        _waves(rollout),
        _gates(rollout),
        _events(rollout),
        id=f"rollout-{rollout.rollout}",
    )


def _picture(gathered: Gathering, rollout: Rollout) -> Child:
    """Machines that run the release and Realms that are exposed, over the time of the rollout."""
    assert rollout.progress is not None
    assert rollout.exposed is not None
    until_ns = rollout.until_ns if rollout.until_ns is not None else gathered.end_ns
    span_ns = max((until_ns - rollout.from_ns) * 12 // 10, 1)
    height, top = 200, 12
    bottom = height - charts.FLOOR

    def own(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(at_ns - rollout.from_ns, value) for at_ns, value in points if at_ns - rollout.from_ns <= span_ns]

    progress, exposed = own(rollout.progress.points()), own(rollout.exposed.points())
    most = max((value for _, value in exposed), default=0) or 1
    bands = []
    for wave in rollout.waves:
        wave_until_ns = until_ns if wave.until_ns is None else wave.until_ns
        x, to = (
            charts.across(wave.from_ns - rollout.from_ns, span_ns),
            charts.across(wave_until_ns - rollout.from_ns, span_ns),
        )
        bands.append(
            el("rect", x=x, y=top, width=f"{max(float(to) - float(x), 1):.1f}", height=bottom - top, class_="wave")
        )
        bands.append(el("text", f"wave {wave.number}", x=float(x) + 4, y=top + 12))
    label = (
        f"Machines on {rollout.component} {rollout.version} from 0 to {rollout.updated} of {rollout.machines}, and "
        f"exposed Realms from {most} to {exposed[-1][1] if exposed else 0}, over the time of the rollout."
    )
    drawn = charts.frame(
        height,
        label,
        charts.value_axis(rollout.machines, top, bottom),
        charts.time_axis(span_ns, top, bottom),
        *bands,
        charts.area(exposed, span_ns, most, top, bottom, "exposed"),
        charts.curve(progress, span_ns, rollout.machines, top, bottom, "progress"),
    )
    legend = charts.legend(
        [
            ("var(--good)", f"machines on {rollout.version} (axis)"),
            ("var(--bad)", f"exposed Realms, at most {most:,}"),
            ("var(--info)", "waves, bake included"),
        ]
    )
    return [drawn, legend]


def _waves(rollout: Rollout) -> Child:
    if not rollout.waves:
        return el("p", "No wave was started.", class_="empty")
    rows: list[list[Child]] = []
    for wave in rollout.waves:
        ended = (
            chip("not ended", "warn") if wave.until_ns is None else chip("baked", "good" if not wave.failed else "warn")
        )
        took = "" if wave.until_ns is None else words.duration(wave.until_ns - wave.from_ns)
        name = (
            f"{wave.number}{' (canary)' if wave.number == 1 else ''}{', machines that are back' if wave.retry else ''}"
        )
        rows.append([name, words.clock(wave.from_ns), wave.machines, took, wave.done, wave.failed, wave.absent, ended])
    heads = ("wave", "from", "machines", "took", "done", "failed", "absent", "gate")
    return table(
        heads, rows, numbers=(2, 3, 4, 5, 6), caption=f"Waves of {rollout.rollout}; planned were {rollout.planned}"
    )


def _gates(rollout: Rollout) -> Child:
    """What each gate of each wave answered last."""
    if not rollout.gates:
        return None
    rows: list[list[Child]] = [
        [
            str(one.wave),
            el("code", one.gate),
            chip(one.answer, ANSWERS.get(one.answer, "warn")),
            words.clock(one.at_ns),
            one.why,
        ]
        for one in rollout.gates.values()
    ]
    heads = ("wave", "gate", "answer", "at", "why")
    return [el("h3", "Gates"), table(heads, rows, caption=f"Gates of {rollout.rollout}")]


def _events(rollout: Rollout) -> Child:
    assert rollout.events is not None
    told: list[Child] = [el("li", el("time", words.clock(at_ns)), text) for at_ns, text in rollout.events.kept]
    told += [el("li", el("b", machine), f" {why}") for machine, why in rollout.failures.items()]
    return el("ul", told, class_="plain") if told else None
