"""Failure conditions of RMI 2.0, command by command, in the order in which the model looks at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from spec_door import DRAM, OUTSIDE, PAGE
from spec_door_2_0 import BUSY, INPUT, REALM, REC, Door2, desc, rtt, rtt_aux

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi2 import COMMANDS_2_0, Rmi2
from cca_machine.abi.rsi import Rsi

Arguments = dict[str, int]
Break = Callable[[Door2, Arguments], None]
BLOCK, HALF, WIDTH = 512 * PAGE, 1 << 39, 1 << 40


class Row(NamedTuple):
    """A command: a call that succeeds, and what makes it fail: condition -> (X0, what makes it true)."""

    fid: Rmi2
    prepare: Callable[[Door2], Arguments]
    conditions: dict[str, tuple[int, Break]]
    orders: tuple[tuple[str, str], ...] = ()
    """(winner, loser) pairs that can hold together."""
    answers: int = 0

    def call(self, door: Door2, args: Arguments) -> tuple[int, ...]:
        """Make the call with `args` in the order of the command's registers."""
        return door.call(self.fid, *(args[name] for name in COMMANDS_2_0[self.fid].arguments))


def put(name: str, value: int) -> Break:
    def change(_: Door2, args: Arguments) -> None:
        args[name] = value

    return change


def add(name: str, value: int) -> Break:
    def change(_: Door2, args: Arguments) -> None:
        args[name] += value

    return change


def fresh(name: str, *, delegated: bool) -> Break:
    def change(door: Door2, args: Arguments) -> None:
        args[name] = door.delegated() if delegated else door.granules()

    return change


def taken(name: str) -> Break:
    return lambda door, args: door.take_away(args[name])


def activated(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.REALM_ACTIVATE, args["rd"])


def terminated(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.REALM_TERMINATE, args["rd"])


def granule(name: str, *, delegated: bool) -> dict[str, tuple[int, Break]]:
    """The three conditions of a granule argument; the granule of the third is in the other state."""
    return {
        f"{name}_align": (INPUT, add(name, 8)),
        f"{name}_bound": (INPUT, put(name, OUTSIDE)),
        f"{name}_state": (INPUT, fresh(name, delegated=not delegated)),
    }


RD = granule("rd", delegated=False)


def realm_with_tables(door: Door2, ipa: int = 0, to: int = 3) -> int:
    rd = door.realm()
    door.tables(rd, ipa, to)
    return rd


def mapped(door: Door2) -> Arguments:
    rd = realm_with_tables(door)
    pa = door.delegated(2)
    door.ok(Rmi2.RTT_DATA_MAP, rd, 0, 2 * PAGE, 1, desc(pa, 2))
    return {"rd": rd, "base": 0, "top": 2 * PAGE, "flags": 1, "oaddr": 0}


def shared(door: Door2) -> Arguments:
    rd = realm_with_tables(door, HALF)
    door.ok(Rmi2.RTT_UNPROT_MAP, rd, HALF, HALF + PAGE, 1, desc(door.granules()))
    return {"rd": rd, "base": HALF, "top": HALF + PAGE, "flags": 1, "oaddr": 0}


def to_map(door: Door2, base: int = 0) -> Arguments:
    rd = realm_with_tables(door, base)
    return {"rd": rd, "base": base, "top": base + PAGE, "flags": 1, "oaddr": desc(door.delegated())}


def occupied(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_DATA_MAP, args["rd"], args["base"], args["base"] + PAGE, 1, desc(door.delegated()))


def shared_already(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_UNPROT_MAP, args["rd"], args["base"], args["base"] + PAGE, 1, desc(door.granules()))


def undelegated_block(door: Door2, args: Arguments) -> None:
    args["oaddr"] = desc(door.granules())


def held(door: Door2, args: Arguments) -> None:
    """A stateful operation holds the entry."""
    pages = door.delegated(1)
    door.hardware.pes[0].irq_after = 1
    base = args.get("base", args.get("ipa", 0))
    x = door.call(Rmi2.RTT_DATA_MAP, args["rd"], base, base + PAGE, 1, desc(pages))
    door.hardware.pes[0].irq_after = -1
    assert x[0] == 0x00D


def block_for(door: Door2) -> Arguments:
    return {"rd": door.realm(), "rtt": door.delegated(), "ipa": 0, "level": 2}


def two_tables(door: Door2) -> Arguments:
    return {"rd": realm_with_tables(door), "ipa": 0, "level": 3}


LEVELS: dict[str, tuple[int, Break]] = {
    "level_bound_low": (INPUT, put("level", 1)),
    "level_bound_high": (INPUT, put("level", 4)),
    "ipa_align": (INPUT, add("ipa", PAGE)),
    "ipa_bound": (INPUT, put("ipa", WIDTH)),
}


def live(door: Door2, args: Arguments) -> None:
    door.ok(Rmi2.RTT_DATA_MAP, args["rd"], 0, PAGE, 1, desc(door.delegated()))


def params_of(**fields: object) -> Break:
    def change(door: Door2, args: Arguments) -> None:
        args["params_ptr"] = door.host_page(door.params(**fields).encode())

    return change


def create_call(door: Door2) -> Arguments:
    return {"rd": door.delegated(), "params_ptr": door.host_page(door.params().encode())}


def rd_is_root(door: Door2, args: Arguments) -> None:
    root = door.delegated(2, 2 * PAGE)
    args["rd"], args["params_ptr"] = root, door.host_page(door.params(rtt_base=root).encode())


def rec_to_enter(door: Door2) -> Arguments:
    rd, (rec, other) = door.running_realm(recs=2)
    return {"rec": rec, "run_ptr": door.host_page(), "rd": rd, "other": other}


def stopped(door: Door2, args: Arguments) -> None:
    door.enter(args["rec"], [Smc((0x8400_0002,))])


def waiting_for_psci(door: Door2, args: Arguments) -> None:
    door.enter(args["rec"], [Smc((0xC400_0003, 1, 0x1000, 0))])


def entering(flags: int) -> Break:
    return lambda door, args: door.write(args["run_ptr"], flags.to_bytes(8, "little"))


def ripas_request(door: Door2) -> Arguments:
    rd, (rec, other) = door.running_realm(recs=2)
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, 0x2000, 0x4000, 1, 0))])
    return {"rd": rd, "rec": rec, "base": 0x2000, "top": 0x4000, "other": other}


def foreign_rec(door: Door2, args: Arguments) -> None:
    args["rd"] = door.realm()


def aux_realm(door: Door2) -> Arguments:
    rd = door.realm(num_aux_planes=1, flags1=1)
    door.tables(rd, 0)
    door.data(rd, 0)
    door.tables(rd, 0, tree=1)
    return {"rd": rd, "ipa": 0, "index": 1}


def aux_share(door: Door2) -> Arguments:
    rd = door.realm(num_aux_planes=1, flags1=1)
    door.tables(rd, HALF, to=2)
    return {"rd": rd, "ipa": HALF, "index": 1}


MAP_ORDERS = (("realm_state", "size_valid"), ("base_align", "rtt_walk"), ("realm_state", "rtt_walk"),
              ("oaddr_type", "rtt_walk"), ("size_valid", "rtte_state"), ("rd_state", "rtt_walk"))  # fmt: skip

ROWS: tuple[Row, ...] = (
    Row(
        Rmi2.GRANULE_RANGE_DELEGATE,
        lambda door: {"base": (pa := door.granules()), "top": pa + PAGE},
        {
            "base_align": (INPUT, add("base", 8)),
            "top_align": (INPUT, add("top", 8)),
            "size_valid": (INPUT, add("top", -PAGE)),
            "base_bound": (INPUT, put("base", OUTSIDE)),
            "gran_state": (INPUT, lambda door, args: door.ok(Rmi2.GRANULE_RANGE_DELEGATE, args["base"], args["top"])),
            "gran_gpt": (INPUT, taken("base")),
        },
    ),
    Row(
        Rmi2.GRANULE_RANGE_UNDELEGATE,
        lambda door: {"base": (pa := door.delegated()), "top": pa + PAGE},
        {
            "base_align": (INPUT, add("base", 8)),
            "top_align": (INPUT, add("top", 8)),
            "size_valid": (INPUT, add("top", -PAGE)),
            "base_bound": (INPUT, put("base", DRAM.top)),
            "gran_state": (INPUT, lambda door, args: args.update(base=door.realm())),
        },
    ),
    Row(
        Rmi2.REALM_CREATE,
        create_call,
        {
            **{f"params_ptr_{end}": found for end, found in (("align", (INPUT, add("params_ptr", 8))),
               ("bound", (INPUT, put("params_ptr", OUTSIDE))), ("state", (INPUT, fresh("params_ptr", delegated=True))),
               ("pas", (INPUT, taken("params_ptr"))))},
            "params_valid_hash": (INPUT, params_of(hash_algo=3)),
            "params_supp_lpa2": (INPUT, params_of(flags=1)),
            "params_supp_sve": (INPUT, params_of(flags=2)),
            "params_supp_pmu": (INPUT, params_of(flags=4)),
            "params_supp_da": (INPUT, params_of(flags=8)),
            "mec_policy": (INPUT, params_of(flags=2 << 7)),
            "params_supp_s2sz_high": (INPUT, params_of(s2sz=49)),
            "params_supp_s2sz_low": (INPUT, params_of(s2sz=31)),
            "params_supp_bps": (INPUT, params_of(num_bps=6)),
            "params_supp_wps_zero": (INPUT, params_of(num_wps=0)),
            "num_aux_planes": (INPUT, params_of(num_aux_planes=4, flags1=2)),
            "ats_plane": (INPUT, params_of(ats_plane=1)),
            "rtt_num_level": (INPUT, params_of(rtt_num_start=1)),
            "rtt_align": (INPUT, lambda door, args: params_of(rtt_base=door.delegated(3, 2 * PAGE) + PAGE)(door, args)),
            "rtt_state": (INPUT, lambda door, args: params_of(rtt_base=door.granules(2, 2 * PAGE))(door, args)),
            "alias": (INPUT, rd_is_root),
            **granule("rd", delegated=True),
        },
    ),
    Row(Rmi2.REALM_ACTIVATE, lambda door: {"rd": door.realm()}, {**RD, "realm_state": (REALM, activated)}),
    Row(Rmi2.REALM_TERMINATE, lambda door: {"rd": door.realm()}, RD),
    Row(
        Rmi2.REALM_DESTROY,
        lambda door: {"rd": (rd := door.realm()), "x": door.ok(Rmi2.REALM_TERMINATE, rd)[0]},
        {
            **RD,
            "realm_state": (REALM, lambda door, args: args.update(rd=door.realm())),
            "realm_live_rtt": (REALM, lambda door, args: door.tables(args["rd"], 0, to=2) and None),
        },
    ),
    Row(
        Rmi2.REC_CREATE,
        lambda door: {"rd": door.realm(), "rec": door.delegated(), "params_ptr": door.host_page()},
        granule("rec", delegated=True),
        answers=0x10D,
    ),
    Row(
        Rmi2.REC_DESTROY,
        lambda door: {"rec": door.rec(door.realm())},
        granule("rec", delegated=False),
        answers=0x20D,
    ),
    Row(
        Rmi2.REC_ENTER,
        rec_to_enter,
        {
            "run_ptr_align": (INPUT, add("run_ptr", 8)),
            "run_ptr_bound": (INPUT, put("run_ptr", OUTSIDE)),
            "run_ptr_state": (INPUT, fresh("run_ptr", delegated=True)),
            **granule("rec", delegated=False),
            "run_pas": (INPUT, taken("run_ptr")),
            "realm_state": (REALM, terminated),
            "rec_runnable": (REC, stopped),
            "rec_psci": (REC, waiting_for_psci),
            "inject_sea": (REC, entering(2)),
            "rec_mmio": (REC, entering(1)),
        },
        (("run_pas", "rec_runnable"), ("rec_state", "run_pas"), ("run_pas", "rec_mmio")),
    ),
    Row(
        Rmi2.RTT_CREATE,
        block_for,
        {
            **granule("rtt", delegated=True), **RD, **LEVELS,
            "rtt_walk": (rtt(1), put("level", 3)),
            "rtte_state": (rtt(1), lambda door, args: door.ok(Rmi2.RTT_CREATE, args["rd"], door.delegated(), 0, 2)),
        },
        (("ipa_bound", "rtte_state"), ("rd_state", "rtt_walk"), ("rtt_state", "rtte_state")),
    ),
    Row(
        Rmi2.RTT_DESTROY,
        two_tables,
        {
            **RD, **LEVELS,
            "rtt_walk": (rtt(1), put("ipa", 1 << 30)),
            "rtte_state": (rtt(2), put("ipa", BLOCK)),
            "rtt_live": (rtt(3), live),
        },
        (("ipa_bound", "rtt_live"), ("rd_state", "rtt_live"), ("level_bound_high", "rtt_live")),
    ),
    Row(
        Rmi2.RTT_FOLD,
        two_tables,
        {
            **RD, **LEVELS,
            "rtt_walk": (rtt(1), put("ipa", 1 << 30)),
            "rtte_state": (rtt(2), put("ipa", BLOCK)),
            "rtt_homo": (rtt(3), live),
            "rtt_held": (rtt(3), held),
        },
        (("ipa_bound", "rtt_homo"), ("rd_state", "rtt_homo")),
    ),
    Row(
        Rmi2.RTT_READ_ENTRY,
        two_tables,
        {
            **RD,
            "level_bound_low": (INPUT, put("level", 0)),
            "level_bound_high": (INPUT, put("level", 4)),
            "ipa_align": (INPUT, add("ipa", 8)),
            "ipa_bound": (INPUT, put("ipa", WIDTH)),
        },
    ),
    Row(
        Rmi2.RTT_INIT_RIPAS,
        lambda door: {"rd": realm_with_tables(door), "base": PAGE, "top": 3 * PAGE},
        {
            "size_valid": (INPUT, put("top", PAGE)),
            **RD,
            "base_align": (INPUT, add("base", 8)),
            "top_gran_align": (INPUT, add("top", 8)),
            "top_bound": (INPUT, put("top", HALF + PAGE)),
            "realm_state": (REALM, activated),
            "entry_align": (rtt(2), lambda door, args: args.update(base=BLOCK + PAGE, top=2 * BLOCK)),
            "no_progress": (rtt(2), lambda door, args: args.update(base=BLOCK, top=BLOCK + PAGE)),
            "rtte_state": (rtt(3), held),
        },
        (("realm_state", "entry_align"), ("top_gran_align", "no_progress"), ("realm_state", "no_progress")),
    ),
    Row(
        Rmi2.RTT_SET_RIPAS,
        ripas_request,
        {
            "size_valid": (INPUT, put("top", 0x2000)),
            "top_gran_align": (INPUT, add("top", -8)),
            **RD,
            **granule("rec", delegated=False),
            "rec_owner": (REC, foreign_rec),
            "base_bound": (INPUT, add("base", PAGE)),
            "top_bound": (INPUT, add("top", PAGE)),
            "request": (INPUT, lambda door, args: args.update(rec=args["other"])),
        },
        (("rec_owner", "base_bound"), ("rd_state", "base_bound")),
    ),
    Row(
        Rmi2.RTT_DATA_MAP_INIT,
        lambda door: {
            "rd": realm_with_tables(door), "data": door.delegated(), "ipa": 0, "src": door.host_page(), "flags": 1,
        },
        {
            "flags": (INPUT, put("flags", 2)),
            "alias": (INPUT, lambda door, args: args.update(data=args["rd"])),
            **granule("src", delegated=False),
            **RD,
            "realm_state": (REALM, activated),
            "ipa_bound": (INPUT, put("ipa", HALF)),
            "ipa_align": (INPUT, add("ipa", 8)),
            "rtt_walk": (rtt(2), put("ipa", BLOCK)),
            "rtte_state": (rtt(3), lambda door, args: occupied(door, {**args, "base": 0})),
            "held": (BUSY, held),
            "src_pas": (INPUT, taken("src")),
            **granule("data", delegated=True),
        },
        (("realm_state", "rtt_walk"), ("ipa_bound", "data_state"), ("rtt_walk", "data_state"),
         ("rtte_state", "data_state"), ("realm_state", "ipa_align"), ("src_state", "realm_state")),
    ),
    Row(
        Rmi2.RTT_DATA_MAP,
        to_map,
        {
            **RD,
            "realm_state": (REALM, terminated),
            "size_valid": (INPUT, put("top", 0)),
            "oaddr_type": (INPUT, put("flags", 0)),
            "list_count": (INPUT, put("flags", 2)),
            "list_align": (INPUT, lambda door, args: args.update(flags=2 | 1 << 2, oaddr=door.host_list(0) + 4)),
            "list_state": (INPUT, lambda door, args: args.update(flags=2 | 1 << 2, oaddr=door.delegated())),
            "desc_state": (INPUT, lambda door, args: args.update(oaddr=args["oaddr"] | 1 << 63)),
            "desc_level": (INPUT, lambda door, args: args.update(oaddr=args["oaddr"] | 3)),
            "desc_empty": (INPUT, lambda door, args: args.update(oaddr=args["oaddr"] & ~0xFFF)),
            "base_align": (INPUT, add("base", 8)),
            "base_bound": (INPUT, lambda door, args: args.update(base=HALF, top=HALF + PAGE)),
            "range_level": (rtt(2), lambda door, args: args.update(oaddr=desc(DRAM.top - BLOCK, 1, 2))),
            "rtt_walk": (rtt(2), lambda door, args: args.update(base=BLOCK, top=BLOCK + PAGE)),
            "oaddr_align": (INPUT, lambda door, args: args.update(
                base=1 << 30, top=(1 << 30) + BLOCK, oaddr=desc(DRAM.base + PAGE, 1, 2),
                x=door.tables(args["rd"], 1 << 30, 2)[0])),
            "rtte_state": (rtt(3), occupied),
            "held": (BUSY, held),
            "data_state": (INPUT, undelegated_block),
        },
        (*MAP_ORDERS, ("rtte_state", "data_state")),
    ),
    Row(
        Rmi2.RTT_UNPROT_MAP,
        lambda door: {**to_map(door, HALF), "flags": 1 | 1 << 20},
        {
            **RD,
            "realm_state": (REALM, terminated),
            "size_valid": (INPUT, put("top", 0)),
            "oaddr_type": (INPUT, put("flags", 0)),
            "base_align": (INPUT, add("base", 8)),
            "base_bound": (INPUT, lambda door, args: args.update(base=0, top=PAGE)),
            "s2ap": (INPUT, put("flags", 1 | 4 << 19)),
            "rtt_walk": (rtt(2), lambda door, args: args.update(base=HALF + BLOCK, top=HALF + BLOCK + PAGE)),
            "memattr": (INPUT, put("flags", 1 | 4 << 16)),
            "rtte_state": (rtt(3), shared_already),
        },
        (*MAP_ORDERS, ("s2ap", "rtt_walk"), ("rtt_walk", "memattr"), ("memattr", "rtte_state")),
    ),
    Row(
        Rmi2.RTT_DATA_UNMAP,
        mapped,
        {
            **RD,
            "size_valid": (INPUT, put("top", 0)),
            "base_align": (INPUT, add("base", 8)),
            "top_align": (INPUT, add("top", 8)),
            "base_bound": (INPUT, lambda door, args: args.update(base=HALF, top=HALF + PAGE)),
            "oaddr_type": (INPUT, put("flags", 3)),
            "oaddr_sbz": (INPUT, put("oaddr", 8)),
            "list_count": (INPUT, lambda door, args: args.update(flags=2, oaddr=door.host_page())),
            "list_align": (INPUT, lambda door, args: args.update(flags=2 | 1 << 2, oaddr=door.host_page() + 4)),
            "list_state": (INPUT, lambda door, args: args.update(flags=2 | 1 << 2, oaddr=door.delegated())),
            "entry_align": (rtt(2), lambda door, args: args.update(base=BLOCK + PAGE, top=2 * BLOCK)),
            "no_progress": (rtt(2), lambda door, args: args.update(base=BLOCK, top=BLOCK + PAGE)),
        },
        (("oaddr_sbz", "entry_align"), ("rd_state", "no_progress")),
    ),
    Row(
        Rmi2.RTT_UNPROT_UNMAP,
        shared,
        {
            **RD,
            "size_valid": (INPUT, put("top", 0)),
            "base_bound": (INPUT, lambda door, args: args.update(base=0, top=PAGE)),
            "oaddr_sbz": (INPUT, put("oaddr", 8)),
            "table_entry": (rtt(1), lambda door, args: args.update(base=HALF + (1 << 30) + PAGE, top=HALF + (2 << 30))),
            "no_progress": (rtt(1), lambda door, args: args.update(base=HALF + (1 << 30), top=HALF + (1 << 30) + PAGE)),
        },
        (("oaddr_sbz", "no_progress"), ("rd_state", "no_progress")),
    ),
    Row(
        Rmi2.RTT_AUX_MAP_PROTECTED,
        aux_realm,
        {
            **RD,
            "realm_state": (REALM, terminated),
            "ipa_align": (INPUT, add("ipa", 8)),
            "ipa_bound": (INPUT, put("ipa", HALF)),
            "index_primary": (INPUT, put("index", 0)),
            "index_bound": (INPUT, put("index", 2)),
            "tree_pp": (INPUT, lambda door, args: args.update(rd=realm_with_tables(door))),
            "primary_state": (rtt(3), put("ipa", PAGE)),
            "aux_walk": (rtt_aux(2), lambda door, args: door.ok(Rmi2.RTT_AUX_FOLD, args["rd"], 0, 3, 1)),
        },
        (("realm_state", "primary_state"), ("index_bound", "primary_state")),
    ),
    Row(
        Rmi2.RTT_AUX_UNMAP_PROTECTED,
        lambda door: {**(args := aux_realm(door)), "x": door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, args["rd"], 0, 1)[0]},
        {
            **RD,
            "ipa_align": (INPUT, add("ipa", 8)),
            "ipa_bound": (INPUT, put("ipa", HALF)),
            "index_bound": (INPUT, put("index", 2)),
            "aux_state": (rtt_aux(3), put("ipa", PAGE)),
        },
    ),
    Row(
        Rmi2.RTT_AUX_MAP_UNPROTECTED,
        aux_share,
        {
            **RD,
            "realm_state": (REALM, terminated),
            "ipa_align": (INPUT, add("ipa", PAGE)),
            "ipa_bound": (INPUT, put("ipa", 0)),
            "index_primary": (INPUT, put("index", 0)),
            "primary_state": (rtt(1), add("ipa", 1 << 30)),
        },
    ),
    Row(
        Rmi2.RTT_AUX_UNMAP_UNPROTECTED,
        aux_share,
        {
            **RD,
            "ipa_align": (INPUT, add("ipa", PAGE)),
            "ipa_bound": (INPUT, put("ipa", 0)),
            "index_bound": (INPUT, put("index", 2)),
        },
    ),
    Row(
        Rmi2.RMM_CONFIG_GET,
        lambda door: {"config_ptr": door.host_page()},
        {
            "config_zero": (INPUT, put("config_ptr", 0)),
            **granule("config_ptr", delegated=False),
            "config_pas": (INPUT, taken("config_ptr")),
        },
    ),
)  # fmt: skip

OTHERWISE_TESTED = {
    Rmi2.VERSION: "test_realms_2_0.py", Rmi2.FEATURES: "test_realms_2_0.py", Rmi2.RMM_CONFIG_SET: "test_realms_2_0.py",
    Rmi2.RMM_ACTIVATE: "test_realms_2_0.py", Rmi2.GRANULE_TRACKING_GET: "test_realms_2_0.py",
    Rmi2.GPT_L1_CREATE: "test_realms_2_0.py", Rmi2.OP_CONTINUE: "test_operations_2_0.py",
    Rmi2.OP_MEM_DONATE: "test_operations_2_0.py", Rmi2.OP_MEM_RECLAIM: "test_operations_2_0.py",
    Rmi2.OP_CANCEL: "test_operations_2_0.py",
    Rmi2.RTT_SET_S2AP: "test_planes.py", Rmi2.RTT_AUX_CREATE: "test_planes.py",
    Rmi2.RTT_AUX_DESTROY: "test_planes.py", Rmi2.RTT_AUX_FOLD: "test_planes.py",
    Rmi2.PSCI_COMPLETE: "the same function as in 1.0: test_conditions.py",
}  # fmt: skip
"""Commands without rows, and where their refusals are tested (tests/cca_machine/rmm unless said otherwise)."""
