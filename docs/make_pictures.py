"""Make the pictures of the documentation: `make pictures`, or `python docs/make_pictures.py FOLDER`.

Live fleets are brought up, a machine is broken as in the tutorial, and a real Chromium photographs the page; then the
time line of that run, and the report of the quickstart. What is seen of a live fleet depends on where it stands when
the shutter clicks, so two runs of this are alike, not equal. Needs Chromium and playwright.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SMALL, QUICKSTART = (ROOT / "clusters" / f"{name}.yaml" for name in ("small", "quickstart"))
BROKEN = "r2-std-01"
NAMES = ("fleet.png", "page.png", "page-fault.png", "page-realm.png", "report.png", "timeline.png")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SIZE = {"width": 1360, "height": 760}
PATIENCE_S = 120.0


class Api:
    """As much of the live fleet's HTTP API as a photographer needs."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=20) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", content, {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=20).close()

    def serving(self) -> bool:
        """Whether every Realm serves."""
        found = self.get("status")
        return bool(found["realms_serving"] == found["realms_wanted"])

    def state(self, machine: str) -> str:
        """State of a machine as the control plane believes it."""
        return str(self.get(f"machines/{machine}")["state"])


def photograph(folder: Path, browser: Any, scratch: Path) -> None:
    """All pictures, into `folder`."""
    with up(QUICKSTART, 60, scratch / "quickstart") as api:
        _rollout(folder, browser, api)
    with up(SMALL, 20, scratch / "live") as api:
        _fault(folder, browser, api)
    _timeline(folder / "timeline.png", browser, scratch / "live", scratch)
    _report(folder / "report.png", browser, scratch / "finished")


@contextmanager
def up(cluster: Path, speed: int, run: Path) -> Iterator[Api]:
    """A live fleet in a process of its own, ended with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "orchestrator.cli", "up", str(cluster), "--fleet", "local", "--speed", str(speed)]
    command += ["--listen", address, "--out", str(run)]
    fleet = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        api = Api(address)
        _wait(api.serving)
        yield api
    finally:
        fleet.send_signal(signal.SIGINT)
        fleet.wait(60)


def _opened(browser: Any, api: Api) -> Any:
    """The page of a live fleet."""
    page = browser.new_page(viewport=SIZE)
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(api.url)
    page.wait_for_selector("[data-link=live]")
    return page


def _rollout(folder: Path, browser: Any, api: Api) -> None:
    """The quickstart in the second wave of its rollout: some machines run the new RMM, some do not."""
    page = _opened(browser, api)
    _wait(lambda: api.get("status")["now_ns"] > 238_000_000_000)
    api.post("clock", {"speed": 2})
    _wait(lambda: sum(row["versions"].get("RMM") == "1.0.1" for row in api.get("machines")["items"]) >= 3)
    api.post("clock", {"paused": True})
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / "fleet.png")
    page.close()


def _fault(folder: Path, browser: Any, api: Api) -> None:
    """The small fleet as in the tutorial: calm, one Realm looked at, a machine without power."""
    page = _opened(browser, api)
    page.wait_for_selector(".dot.serving[data-realm=web-001]")
    page.screenshot(path=folder / "page.png")
    page.click("[data-realm=web-001]")
    page.wait_for_selector("[data-verdict=passed]")
    page.screenshot(path=folder / "page-realm.png")
    api.post("faults", {"fault": "machine.power-loss", "for": "20s", "select": {"machine": BROKEN}})
    page.click(f"[data-machine={BROKEN}]")
    _wait(lambda: api.state(BROKEN) == "down")
    api.post("clock", {"paused": True})
    page.wait_for_selector(f"[data-machine={BROKEN}].believed-down")
    page.screenshot(path=folder / "page-fault.png")
    api.post("clock", {"paused": False})
    _wait(lambda: api.serving() and api.get("status")["now_ns"] > 90_000_000_000)
    page.close()


def _timeline(file: Path, browser: Any, run: Path, scratch: Path) -> None:
    """The plot as Python makes it, in a page of its own."""
    from orchestrator import open_results

    open_results(run).plot.timeline().write_html(scratch / "timeline.html")
    page = browser.new_page(viewport={"width": 1200, "height": 330})
    page.goto((scratch / "timeline.html").as_uri())
    page.wait_for_selector(".bars path")
    page.screenshot(path=file)
    page.close()


def _report(file: Path, browser: Any, run: Path) -> None:
    """Head and time line of the quickstart's report."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(QUICKSTART), "--fleet", "local", "--out", str(run)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    page = browser.new_page(viewport={"width": 1280, "height": 1290}, color_scheme="light")
    page.goto((run / "report.html").as_uri())
    page.wait_for_function("document.querySelectorAll('.ticks span').length > 4")
    page.screenshot(path=file)
    page.close()


def _wait(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            if true():
                return
        except OSError:
            pass  # it is still coming up
        if time.monotonic() > until:
            raise SystemExit("the fleet never came to where it should be photographed")
        time.sleep(0.1)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 2 when there is no browser to photograph with."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "pictures")
    folder: Path = parser.parse_args(arguments).folder
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        print("no Chromium on this machine (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as player:
        browser = player.chromium.launch(executable_path=path, args=FLAGS)
        photograph(folder, browser, Path(scratch))
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
