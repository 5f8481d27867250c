"""Every failure condition of RMI 2.0 by its id: alone it gives its status, and of two the winner decides.

A refused command must leave RMM, protection table and memory as they were.
"""

from __future__ import annotations

import pytest
from rows_2_0 import OTHERWISE_TESTED, ROWS, Row
from spec_door_2_0 import INPUT, Door2

from cca_machine.abi.rmi2 import COMMANDS_2_0, Rmi2

SINGLE = [(row, name) for row in ROWS for name in row.conditions]
PAIRS = [(row, winner, loser) for row in ROWS for winner, loser in row.orders]


def named(part: object) -> str:
    return part if isinstance(part, str) else part.fid.name  # type: ignore[attr-defined]


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_the_prepared_call_succeeds(row: Row) -> None:
    door = Door2(yields=True)
    assert row.call(door, row.prepare(door))[0] == row.answers


@pytest.mark.parametrize(("row", "name"), SINGLE, ids=named)
def test_a_condition_gives_its_status_and_changes_nothing(row: Row, name: str) -> None:
    door = Door2(yields=True)
    args = row.prepare(door)
    x0, make = row.conditions[name]
    make(door, args)
    before = door.digest()
    assert row.call(door, args)[0] == x0
    assert door.digest() == before


@pytest.mark.parametrize(("row", "winner", "loser"), PAIRS, ids=named)
def test_of_two_conditions_the_winner_decides(row: Row, winner: str, loser: str) -> None:
    door = Door2(yields=True)
    args = row.prepare(door)
    row.conditions[loser][1](door, args)
    row.conditions[winner][1](door, args)
    before = door.digest()
    assert row.call(door, args)[0] == row.conditions[winner][0]
    assert door.digest() == before


def test_every_command_without_devices_has_rows_or_says_where_it_is_tested() -> None:
    rows = {row.fid for row in ROWS}
    assert rows | set(OTHERWISE_TESTED) == set(COMMANDS_2_0)
    assert not rows & set(OTHERWISE_TESTED)


def test_a_destroyed_realm_is_no_rd_for_any_command() -> None:
    door = Door2()
    rd = door.realm()
    door.ok(Rmi2.REALM_TERMINATE, rd)
    door.ok(Rmi2.REALM_DESTROY, rd)
    for fid, shape in COMMANDS_2_0.items():
        if "rd" in shape.arguments and fid not in (Rmi2.REALM_CREATE, Rmi2.REC_CREATE):
            args = dict.fromkeys(shape.arguments, 0) | {"rd": rd}
            if "top" in args:
                args["top"] = 4096
            assert door.call(fid, *args.values())[0] == INPUT, fid.name
