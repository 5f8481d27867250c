"""The host on RMI 2.0: whatever call is refused, it is named, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cca_machine.abi.rmi2 import Rmi2, Rmi2Status
from cca_machine.abi.smc import Registers, registers
from cca_machine.costs import CALLS, Meter, reference_timing
from cca_machine.host.build import Builder
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door, Refusal, RmiRefusal
from cca_machine.host.fronts.edition_2_0 import Front20
from cca_machine.host.teardown import dismantle
from cca_machine.invariants import violations
from cca_machine.layout import plan
from cca_machine.rmm.rtt import PAGE_LEVEL, walk

Make = Callable[..., tuple[Builder, Any]]


class Contrary:
    """Real firmware that answers the n-th call of a command with ERROR_INPUT instead of doing it."""

    def __init__(self, firmware: Any, command: Rmi2, nth: int) -> None:
        self.firmware, self.command, self.left = firmware, command, nth

    def smc(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        if fid == self.command:
            self.left -= 1
            if self.left == 0:
                return registers([int(Rmi2Status.ERROR_INPUT), args[0] if args else 0])
        result: Registers = self.firmware.smc(fid, args, pe)
        return result

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        for turn in range(count):
            last = self.smc(fid, [arg + turn * step for arg, step in zip(args, stride, strict=True)], pe)
            if last[0]:
                return turn, last
        return count, last


@pytest.fixture(params=["suggested", "tf-rmm"])
def world(kit: Any, request: Any) -> Any:
    return kit.World("m", edition="2.0", token_profile="2024", mecids=3, quirks=request.param)


@pytest.fixture
def make(world: Any, kit: Any) -> Make:
    def make(firmware: Any = None, pool: GranulePool | None = None, **fields: Any) -> tuple[Builder, Any]:
        board = world.machines["m"]._on()
        running = world.machines["m"]._state.running
        door = Door(firmware or board.monitor, board.hardware.memory, Meter(reference_timing(), CALLS["2.0"]))
        front = Front20(door, board.site.buffers)
        given = {"memory_bytes": 16 << 20, **fields}
        return Builder(front, pool or running.host.pool, board.site.buffers, plan(kit.realm_spec(**given)), 0), running

    return make


BUILDING = (
    Rmi2.GRANULE_RANGE_DELEGATE, Rmi2.REALM_CREATE, Rmi2.RTT_INIT_RIPAS, Rmi2.RTT_CREATE, Rmi2.RTT_DATA_MAP_INIT,
    Rmi2.RTT_DATA_MAP, Rmi2.REC_CREATE, Rmi2.REALM_ACTIVATE,
)  # fmt: skip


@pytest.mark.parametrize("command", BUILDING, ids=lambda command: command.name)
@pytest.mark.parametrize("nth", [1, 2, 9])
def test_a_call_refused_anywhere_is_named_and_nothing_is_left(world: Any, make: Make, command: Rmi2, nth: int) -> None:
    running = world.machines["m"]._state.running
    free = list(running.host.pool.runs)
    builder, _ = make(Contrary(world.machines["m"]._on().monitor, command, nth))
    code = f"RMI_{command.name}: RMI_ERROR_INPUT"
    try:
        dismantle(builder.front, builder.pool, builder.build())
    except RmiRefusal as refusal:
        code = refusal.code
    assert code == f"RMI_{command.name}: RMI_ERROR_INPUT"
    assert running.host.pool.runs == free
    assert (list(running.rmm.granules.runs()), running.rmm.operations, running.rmm.vmids) == ([], {}, {})


def test_blocks_are_mapped_as_blocks_by_few_calls(make: Make) -> None:
    builder, running = make(memory_bytes=64 << 20)
    footprint = builder.build()
    realm = running.rmm.realms[footprint.rd]
    levels = [
        walk(running.rmm.tables, realm.rtt_base, realm.rtt_level_start, ipa, PAGE_LEVEL).level
        for ipa in range(builder.plan.ram_base, builder.plan.ram_top, 2 << 20)
    ]
    assert levels.count(PAGE_LEVEL) == 1  # the block with the mailbox, which the guest will give up page by page
    assert builder.front.door.meter.calls["RMI_RTT_DATA_MAP"] < 10
    assert violations(running.rmm, running.hardware) == []


def test_an_operation_that_cannot_have_its_memory_is_ended_and_the_realm_taken_back(make: Make) -> None:
    builder, running = make()
    base = running.host.pool.runs[0][0]
    codes = []
    for granules in range(4096 + 20, 4096 + 60):
        pool = GranulePool([(base, granules)])
        builder, running = make(pool=pool, vcpus=1)
        try:
            dismantle(builder.front, pool, builder.build())
        except Refusal as refusal:
            codes.append(refusal.code)
        else:
            codes.append("fits")
        assert pool.runs == [(base, granules)]
        assert (list(running.rmm.granules.runs()), running.rmm.operations) == ([], {})
    assert set(codes) == {"no-granules", "fits"}
    assert sorted(codes, reverse=True) == codes
