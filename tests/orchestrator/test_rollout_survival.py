"""A head that is killed in any stage of a rollout goes on to the digest of one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.api import Run, RunOptions, open_file
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.extensions import Extensions
from orchestrator.firmware.gates import Question
from orchestrator.progress import Watch
from orchestrator.replay import replay_run
from orchestrator.resume import resume_run

FILE = Path(__file__).resolve().parents[2] / "clusters" / "gated-rollout.yaml"
S = 1_000_000_000
END_NS = 340 * S


@contextmanager
def watching(until_ns: int, *, quiet: bool) -> Iterator[Watch]:
    yield lambda now_ns, line: None


def enough(asked: Question) -> bool | None:
    """Inconclusive at first, so that a kill may fall between two questions."""
    return True if asked.number > 1 else None


GIVEN = Extensions(gates={"enough": enough})


def fleet() -> tuple[Cluster, str]:
    _, text = open_file(FILE)
    text = text.replace("      - {gate: attested}\n  - kind", "      - {gate: python, name: enough}\n  - kind", 1)
    assert "python" in text
    cluster = load_text(text, "gated.yaml").value
    assert cluster is not None
    return cluster, text


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Path], Path]:
    """Digest of the undisturbed run, what a kill would leave when each stage and phase first shows, and the run."""
    folder = tmp_path_factory.mktemp("survival")
    cluster, text = fleet()
    left: dict[str, Path] = {}
    with Run(cluster, text, RunOptions(fleet="local", out=folder / "run", until_ns=END_NS), extensions=GIVEN) as run:
        while run.now_ns < END_NS:
            run.run_until(run.now_ns + cluster.control.beat)
            for rollout in run.assembly.rollouts.rollouts:
                phases = {update.phase.value for update in rollout.state.updates.values()}
                for seen in sorted({rollout.state.stage.value, *phases} - left.keys()):
                    left[seen] = folder / seen
                    shutil.copytree(run.path, folder / seen)
        result = run.finish()
    return result.trace_digest, left, folder / "run"


STAGES = ["running", "baking", "gated", "paused", "finished", "priming", "activating", "reattesting"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_head_killed_in_this_stage_goes_on_to_the_same_digest(
    story: tuple[str, dict[str, Path], Path], stage: str
) -> None:
    digest, left, _ = story
    result = resume_run(left[stage], RunOptions(fleet="local"), watching, quiet=True, extensions=GIVEN)
    assert result.trace_digest == digest


def test_the_journal_answers_the_users_gate_in_a_replay(story: tuple[str, dict[str, Path], Path]) -> None:
    digest, _, path = story
    again = replay_run(path)
    assert again.inputs >= 4
    assert (again.same, again.trace_digest) == (True, digest)
