"""Failure conditions of commands on translation tables, primary and auxiliary."""

from __future__ import annotations

from cca_machine.abi.rmi import Ripas
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.rmm.conditions import RD, Check, Look, granule, wide
from cca_machine.rmm.edition_2_0 import tables
from cca_machine.rmm.edition_2_0.conditions.shared import REALM_IS_OPEN, aligned, outside
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    ASSIGNED,
    DRAINING,
    DRAINING_NS,
    KIND_MASK,
    PAGE_LEVEL,
    TABLE,
    UNASSIGNED_NS,
    Walk,
    address_of,
    folded,
    ripas_of,
    size,
)

LEVELS = (
    Check("level_bound_low", "the level is a root's, or above", lambda c: c.level <= c.realm.rtt_level_start),
    Check("level_bound_high", "there is no such level", lambda c: c.level > PAGE_LEVEL),
    Check("ipa_align", "ipa is not aligned to the entry above", lambda c: bool(c["ipa"] & size(c.level - 1) - 1)),
    outside("ipa"),
)

TREE = (
    Check("tree_pp", "planes of the Realm share one tree", lambda c: not c.realm.planes.tree_per_plane),
    Check("index_primary", "tree 0 is the primary one", lambda c: not c["index"]),
    Check("index_bound", "the Realm has no such tree", lambda c: c["index"] >= c.realm.planes.count),
)
PROTECTED = Check("ipa_protected", "ipa is not protected", lambda c: c["ipa"] >= c.realm.half)


def _tree(look: Look) -> int:
    return look.args.get("index", 0)


def _walk(look: Look, level: int) -> Walk:
    return look.core.walk_tree(look.realm, _tree(look), look["ipa"], level)


def _above(look: Look) -> Walk:
    return _walk(look, look.level - 1)


def _child(look: Look) -> int:
    return address_of(_above(look).entry)


WALK = Check("rtt_walk", "there is no table above", lambda c: _above(c).level < c.level - 1)
NO_TABLE = Check("rtte_state", "there is no table", lambda c: _above(c).entry & KIND_MASK != TABLE)
LIVE = Check("rtt_live", "the table still maps something", lambda c: bool(c.core.state.tables[_child(c)].live))
AUX_SHARED = Check(
    "aux_shared",
    "an auxiliary tree shares this part of the primary one",
    lambda c: tables.is_aux_referenced(c.core, c.realm, c["ipa"], c.level),
)
HOMOGENEOUS = Check(
    "rtt_homo", "the entries are not one block", lambda c: folded(c.core.state.tables[_child(c)]) is None
)


def _create(*tree: Check) -> tuple[Check, ...]:
    return (
        *RD,
        *granule("rtt", GranuleState.DELEGATED),
        *LEVELS,
        *tree,
        wide("rtt"),
        WALK,
        Check("rtte_state", "there is a table already", lambda c: _above(c).entry & KIND_MASK == TABLE),
        Check(
            "held",
            "a stateful operation holds the entry above",
            lambda c: _above(c).entry & KIND_MASK in (DRAINING, DRAINING_NS),
        ),
    )


def _primary(look: Look) -> Walk:
    return look.walk(PAGE_LEVEL)


def _not_ram(look: Look) -> bool:
    entry = _primary(look).entry
    return entry & KIND_MASK != ASSIGNED or ripas_of(entry) != Ripas.RAM


_PAGE = (
    aligned("ipa"),
    outside("ipa"),
)

_ROOT_RANGE = (
    *TREE,
    Check("ipa_unprotected", "ipa is protected", lambda c: c["ipa"] < c.realm.half),
    outside("ipa"),
    Check(
        "ipa_align", "ipa is not aligned to an entry of the root",
        lambda c: bool(c["ipa"] & size(c.realm.rtt_level_start) - 1),
    ),
)  # fmt: skip

TREES: dict[Rmi2, tuple[Check, ...]] = {
    Rmi2.RTT_CREATE: _create(),
    Rmi2.RTT_DESTROY: (*RD, *LEVELS, WALK, NO_TABLE, LIVE, AUX_SHARED),
    Rmi2.RTT_FOLD: (*RD, *LEVELS, WALK, NO_TABLE, AUX_SHARED, HOMOGENEOUS),
    Rmi2.RTT_READ_ENTRY: (
        *RD,
        Check("level_bound_low", "the level is above the roots", lambda c: c.level < c.realm.rtt_level_start),
        Check("level_bound_high", "there is no such level", lambda c: c.level > PAGE_LEVEL),
        Check("ipa_align", "ipa is not aligned to an entry", lambda c: bool(c["ipa"] & size(c.level) - 1)),
        outside("ipa"),
    ),
    Rmi2.RTT_AUX_CREATE: _create(*TREE, PROTECTED),
    Rmi2.RTT_AUX_DESTROY: (*RD, *LEVELS, *TREE, PROTECTED, WALK, NO_TABLE, LIVE),
    Rmi2.RTT_AUX_FOLD: (*RD, *LEVELS, *TREE, PROTECTED, WALK, NO_TABLE, HOMOGENEOUS),
    Rmi2.RTT_AUX_MAP_PROTECTED: (
        *RD,
        REALM_IS_OPEN,
        *_PAGE,
        *TREE,
        PROTECTED,
        Check("primary_state", "the primary tree does not map RAM there", _not_ram),
        Check(
            "aux_walk",
            "the auxiliary tree has no table of the primary mapping's level",
            lambda c: _walk(c, PAGE_LEVEL).level < _primary(c).level,
        ),
        Check(
            "aux_destroyed",
            "the auxiliary tree lost what it mapped there",
            lambda c: ripas_of(_walk(c, PAGE_LEVEL).entry) == Ripas.DESTROYED,
        ),
    ),
    Rmi2.RTT_AUX_UNMAP_PROTECTED: (
        *RD,
        *_PAGE,
        *TREE,
        PROTECTED,
        Check(
            "aux_state",
            "the auxiliary tree maps nothing there",
            lambda c: _walk(c, PAGE_LEVEL).entry & KIND_MASK != ASSIGNED,
        ),
    ),
    Rmi2.RTT_AUX_MAP_UNPROTECTED: (
        *RD,
        REALM_IS_OPEN,
        *_ROOT_RANGE,
        Check(
            "primary_state",
            "the primary tree shares nothing there",
            lambda c: c.walk(c.realm.rtt_level_start).entry & KIND_MASK == UNASSIGNED_NS,
        ),
    ),
    Rmi2.RTT_AUX_UNMAP_UNPROTECTED: (*RD, *_ROOT_RANGE),
}
