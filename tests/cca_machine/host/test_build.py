"""Building Realms by RMI and taking them apart, whatever the RMM or memory say on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cca_machine.abi.rmi import RealmParams, Ripas, Rmi, RmiStatus, rmi_result
from cca_machine.abi.smc import Registers, registers
from cca_machine.costs import Meter, reference_timing
from cca_machine.host.build import Builder
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door, RmiRefusal
from cca_machine.host.footprint import BLOCK_BYTES
from cca_machine.host.fronts.edition_1_0 import Front10
from cca_machine.host.teardown import dismantle
from cca_machine.invariants import violations
from cca_machine.layout import plan
from cca_machine.rmm.rtt import ASSIGNED, KIND_MASK, PAGE_LEVEL, walk


class Contrary:
    """Real firmware that answers one call, the n-th of a command, with ERROR_INPUT instead of doing it."""

    def __init__(self, firmware: Any, command: Rmi, nth: int) -> None:
        self.firmware, self.command, self.left = firmware, command, nth

    def smc(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        if fid == self.command:
            self.left -= 1
            if self.left == 0:
                return registers([rmi_result(RmiStatus.ERROR_INPUT)])
        result: Registers = self.firmware.smc(fid, args, pe)
        return result

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        if fid == self.command and 0 < self.left <= count:
            done, self.left = self.left - 1, 0
            self.firmware.smc_run(fid, args, stride, done, pe)
            return done, registers([rmi_result(RmiStatus.ERROR_INPUT)])
        if fid == self.command:
            self.left -= count
        result: tuple[int, Registers] = self.firmware.smc_run(fid, args, stride, count, pe)
        return result


Make = Callable[..., tuple[Builder, Any]]


@pytest.fixture
def make(world: Any, kit: Any) -> Make:
    """A builder on the firmware of a booted machine, and that machine's running state."""

    def make(firmware: Any = None, pool: GranulePool | None = None, **fields: Any) -> tuple[Builder, Any]:
        board = world.machines["m"]._on()
        running = world.machines["m"]._state.running
        door = Door(firmware or board.monitor, board.hardware.memory, Meter(reference_timing()))
        front, buffers = Front10(door, board.site.buffers), board.site.buffers
        return Builder(front, pool or running.host.pool, buffers, plan(kit.realm_spec(**fields)), 7), running

    return make


def test_what_was_built_is_what_was_planned(make: Make) -> None:
    builder, running = make(memory_bytes=(64 << 20) + 0x3000, vcpus=3)
    footprint = builder.build()
    realm = running.rmm.realms[footprint.rd]
    layout = builder.plan
    assert (realm.ipa_width, realm.vmid, realm.num_recs) == (layout.ipa_width, 7, 3)
    assert running.rmm.recs[footprint.recs[0].rec].runnable
    assert not running.rmm.recs[footprint.recs[1].rec].runnable
    for ipa in range(layout.ram_base, layout.ram_top, 0x1000):
        found = walk(running.rmm.tables, realm.rtt_base, realm.rtt_level_start, ipa, PAGE_LEVEL)
        assert found.entry & KIND_MASK == ASSIGNED
        assert found.entry >> 3 & 3 == Ripas.RAM
    for ipa, pages in layout.loads():
        for index, page in enumerate(pages):
            pa = next(span.at(ipa + index * 4096) for span in footprint.data if span.cut(ipa, ipa + 1))
            assert running.hardware.memory.page(pa) == page


def test_whole_blocks_of_ram_are_mapped_as_blocks(make: Make) -> None:
    builder, running = make(memory_bytes=64 << 20)
    footprint = builder.build()
    realm = running.rmm.realms[footprint.rd]
    levels = [
        walk(running.rmm.tables, realm.rtt_base, realm.rtt_level_start, ipa, PAGE_LEVEL).level
        for ipa in range(builder.plan.ram_base, builder.plan.ram_top, BLOCK_BYTES)
    ]
    working = (builder.plan.mailbox - builder.plan.ram_base) // BLOCK_BYTES
    assert [index for index, level in enumerate(levels) if level == PAGE_LEVEL] == [working]


def test_memory_in_pieces_serves_as_well_and_gives_the_same_rim(make: Make) -> None:
    builder, running = make()
    whole = builder.build()
    rim = running.rmm.realms[whole.rd].measurements[0]
    dismantle(builder.front, builder.pool, whole)
    base = running.host.pool.runs[0][0]
    pieces = [(base + index * 3 * BLOCK_BYTES + 0x5000, 1300) for index in range(40)]
    pool = GranulePool(list(pieces))
    builder, running = make(pool=pool, memory_bytes=(64 << 20) - 0x2000)
    footprint = builder.build()
    assert len(footprint.ram) > 1
    assert violations(running.rmm, running.hardware) == []
    dismantle(builder.front, builder.pool, footprint)
    assert pool.runs == pieces
    again, running = make(pool=GranulePool(list(pieces)))
    assert running.rmm.realms[again.build().rd].measurements[0] == rim


def test_the_last_free_granules_are_enough_to_take_a_realm_apart(make: Make) -> None:
    builder, running = make()
    base = running.host.pool.runs[0][0]
    needed = builder.plan.ram_bytes // 4096 + 4 + 1 + 16 + 2 * 17 + 1
    pool = GranulePool([(base, needed)])
    builder, running = make(pool=pool)
    footprint = builder.build()
    assert pool.free <= 2
    dismantle(builder.front, pool, footprint)
    assert pool.runs == [(base, needed)]
    assert list(running.rmm.granules.runs()) == []


BUILDING = (
    Rmi.GRANULE_DELEGATE, Rmi.REALM_CREATE, Rmi.RTT_INIT_RIPAS, Rmi.RTT_CREATE, Rmi.DATA_CREATE,
    Rmi.DATA_CREATE_UNKNOWN, Rmi.RTT_FOLD, Rmi.GRANULE_UNDELEGATE, Rmi.REC_AUX_COUNT, Rmi.REC_CREATE,
    Rmi.REALM_ACTIVATE,
)  # fmt: skip


@pytest.mark.parametrize("command", BUILDING, ids=lambda command: command.name)
@pytest.mark.parametrize("nth", [1, 2, 3, 29])
def test_a_call_refused_anywhere_is_named_and_nothing_is_left(world: Any, make: Make, command: Rmi, nth: int) -> None:
    machine = world.machines["m"]
    before = machine.digest()
    builder, _ = make(Contrary(machine._on().monitor, command, nth), vcpus=2)
    code = f"RMI_{command.name}: RMI_ERROR_INPUT"
    try:
        dismantle(builder.front, builder.pool, builder.build())
    except RmiRefusal as refusal:
        code = refusal.code
    assert code == f"RMI_{command.name}: RMI_ERROR_INPUT"
    assert machine.digest() == before


def test_every_call_is_counted_and_charged_once(make: Make) -> None:
    builder, _ = make(memory_bytes=64 << 20, vcpus=1)
    builder.build()
    meter = builder.front.door.meter
    timing = reference_timing()
    measured = sum(len(pages) for _, pages in builder.plan.loads())
    assert meter.calls["RMI_REALM_CREATE"] == meter.calls["RMI_REC_CREATE"] == meter.calls["RMI_REALM_ACTIVATE"] == 1
    assert meter.calls["RMI_DATA_CREATE_UNKNOWN"] == (64 << 20) // 4096 - measured
    assert meter.calls["RMI_GRANULE_DELEGATE"] > (64 << 20) // 4096
    assert meter.cost_ns > meter.calls["RMI_GRANULE_DELEGATE"] * timing["rmi.granule-delegate"]
    once = Meter(timing)
    once.call(Rmi.DATA_CREATE, 3)
    assert once.cost_ns == 3 * timing["rmi.data-create"]


def test_the_parameter_page_is_wiped_after_use(make: Make) -> None:
    builder, _ = make()
    builder.build()
    page = builder.front.door.read(builder.buffers.params, 4096)
    assert RealmParams.decode(page) == RealmParams()
