"""Clusters made in code: the rules and words of cluster files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import Fleet, Spec, UserMistake
from orchestrator.cluster.load import load_text

ROOT = Path(__file__).resolve().parents[3]


def test_a_spec_is_a_cluster_file(opened: Callable[..., Fleet]) -> None:
    spec = Spec("lab", seed=9).rack("r1", 2).realms("web", count=1, memory="16MiB").set("control.lease", "12s")
    fleet = opened(spec)
    assert (fleet.seed, fleet.cluster.control.lease) == (9, 12_000_000_000)
    written = (fleet.run.path / "cluster.yaml").read_text()
    assert load_text(written, "again").value == fleet.cluster == spec.cluster()


def test_everything_that_is_wrong_is_said_at_once_in_the_words_of_the_file() -> None:
    spec = Spec("lab").rack("r1", {"big": 2}).realms("web", memory="lots").set("control.lese", "12s")
    with pytest.raises(UserMistake) as refused:
        spec.cluster()
    told = refused.value.message
    assert told.startswith("spec lab cannot be run\n")
    file = load_text(spec.text, "file")
    assert [problem.message for problem in file.problems] != []
    assert all(f"{problem.path}: {problem.message}" in told for problem in file.problems)
    assert "unknown key 'lese' (did you mean 'lease'?" in told
    assert "realms.web.memory" in told


def test_a_file_can_be_changed_before_it_is_run(opened: Callable[..., Fleet]) -> None:
    spec = Spec.from_file(ROOT / "clusters" / "small.yaml").set("realms.web.count", 2).set("events", [])
    assert len(opened(spec).realms) == 5


def test_a_path_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(UserMistake, match=r"events\.7\.at: there is no entry 7"):
        Spec.from_file(ROOT / "clusters" / "small.yaml").set("events.7.at", "1min")


@pytest.mark.parametrize(("content", "words"), [("[1, 2]", "holds no keys"), ("a: [", "realmfleet validate")])
def test_a_file_that_is_no_cluster_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "file.yaml").write_text(content)
    with pytest.raises(UserMistake) as refused:
        Spec.from_file(tmp_path / "file.yaml")
    assert words in f"{refused.value.message} {refused.value.hint}"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="cannot read"):
        Spec.from_file(tmp_path / "none.yaml")
