"""Filters: which machines could take a Realm at all, and why the others could not.

Each filter looks at one machine and returns a sentence of refusal, or an empty text. The first refusal counts; the
order goes from what is cheap and usual to what is rare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from orchestrator.cluster.editions import why_not
from orchestrator.cluster.schema import RealmKind
from orchestrator.scheduler import footprint
from orchestrator.store import MachineState, MachineView, Store, rack_key


class Wish(NamedTuple):
    """What is to be placed: a kind of Realm, and machines that must not take it."""

    kind: str
    excluded: tuple[str, ...] = ()


Filter: TypeAlias = Callable[[Store, MachineView, RealmKind, Wish], str]


def by_state(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """Only admitted machines take Realms."""
    return "" if machine.state is MachineState.ADMITTED else f"machine is {machine.state}"


def by_cordon(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """Nobody's cordon may stand."""
    if not machine.cordons:
        return ""
    return "; ".join(f"cordoned by {by}: {why}" for by, why in sorted(machine.cordons.items()))


def by_activity(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """A machine in firmware activity takes nothing new."""
    return f"firmware activity: {machine.activity}" if machine.activity else ""


def by_exclusion(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """A machine that just failed this Realm is not tried again."""
    return "refused this Realm, or evidence from it was refused" if machine.name in wish.excluded else ""


def by_report(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """Without a heartbeat nobody knows what is free."""
    return "no heartbeat yet" if machine.capacity is None else ""


def by_granules(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """Data, RTT, REC and auxiliary granules must all fit."""
    needed = footprint.granules(kind)
    free = 0 if machine.capacity is None else machine.capacity.granules
    return "" if needed <= free else f"needs {needed} granules, {max(free, 0)} free"


def by_vmids(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """Each Realm takes a VMID."""
    return "" if machine.capacity is not None and machine.capacity.vmids > 0 else "no VMID free"


def by_edition(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """What only RMM 2.0 has, and encryption contexts, must be there at all."""
    if kind.mec == "shared" and kind.hash != "sha-384" and kind.lfa == "allow":
        return ""
    return why_not(kind, store.cluster.profiles[machine.profile])


def by_mecids(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """A Realm with an encryption context of its own takes a MECID."""
    if kind.mec == "shared" or (machine.capacity is not None and machine.capacity.mecids > 0):
        return ""
    return "no MECID free for a private memory encryption context"


def by_pes(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """As many PEs as vCPUs, and room for their demand."""
    if kind.vcpus > machine.pes:
        return f"{kind.vcpus} vCPUs, {machine.pes} PEs"
    free = machine.pes * 1_000_000 - machine.demand_ppm
    needed = footprint.demand_ppm(kind)
    return "" if needed <= free else f"demands {needed} ppm of a PE, {max(free, 0)} free"


def by_firmware(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """The RMM must not be older than the kind's floor."""
    if kind.min_rmm is None:
        return ""
    running = machine.versions.get("RMM", "")
    if running and version_key(running) >= version_key(kind.min_rmm):
        return ""
    return f"RMM {running or 'unknown'} is older than {kind.min_rmm}"


def by_affinity(store: Store, machine: MachineView, kind: RealmKind, wish: Wish) -> str:
    """Realms of a spread kind keep apart, by machine or by rack."""
    if kind.spread == "machine" and store.kinds_on.get((wish.kind, machine.name), 0):
        return f"already holds a Realm of kind {wish.kind}"
    if kind.spread == "rack" and store.kinds_on.get((wish.kind, rack_key(machine.rack)), 0):
        return f"rack {machine.rack} already holds a Realm of kind {wish.kind}"
    return ""


FILTERS: tuple[tuple[str, Filter], ...] = (
    ("state", by_state),
    ("cordon", by_cordon),
    ("activity", by_activity),
    ("excluded", by_exclusion),
    ("report", by_report),
    ("affinity", by_affinity),
    ("granules", by_granules),
    ("vmids", by_vmids),
    ("edition", by_edition),
    ("mecids", by_mecids),
    ("pes", by_pes),
    ("firmware", by_firmware),
)


class Refusal(NamedTuple):
    """The first filter that refused a machine, and its sentence."""

    filter: str
    why: str


def refusal(store: Store, machine: MachineView, wish: Wish) -> Refusal | None:
    """Why `machine` cannot take the wish; None when it can."""
    kind = store.cluster.realms[wish.kind]
    for name, look in FILTERS:
        why = look(store, machine, kind, wish)
        if why:
            return Refusal(name, why)
    return None


def version_key(version: str) -> tuple[int, ...]:
    """Order of versions such as 1.10.2: by number, not by text."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())
