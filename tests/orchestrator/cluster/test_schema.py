"""The records: frozen, strict, and their JSON form is a valid input again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.cluster.experiment import Experiment
from orchestrator.cluster.load import load_either
from orchestrator.cluster.schema import Cluster, Control, Record

FILES = sorted((Path(__file__).resolve().parents[3] / "clusters").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dumped_file_is_a_valid_input_that_means_the_same(path: Path) -> None:
    value = load_either(path.read_bytes(), path.name).value
    assert value is not None
    assert type(value).model_validate(value.model_dump(mode="json", by_alias=True)) == value


def test_defaults_are_what_their_texts_mean() -> None:
    control = Control()
    assert (control.beat, control.heartbeat, control.lease) == (100_000_000, 2_000_000_000, 30_000_000_000)


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Control().beat = 5


def test_types_are_not_converted_silently(sound: dict[str, Any]) -> None:
    for wrong in ("8", True, 8.0):
        sound["profiles"]["std"]["pes"] = wrong
        with pytest.raises(ValidationError):
            Cluster.model_validate(sound)


def test_every_key_of_every_record_says_what_it_means() -> None:
    def records(record: type[BaseModel]) -> list[type[BaseModel]]:
        return [record] + [inner for child in record.__subclasses__() for inner in records(child)]

    silent = [
        f"{record.__name__}.{name}"
        for record in records(Record)
        for name, field in record.model_fields.items()
        if not field.description
    ]
    assert silent == []
    assert Experiment in records(Record)
