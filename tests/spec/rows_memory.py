"""Granules, protected pages and RIPAS."""

from __future__ import annotations

from spec_door import INPUT, OUTSIDE, PAGE, REALM, REC, Door, rtt
from spec_rows import Arguments, Command, Condition, add, fresh, put

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rsi import Rsi

IPA = 0x1000
HALF = 1 << 39
NO_TABLE = 0x4000_0000
"""Under a level 1 entry without a table."""


def granule_group(name: str, *, wanted_delegated: bool) -> dict[str, Condition]:
    """The three checks on a granule argument; the wrong state is NS, or DELEGATED where NS is wanted."""
    return {
        f"{name}_align": Condition(INPUT, add(name, 0x800)),
        f"{name}_bound": Condition(INPUT, put(name, OUTSIDE)),
        f"{name}_state": Condition(INPUT, fresh(name, delegated=not wanted_delegated)),
    }


def rd_group() -> dict[str, Condition]:
    """The three checks on `rd`: the wrong state is DELEGATED."""
    return {
        "rd_align": Condition(INPUT, add("rd", 0x800)),
        "rd_bound": Condition(INPUT, put("rd", OUTSIDE)),
        "rd_state": Condition(INPUT, fresh("rd", delegated=True)),
    }


def rec_group(name: str = "rec") -> dict[str, Condition]:
    """The three checks on a REC argument: the wrong state is DELEGATED."""
    return {
        f"{name}_align": Condition(INPUT, add(name, 0x800)),
        f"{name}_bound": Condition(INPUT, put(name, OUTSIDE)),
        f"{name}_gran_state": Condition(INPUT, fresh(name, delegated=True)),
    }


def activate(door: Door, args: Arguments) -> None:
    """The Realm is no longer NEW."""
    door.ok(Rmi.REALM_ACTIVATE, args["rd"])


def gran_pas(name: str):
    """The NS granule belongs to another world."""

    def take(door: Door, args: Arguments) -> None:
        door.take_away(args[name])

    return take


def _delegate(door: Door) -> Arguments:
    return {"addr": door.granules()}


def _undelegate(door: Door) -> Arguments:
    return {"addr": door.delegated()}


def _data_create(door: Door) -> Arguments:
    rd = door.realm()
    door.tables(rd, IPA)
    return {"rd": rd, "data": door.delegated(), "ipa": IPA, "src": door.host_page(b"content"), "flags": 1}


def _data_create_unknown(door: Door) -> Arguments:
    args = _data_create(door)
    return {name: args[name] for name in ("rd", "data", "ipa")}


def _occupy(door: Door, args: Arguments) -> None:
    door.ok(Rmi.DATA_CREATE_UNKNOWN, args["rd"], door.delegated(), args["ipa"])


def _data_destroy(door: Door) -> Arguments:
    rd = door.realm()
    door.tables(rd, IPA)
    door.data(rd, IPA)
    return {"rd": rd, "ipa": IPA}


def _empty_place(door: Door, args: Arguments) -> None:
    door.ok(Rmi.DATA_DESTROY, args["rd"], args["ipa"])


def _init_ripas(door: Door) -> Arguments:
    rd = door.realm()
    door.tables(rd, IPA)
    return {"rd": rd, "base": IPA, "top": IPA + 2 * PAGE}


def _map_at_base(door: Door, args: Arguments) -> None:
    door.ok(Rmi.DATA_CREATE_UNKNOWN, args["rd"], door.delegated(), args["base"])


def _base_inside_block(door: Door, args: Arguments) -> None:
    args["base"], args["top"] = (1 << 21) + PAGE, 1 << 22


def _top_inside_first_entry(door: Door, args: Arguments) -> None:
    args["base"], args["top"] = 1 << 21, (1 << 21) + PAGE


def _set_ripas(door: Door) -> Arguments:
    rd, (rec,) = door.running_realm()
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, 0, 1 << 23, 0, 0))])
    return {"rd": rd, "rec": rec, "base": 0, "top": 4 * PAGE}


def _other_realm(door: Door, args: Arguments) -> None:
    args["rd"] = door.realm()


def _request_in_block(first: int, top: int):
    def change(door: Door, args: Arguments) -> None:
        door.enter(args["rec"])
        door.enter(args["rec"], [Smc((Rsi.IPA_STATE_SET, first, 1 << 23, 0, 0))])
        args["base"], args["top"] = first, top

    return change


COMMANDS = (
    Command(
        Rmi.GRANULE_DELEGATE,
        _delegate,
        {**granule_group("addr", wanted_delegated=False), "gran_gpt": Condition(INPUT, gran_pas("addr"))},
    ),
    Command(Rmi.GRANULE_UNDELEGATE, _undelegate, granule_group("addr", wanted_delegated=True)),
    Command(
        Rmi.DATA_CREATE,
        _data_create,
        {
            "flags": Condition(INPUT, put("flags", 2)),
            **granule_group("src", wanted_delegated=False),
            **granule_group("data", wanted_delegated=True),
            **rd_group(),
            "realm_state": Condition(REALM, activate),
            "ipa_bound": Condition(INPUT, put("ipa", HALF)),
            "ipa_align": Condition(INPUT, add("ipa", 0x800)),
            "rtt_walk": Condition(rtt(1), put("ipa", NO_TABLE)),
            "rtte_state": Condition(rtt(3), _occupy),
            "src_pas": Condition(INPUT, gran_pas("src")),
        },
    ),
    Command(
        Rmi.DATA_CREATE_UNKNOWN,
        _data_create_unknown,
        {
            **granule_group("data", wanted_delegated=True),
            **rd_group(),
            "ipa_bound": Condition(INPUT, put("ipa", HALF)),
            "ipa_align": Condition(INPUT, add("ipa", 0x800)),
            "rtt_walk": Condition(rtt(1), put("ipa", NO_TABLE)),
            "rtte_state": Condition(rtt(3), _occupy),
        },
    ),
    Command(
        Rmi.DATA_DESTROY,
        _data_destroy,
        {
            **rd_group(),
            "ipa_bound": Condition(INPUT, put("ipa", HALF)),
            "ipa_align": Condition(INPUT, add("ipa", 0x800)),
            "rtt_walk": Condition(rtt(1), put("ipa", NO_TABLE)),
            "rtte_state": Condition(rtt(3), _empty_place),
        },
    ),
    Command(
        Rmi.RTT_INIT_RIPAS,
        _init_ripas,
        {
            "size_valid": Condition(INPUT, put("top", IPA)),
            **rd_group(),
            "top_gran_align": Condition(INPUT, add("top", 0x800)),
            "top_bound": Condition(INPUT, put("top", HALF + PAGE)),
            "realm_state": Condition(REALM, activate),
            "base_align": Condition(rtt(2), _base_inside_block),
            "no_progress": Condition(rtt(2), _top_inside_first_entry),
            "rtte_state": Condition(rtt(3), _map_at_base),
        },
        free=(frozenset(("size_valid", "top_gran_align", "top_bound", "base_align", "no_progress")),),
    ),
    Command(
        Rmi.RTT_SET_RIPAS,
        _set_ripas,
        {
            "size_valid": Condition(INPUT, put("top", 0)),
            "top_gran_align": Condition(INPUT, add("top", 0x800)),
            **rd_group(),
            **rec_group(),
            "rec_owner": Condition(REC, _other_realm),
            "base_bound": Condition(INPUT, put("base", PAGE)),
            "top_bound": Condition(INPUT, put("top", (1 << 23) + PAGE)),
            "base_align": Condition(rtt(2), _request_in_block((1 << 21) + PAGE, 1 << 22)),
            "no_progress": Condition(rtt(2), _request_in_block(1 << 21, (1 << 21) + PAGE)),
        },
        free=(frozenset(("size_valid", "base_bound", "top_bound", "base_align", "no_progress")),),
    ),
)
