"""Recorded traces of TF-RMM built natively: every meaningful answer of the firmware is the model's answer too."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cca_machine.rmm.quirks import SUGGESTED
from cca_machine.rmm.replay import replay

KINDS = ("mix", "rtt", "rsi", "create", "meas", "gran", "lpa2")


def records(path: Path):
    with gzip.open(path, "rt") as lines:
        yield from (json.loads(line) for line in lines)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_agrees_with_the_firmware_on_every_command_of_every_trace(vectors: Path, kind: str) -> None:
    traces = sorted((vectors / "rmm" / "rmi-1.0").glob(f"{kind}_*.jsonl.gz"))
    assert traces
    print(f"{len(traces)} traces of kind {kind}")
    for path in traces:
        agrees(path)


def test_no_trace_of_the_folder_is_left_out(vectors: Path) -> None:
    for path in sorted((vectors / "rmm" / "rmi-1.0").glob("*.jsonl.gz")):
        if not path.name.startswith(tuple(f"{kind}_" for kind in KINDS)):
            agrees(path)


def agrees(path: Path) -> None:
    report = replay(records(path))
    differing = {name: command.first for name, command in report.commands.items() if command.first}
    assert not differing, (path.name, differing)
    assert report.commands["END"].calls == 1


def test_without_the_firmwares_quirks_the_replay_reports_where_it_differs(vectors: Path) -> None:
    differing = set()
    for path in sorted((vectors / "rmm" / "rmi-1.0").glob("rsi_*.jsonl.gz")):
        report = replay(records(path), SUGGESTED)
        differing |= {name for name, command in report.commands.items() if command.first}
    assert "REC_ENTER" in differing
    assert "RTT_READ_ENTRY" not in differing


def test_a_file_of_another_interface_version_is_refused_with_a_reason(vectors: Path) -> None:
    path = sorted((vectors / "rmm" / "rmi-1.1").glob("*.jsonl.gz"))[0]
    with pytest.raises(ValueError, match=r"RMI 1\.0"):
        replay(records(path))
