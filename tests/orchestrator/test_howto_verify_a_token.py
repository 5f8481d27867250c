"""The page docs/howto/verify-a-token.md: every command and program on it runs as it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "verify-a-token.md").read_text(encoding="utf-8")


def test_every_command_on_the_page_leaves_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ realmfleet (.*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 14
    outputs = {}
    for line in commands:
        words, _, expected = line.partition("# exit ")
        done = CliRunner().invoke(app, shlex.split(words))
        assert done.exit_code == int(expected or 0), (line, done.output, done.exception)
        outputs[line] = done.output
    assert any("refused (binding)" in text for text in outputs.values())
    assert any("executables 33, not recognized" in text for text in outputs.values())


def test_the_program_on_the_page_prints_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(app, ["token", "forge", "--kind", "good", "--count", "3", "--seed", "demo", "--out", "demo"])
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(program, "verify-a-token.md", "exec"), {})
    assert re.fullmatch(r"[0-9a-f]{64}\n", capsys.readouterr().out)
