"""Command scenarios of the compliance suite, RMI: each intent of the failure lists, then the success and its trace.

Written from the suite's scenario document (ARM-software/cca-rmm-acs docs/command_scenarios.rst); a test has the name of
its scenario. Stimuli that need more of a platform than memory (read-as-zero regions, memory without encryption) are the
same here as addresses that are no memory.
"""

from __future__ import annotations

import msgspec
import pytest
from acs_stage import BLOCK, HALF, MINUS_1, NO_TABLE, WIDTH, Stage
from spec_door import INPUT, PAGE, REALM, REALM_OFF, REC, SUCCESS, Door, rtt

from cca_machine.abi.guest import Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import RecEnter, RecParams, Ripas, Rmi
from cca_machine.abi.rsi import Rsi

UNASSIGNED, ASSIGNED, TABLE = 0, 1, 2


@pytest.fixture
def stage() -> Stage:
    return Stage()


def page_of(stage: Stage, rd: int | None = None, ipa: int = PAGE) -> dict[str, int]:
    """Valid arguments for mapping a page."""
    return {"rd": stage.new if rd is None else rd, "data": stage.delegated(), "ipa": ipa}


def test_cmd_rmi_version(stage: Stage) -> None:
    x = stage.ok(Rmi.VERSION, 0x1_0000)
    assert x[1:3] == (0x1_0000, 0x1_0000)
    assert stage.call(Rmi.VERSION, 0x7FFF_FFFF)[0] == INPUT


def test_cmd_rmi_features(stage: Stage) -> None:
    assert stage.ok(Rmi.FEATURES, 0)[1] == stage.features.register_0
    assert [stage.ok(Rmi.FEATURES, index)[1] for index in (1, 2, MINUS_1)] == [0, 0, 0]


def test_mec_feat_support(stage: Stage) -> None:
    """Without FEAT_MEC the largest MECID, in feature register 1, is zero."""
    assert stage.ok(Rmi.FEATURES, 1)[1] == 0


def test_cmd_granule_delegate(stage: Stage) -> None:
    good = {"addr": stage.granules()}
    stage.refuses_every(Rmi.GRANULE_DELEGATE, good, "addr", "NS")
    stage.succeeds(Rmi.GRANULE_DELEGATE, good)
    stage.refuses(Rmi.GRANULE_DELEGATE, good)


def test_cmd_granule_undelegate(stage: Stage) -> None:
    good = {"addr": stage.delegated()}
    stage.refuses_every(Rmi.GRANULE_UNDELEGATE, good, "addr", "DELEGATED")
    stage.succeeds(Rmi.GRANULE_UNDELEGATE, good)
    stage.succeeds(Rmi.GRANULE_DELEGATE, good)


def test_cmd_data_create(stage: Stage) -> None:
    good = {**page_of(stage), "src": stage.host_page(b"content"), "flags": 1}
    command = Rmi.DATA_CREATE
    stage.refuses_every(command, good, "rd", "RD")
    stage.refuses_every(command, good, "data", "DELEGATED")
    stage.refuses_every(command, good, "src", "NS")
    stage.refuses(command, good, data=stage.secure)
    for rd, answer in ((stage.active, REALM), (stage.off, REALM), (stage.null, INPUT)):
        stage.refuses(command, good, answer, rd=rd)
    for ipa in (PAGE + 8, HALF, WIDTH, HALF + NO_TABLE):
        stage.refuses(command, good, ipa=ipa)
    stage.refuses(command, good, rtt(1), ipa=NO_TABLE)
    stage.refuses(command, good, rtt(3), ipa=0)
    stage.succeeds(command, good)
    assert stage.entry(stage.new, PAGE) == (3, ASSIGNED, good["data"], Ripas.RAM)


def test_cmd_data_create_unknown(stage: Stage) -> None:
    command, good = Rmi.DATA_CREATE_UNKNOWN, page_of(stage)
    stage.refuses_every(command, good, "rd", "RD")
    stage.refuses_every(command, good, "data", "DELEGATED")
    for ipa in (PAGE + 8, HALF, WIDTH, HALF + NO_TABLE):
        stage.refuses(command, good, ipa=ipa)
    stage.refuses(command, good, rtt(1), ipa=NO_TABLE)
    stage.refuses(command, good, rtt(3), ipa=0)
    stage.ok(Rmi.RTT_INIT_RIPAS, stage.new, 2 * PAGE, 3 * PAGE)
    stage.ok(Rmi.DATA_DESTROY, stage.new, 0)
    for ipa, ripas in ((PAGE, Ripas.EMPTY), (2 * PAGE, Ripas.RAM), (0, Ripas.DESTROYED)):
        here = page_of(stage, ipa=ipa)
        stage.succeeds(command, here)
        assert stage.entry(stage.new, ipa) == (3, ASSIGNED, here["data"], ripas)
    stage.tables(stage.active, 0)
    stage.succeeds(command, page_of(stage, stage.active))


def test_cmd_data_destroy(stage: Stage) -> None:
    command, good = Rmi.DATA_DESTROY, {"rd": stage.new, "ipa": 0}
    stage.refuses_every(command, good, "rd", "RD")
    for ipa in (8, HALF, WIDTH, HALF + NO_TABLE):
        stage.refuses(command, good, ipa=ipa)
    stage.refuses(command, good, rtt(1), ipa=NO_TABLE)
    stage.refuses(command, good, rtt(3), ipa=PAGE)
    data, top = stage.succeeds(command, good)[1:3]
    assert (data, top) == (stage.states["DATA"], BLOCK)
    assert stage.entry(stage.new, 0) == (3, UNASSIGNED, 0, Ripas.DESTROYED)


def test_cmd_realm_activate(stage: Stage) -> None:
    command, good = Rmi.REALM_ACTIVATE, {"rd": stage.new}
    stage.refuses_every(command, good, "rd", "RD")
    for rd, answer in ((stage.active, REALM), (stage.off, REALM), (stage.null, INPUT)):
        stage.refuses(command, good, answer, rd=rd)
    stage.succeeds(command, good)
    stage.refuses(command, good, REALM)


def test_cmd_realm_create(stage: Stage) -> None:
    command = Rmi.REALM_CREATE
    params = stage.realm_params()
    good = {"rd": stage.delegated(), "params_ptr": stage.host_page(params.encode())}
    stage.refuses_every(command, good, "rd", "DELEGATED")
    stage.refuses_every(command, good, "params_ptr", "NS")
    features = stage.features
    half_delegated = stage.granules(2, 2 * PAGE)
    stage.ok(Rmi.GRANULE_DELEGATE, half_delegated)
    wrong: dict[str, dict[str, int]] = {
        "reserved hash": {"hash_algo": 0xFF},
        "unaligned roots": {"rtt_base": params.rtt_base + 8},
        "incompatible level": {"rtt_level_start": 0},
        "incompatible number": {"rtt_num_start": 1},
        "no roots": {"rtt_num_start": 0},
        "one root not delegated": {"rtt_base": half_delegated},
        "invalid VMID": {"vmid": 1 << 8},
        "VMID in use": {"vmid": stage.rmm.state.realms[stage.new].vmid},
        "too many PMU counters": {"flags": 4, "pmu_num_ctrs": features.pmu_num_ctrs + 1},
        "too many breakpoints": {"num_bps": features.num_bps + 1},
        "too many watchpoints": {"num_wps": features.num_wps + 1},
        "too wide": {"s2sz": features.s2sz + 1},
    }
    for fields in wrong.values():
        page = stage.host_page(msgspec.structs.replace(params, **fields).encode())
        stage.refuses(command, good, params_ptr=page)
    stage.refuses(command, good, rd=params.rtt_base)
    stage.succeeds(command, good)
    assert stage.ok(Rmi.REC_AUX_COUNT, good["rd"])[1] == features.max_rec_aux


def test_cmd_realm_destroy(stage: Stage) -> None:
    command = Rmi.REALM_DESTROY
    stage.refuses_every(command, {"rd": stage.new}, "rd", "RD")
    stage.refuses(command, {"rd": stage.null})
    stage.refuses(command, {"rd": stage.new}, REALM)
    stage.succeeds(command, {"rd": stage.active})
    stage.ok(Rmi.GRANULE_UNDELEGATE, stage.active)


def test_cmd_rec_aux_count(stage: Stage) -> None:
    stage.refuses_every(Rmi.REC_AUX_COUNT, {"rd": stage.new}, "rd", "RD")
    assert 0 <= stage.ok(Rmi.REC_AUX_COUNT, stage.new)[1] <= 16


def test_cmd_rec_create(stage: Stage) -> None:
    command = Rmi.REC_CREATE
    params = stage.rec_params(1)
    good = {"rd": stage.new, "rec": stage.delegated(), "params_ptr": stage.host_page(params.encode())}
    stage.refuses_every(command, good, "rd", "RD")
    stage.refuses_every(command, good, "rec", "DELEGATED")
    stage.refuses_every(command, good, "params_ptr", "NS")
    for rd in (stage.active, stage.off):
        page = stage.host_page(stage.rec_params(stage.rmm.state.realms[rd].rec_index).encode())
        stage.refuses(command, good, REALM, rd=rd, params_ptr=page)

    def with_aux(place: int, address: int) -> RecParams:
        aux = [*params.aux]
        aux[place] = address
        return msgspec.structs.replace(params, aux=tuple(aux))

    wrong = [
        msgspec.structs.replace(params, num_aux=15),
        msgspec.structs.replace(params, mpidr=2),
        with_aux(15, good["rec"]),
        with_aux(3, params.aux[2]),
        *(with_aux(7, address) for _, address in stage.bad("DELEGATED")),
    ]
    for one in wrong:
        stage.refuses(command, good, params_ptr=stage.host_page(one.encode()))
    stage.succeeds(command, good)
    assert stage.rmm.state.realms[stage.new].num_recs == 2


def test_cmd_rec_destroy(stage: Stage) -> None:
    good = {"rec": stage.states["REC"]}
    stage.refuses_every(Rmi.REC_DESTROY, good, "rec", "REC")
    aux = list(stage.rmm.state.recs[good["rec"]].aux)
    stage.succeeds(Rmi.REC_DESTROY, good)
    for granule in (good["rec"], *aux):
        stage.ok(Rmi.GRANULE_UNDELEGATE, granule)


def test_cmd_rec_enter(stage: Stage) -> None:
    command = Rmi.REC_ENTER
    _, (rec, idle) = stage.realm_of_pages(2)
    good = {"rec": rec, "run_ptr": stage.host_page()}
    stage.refuses_every(command, good, "rec", "REC")
    stage.refuses_every(command, good, "run_ptr", "NS")
    stage.refuses(command, good, REALM, rec=stage.states["REC"])
    stage.refuses(command, good, REALM_OFF, rec=stage.off_rec)
    for fields in ({"flags": 1}, {"gicv3_hcr": 1}, {"gicv3_lrs": (1 << 62 | 1 << 61,)}):
        stage.refuses(command, good, REC, run_ptr=stage.host_page(RecEnter(**fields).encode()))
    stage.runs(idle, Smc((Psci.CPU_OFF,)))
    stage.refuses(command, good, REC, rec=idle)
    stage.runs(rec, Smc((Psci.AFFINITY_INFO, 1, 0)))
    stage.refuses(command, good, REC)
    stage.ok(Rmi.PSCI_COMPLETE, rec, idle, 0)
    assert stage.enter(rec)[0] == SUCCESS


def test_cmd_psci_complete(stage: Stage) -> None:
    command = Rmi.PSCI_COMPLETE
    _, (calling, target, other) = stage.realm_of_pages(3)
    stage.refuses(command, {"calling_rec": calling, "target_rec": target, "status": 0})
    stage.runs(calling, Smc((Psci.AFFINITY_INFO, 1, 0)))
    good = {"calling_rec": calling, "target_rec": target, "status": 0}
    stage.refuses_every(command, good, "calling_rec", "REC")
    stage.refuses_every(command, good, "target_rec", "REC")
    stage.refuses(command, good, target_rec=calling)
    stage.refuses(command, good, calling_rec=other)
    stage.refuses(command, good, target_rec=other)
    stage.refuses(command, good, target_rec=stage.off_rec)
    for status in (1, MINUS_1 - 3, 77):
        stage.refuses(command, good, status=status)
    stage.succeeds(command, good)
    stage.refuses(command, good)


def test_cmd_rtt_create(stage: Stage) -> None:
    command, good = Rmi.RTT_CREATE, {"rd": stage.new, "rtt": stage.delegated(), "ipa": BLOCK, "level": 3}
    stage.refuses_every(command, good, "rd", "RD")
    stage.refuses_every(command, good, "rtt", "DELEGATED")
    for wrong in ({"level": 1, "ipa": 0}, {"level": 4}, {"ipa": BLOCK + PAGE}, {"ipa": WIDTH}):
        stage.refuses(command, good, **wrong)
    stage.refuses(command, good, rtt(1), ipa=NO_TABLE)
    stage.succeeds(command, good)
    assert stage.entry(stage.new, BLOCK, 2) == (2, TABLE, good["rtt"], 0)
    stage.refuses(command, good, rtt(2), rtt=stage.delegated())


def test_cmd_rtt_destroy(stage: Stage) -> None:
    command, good = Rmi.RTT_DESTROY, {"rd": stage.new, "ipa": BLOCK, "level": 3}
    table = stage.delegated()
    stage.ok(Rmi.RTT_CREATE, stage.new, table, BLOCK, 3)
    stage.refuses_every(command, good, "rd", "RD")
    for wrong in ({"level": 1, "ipa": 0}, {"level": 4}, {"ipa": BLOCK + PAGE}, {"ipa": WIDTH}):
        stage.refuses(command, good, **wrong)
    stage.refuses(command, good, rtt(1), ipa=NO_TABLE)
    stage.refuses(command, good, rtt(2), ipa=2 * BLOCK)
    stage.refuses(command, good, rtt(3), ipa=0)
    assert stage.succeeds(command, good)[1] == table
    assert stage.entry(stage.new, BLOCK, 3) == (2, UNASSIGNED, 0, Ripas.DESTROYED)


def test_cmd_rtt_fold(stage: Stage) -> None:
    command, good = Rmi.RTT_FOLD, {"rd": stage.new, "ipa": BLOCK, "level": 3}
    table = stage.delegated()
    stage.ok(Rmi.RTT_CREATE, stage.new, table, BLOCK, 3)
    stage.refuses_every(command, good, "rd", "RD")
    for wrong in ({"level": 1, "ipa": 0}, {"level": 4}, {"ipa": BLOCK + PAGE}, {"ipa": WIDTH}):
        stage.refuses(command, good, **wrong)
    stage.refuses(command, good, rtt(1), ipa=NO_TABLE)
    stage.refuses(command, good, rtt(2), ipa=2 * BLOCK)
    stage.refuses(command, good, rtt(3), ipa=0)
    # level bound before walk and entry state
    stage.refuses(command, good, ipa=NO_TABLE, level=4)
    assert stage.succeeds(command, good)[1] == table
    assert stage.entry(stage.new, BLOCK, 3) == (2, UNASSIGNED, 0, Ripas.EMPTY)


def test_cmd_rtt_init_ripas(stage: Stage) -> None:
    command, good = Rmi.RTT_INIT_RIPAS, {"rd": stage.new, "base": PAGE, "top": 3 * PAGE}
    stage.refuses_every(command, good, "rd", "RD")
    for rd, answer in ((stage.active, REALM), (stage.off, REALM), (stage.null, INPUT)):
        stage.refuses(command, good, answer, rd=rd)
    stage.refuses(command, good, rtt(2), base=BLOCK + PAGE, top=2 * BLOCK)
    stage.refuses(command, good, rtt(3), base=0)
    for top in (PAGE, 0, HALF + PAGE, 2 * PAGE + 8):
        stage.refuses(command, good, top=top)
    stage.refuses(command, good, rtt(2), base=BLOCK, top=BLOCK + PAGE)
    stage.refuses(command, good, base=BLOCK, top=BLOCK + 8)
    assert stage.succeeds(command, good)[1] == 3 * PAGE
    assert stage.entry(stage.new, PAGE) == (3, UNASSIGNED, 0, Ripas.RAM)


def test_cmd_rtt_map_unprotected(stage: Stage) -> None:
    stage.tables(stage.new, HALF)
    host = stage.host_page()
    command, good = Rmi.RTT_MAP_UNPROTECTED, {"rd": stage.new, "ipa": HALF, "level": 3, "desc": host}
    stage.refuses_every(command, good, "rd", "RD")
    for wrong in ({"ipa": HALF + 8}, {"ipa": PAGE}, {"ipa": WIDTH}, {"level": 0}, {"level": 4}):
        stage.refuses(command, good, **wrong)
    stage.refuses(command, good, rtt(1), ipa=HALF + NO_TABLE)
    for desc in (host | 1 << 5, host | 1 << 10, host | 4 << 2):
        stage.refuses(command, good, desc=desc)
    stage.refuses(command, good, desc=0x8000_1000, level=2, ipa=HALF + BLOCK)
    stage.succeeds(command, good)
    assert stage.entry(stage.new, HALF)[:3] == (3, ASSIGNED, host)
    stage.refuses(command, good, rtt(3))


def test_cmd_rtt_unmap_unprotected(stage: Stage) -> None:
    stage.tables(stage.new, HALF)
    stage.ok(Rmi.RTT_MAP_UNPROTECTED, stage.new, HALF, 3, stage.host_page())
    command, good = Rmi.RTT_UNMAP_UNPROTECTED, {"rd": stage.new, "ipa": HALF, "level": 3}
    stage.refuses_every(command, good, "rd", "RD")
    for wrong in ({"ipa": HALF + 8}, {"ipa": PAGE}, {"ipa": WIDTH}, {"level": 0}, {"level": 4}):
        stage.refuses(command, good, **wrong)
    stage.refuses(command, good, rtt(1), ipa=HALF + NO_TABLE)
    stage.refuses(command, good, rtt(3), ipa=HALF + PAGE)
    # level and ipa bounds before walk and entry state
    stage.refuses(command, good, ipa=HALF + NO_TABLE, level=4)
    stage.refuses(command, good, ipa=NO_TABLE)
    assert stage.succeeds(command, good)[1] == HALF + BLOCK
    assert stage.entry(stage.new, HALF) == (3, UNASSIGNED, 0, 0)


def test_cmd_rtt_read_entry(stage: Stage) -> None:
    command, good = Rmi.RTT_READ_ENTRY, {"rd": stage.new, "ipa": 0, "level": 3}
    stage.refuses_every(command, good, "rd", "RD")
    for wrong in ({"ipa": 8}, {"ipa": WIDTH}, {"ipa": PAGE, "level": 2}, {"level": 4}, {"level": 0}):
        stage.refuses(command, good, **wrong)
    assert stage.entry(stage.new, 0) == (3, ASSIGNED, stage.states["DATA"], Ripas.RAM)
    assert stage.entry(stage.new, 0, 2) == (2, TABLE, stage.states["RTT"], 0)
    assert stage.entry(stage.new, NO_TABLE) == (1, UNASSIGNED, 0, Ripas.EMPTY)


def test_cmd_rtt_set_ripas(stage: Stage) -> None:
    command = Rmi.RTT_SET_RIPAS
    rd, (rec,) = stage.realm_of_pages()
    stage.runs(rec, Smc((Rsi.IPA_STATE_SET, 0, 2 * PAGE, Ripas.RAM, 0)))
    good = {"rd": rd, "rec": rec, "base": 0, "top": 2 * PAGE}
    stage.refuses_every(command, good, "rec", "REC")
    for _, address in stage.bad("RD"):
        stage.refuses(command, good, rd=address)
    stage.refuses(command, good, REC, rd=stage.active)
    for wrong in ({"base": PAGE}, {"top": 3 * PAGE}, {"top": 0}, {"top": PAGE + 8}, {"base": 8}):
        stage.refuses(command, good, **wrong)
    assert stage.succeeds(command, good)[1] == 2 * PAGE
    stage.runs(rec)
    stage.runs(rec, Smc((Rsi.IPA_STATE_SET, BLOCK + PAGE, 2 * BLOCK, Ripas.RAM, 0)))
    stage.refuses(command, good, rtt(2), base=BLOCK + PAGE, top=2 * BLOCK)


def test_cmd_multithread_realm_up(stage: Stage) -> None:
    _, recs = stage.realm_of_pages(2)
    for index, rec in enumerate(recs):
        out = stage.runs(rec, Smc((Psci.CPU_OFF,)))
        assert (out.gprs[0], stage.rmm.state.recs[rec].index) == (Psci.CPU_OFF, index)
    assert [stage.enter(rec)[0] for rec in recs] == [REC, REC]


def test_cmd_multithread_realm_mp() -> None:
    door = Door()
    rd, (first, second) = door.running_realm(2)
    for pe, rec in enumerate((first, second)):
        door.guest.events = [Smc((Rsi.VERSION, 0x1_0000))]
        run = door.host_page(RecEnter().encode())
        assert door.rmm.smc(Rmi.REC_ENTER, (rec, run), pe=pe)[0] == SUCCESS
    assert all(not door.rmm.state.recs[rec].running for rec in (first, second))
    assert door.rmm.state.realms[rd].num_recs == 2
