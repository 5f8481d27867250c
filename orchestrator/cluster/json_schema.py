"""JSON schemas of the files that users write, for editors and other tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.cluster.experiment import Experiment
from orchestrator.cluster.schema import Cluster, Record

KINDS: Mapping[str, type[Record]] = {"cluster": Cluster, "experiment": Experiment}
"""The root record of each kind of file."""


def json_schema(kind: str = "cluster") -> dict[str, Any]:
    """JSON schema (2020-12) of a kind of file in its input form: quantities as the texts that users write.

    What fits the schema may still be refused by the checks that no single key can answer. KeyError: no such kind.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:realmfleet:schema:{kind}:1",
        **KINDS[kind].model_json_schema(mode="validation", by_alias=True),
        "title": f"Realmfleet {kind} file",
    }
