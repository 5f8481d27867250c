"""A node behind bytes: request in, reply out, each sequence number at most once."""

from __future__ import annotations

from node.codec import decode_request, digest_of, encode_advance, encode_frame, unpack_specs
from node.errors import NodeBroken
from node.protocol import (
    Done,
    History,
    MachineAdvance,
    NodeInput,
    NodeReport,
    Open,
    Recall,
    Recalled,
    Reply,
    Request,
    Snapshots,
)
from node.shelf import Node, load_factory


class WiredNode:
    """Answers frames. A frame whose number it has just answered gets the same answer; an older one is refused."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._last = 0
        self._answer = b""

    def attend(self, frame: bytes) -> bytes:
        """The reply to a request; raises `NodeBroken` for what no head sends."""
        sequence, request = decode_request(frame)
        if sequence == self._last:
            return self._answer
        if sequence < self._last:
            raise NodeBroken(f"request {sequence} comes after {self._last}")
        self._answer = encode_frame(sequence, self._serve(request))
        self._last = sequence
        return self._answer

    def _serve(self, request: Request) -> Reply:
        if isinstance(request, Open):
            self._node = Node(load_factory(request.factory), unpack_specs(request))
            return Done()
        if self._node is None:
            raise NodeBroken("the node is not open")
        if isinstance(request, NodeInput):
            return _advance(self._node, request)
        if isinstance(request, Recall):
            return Recalled([_recall(self._node, history) for history in request.histories])
        return Snapshots(self._node.snapshots(request.machines))


def _advance(node: Node, request: NodeInput) -> NodeReport:
    """Run the machines, and take the state of those whose log has become long."""
    inbox = {each.machine: each.arrivals for each in request.machines}
    done = node.advance(request.until_ns, inbox, [each.machine for each in request.machines])
    states = node.snapshots([each.machine for each in request.machines if each.snapshot])
    return NodeReport([MachineAdvance(name, encode_advance(advance), states.get(name)) for name, advance in done])


def _recall(node: Node, history: History) -> list[bytes]:
    """Bring one machine back, and say what it did on the way."""
    if history.snapshot is not None:
        node.restore({history.machine: history.snapshot})
        if node.snapshots([history.machine])[history.machine] != history.snapshot:
            raise NodeBroken(f"{history.machine} is not the same after its own snapshot")
    digests = []
    for step in history.steps:
        [(_, advance)] = node.advance(step.until_ns, {history.machine: step.arrivals}, [history.machine])
        digests.append(digest_of(encode_advance(advance)))
    return digests
