"""Signing policies and limits of rollouts are judged before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.cluster.load import load_text

FILE = Path(__file__).resolve().parents[3] / "clusters" / "rmm-fix-drain.yaml"


def told(change: Any) -> str:
    """Every finding about the file after `change` was made to its tree."""
    from io import StringIO

    yaml = YAML(typ="safe", pure=True)
    tree = yaml.load(FILE.read_text("utf-8"))
    change(tree)
    out = StringIO()
    yaml.dump(tree, out)
    return load_text(out.getvalue(), "f").render()


def firmware(**fields: Any) -> Any:
    return lambda tree: tree["firmware"].update(fields)


def rollout(**fields: Any) -> Any:
    return lambda tree: tree["events"][0].update(fields)


def test_the_file_itself_is_good() -> None:
    assert told(lambda tree: None) == ""


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ({"threshold": 3}, "3 signatures of 2 signers"),
        ({"required": ["nobody"]}, "nobody"),
        ({"revoked_signers": ["somebody"]}, "somebody"),
        ({"revoked_signers": ["vendor"]}, "signer 'vendor' is revoked"),
        ({"revoked_versions": [{"component": "BL2", "version": "1.0.0"}]}, "BL2 1.0.0 is revoked"),
        ({"threshold": 2}, "1 of 2 needed signers stand behind BL31"),
        ({"required": ["auditor"]}, "'auditor' must sign BL2"),
    ],
)
def test_a_policy_that_cannot_be_met_is_told_with_the_name_of_what_fails(policy: dict[str, Any], word: str) -> None:
    assert word in told(firmware(policy=policy))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"max_unavailable": 8}, "may take down 8 of 8 machines at once"),
        ({"windows": [{"from": "5min", "to": "5min"}]}, "ends before it begins"),
        ({"windows": [{"from": "1s", "to": "1min"}]}, "every window is over when the rollout is due"),
        ({"strategy": "hope"}, "hope"),
    ],
)
def test_a_rollout_that_breaks_its_own_limits_is_told(fields: dict[str, Any], word: str) -> None:
    assert word in told(rollout(**fields))


def test_a_live_rollout_may_take_everybody_at_once() -> None:
    assert told(rollout(strategy="live", max_unavailable=8)) == ""
