"""What came of a run, from its directory: verdicts, summary, tables, metrics, tokens, plots.

    results = open_results("runs/quickstart")
    results.realms.sort("downtime_s", descending=True).head()
    results.metrics("realmfleet_realms")
    results.plot.timeline()

Tables are polars data frames; polars and plotly are imported when they are first asked for. A finished run is read from
its files alone, so yesterday's run and the one that has just ended are the same to a script.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from attestation.appraise import appraise
from attestation.policy import Facts as EvidenceFacts
from attestation.policy import facts_of as evidence_facts
from attestation.verify import verify
from orchestrator import rundir
from orchestrator.api import RunResult
from orchestrator.chaos.history import Line, read
from orchestrator.chaos.verdict import Case, Outcome, Verdict, facts_of
from orchestrator.cluster.schema import Cluster
from orchestrator.explain import Event
from orchestrator.explain import explain as tell
from orchestrator.extensions import Checker
from orchestrator.inspect import open_run
from orchestrator.metrics.catalogue import BY_NAME, PREFIX
from orchestrator.plan import Plan, plan, trust_anchors
from orchestrator.replay import cluster_of
from orchestrator.report.summary import Summary, summarise
from orchestrator.scripting.columns import METRIC_COLUMNS, TABLES, Column
from orchestrator.scripting.errors import FleetError, UnknownName
from orchestrator.scripting.metric_text import read_metric
from orchestrator.scripting.rows import ROWS

if TYPE_CHECKING:
    import polars

    from orchestrator.scripting.plots import Plots


class Evidence(Struct, frozen=True):
    """A token as it reached the verifier; `facts` are what a policy may ask of it (`attestation.policy.facts_of`)."""

    realm: str
    incarnation: int
    at_s: float
    machine: str
    token: bytes
    facts: EvidenceFacts


def open_results(run_dir: str | Path) -> Results:
    """The results of a run that has ended; raises `UserMistake` for a directory that holds none."""
    path = Path(run_dir)
    manifest = rundir.read_manifest(path)
    if "result" not in manifest:
        raise FleetError(f"the run in {path} has not ended", f"its status is {manifest.get('status')}")
    return Results(path)


class Results:
    """Everything about a run that has ended. Tables are named as in `orchestrator.scripting.columns`."""

    def __init__(self, path: Path, result: RunResult | None = None) -> None:
        self.path = path
        """The run directory."""
        manifest = rundir.read_manifest(path)
        self._said: dict[str, Any] = manifest["result"] if result is None else result.as_json()
        self._verdicts = None if result is None else result.verdicts

    # -- in short ------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return str(self._said["name"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self._said["seed"])

    @property
    def trace_digest(self) -> str:
        """SHA-256 over the trace: equal for equal runs, whatever they ran on."""
        return str(self._said["trace_digest"])

    @property
    def repeat(self) -> str:
        """The command that does it again."""
        return str(self._said["repeat"])

    @property
    def virtual_s(self) -> float:
        """How long the run was, in virtual seconds."""
        return float(self._said["virtual_s"])

    @property
    def end_ns(self) -> int:
        """Where the run ended, in virtual ns."""
        return round(self.virtual_s * 1_000_000_000)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """What each checker said; those of a run read from its directory come without evidence lines."""
        if self._verdicts is not None:
            return {verdict.name: verdict for verdict in self._verdicts}
        details = self._said["checker_details"]
        return {name: Verdict(name, Outcome(said), details[name]) for name, said in self._said["checkers"].items()}

    @property
    def passed(self) -> bool:
        """Whether no checker failed and none was unable to tell."""
        return all(verdict.outcome is Outcome.PASS for verdict in self.verdicts.values())

    @cached_property
    def summary(self) -> Summary:
        """The numbers of the run."""
        return summarise(self.lines, self._case.facts)

    def check(self, checker: Checker) -> Verdict:
        """What a checker of one's own says of this run."""
        return checker(self._case)

    def explain(self, name: str) -> list[Event]:
        """What happened to a Realm, machine, rollout or fault, and why; raises `UserMistake` if unknown."""
        with open_run(self.path) as reader:
            return tell(reader.trace(), name)

    # -- tables --------------------------------------------------------------------------------------------------------

    def table(self, name: str) -> polars.DataFrame:
        """A table by name; raises `UnknownName`."""
        if name not in TABLES:
            raise UnknownName("table", name, TABLES)
        rows = ROWS[name](self.lines, self.end_ns)
        return _frame(TABLES[name], list(rows))

    @cached_property
    def events(self) -> polars.DataFrame:
        """Every record of the trace."""
        return self.table("events")

    @cached_property
    def realms(self) -> polars.DataFrame:
        """One row a Realm: bring-up, service, downtime, attestations."""
        return self.table("realms")

    @cached_property
    def outages(self) -> polars.DataFrame:
        """Every stretch in which a wanted Realm did not serve, with its cause."""
        return self.table("outages")

    @cached_property
    def migrations(self) -> polars.DataFrame:
        """Every migration session (modelled)."""
        return self.table("migrations")

    @cached_property
    def attestations(self) -> polars.DataFrame:
        """Every verdict over a Realm's evidence."""
        return self.table("attestations")

    @cached_property
    def activations(self) -> polars.DataFrame:
        """Every firmware image that began to run, and every refusal."""
        return self.table("activations")

    @cached_property
    def faults(self) -> polars.DataFrame:
        """Every fault that struck."""
        return self.table("faults")

    def metrics(self, name: str) -> polars.DataFrame:
        """All samples of a metric of the catalogue over virtual time, one column a label; raises `UnknownName`.

        The prefix `realmfleet_` may be left out.
        """
        full = PREFIX + name.removeprefix(PREFIX)
        if full not in BY_NAME:
            raise UnknownName("metric", name, BY_NAME)
        metric = BY_NAME[full]
        labels = [label.name for label in metric.labels]
        if metric.bounds:
            labels.append("le")
        columns = (*METRIC_COLUMNS, *(Column(label, "text", "") for label in labels))
        return _frame(columns, list(read_metric(self.path / rundir.METRICS, metric.family, labels)))

    def evidence(self, realm: str | None = None) -> list[Evidence]:
        """Tokens that reached the verifier, of one Realm or all, with the facts that policies judge.

        The tokens are verified and appraised anew, without freshness, which cannot be judged afterwards.

        Raises:
            attestation.errors.Refused: a token does not verify, as after a fault that tampers with tokens.
        """
        anchors, references = trust_anchors(self._plan), self._plan.references
        found = []
        with open_run(self.path) as reader:
            for stored in reader.tokens(realm):
                verified = verify(stored.token, anchors, None)
                facts = evidence_facts(verified, appraise(verified, references), references)
                where = (stored.realm, stored.incarnation, stored.at_ns / 1e9, stored.machine, stored.token)
                found.append(Evidence(*where, facts))
        if realm is not None and not found:
            raise UnknownName("Realm with a token", realm, sorted({line.realm for line in self._tokens()}))
        return found

    def _tokens(self) -> Iterator[Any]:
        with open_run(self.path) as reader:
            yield from reader.tokens()

    @property
    def plot(self) -> Plots:
        """Plots of this run (plotly figures)."""
        from orchestrator.scripting.plots import Plots

        return Plots(self)

    # -- what stands behind --------------------------------------------------------------------------------------------

    @cached_property
    def lines(self) -> list[Line]:
        """The whole trace, in total order."""
        with open_run(self.path) as reader:
            return read(reader.trace())

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster file as records."""
        return cluster_of(self.path)

    @cached_property
    def _plan(self) -> Plan:
        return plan(self.cluster, self.seed)

    @cached_property
    def _case(self) -> Case:
        return Case(self.lines, facts_of(self.cluster, self.end_ns, self._plan.firmware.anchors))

    def __repr__(self) -> str:
        told = "all checkers pass" if self.passed else "not all checkers pass"
        return f"{self.name}, seed {self.seed}: {self.virtual_s:g} virtual s, {told}, digest {self.trace_digest[:16]}"

    def _repr_html_(self) -> str:
        from orchestrator.scripting.notebook import results_html

        return results_html(self)


def _frame(columns: Sequence[Column], rows: list[dict[str, Any]]) -> polars.DataFrame:
    import polars

    types = {"text": polars.String, "integer": polars.Int64, "number": polars.Float64, "truth": polars.Boolean}
    return polars.DataFrame(rows, schema={column.name: types[column.type] for column in columns}, orient="row")
