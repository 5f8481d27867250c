"""Every refusal of RMI 2.0 says which condition decided, also those that an operation tells late."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from rows_2_0_realms import LATE
from spec_door_2_0 import INPUT, RECLAIM, Door2, desc
from spec_rows_2_0 import Row
from test_conditions_2_0 import CASES, PAIRS, SINGLE, named, prepared

from cca_machine.abi.rmi2 import COMMANDS_2_0, DEVICE_COMMANDS, RecParams2, Rmi2
from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.rmm.replay_2_0 import TraceReplay2
from cca_machine.rmm.replay_ports import number
from cca_machine.rmm.why import answer_text, is_refusal, why

ALIASES = {"alias", "data_bound2", "oaddr_bound2"}
"""Two arguments made equal, or an address that is no memory besides."""


def reason_of(row: Row, *broken: str) -> str:
    door, args = prepared(row)
    for name in broken:
        row.conditions[name].make(door, args)
    words = [args[name] for name in COMMANDS_2_0[row.fid].arguments]
    answer = row.call(door, args)
    reason = why(door.rmm.core, row.fid, words, answer)
    assert reason is not None
    assert reason.answer == answer_text(answer[0], "2.0")
    return reason.condition


@pytest.mark.parametrize(("row", "name"), SINGLE, ids=named)
def test_a_condition_alone_is_the_reason(row: Row, name: str) -> None:
    assert reason_of(row, name) == CASES.get(name, name)


def test_of_two_conditions_the_reason_is_the_earlier_one_or_one_of_them() -> None:
    for row, earlier, later in PAIRS:
        if {earlier, later} & ALIASES:
            continue
        assert reason_of(row, later, earlier) in (CASES.get(earlier, earlier), CASES.get(later, later), "alias"), (
            row.fid.name, earlier, later,
        )  # fmt: skip


@pytest.mark.parametrize("name", LATE)
def test_an_operation_that_gives_memory_back_says_why(name: str) -> None:
    door = Door2()
    args = {"rd": door.realm(), "rec": door.delegated(), "params_ptr": door.host_page(RecParams2(flags=1).encode())}
    LATE[name].make(door, args)
    handle = door.call(Rmi2.REC_CREATE, args["rd"], args["rec"], args["params_ptr"])[1]
    door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(desc(door.delegated(16), 16)), 1)
    x = door.call(Rmi2.OP_CONTINUE, handle, 0)
    found = why(door.rmm.core, Rmi2.OP_CONTINUE, (handle, 0), x)
    assert found is not None
    assert (found.command, found.condition, found.answer) == ("REC_CREATE", name, "INCOMPLETE(RECLAIM)")
    x = door.call(Rmi2.OP_MEM_RECLAIM, handle, door.host_page(), 16)
    assert why(door.rmm.core, Rmi2.OP_MEM_RECLAIM, (handle, 0), x) is None
    before = door.rmm.state.operations[handle]
    found = why(door.rmm.core, Rmi2.OP_CONTINUE, (handle, 0), door.call(Rmi2.OP_CONTINUE, handle, 0), before)
    assert found is not None
    assert found.condition == "ended"


def test_a_donation_that_cannot_be_taken_says_so() -> None:
    door = Door2()
    _, handle = door.begin_rec(door.realm())
    x = door.call(Rmi2.OP_MEM_DONATE, handle, given := door.host_list(desc(door.granules())), 1)
    assert x[0] == RECLAIM
    found = why(door.rmm.core, Rmi2.OP_MEM_DONATE, (handle, given, 1), x)
    assert found is not None
    assert found.condition == "aux_state"


def test_commands_that_are_none_and_devices_that_are_not_there_say_so() -> None:
    door = Door2()
    unknown = why(door.rmm.core, 0xC400_0152, (), door.call(0xC400_0152))
    device = why(door.rmm.core, Rmi2.PDEV_ABORT, (), door.call(Rmi2.PDEV_ABORT, 0))
    assert unknown is not None
    assert device is not None
    assert (unknown.condition, device.condition) == ("unknown", "device")
    assert door.call(Rmi2.OP_CONTINUE, 5)[0] == INPUT


def test_every_refusal_of_the_recorded_firmware_has_a_reason(vectors: Path) -> None:
    """Whatever illegal calls bring about, a condition of the call's own table explains it."""
    found = 0
    traces = [path for path in sorted((vectors / "rmm" / "rmi-2.0").glob("*.jsonl.gz")) if "da" not in path.name]
    for path in traces[::5]:
        header, *records = (json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines())
        turn = TraceReplay2(header)
        for record in records:
            args = [number(value) for value in record["args"]] if "args" in record else []
            before = turn.rmm.core.state.operations.get(args[0]) if args else None
            turn.feed(record)
            x0 = number(record["x"][0]) if "fid" in record and "macro" not in record else 0
            if not is_refusal(x0, "2.0") or x0 == NOT_SUPPORTED or Rmi2(number(record["fid"])) in DEVICE_COMMANDS:
                continue
            reason = why(turn.rmm.core, number(record["fid"]), args, (x0,) + (0,) * 7, before)
            assert reason is not None
            assert reason.condition != "exit" or record["name"] == "REC_ENTER", (path.name, record["i"], record["name"])
            found += 1
    assert found > 300
