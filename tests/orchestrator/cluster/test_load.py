"""Loading: whatever the bytes, the answer is a cluster or problems with places; rendering; speed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cluster.diagnostics import Severity
from orchestrator.cluster.experiment import Experiment
from orchestrator.cluster.load import load_either, load_experiment, load_text
from orchestrator.cluster.schema import Cluster

ROOT = Path(__file__).resolve().parents[3]
SMALL = (ROOT / "clusters" / "small.yaml").read_text("utf-8")


def test_a_good_file_gives_a_cluster_and_no_problem() -> None:
    loaded = load_text(SMALL, "small.yaml")
    assert isinstance(loaded.value, Cluster)
    assert loaded.ok
    assert loaded.problems == ()
    assert loaded.render() == ""


def test_bytes_and_text_with_or_without_byte_order_mark_are_the_same_file() -> None:
    assert load_text(SMALL.encode("utf-8-sig"), "f").value == load_text(SMALL, "f").value
    assert load_text("\ufeff" + SMALL, "f").value == load_text(SMALL, "f").value


def test_windows_line_ends_are_read_and_do_not_reach_the_excerpt() -> None:
    loaded = load_text(SMALL.replace("duration: 10min", "duration: ten").replace("\n", "\r\n"), "f")
    assert [problem.source for problem in loaded.problems] == ["duration: ten"]


def test_bytes_that_are_not_utf8_are_refused_at_their_place() -> None:
    (problem,) = load_text(b"version: 1\nname: \xff\n", "f").problems
    assert (problem.line, problem.column, problem.message) == (2, 7, "byte 0xff is not UTF-8")


def test_a_problem_is_shown_with_its_line_a_caret_and_a_hint() -> None:
    loaded = load_text(SMALL.replace("memory: 8GiB", "memory: 8GB"), "small.yaml")
    line = SMALL[: SMALL.index("memory: 8GiB")].count("\n") + 1
    text = "  std: {pes: 16, memory: 8GB, firmware: fw-1.0.0}"
    assert loaded.render().splitlines() == [
        f"small.yaml:{line}:26: profiles.std.memory: '8GB' is not a size: unknown unit 'GB'",
        f"{line:>5} | {text}",
        "      | " + " " * 25 + "^",
        "      = write GiB (powers of 1024); decimal units are not read",
    ]


def test_at_most_twenty_problems_are_shown_and_the_rest_is_counted() -> None:
    loaded = load_text(SMALL + "".join(f"wrong{n}: 1\n" for n in range(23)), "f")
    assert len(loaded.problems) == 23
    assert loaded.render().splitlines()[-1] == "and 3 more"
    told = loaded.as_json()
    assert len(told["problems"]) == 20
    assert told["more"] == 3


def test_problems_as_json_say_the_same_in_fields() -> None:
    told = load_text(SMALL + "durration: 5min\n", "f").as_json()
    assert told["problems"] == [
        {
            "file": "f",
            "line": SMALL.count("\n") + 1,
            "column": 1,
            "path": "durration",
            "severity": "error",
            "message": "unknown key 'durration'",
            "hint": "did you mean 'duration'? known here: version, name, description, seed, duration, control, "
            "timing, network and 12 more",
        }
    ]


def test_warnings_do_not_take_the_cluster_away() -> None:
    late = "faults:\n  - {fault: machine.freeze, at: 9min, for: 50s, select: {count: 1}}\n"
    loaded = load_text(SMALL + late, "f")
    assert loaded.value is not None
    assert [problem.severity for problem in loaded.problems] == [Severity.WARNING]


def test_an_experiment_is_not_taken_for_a_cluster_nor_a_cluster_for_an_experiment() -> None:
    storm = (ROOT / "clusters" / "chaos-storm.yaml").read_bytes()
    assert [problem.message for problem in load_text(storm, "f").problems] == ["this is an experiment, not a cluster"]
    assert [problem.message for problem in load_experiment(SMALL, "f").problems] == [
        "this is a cluster, not an experiment"
    ]
    assert isinstance(load_either(storm, "f").value, Experiment)
    assert isinstance(load_either(SMALL, "f").value, Cluster)


@pytest.mark.parametrize("text", ["[]", "just text", "5", "- a\n- b\n"])
def test_a_file_without_keys_gets_one_clear_problem(text: str) -> None:
    assert [problem.message for problem in load_text(text, "f").problems] == ["the file must hold keys and values"]


def test_a_key_that_is_spelled_like_a_mark_of_the_validator_is_an_unknown_key() -> None:
    (problem,) = load_text(SMALL + '"[key]": 1\n', "f").problems
    assert (problem.path, problem.message) == ("[key]", "unknown key '[key]'")


def test_a_fleet_beyond_all_limits_is_refused_without_building_it() -> None:
    machines = ", ".join(f"p{n}: 100000" for n in range(20))
    loaded = load_text(SMALL.replace("r1: {machines: {std: 2}", f"r1: {{machines: {{{machines}}}"), "f")
    assert [problem.message for problem in loaded.problems] == ["2000004 machines are more than 1000000"]


@settings(max_examples=200)
@given(st.binary(max_size=120))
def test_no_bytes_raise(data: bytes) -> None:
    loaded = load_either(data, "f")
    assert loaded.value is None
    assert loaded.problems
    loaded.render()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_a_good_file_raises_and_every_problem_has_a_place_in_it(data: st.DataObject) -> None:
    start = data.draw(st.integers(SMALL.index("version"), len(SMALL) - 1))
    end = data.draw(st.integers(start, min(len(SMALL), start + 30)))
    patch = data.draw(st.sampled_from(["", "0", "-1", "[", "{}", "x", ": ", "\n", "  ", "1.5", "~", "999999999999999"]))
    damaged = SMALL[:start] + patch + SMALL[end:]
    loaded = load_either(damaged, "f")
    for problem in loaded.problems:
        assert 1 <= problem.line <= damaged.count("\n") + 2
        assert problem.column >= 1
    assert loaded.ok == all(problem.severity is Severity.WARNING for problem in loaded.problems)
    loaded.render()
