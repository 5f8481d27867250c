"""Plant one small bug at a time and demand that a named test notices: `make mutants`.

Each `tests/mutants/*.toml` lists mutants: a sentence, a file, a text that occurs in it exactly once, what to put in its
place and the pytest node id that must fail then. The work tree itself is never touched: two workers each own a copy of
it, plant, test and take back. First all named tests must pass without any mutant, or their failing would prove nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("attestation", "cca_machine", "node", "orchestrator", "tests", "clusters", "dashboards")
"""Folders of the tree that tests may read; absent ones are skipped."""
WORKERS = 2
TEST_SECONDS = 90
BATCH_SECONDS = 600
KEYS = ("name", "file", "find", "replace", "killed_by")
TESTS_FAILED = 1
"""Exit code of pytest when tests ran and some failed; any other means that the mutant was not judged by a test."""


@dataclass(frozen=True)
class Mutant:
    """One planted bug: in `file`, `find` becomes `replace`, and the test `killed_by` must fail."""

    name: str
    file: str
    find: str
    replace: str
    killed_by: str


@dataclass(frozen=True)
class Judgement:
    """Whether the mutant was killed, and if not, why."""

    mutant: Mutant
    killed: bool
    why: str


def read_mutants(folder: Path) -> list[Mutant]:
    """All mutants of the folder's TOML files in order of file and place; ValueError says what is wrong with one."""
    mutants: list[Mutant] = []
    for path in sorted(folder.glob("*.toml")):
        for number, row in enumerate(tomllib.loads(path.read_text("utf-8")).get("mutant", []), 1):
            if sorted(row) != sorted(KEYS) or not all(isinstance(row[key], str) for key in KEYS):
                raise ValueError(f"{path.name}: mutant {number} must have exactly the texts {', '.join(KEYS)}")
            mutants.append(Mutant(**row))
    names = [mutant.name for mutant in mutants]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two mutants are named {name!r}")
    return mutants


def copy_tree(root: Path, to: Path) -> None:
    """Copy what tests need, without bytecode and caches."""
    to.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    for folder in COPIED:
        if (root / folder).is_dir():
            shutil.copytree(root / folder, to / folder, ignore=ignore)
    for file in ("pyproject.toml", "README.md"):
        if (root / file).is_file():
            shutil.copy2(root / file, to / file)


def pytest(tree: Path, tests: Sequence[str], seconds: int) -> tuple[int | None, str]:
    """Run the tests inside `tree`; exit code (None when the time ran out) and what pytest printed."""
    environment = dict(os.environ, PYTHONPATH=str(tree), PYTHONHASHSEED="0")
    # the vectors stand beside the real tree, not beside the copy
    environment.setdefault("REALMFLEET_VECTORS", str((ROOT / ".." / "shared" / "vectors").resolve()))
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=line", *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {seconds} s"
    return done.returncode, done.stdout + done.stderr


def forget_bytecode(source: Path) -> None:
    """Remove compiled forms of a file: two edits within one second of equal size would otherwise look alike."""
    for compiled in (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"):
        compiled.unlink()


def judge(mutant: Mutant, tree: Path, healthy: bool) -> Judgement:
    """Plant the mutant in `tree`, run its test, take it back."""
    if not healthy:
        return Judgement(mutant, False, f"{mutant.killed_by} does not pass without the mutant")
    path = tree / mutant.file
    if not path.is_file():
        return Judgement(mutant, False, f"does not apply: no file {mutant.file}")
    original = path.read_text("utf-8")
    occurrences = original.count(mutant.find)
    if occurrences != 1 or mutant.find == mutant.replace:
        return Judgement(mutant, False, f"does not apply: the text occurs {occurrences} times in {mutant.file}")
    path.write_text(original.replace(mutant.find, mutant.replace), "utf-8")
    forget_bytecode(path)
    try:
        code, output = pytest(tree, [mutant.killed_by], TEST_SECONDS)
    finally:
        path.write_text(original, "utf-8")
        forget_bytecode(path)
    if code == TESTS_FAILED:
        return Judgement(mutant, True, mutant.killed_by)
    if code == 0:
        why = "its test was skipped" if "skipped" in output and "passed" not in output else "survives"
        return Judgement(mutant, False, f"{why}: {mutant.killed_by}")
    return Judgement(mutant, False, f"not judged by {mutant.killed_by}: {last_line(output)}")


def last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "pytest printed nothing"


def healthy_tests(tests: Sequence[str], tree: Path) -> set[str]:
    """Those of the named tests that pass unmutated: one batch, and one by one only if the batch does not pass."""
    code, _ = pytest(tree, tests, BATCH_SECONDS)
    if code == 0:
        return set(tests)
    return {test for test in tests if pytest(tree, [test], TEST_SECONDS)[0] == 0}


def judge_all(mutants: Sequence[Mutant], root: Path) -> Iterator[Judgement]:
    """Judge every mutant in copies of `root`; judgements come in the order of the mutants."""
    tests = sorted({mutant.killed_by for mutant in mutants})
    with tempfile.TemporaryDirectory(prefix="realmfleet-mutants-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            tree = Path(folder) / f"tree-{number}" / "main"
            copy_tree(root, tree)
            free.put(tree)
        tree = free.get()
        healthy = healthy_tests(tests, tree)
        free.put(tree)

        def work(mutant: Mutant) -> Judgement:
            tree = free.get()
            try:
                return judge(mutant, tree, mutant.killed_by in healthy)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(WORKERS) as pool:
            yield from pool.map(work, mutants)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per mutant and a closing count; 0 when all were killed, 1 when one was not, 2 on a bad list."""
    parser = argparse.ArgumentParser(description="Plant small bugs one at a time; each must make its named test fail.")
    parser.add_argument("--only", metavar="NAME", help="only mutants whose name contains this text")
    parser.add_argument("--root", type=Path, default=ROOT, help="tree to copy (default: the one this file stands in)")
    chosen = parser.parse_args(arguments)
    root: Path = chosen.root.resolve()
    try:
        mutants = read_mutants(root / "tests" / "mutants")
    except (ValueError, tomllib.TOMLDecodeError) as mistake:
        print(f"mutants: {mistake}", file=sys.stderr)
        return 2
    if chosen.only is not None:
        mutants = [mutant for mutant in mutants if chosen.only in mutant.name]
    if not mutants:
        print("mutants: none to plant", file=sys.stderr)
        return 2
    failed = 0
    for judgement in judge_all(mutants, root):
        failed += not judgement.killed
        word = "passed" if judgement.killed else "FAILED"
        print(f"{word}  {judgement.mutant.name}  ({judgement.why})", flush=True)
    print(f"{len(mutants) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
