"""Every refusal says which condition of which table decided: the one that the rows of the specification put first."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from spec_door import Door
from spec_rows import Command
from test_conditions import PAIRS, SINGLE

from cca_machine.abi.rmi import COMMANDS, Rmi
from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.rmm.edition_1_0.conditions import TABLES
from cca_machine.rmm.replay import TraceReplay
from cca_machine.rmm.replay_ports import number
from cca_machine.rmm.why import answer_text, why

ALIASES = {"alias", "aux_alias", "aux_alias_rec"}
"""Two arguments made equal: a second condition on one of them then holds for the other as well."""

names = {"ids": lambda part: part if isinstance(part, str) else part.fid.name}


def reason_of(row: Command, *broken: str) -> str:
    door = Door()
    args = row.prepare(door)
    for name in broken:
        row.conditions[name].make(door, args)
    answer = row.call(door, args)
    words = [args[name] for name in COMMANDS[row.fid].arguments]
    reason = why(door.rmm.core, row.fid, words, answer)
    assert reason is not None
    assert reason.answer == answer_text(answer[0])
    return reason.condition


@pytest.mark.parametrize(("row", "name"), SINGLE, **names)
def test_a_condition_alone_is_the_reason(row: Command, name: str) -> None:
    assert reason_of(row, name) == name


def test_of_two_conditions_the_reason_is_one_of_them_and_gives_the_answer() -> None:
    for row, earlier, later in PAIRS:
        if {earlier, later} & ALIASES:
            continue
        assert reason_of(row, later, earlier) in (earlier, later, "alias"), (row.fid.name, earlier, later)


def test_a_success_has_no_reason_and_an_unknown_call_says_so() -> None:
    door = Door()
    assert why(door.rmm.core, Rmi.VERSION, (0x10000,), door.call(Rmi.VERSION, 0x10000)) is None
    unknown = why(door.rmm.core, 0xC400_0156, (), door.call(0xC400_0156))
    assert unknown is not None
    assert (unknown.condition, unknown.answer) == ("unknown", "NOT_SUPPORTED")


def test_a_panicked_rmm_says_that_it_has_stopped() -> None:
    door = Door()
    door.rmm.fail()
    reason = why(door.rmm.core, Rmi.FEATURES, (0,), door.call(Rmi.FEATURES, 0))
    assert reason is not None
    assert reason.condition == "panicked"


def test_later_conditions_that_hold_are_named_besides() -> None:
    door = Door()
    args = (0x1001, 0)
    reason = why(door.rmm.core, Rmi.RTT_CREATE, (*args, 1, 9), door.call(Rmi.RTT_CREATE, *args, 1, 9))
    assert reason is not None
    assert reason.condition == "rtt_bound"
    assert {"rd_align", "rd_bound"} <= set(reason.also)
    assert reason.sentence().startswith("RTT_CREATE ERROR_INPUT: rtt_bound: ")


def test_every_command_that_can_fail_has_a_table() -> None:
    assert set(TABLES) == set(Rmi) - {Rmi.VERSION, Rmi.FEATURES}


def test_every_refusal_of_the_recorded_firmware_has_a_reason(vectors: Path) -> None:
    """Whatever a quarter of illegal calls brings about, a condition of the call's own table explains it."""
    found = 0
    for path in sorted((vectors / "rmm" / "rmi-1.0").glob("*.jsonl.gz"))[::4]:
        header, *records = (json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines())
        turn = TraceReplay(header)
        for record in records:
            turn.feed(record)
            x0 = number(record["x"][0]) if "fid" in record and "macro" not in record else 0
            if not x0 or x0 == NOT_SUPPORTED or record["name"] not in Rmi.__members__:
                continue
            args = [number(value) for value in record["args"]]
            reason = why(turn.rmm.core, number(record["fid"]), args, (x0,) + (0,) * 7)
            assert reason is not None
            assert reason.condition != "exit", (path.name, record["i"])
            found += 1
    assert found > 300
