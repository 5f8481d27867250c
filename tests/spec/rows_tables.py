"""Translation tables and unprotected mappings."""

from __future__ import annotations

from rows_memory import HALF, NO_TABLE, granule_group, rd_group
from spec_door import INPUT, PAGE, Door, rtt
from spec_rows import Arguments, Command, Condition, add, put

from cca_machine.abi.rmi import Rmi

WIDTH = 1 << 40
BLOCK = 1 << 21
SHARED = HALF + BLOCK


def _create(door: Door) -> Arguments:
    rd = door.realm()
    door.tables(rd, 0, to=2)
    return {"rd": rd, "rtt": door.delegated(), "ipa": BLOCK, "level": 3}


def _already(door: Door, args: Arguments) -> None:
    door.ok(Rmi.RTT_CREATE, args["rd"], door.delegated(), args["ipa"], args["level"])


def _rtt_is_rd(door: Door, args: Arguments) -> None:
    args["rtt"] = args["rd"]


def _child(door: Door) -> Arguments:
    args = _create(door)
    door.ok(Rmi.RTT_CREATE, args["rd"], args.pop("rtt"), args["ipa"], args["level"])
    return args


def _no_child(door: Door, args: Arguments) -> None:
    door.ok(Rmi.RTT_DESTROY, args["rd"], args["ipa"], args["level"])


def _live(door: Door, args: Arguments) -> None:
    door.ok(Rmi.DATA_CREATE_UNKNOWN, args["rd"], door.delegated(), args["ipa"] + PAGE)


def _shared_tables(door: Door) -> int:
    rd = door.realm()
    door.tables(rd, SHARED)
    return rd


def _map(door: Door) -> Arguments:
    return {"rd": _shared_tables(door), "ipa": SHARED, "level": 3, "desc": 0x8888_0000 | 3 << 6}


def _mapped(door: Door) -> Arguments:
    args = _map(door)
    door.ok(Rmi.RTT_MAP_UNPROTECTED, *args.values())
    del args["desc"]
    return args


def _map_first(door: Door, args: Arguments) -> None:
    door.ok(Rmi.RTT_MAP_UNPROTECTED, args["rd"], args["ipa"], args["level"], 0x9999_0000)


def _unmap_first(door: Door, args: Arguments) -> None:
    door.ok(Rmi.RTT_UNMAP_UNPROTECTED, args["rd"], args["ipa"], args["level"])


def _read(door: Door) -> Arguments:
    rd = door.realm()
    return {"rd": rd, "ipa": BLOCK, "level": 2}


def _structure() -> dict[str, Condition]:
    return {
        "level_bound_low": Condition(INPUT, put("level", 1)),
        "level_bound_high": Condition(INPUT, put("level", 4)),
        "ipa_align": Condition(INPUT, add("ipa", PAGE)),
        "ipa_bound": Condition(INPUT, put("ipa", WIDTH)),
    }


def _shared_leaf() -> dict[str, Condition]:
    return {
        "level_bound_low": Condition(INPUT, put("level", 0)),
        "level_bound_high": Condition(INPUT, put("level", 4)),
        "ipa_align": Condition(INPUT, add("ipa", 0x800)),
        "ipa_bound": Condition(INPUT, put("ipa", WIDTH)),
        "ipa_protected": Condition(INPUT, put("ipa", BLOCK)),
    }


COMMANDS = (
    Command(
        Rmi.RTT_CREATE,
        _create,
        {
            **granule_group("rtt", wanted_delegated=True),
            **rd_group(),
            "alias": Condition(INPUT, _rtt_is_rd),
            **_structure(),
            "rtt_walk": Condition(rtt(1), put("ipa", NO_TABLE)),
            "rtte_state": Condition(rtt(2), _already),
        },
    ),
    Command(
        Rmi.RTT_DESTROY,
        _child,
        {
            **rd_group(),
            **_structure(),
            "rtt_walk": Condition(rtt(1), put("ipa", NO_TABLE)),
            "rtte_state": Condition(rtt(2), _no_child),
            "rtt_live": Condition(rtt(3), _live),
        },
        free=(frozenset(("rtte_state", "rtt_live")),),
    ),
    Command(
        Rmi.RTT_FOLD,
        _child,
        {
            **rd_group(),
            **_structure(),
            "rtt_walk": Condition(rtt(1), put("ipa", NO_TABLE)),
            "rtte_state": Condition(rtt(2), _no_child),
            "rtt_homo": Condition(rtt(3), _live),
        },
        free=(frozenset(("rtte_state", "rtt_homo")),),
    ),
    Command(
        Rmi.RTT_MAP_UNPROTECTED,
        _map,
        {
            **rd_group(),
            **_shared_leaf(),
            "attr_reserved_bit": Condition(INPUT, put("desc", 0x8888_0000 | 1 << 10)),
            "attr_memattr": Condition(INPUT, put("desc", 0x8888_0000 | 0b100 << 2)),
            "addr_bound": Condition(INPUT, put("desc", 1 << 48)),
            "rtt_walk": Condition(rtt(1), put("ipa", HALF + NO_TABLE)),
            "rtte_state": Condition(rtt(3), _map_first),
        },
    ),
    Command(
        Rmi.RTT_UNMAP_UNPROTECTED,
        _mapped,
        {
            **rd_group(),
            **_shared_leaf(),
            "rtt_walk": Condition(rtt(1), put("ipa", HALF + NO_TABLE)),
            "rtte_state": Condition(rtt(3), _unmap_first),
        },
    ),
    Command(
        Rmi.RTT_READ_ENTRY,
        _read,
        {
            **rd_group(),
            "level_bound_low": Condition(INPUT, put("level", 0)),
            "level_bound_high": Condition(INPUT, put("level", 4)),
            "ipa_align": Condition(INPUT, add("ipa", PAGE)),
            "ipa_bound": Condition(INPUT, put("ipa", WIDTH)),
        },
    ),
)
