"""A host of nodes in this process, whose nodes die when the test says so: what `RayHost` is, without Ray.

It keeps to the contract of `node.protocol.NodeHost`: a node that is lost has lost its state, and a silent node has
either run the request or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from node.errors import NodeLost
from node.protocol import NodeLink
from node.wire import WiredNode

DEAD = "dead"
"""The process is gone, and the request may or may not have run."""
DEAF = "deaf"
"""The request never reached the node."""
MUTE = "mute"
"""The request ran, and its answer was lost."""


class ToyLink:
    """A line to one node of this process."""

    def __init__(self, host: ToyHost, number: int) -> None:
        self._host = host
        self._number = number
        self._node: WiredNode | None = WiredNode()
        self._frame = b""

    def begin(self, request: bytes) -> None:
        self._frame = request

    def finish(self) -> bytes:
        if self._node is None:
            raise NodeLost("the node is gone", gone=True)
        trouble = self._host.next_trouble()
        if trouble == DEAD:
            self._node.attend(self._frame)
            self._node = None
            raise NodeLost("the node died", gone=True)
        if trouble == DEAF:
            raise NodeLost("no answer", gone=False)
        answer = self._node.attend(self._frame)
        if trouble == MUTE:
            raise NodeLost("no answer", gone=False)
        return answer

    def abandon(self) -> None:
        self._node = None

    def place(self) -> tuple[int, str]:
        return self._number, "here"


class ToyHost:
    """Nodes in this process; `troubles` maps the running number of an answered request (from 1) to what goes wrong."""

    def __init__(
        self, troubles: Mapping[int, str] | None = None, cores: int = 2, always: Callable[[int], str] | None = None
    ) -> None:
        self._troubles = troubles or {}
        self._always = always
        self._cores = cores
        self.requests = 0
        self.spawned = 0
        self.stopped = False

    def cores(self) -> int:
        return self._cores

    def spawn(self, seats: int) -> NodeLink:
        self.spawned += 1
        return ToyLink(self, self.spawned)

    def stop(self) -> None:
        self.stopped = True

    def next_trouble(self) -> str:
        self.requests += 1
        if self._always is not None:
            return self._always(self.requests)
        return self._troubles.get(self.requests, "")
