"""A replay counts calls, not lines: a loop of a recording is as many calls as it stands for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from spec_door import DRAM, PAGE, Door

from cca_machine.abi.rmi import Rmi
from cca_machine.layout import plan
from cca_machine.machine import Machine
from cca_machine.rmm.record import RecordedDoor
from cca_machine.rmm.replay import replay
from cca_machine.vmm.measure import measure
from orchestrator.rim_request import layout_of

COUNT = 40


def recording() -> tuple[list[dict[str, Any]], Door]:
    """A recorded door through which 40 granules were delegated at once, of which one was refused half-way."""
    door, records = Door(), []  # type: ignore[var-annotated]
    recorded = RecordedDoor(door.rmm, records.append)
    recorded.smc(Rmi.GRANULE_DELEGATE, (DRAM.base + COUNT * PAGE,))
    recorded.smc_run(Rmi.GRANULE_DELEGATE, (DRAM.base,), (PAGE,), 2 * COUNT)
    recorded.smc_run(Rmi.GRANULE_UNDELEGATE, (DRAM.base,), (PAGE,), COUNT)
    recorded.close()
    return records, door


def counted(door: Door) -> dict[str, int]:
    totals: dict[str, int] = {}
    for (name, _), calls in door.rmm.counters.items():
        totals[name] = totals.get(name, 0) + calls
    return totals


def test_the_counts_are_those_of_the_rmm() -> None:
    records, door = recording()
    report = replay(records)
    assert {name: row.calls for name, row in report.commands.items() if name != "END"} == counted(door)
    assert report.commands["GRANULE_DELEGATE"].calls == 1 + COUNT + 1
    assert all(row.calls == row.agreements for row in report.commands.values())


def test_only_the_calls_of_a_loop_that_differ_are_no_agreements() -> None:
    records, _ = recording()
    (loop,) = [record for record in records if record.get("name") == "GRANULE_UNDELEGATE"]
    loop["rets"] = {"0x0": COUNT - 3, "0x1": 3}
    row = replay(records).commands["GRANULE_UNDELEGATE"]
    assert (row.calls, row.agreements) == (COUNT, COUNT - 3)
    assert row.first is not None


def test_a_machines_recording_replays_with_the_machines_counts_and_the_rim_of_its_layout(kit: Any) -> None:
    world, machine = kit.World(), Machine(kit.machine_spec("m", memory_bytes=256 << 20))
    records: list[dict[str, Any]] = []
    machine.record_door(records.append)
    world.machines["m"] = machine
    assert world.serve("m") is not None
    report = replay(records)
    totals: dict[str, int] = {}
    for (name, _), calls in machine.counters().items():
        if name in Rmi.__members__:
            totals[name] = totals.get(name, 0) + calls
    assert {name: row.calls for name, row in report.commands.items()} == totals
    assert all(row.calls == row.agreements for row in report.commands.values())
    assert sum(totals.values()) > len(records)
    rims = [text for record in records for _, slot, text in record.get("meas", ()) if not slot]
    assert rims[-1] == list(measure(layout_of(plan(kit.realm_spec()))))[-1].rim.hex()


def test_traces_of_the_firmware_count_every_call_of_their_loops(vectors: Path) -> None:
    paths = sorted((vectors / "rmm" / "rmi-1.0").glob("*.jsonl.gz"))
    looped = None
    for path in paths:
        records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        loops = [record for record in records if record.get("macro") == "LOOP"]
        if loops and len(records) < 20_000:
            looped = records, loops
            break
    if looped is None:
        pytest.skip("no small trace with a loop is at hand")
    records, loops = looped
    expected = sum(record["count"] for record in loops) + sum(
        "fid" in record and "macro" not in record for record in records
    )
    report = replay(records)
    assert sum(row.calls for name, row in report.commands.items() if name != "END") == expected
