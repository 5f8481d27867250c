"""The door of every machine of a run, against the metrics, the trace, the RMM alone, and `realmfleet rim`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from cca_machine.rmm.replay import replay
from orchestrator.api import Run, RunOptions
from orchestrator.cli.app import app
from orchestrator.cluster.load import load_text

CLUSTERS = Path(__file__).resolve().parents[2] / "clusters"
Door = list[dict[str, Any]]


class Heard:
    """One run with an ear at every door: records by machine, trace lines, and the last value of `rmi_calls_total`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        text = (CLUSTERS / name).read_text(encoding="utf-8")
        cluster = load_text(text, name).value
        assert cluster is not None
        self.doors: dict[str, Door] = {}
        with Run(cluster, text, RunOptions(fleet="local", out=folder / "run")) as run:
            for machine in run.plan.machines:
                run.fleet.machine(machine).record_door(self.doors.setdefault(machine, []).append)
            run.run_until(run.until_ns)
            run.finish()
            self.kinds = dict(run.plan.realms)
            self.editions = {name: spec.edition for name, spec in run.plan.machines.items()}
        asked = CliRunner().invoke(app, ["inspect", str(folder / "run"), "--trace", "--json"])
        self.lines = [json.loads(line) for line in asked.stdout.splitlines()]
        self.metrics = (folder / "run" / "metrics.om").read_text(encoding="utf-8")

    def told(self) -> dict[str, Counter[str]]:
        """RMI calls by machine and command, as the trace has them."""
        found: dict[str, Counter[str]] = {name: Counter() for name in self.doors}
        for line in self.lines:
            if line["kind"] == "rmi.calls":
                found[line["source"]].update(line["what"]["calls"])
        return found

    def counted(self) -> dict[str, int]:
        """The same over all machines, as the metrics end."""
        text = "".join(
            f"{line}\n" for line in self.metrics.splitlines() if line.startswith("realmfleet_rmi_calls_total")
        )
        found: dict[str, int] = {}
        head = "# TYPE realmfleet_rmi_calls counter\n"
        for family in text_string_to_metric_families(f"{head}{text}# EOF\n"):
            for sample in family.samples:
                found[sample.labels["command"]] = int(sample.value)
        return found


def calls_of(door: Door) -> Counter[str]:
    counts: Counter[str] = Counter()
    for record in door:
        if "fid" in record:
            counts[f"RMI_{record['name']}"] += record.get("count", 1)
    return counts


def is_target(door: Door) -> bool:
    """Whether a Realm was moved here: what shows its contents is left out of the recording."""
    return any("imported (modelled)" in record.get("note", "") for record in door)


@pytest.fixture(scope="module", params=["quickstart.yaml", "mixed-editions.yaml"])
def heard(request: Any, tmp_path_factory: Any) -> Heard:
    return Heard(request.param, tmp_path_factory.mktemp("door"))


def test_every_call_at_every_door_is_counted_once_in_trace_and_metrics(heard: Heard) -> None:
    told = heard.told()
    compared = 0
    for machine, door in heard.doors.items():
        if not is_target(door):
            assert calls_of(door) == told[machine], machine
            compared += 1
    assert compared == len(heard.doors) - 1
    assert heard.counted() == dict(sum(told.values(), Counter()))


def test_every_door_replays_without_a_disagreement(heard: Heard) -> None:
    for machine, door in heard.doors.items():
        if heard.editions[machine] == "2.0" or machine.startswith("r1"):
            report = replay(door)
            assert report.agrees, (machine, {name: told.first for name, told in report.commands.items() if told.first})
            assert report.commands["REC_ENTER"].calls > 0


def test_the_rims_of_all_realms_are_those_of_realmfleet_rim(heard: Heard) -> None:
    asked = CliRunner().invoke(app, ["rim", "cluster", str(CLUSTERS / heard.name), "--json"])
    rims = json.loads(asked.stdout)["editions"]
    found: dict[str, dict[str, str]] = {edition: {} for edition in rims}
    for line in heard.lines:
        if line["kind"] == "realm.built":
            what = line["what"]
            found[heard.editions[line["source"]]].setdefault(heard.kinds[what["realm"]], what["rim"])
            assert rims[heard.editions[line["source"]]][heard.kinds[what["realm"]]] == what["rim"]
    assert found == rims
    assert set(rims) == set(heard.editions.values())
