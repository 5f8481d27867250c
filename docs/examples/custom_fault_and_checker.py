"""A fault and a checker of one's own, ten lines each.

    python docs/examples/custom_fault_and_checker.py

The fault is made of faults of the catalogue, each journaled, so the run replays without this file. The checker is a
pure function of the trace, so it can judge runs of last week as well.
"""

from orchestrator import Fault, Violations, open_fleet

MINUTE_NS = 60_000_000_000


def brownout(fleet, rack):
    """Half of a rack freezes; the other half answers the control plane late and loses a fifth of its messages."""
    for place, machine in enumerate(fleet.machines.where(rack=rack)):
        if place % 2 == 0:
            yield Fault("machine.freeze", machine=machine)
        else:
            yield Fault("network.delay", between=(machine, "control"), delay="300ms")
            yield Fault("network.loss", between=(machine, "control"), loss="20%")


def noticed_within_a_minute(case):
    """A frozen machine is suspect to the control plane within a minute."""
    found = Violations()
    suspicions = {line.what["machine"]: line for line in reversed(case.of("machine.suspect"))}
    for line in case.of("machine.frozen"):
        suspicion = suspicions.get(line.source)
        if suspicion is None or suspicion.at_ns - line.at_ns > MINUTE_NS:
            found.add(f"{line.source} froze and nobody noticed", line, suspicion)
    return found.verdict("noticed-within-a-minute", f"{len(case.of('machine.frozen'))} freezes, all noticed")


if __name__ == "__main__":
    with open_fleet("clusters/small.yaml", seed=7, checkers=[noticed_within_a_minute]) as fleet:
        fleet.until(lambda fleet: fleet.realms.states == {"serving": 9})
        with fleet.fault(brownout, rack="r2"):
            fleet.advance("45s")
        results = fleet.finish(after="3min")
    for verdict in results.verdicts.values():
        print(f"{verdict.outcome:<8} {verdict.name:<26} {verdict.detail}")
    print(results.repeat)
