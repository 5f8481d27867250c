"""The first cluster file of `realmfleet init`."""

from __future__ import annotations

import pytest
from pydantic_core import PydanticCustomError

from orchestrator.cluster.load import load_text
from orchestrator.cluster.scaffold import first_cluster


def test_the_first_cluster_is_valid_and_without_warnings() -> None:
    loaded = load_text(first_cluster("lab"), "lab.yaml")
    assert loaded.problems == ()
    assert loaded.value is not None
    assert loaded.value.name == "lab"


def test_the_first_cluster_explains_itself() -> None:
    assert first_cluster().count("#") >= 15


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(PydanticCustomError):
        first_cluster("My Lab")
