"""`realmfleet up`: takes the port, brings the fleet up, serves it, and ends it cleanly on Ctrl-C."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from msgspec import Struct

from orchestrator import rundir
from orchestrator.api import RUNS, Run, RunOptions, RunResult
from orchestrator.cluster.load import load_text
from orchestrator.cluster.quantities import parse_duration
from orchestrator.cluster.schema import Cluster
from orchestrator.errors import UserMistake
from orchestrator.extensions import Extensions
from orchestrator.gate_keeper import read_gates
from orchestrator.live import LiveSession
from orchestrator.serve.broker import BrokerWish, FleetBroker, read_wish
from orchestrator.serve.broker import bind as bind_broker
from orchestrator.serve.guard import parse_listen
from orchestrator.serve.server import Server, bind


class Wishes(Struct, frozen=True, kw_only=True):
    """What the user of `up` asked for; `until` is a duration as text."""

    file: Path
    speed: float = 1.0
    listen: str
    token: str = ""
    broker: str = "127.0.0.1:0"
    broker_cert: Path | None = None
    broker_key: Path | None = None
    seed: int | None = None
    fleet: str = "ray"
    actors: int | None = None
    until: str | None = None
    out: Path | None = None
    replace: bool = False
    gates: tuple[str, ...] = ()
    prometheus: str = ""


def serve(wishes: Wishes) -> RunResult:
    """Serve until Ctrl-C, or until the wished end; the run is written and judged in either case.

    Raises:
        UserMistake: the file, the address, the token or the run directory is no good; then nothing was begun.
    """
    cluster, text = _cluster(wishes.file)
    until_ns = _until(wishes.until)
    wish = read_wish(wishes.broker, wishes.broker_cert, wishes.broker_key)
    with ExitStack() as ports:
        taken = ports.enter_context(bind(parse_listen(wishes.listen), wishes.token))
        door = ports.enter_context(bind_broker(wish)) if wish is not None else None
        return _serve(wishes, cluster, text, until_ns, taken, None if wish is None or door is None else (wish, door))


def _serve(
    wishes: Wishes,
    cluster: Cluster,
    text: str,
    until_ns: int | None,
    taken: socket.socket,
    broker: tuple[BrokerWish, socket.socket] | None,
) -> RunResult:
    seed = cluster.seed if wishes.seed is None else wishes.seed
    out = wishes.out or rundir.choose(RUNS, f"{cluster.name}-{seed}")
    options = RunOptions(
        seed=seed, fleet=wishes.fleet, actors=wishes.actors, out=out, replace=wishes.replace, file=str(wishes.file),
        live=True,
    )  # fmt: skip
    extensions = Extensions(gates=read_gates(wishes.gates), prometheus=wishes.prometheus)
    repeat = f"realmfleet replay {out}"
    with Run(cluster, text, options, repeat=repeat, extensions=extensions) as run, ExitStack() as serving:
        session = LiveSession(run, wishes.speed)
        desk = serving.enter_context(FleetBroker(run, *broker)) if broker is not None else None
        with Server(session, taken, wishes.token, desk) as server, _ends_on_interrupt(session):
            _say(f"{cluster.name} is up at {server.url}/  (seed {seed}, speed {wishes.speed:g}, Ctrl-C ends it)")
            if desk is not None:
                _say(f"key broker and verifier at {desk.url}")
            result = session.run(until_ns)
        _say(f"written to {result.run_dir} · repeat: {result.repeat}")
        return result


@contextmanager
def _ends_on_interrupt(session: LiveSession) -> Iterator[None]:
    """Ctrl-C or SIGTERM ends the session after the beat under way; a second one interrupts for good."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        session.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cluster(file: Path) -> tuple[Cluster, str]:
    try:
        loaded = load_text(file.read_bytes(), str(file))
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "check the path") from error
    if loaded.value is None:
        raise UserMistake(f"{file} cannot be run\n{loaded.render()}")
    return loaded.value, loaded.source.text


def _until(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UserMistake(f"--until {text}: {error}", "a duration like 90s, 5min or 2h") from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
