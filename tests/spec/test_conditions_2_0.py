"""Every failure condition of RMI 2.0 by its id: alone it gives its status, and of two the earlier one decides.

The order is that of the tables beside the edition, which say when a condition holds. A refused command must leave RMM,
protection table and memory as they were.
"""

from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path

import pytest
import rows_2_0_memory
import rows_2_0_realms
import rows_2_0_tables
from rows_2_0_realms import ALWAYS_REFUSED, BEFORE_ACTIVATION, LATE
from spec_door_2_0 import GOES_ON, INPUT, RECLAIM, Door2, desc
from spec_rows_2_0 import Arguments, Row

from cca_machine.abi.rmi2 import COMMANDS_2_0, RecParams2, Rmi2
from cca_machine.rmm.edition_2_0.conditions import LATE_REC_CREATE, TABLES

SERVED = (*rows_2_0_memory.ROWS, *rows_2_0_tables.ROWS, *rows_2_0_realms.ROWS, *BEFORE_ACTIVATION)
ROWS = {row.fid: row for row in (*SERVED, *ALWAYS_REFUSED)}
OUT_OF_MODEL = tomllib.loads((Path(__file__).parent / "conditions.toml").read_text())["out_of_model_2_0"]
CASES = {"rtt_homo_held": "rtt_homo", "desc_align": "desc_valid"}
"""Rows that are another case of a condition of the table."""


def place(row: Row, name: str) -> int:
    """Where the model looks at a condition."""
    return [check.name for check in TABLES[row.fid]].index(CASES.get(name, name))


SINGLE = [(row, name) for row in ROWS.values() for name in row.conditions]
PAIRS = [
    (row, *sorted(pair, key=lambda name, row=row: place(row, name)))
    for row in ROWS.values()
    for pair in combinations(row.conditions, 2)
    if not any(set(pair) <= group for group in row.free)
]


def named(part: object) -> str:
    return part if isinstance(part, str) else part.fid.name  # type: ignore[attr-defined]


def prepared(row: Row) -> tuple[Door2, Arguments]:
    """A machine with four contexts for operations, on which the call of the row would succeed."""
    door = Door2(yields=True, contexts=4, activated=row not in BEFORE_ACTIVATION)
    return door, row.prepare(door)


@pytest.mark.parametrize("row", SERVED, ids=named)
def test_the_prepared_call_succeeds(row: Row) -> None:
    door, args = prepared(row)
    assert row.call(door, args)[0] == row.answers


@pytest.mark.parametrize(("row", "name"), SINGLE, ids=named)
def test_a_condition_gives_its_status_and_changes_nothing(row: Row, name: str) -> None:
    door, args = prepared(row)
    row.conditions[name].make(door, args)
    before = door.digest()
    assert row.call(door, args)[0] == row.conditions[name].x0
    assert door.digest() == before


@pytest.mark.parametrize(("row", "earlier", "later"), PAIRS, ids=named)
def test_of_two_conditions_the_earlier_one_decides(row: Row, earlier: str, later: str) -> None:
    door, args = prepared(row)
    row.conditions[later].make(door, args)
    row.conditions[earlier].make(door, args)
    before = door.digest()
    assert row.call(door, args)[0] == row.conditions[earlier].x0
    assert door.digest() == before


@pytest.mark.parametrize("name", LATE)
def test_a_condition_of_a_rec_is_told_when_its_memory_is_back_and_nothing_else_has_changed(name: str) -> None:
    door = Door2()
    args = {"rd": door.realm(), "rec": door.delegated(), "params_ptr": door.host_page(RecParams2(flags=1).encode())}
    LATE[name].make(door, args)
    pages, before = door.delegated(16), door.rmm.digest()
    handle = door.call(Rmi2.REC_CREATE, args["rd"], args["rec"], args["params_ptr"])[1]
    assert door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(desc(pages, 16)), 1)[0] == GOES_ON
    assert door.call(Rmi2.OP_CONTINUE, handle, 0)[0] == RECLAIM
    assert door.call(Rmi2.OP_MEM_RECLAIM, handle, door.host_page(), 16)[0] == GOES_ON
    assert door.call(Rmi2.OP_CONTINUE, handle, 0)[0] == LATE[name].x0
    assert door.rmm.digest() == before


def test_every_condition_of_the_tables_has_a_row_or_says_where_it_is_tested() -> None:
    rows = {f"{row.fid.name}.{CASES.get(name, name)}" for row, name in SINGLE}
    listed = {f"{fid.name}.{check.name}" for fid, checks in TABLES.items() for check in checks}
    assert listed - rows == set(OUT_OF_MODEL)
    assert rows <= listed
    assert {check.name for check in LATE_REC_CREATE} == set(LATE)
    assert set(TABLES) == set(COMMANDS_2_0)


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
