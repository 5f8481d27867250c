"""Whether events and faults can happen: they name what exists, come before the end, and do not undo each other.

`fault_findings` serves cluster files and experiments alike: it takes faults with the path each came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.cluster.diagnostics import Finding, Path, Severity, path_text
from orchestrator.cluster.facts import Facts, unknown_name
from orchestrator.cluster.quantities import format_duration
from orchestrator.cluster.schema import (
    DrainEvent,
    Fault,
    LinkFault,
    MachineFault,
    MigrateEvent,
    RebalanceEvent,
    RevokeEvent,
    RolloutEvent,
    Selector,
    Side,
    SteerEvent,
)

PlacedFault = tuple[Path, Fault]
"""A fault and where it stands in its file."""


def events(facts: Facts) -> Iterator[Finding]:
    """Events name Realms and machines that exist and happen before the end."""
    for index, event in enumerate(facts.cluster.events):
        path: Path = ("events", index)
        yield from _before_the_end(facts, (*path, "at"), event.at)
        if isinstance(event, RolloutEvent | SteerEvent | RevokeEvent | RebalanceEvent):
            continue
        if isinstance(event, DrainEvent):
            yield from _drained(facts, path, event)
            continue
        yield from _realm_exists(facts, (*path, "realm"), event.realm)
        if isinstance(event, MigrateEvent) and event.to is not None and event.to not in facts.machines:
            yield unknown_name((*path, "to"), "machine", event.to, list(facts.machines))
        kind = facts.cluster.realms.get(facts.realms.get(event.realm, ""))
        if kind is not None and event.at < kind.start_at:
            message = f"'{event.realm}' is first wanted at {format_duration(kind.start_at)}"
            yield Finding((*path, "at"), message, "the event will find nothing to act on", Severity.WARNING)


def _drained(facts: Facts, path: Path, event: DrainEvent) -> Iterator[Finding]:
    """A drain names one machine or one rack that exists, and not the whole fleet."""
    if (event.machine is None) == (event.rack is None):
        yield Finding(path, "give either machine or rack", "for example rack: r1")
    elif event.machine is not None and event.machine not in facts.machines:
        yield unknown_name((*path, "machine"), "machine", event.machine, list(facts.machines))
    elif event.rack is not None and event.rack not in facts.cluster.racks:
        yield unknown_name((*path, "rack"), "rack", event.rack, list(facts.cluster.racks))
    elif event.rack is not None and len(facts.cluster.racks) == 1:
        yield Finding((*path, "rack"), "there is no other rack to go to", "drain a machine instead")


def starts(facts: Facts) -> Iterator[Finding]:
    """Every kind is wanted at some time of the run."""
    for name, kind in facts.cluster.realms.items():
        yield from _before_the_end(facts, ("realms", name, "start_at"), kind.start_at)


def arrivals(facts: Facts) -> Iterator[Finding]:
    """Arrival processes name kinds, begin before the run ends, and take no kind's name."""
    cluster = facts.cluster
    for name, process in cluster.arrivals.items():
        path: Path = ("arrivals", name)
        for kind in process.kinds:
            if kind not in cluster.realms:
                yield unknown_name((*path, "kinds", kind), "kind", kind, list(cluster.realms), at_key=True)
        if name in cluster.realms:
            message = f"a kind is called '{name}' already, so two Realms could have one name"
            yield Finding(path, message, "rename the process", at="key")
        if process.lifetimes and not any(part.share for part in process.lifetimes):
            yield Finding((*path, "lifetimes"), "no part has a share", "give at least one a share above 0%")
        yield from _before_the_end(facts, (*path, "start_at"), process.start_at)
        if process.until is not None and process.until <= process.start_at:
            yield Finding((*path, "until"), "ends before it begins", "write a later instant")


def _before_the_end(facts: Facts, path: Path, at_ns: int) -> Iterator[Finding]:
    if at_ns >= facts.end_ns:
        end = format_duration(facts.end_ns)
        yield Finding(path, f"{format_duration(at_ns)} is not before the end", f"the run ends at {end} (duration)")


def _realm_exists(facts: Facts, path: Path, realm: str) -> Iterator[Finding]:
    if realm not in facts.realms:
        yield unknown_name(path, "Realm", realm, list(facts.realms))


def faults(facts: Facts) -> Iterator[Finding]:
    """The file's own faults."""
    placed: list[PlacedFault] = [(("faults", index), fault) for index, fault in enumerate(facts.cluster.faults)]
    yield from fault_findings(facts, placed)


def fault_findings(facts: Facts, placed: Sequence[PlacedFault]) -> Iterator[Finding]:
    """Selectors name one thing that exists, parameters fit the kind, times fit the run, no target is struck twice."""
    for path, fault in placed:
        yield from _before_the_end(facts, (*path, "at"), fault.at)
        if isinstance(fault, MachineFault):
            yield from _selector(facts, (*path, "select"), fault.select)
        else:
            yield from _link(facts, path, fault)
        yield from _heals_in_time(facts, path, fault)
    yield from _overlaps(facts, placed)


def _selector(facts: Facts, path: Path, selector: Selector) -> Iterator[Finding]:
    given = [key for key in ("machine", "rack", "realm", "count") if getattr(selector, key) is not None]
    if len(given) != 1:
        message = "selects nothing" if not given else f"selects by {' and '.join(given)} at once"
        yield Finding(path, message, "give exactly one of machine, rack, realm and count")
    if selector.machine is not None and selector.machine not in facts.machines:
        yield unknown_name((*path, "machine"), "machine", selector.machine, list(facts.machines))
    if selector.rack is not None and selector.rack not in facts.cluster.racks:
        yield unknown_name((*path, "rack"), "rack", selector.rack, list(facts.cluster.racks))
    if selector.realm is not None:
        yield from _realm_exists(facts, (*path, "realm"), selector.realm)
    if selector.count is not None and selector.count > len(facts.machines):
        message = f"{selector.count} are more machines than there are"
        yield Finding((*path, "count"), message, f"the fleet has {len(facts.machines)}")


def _link(facts: Facts, path: Path, fault: LinkFault) -> Iterator[Finding]:
    for index, side in enumerate(fault.between):
        if isinstance(side, Selector):
            yield from _selector(facts, (*path, "between", index), side)
    if fault.between[0] == fault.between[1] and not _is_drawn(fault.between[0]):
        yield Finding((*path, "between"), "both ends are the same", "name two ends, one may be control")
    wanted = {"network.loss": "loss", "network.delay": "delay"}.get(fault.fault)
    for key in ("loss", "delay"):
        value = getattr(fault, key)
        if key == wanted and not value:
            example = {"loss": "5%", "delay": "20ms"}[key]
            yield Finding((*path, key), f"{fault.fault} needs {key} above 0", f"for example {key}: {example}")
        if key != wanted and value is not None:
            yield Finding((*path, key), f"{key} means nothing to {fault.fault}", f"use network.{key}", at="key")


def _is_drawn(side: Side) -> bool:
    return isinstance(side, Selector) and side.count is not None


def _heals_in_time(facts: Facts, path: Path, fault: Fault) -> Iterator[Finding]:
    healed_ns, end = fault.at + fault.during, format_duration(facts.end_ns)
    if fault.at >= facts.end_ns:
        return
    if healed_ns > facts.end_ns:
        yield Finding((*path, "for"), "the run ends before this heals", f"it ends at {end}", Severity.WARNING)
    elif healed_ns + facts.cluster.recover_within > facts.end_ns:
        bound = format_duration(facts.cluster.recover_within)
        message = f"healed at {format_duration(healed_ns)}, less than recover_within ({bound}) before the end"
        yield Finding((*path, "for"), message, "recovery from it cannot be judged", Severity.WARNING)


def struck(facts: Facts, side: Side) -> frozenset[str] | None:
    """Machines a selector names; None when they are only known at run time (realm, count); none for control."""
    if not isinstance(side, Selector):
        return frozenset()
    if side.machine is not None:
        return frozenset((side.machine,))
    return facts.racks.get(side.rack, frozenset()) if side.rack is not None else None


def _same_target(facts: Facts, one: Fault, other: Fault) -> bool:
    if isinstance(one, MachineFault) and isinstance(other, MachineFault):
        if one.select.realm is not None and one.select == other.select:
            return True
        mine, theirs = struck(facts, one.select), struck(facts, other.select)
        return mine is not None and theirs is not None and bool(mine & theirs)
    if isinstance(one, LinkFault) and isinstance(other, LinkFault):
        swapped = not (one.one_way or other.one_way) and one.between == other.between[::-1]
        drawn = any(_is_drawn(side) for side in one.between)
        return (one.between == other.between or swapped) and not drawn
    return False


def _overlaps(facts: Facts, placed: Sequence[PlacedFault]) -> Iterator[Finding]:
    """Faults of one kind on one target must not overlap: the first to heal would undo the other."""
    ordered = sorted(enumerate(placed), key=lambda item: (item[1][1].at, item[0]))
    for position, (_, (first_path, first)) in enumerate(ordered):
        for _, (path, fault) in ordered[position + 1 :]:
            if fault.at >= first.at + first.during:
                break
            if fault.fault == first.fault and _same_target(facts, first, fault):
                message = f"{fault.fault} is still on there until {format_duration(first.at + first.during)}"
                hint = f"it overlaps {path_text(first_path)}; start later or strike elsewhere"
                yield Finding((*path, "at"), message, hint)
