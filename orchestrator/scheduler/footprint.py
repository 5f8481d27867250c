"""What a Realm costs a machine, before it is there: granules with all overhead, and CPU demand.

The count is an upper bound that follows from the shapes in DEN0137 1.0-rel0: one RD, one REC and its auxiliary granules
per vCPU, the data granules, and the RTTs that map them (512 entries of 8 bytes each per granule of table).
"""

from __future__ import annotations

from functools import lru_cache

from cca_machine.abi.rmi import MAX_REC_AUX_GRANULES
from orchestrator.cluster.schema import RealmKind
from orchestrator.store import RealmView, Store

GRANULE_BYTES = 4096
TABLE_ENTRIES = 512
STARTING_TABLES = 16
"""Most granules that the concatenated starting level of an RTT takes (DEN0137, section A5.5)."""
EDGE_TABLES = 4
"""Tables at the edges of the address space: image, device tree and shared windows do not share one with memory."""


@lru_cache(maxsize=4096)
def _granules(memory_bytes: int, vcpus: int) -> int:
    data = -(-memory_bytes // GRANULE_BYTES)
    tables, entries = STARTING_TABLES + EDGE_TABLES, data
    while entries > 1:
        entries = -(-entries // TABLE_ENTRIES)
        tables += entries
    return 1 + data + tables + vcpus * (1 + MAX_REC_AUX_GRANULES)


def granules(kind: RealmKind) -> int:
    """Granules that a Realm of this kind needs at most."""
    return _granules(kind.memory, kind.vcpus)


def granules_of(store: Store, realm: RealmView) -> int:
    """Granules that this Realm needs at most."""
    return granules(store.cluster.realms[realm.kind])


def demand_ppm(kind: RealmKind) -> int:
    """CPU demand of a Realm of this kind, in parts per million of one PE."""
    return kind.vcpus * kind.workload.cpu
