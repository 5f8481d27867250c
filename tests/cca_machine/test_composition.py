"""Running in pieces, through snapshots or in one go is the same, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cca_machine import commands as c
from cca_machine.errors import SnapshotRefused
from cca_machine.machine import Machine
from cca_machine.snapshot import MAGIC, VERSION

S = 1_000_000_000
END = 700 * S

Script = list[tuple[int, int, Any]]


def script(kit: Any) -> Script:
    """A life with launches, evidence, a lapse, firmware, a freeze, a power cut and another launch."""
    small = {"memory_bytes": 16 << 20, "image": c.ImageSpec("tiny", 1, 20_000)}
    one, two = kit.realm_spec("one", **small), kit.realm_spec("two", program="database", vcpus=1, **small)
    return [
        (S, 2, c.Launch(one, kit.NONCE, 9 * S)),
        (S, 2, c.Launch(two, kit.NONCE, 60 * S)),
        (S + 1, 2, c.Launch(two, kit.NONCE, 60 * S)),
        (3 * S, 2, c.Attest("one", 1, kit.NONCE)),
        (3 * S, 2, c.DeliverSecret("one", 1, b"{}")),
        (4 * S, 2, c.Prime(kit.firmware_image("RMM", "1.1.0", security_version=2))),
        (5 * S, 2, c.Activate("RMM")),
        (6 * S, 2, c.RenewLeases((("one", 1), ("two", 1)), 30 * S)),
        (20 * S, 0, c.Inject(c.FaultKind.FREEZE)),
        (25 * S, 2, c.RenewLeases((("two", 1),), 50 * S)),
        (33 * S, 0, c.Heal(c.FaultKind.FREEZE)),
        (34 * S, 2, c.Stop("one", 1)),
        (34 * S + 100_000_000, 0, c.Inject(c.FaultKind.POWER_LOSS)),
        (100 * S, 0, c.Heal(c.FaultKind.POWER_LOSS)),
        (450 * S, 2, c.Launch(one, kit.NONCE, 600 * S)),
        (451 * S, 0, c.Inject(c.FaultKind.RMM_PANIC)),
        (460 * S, 2, c.RenewLeases((), 500 * S)),
    ]


def fresh(kit: Any) -> Machine:
    machine = Machine(kit.machine_spec("m", memory_bytes=256 << 20))
    for number, (at_ns, priority, body) in enumerate(script(kit)):
        machine.submit(body, at_ns, priority, c.CONTROL if priority else "chaos", number)
    return machine


def outcome(machine: Machine, cuts: list[int], between: Callable[[Machine], Machine]) -> tuple[bytes, bytes]:
    """What left and was traced, and the final snapshot, running to each cut and `between` before going on."""
    sent: list[c.Sent] = []
    records: list[c.Traced] = []
    for until_ns in [*sorted(cuts), END]:
        machine = between(machine)
        advance = machine.run_until(until_ns)
        sent += advance.sent
        records += advance.records
    return msgspec.msgpack.encode([sent, records]), machine.snapshot()


@pytest.fixture(scope="module")
def in_one_go(kit: Any) -> tuple[bytes, bytes]:
    return outcome(fresh(kit), [], lambda machine: machine)


CUTS = st.lists(
    st.one_of(
        st.integers(0, END),
        st.sampled_from([S, S + 1, 3 * S, 3 * S + 1, 5 * S, 9 * S, 9 * S + 1, 33 * S, 34 * S, 50 * S, 400 * S]),
        st.integers(S, 4 * S),
    ),
    max_size=6,
)


@settings(max_examples=12, deadline=None)
@given(cuts=CUTS)
def test_running_in_pieces_is_running_in_one_go(kit: Any, in_one_go: tuple[bytes, bytes], cuts: list[int]) -> None:
    assert outcome(fresh(kit), cuts, lambda machine: machine) == in_one_go


@settings(max_examples=8, deadline=None)
@given(cuts=CUTS)
def test_a_restored_machine_goes_on_as_the_one_it_was(
    kit: Any, in_one_go: tuple[bytes, bytes], cuts: list[int]
) -> None:
    def through_bytes(machine: Machine) -> Machine:
        other = Machine(machine.spec)
        other.restore(machine.snapshot())
        assert other.snapshot() == machine.snapshot()
        assert other.digest() == machine.digest()
        return other

    assert outcome(fresh(kit), cuts, through_bytes) == in_one_go


def test_the_order_of_submission_does_not_matter(kit: Any, in_one_go: tuple[bytes, bytes]) -> None:
    machine = Machine(kit.machine_spec("m", memory_bytes=256 << 20))
    for number, (at_ns, priority, body) in reversed(list(enumerate(script(kit)))):
        machine.submit(body, at_ns, priority, c.CONTROL if priority else "chaos", number)
    assert outcome(machine, [], lambda machine: machine) == in_one_go


def test_numbers_have_no_gaps(kit: Any) -> None:
    advance = fresh(kit).run_until(END)
    assert [sent.number for sent in advance.sent] == list(range(1, len(advance.sent) + 1))
    assert [record.number for record in advance.records] == list(range(1, len(advance.records) + 1))
    instants = [record.at_ns for record in advance.records]
    assert instants == sorted(instants)


def mangled(snapshot: bytes, how: str) -> bytes:
    version = len(MAGIC)
    return {
        "cut short": snapshot[:-1],
        "one byte more": snapshot + b"\0",
        "one bit flipped": snapshot[:-9] + bytes([snapshot[-9] ^ 1]) + snapshot[-8:],
        "another version": snapshot[:version] + (VERSION + 1).to_bytes(2, "big") + snapshot[version + 2 :],
        "something else": b"PK\3\4" + snapshot[4:],
        "nothing": b"",
    }[how]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("cut short", "bytes"),
        ("one byte more", "bytes"),
        ("one bit flipped", "changed"),
        ("another version", "version 2"),
        ("something else", "not a machine snapshot"),
        ("nothing", "not a machine snapshot"),
    ],
)
def test_a_snapshot_that_is_not_whole_is_refused(kit: Any, how: str, why: str) -> None:
    machine = fresh(kit)
    machine.run_until(3 * S)
    before = machine.digest()
    with pytest.raises(SnapshotRefused, match=why):
        machine.restore(mangled(machine.snapshot(), how))
    assert machine.digest() == before


def test_a_snapshot_of_another_machine_is_refused(kit: Any) -> None:
    snapshot = Machine(kit.machine_spec("n")).snapshot()
    with pytest.raises(SnapshotRefused, match="another specification"):
        Machine(kit.machine_spec("m")).restore(snapshot)


def test_a_snapshot_names_image_pages_instead_of_holding_them(kit: Any) -> None:
    machine = Machine(kit.machine_spec("m"))
    machine.submit(c.Launch(kit.realm_spec(image=c.ImageSpec("web", 1, 4 << 20)), kit.NONCE, 99 * S), S, 2, "x", 1)
    machine.run_until(5 * S)
    assert len(machine.snapshot()) < 256 << 10
