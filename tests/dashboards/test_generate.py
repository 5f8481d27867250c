"""The committed JSON is what the code generates, valid for Grafana, and placed without overlaps."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as Model

from dashboards import generate
from dashboards.boards import BOARDS
from dashboards.render import dashboard_json

TEXTS = {dashboard.board: dashboard_json(dashboard) for dashboard in BOARDS}
ON_TEXTS = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())


def flat(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows, panels, and panels inside collapsed rows."""
    return [inner for panel in panels for inner in [panel, *panel.get("panels", [])]]


def test_the_committed_files_are_up_to_date() -> None:
    assert generate.outdated() == []
    assert generate.main(["--check"]) == 0


def test_a_changed_a_missing_and_a_foreign_file_are_found(tmp_path: Path) -> None:
    for path, text in generate.files(tmp_path).items():
        path.write_text(text, encoding="utf-8")
    assert generate.outdated(tmp_path) == []
    (tmp_path / "fleet.json").write_text("{}", encoding="utf-8")
    (tmp_path / "chaos.json").unlink()
    (tmp_path / "holiday.json").write_text("{}", encoding="utf-8")
    assert [path.name for path in generate.outdated(tmp_path)] == ["chaos.json", "fleet.json", "holiday.json"]


def test_generating_writes_what_is_missing_and_removes_what_is_foreign(
    tmp_path: Path,
) -> None:
    (tmp_path / "holiday.json").write_text("{}", encoding="utf-8")
    assert generate.main(["--check"], tmp_path) == 1
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(TEXTS)


@ON_TEXTS
def test_the_builder_library_reads_the_file_back_unchanged(text: str) -> None:
    again = JSONEncoder(sort_keys=True, indent=2).encode(Model.from_json(json.loads(text)))
    assert json.loads(again) == json.loads(text)


@ON_TEXTS
def test_ids_are_stable_and_unique(text: str) -> None:
    model = json.loads(text)
    ids = [panel["id"] for panel in flat(model["panels"])]
    assert ids == sorted(set(ids))
    assert model["uid"].startswith("realmfleet-")
    assert len(model["uid"]) <= 40
    assert (model.get("id"), model["version"]) == (None, 1)


@ON_TEXTS
def test_panels_stay_on_the_grid_and_never_overlap(text: str) -> None:
    places = [panel["gridPos"] for panel in json.loads(text)["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        stacked = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or stacked


@ON_TEXTS
def test_every_query_asks_the_chosen_data_source_under_its_own_letter(text: str) -> None:
    for panel in flat(json.loads(text)["panels"]):
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == [chr(ord("A") + place) for place in range(len(letters))]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]


@ON_TEXTS
def test_dashboards_are_linked_and_marked_with_faults_and_waves(text: str) -> None:
    model = json.loads(text)
    assert [link["tags"] for link in model["links"]] == [["realmfleet"]]
    assert "realmfleet" in model["tags"]
    marks = {mark["name"]: mark["iconColor"] for mark in model["annotations"]["list"]}
    assert marks == {"Faults": "red", "Rollout waves": "blue", "Rollouts held": "orange", "Machines lost": "gray"}


def test_the_same_thing_has_the_same_colour_everywhere() -> None:
    seen: dict[str, set[str]] = {}
    for text in TEXTS.values():
        for panel in flat(json.loads(text)["panels"]):
            for override in panel.get("fieldConfig", {}).get("overrides", []):
                for entry in override["properties"]:
                    if entry["id"] == "color":
                        seen.setdefault(override["matcher"]["options"], set()).add(entry["value"]["fixedColor"])
    assert seen["serving"] == {"green"}
    assert all(len(colours) == 1 for colours in seen.values())
