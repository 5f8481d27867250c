"""A run of a thousand machines as seen from outside: its report, a scrape, and what watching costs the engine.

The report's time and size stand against the run itself. A scrape goes over HTTP, as Prometheus makes it. What watching
costs is processor time of the engine's process over the same stretch of virtual time, flat out: bare, as a live
session, and with a page (the event stream) and a scraper attached from a process of their own. Flat out there is no
idle time to hide in: paced by the wall clock the engine sleeps for most of it.

Run it with `python tests/benchmarks/bench_report.py`.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time, sleep

from orchestrator import rundir
from orchestrator.api import Run, RunOptions
from orchestrator.chaos.history import read
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.run_store import RunReader
from orchestrator.live import LiveSession
from orchestrator.report.gather.gathering import gather
from orchestrator.report.page.document import document
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.stored import open_stored
from orchestrator.serve.guard import parse_listen
from orchestrator.serve.server import Server, bind

S = 1_000_000_000
RACKS, PER_RACK, REALMS = 50, 20, 500
WARM_NS, MEASURED_NS = 30 * S, 150 * S

FLEET = """\
version: 1
name: thousand
duration: 4min
control: {{beat: 500ms, heartbeat: 10s, suspect_after: 30s, lease: 60s}}
attestation: {{servers: 16}}
profiles: {{std: {{pes: 64, memory: 64GiB, firmware: base}}}}
racks:
{racks}
firmware:
  releases:
    base:
      components:
        BL2: {{version: 1.0.0, signed_by: vendor}}
        BL31: {{version: 1.0.0, signed_by: vendor}}
        RMM: {{version: 1.0.0, security_version: 1, signed_by: vendor}}
    fix: {{components: {{RMM: {{version: 1.0.1, security_version: 2, signed_by: vendor}}}}}}
images: {{web: {{size: 256KiB}}}}
realms: {{web: {{count: {realms}, image: web, vcpus: 1, memory: 64MiB}}}}
events:
  - {{kind: rollout, at: 60s, release: fix, bake: 10s, max_failures: 50,
      waves: [{{machines: 1}}, {{share: 20%}}, {{share: 100%}}]}}
faults:
  - {{fault: machine.power-loss, at: 2min, for: 30s, select: {{rack: r07}}}}
"""


def fleet() -> tuple[Cluster, str]:
    """A thousand machines, a rollout over all of them, a rack that loses power."""
    racks = "\n".join(f"  r{number:02d}: {{machines: {{std: {PER_RACK}}}}}" for number in range(1, RACKS + 1))
    text = FLEET.format(racks=racks, realms=REALMS)
    loaded = load_text(text, "thousand.yaml")
    assert loaded.value is not None, loaded.render()
    return loaded.value, text


def timed(work: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    """Seconds of one call, by the wall if not told otherwise."""
    began = clock()
    work()
    return clock() - began


def report(cluster: Cluster, text: str, folder: Path) -> None:
    """The run, then its report alone."""
    began = perf_counter()
    with Run(cluster, text, RunOptions(fleet="local", out=folder)) as run:
        run.run_until(run.until_ns)
        result = run.finish()
    took = perf_counter() - began
    with RunReader(folder / rundir.DATABASE) as reader:
        lines = read(reader.trace())
    with open_stored(folder) as stored:
        facts = ReportFacts(stored.ending, stored.cluster, result.summary, result.verdicts)
    gathering = timed(lambda: gather(lines, result.virtual_ns))
    gathered = gather(lines, result.virtual_ns)
    drawing = timed(lambda: document(gathered, facts))
    size = (folder / rundir.REPORT).stat().st_size
    machines, realms = result.summary.machines, result.summary.realms_wanted
    print(f"run of {machines} machines, {realms} Realms, {result.virtual_ns / 1e9:g} virtual s: {took:.1f} s")
    print(
        f"its report: {gathering + drawing:.2f} s ({gathering:.2f} s gathering {len(lines)} records, {drawing:.2f} s "
        f"drawing), {100 * (gathering + drawing) / took:.1f} % of the run, {size / 1024:.0f} KiB"
    )


def watch(url: str, ready: multiprocessing.synchronize.Event, over: multiprocessing.synchronize.Event) -> None:
    """A page's stream read to its end, and a scrape every second; in a process of its own."""
    import threading

    def stream() -> None:
        with urllib.request.urlopen(f"{url}/api/v1/events", timeout=60) as answer:
            ready.set()
            while not over.is_set() and answer.read1(1 << 16):
                pass

    threading.Thread(target=stream, daemon=True).start()
    while not over.wait(1.0):
        urllib.request.urlopen(f"{url}/metrics", timeout=30).read()


def engine(cluster: Cluster, text: str, folder: Path, watched: str) -> float:
    """Processor seconds of `MEASURED_NS`: bare engine, a session that nobody watches, or one with page and scraper."""
    with Run(cluster, text, RunOptions(fleet="local", out=folder)) as run:
        if watched == "bare":
            run.run_until(WARM_NS)
            return timed(lambda: run.run_until(WARM_NS + MEASURED_NS), process_time)
        session = LiveSession(run, 100_000.0)

        def until(at_ns: int) -> None:
            while run.engine.now_ns < at_ns:
                session.beat()

        until(WARM_NS)
        if watched == "session":
            return timed(lambda: until(WARM_NS + MEASURED_NS), process_time)
        with Server(session, bind(parse_listen("127.0.0.1:0"), ""), "") as server:
            context = multiprocessing.get_context("spawn")
            ready, over = context.Event(), context.Event()
            watcher = context.Process(target=watch, args=(server.url, ready, over))
            watcher.start()
            ready.wait(30)
            scrape(server.url)
            took = timed(lambda: until(WARM_NS + MEASURED_NS), process_time)
            over.set()
            session.stop()
            watcher.join(10)
            return took


def scrape(url: str) -> None:
    """One scrape while the fleet stands: how long, how much."""
    body = b""

    def once() -> None:
        nonlocal body
        body = urllib.request.urlopen(f"{url}/metrics", timeout=30).read()

    once()
    took = min(timed(once) for _ in range(5))
    series = sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))
    print(f"one scrape: {1000 * took:.1f} ms, {series} series, {len(body) / 1024:.0f} KiB")
    sleep(0.5)


def main() -> None:
    """Print the figures."""
    cluster, text = fleet()
    with tempfile.TemporaryDirectory() as folder:
        report(cluster, text, Path(folder) / "run")
        times = {
            watched: engine(cluster, text, Path(folder) / watched, watched)
            for watched in ("bare", "session", "watched")
        }
    bare = times["bare"]
    print(f"{MEASURED_NS / 1e9:g} virtual s flat out: bare engine {bare:.2f} s of processor time")
    for watched, told in (("session", "live session, nobody watches"), ("watched", "page and scraper attached")):
        print(f"    {told}: {times[watched]:.2f} s ({100 * (times[watched] / bare - 1):+.1f} %)")


if __name__ == "__main__":
    sys.exit(main())
