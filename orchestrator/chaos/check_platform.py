"""Checkers of machines: no granule in two Realms, firmware that only goes forward, canary before everybody else."""

from __future__ import annotations

from bisect import bisect_left, insort

from orchestrator.chaos.history import Line
from orchestrator.chaos.verdict import Case, Verdict, Violations

GRANULE_BYTES = 4096


class _Held:
    """Granules of one machine that belong to Realms: disjoint extents (begin, end, owner) in address order."""

    def __init__(self) -> None:
        self.extents: list[tuple[int, int, str, int]] = []
        self.built: dict[tuple[str, int], Line] = {}

    def take(self, line: Line) -> tuple[str, int] | None:
        """Give the line's Realm its granules; the owner of an overlapping extent, if there is one."""
        realm, incarnation = line.incarnation
        clash = None
        for base, count in line.what["granules"]:
            begin, end = base, base + count * GRANULE_BYTES
            place = bisect_left(self.extents, (begin,))
            for other in self.extents[max(place - 1, 0) : place + 1]:
                if other[0] < end and begin < other[1]:
                    clash = clash or (other[2], other[3])
            insort(self.extents, (begin, end, realm, incarnation))
        self.built[realm, incarnation] = line
        return clash

    def give_back(self, name: tuple[str, int]) -> None:
        if self.built.pop(name, None) is not None:
            self.extents = [extent for extent in self.extents if (extent[2], extent[3]) != name]


def granule_exclusive(case: Case) -> Verdict:
    """No granule of a machine is in two Realms at once: from building until destruction or the loss of the machine."""
    found, machines = Violations(), dict[str, _Held]()
    count = 0
    for line in case.of("realm.built", "realm.destroyed", "machine.lost", "machine.booted"):
        held = machines.setdefault(line.source, _Held())
        if line.kind == "realm.destroyed":
            held.give_back(line.incarnation)
        elif line.kind == "realm.built":
            count += 1
            clash = held.take(line)
            if clash is not None:
                realm, incarnation = line.incarnation
                what = f"{realm}#{incarnation} holds granules of {clash[0]}#{clash[1]} on {line.source}"
                found.add(what, held.built.get(clash), line)
        else:
            del machines[line.source]
    return found.verdict("granule-exclusive", f"{count} Realms were built on {len(machines)} machines, all apart")


def firmware_monotonic(case: Case) -> Verdict:
    """A machine activates only what an accepted signer signed, and its security version never falls, boots included."""
    found = Violations()
    newest: dict[tuple[str, str], Line] = {}
    activations = case.of("firmware.activated", "firmware.booted")
    for line in activations:
        what = line.what
        named = f"{what['component']} {what['version']} on {line.source}"
        signers = case.facts.signers
        if not what["signer"] or (signers and what["signer"] not in signers):
            found.add(f"{named} was activated and no accepted signer signed it", line)
        before = newest.get((line.source, what["component"]))
        if before is not None and what["security_version"] < before.what["security_version"]:
            fall = f"{before.what['security_version']} to {what['security_version']}"
            found.add(f"{named} took the security version down from {fall}", before, line)
        else:
            newest[line.source, what["component"]] = line
    return found.verdict("firmware-monotonic", f"{len(activations)} activations, all signed, none backwards")


def rollout_canary(case: Case) -> Verdict:
    """While a rollout is under way, machines activate its firmware in their wave only, and waves follow one another."""
    found = Violations()
    rollout: Line | None = None
    open_wave: Line | None = None
    taken: set[str] = set()
    count = 0
    kinds = ("rollout.started", "rollout.held", "rollout.finished", "wave.started", "wave.finished")
    for line in case.of(*kinds, "firmware.activated", "firmware.booted"):
        if line.kind == "rollout.started":
            rollout, open_wave, taken = line, None, set()
        elif line.kind == "wave.started":
            if open_wave is not None:
                found.add(f"wave {line.what['wave']} started before the one before it ended", open_wave, line)
            open_wave = line
            taken |= set(line.what["machines"])
        elif line.kind == "wave.finished":
            open_wave = None
        elif line.kind not in ("firmware.activated", "firmware.booted"):
            rollout = None if line.kind == "rollout.finished" else rollout
        elif rollout is not None and line.what["component"] == rollout.what["component"]:
            count += 1
            if line.source not in taken:
                found.add(f"{line.source} activated {line.what['version']} before a wave took it", open_wave, line)
    return found.verdict("rollout-canary", f"{count} activations, each in its wave")
