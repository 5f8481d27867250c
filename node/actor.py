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
from collections.abc import Callable, Iterator, Sequence
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

GROUP_S = 10
"""Seconds that a placement group may take; without one, Ray's own spreading has to do."""

TASK_RETRIES = 3
"""Times that a task whose worker or host was lost is begun again."""

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

    def place(self) -> tuple[int, str]:
        """This process, and the Ray host it is on."""
        import ray

        return os.getpid(), ray.get_runtime_context().get_node_id()


class RayLink:
    """A `NodeLink` to one actor."""

    def __init__(self, ray: ModuleType, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._under_way: Any = None
        self._place: tuple[int, str] | None = None

    def begin(self, request: bytes) -> None:
        """Send a request; a dead actor shows in `finish`."""
        self._under_way = self._actor.attend.remote(request)

    def finish(self) -> bytes:
        """The answer; raises `NodeLost` when actor, process or host is gone, `NodeBroken` for a fault in the node."""
        answer: bytes = self._get(self._under_way)
        return answer

    def place(self) -> tuple[int, str]:
        """Process of the actor, and the id of the Ray host it is on; raises `NodeLost`."""
        if self._place is None:
            self._place = self._get(self._actor.place.remote())
        return self._place

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


class Spread:
    """A placement group with one bundle per seat, spread over the hosts; nothing on a cluster of one host."""

    def __init__(self, ray: ModuleType, seats: int, share: float) -> None:
        self._ray = ray
        self._seats = seats
        self._given = 0
        self._group: Any = None
        hosts = sum(1 for host in ray.nodes() if host["Alive"])
        if hosts < 2 or ray.available_resources().get("CPU", 0) < share * seats:
            return
        group = ray.util.placement_group([{"CPU": share}] * seats, strategy="SPREAD")
        if group.wait(GROUP_S):
            self._group = group
        else:
            ray.util.remove_placement_group(group)

    def next_bundle(self) -> Any:
        """The strategy that puts the next actor into its bundle; None when there is no group, or no bundle is left."""
        if self._group is None or self._given == self._seats:
            return None
        self._given += 1
        strategy = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        return strategy(self._group, placement_group_bundle_index=self._given - 1)

    def release(self) -> None:
        """Give the bundles back."""
        if self._group is not None:
            self._ray.util.remove_placement_group(self._group)
            self._group = None


class RayHost:
    """A `NodeHost` on Ray; `open` starts or joins it, `stop` leaves the machine as it was."""

    def __init__(self, ray: ModuleType, chatter: Chatter, warden: Warden | None, *, joined: bool) -> None:
        self._ray = ray
        self._chatter = chatter
        self._warden = warden
        self._joined = joined
        self._links: list[RayLink] = []
        self._spread: Spread | None = None
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
        """A new actor, asking for its share of the cores but never more than are free.

        The first `seats` of them are spread over the hosts of the cluster by one placement group; one that replaces a
        lost actor goes wherever Ray has room.
        """
        share = min(1.0, self.cores() * 1000 // max(1, seats) / 1000)
        if self._spread is None:
            self._spread = Spread(self._ray, seats, share)
        bundle = self._spread.next_bundle()
        free = self._ray.available_resources().get("CPU", 0)
        actor = (
            self._ray.remote(NodeActor)
            .options(
                num_cpus=share if bundle is not None or share <= free else 0,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD" if bundle is None else bundle,
            )
            .remote()
        )
        link = RayLink(self._ray, actor)
        self._links.append(link)
        return link

    def carry_out(
        self, work: Callable[[Any], Any], arguments: Sequence[Any], side_by_side: int
    ) -> Iterator[tuple[int, Any]]:
        """Call `work` for every argument as Ray tasks, `side_by_side` at once; gives place and answer as each is done.

        `work` must be repeatable: a task whose worker or host is lost runs again. What it raises is raised here.
        """
        task = self._ray.remote(work).options(num_cpus=1, max_retries=TASK_RETRIES)
        waiting: dict[Any, int] = {}
        for place, argument in enumerate(arguments):
            waiting[task.remote(argument)] = place
            if len(waiting) >= side_by_side:
                yield self._first_done(waiting)
        while waiting:
            yield self._first_done(waiting)

    def _first_done(self, waiting: dict[Any, int]) -> tuple[int, Any]:
        [done], _ = self._ray.wait(list(waiting), num_returns=1)
        place = waiting.pop(done)
        return place, self._ray.get(done)

    def stop(self) -> None:
        """Kill our actors; leave or end Ray if it was joined or started here. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        for link in self._links:
            link.abandon()
        if self._spread is not None:
            self._spread.release()
        if self._joined:
            with self._chatter.ray_speaks():
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
        import ray.util.scheduling_strategies
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
