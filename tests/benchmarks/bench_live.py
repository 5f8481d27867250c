"""What looking costs: a scrape of a large live fleet, and how much slower its engine is with page and scraper attached.

The fleet has a thousand machines and five hundred Realms. The engine runs all out, beat by beat, with a real server; a
second process scrapes every second and follows the page's event stream. All threads of the first process share one
interpreter, so what the others take is what the engine loses: it is told as CPU time, which other work on the host does
not blur. Aim: under 5 %. A paced fleet leaves the engine idle between beats: this is the worst case.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prometheus_client.exposition import choose_encoder

from orchestrator.api import Run, RunOptions
from orchestrator.live import LiveSession
from orchestrator.scripting.spec import Spec
from orchestrator.serve.guard import parse_listen
from orchestrator.serve.server import Server, bind

MACHINES, REALMS = 1000, 500
BEATS = 600

WATCHER = """
import sys, threading, time, httpx
url = sys.argv[1]
def scrape():
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            client.get("/metrics")
            time.sleep(1)
threading.Thread(target=scrape, daemon=True).start()
with httpx.Client(base_url=url, timeout=60) as client, client.stream("GET", "/api/v1/events?state=true") as answer:
    print("watching", flush=True)
    for _ in answer.iter_bytes():
        pass
"""


def opened(folder: Path) -> Run:
    """The fleet, half a minute after it was started: every machine admitted, every Realm serving."""
    spec = Spec("large", pes=32, memory="16GiB", seed=1, duration="10min")
    for number in range(20):
        spec.rack(f"r{number:02d}", MACHINES // 20, power="ab"[number % 2])
    spec.realms("web", count=REALMS, memory="64MiB", workload={"requests_per_s": 100})
    run = Run(spec.cluster(), spec.text, RunOptions(fleet="local", out=folder))
    run.run_until("30s")
    return run


def watched(session: LiveSession) -> tuple[float, float]:
    """CPU seconds of the engine's thread over the stretch, and of everything else in this process."""
    with Server(session, bind(parse_listen("127.0.0.1:0"), ""), "") as server:
        watcher = subprocess.Popen([sys.executable, "-c", WATCHER, server.url], stdout=subprocess.PIPE, text=True)
        assert watcher.stdout is not None
        watcher.stdout.readline()
        whole, own = time.process_time(), time.thread_time()
        for _ in range(BEATS):
            session.beat()
        own = time.thread_time() - own
        whole = time.process_time() - whole
        watcher.kill()
        watcher.communicate()
    return own, whole - own


def scrape(session: LiveSession) -> tuple[float, int, int]:
    """CPU seconds of one exposition, its series and bytes."""
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    began = time.thread_time()
    text = encode(session.metrics.registry)
    took = time.thread_time() - began
    return took, sum(not line.startswith(b"#") for line in text.splitlines()), len(text)


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder) / "run") as run:
        session = LiveSession(run)
        engine_s, others_s = watched(session)
        took_s, series, size = scrape(session)
    print(
        f"{MACHINES} machines, {REALMS} Realms, {BEATS} beats: engine {engine_s:.2f} s, server {others_s:.2f} s of CPU"
    )
    print(f"slow-down with page and scraper   {100 * others_s / engine_s:.1f} %  (aim: under 5 %)")
    print(f"scrape                            {1000 * took_s:.0f} ms, {series} series, {size // 1024} KiB")


if __name__ == "__main__":
    main()
