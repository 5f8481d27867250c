"""Checkers of who executes where and when: at most one copy, none past its lease, all of them back after the storm."""

from __future__ import annotations

from cca_machine.commands import CONTROL
from orchestrator.chaos.catalogue import LinkKind
from orchestrator.chaos.history import Life, Line
from orchestrator.chaos.verdict import Case, Outcome, Verdict, Violations
from orchestrator.engine.instant import format_instant

SETTLED_PARTS = 10
"""A Realm has recovered when it serves at some instant of the last tenth of the time it is given: a planned pause of
milliseconds at the deadline is no failure, a Realm that served long ago and no more is one."""


def alive_once(case: Case) -> Verdict:
    """A Realm executes on at most one machine at any instant, over all its incarnations."""
    found = Violations()
    latest: dict[str, Life] = {}
    for life in case.lives:
        if life.until_ns == life.from_ns:
            continue
        before = latest.get(life.realm)
        if before is not None and before.lasts_at(life.from_ns):
            found.add(
                f"{_name(life)} runs on {life.machine} from {format_instant(life.from_ns)} "
                f"while {_name(before)} still runs on {before.machine}",
                before.began, life.began, before.ended,
            )  # fmt: skip
        if before is None or _ends(life) >= _ends(before):
            latest[life.realm] = life
    return found.verdict("alive-once", f"{len(latest)} Realms in {len(case.lives)} stretches, never two at once")


def _ends(life: Life) -> int:
    return 1 << 63 if life.until_ns is None else life.until_ns


def _name(life: Life) -> str:
    return f"{life.realm}#{life.incarnation}"


def lease_respected(case: Case) -> Verdict:
    """No Realm executes on a machine cut off from the control plane for longer than a lease.

    A lease granted in an order sent at s ends at s + lease, and nothing sent during a partition arrives; so behind a
    cut that began at c no host may run a Realm from c + lease until the cut heals.
    """
    facts = case.facts
    if not facts.leases:
        return Verdict("lease-respected", Outcome.UNKNOWN, "leases are turned off: there is nothing to respect")
    found, judged = Violations(), 0
    by_machine: dict[str, list[Life]] = {}
    for life in case.lives:
        by_machine.setdefault(life.machine, []).append(life)
    for cut in case.of("fault.injected"):
        over_ns = cut.at_ns + facts.lease_ns
        healed_ns = case.undone_ns(cut)
        for machine in _cut_off(cut):
            for life in by_machine.get(machine, ()):
                judged += 1
                if max(life.from_ns, over_ns) < min(_ends(life), healed_ns, facts.end_ns):
                    found.add(
                        f"{_name(life)} runs on {machine} after {format_instant(over_ns)}, when the last lease "
                        f"it could have had was over",
                        cut, life.began, life.ended,
                    )  # fmt: skip
    return found.verdict("lease-respected", f"{judged} stretches on machines that were cut off, none past its lease")


def _cut_off(cut: Line) -> list[str]:
    """Machines that orders of the control plane cannot reach under this fault."""
    what = cut.what
    if what["kind"] != LinkKind.PARTITION:
        return []
    if CONTROL in what["targets"]:
        return list(what["peers"])
    return list(what["targets"]) if CONTROL in what["peers"] and not what["one_way"] else []


def recovered(case: Case) -> Verdict:
    """Everything wanted serves again within the bound after the last fault healed (or the last Realm was asked for)."""
    name, facts = "recovered", case.facts
    wanted = _wanted(case)
    calm_ns, cause = _calm(case, wanted)
    if calm_ns > facts.end_ns:
        return Verdict(
            name, Outcome.UNKNOWN, "a fault is still in force at the end of the run", (cause,) if cause else ()
        )
    deadline_ns = min(calm_ns + facts.recover_within_ns, facts.end_ns)
    settled_ns = max(calm_ns, deadline_ns - facts.recover_within_ns // SETTLED_PARTS)
    serving = {life.realm for life in case.lives if life.serves_within(settled_ns, deadline_ns)}
    missing = [realm for realm in sorted(wanted) if realm not in serving]
    since = format_instant(calm_ns)
    if not missing:
        return Verdict(name, Outcome.PASS, f"all {len(wanted)} wanted Realms serve; calm since {since}")
    evidence = tuple(line for line in (cause, wanted[missing[0]]) if line is not None)
    told = f"{len(missing)} of {len(wanted)} wanted Realms do not serve, {missing[0]} first"
    if deadline_ns < calm_ns + facts.recover_within_ns:
        return Verdict(name, Outcome.UNKNOWN, f"{told}; the run ends before the bound (calm since {since})", evidence)
    return Verdict(name, Outcome.FAIL, f"{told}, at {format_instant(deadline_ns)} (calm since {since})", evidence)


def _wanted(case: Case) -> dict[str, Line]:
    """Realms that the control plane was asked to run and never to stop, with the line that first asked."""
    wanted: dict[str, Line] = {}
    for line in case.of("realm.wanted", "realm.state"):
        realm = line.what["realm"]
        if line.kind == "realm.wanted":
            wanted.setdefault(realm, line)
        elif line.what["state"] in ("stopping", "stopped"):
            wanted.pop(realm, None)
    return wanted


def _calm(case: Case, wanted: dict[str, Line]) -> tuple[int, Line | None]:
    """From when nothing disturbs any more, and the line that says so."""
    calm_ns, cause = 0, None
    for line in case.of("fault.injected"):
        if case.undone_ns(line) >= calm_ns:
            calm_ns, cause = case.undone_ns(line), line
    for line in wanted.values():
        if line.at_ns > calm_ns:
            calm_ns, cause = line.at_ns, line
    return calm_ns, cause
