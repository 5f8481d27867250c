"""Every failure condition of RMI 1.0 by its id: alone it gives its status, and of two the earlier one wins.

Ids are those of DEN0137 1.0-rel0; where one id covers several cases a suffix tells them apart. A refused command must
leave RMM, protection table and memory as they were.
"""

from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path

import pytest
import rows_memory
import rows_realms
import rows_tables
from spec_door import INPUT, SUCCESS, UNKNOWN, Door
from spec_rows import Command

from cca_machine.abi.rmi import COMMANDS, Rmi

ROWS = {command.fid: command for module in (rows_memory, rows_tables, rows_realms) for command in module.COMMANDS}
LISTED = tomllib.loads((Path(__file__).parent / "conditions.toml").read_text())

SINGLE = [(row, name) for row in ROWS.values() for name in row.conditions]
PAIRS = [
    (row, earlier, later)
    for row in ROWS.values()
    for earlier, later in combinations(row.conditions, 2)
    if not any({earlier, later} <= group for group in row.free)
]


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.fid.name)
def test_the_prepared_call_succeeds(row: Command) -> None:
    door = Door()
    assert row.call(door, row.prepare(door))[0] == SUCCESS


@pytest.mark.parametrize(("row", "name"), SINGLE, ids=lambda part: part if isinstance(part, str) else part.fid.name)
def test_a_condition_gives_its_status_and_changes_nothing(row: Command, name: str) -> None:
    door = Door()
    args = row.prepare(door)
    row.conditions[name].make(door, args)
    before = door.digest()
    assert row.call(door, args)[0] == row.conditions[name].x0
    assert door.digest() == before


@pytest.mark.parametrize(
    ("row", "earlier", "later"), PAIRS, ids=lambda part: part if isinstance(part, str) else part.fid.name
)
def test_of_two_conditions_the_earlier_one_decides(row: Command, earlier: str, later: str) -> None:
    door = Door()
    args = row.prepare(door)
    row.conditions[later].make(door, args)
    row.conditions[earlier].make(door, args)
    before = door.digest()
    assert row.call(door, args)[0] == row.conditions[earlier].x0
    assert door.digest() == before


def test_every_listed_condition_has_a_row_and_every_row_is_listed() -> None:
    rows = {row.fid.name: sorted(row.conditions) for row in ROWS.values()}
    assert rows == {name: sorted(entry["conditions"]) for name, entry in LISTED["command"].items()}


def test_every_command_has_rows_unless_it_cannot_fail() -> None:
    assert set(Rmi) - set(ROWS) == {Rmi.VERSION, Rmi.FEATURES}


def test_a_destroyed_realm_is_no_rd_for_any_command() -> None:
    door = Door()
    rd = door.realm()
    door.ok(Rmi.REALM_DESTROY, rd)
    for fid, shape in COMMANDS.items():
        if "rd" not in shape.arguments or fid in (Rmi.REALM_CREATE,):
            continue
        args = dict.fromkeys(shape.arguments, 0) | {"rd": rd}
        if "top" in args:
            args["top"] = 4096
        assert door.call(fid, *args.values())[0] == INPUT, fid.name


@pytest.mark.parametrize("number", [0x14F, 0x156, 0x160, 0x163, 0x16A, 0x18E, 0x190, 0x197, 0x1D0])
def test_a_number_that_is_no_command_of_rmi_1_0_is_unknown(number: int) -> None:
    door = Door()
    before = door.digest()
    assert door.call(0xC400_0000 + number, 1, 2, 3) == (UNKNOWN, *(0,) * 7)
    assert door.digest() == before


def test_the_sve_hint_is_masked_and_the_upper_half_of_x0_ignored() -> None:
    door = Door()
    assert door.call(Rmi.FEATURES | 1 << 16, 0) == door.call(Rmi.FEATURES, 0)
    assert door.call(Rmi.FEATURES | 1 << 40, 0) == door.call(Rmi.FEATURES, 0)
