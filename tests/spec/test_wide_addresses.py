"""LPA2: 52-bit IPAs and PAs, level -1, concatenated roots, and what a Realm without it refuses."""

from __future__ import annotations

import pytest
from spec_door import DRAM, INPUT, PAGE, SUCCESS, Door, rtt
from spec_door_2_0 import Door2

from cca_machine.abi.guest import Yield
from cca_machine.abi.rmi import RealmParams, Rmi
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.hardware.gpt import World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import RmmFeatures
from cca_machine.rmm.quirks import SUGGESTED, TF_RMM, QuirkSet
from cca_machine.rmm.replay_ports import ReplayEl3
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import RmmState

FEATURES = RmmFeatures(s2sz=52, lpa2=True, pa_width=52, num_bps=3, num_wps=3)
MINUS_1 = 0xFFFF_FFFF_FFFF_FFFF
LPA2 = 1


def door(quirks: QuirkSet = SUGGESTED) -> Door:
    return Door(quirks, FEATURES)


def needed(width: int, start: int) -> int:
    """Root tables: 2^(width - bits one table resolves), by counting entries."""
    entry_bytes = 4096 * 512 ** (3 - start)
    return max(1, 2**width // (512 * entry_bytes))


@pytest.mark.parametrize("lpa2", [0, 1])
@pytest.mark.parametrize("start", [-1, 0, 1, 2, 3])
def test_only_consistent_geometries_are_accepted(start: int, lpa2: int) -> None:
    allowed = {
        0: {0: range(40, 49), 1: range(32, 44), 2: range(32, 35)},
        1: {-1: range(49, 53), 0: range(40, 53), 1: range(32, 44), 2: range(32, 35)},
    }[lpa2].get(start, range(0))
    for width in range(30, 54):
        machine = door()
        roots = needed(width, start) if start < 3 else 1
        params = machine.realm_params(
            flags=lpa2,
            s2sz=width,
            rtt_level_start=start,
            rtt_num_start=min(roots, 16),
            rtt_base=machine.delegated(16, 16 * PAGE),
        )
        x0 = machine.call(Rmi.REALM_CREATE, machine.delegated(), machine.host_page(params.encode()))[0]
        assert x0 == (SUCCESS if width in allowed else INPUT), (start, width)


def test_level_minus_1_is_reported_as_0xff_and_scans_its_sixteen_entries() -> None:
    machine = door()
    rd = machine.realm(flags=LPA2, s2sz=52, rtt_level_start=-1, rtt_num_start=1)
    assert machine.call(Rmi.DATA_DESTROY, rd, 0)[:3] == (rtt(-1), 0, 1 << 52)
    assert machine.ok(Rmi.RTT_READ_ENTRY, rd, 0, MINUS_1)[1] == MINUS_1
    door_of_firmware = door(TF_RMM)
    rd = door_of_firmware.realm(flags=LPA2, s2sz=52, rtt_level_start=-1, rtt_num_start=1)
    assert door_of_firmware.call(Rmi.DATA_DESTROY, rd, 0)[:3] == (0xFF04, 0, 1 << 57)


def test_skip_covers_only_one_of_several_concatenated_roots() -> None:
    machine = door()
    rd = machine.realm(flags=LPA2, s2sz=52, rtt_level_start=0, rtt_num_start=16)
    one_root = 512 << 39
    assert machine.call(Rmi.DATA_DESTROY, rd, 0)[:3] == (rtt(0), 0, one_root)
    assert machine.call(Rmi.DATA_DESTROY, rd, one_root + (5 << 39))[:3] == (rtt(0), 0, 2 * one_root)


def test_wide_shared_addresses_travel_in_bits_9_and_8() -> None:
    machine = door()
    rd = machine.realm(flags=LPA2, s2sz=40, rtt_level_start=1, rtt_num_start=2)
    desc = 0b11 << 8 | 1 << 49 | 0b11 << 6
    machine.ok(Rmi.RTT_MAP_UNPROTECTED, rd, 1 << 39, 1, desc)
    assert machine.ok(Rmi.RTT_READ_ENTRY, rd, 1 << 39, 1)[3] == desc
    narrow = machine.realm()
    assert machine.call(Rmi.RTT_MAP_UNPROTECTED, narrow, 1 << 39, 1, desc)[0] == INPUT


class _Idle:
    def next_event(self, rec: object) -> Yield:
        return Yield()


def test_a_realm_without_lpa2_takes_no_memory_or_table_above_48_bits() -> None:
    low, high = Bank(0x8000_0000, 1 << 20), Bank(1 << 48, 1 << 20)
    hardware = HardwareState.build((low, high))
    rmm = Rmm(RmmState.boot((low, high)), hardware, ReplayEl3(hardware), _Idle(), FEATURES)
    for pa in (*range(low.base, low.base + 8 * PAGE, PAGE), high.base, high.base + PAGE):
        assert rmm.smc(Rmi.GRANULE_DELEGATE, (pa,))[0] == SUCCESS
    params = low.base + 0x10000
    rd = low.base + 2 * PAGE
    for flags, answer in ((LPA2, SUCCESS), (0, INPUT)):
        fields = RealmParams(
            flags=flags, s2sz=40, rtt_level_start=1, rtt_num_start=2, num_bps=1, num_wps=1, rtt_base=low.base
        )
        hardware.memory.write(World.NS, params, fields.encode())
        assert rmm.smc(Rmi.REALM_CREATE, (rd, params))[0] == SUCCESS
        assert rmm.smc(Rmi.RTT_CREATE, (rd, high.base, 0, 2))[0] == answer
        if answer == SUCCESS:
            assert rmm.smc(Rmi.RTT_DESTROY, (rd, 0, 2))[0] == SUCCESS
        assert rmm.smc(Rmi.RTT_CREATE, (rd, rd + PAGE, 0, 2))[0] == SUCCESS
        assert rmm.smc(Rmi.RTT_CREATE, (rd, rd + 2 * PAGE, 0, 3))[0] == SUCCESS
        assert rmm.smc(Rmi.DATA_CREATE_UNKNOWN, (rd, high.base + PAGE, 0))[0] == answer
        assert rmm.smc_run(Rmi.DATA_CREATE_UNKNOWN, (rd, high.base, PAGE), (0, PAGE, PAGE), 1)[1][0] == answer
        if answer == SUCCESS:
            assert rmm.smc_run(Rmi.DATA_DESTROY, (rd, 0), (0, PAGE), 2)[0] == 2
        for level in (3, 2):
            assert rmm.smc(Rmi.RTT_DESTROY, (rd, 0, level))[0] == SUCCESS
        assert rmm.smc(Rmi.REALM_DESTROY, (rd,))[0] == SUCCESS


def test_a_table_above_48_bits_needs_lpa2_under_2_0_as_well() -> None:
    high = Bank(1 << 48, 1 << 20)
    for flags, answer in ((LPA2, SUCCESS), (0, INPUT)):
        machine = Door2(banks=(DRAM, high), machine={"lpa2": True, "s2sz": 52, "pa_width": 52})
        machine.ok(Rmi2.GRANULE_RANGE_DELEGATE, high.base, high.base + 2 * PAGE)
        rd = machine.realm(flags=flags, num_aux_planes=1, flags1=1)
        assert machine.call(Rmi2.RTT_CREATE, rd, high.base, 0, 2)[0] == answer
        assert machine.call(Rmi2.RTT_AUX_CREATE, rd, high.base + PAGE, 0, 2, 1)[0] == answer
