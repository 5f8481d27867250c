"""Write the generated dashboards, or with `--check` say which are out of date: `python -m dashboards.generate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.boards import BOARDS
from dashboards.render import dashboard_json

FOLDER = Path(__file__).resolve().parent / "grafana" / "dashboards"


def files(folder: Path = FOLDER) -> dict[Path, str]:
    """Path and text of every generated file."""
    return {folder / f"{dashboard.board}.json": dashboard_json(dashboard) for dashboard in BOARDS}


def outdated(folder: Path = FOLDER) -> list[Path]:
    """Files in `folder` that differ from what would be generated, or should not be there."""
    wanted = files(folder)
    differing = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    return sorted([*differing, *(path for path in folder.glob("*.json") if path not in wanted)])


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Exit code 0, or 1 if `--check` finds files that are out of date."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, say what is out of date")
    if parser.parse_args(arguments).check:
        stale = outdated(folder)
        for path in stale:
            print(f"{path.name} is out of date; run python -m dashboards.generate", file=sys.stderr)
        return 1 if stale else 0
    for path in outdated(folder):
        path.unlink(missing_ok=True)
    for path, text in files(folder).items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
