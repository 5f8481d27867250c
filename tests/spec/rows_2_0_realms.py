"""RMI 2.0: Realms, RECs, stateful operations, and the RMM as a whole."""

from __future__ import annotations

import msgspec
from spec_door import OUTSIDE, PAGE
from spec_door_2_0 import DONATE, GLOBAL, GPT, INPUT, REALM, REC, RECLAIM, Door2, desc
from spec_rows_2_0 import (
    GATE,
    HANDLES,
    RD,
    REC_GROUP,
    Arguments,
    Break,
    Row,
    activated,
    add,
    conditions,
    fresh,
    group,
    put,
    realm_params,
    running,
    taken,
    terminated,
)

from cca_machine.abi.guest import Exception_, ExceptionKind, Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi2 import PlaneTables, RealmParams2, RecEnter2, RecParams2, Rmi2
from cca_machine.hardware.gpt import World

PRIVATE = 1 << 7
PROTECTED_ABORT = Exception_(ExceptionKind.SYNC, 0x24 << 26 | 1 << 25 | 5, 0, 0x5000 >> 8)
SMC_CPU_ON = 0xC400_0003


def _create(door: Door2) -> Arguments:
    return {"rd": door.delegated(), "params_ptr": door.host_page(door.params().encode())}


def _params(door: Door2, args: Arguments) -> RealmParams2:
    return RealmParams2.decode(door.hardware.memory.read(World.NS, args["params_ptr"], PAGE))


def _roots(moved_by: int, *, delegated: bool = True) -> Break:
    def change(door: Door2, args: Arguments) -> None:
        base = door.delegated(4, 2 * PAGE) if delegated else door.granules(2, 2 * PAGE)
        realm_params(rtt_base=base + moved_by)(door, args)

    return change


def _rd_in_roots(door: Door2, args: Arguments) -> None:
    args["rd"] = _params(door, args).rtt_base + PAGE


def _machine(**later: object) -> Break:
    """The machine offers less than the call wants."""

    def change(door: Door2, args: Arguments) -> None:
        core = door.rmm.core
        core.features = msgspec.structs.replace(
            core.features, later=msgspec.structs.replace(core.features.later, **later)
        )

    return change


def _tree_unsupported(door: Door2, args: Arguments) -> None:
    _machine(plane_tables=PlaneTables.SINGLE_TREE)(door, args)
    realm_params(num_aux_planes=1, flags1=1)(door, args)


def _s2ap_unsupported(door: Door2, args: Arguments) -> None:
    _machine(s2ap_indirect=False)(door, args)
    realm_params(flags1=2)(door, args)


def _no_vmids(door: Door2, args: Arguments) -> None:
    while len(door.rmm.state.vmids) < 256:
        door.realm(num_aux_planes=3, flags1=2)


def _no_mecids(door: Door2, args: Arguments) -> None:
    _machine(mec_count=1)(door, args)
    door.realm(flags=PRIVATE)
    realm_params(flags=PRIVATE)(door, args)


def _zombie(door: Door2) -> Arguments:
    rd = door.realm()
    door.ok(Rmi2.REALM_TERMINATE, rd)
    return {"rd": rd}


def _with_rec(door: Door2, args: Arguments) -> None:
    args["rd"] = rd = door.realm()
    door.rec(rd)
    door.ok(Rmi2.REALM_TERMINATE, rd)


def _rec_runs(door: Door2, args: Arguments) -> None:
    args["rd"] = rd = door.realm()
    door.rmm.state.recs[door.rec(rd)].running = True


def _to_enter(door: Door2) -> Arguments:
    rd, (rec, other) = door.running_realm(recs=2)
    return {"rec": rec, "run_ptr": door.host_page(), "rd": rd, "other": other}


def _flag(bit: int) -> Break:
    def change(door: Door2, args: Arguments) -> None:
        half = RecEnter2.decode(door.hardware.memory.read(World.NS, args["run_ptr"], 0x800))
        door.write(args["run_ptr"], msgspec.structs.replace(half, flags=half.flags | bit).encode())

    return change


def _stopped(door: Door2, args: Arguments) -> None:
    door.enter(args["rec"], [Smc((Psci.CPU_OFF,))])


def _waiting(door: Door2, args: Arguments) -> None:
    door.enter(args["rec"], [Smc((SMC_CPU_ON, 1, 0x1000, 0))])


def _aborted(door: Door2, args: Arguments) -> None:
    """The last exit was a data abort that nobody can emulate, and the Host says it has."""
    door.enter(args["rec"], [PROTECTED_ABORT])
    _flag(1)(door, args)


def _psci(door: Door2) -> Arguments:
    rd, (caller, target) = door.running_realm(recs=2)
    door.enter(caller, [Smc((SMC_CPU_ON, 1, 0x1000, 5))])
    return {"calling_rec": caller, "target_rec": target, "status": 0, "rd": rd}


def _sibling(name: str) -> Break:
    """The argument is a REC of another Realm, with the same request or index."""

    def change(door: Door2, args: Arguments) -> None:
        _, (caller, target) = door.running_realm(recs=2)
        door.enter(caller, [Smc((SMC_CPU_ON, 1, 0x1000, 5))])
        args[name] = caller if name == "calling_rec" else target

    return change


def _no_request(door: Door2, args: Arguments) -> None:
    _, (caller, _) = door.running_realm(recs=2)
    args["calling_rec"] = caller


def _other_target(door: Door2, args: Arguments) -> None:
    _, recs = door.running_realm(recs=3)
    door.enter(recs[0], [Smc((SMC_CPU_ON, 1, 0x1000, 5))])
    args.update(calling_rec=recs[0], target_rec=recs[2])


def _to_donate(door: Door2) -> Arguments:
    _, handle = door.begin_rec(door.realm())
    return {"handle": handle, "list": door.host_list(desc(door.delegated(16), 16)), "count": 1}


def _to_continue(door: Door2) -> Arguments:
    args = _to_donate(door)
    door.call(Rmi2.OP_MEM_DONATE, args["handle"], args["list"], args["count"])
    return {"handle": args["handle"], "flags": 0}


def _to_reclaim(door: Door2) -> Arguments:
    handle = door.call(Rmi2.REC_DESTROY, door.rec(door.realm()))[1]
    return {"handle": handle, "list": door.host_page(), "count": 16}


def _other_stage(door: Door2, args: Arguments) -> None:
    """The handle of an operation that wants memory where it should not, or the other way round."""
    _, waiting = door.begin_rec(door.realm())
    args["handle"] = waiting if "flags" in args or not _wants_memory(door, args) else _to_reclaim(door)["handle"]


def _wants_memory(door: Door2, args: Arguments) -> bool:
    operation = door.rmm.state.operations.get(args["handle"])
    return operation is not None and operation.expected == Rmi2.OP_MEM_DONATE


def _descriptor(change: int, count: int = 16) -> Break:
    def make(door: Door2, args: Arguments) -> None:
        args["list"] = door.host_list(desc(door.delegated(17), count) ^ change)

    return make


HANDLE = conditions(handle=(INPUT, put("handle", 99)), expected=(INPUT, _other_stage))
_SUPP = {
    "params_supp_lpa2": (INPUT, realm_params(flags=1)),
    "params_supp_s2sz_low": (INPUT, realm_params(s2sz=31)),
    "params_supp_s2sz_high": (INPUT, realm_params(s2sz=49)),
    "params_supp_bps_zero": (INPUT, realm_params(num_bps=0)),
    "params_supp_bps": (INPUT, realm_params(num_bps=6)),
    "params_supp_wps_zero": (INPUT, realm_params(num_wps=0)),
    "params_supp_wps": (INPUT, realm_params(num_wps=4)),
    "params_supp_sve": (INPUT, realm_params(flags=2)),
    "params_supp_pmu": (INPUT, realm_params(flags=4)),
    "params_supp_da": (INPUT, realm_params(flags=8)),
    "mec_policy": (INPUT, realm_params(flags=2 << 7)),
    "params_valid_hash": (INPUT, realm_params(hash_algo=3)),
    "rtt_start_negative": (INPUT, realm_params(rtt_level_start=-1)),
    "rtt_start": (INPUT, realm_params(rtt_level_start=3)),
    "rtt_num_level": (INPUT, realm_params(rtt_num_start=1)),
    "num_aux_planes": (INPUT, realm_params(num_aux_planes=4, flags1=2)),
    "ats_plane": (INPUT, realm_params(ats_plane=1)),
    "planes_supp_tree": (INPUT, _tree_unsupported),
    "planes_tree_s2ap": (INPUT, realm_params(num_aux_planes=1, flags1=0)),
    "planes_supp_s2ap": (INPUT, _s2ap_unsupported),
    "rtt_align": (INPUT, _roots(PAGE)),
    "vmids": (GLOBAL, _no_vmids),
    "mecids": (GLOBAL, _no_mecids),
    "alias": (INPUT, _rd_in_roots),
}

ROWS: tuple[Row, ...] = (
    Row(
        Rmi2.REALM_CREATE,
        _create,
        {
            **GATE, **group("params_ptr", delegated=True),
            **conditions(params_pas=(INPUT, taken("params_ptr")), **_SUPP),
            **group("rd", delegated=False), **conditions(rtt_state=(INPUT, _roots(0, delegated=False))),
        },
        (frozenset(("vmids", "mecids")), frozenset(("rtt_align", "rtt_state")),
         *(frozenset(("alias", other)) for other in ("rd_align", "rd_bound", "rd_state", "rtt_state")),
         frozenset(("rtt_align", "rtt_num_level"))),
    ),
    Row(
        Rmi2.REALM_ACTIVATE, lambda door: {"rd": door.realm()},
        {**GATE, **RD, **conditions(realm_state=(REALM, activated))},
    ),
    Row(
        Rmi2.REALM_TERMINATE, lambda door: {"rd": door.realm()},
        {**GATE, **RD, **conditions(rec_running=(REALM, _rec_runs))},
    ),
    Row(
        Rmi2.REALM_DESTROY,
        _zombie,
        {**GATE, **RD, **conditions(
            realm_live_rec=(REALM, _with_rec),
            realm_state=(REALM, lambda door, args: args.update(rd=door.realm())),
            realm_live_rtt=(REALM, lambda door, args: door.tables(args["rd"], 0, to=2) and None),
        )},
        (frozenset(("realm_live_rec", "realm_state")), frozenset(("realm_live_rec", "realm_live_rtt"))),
    ),
    Row(
        Rmi2.REC_CREATE,
        lambda door: {"rd": door.realm(), "rec": door.delegated(), "params_ptr": door.host_page()},
        {**GATE, **group("rec", delegated=False), **HANDLES},
        answers=DONATE,
    ),
    Row(
        Rmi2.REC_DESTROY,
        lambda door: {"rec": door.rec(door.realm())},
        {**GATE, **HANDLES, **REC_GROUP, **conditions(rec_state=(REC, running("rec")))},
        answers=RECLAIM,
    ),
    Row(
        Rmi2.REC_ENTER,
        _to_enter,
        {**GATE, **group("run_ptr", delegated=True), **REC_GROUP, **conditions(
            rec_state=(REC, running("rec")),
            run_pas=(INPUT, taken("run_ptr")),
            realm_state=(REALM, terminated),
            rec_runnable=(REC, _stopped),
            rec_psci=(REC, _waiting),
            inject_sea=(REC, _flag(2)),
            rec_mmio=(REC, _aborted),
        )},
        (frozenset(("rec_runnable", "rec_psci", "rec_mmio")),),
    ),
    Row(
        Rmi2.PSCI_COMPLETE,
        _psci,
        {
            **GATE, **conditions(alias=(INPUT, lambda door, args: args.update(target_rec=args["calling_rec"]))),
            **group("calling_rec", delegated=True, suffix="gran_state"),
            **group("target_rec", delegated=True, suffix="gran_state"),
            **conditions(
                pending=(INPUT, _no_request),
                owner=(INPUT, _sibling("target_rec")),
                target=(INPUT, _other_target),
                status=(INPUT, put("status", 1)),
            ),
        },
        (frozenset(("alias", "pending", "owner", "target")), frozenset(("pending", "status"))),
    ),
    Row(Rmi2.OP_CONTINUE, _to_continue, {**GATE, **HANDLE}, (frozenset(("handle", "expected")),)),
    Row(
        Rmi2.OP_MEM_DONATE,
        _to_donate,
        {**GATE, **HANDLE, **conditions(
            list_align=(INPUT, add("list", 4)),
            list_state=(INPUT, fresh("list", delegated=True)),
            desc_valid=(INPUT, _descriptor(1 << 63)),
            desc_align=(INPUT, _descriptor(1, 1)),
            too_much=(INPUT, _descriptor(0, 17)),
        )},
        (frozenset(("handle", "expected")), frozenset(("desc_valid", "desc_align", "too_much")),
         *(frozenset(("list_state", one)) for one in ("desc_valid", "desc_align", "too_much"))),
        answers=0x00D,
    ),
    Row(
        Rmi2.OP_MEM_RECLAIM,
        _to_reclaim,
        {**GATE, **HANDLE, **conditions(
            list_align=(INPUT, add("list", 4)),
            list_state=(INPUT, fresh("list", delegated=True)),
        )},
        (frozenset(("handle", "expected")),),
        answers=0x00D,
    ),
    Row(
        Rmi2.VERSION, lambda door: {"req": 0x2_0000}, conditions(req=(INPUT, put("req", 0x1_0000))),
    ),
    Row(Rmi2.FEATURES, lambda door: {"index": 0}, conditions(index=(INPUT, put("index", 5)))),
    Row(
        Rmi2.RMM_CONFIG_GET,
        lambda door: {"config_ptr": door.host_page()},
        {**conditions(config_zero=(INPUT, put("config_ptr", 0))), **group("config_ptr", delegated=True),
         **conditions(config_pas=(INPUT, taken("config_ptr")))},
    ),
    Row(
        Rmi2.GRANULE_TRACKING_GET,
        lambda door: {"start": OUTSIDE, "end": OUTSIDE + PAGE},
        conditions(
            start_bound=(INPUT, put("start", 1 << 52)),
            end_bound=(INPUT, put("end", 1 << 52)),
            start_align=(INPUT, add("start", 8)),
            end_align=(INPUT, add("end", 8)),
            size_valid=(INPUT, put("end", OUTSIDE)),
        ),
    ),
)  # fmt: skip

BEFORE_ACTIVATION: tuple[Row, ...] = (
    Row(
        Rmi2.RMM_CONFIG_SET,
        lambda door: {"config_ptr": door.host_page()},
        {
            **conditions(
                rmm_state=(GLOBAL, lambda door, args: door.ok(Rmi2.RMM_ACTIVATE) and None),
                config_zero=(INPUT, put("config_ptr", 0)),
            ),
            "config_ptr_align": group("config_ptr", delegated=True)["config_ptr_align"],
            "config_ptr_bound": group("config_ptr", delegated=True)["config_ptr_bound"],
            **conditions(
                config_pas=(INPUT, taken("config_ptr")),
                config_supp=(INPUT, lambda door, args: door.write(args["config_ptr"], b"\x01")),
            ),
        },
    ),
    Row(
        Rmi2.RMM_ACTIVATE, lambda door: {},
        conditions(rmm_state=(GLOBAL, lambda door, args: door.ok(Rmi2.RMM_ACTIVATE) and None)),
    ),
)  # fmt: skip
"""Commands that only an RMM which is not activated serves."""

ALWAYS_REFUSED: tuple[Row, ...] = (
    Row(
        Rmi2.OP_CANCEL, lambda door: {"handle": door.begin_rec(door.realm())[1]},
        {**GATE, **conditions(cancel=(INPUT, put("handle", 0)))},
    ),
    Row(
        Rmi2.GPT_L1_DESTROY, lambda door: {"addr": 0},
        {**GATE, **conditions(
            addr_bound=(INPUT, put("addr", 1 << 52)),
            addr_align=(INPUT, add("addr", PAGE)),
            l1_platform=(GLOBAL, lambda door, args: None),
        )},
    ),
    Row(
        Rmi2.GPT_L1_CREATE, lambda door: {"addr": 0},
        {**GATE, **conditions(addr_align=(INPUT, add("addr", PAGE)), l1_exists=(GPT, put("addr", 0)))},
        (frozenset(("addr_align", "l1_exists")),),
    ),
)  # fmt: skip
"""Commands that cannot succeed on this machine."""


def _rec_params(**changes: object) -> Break:
    def change(door: Door2, args: Arguments) -> None:
        page = RecParams2.decode(door.hardware.memory.read(World.NS, args["params_ptr"], PAGE))
        door.write(args["params_ptr"], msgspec.structs.replace(page, **changes).encode())

    return change


def _last_rec(door: Door2, args: Arguments) -> None:
    door.rmm.state.realms[args["rd"]].num_recs = (1 << door.features.max_recs_order) - 1


LATE = {
    **group("params_ptr", delegated=True),
    **conditions(params_pas=(INPUT, taken("params_ptr"))),
    **RD,
    **conditions(
        num_recs=(REALM, _last_rec),
        realm_state=(REALM, activated),
        mpidr_reserved=(INPUT, _rec_params(mpidr=1 << 5)),
        mpidr_index=(INPUT, _rec_params(mpidr=7)),
    ),
}
"""Conditions of REC_CREATE that are found when its memory has come, and told when it is back."""
