"""Nodes as Ray actors: the only file that knows Ray.

`RayHost` starts Ray on this machine (loopback only, no dashboard, a small object store) or joins a cluster, spawns
actors that each hold one `WiredNode`, and ends only what it started. Ray restarts and retries nothing by itself: the
head knows what a lost node had, Ray does not.

Ray is imported when a host is opened, not before: it takes half a second, and it reads whether it may listen beyond
loopback from the environment at that moment.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

from node.chatter import Chatter
from node.errors import NodeBroken, NodeLost, RayUnavailable
from node.protocol import NodeLink
from node.warden import Warden, family
from node.wire import WiredNode

OBJECT_STORE_BYTES = 80 * 2**20
"""Room for what is too large to ride in a message; Ray's least is 75 MiB."""

PATIENCE_S = 600
"""Seconds without an answer after which a node counts as lost."""

CONNECT_S = 5
"""Seconds that a cluster's address may take to accept a connection."""

_LOCAL_ENVIRONMENT = {
    # started by `uv run`, Ray would wrap each worker in uv as well
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # off, this makes Ray listen on loopback alone, on Linux too
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


class NodeActor:
    """A node in a process of its own."""

    def __init__(self) -> None:
        self._node = WiredNode()

    def attend(self, frame: bytes) -> bytes:
        """The reply to a request."""
        return self._node.attend(frame)

    def pid(self) -> int:
        """This process."""
        return os.getpid()


class RayLink:
    """A `NodeLink` to one actor."""

    def __init__(self, ray: ModuleType, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._under_way: Any = None
        self._pid = 0

    def begin(self, request: bytes) -> None:
        """Send a request; a dead actor shows in `finish`."""
        self._under_way = self._actor.attend.remote(request)

    def finish(self) -> bytes:
        """The answer; raises `NodeLost` when actor, process or host is gone, `NodeBroken` for a fault in the node."""
        answer: bytes = self._get(self._under_way)
        return answer

    def pid(self) -> int:
        """Process of the actor; raises `NodeLost`."""
        if not self._pid:
            self._pid = self._get(self._actor.pid.remote())
        return self._pid

    def abandon(self) -> None:
        """Kill the actor if it still lives."""
        self._ray.kill(self._actor, no_restart=True)

    def _get(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference, timeout=PATIENCE_S)
        except errors.ActorUnavailableError as error:
            raise NodeLost(f"the actor does not answer: {error}", gone=False) from error
        except errors.RayTaskError as error:
            raise NodeBroken(f"a node failed: {error}") from error
        except errors.RayError as error:
            raise NodeLost(f"the actor is gone: {error}", gone=True) from error


class RayHost:
    """A `NodeHost` on Ray; `open` starts or joins it, `stop` leaves the machine as it was."""

    def __init__(self, ray: ModuleType, chatter: Chatter, warden: Warden | None, *, joined: bool) -> None:
        self._ray = ray
        self._chatter = chatter
        self._warden = warden
        self._joined = joined
        self._links: list[RayLink] = []
        self._stopped = False

    @classmethod
    def open(cls, address: str | None, log_path: Path) -> RayHost:
        """Start Ray here (`address` None) or join the cluster at `host:port` or `auto`; raises `RayUnavailable`.

        What Ray has to say goes to `log_path`. A cluster that this process has already joined is used, and kept.
        """
        if address is not None:
            _check_address(address)
        chatter = Chatter(log_path)
        try:
            ray = _import_ray(loopback=address is None)
            if ray.is_initialized():
                return cls(ray, chatter, None, joined=False)
            _hush(logging.StreamHandler(chatter.log))
            if address is None:
                return cls(ray, chatter, _start(ray), joined=True)
            _init(ray, address=address)
            return cls(ray, chatter, None, joined=True)
        except RayUnavailable:
            chatter.close()
            raise

    def cores(self) -> int:
        """Cores of the cluster."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def spawn(self, seats: int) -> NodeLink:
        """A new actor, spread over hosts, asking for its share of the cores but never more than are free."""
        free = self._ray.available_resources().get("CPU", 0)
        share = min(1.0, self.cores() * 1000 // max(1, seats) / 1000)
        actor = (
            self._ray.remote(NodeActor)
            .options(
                num_cpus=share if share <= free else 0,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD",
            )
            .remote()
        )
        link = RayLink(self._ray, actor)
        self._links.append(link)
        return link

    def stop(self) -> None:
        """Kill our actors; leave or end Ray if it was joined or started here. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        for link in self._links:
            link.abandon()
        if self._joined:
            self._ray.shutdown()
            _hush(logging.NullHandler())
        if self._warden is not None:
            self._warden.dismiss()
        self._chatter.close()


def _import_ray(*, loopback: bool) -> ModuleType:
    """Ray, told where it may listen; raises `RayUnavailable` when it is not installed."""
    if loopback:
        for name, value in _LOCAL_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise RayUnavailable(f"Ray cannot be imported ({error}); install it or use --fleet local") from error
    return ray


def _hush(handler: logging.Handler) -> None:
    """Have Ray's loggers speak to `handler` alone."""
    logger = logging.getLogger("ray")
    logger.handlers = [handler]
    logger.propagate = False


def _start(ray: ModuleType) -> Warden:
    """Start Ray on this machine, watched by a warden; raises `RayUnavailable`."""
    before = family(os.getpid())
    _init(
        ray,
        address="local",
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
    )
    started = family(os.getpid()) - before
    warden = Warden()
    warden.note(started)
    return warden


def _init(ray: ModuleType, **how: Any) -> None:
    """Start or join Ray; raises `RayUnavailable` with what would help."""
    try:
        ray.init(log_to_driver=False, **how)
    except (RuntimeError, ValueError, OSError, TimeoutError, ray.exceptions.RayError) as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RayUnavailable(f"Ray cannot be used at {how['address']}: {first}; --fleet local needs no Ray") from error


def _check_address(address: str) -> None:
    """Fail at once on an address that no cluster answers; Ray itself would try for a minute."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise RayUnavailable(f"{address} is not an address of a Ray cluster: give host:port of its head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise RayUnavailable(f"no Ray cluster answers at {address}: {error}") from error
