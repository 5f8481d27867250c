"""RMI 2.0: translation tables, primary and auxiliary."""

from __future__ import annotations

from spec_door import PAGE
from spec_door_2_0 import BUSY, INPUT, REALM, Door2, desc, rtt, rtt_aux
from spec_rows_2_0 import (
    BLOCK,
    GATE,
    HALF,
    RD,
    WIDTH,
    Arguments,
    Row,
    add,
    conditions,
    group,
    held,
    put,
    realm_with_tables,
    terminated,
)

from cca_machine.abi.rmi2 import Rmi2

GIB = 1 << 30


def _planes(door: Door2, ipa: int = 0) -> int:
    """A NEW Realm with a tree per plane, tables and a page of RAM at 0 in the primary one."""
    rd = door.realm(num_aux_planes=1, flags1=1)
    door.tables(rd, ipa)
    if not ipa:
        door.data(rd, 0)
    return rd


def _aux_tables(door: Door2) -> int:
    rd = _planes(door)
    door.tables(rd, 0, tree=1)
    return rd


def _live(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_DATA_MAP, args["rd"], 0, PAGE, 1, desc(door.delegated()))


def _aux_live(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, args["rd"], 0, 1)


def _made_already(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_CREATE, args["rd"], door.delegated(), 0, 2)


def _aux_made_already(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_AUX_CREATE, args["rd"], door.delegated(), 0, 2, 1)


def _held_block(door: Door2, args: Arguments) -> None:
    """A stateful operation holds the level 2 entry of a 2 MiB block; the call is for a table below it."""
    door.ok(Rmi2.RTT_CREATE, args["rd"], door.delegated(), 0, 2)
    pages = door.delegated(512, BLOCK)
    door.hardware.pes[0].irq_after = 1
    assert door.call(Rmi2.RTT_DATA_MAP, args["rd"], 0, BLOCK, 1, desc(pages, 1, 2))[0] == 0x00D
    door.hardware.pes[0].irq_after = -1
    args["level"] = 3


def _shared_part(door: Door2, args: Arguments) -> None:
    """An auxiliary tree shares what the primary root says of the unprotected part, where the call's table is."""
    rd = _planes(door, HALF)
    door.ok(Rmi2.RTT_AUX_MAP_UNPROTECTED, rd, HALF, 1)
    args.update(rd=rd, ipa=HALF)


def _one_tree(door: Door2, args: Arguments) -> None:
    args["rd"] = realm_with_tables(door)


def _folded_aux(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_AUX_FOLD, args["rd"], 0, 3, 1)


def _destroyed_aux(door: Door2, args: Arguments) -> None:
    """The auxiliary tree's own table below the level 2 entry was destroyed and made again."""
    door.ok(Rmi2.RTT_AUX_DESTROY, args["rd"], 0, 3, 1)
    door.ok(Rmi2.RTT_AUX_CREATE, args["rd"], door.delegated(), 0, 3, 1)


LEVELS = conditions(
    level_bound_low=(INPUT, put("level", 1)),
    level_bound_high=(INPUT, put("level", 4)),
    ipa_align=(INPUT, add("ipa", PAGE)),
    ipa_bound=(INPUT, put("ipa", WIDTH)),
)
TREE = conditions(
    tree_pp=(INPUT, _one_tree),
    index_primary=(INPUT, put("index", 0)),
    index_bound=(INPUT, put("index", 2)),
)
PROTECTED = conditions(ipa_protected=(INPUT, put("ipa", HALF)))
LEVEL_FREE = (
    frozenset(("level_bound_low", "level_bound_high")),
    frozenset(("ipa_bound", "ipa_protected", "rtt_walk", "rtte_state")),
    *(frozenset((one, two)) for one in ("level_bound_low", "level_bound_high") for two in ("rtt_walk", "held")),
)
REALM_FREE = tuple(
    frozenset((one, two)) for one in ("tree_pp", "aux_shared") for two in ("rtt_live", "rtt_homo", "rtte_state", "held")
)
"""These choose another Realm."""


ROWS: tuple[Row, ...] = (
    Row(
        Rmi2.RTT_CREATE,
        lambda door: {"rd": door.realm(), "rtt": door.delegated(), "ipa": 0, "level": 2},
        {**GATE, **RD, **group("rtt", delegated=False), **LEVELS, **conditions(
            rtt_walk=(rtt(1), put("level", 3)),
            rtte_state=(rtt(1), _made_already),
            held=(BUSY, _held_block),
        )},
        (*LEVEL_FREE, frozenset(("rtte_state", "held")), frozenset(("rtt_walk", "held")),
         frozenset(("ipa_align", "rtt_walk"))),
    ),
    Row(
        Rmi2.RTT_DESTROY,
        lambda door: {"rd": realm_with_tables(door), "ipa": 0, "level": 3},
        {**GATE, **RD, **LEVELS, **conditions(
            rtt_walk=(rtt(1), put("ipa", GIB)),
            rtte_state=(rtt(2), put("ipa", BLOCK)),
            rtt_live=(rtt(3), _live),
            aux_shared=(rtt(2), _shared_part),
        )},
        (*LEVEL_FREE, *REALM_FREE, frozenset(("aux_shared", "rtt_walk"))),
    ),
    Row(
        Rmi2.RTT_FOLD,
        lambda door: {"rd": realm_with_tables(door), "ipa": 0, "level": 3},
        {**GATE, **RD, **LEVELS, **conditions(
            rtt_walk=(rtt(1), put("ipa", GIB)),
            rtte_state=(rtt(2), put("ipa", BLOCK)),
            aux_shared=(rtt(2), _shared_part),
            rtt_homo=(rtt(3), _live),
            rtt_homo_held=(rtt(3), held),
        )},
        (*LEVEL_FREE, *REALM_FREE, frozenset(("aux_shared", "rtt_walk")), frozenset(("aux_shared", "rtt_homo_held")),
         frozenset(("rtt_homo", "rtt_homo_held"))),
    ),
    Row(
        Rmi2.RTT_READ_ENTRY,
        lambda door: {"rd": realm_with_tables(door), "ipa": 0, "level": 3},
        {**GATE, **RD, **conditions(
            level_bound_low=(INPUT, put("level", 0)),
            level_bound_high=(INPUT, put("level", 4)),
            ipa_align=(INPUT, add("ipa", 8)),
            ipa_bound=(INPUT, put("ipa", WIDTH)),
        )},
        (frozenset(("level_bound_low", "level_bound_high")),),
    ),
    Row(
        Rmi2.RTT_AUX_CREATE,
        lambda door: {"rd": _planes(door), "rtt": door.delegated(), "ipa": 0, "level": 2, "index": 1},
        {**GATE, **RD, **group("rtt", delegated=False), **LEVELS, **TREE, **PROTECTED, **conditions(
            rtt_walk=(rtt_aux(1), put("level", 3)),
            rtte_state=(rtt_aux(1), _aux_made_already),
        )},
        (*LEVEL_FREE, *REALM_FREE, frozenset(("ipa_align", "rtt_walk")), frozenset(("index_primary", "index_bound"))),
    ),
    Row(
        Rmi2.RTT_AUX_DESTROY,
        lambda door: {"rd": _aux_tables(door), "ipa": 0, "level": 3, "index": 1},
        {**GATE, **RD, **LEVELS, **TREE, **PROTECTED, **conditions(
            rtt_walk=(rtt_aux(1), put("ipa", GIB)),
            rtte_state=(rtt_aux(2), put("ipa", BLOCK)),
            rtt_live=(rtt_aux(3), _aux_live),
        )},
        (*LEVEL_FREE, *REALM_FREE, frozenset(("index_primary", "index_bound"))),
    ),
    Row(
        Rmi2.RTT_AUX_FOLD,
        lambda door: {"rd": _aux_tables(door), "ipa": 0, "level": 3, "index": 1},
        {**GATE, **RD, **LEVELS, **TREE, **PROTECTED, **conditions(
            rtt_walk=(rtt_aux(1), put("ipa", GIB)),
            rtte_state=(rtt_aux(2), put("ipa", BLOCK)),
            rtt_homo=(rtt_aux(3), _aux_live),
        )},
        (*LEVEL_FREE, *REALM_FREE, frozenset(("index_primary", "index_bound"))),
    ),
    Row(
        Rmi2.RTT_AUX_MAP_PROTECTED,
        lambda door: {"rd": _aux_tables(door), "ipa": 0, "index": 1},
        {**GATE, **RD, **TREE, **PROTECTED, **conditions(
            realm_state=(REALM, terminated),
            ipa_align=(INPUT, add("ipa", 8)),
            ipa_bound=(INPUT, put("ipa", WIDTH)),
            primary_state=(rtt(3), put("ipa", PAGE)),
            aux_walk=(rtt_aux(2), _folded_aux),
            aux_destroyed=(rtt_aux(3), _destroyed_aux),
        )},
        (
            frozenset(("index_primary", "index_bound")), frozenset(("ipa_bound", "ipa_protected", "primary_state")),
            frozenset(("aux_walk", "aux_destroyed")),
            *(frozenset((one, "tree_pp")) for one in ("aux_walk", "aux_destroyed")),
        ),
    ),
    Row(
        Rmi2.RTT_AUX_UNMAP_PROTECTED,
        lambda door: {"rd": (rd := _aux_tables(door)), "ipa": 0, "index": 1,
                      "x": door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, rd, 0, 1)[0]},
        {**GATE, **RD, **TREE, **PROTECTED, **conditions(
            ipa_align=(INPUT, add("ipa", 8)),
            ipa_bound=(INPUT, put("ipa", WIDTH)),
            aux_state=(rtt_aux(3), put("ipa", PAGE)),
        )},
        (frozenset(("index_primary", "index_bound")), frozenset(("ipa_bound", "ipa_protected", "aux_state"))),
    ),
    Row(
        Rmi2.RTT_AUX_MAP_UNPROTECTED,
        lambda door: {"rd": _planes(door, HALF), "ipa": HALF, "index": 1},
        {**GATE, **RD, **TREE, **conditions(
            realm_state=(REALM, terminated),
            ipa_unprotected=(INPUT, put("ipa", 0)),
            ipa_bound=(INPUT, put("ipa", WIDTH)),
            ipa_align=(INPUT, add("ipa", PAGE)),
            primary_state=(rtt(1), put("ipa", HALF + GIB)),
        )},
        (frozenset(("index_primary", "index_bound")), frozenset(("ipa_bound", "ipa_unprotected", "primary_state"))),
    ),
    Row(
        Rmi2.RTT_AUX_UNMAP_UNPROTECTED,
        lambda door: {"rd": _planes(door, HALF), "ipa": HALF, "index": 1},
        {**GATE, **RD, **TREE, **conditions(
            ipa_unprotected=(INPUT, put("ipa", 0)),
            ipa_bound=(INPUT, put("ipa", WIDTH)),
            ipa_align=(INPUT, add("ipa", PAGE)),
        )},
        (frozenset(("index_primary", "index_bound")), frozenset(("ipa_bound", "ipa_unprotected"))),
    ),
)  # fmt: skip
