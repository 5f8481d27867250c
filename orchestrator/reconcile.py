"""What a changed cluster file asks of a fleet that runs: what can be done live, and what only a new run can change.

    reconcile(running, wanted, held)      every difference by path, each with a verdict; and the cluster to run on with

A difference is live when everything that reads it reads it anew (kinds, images, releases, placement rules, migration
and release policy). What machines were made from, and what the checkers will judge by, stays for the whole run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from orchestrator.cluster.schema import Cluster

Path = tuple[str, ...]

_ABOUT_THE_FILE: Final = frozenset({"name", "seed", "description", "duration"})
"""Keys that say nothing about a fleet that is there already."""
_PLACEMENT: Final = frozenset({"min_rmm", "spread"})
"""Keys of a kind that only count when a Realm is placed."""
_POLICY: Final = frozenset({"retries", "required_security_version"})
"""Keys of `attestation` that are asked anew for each Realm."""

_NEW_RUN: Final = "only a new run can change it"
_INSTEAD: Final = {
    "events": "what operators do is asked for now: `realmfleet rollout start`, `realm migrate`, `realm stop`",
    "faults": "a fault is injected now: `realmfleet fault inject`",
}


class Change(NamedTuple):
    """One difference: its path, the value here and there (None: absent), and why it cannot be made live, if so."""

    path: str
    was: Any
    to: Any
    refused: str = ""


class Reconciliation(NamedTuple):
    """What a changed file comes to: `cluster` is what the fleet runs on with, `counts` how many of each kind."""

    changes: tuple[Change, ...]
    counts: dict[str, int]
    cluster: Cluster

    @property
    def refused(self) -> list[str]:
        """Every change that cannot be made live, by name and with the reason."""
        return [f"{change.path}: {change.refused}" for change in self.changes if change.refused]


def reconcile(running: Cluster, wanted: Cluster, held: Mapping[str, int]) -> Reconciliation:
    """Compare the cluster that runs with a file that was checked; `held` are the wanted Realms of each kind now."""
    before, after = running.model_dump(by_alias=True), wanted.model_dump(by_alias=True)
    counts = {kind: wanted.realms[kind].count if kind in wanted.realms else 0 for kind in {**held, **wanted.realms}}
    changes = [_judged(path, was, to, running) for path, was, to in _differences(before, after)]
    changes += [
        Change(f"realms.{kind}.count", held[kind], count)
        for kind, count in counts.items()
        if kind in held and kind in wanted.realms and count != held[kind]
    ]
    merged = running.model_copy(
        update={
            "realms": {**running.realms, **wanted.realms},
            "images": {**running.images, **wanted.images},
            "firmware": running.firmware.model_copy(
                update={"releases": {**running.firmware.releases, **wanted.firmware.releases}}
            ),
            "attestation": wanted.attestation,
            "migration": wanted.migration,
        }
    )
    same = all(getattr(merged, key) == getattr(running, key) for key in type(running).model_fields)
    return Reconciliation(tuple(sorted(changes, key=_path)), counts, running if same else merged)


def sentences(changes: Iterable[Change]) -> Iterator[str]:
    """Each change in words, as it is shown to people."""
    for change in changes:
        if change.was is None:
            told = "new"
        elif change.to is None:
            told = "gone"
        else:
            told = f"{_short(change.was)} to {_short(change.to)}"
        yield f"{change.path}: {told}{f' (refused: {change.refused})' if change.refused else ''}"


def _short(value: Any) -> str:
    return str(value) if not isinstance(value, dict | list) else f"{len(value)} entries"


def _differences(was: Mapping[str, Any], to: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Deepest differing keys; lists are compared whole, and counts of kinds are told from what is held."""
    for key in {**was, **to}:
        here, one, other = (*path, key), was.get(key), to.get(key)
        if one == other or here[0] in _ABOUT_THE_FILE or (here[0] == "realms" and here[2:] == ("count",)):
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, here)
        else:
            yield here, one, other


def _path(change: Change) -> str:
    return change.path


def _judged(path: Path, was: Any, to: Any, running: Cluster) -> Change:
    judge = _RULES.get(path[0])
    refused = _INSTEAD.get(path[0], _NEW_RUN) if judge is None else judge(path[1:], was, to, running)
    return Change(".".join(path), was, to, refused)


def _realms(path: Path, was: Any, to: Any, running: Cluster) -> str:
    if len(path) == 1 or path[1] in _PLACEMENT:
        return ""
    return "Realms of this kind were made with it; describe another kind"


def _images(path: Path, was: Any, to: Any, running: Cluster) -> str:
    users = sorted(kind for kind, made in running.realms.items() if made.image == path[0])
    if len(path) == 1 or not users:
        return ""
    return f"Realms of {', '.join(users)} are made from it; give the new image another name"


def _firmware(path: Path, was: Any, to: Any, running: Cluster) -> str:
    if path[0] != "releases":
        return f"machines were made with it; {_NEW_RUN}"
    if len(path) == 2 and was is None:
        return ""
    return "it is signed and may run on machines; give the new release another name"


def _attestation(path: Path, was: Any, to: Any, running: Cluster) -> str:
    return "" if path[0] in _POLICY else _NEW_RUN


def _migration(path: Path, was: Any, to: Any, running: Cluster) -> str:
    return ""


_RULES: Final[dict[str, Callable[[Path, Any, Any, Cluster], str]]] = {
    "realms": _realms,
    "images": _images,
    "firmware": _firmware,
    "attestation": _attestation,
    "migration": _migration,
}
"""Why a difference under a top key cannot be made live, empty if it can; keys without a rule never can."""
