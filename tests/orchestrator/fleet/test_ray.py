"""The fleet on real Ray actors: the same bytes as in process, also when an actor is killed, and a clean terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_machine import FACTORY, toy_fleet
from toy_run import Deed, ToyRun

from node.actor import RayHost
from node.errors import RayUnavailable
from node.warden import alive, family
from orchestrator.engine.instant import MS
from orchestrator.fleet.local import LocalFleet
from orchestrator.fleet.ray import RayFleet

TOYS = Path(__file__).resolve().parents[2] / "toys"
END = 1500 * MS
PLAN = [Deed(200 * MS, "couple", "m0", "m1"), Deed(300 * MS, "ask", "m2"), Deed(900 * MS, "uncouple", "m0", "m1")]
SPECS = toy_fleet(6, 40 * MS)


def local_digest() -> str:
    return ToyRun(LocalFleet(SPECS, 1, FACTORY), PLAN).run(END).digest


@pytest.fixture(scope="module")
def ray_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One Ray for the whole module; fleets opened meanwhile join it and leave it running."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TOYS), *([before] if before else [])])
    log = tmp_path_factory.mktemp("ray") / "ray.log"
    host = RayHost.open(None, log)
    yield log
    host.stop()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.mark.ray
@pytest.mark.parametrize("actors", [1, 4])
def test_actors_give_the_digest_of_the_local_fleet(ray_host: Path, tmp_path: Path, actors: int) -> None:
    with RayFleet(SPECS, actors, log_path=tmp_path / "ray.log", factory=FACTORY) as fleet:
        assert ToyRun(fleet, PLAN).run(END).digest == local_digest()
        assert (fleet.actors, fleet.actor_restarts) == (actors, 0)
        assert len(set(fleet.pids()) - {os.getpid()}) == actors


@pytest.mark.ray
def test_a_killed_actor_is_replaced_and_the_run_goes_on_as_if_nothing_had_happened(
    ray_host: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with RayFleet(SPECS, 2, log_path=tmp_path / "ray.log", factory=FACTORY, snapshot_every=4) as fleet:
        run = ToyRun(fleet, PLAN)
        run.engine.run_until(800 * MS)
        victim = fleet.pids()[1]
        os.kill(victim, signal.SIGKILL)
        assert run.run(END).digest == local_digest()
        assert fleet.actor_restarts >= 1
        assert victim not in fleet.pids()
    assert "raylet" not in capfd.readouterr().out


@pytest.mark.ray
def test_all_actors_killed_at_once_are_replaced(ray_host: Path, tmp_path: Path) -> None:
    with RayFleet(SPECS, 3, log_path=tmp_path / "ray.log", factory=FACTORY, snapshot_every=4) as fleet:
        run = ToyRun(fleet, PLAN)
        run.engine.run_until(800 * MS)
        for victim in fleet.pids():
            os.kill(victim, signal.SIGKILL)
        assert run.run(END).digest == local_digest()
        assert fleet.actor_restarts >= 3


@pytest.mark.ray
def test_actors_killed_at_any_moment_of_beats_and_snapshots_change_nothing(ray_host: Path, tmp_path: Path) -> None:
    with RayFleet(SPECS, 2, log_path=tmp_path / "ray.log", factory=FACTORY, snapshot_every=1) as fleet:
        run = ToyRun(fleet, PLAN)
        ended = threading.Event()

        def kill_now_and_then() -> None:
            for number in range(4):
                if ended.wait(0.15 + 0.07 * number):
                    return
                os.kill(fleet.pids()[number % 2], signal.SIGKILL)

        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            for stop in range(100 * MS, END + 1, 100 * MS):
                run.engine.run_until(stop)
                time.sleep(0.1)
        finally:
            ended.set()
            killer.join()
        assert run.run(END).digest == local_digest()
        assert fleet.actor_restarts >= 2


def clean_environment() -> dict[str, str]:
    """What a fresh shell has: nothing of the Ray of this process, which would hide what a new one says."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return ours | {"PYTHONPATH": str(TOYS)}


NOISE = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from toy_machine import FACTORY, toy_fleet
from toy_run import ToyRun
from orchestrator.fleet.ray import RayFleet
log = Path(sys.argv[2])
with RayFleet(toy_fleet(2, 40_000_000), 1, log_path=log, factory=FACTORY) as fleet:
    run = ToyRun(fleet)
    run.engine.run_until(500_000_000)
    victim = fleet.pids()[0]
    os.kill(victim, signal.SIGKILL)
    run.run(1_000_000_000)
    deadline = time.monotonic() + 20
    while str(victim) not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
print("only this")
"""


@pytest.mark.ray
def test_what_ray_says_about_a_lost_worker_goes_to_its_log_and_not_to_standard_output(tmp_path: Path) -> None:
    log = tmp_path / "ray.log"
    environment = clean_environment()
    done = subprocess.run(
        [sys.executable, "-c", NOISE, str(TOYS), str(log)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("only this\n", "")
    assert "(raylet)" in log.read_text()


HEAD = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from toy_machine import FACTORY, toy_fleet
from orchestrator.fleet.ray import RayFleet
fleet = RayFleet(toy_fleet(2, 40_000_000), 1, log_path=Path(sys.argv[2]), factory=FACTORY)
print(*fleet.pids(), flush=True)
time.sleep(60)
"""


@pytest.mark.ray
def test_a_killed_head_takes_its_actors_and_its_ray_along(tmp_path: Path) -> None:
    environment = clean_environment()
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(TOYS), str(tmp_path / "ray.log")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert head.stdout is not None
    actor = int(head.stdout.readline())
    started = family(head.pid)
    assert actor in {process.pid for process in started}
    assert len(started) > 3
    head.kill()
    head.wait()
    head.stdout.close()
    deadline = time.monotonic() + 10
    while (left := sorted(process for process in started if alive(process))) and time.monotonic() < deadline:
        threading.Event().wait(0.2)
    assert left == []


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:1", "no Ray cluster answers"),
        ("somewhere", "not an address"),
        ("ray://127.0.0.1:10001", "not an address"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
    ],
)
def test_an_address_without_ray_is_refused_at_once(address: str, why: str, tmp_path: Path) -> None:
    before = (sys.stdout, sys.stderr)
    with pytest.raises(RayUnavailable, match=why):
        RayFleet(SPECS, 1, address, log_path=tmp_path / "ray.log", factory=FACTORY)
    assert (sys.stdout, sys.stderr) == before
