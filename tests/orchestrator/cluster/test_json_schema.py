"""The JSON schemas: valid themselves, and they refuse what the loader refuses in single values."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from orchestrator.cluster.json_schema import json_schema


@pytest.fixture(scope="module")
def cluster_schema() -> dict[str, Any]:
    return json_schema("cluster")


@pytest.mark.parametrize("kind", ["cluster", "experiment"])
def test_a_schema_is_a_valid_schema_with_id_and_title(kind: Any) -> None:
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:realmfleet:schema:{kind}:1"
    assert schema["title"] == f"Realmfleet {kind} file"


def test_quantities_are_the_texts_that_users_write(cluster_schema: dict[str, Any], sound: dict[str, Any]) -> None:
    jsonschema.validate(sound, cluster_schema)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("profiles", "memory", "64GB"),
        ("profiles", "pes", 0),
        ("profiles", "pes", "8"),
        ("profiles", "colour", "blue"),
        ("realms", "workload", {"cpu": 0.2}),
        ("realms", "start_at", 5),
        ("realms", "program", "web"),
        ("realms", "min_rmm", "1.0"),
    ],
)
def test_wrong_values_are_refused(
    cluster_schema: dict[str, Any], sound: dict[str, Any], section: str, key: str, value: object
) -> None:
    next(iter(sound[section].values()))[key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(sound, cluster_schema)


def test_an_unknown_fault_is_refused(cluster_schema: dict[str, Any], sound: dict[str, Any]) -> None:
    sound["faults"] = [{"fault": "machine.freeze", "at": "1s", "for": "1s", "select": {"count": 1}}]
    jsonschema.validate(sound, cluster_schema)
    sound["faults"][0]["fault"] = "machine.melt"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(sound, cluster_schema)
