"""A score of one's own: fill machines up, so that others stay empty and may be switched off. What does it cost?

    python docs/examples/custom_score.py

The scheduler's filters stay in force (memory, VMIDs, spread rules); a score only ranks what passed them. It must be
made of whole numbers and depend on nothing but what it is given, or the run would not repeat.
"""

from orchestrator import open_fleet


def packed(machine, kind, store):
    """The more Realms a machine has, the better."""
    return {"residents": len(machine.residents)}


def try_out(name, score):
    with open_fleet("clusters/small.yaml", score=score, out=f"runs/score-{name}", replace=True) as fleet:
        fleet.until(lambda fleet: fleet.realms.states == {"serving": 9})
        empty = len(fleet.machines.where(realms=0))
        busiest = max(fleet.machines, key=lambda machine: len(machine.realms))
        with fleet.fault("machine.power-loss", machine=busiest):
            fleet.advance("30s")
        lost = fleet.finish(after="3min").realms["downtime_s"].sum()
    print(f"{name:<9} {empty} machines empty, {lost:6.1f} Realm-seconds lost with the busiest machine")


if __name__ == "__main__":
    try_out("built-in", None)
    try_out("packed", packed)
