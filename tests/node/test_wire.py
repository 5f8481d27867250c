"""A node behind bytes: once per number, and back from snapshot and log."""

from __future__ import annotations

import pytest
from toy_machine import FACTORY, toy_fleet

from node.codec import decode_reply, digest_of, encode_frame, pack_specs
from node.errors import NodeBroken
from node.protocol import (
    Done,
    History,
    MachineInput,
    NodeInput,
    NodeReport,
    Recall,
    Recalled,
    Reply,
    Request,
    Snapshots,
    Step,
    TakeSnapshots,
)
from node.wire import WiredNode

MS = 1_000_000
OPEN = pack_specs(FACTORY, toy_fleet(2, 10 * MS))


def ask(node: WiredNode, sequence: int, request: Request) -> Reply:
    answered, reply = decode_reply(node.attend(encode_frame(sequence, request)))
    assert answered == sequence
    return reply


def run(until_ns: int, snapshot: bool = False) -> NodeInput:
    return NodeInput(until_ns, [MachineInput("m0", [], snapshot)])


def test_a_request_that_comes_twice_runs_once() -> None:
    node, other = WiredNode(), WiredNode()
    for each in (node, other):
        assert ask(each, 1, OPEN) == Done()
    first = node.attend(encode_frame(2, run(100 * MS)))
    assert node.attend(encode_frame(2, run(100 * MS))) == first
    ask(other, 2, run(100 * MS))
    assert ask(node, 3, run(300 * MS)) == ask(other, 3, run(300 * MS))


def test_an_older_request_is_refused() -> None:
    node = WiredNode()
    ask(node, 5, OPEN)
    with pytest.raises(NodeBroken, match="request 4 comes after 5"):
        ask(node, 4, run(MS))


def test_a_node_that_is_not_open_says_so() -> None:
    with pytest.raises(NodeBroken, match="not open"):
        ask(WiredNode(), 1, run(MS))


def test_a_snapshot_is_taken_only_when_asked_for_and_after_the_advance() -> None:
    node = WiredNode()
    ask(node, 1, OPEN)
    plain, asked = ask(node, 2, run(100 * MS)), ask(node, 3, run(200 * MS, snapshot=True))
    assert isinstance(plain, NodeReport)
    assert isinstance(asked, NodeReport)
    assert plain.machines[0].snapshot is None
    assert Snapshots({"m0": asked.machines[0].snapshot or b""}) == ask(node, 4, TakeSnapshots(["m0"]))


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_machine_brought_back_has_said_and_holds_the_same(from_snapshot: bool) -> None:
    lost, new = WiredNode(), WiredNode()
    ask(lost, 1, OPEN)
    ask(new, 1, OPEN)
    early = ask(lost, 2, run(100 * MS, snapshot=True))
    late = ask(lost, 3, run(300 * MS))
    assert isinstance(early, NodeReport)
    assert isinstance(late, NodeReport)
    if from_snapshot:
        history = History("m0", early.machines[0].snapshot, [Step(300 * MS, [])])
        said = [late.machines[0]]
    else:
        history = History("m0", None, [Step(100 * MS, []), Step(300 * MS, [])])
        said = [early.machines[0], late.machines[0]]
    recalled = ask(new, 2, Recall([history]))
    assert recalled == Recalled([[digest_of(each.advance) for each in said]])
    assert ask(new, 3, TakeSnapshots(["m0"])) == ask(lost, 4, TakeSnapshots(["m0"]))
