"""Which moves would even out a fleet, or empty its least used machines, within a budget (modelled moves).

Load is what the Realms bound to a machine ask of its CPU, in parts per million of its PEs. Only what the rules of
admission allow is planned; limits of concurrent sessions do not count, because moves wait their turn.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from orchestrator.migration.admission import Admitted, Declined, admit
from orchestrator.store import MachineState, MachineView, MigrationRequest, RealmState, RealmView, Store

Goal = Literal["spread", "pack"]
PPM = 1_000_000
_SLOTS = frozenset({"sessions", "fleet-sessions"})


class Move(NamedTuple):
    """A Realm and the machine it should go to."""

    realm: str
    source: str
    target: str


def moves(store: Store, goal: Goal, budget: int) -> list[Move]:
    """At most `budget` moves: spread takes from the most loaded machine, pack empties the least loaded ones whole."""
    loads = {
        view.name: _load(view) for view in store.machines.values()
        if view.state is MachineState.ADMITTED and not view.cordons
    }  # fmt: skip
    return _spread(store, loads, budget) if goal == "spread" else _pack(store, loads, budget)


def _spread(store: Store, loads: dict[str, int], budget: int) -> list[Move]:
    planned: list[Move] = []
    while len(planned) < budget and len(loads) > 1:
        by_load = sorted(loads, key=lambda name: (loads[name], name))
        hot = by_load[-1]
        move = next((move for cool in by_load[:-1] if (move := _evening(store, loads, hot, cool, planned))), None)
        if move is None:
            break
        planned.append(move)
        _shift(store, loads, move)
    return planned


def _evening(store: Store, loads: dict[str, int], hot: str, cool: str, planned: list[Move]) -> Move | None:
    """The move between two machines that leaves them closest; None when none brings them closer."""
    best: tuple[int, str] | None = None
    for realm in _movable(store, hot, planned):
        gap = abs((loads[hot] - _weight(store, realm, hot)) - (loads[cool] + _weight(store, realm, cool)))
        if gap < loads[hot] - loads[cool] and (best is None or (gap, realm.name) < best) and _goes(store, realm, cool):
            best = (gap, realm.name)
    return None if best is None else Move(best[1], hot, cool)


def _pack(store: Store, loads: dict[str, int], budget: int) -> list[Move]:
    planned: list[Move] = []
    for source in sorted((name for name in loads if loads[name]), key=lambda name: (loads[name], name)):
        trial, whole = dict(loads), []
        for realm in _movable(store, source, planned):
            room = [name for name in trial if name != source and trial[name] + _weight(store, realm, name) <= PPM]
            fuller = sorted((name for name in room if trial[name] >= loads[source]), key=lambda name: -trial[name])
            target = next((name for name in fuller if _goes(store, realm, name)), None)
            if target is None:
                break
            whole.append(Move(realm.name, source, target))
            _shift(store, trial, whole[-1])
        residents = store.realms_on(source)
        if residents and len(whole) == len(residents) and len(planned) + len(whole) <= budget:
            planned += whole
            loads = {name: load for name, load in trial.items() if name != source}
    return planned


def _movable(store: Store, machine: str, planned: list[Move]) -> list[RealmView]:
    taken = {move.realm for move in planned}
    return [
        realm for realm in store.realms_on(machine) if realm.state is RealmState.SERVING and realm.name not in taken
    ]


def _goes(store: Store, realm: RealmView, target: str) -> bool:
    verdict = admit(store, MigrationRequest(realm.name, target, "rebalance", store.now_ns))
    return isinstance(verdict, Admitted) or (isinstance(verdict, Declined) and verdict.rule in _SLOTS)


def _shift(store: Store, loads: dict[str, int], move: Move) -> None:
    realm = store.realms[move.realm]
    loads[move.source] -= _weight(store, realm, move.source)
    loads[move.target] += _weight(store, realm, move.target)


def _load(machine: MachineView) -> int:
    return machine.demand_ppm // max(machine.pes, 1)


def _weight(store: Store, realm: RealmView, machine: str) -> int:
    kind = store.cluster.realms[realm.kind]
    return kind.vcpus * kind.workload.cpu // max(store.machines[machine].pes, 1)
