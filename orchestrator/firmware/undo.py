"""Taking a rollout back: which machines, to which release, and whether their security counters permit it.

A machine goes back to what it ran when the rollout took it. Where that cannot be, the reason is recorded and nothing is
done: a burnt counter, a revoked version, a release that the cluster file does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from orchestrator.cluster.schema import RolloutEvent
from orchestrator.firmware.phases import Phase
from orchestrator.firmware.update import Update
from orchestrator.store import Store

TOUCHED = frozenset({Phase.DONE, Phase.FAILED, Phase.ABSENT})


class WayBack(Struct, frozen=True):
    """Machines that go back together: to `release`, or not, and `refused` says why."""

    release: str
    machines: tuple[str, ...]
    refused: str


def level_of(event: RolloutEvent) -> str:
    """How much is taken back when the rollout holds; empty: nothing."""
    if isinstance(event.rollback, str):
        return event.rollback
    return "rollout" if event.rollback else ""


def concerned(event: RolloutEvent, wave: int, updates: Sequence[Update]) -> list[Update]:
    """Machines that are to go back: those that failed, those of the present wave, or all that were taken."""
    taken = [update for update in updates if update.phase in TOUCHED and update.version_before]
    match level_of(event):
        case "machine":
            return [update for update in taken if update.phase is Phase.FAILED]
        case "wave":
            return [update for update in taken if update.wave == wave]
        case "rollout":
            return taken
        case _:
            return []


def stuck(updates: Sequence[Update], store: Store) -> list[Update]:
    """Machines whose RMM is gone while the boot slot still holds what they ran before: a reset brings them back."""
    return [update for update in updates if update.lost_rmm and store.machines[update.machine].boot == update.boot]


def ways_back(event: RolloutEvent, updates: Sequence[Update], store: Store) -> list[WayBack]:
    """How the machines that run the release of `event` get back, one way per version that they came from."""
    release = store.cluster.firmware.releases[event.release].components[event.component]
    groups: dict[str, list[str]] = {}
    for update in updates:
        if store.machines[update.machine].versions.get(event.component) == release.version:
            groups.setdefault(update.version_before, []).append(update.machine)
    return [_way(event, version, tuple(machines), store) for version, machines in sorted(groups.items())]


def _way(event: RolloutEvent, version: str, machines: tuple[str, ...], store: Store) -> WayBack:
    name, releases = event.component, store.cluster.firmware.releases
    new = releases[event.release].components[name]
    holding = [key for key, release in releases.items() if _version(release.components.get(name)) == version]
    if not holding:
        return WayBack("", machines, f"no release holds {name} {version}")
    old = releases[holding[0]].components[name]
    if (name, version) in store.revoked_firmware:
        return WayBack(holding[0], machines, f"{name} {version} is revoked: nobody would trust a machine that runs it")
    if old.security_version < new.security_version:
        why = f"{name} {version} has security version {old.security_version}, and {new.security_version} is burnt"
        return WayBack(holding[0], machines, f"{why} wherever {new.version} ran: such a machine refuses it")
    return WayBack(holding[0], machines, "")


def _version(component: object) -> str:
    return getattr(component, "version", "")
