"""The pictures of README and guides, from real runs in headless Chromium: `make pictures`.

Each picture is a function of a browser and a folder for runs; `PICTURES` names them all. Chromium must be installed
(`make tools` does that as root on Debian), Playwright is in the development extra.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator import rundir
from orchestrator.api import open_cluster

HERE = Path(__file__).parent
CLUSTERS = HERE.parents[1] / "clusters"
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _report(browser: Any, folder: Path, out: Path) -> None:
    """Head and time line of the quickstart's report."""
    with open_cluster(CLUSTERS / "quickstart.yaml", out=folder / "quickstart") as run:
        run.run_until(run.until_ns)
        run.finish()
    page = browser.new_page(viewport={"width": 1280, "height": 1290}, color_scheme="light")
    page.goto((folder / "quickstart" / rundir.REPORT).resolve().as_uri())
    page.wait_for_function("document.querySelectorAll('.ticks span').length > 4")
    page.screenshot(path=out)
    page.close()


PICTURES: dict[str, Callable[[Any, Path, Path], None]] = {"report.png": _report}
"""File names in this folder, and what makes them."""


def main() -> int:
    """Make all pictures; 2 when there is no browser to make them with."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        print("no Chromium on this machine: apt-get install chromium", file=sys.stderr)
        return 2
    with sync_playwright() as player, tempfile.TemporaryDirectory() as folder:
        browser = player.chromium.launch(executable_path=path, args=FLAGS)
        for name, make in PICTURES.items():
            make(browser, Path(folder), HERE / name)
            print(f"{HERE / name}: {(HERE / name).stat().st_size / 1024:.0f} KiB")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
