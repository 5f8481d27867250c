"""Realms of an arrival process in a run: they are brought up, serve, and are stopped when their time has come."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from orchestrator import rundir
from orchestrator.api import open_cluster
from orchestrator.chaos.history import read
from orchestrator.engine.run_store import RunReader
from orchestrator.metrics.collect import Collector
from orchestrator.metrics.fleet_facts import fleet_facts
from orchestrator.store import RealmState

S = 1_000_000_000

FLEET = """\
version: 1
name: come-and-go
duration: 12min
profiles: {std: {pes: 16, memory: 8GiB, firmware: base}}
racks: {r1: {machines: {std: 3}}}
firmware:
  releases:
    base:
      components:
        BL2: {version: 1.0.0, signed_by: vendor}
        BL31: {version: 1.0.0, signed_by: vendor}
        RMM: {version: 1.0.0, signed_by: vendor}
images: {web: {size: 64KiB}}
realms: {web: {image: web, memory: 16MiB}}
arrivals:
  tenants: {kinds: {web: 1}, per_hour: 120, until: 8min, lifetimes: [{share: 100%, mean: 2min}]}
"""


def test_realms_arrive_serve_and_go_and_the_checkers_are_content(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    with open_cluster(file, out=tmp_path / "run") as run:
        expected = run.plan.arrivals
        run.run_until(run.until_ns)
        store = run.assembly.control.store
        gone = [arrival for arrival in expected if arrival.stop_ns < run.until_ns - 30 * S]
        assert len(gone) > 3
        assert all(store.realms[arrival.name].state == "stopped" for arrival in gone)
        stay = [arrival for arrival in expected if arrival.stop_ns > run.until_ns]
        assert all(store.realms[arrival.name].state == "serving" for arrival in stay)
        states = Counter(str(realm.state) for realm in store.realms.values())
        result = run.finish()
    collector = Collector(fleet_facts(run.cluster, run.seed))
    assert collector.tally.number("realms", "awaited") == len(expected) + 1
    with RunReader(tmp_path / "run" / rundir.DATABASE) as reader:
        for line in read(reader.trace()):
            collector.fold(line)
    assert {state: count for state in RealmState if (count := collector.tally.number("realms", state))} == states
    assert {verdict.outcome.value for verdict in result.verdicts} == {"pass"}
    assert result.summary.realms_wanted == len(expected) + 1
    assert result.summary.realms_running == len(stay) + 1
