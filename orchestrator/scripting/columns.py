"""The tables of a run: every column with its type, unit and meaning.

Types are msgspec-plain words that `orchestrator.scripting.results` turns into those of polars; the reference page of
the Python API prints this catalogue. Instants are virtual seconds since the start, exact integers are in ns.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Type = Literal["text", "integer", "number", "truth"]


class Column(NamedTuple):
    """One column: its unit stands at the end of its name."""

    name: str
    type: Type
    meaning: str


TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "events": (
        Column("at_s", "number", "When it happened."),
        Column("at_ns", "integer", "The same, exactly."),
        Column("source", "text", "Who says so: a machine, or the control plane."),
        Column("kind", "text", "Kind of the trace record."),
        Column("realm", "text", "Realm that it is about; null if none."),
        Column("machine", "text", "Machine that it is about; null if none."),
        Column("what", "text", "All fields of the record as JSON."),
    ),
    "realms": (
        Column("realm", "text", "Name."),
        Column("kind", "text", "Kind of the cluster file."),
        Column("machine", "text", "Where its last copy ran; null if it never did."),
        Column("wanted_s", "number", "When it was first wanted."),
        Column("serving_s", "number", "When it first served; null if never."),
        Column("bring_up_s", "number", "From wanted to serving for the first time."),
        Column("until_s", "number", "Until when it was wanted: its stop, or the end of the run."),
        Column("served_s", "number", "Time in which it served."),
        Column("availability_ppm", "integer", "Served share of its wanted time, in parts per million."),
        Column("outages", "integer", "Gaps after it first served."),
        Column("downtime_s", "number", "Their sum."),
        Column("restarts", "integer", "Copies that were replaced."),
        Column("attestations", "integer", "Verdicts that passed."),
        Column("refusals", "integer", "Verdicts that did not."),
        Column("serving", "truth", "Whether it served at the end."),
    ),
    "outages": (
        Column("realm", "text", "Realm."),
        Column("cause", "text", "What ended the copy before; bring-up when there was none."),
        Column("from_s", "number", "Beginning."),
        Column("until_s", "number", "End."),
        Column("duration_ms", "number", "How long."),
        Column("machine", "text", "Where the copy before ran; null for a bring-up."),
        Column("open", "truth", "Whether the run ended in it."),
    ),
    "migrations": (
        Column("session", "text", "Migration session (modelled)."),
        Column("realm", "text", "Realm."),
        Column("source", "text", "Machine it left."),
        Column("target", "text", "Machine it was to reach."),
        Column("why", "text", "Who asked."),
        Column("opened_s", "number", "When the session was opened."),
        Column("finished_s", "number", "When both sides were through; null if the run ended before."),
        Column("duration_s", "number", "From opened to finished."),
        Column("downtime_ms", "number", "Pause of the Realm until it was live again; null if there was none."),
        Column("sent_bytes", "integer", "State that crossed."),
        Column("rounds", "integer", "Rounds of pre-copy."),
        Column("outcome", "text", "moved, resumed or lost; null if unfinished."),
    ),
    "attestations": (
        Column("at_s", "number", "When the verifier replied."),
        Column("realm", "text", "Realm."),
        Column("incarnation", "integer", "Its copy."),
        Column("machine", "text", "Where it ran."),
        Column("passed", "truth", "The verdict."),
        Column("why", "text", "What it was asked for: bring-up, or the reason of a re-attestation."),
        Column("reason", "text", "Reason code of a refusal; empty when it passed."),
        Column("detail", "text", "The refusal in words."),
        Column("wait_ms", "number", "In the verifier's queue."),
        Column("service_ms", "number", "At the verifier."),
        Column("total_ms", "number", "From arrival to reply."),
        Column("rim", "text", "Initial measurement, in hexadecimal."),
    ),
    "activations": (
        Column("at_s", "number", "When the machine's PEs went on, or the step was refused."),
        Column("machine", "text", "Machine."),
        Column("component", "text", "Firmware component."),
        Column("version", "text", "Version that runs from then on; null for a refusal."),
        Column("method", "text", "live (activation under running Realms) or boot."),
        Column("pause_ms", "number", "Time in which all PEs stood still; null for a boot or a refusal."),
        Column("status", "text", "success, or the status that the firmware gave."),
    ),
    "faults": (
        Column("fault", "text", "Name, like fault-1."),
        Column("kind", "text", "What struck."),
        Column("from_s", "number", "When it struck."),
        Column("until_s", "number", "When it was undone; null if the run ended before."),
        Column("targets", "text", "Machines struck, or one end of the links, comma separated."),
        Column("peers", "text", "The other end of the links."),
    ),
}
"""Tables of a run by name."""

METRIC_COLUMNS: Final = (
    Column("at_s", "number", "Virtual time of the sample."),
    Column("series", "text", "Name of the sample: the metric's, with _bucket, _count or _sum for histograms."),
    Column("value", "number", "Value, in the unit that the metric's name ends in."),
)
"""Columns of `Results.metrics`, before one text column for each label of the metric."""
