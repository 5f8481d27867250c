"""RMI 2.0: granules, mappings, RIPAS and permissions."""

from __future__ import annotations

from spec_door import DRAM, OUTSIDE, PAGE
from spec_door_2_0 import BUSY, INPUT, REALM, REC, Door2, desc, rtt, rtt_aux
from spec_rows_2_0 import (
    BLOCK,
    GATE,
    HALF,
    HANDLES,
    LIST,
    RD,
    REC_GROUP,
    WIDTH,
    Arguments,
    Break,
    Condition,
    Row,
    activated,
    add,
    conditions,
    group,
    held,
    put,
    realm_with_tables,
    running,
    several,
    taken,
    terminated,
)

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.abi.rsi import Rsi
from cca_machine.abi.rsi2 import Rsi2


def _mapped(door: Door2) -> Arguments:
    rd = door.realm(num_aux_planes=1, flags1=1)
    door.tables(rd, 0)
    door.ok(Rmi2.RTT_DATA_MAP, rd, 0, 2 * PAGE, 1, desc(door.delegated(2), 2))
    return {"rd": rd, "base": 0, "top": 2 * PAGE, "flags": 1, "oaddr": 0}


def _shared(door: Door2) -> Arguments:
    rd = realm_with_tables(door, HALF)
    door.ok(Rmi2.RTT_UNPROT_MAP, rd, HALF, HALF + PAGE, 1, desc(door.granules()))
    return {"rd": rd, "base": HALF, "top": HALF + PAGE, "flags": 1, "oaddr": 0}


def _to_map(door: Door2, base: int = 0, flags: int = 1) -> Arguments:
    rd = realm_with_tables(door, base)
    return {"rd": rd, "base": base, "top": base + PAGE, "flags": flags, "oaddr": desc(door.delegated())}


def _occupied(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_DATA_MAP, args["rd"], 0, PAGE, 1, desc(door.delegated()))


def _shared_already(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_UNPROT_MAP, args["rd"], HALF, HALF + PAGE, 1, desc(door.granules()))


def _not_delegated(door: Door2, args: Arguments) -> None:
    args["oaddr"] = desc(door.granules())


def _list(offset: int = 0, *, delegated: bool = False, count: int = 1) -> Break:
    def change(door: Door2, args: Arguments) -> None:
        pa = door.delegated() if delegated else door.host_list(args["oaddr"])
        args.update(flags=args["flags"] & ~0xFFFF | 2 | count << 2, oaddr=pa + offset)

    return change


def _block(level: int, base: int = DRAM.base) -> Break:
    """The memory is one block of `level`."""
    return lambda door, args: args.update(oaddr=desc(base, 1, level) | args["oaddr"] & 1 << 63)


def _big(door: Door2, args: Arguments) -> None:
    """A 2 MiB range where level 2 tables are, and a block that is not aligned."""
    base = args["base"] & HALF | 1 << 30
    door.tables(args["rd"], base, 2)
    args.update(base=base, top=base + BLOCK, oaddr=desc(DRAM.base + PAGE, 1, 2))


def _aux_mapped(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_INIT_RIPAS, args["rd"], 0, PAGE)
    door.tables(args["rd"], 0, tree=1)
    door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, args["rd"], 0, 1)


def _foreign_realm(door: Door2, args: Arguments) -> None:
    args["rd"] = door.realm()


def _running_planes(door: Door2) -> tuple[int, int, int]:
    """An ACTIVE Realm with a tree per plane whose pages at 0x2000 and 0x3000 are RAM, and two RECs."""
    rd = door.realm(num_aux_planes=1, flags1=1)
    door.tables(rd, 0)
    door.tables(rd, 0, tree=1)
    for ipa in (0x2000, 0x3000):
        door.data(rd, ipa)
    rec, other = door.rec(rd), door.rec(rd, 1)
    door.ok(Rmi2.REALM_ACTIVATE, rd)
    return rd, rec, other


def _ripas_request(door: Door2) -> Arguments:
    rd, rec, other = _running_planes(door)
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, 0x2000, 0x4000, 0, 0))])
    return {"rd": rd, "rec": rec, "base": 0x2000, "top": 0x4000, "other": other}


def _ask(ripas: int, base: int, top: int) -> Break:
    """The Realm asks for a change at another range."""

    def change(door: Door2, args: Arguments) -> None:
        door.enter(args["rec"], [Smc((Rsi.IPA_STATE_SET, base, top, ripas, 0))])
        args.update(base=base, top=top)

    return change


def _half_done(door: Door2, args: Arguments) -> None:
    """The table below a block is there for half of the request only, so that it continues inside an entry."""
    door.rmm.state.recs[args["rec"]].ripas.address = BLOCK + PAGE  # type: ignore[union-attr]  # asked for above
    args.update(base=BLOCK + PAGE, top=2 * BLOCK)


def _ask_inside(door: Door2, args: Arguments) -> None:
    _ask(0, BLOCK, 2 * BLOCK)(door, args)
    _half_done(door, args)


def _ask_less(door: Door2, args: Arguments) -> None:
    _ask(0, BLOCK, BLOCK + PAGE)(door, args)


def _lost(door: Door2, args: Arguments) -> None:
    """The memory at base was taken away."""
    door.ok(Rmi2.RTT_DATA_UNMAP, args["rd"], 0x2000, 0x3000, 0, 0)
    _ask(1, 0x2000, 0x4000)(door, args)


def _in_aux_tree(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, args["rd"], 0x2000, 1)


def _permission_request(door: Door2) -> Arguments:
    rd, (rec, other) = door.running_realm(recs=2, num_aux_planes=1, flags1=2)
    door.enter(rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, 0x2000, 0x4000, 3, 0))])
    return {"rd": rd, "rec": rec, "base": 0x2000, "top": 0x4000, "other": other}


def _permissions(base: int, top: int) -> Break:
    def change(door: Door2, args: Arguments) -> None:
        door.enter(args["rec"], [Smc((Rsi2.MEM_SET_PERM_INDEX, base, top, 3, 0))])
        args.update(base=base, top=top)

    return change


def _permissions_inside(door: Door2, args: Arguments) -> None:
    _permissions(BLOCK, 2 * BLOCK)(door, args)
    door.rmm.state.recs[args["rec"]].permissions.base = BLOCK + PAGE  # type: ignore[union-attr]  # asked for above
    args.update(base=BLOCK + PAGE)


def _idle_rec(door: Door2, args: Arguments) -> None:
    args["rec"] = args["other"]


def _map_conditions(base: int) -> dict[str, Condition]:
    """What the map commands check alike, for a range of pages at `base`."""
    other = HALF - base
    wrong_half = several(base=other, top=other + PAGE)
    return {
        **RD,
        **conditions(
            realm_state=(REALM, terminated),
            size_valid=(INPUT, put("top", 0)),
            oaddr_type=(INPUT, put("flags", 0)),
            list_align=(INPUT, _list(4)),
            list_count=(INPUT, _list(count=0)),
            list_state=(INPUT, _list(delegated=True)),
            desc_level=(INPUT, _block(0, 1 << 39)),
            base_align=(INPUT, add("base", 8)),
            base_bound=(INPUT, several(base=WIDTH, top=WIDTH + PAGE)),
            top_align=(INPUT, add("top", 8)),
            top_bound=(INPUT, put("top", WIDTH + 2 * PAGE)),
            range_half=(INPUT, wrong_half),
            range_level=(rtt(2), _block(2)),
            rtt_walk=(rtt(2), several(base=base + BLOCK, top=base + BLOCK + PAGE)),
            desc_empty=(INPUT, lambda door, args: args.update(oaddr=args["oaddr"] & ~0xFFC)),
            oaddr_align=(INPUT, _big),
            oaddr_bound2=(INPUT, put("oaddr", desc(1 << 48))),
        ),
    }


_MAP_FREE = (
    # ways of giving addresses
    frozenset(("oaddr_type", "list_align", "list_count", "list_state")),
    *(frozenset((one, two))
      for one in ("list_align", "list_count", "list_state")
      for two in ("desc_state", "desc_level", "range_level", "desc_empty", "oaddr_align", "oaddr_bound2",
                  "data_state")),
    # one range, one descriptor
    frozenset(("desc_level", "range_level", "desc_empty", "oaddr_align", "oaddr_bound2", "data_state")),
    frozenset(("base_align", "oaddr_align")),
    frozenset(("base_bound", "top_bound", "range_half", "rtt_walk", "oaddr_align", "size_valid", "top_align")),
    frozenset(("base_bound", "range_level")), frozenset(("top_bound", "range_level")),
    frozenset(("rtt_walk", "rtte_state")), frozenset(("rtt_walk", "range_level")),
    frozenset(("oaddr_align", "rtte_state")), frozenset(("desc_level", "base_align")),
)  # fmt: skip

_UNMAP = {
    "size_valid": (INPUT, put("top", 0)),
    "oaddr_type": (INPUT, put("flags", 3)),
    "oaddr_sbz": (INPUT, put("oaddr", 8)),
    "list_count": (INPUT, lambda door, args: args.update(flags=2, oaddr=door.host_page())),
    "list_align": (INPUT, lambda door, args: args.update(flags=LIST, oaddr=door.host_page() + 4)),
    "list_state": (INPUT, lambda door, args: args.update(flags=LIST, oaddr=door.delegated())),
    "base_align": (INPUT, add("base", 8)),
    "top_align": (INPUT, add("top", 8)),
    "top_bound": (INPUT, put("top", WIDTH + PAGE)),
    "base_bound": (INPUT, several(base=WIDTH, top=WIDTH + PAGE)),
}

ROWS: tuple[Row, ...] = (
    Row(
        Rmi2.GRANULE_RANGE_DELEGATE,
        lambda door: {"base": (pa := door.granules()), "top": pa + PAGE},
        {**GATE, **conditions(
            base_align=(INPUT, add("base", 8)),
            top_align=(INPUT, add("top", 8)),
            size_valid=(INPUT, add("top", -PAGE)),
            base_bound=(INPUT, put("base", OUTSIDE)),
            gran_state=(INPUT, lambda door, args: door.ok(Rmi2.GRANULE_RANGE_DELEGATE, args["base"], args["top"])),
            gran_gpt=(INPUT, taken("base")),
        )},
        (frozenset(("gran_state", "gran_gpt")),),
    ),
    Row(
        Rmi2.GRANULE_RANGE_UNDELEGATE,
        lambda door: {"base": (pa := door.delegated()), "top": pa + PAGE},
        {**GATE, **conditions(
            base_align=(INPUT, add("base", 8)),
            top_align=(INPUT, add("top", 8)),
            size_valid=(INPUT, add("top", -PAGE)),
            base_bound=(INPUT, several(base=DRAM.top, top=DRAM.top + PAGE)),
            gran_state=(INPUT, lambda door, args: args.update(base=(rd := door.realm()), top=rd + PAGE)),
        )},
    ),
    Row(
        Rmi2.RTT_DATA_MAP_INIT,
        lambda door: {
            "rd": realm_with_tables(door), "data": door.delegated(), "ipa": 0, "src": door.host_page(), "flags": 1,
        },
        {**GATE, **conditions(
            flags=(INPUT, put("flags", 2)),
            alias=(INPUT, lambda door, args: args.update(data=args["rd"])),
        ), **group("src", delegated=True), **RD, **conditions(
            realm_state=(REALM, activated),
            ipa_bound=(INPUT, put("ipa", HALF)),
            ipa_align=(INPUT, add("ipa", 8)),
            data_bound2=(INPUT, put("data", 1 << 48)),
            rtt_walk=(rtt(2), put("ipa", BLOCK)),
            rtte_state=(rtt(3), _occupied),
            held=(BUSY, held),
            src_pas=(INPUT, taken("src")),
        ), **group("data", delegated=False)},
        (
            frozenset(("rtte_state", "held")), frozenset(("ipa_bound", "rtt_walk")),
            *(frozenset(("alias", f"{name}")) for name in (
                "data_bound2", "data_align", "data_bound", "data_state", "rd_align", "rd_bound", "rd_state")),
        ),
    ),
    Row(
        Rmi2.RTT_DATA_MAP,
        _to_map,
        {**GATE, **HANDLES, **_map_conditions(0), **conditions(
            desc_state=(INPUT, lambda door, args: args.update(oaddr=args["oaddr"] | 1 << 63)),
            rtte_state=(rtt(3), _occupied),
            held=(BUSY, held),
            data_state=(INPUT, _not_delegated),
        )},
        (
            *_MAP_FREE, frozenset(("rtte_state", "held")), frozenset(("rtt_walk", "held")),
            frozenset(("oaddr_align", "held")),
        ),
    ),
    Row(
        Rmi2.RTT_UNPROT_MAP,
        lambda door: _to_map(door, HALF, 1 | 1 << 20),
        {**GATE, **_map_conditions(HALF), **conditions(
            s2ap=(INPUT, lambda door, args: args.update(flags=args["flags"] | 4 << 19)),
            memattr=(INPUT, lambda door, args: args.update(flags=args["flags"] | 4 << 16)),
            rtte_state=(rtt(3), _shared_already),
        )},
        (*_MAP_FREE, frozenset(("oaddr_type", "s2ap", "memattr"))),
    ),
    Row(
        Rmi2.RTT_DATA_UNMAP,
        _mapped,
        {**GATE, **HANDLES, **RD, **conditions(
            **_UNMAP,
            range_half=(INPUT, several(base=HALF, top=HALF + PAGE)),
            entry_align=(rtt(2), several(base=BLOCK + PAGE, top=2 * BLOCK)),
            no_progress=(rtt(2), several(base=BLOCK, top=BLOCK + PAGE)),
            aux_live=(rtt_aux(0), _aux_mapped),
        )},
        (
            frozenset(("oaddr_type", "oaddr_sbz", "list_count", "list_align", "list_state")),
            frozenset(("range_half", "base_bound", "top_bound", "entry_align", "no_progress", "aux_live",
                       "size_valid")),
            frozenset(("base_align", "entry_align")),
        ),
    ),
    Row(
        Rmi2.RTT_UNPROT_UNMAP,
        _shared,
        {**GATE, **HANDLES, **RD, **conditions(
            **_UNMAP,
            range_half=(INPUT, several(base=0, top=PAGE)),
            entry_align=(rtt(1), several(base=HALF + (1 << 30) + PAGE, top=HALF + (2 << 30))),
            no_progress=(rtt(1), several(base=HALF + (1 << 30), top=HALF + (1 << 30) + PAGE)),
        )},
        (
            frozenset(("oaddr_type", "oaddr_sbz", "list_count", "list_align", "list_state")),
            frozenset(("range_half", "base_bound", "top_bound", "entry_align", "no_progress", "size_valid")),
            frozenset(("base_align", "entry_align")),
        ),
    ),
    Row(
        Rmi2.RTT_INIT_RIPAS,
        lambda door: {"rd": realm_with_tables(door), "base": PAGE, "top": 3 * PAGE},
        {**GATE, **RD, **conditions(
            size_valid=(INPUT, put("top", PAGE)),
            base_align=(INPUT, add("base", 8)),
            top_gran_align=(INPUT, add("top", 8)),
            base_bound=(INPUT, several(base=HALF, top=HALF + PAGE)),
            top_bound=(INPUT, put("top", HALF + PAGE)),
            realm_state=(REALM, activated),
            entry_align=(rtt(2), several(base=BLOCK + PAGE, top=2 * BLOCK)),
            no_progress=(rtt(2), several(base=BLOCK, top=BLOCK + PAGE)),
            rtte_state=(rtt(3), held),
        )},
        (
            frozenset(("base_bound", "top_bound", "entry_align", "no_progress", "size_valid")),
            frozenset(("rtte_state", "entry_align")), frozenset(("rtte_state", "no_progress")),
            frozenset(("base_align", "rtte_state")),
        ),
    ),
    Row(
        Rmi2.RTT_SET_RIPAS,
        _ripas_request,
        {**GATE, **RD, **REC_GROUP, **conditions(
            size_valid=(INPUT, put("top", 0x2000)),
            top_gran_align=(INPUT, add("top", -8)),
            rec_state=(REC, running("rec")),
            rec_owner=(REC, _foreign_realm),
            request=(INPUT, _idle_rec),
            base_bound=(INPUT, add("base", PAGE)),
            top_bound=(INPUT, add("top", PAGE)),
            entry_align=(rtt(2), _ask_inside),
            aux_live=(rtt_aux(0), _in_aux_tree),
            no_progress=(rtt(2), _ask_less),
            rtte_state=(rtt(3), _lost),
        )},
        (
            frozenset(("entry_align", "aux_live", "no_progress", "rtte_state")),
            frozenset(("base_bound", "size_valid")), frozenset(("base_bound", "top_bound")),
            frozenset(("base_bound", "no_progress")),
        ),
    ),
    Row(
        Rmi2.RTT_SET_S2AP,
        _permission_request,
        {**GATE, **RD, **REC_GROUP, **conditions(
            size_valid=(INPUT, put("top", 0x2000)),
            top_gran_align=(INPUT, add("top", -8)),
            rec_state=(REC, running("rec")),
            rec_owner=(REC, _foreign_realm),
            request=(INPUT, _idle_rec),
            base_bound=(INPUT, add("base", PAGE)),
            top_bound=(INPUT, add("top", PAGE)),
            entry_align=(rtt(2), _permissions_inside),
            no_progress=(rtt(2), _permissions(BLOCK, BLOCK + PAGE)),
        )},
        (
            frozenset(("entry_align", "no_progress")), frozenset(("base_bound", "size_valid")),
            frozenset(("base_bound", "top_bound")), frozenset(("base_bound", "no_progress")),
        ),
    ),
)  # fmt: skip
