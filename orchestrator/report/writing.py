"""Making `report.html`: at the end of a run, and again from its directory with the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from orchestrator import rundir
from orchestrator.chaos.checkers import judge
from orchestrator.chaos.history import Line, read
from orchestrator.errors import UserMistake
from orchestrator.report.gather.gathering import gather
from orchestrator.report.page.document import document
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.stored import open_stored
from orchestrator.report.summary import summarise


def page_of(lines: Iterable[Line], facts: ReportFacts) -> str:
    """The page of a run, from one pass over its trace."""
    return document(gather(lines, facts.ending.end_ns), facts)


def write_page(path: Path, page: str) -> None:
    """Write it whole or not at all; raises `UserMistake` where nothing can be written."""
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.write_text(page, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise UserMistake(f"cannot write {path}: {error.strerror}", "name a writable file with --out") from error


def rebuild(run_dir: Path, out: Path | None = None) -> Path:
    """Judge a finished run again and write its report; raises `UserMistake` for a run that is not whole."""
    with open_stored(run_dir) as run:
        lines = read(run.trace())
        judged = run.ending.judged
        facts = ReportFacts(
            run.ending, run.cluster, summarise(lines, judged), [*judge(lines, judged), *run.ending.brought]
        )
        page = page_of(lines, facts)
    path = out or run_dir / rundir.REPORT
    write_page(path, page)
    return path
