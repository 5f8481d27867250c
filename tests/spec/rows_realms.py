"""Realms and RECs."""

from __future__ import annotations

import msgspec
from rows_memory import activate, gran_pas, granule_group, rd_group, rec_group
from spec_door import INPUT, PAGE, REALM, REALM_OFF, REC, Door
from spec_rows import Arguments, Break, Command, Condition, put

from cca_machine.abi.guest import Exception_, ExceptionKind, Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import RealmParams, RecEnter, RecParams, Rmi
from cca_machine.hardware.gpt import World

MMIO_READ = Exception_(ExceptionKind.SYNC, 0x24 << 26 | 1 << 25 | 1 << 24 | 3 << 22 | 5, 0x123, (1 << 39) >> 8)
PROTECTED_ABORT = Exception_(ExceptionKind.SYNC, 0x24 << 26 | 1 << 25 | 1 << 24 | 3 << 22 | 5, 0, 0x5000 >> 8)


def _realm_create(door: Door) -> Arguments:
    return {"rd": door.delegated(), "params_ptr": door.host_page(door.realm_params().encode())}


def _params(**changes: int) -> Break:
    def change(door: Door, args: Arguments) -> None:
        page = door.hardware.memory.read(World.NS, args["params_ptr"], PAGE)
        params = msgspec.structs.replace(RealmParams.decode(page), **changes)
        door.write(args["params_ptr"], params.encode())

    return change


def _rd_in_roots(door: Door, args: Arguments) -> None:
    page = door.hardware.memory.read(World.NS, args["params_ptr"], PAGE)
    args["rd"] = RealmParams.decode(page).rtt_base + PAGE


def _roots(moved_by: int) -> Break:
    def change(door: Door, args: Arguments) -> None:
        base = door.delegated(4, 2 * PAGE)
        _params(rtt_base=base + moved_by)(door, args)

    return change


def _root_not_delegated(door: Door, args: Arguments) -> None:
    _params(rtt_base=door.granules(2, 2 * PAGE))(door, args)


def _vmid_taken(door: Door, args: Arguments) -> None:
    door.realm(vmid=77)
    _params(vmid=77)(door, args)


def _rd(door: Door) -> Arguments:
    return {"rd": door.realm()}


def _a_rec(door: Door, args: Arguments) -> None:
    door.rec(args["rd"])


def _a_table(door: Door, args: Arguments) -> None:
    door.tables(args["rd"], 0, to=2)


def _rec_create(door: Door) -> Arguments:
    rd = door.realm()
    return {"rd": rd, "rec": door.delegated(), "params_ptr": door.host_page(door.rec_params().encode())}


def _rec_params(door: Door, args: Arguments, **changes: object) -> None:
    page = door.hardware.memory.read(World.NS, args["params_ptr"], PAGE)
    door.write(args["params_ptr"], msgspec.structs.replace(RecParams.decode(page), **changes).encode())


def _rec_param(**changes: object) -> Break:
    return lambda door, args: _rec_params(door, args, **changes)


def _aux(at: int, pick: str) -> Break:
    def change(door: Door, args: Arguments) -> None:
        page = door.hardware.memory.read(World.NS, args["params_ptr"], PAGE)
        aux = list(RecParams.decode(page).aux)
        aux[at] = {"rec": args["rec"], "other": aux[0], "unaligned": aux[at] + 0x800, "ns": door.granules()}[pick]
        _rec_params(door, args, aux=tuple(aux))

    return change


def _rec_destroy(door: Door) -> Arguments:
    return {"rec": door.rec(door.realm())}


def _rec_enter(door: Door) -> Arguments:
    _, (rec, _) = door.running_realm(recs=2)
    return {"rec": rec, "run_ptr": door.host_page()}


def _entry(**fields: object) -> Break:
    def change(door: Door, args: Arguments) -> None:
        half = door.hardware.memory.read(World.NS, args["run_ptr"], 0x800)
        entry = msgspec.structs.replace(RecEnter.decode(half), **fields)
        door.write(args["run_ptr"], entry.encode())

    return change


def _flag(bit: int) -> Break:
    def change(door: Door, args: Arguments) -> None:
        half = door.hardware.memory.read(World.NS, args["run_ptr"], 0x800)
        _entry(flags=RecEnter.decode(half).flags | bit)(door, args)

    return change


def _not_activated(door: Door, args: Arguments) -> None:
    args["rec"] = door.rec(door.realm())


def _sibling(door: Door, rec: int, index: int) -> int:
    recs = door.rmm.state.recs
    return next(pa for pa, other in recs.items() if other.rd == recs[rec].rd and other.index == index)


def _switched_off(door: Door, args: Arguments) -> None:
    door.enter(_sibling(door, args["rec"], 1), [Smc((Psci.SYSTEM_OFF,))])


def _not_runnable(door: Door, args: Arguments) -> None:
    door.enter(args["rec"], [Smc((Psci.CPU_OFF,))])


def _psci_waits(door: Door, args: Arguments) -> None:
    rd = door.realm()
    caller, _ = door.rec(rd, 0), door.rec(rd, 1)
    door.ok(Rmi.REALM_ACTIVATE, rd)
    door.enter(caller, [Smc((Psci.AFFINITY_INFO, 1, 0))])
    args["rec"] = caller


def _psci_complete(door: Door) -> Arguments:
    rd = door.realm()
    calling, target = door.rec(rd, 0), door.rec(rd, 1, flags=0)
    door.rec(rd, 2)
    door.ok(Rmi.REALM_ACTIVATE, rd)
    door.enter(calling, [Smc((Psci.CPU_ON, 1, 0x1000, 7))])
    return {"calling_rec": calling, "target_rec": target, "status": 0}


def _alias(door: Door, args: Arguments) -> None:
    args["target_rec"] = args["calling_rec"]


def _nothing_pending(door: Door, args: Arguments) -> None:
    door.ok(Rmi.PSCI_COMPLETE, args["calling_rec"], args["target_rec"], 0)


def _other_owner(door: Door, args: Arguments) -> None:
    rd = door.realm()
    door.rec(rd, 0)
    args["target_rec"] = door.rec(rd, 1)


def _other_target(door: Door, args: Arguments) -> None:
    args["target_rec"] = _sibling(door, args["calling_rec"], 2)


def _params_ptr() -> dict[str, Condition]:
    return {
        **granule_group("params_ptr", wanted_delegated=False),
        "params_pas": Condition(INPUT, gran_pas("params_ptr")),
    }


COMMANDS = (
    Command(
        Rmi.REALM_CREATE,
        _realm_create,
        {
            **_params_ptr(),
            "params_valid": Condition(INPUT, _params(hash_algo=2)),
            "params_supp_lpa2": Condition(INPUT, _params(flags=1)),
            "params_supp_sve": Condition(INPUT, _params(flags=2)),
            "params_supp_pmu": Condition(INPUT, _params(flags=4, pmu_num_ctrs=7)),
            "params_supp_pmu_none": Condition(INPUT, _params(flags=4, pmu_num_ctrs=0)),
            "params_supp_s2sz_high": Condition(INPUT, _params(s2sz=49)),
            "params_supp_s2sz_low": Condition(INPUT, _params(s2sz=31)),
            "params_supp_bps_zero": Condition(INPUT, _params(num_bps=0)),
            "params_supp_bps": Condition(INPUT, _params(num_bps=6)),
            "params_supp_wps_zero": Condition(INPUT, _params(num_wps=0)),
            "params_supp_wps": Condition(INPUT, _params(num_wps=4)),
            "alias": Condition(INPUT, _rd_in_roots),
            **granule_group("rd", wanted_delegated=True),
            "rtt_align": Condition(INPUT, _roots(PAGE)),
            "rtt_num_level": Condition(INPUT, _params(rtt_num_start=1)),
            "rtt_start": Condition(INPUT, _params(rtt_level_start=3)),
            "rtt_start_negative": Condition(INPUT, _params(rtt_level_start=-1)),
            "rtt_state": Condition(INPUT, _root_not_delegated),
            "vmid_valid": Condition(INPUT, _params(vmid=256)),
            "vmid_used": Condition(INPUT, _vmid_taken),
        },
    ),
    Command(Rmi.REALM_ACTIVATE, _rd, {**rd_group(), "realm_state": Condition(REALM, activate)}),
    Command(
        Rmi.REALM_DESTROY,
        _rd,
        {**rd_group(), "realm_live_rec": Condition(REALM, _a_rec), "realm_live_rtt": Condition(REALM, _a_table)},
    ),
    Command(Rmi.REC_AUX_COUNT, _rd, rd_group()),
    Command(
        Rmi.REC_CREATE,
        _rec_create,
        {
            **_params_ptr(),
            "num_aux_high": Condition(INPUT, _rec_param(num_aux=17)),
            "aux_align": Condition(INPUT, _aux(3, "unaligned")),
            "aux_alias": Condition(INPUT, _aux(3, "other")),
            "aux_alias_rec": Condition(INPUT, _aux(3, "rec")),
            "aux_state": Condition(INPUT, _aux(15, "ns")),
            **granule_group("rec", wanted_delegated=True),
            **rd_group(),
            "realm_state": Condition(REALM, activate),
            "mpidr_index": Condition(INPUT, _rec_param(mpidr=1)),
            "mpidr_reserved": Condition(INPUT, _rec_param(mpidr=0x10)),
            "num_aux": Condition(INPUT, _rec_param(num_aux=15)),
        },
    ),
    Command(Rmi.REC_DESTROY, _rec_destroy, rec_group()),
    Command(
        Rmi.REC_ENTER,
        _rec_enter,
        {
            **granule_group("run_ptr", wanted_delegated=False),
            **rec_group(),
            "run_pas": Condition(INPUT, gran_pas("run_ptr")),
            "realm_new": Condition(REALM, _not_activated),
            "system_off": Condition(REALM_OFF, _switched_off),
            "rec_runnable": Condition(REC, _not_runnable),
            "rec_psci": Condition(REC, _psci_waits),
            "rec_gicv3": Condition(REC, _entry(gicv3_hcr=1)),
            "inject_sea": Condition(REC, _flag(2)),
            "rec_mmio": Condition(REC, _flag(1)),
        },
    ),
    Command(
        Rmi.PSCI_COMPLETE,
        _psci_complete,
        {
            "alias": Condition(INPUT, _alias),
            **rec_group("calling_rec"),
            **rec_group("target_rec"),
            "pending": Condition(INPUT, _nothing_pending),
            "owner": Condition(INPUT, _other_owner),
            "target": Condition(INPUT, _other_target),
            "status": Condition(INPUT, put("status", 1)),
        },
        free=(frozenset(("alias", "pending", "owner", "target")), frozenset(("pending", "status"))),
    ),
)
