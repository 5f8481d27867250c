"""Recorded traces of TF-RMM's main branch: every answer of the firmware to a command without devices is the model's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cca_machine.rmm.quirks import SUGGESTED
from cca_machine.rmm.replay import replay

KINDS = ("global", "preact", "rtt", "sro", "mix", "rsi", "yield", "planes", "pexec", "mix_ind", "rsi_ind", "pexec_ind")


def records(path: Path):
    with gzip.open(path, "rt") as lines:
        yield from (json.loads(line) for line in lines)


def traces(vectors: Path, kind: str) -> list[Path]:
    return [
        path
        for path in sorted((vectors / "rmm" / "rmi-2.0").glob(f"{kind}_*.jsonl.gz"))
        if path.name.split(".")[0].rsplit("_", 1)[0] == kind
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_agrees_with_the_firmware_on_every_command_of_every_trace(vectors: Path, kind: str) -> None:
    found = traces(vectors, kind)
    assert found
    for path in found:
        report = replay(records(path))
        differing = {name: command.first for name, command in report.commands.items() if command.first}
        assert not differing, (path.name, differing)
        assert report.commands["END"].calls == 1


def test_traces_with_devices_replay_to_their_end_whatever_they_ask(vectors: Path) -> None:
    for path in traces(vectors, "da"):
        report = replay(records(path))
        assert report.commands["END"].calls == 1


def test_without_the_firmwares_quirks_the_replay_reports_where_it_differs(vectors: Path) -> None:
    differing = set()
    for path in traces(vectors, "global"):
        report = replay(records(path), SUGGESTED)
        differing |= {name for name, command in report.commands.items() if command.first}
    assert {"GRANULE_RANGE_DELEGATE", "REALM_CREATE"} <= differing
    assert not differing & {"RMM_CONFIG_SET", "RMM_CONFIG_GET", "GPT_L1_CREATE", "RMM_ACTIVATE"}
