"""Realms under RMI 2.0: activation of the RMM, what the RMM chooses itself, life and end of a Realm, measurement."""

from __future__ import annotations

import hashlib
import struct

import msgspec
import pytest
from spec_door import DRAM, OUTSIDE, PAGE
from spec_door_2_0 import GLOBAL, GPT, INPUT, REALM, Door2, desc

from cca_machine.abi.rmi import ExitReason
from cca_machine.abi.rmi2 import COMMANDS_2_0, DEVICE_COMMANDS, SHA_384, Rmi2
from cca_machine.abi.rsi import Rsi
from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.hardware.gpt import World
from cca_machine.rmm.mecid import FIRST_PRIVATE, SHARED
from cca_machine.rmm.quirks import TF_RMM_2_0
from cca_machine.rmm.state import RmmState

PRIVATE = 1 << 7
EARLY = {Rmi2.VERSION, Rmi2.FEATURES, Rmi2.RMM_CONFIG_GET, Rmi2.RMM_CONFIG_SET, Rmi2.GRANULE_TRACKING_GET,
         Rmi2.RMM_ACTIVATE}  # fmt: skip


def test_before_activation_only_questions_and_the_configuration_are_served() -> None:
    door = Door2(activated=False)
    for fid in COMMANDS_2_0:
        if fid not in EARLY:
            assert door.call(fid, door.granules())[0] == GLOBAL, fid.name
    door.ok(Rmi2.RMM_CONFIG_SET, door.host_page())
    assert door.call(Rmi2.RMM_CONFIG_SET, door.host_page(b"\x01"))[0] == INPUT
    door.ok(Rmi2.RMM_ACTIVATE)
    assert door.call(Rmi2.RMM_ACTIVATE)[0] == GLOBAL
    assert door.call(Rmi2.RMM_CONFIG_SET, door.host_page())[0] == GLOBAL


def test_results_that_a_command_does_not_write_keep_the_callers_x4_to_x7() -> None:
    door = Door2()
    assert door.call(Rmi2.REALM_ACTIVATE, 1, 2, 3, 4, 5, 6, 7) == (INPUT, 0, 0, 0, 4, 5, 6, 7)
    assert door.call(0xC400_0150 + 2, 1, 2, 3, 4, 5, 6, 7) == (NOT_SUPPORTED, 0, 0, 0, 4, 5, 6, 7)


def test_a_range_is_delegated_up_to_the_first_granule_that_cannot_be() -> None:
    door = Door2()
    base = door.granules(8)
    door.take_away(base + 5 * PAGE)
    assert door.ok(Rmi2.GRANULE_RANGE_DELEGATE, base, base + 8 * PAGE)[1] == base + 5 * PAGE
    assert door.call(Rmi2.GRANULE_RANGE_DELEGATE, base + 5 * PAGE, base + 8 * PAGE)[:2] == (INPUT, base + 5 * PAGE)
    assert door.ok(Rmi2.GRANULE_RANGE_UNDELEGATE, base, base + 8 * PAGE)[1] == base + 5 * PAGE
    one = Door2(TF_RMM_2_0)
    assert one.ok(Rmi2.GRANULE_RANGE_DELEGATE, base, base + 8 * PAGE)[1] == base + PAGE


def test_el3_that_refuses_to_take_memory_back_stops_the_rmm() -> None:
    door = Door2()
    base = door.delegated(2)
    door.el3.refused.add(base)
    assert door.call(Rmi2.GRANULE_RANGE_UNDELEGATE, base, base + 2 * PAGE)[0] == NOT_SUPPORTED
    assert door.rmm.panicked


def test_tracking_tells_where_memory_is_and_how_far() -> None:
    door = Door2()
    assert door.ok(Rmi2.GRANULE_TRACKING_GET, DRAM.base, DRAM.top + PAGE)[1:4] == (0, 2, DRAM.top)
    assert door.ok(Rmi2.GRANULE_TRACKING_GET, OUTSIDE, DRAM.top)[1:4] == (0, 1, DRAM.base)
    for start, end in ((DRAM.base, DRAM.base), (1, PAGE), (0, 1 << 48)):
        assert door.call(Rmi2.GRANULE_TRACKING_GET, start, end)[0] == INPUT
    assert door.call(Rmi2.GPT_L1_CREATE, DRAM.base)[0] == GPT
    assert door.call(Rmi2.GPT_L1_CREATE, DRAM.base + PAGE)[0] == INPUT
    assert door.call(Rmi2.GPT_L1_DESTROY, DRAM.base)[0] == GLOBAL
    firmware = Door2(TF_RMM_2_0)
    assert firmware.call(Rmi2.GPT_L1_DESTROY, DRAM.base, 2, 3, 4)[:5] == (NOT_SUPPORTED, 0, 0, 0, 4)


def test_a_machine_without_devices_reports_none_and_knows_no_device_command() -> None:
    door = Door2()
    assert door.ok(Rmi2.FEATURES, 2)[1] == 0
    page = door.host_page()
    answers = {door.call(fid, page, page, page, page)[0] for fid in DEVICE_COMMANDS}
    assert answers == {INPUT, NOT_SUPPORTED}
    assert door.call(Rmi2.REALM_CREATE, door.delegated(), door.host_page(door.params(flags=8).encode()))[0] == INPUT


def test_the_rmm_chooses_different_vmids_and_gives_them_back() -> None:
    door = Door2()
    first, second = door.realm(), door.realm(num_aux_planes=2, flags1=2)
    realms = door.rmm.state.realms
    assert len({*realms[first].planes.vmids, *realms[second].planes.vmids}) == 4
    door.ok(Rmi2.REALM_TERMINATE, second)
    door.ok(Rmi2.REALM_DESTROY, second)
    assert list(door.rmm.state.vmids.values()) == [first]


def test_private_contexts_run_out_and_shared_ones_do_not() -> None:
    door = Door2(mec_count=2)
    rds = [door.realm(flags=PRIVATE) for _ in range(2)]
    realms = door.rmm.state.realms
    assert [realms[rd].mecid for rd in rds] == [FIRST_PRIVATE, FIRST_PRIVATE + 1]
    params, rd = door.host_page(door.params(flags=PRIVATE).encode()), door.delegated()
    before = door.digest()
    assert door.call(Rmi2.REALM_CREATE, rd, params)[0] == GLOBAL
    assert door.digest() == before
    assert {realms[door.realm()].mecid for _ in range(2)} == {SHARED}
    assert door.rmm.state.mec.shared == 2
    door.ok(Rmi2.REALM_TERMINATE, rds[0])
    door.ok(Rmi2.REALM_DESTROY, rds[0])
    door.ok(Rmi2.REALM_CREATE, rd, params)
    assert realms[rd].mecid == FIRST_PRIVATE
    assert (
        door.call(Rmi2.REALM_CREATE, door.delegated(), door.host_page(door.params(flags=2 << 7).encode()))[0] == INPUT
    )


def test_a_realm_ends_as_a_zombie_that_can_only_be_taken_apart() -> None:
    door = Door2()
    rd, (rec,) = door.running_realm()
    assert door.call(Rmi2.REALM_DESTROY, rd)[0] == REALM
    door.ok(Rmi2.REALM_TERMINATE, rd)
    assert door.enter(rec)[0] == REALM
    pa = door.delegated()
    assert door.call(Rmi2.RTT_DATA_MAP, rd, 0, PAGE, 1, desc(pa))[0] == REALM
    handle = door.call(Rmi2.REC_DESTROY, rec)[1]
    door.call(Rmi2.OP_MEM_RECLAIM, handle, door.host_page(), 64)
    door.ok(Rmi2.OP_CONTINUE, handle)
    assert door.call(Rmi2.REALM_DESTROY, rd)[0] == REALM
    door.ok(Rmi2.RTT_DATA_UNMAP, rd, 0x1000, 0x2000, 0, 0)
    for level in (3, 2):
        door.ok(Rmi2.RTT_DESTROY, rd, 0, level)
    door.ok(Rmi2.REALM_DESTROY, rd)
    assert door.rmm.state.realms == {}
    assert door.rmm.state.vmids == {}


def expected_data(algorithm: str, rim: bytes, ipa: int, page: bytes) -> bytes:
    content = hashlib.new(algorithm, page).digest().ljust(64, b"\0")
    entry = struct.pack("<QQ64sQQ64s96x", 0, 0x100, rim.ljust(64, b"\0"), ipa, 1, content)
    return hashlib.new(algorithm, entry).digest()


@pytest.mark.parametrize(("code", "name"), [(0, "sha256"), (1, "sha512"), (SHA_384, "sha384")])
def test_the_initial_rim_is_zero_and_data_extends_it_with_each_hash(code: int, name: str) -> None:
    door = Door2()
    rd = door.realm(hash_algo=code)
    rims = door.rmm.state.realms[rd].measurements
    assert rims[0] == bytes(64)
    door.tables(rd, 0)
    door.ok(Rmi2.RTT_INIT_RIPAS, rd, 0, 8 * PAGE)
    assert rims[0] == bytes(64)
    door.data(rd, 0, b"kernel")
    assert rims[0] == expected_data(name, b"", 0, b"kernel".ljust(PAGE, b"\0")).ljust(64, b"\0")


def test_the_firmwares_initial_rim_hashes_the_parameters() -> None:
    door = Door2(TF_RMM_2_0)
    rd = door.realm(s2sz=40)
    page = bytearray(PAGE)
    for offset, value in ((0x08, 40), (0x18, 1), (0x20, 1)):
        page[offset] = value
    assert door.rmm.state.realms[rd].measurements[0] == hashlib.sha256(page).digest().ljust(64, b"\0")


def test_a_realm_reads_what_it_is_from_its_configuration() -> None:
    door = Door2()
    _, (rec,) = door.running_realm(hash_algo=SHA_384, num_aux_planes=1, flags1=2, ats_plane=1, rpv=b"r" * 64)
    assert door.rsi(rec, Rsi.REALM_CONFIG, 0x1000)[0] == 0
    found = door.rmm.core.walk(door.rmm.state.realms[door.rmm.state.recs[rec].rd], 0x1000, 3)
    page = door.hardware.memory.read(World.REALM, found.entry & ((1 << 52) - PAGE), PAGE)
    assert (page[0], page[8], page[0x10], page[0x20], page[0x200:0x240]) == (40, SHA_384, 1, 1, b"r" * 64)


def test_the_versions_of_both_interfaces() -> None:
    door = Door2()
    assert door.call(Rmi2.VERSION, 0x20000)[:3] == (0, 0x20000, 0x20000)
    assert door.call(Rmi2.VERSION, 0x10000)[:3] == (INPUT, 0x20000, 0x20000)
    _, (rec,) = door.running_realm()
    assert door.rsi(rec, Rsi.VERSION, 0x10000)[:3] == [0, 0x10000, 0x10001]
    assert door.rsi(rec, Rsi.VERSION, 0x10001)[:3] == [0, 0x10001, 0x10001]


def test_a_running_machine_survives_a_snapshot() -> None:
    door = Door2()
    _, (rec,) = door.running_realm(num_aux_planes=2, flags1=1)
    x0, out = door.enter(rec)
    assert (x0, out.exit_reason) == (0, ExitReason.FIQ)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(door.rmm.state), type=RmmState)
    assert again.digest() == door.rmm.state.digest()
    assert again == door.rmm.state


def test_counters_name_the_statuses_of_this_edition() -> None:
    door = Door2()
    door.begin_rec(door.realm())
    assert door.rmm.counters["REC_CREATE", "INCOMPLETE"] == 1
    door.call(Rmi2.GPT_L1_CREATE, 0)
    assert door.rmm.counters["GPT_L1_CREATE", "ERROR_GPT"] == 1
