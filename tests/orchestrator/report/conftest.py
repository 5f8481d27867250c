"""Traces written by hand, with the real records (instants in seconds), and runs of real cluster files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from msgspec import Struct

from cca_machine.commands import CONTROL, RealmLive, RealmStill
from orchestrator import rundir
from orchestrator.api import Run, RunOptions
from orchestrator.chaos.history import Line, read
from orchestrator.chaos.verdict import Case, Facts, Outcome, Verdict
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.engine.run_store import RunReader
from orchestrator.extensions import Extensions
from orchestrator.records import RealmWanted

CLUSTERS = Path(__file__).resolve().parents[3] / "clusters"

S = 1_000_000_000


class Script:
    """Collects trace entries of a run that ends at 100 s."""

    facts = Facts(end_ns=100 * S, lease_ns=30 * S, leases=True, recover_within_ns=90 * S)

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []

    def put(self, source: str, at_s: float, what: Struct) -> Script:
        priority = Priority.CONTROL if source == CONTROL else Priority.MACHINE
        self.entries.append(TraceEntry(round(at_s * S), priority, source, len(self.entries) + 1, what))
        return self

    def control(self, at_s: float, what: Struct) -> Script:
        return self.put(CONTROL, at_s, what)

    def wanted(self, realm: str, at_s: float, incarnation: int = 1) -> Script:
        return self.control(at_s, RealmWanted(realm, incarnation, "web", "start"))

    def serves(self, machine: str, realm: str, at_s: float, incarnation: int = 1) -> Script:
        return self.put(machine, at_s, RealmLive(realm, incarnation, True, "secret"))

    def still(self, machine: str, realm: str, at_s: float, why: str, served: int = 0, incarnation: int = 1) -> Script:
        return self.put(machine, at_s, RealmStill(realm, incarnation, served, why))

    def read(self) -> list[Line]:
        """The entries as lines, in total order."""
        return read(self.entries)


@pytest.fixture
def script() -> Script:
    return Script()


class Ran:
    """A finished run of a cluster file, and its trace as anyone may read it."""

    def __init__(self, cluster: Cluster, text: str, path: Path, extensions: Extensions | None = None) -> None:
        self.path = path
        self.cluster = cluster
        options = RunOptions(fleet="local", out=path, file="the-file.yaml")
        with Run(cluster, text, options, extensions=extensions or Extensions()) as run:
            run.run_until(run.until_ns)
            self.result = run.finish()
        self.end_ns = self.result.virtual_ns
        with RunReader(path / rundir.DATABASE) as reader:
            self.lines = read(reader.trace())
        self.page = (path / rundir.REPORT).read_text(encoding="utf-8")

    def of(self, *kinds: str) -> list[Line]:
        return [line for line in self.lines if line.kind in kinds]


def run_of(name: str, folder: Path, changes: Mapping[str, str] = MappingProxyType({})) -> Ran:
    """Run a file of `clusters/`, with some texts in it replaced."""
    text = (CLUSTERS / f"{name}.yaml").read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    loaded = load_text(text, name)
    assert loaded.value is not None, loaded.render()
    return Ran(loaded.value, text, folder / "run")


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A migration, a rollout, a power loss and a partition."""
    return run_of("quickstart", tmp_path_factory.mktemp("quickstart"))


@pytest.fixture(scope="session")
def drained(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A rack that is drained by pre-copy under link faults."""
    return run_of("drain-rack", tmp_path_factory.mktemp("drained"))


@pytest.fixture(scope="session")
def leaseless(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The quickstart without leases: a partition leaves Realms alive twice, and a checker fails."""
    return run_of("quickstart", tmp_path_factory.mktemp("leaseless"), {"lease: 30s": "lease: 30s, leases: false"})


@pytest.fixture(scope="session")
def revoked(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A drill: firmware is revoked under running Realms."""
    return run_of("tcb-recovery", tmp_path_factory.mktemp("revoked"))


def never_content(case: Case) -> Verdict:
    """A checker as a user's script brings one along."""
    return Verdict(
        "never-content", Outcome.FAIL, f"{len(case.lines)} records, none of them good enough", tuple(case.lines[-1:])
    )


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A small run with a checker of the user's own."""
    text = (CLUSTERS / "realm-attest.yaml").read_text(encoding="utf-8")
    loaded = load_text(text, "realm-attest")
    assert loaded.value is not None
    return Ran(loaded.value, text, tmp_path_factory.mktemp("small") / "run", Extensions(checkers=(never_content,)))


@pytest.fixture
def rerun() -> Callable[[Path, Mapping[str, str]], Ran]:
    """Runs the quickstart with some texts of its file replaced."""
    return lambda folder, changes: run_of("quickstart", folder, changes)
