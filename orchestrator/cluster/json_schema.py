"""JSON schemas of the files that users write, for editors and other tools."""

from __future__ import annotations

from typing import Any, Literal

from orchestrator.cluster.experiment import Experiment
from orchestrator.cluster.schema import Cluster


def json_schema(kind: Literal["cluster", "experiment"] = "cluster") -> dict[str, Any]:
    """JSON schema (2020-12) of a file in its input form: quantities as the texts that users write.

    What fits the schema may still be refused by the checks that no single key can answer.
    """
    record = Cluster if kind == "cluster" else Experiment
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:realmfleet:schema:{kind}:1",
        **record.model_json_schema(mode="validation", by_alias=True),
        "title": f"Realmfleet {kind} file",
    }
