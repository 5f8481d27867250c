"""State is declared: it survives encoding, equal states have equal digests, and idle machines cost little."""

from __future__ import annotations

import sys

import msgspec
import pytest
from spec_door import DRAM, PAGE, UNKNOWN, Door

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.invariants import REGRESSIONS, regressions, violations
from cca_machine.rmm.granule import TRANSITIONS, GranuleState, move
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.rtt import unassigned
from cca_machine.rmm.state import RmmState


def lived_in() -> tuple[Door, int, int]:
    door = Door()
    rd, (rec,) = door.running_realm()
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, 0, PAGE, 1, 0))])
    return door, rd, rec


def test_state_survives_messagepack_and_the_rmm_carries_on_from_it() -> None:
    door, rd, rec = lived_in()
    digest = door.digest()
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(door.rmm.state), type=RmmState)
    hardware = msgspec.msgpack.decode(msgspec.msgpack.encode(door.hardware), type=HardwareState)
    door.hardware = hardware
    door.el3 = type(door.el3)(hardware)
    door.rmm = Rmm(state, hardware, door.el3, door.guest, door.features)
    assert door.digest() == digest
    door.ok(Rmi.RTT_SET_RIPAS, rd, rec, 0, PAGE)
    door.ok(Rmi.GRANULE_DELEGATE, door.granules())
    assert door.enter(rec)[0] == 0
    assert door.guest.gprs[0][:3] == [0, PAGE, 0]


def test_digests_do_not_depend_on_the_way_a_state_was_reached() -> None:
    straight, detour = Door(), Door()
    base = straight.granules(40)
    for pa in range(base, base + 40 * PAGE, PAGE):
        straight.ok(Rmi.GRANULE_DELEGATE, pa)
    assert detour.rmm.smc_run(Rmi.GRANULE_DELEGATE, (base,), (PAGE,), 100)[0] == 100
    assert detour.rmm.smc_run(Rmi.GRANULE_UNDELEGATE, (base + 40 * PAGE,), (PAGE,), 60)[0] == 60
    assert straight.rmm.digest() == detour.rmm.digest()
    assert straight.hardware.digest() == detour.hardware.digest()


def test_one_granule_more_changes_the_digest() -> None:
    door = Door()
    before = door.rmm.digest()
    door.delegated()
    assert door.rmm.digest() != before


def test_a_failed_rmm_answers_nothing_and_says_so() -> None:
    door = Door()
    door.rmm.fail()
    assert door.rmm.panicked
    for fid in Rmi:
        assert door.call(fid, DRAM.base)[0] == UNKNOWN
    assert door.rmm.smc_run(Rmi.GRANULE_DELEGATE, (DRAM.base,), (PAGE,), 5) == (0, (UNKNOWN, *(0,) * 7))


def deep_size(root: object) -> int:
    """Bytes of everything reachable through containers and records."""
    seen: set[int] = set()
    pending, total = [root], 0
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            pending += item
        elif isinstance(item, msgspec.Struct):
            pending += [getattr(item, name) for name in item.__struct_fields__]
    return total


def test_an_idle_machine_of_512_gibibytes_costs_less_than_32_kibibytes() -> None:
    bank = Bank(1 << 40, 512 << 30)
    hardware, state = HardwareState.build((bank,), pes=4), RmmState.boot((bank,))
    assert deep_size(hardware) + deep_size(state) < 32 * 1024


def test_a_delegated_gibibyte_costs_by_two_mebibyte_block() -> None:
    door = Door()
    before = deep_size(door.rmm.state)
    door.rmm.smc_run(Rmi.GRANULE_DELEGATE, (DRAM.base,), (PAGE,), DRAM.size // PAGE)
    assert deep_size(door.rmm.state) - before < 100 * DRAM.size // (2 << 20)


def test_counters_name_commands_services_and_exits() -> None:
    door, _, rec = lived_in()
    door.enter(rec)
    door.call(0xC400_0156)
    counters = door.rmm.counters
    assert counters["REC_ENTER", "SUCCESS"] == 2
    assert counters["RSI_IPA_STATE_SET", "SUCCESS"] == 1
    assert (counters["REC_EXIT", "RIPAS_CHANGE"], counters["REC_EXIT", "FIQ"]) == (1, 1)
    assert counters["UNKNOWN", "NOT_SUPPORTED"] == 1
    digest = door.rmm.digest()
    door.call(Rmi.VERSION, 0)
    assert door.rmm.counters["VERSION", "ERROR_INPUT"] == 1
    assert door.rmm.digest() == digest


@pytest.mark.parametrize("start", GranuleState)
@pytest.mark.parametrize("end", GranuleState)
def test_granules_move_only_along_the_transition_table(start: GranuleState, end: GranuleState) -> None:
    granules = Door().rmm.state.granules
    granules.set(DRAM.base, start)
    if (start, end) in TRANSITIONS:
        move(granules, DRAM.base, end)
        assert granules.get(DRAM.base) == end
    else:
        with pytest.raises(KeyError):
            move(granules, DRAM.base, end)
    built_in_place = {start, end} == {GranuleState.REC, GranuleState.PARTIAL}
    assert ((start, end) in TRANSITIONS) == (
        built_in_place or (start != end and GranuleState.DELEGATED in (start, end))
    )


BREAKAGES = {
    "one-world-per-granule": lambda door, rd, rec: door.hardware.gpt.set(rd, 0x9),
    "one-owner-per-granule": lambda door, rd, rec: door.rmm.state.granules.set(rec, GranuleState.DATA),
    "delegated-is-empty": lambda door, rd, rec: door.hardware.memory.put_page(door.delegated(), b"x" * PAGE),
    "vmids-are-unique": lambda door, rd, rec: door.rmm.state.vmids.clear(),
    "recs-are-counted": lambda door, rd, rec: setattr(door.rmm.state.realms[rd], "num_recs", 2),
    "requests-stay-in-range": lambda door, rd, rec: setattr(door.rmm.state.recs[rec].ripas, "address", 9 * PAGE),
    "entries-fit-their-place": lambda door, rd, rec: door.rmm.state.tables[
        door.rmm.state.realms[rd].rtt_base + PAGE
    ].set(3, unassigned(0)),
    "tables-are-counted": lambda door, rd, rec: setattr(
        door.rmm.state.tables[door.rmm.state.realms[rd].rtt_base], "live", 7
    ),
    "measurements-are-padded": lambda door, rd, rec: door.rmm.state.realms[rd].measurements.__setitem__(1, b"\1" * 64),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_invariant_notices_its_own_breakage(name: str) -> None:
    door, rd, rec = lived_in()
    assert violations(door.rmm.state, door.hardware) == []
    BREAKAGES[name](door, rd, rec)
    assert name in {violation.invariant for violation in violations(door.rmm.state, door.hardware)}


def test_each_regression_is_noticed() -> None:
    door, rd, _ = lived_in()
    before = msgspec.msgpack.decode(msgspec.msgpack.encode(door.rmm.state), type=RmmState)
    before.recs.clear()
    assert regressions(before, door.rmm.state) == []
    realm = door.rmm.state.realms[rd]
    realm.measurements[0] = bytes(64)
    realm.vmid += 1
    realm.state = type(realm.state)(0)
    table = next(pa for pa, table in door.rmm.state.tables.items() if table.level == 3)
    door.rmm.state.tables[table].set(9, unassigned(1))
    assert {found.invariant for found in regressions(before, door.rmm.state)} == set(REGRESSIONS)
