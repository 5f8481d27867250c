"""The mutant harness itself: a small tree with one bug that is noticed and others that must be reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).resolve().with_name("run.py")

PRODUCT = "def double(x: int) -> int:\n    return x + x\n\n\ndef half(x: int) -> int:\n    return x // 2\n"
TEST = """import node.sums

def test_double():
    assert node.sums.double(3) == 6

def test_half_runs():
    node.sums.half(3)

def test_wrong():
    assert node.sums.double(1) == 3
"""
KILLED = ("doubling adds one", "return x + x", "return x + x + 1", "test_double")


def plant(root: Path, *mutants: tuple[str, str, str, str]) -> None:
    (root / "node").mkdir()
    (root / "node" / "__init__.py").touch()
    (root / "node" / "sums.py").write_text(PRODUCT)
    (root / "tests" / "mutants").mkdir(parents=True)
    (root / "tests" / "test_sums.py").write_text(TEST)
    text = ""
    for name, find, replace, test in mutants:
        text += f"[[mutant]]\nname = '{name}'\nfile = 'node/sums.py'\nfind = '{find}'\nreplace = '{replace}'\n"
        text += f"killed_by = 'tests/test_sums.py::{test}'\n"
    (root / "tests" / "mutants" / "sums.toml").write_text(text)


def run(root: Path, *more: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, str(HARNESS), "--root", str(root), *more], capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_a_mutant_that_its_test_notices_passes(tmp_path: Path) -> None:
    plant(tmp_path, KILLED)
    code, lines = run(tmp_path)
    assert code == 0
    assert lines[0].startswith("passed  doubling adds one")
    assert lines[-1] == "1 passed, 0 failed"
    assert (tmp_path / "node" / "sums.py").read_text() == PRODUCT


def test_a_survivor_and_a_text_that_does_not_occur_and_an_unhealthy_test_fail(tmp_path: Path) -> None:
    plant(
        tmp_path,
        KILLED,
        ("half is a third", "x // 2", "x // 3", "test_half_runs"),
        ("gone", "x // 7", "x // 3", "test_half_runs"),
        ("twice there", "return x", "return", "test_half_runs"),
        ("test is wrong anyway", "x // 2", "x // 4", "test_wrong"),
    )
    code, lines = run(tmp_path)
    assert code == 1
    assert lines[-1] == "1 passed, 4 failed"
    assert "survives" in lines[1]
    assert "occurs 0 times" in lines[2]
    assert "occurs 2 times" in lines[3]
    assert "does not pass without the mutant" in lines[4]


def test_only_chooses_by_name_and_a_bad_list_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, KILLED, ("half is a third", "x // 2", "x // 3", "test_half_runs"))
    assert run(tmp_path, "--only", "doubling")[1][-1] == "1 passed, 0 failed"
    assert run(tmp_path, "--only", "nothing of the kind")[0] == 2
    (tmp_path / "tests" / "mutants" / "sums.toml").write_text("[[mutant]]\nname = 'x'\n")
    code, lines = run(tmp_path)
    assert code == 2
    assert "sums.toml: mutant 1" in lines[0]


@pytest.mark.parametrize("breakage", ["import nothing_of_this_name", "raise SystemExit(0)"])
def test_a_mutant_that_only_breaks_the_import_does_not_count_as_killed(tmp_path: Path, breakage: str) -> None:
    plant(tmp_path, ("no import", "return x + x", f"return x + x\n{breakage}", "test_double"))
    toml = tmp_path / "tests" / "mutants" / "sums.toml"
    toml.write_text(toml.read_text().replace(f"'return x + x\n{breakage}'", f'"return x + x\\n{breakage}"'))
    code, lines = run(tmp_path)
    assert code == 1
    assert "not judged" in lines[0]
