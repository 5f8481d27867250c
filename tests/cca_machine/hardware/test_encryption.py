"""Memory under encryption contexts: nothing is readable under a key that it was not written with."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cca_machine.hardware.encryption import EncryptionContexts
from cca_machine.hardware.gpt import Gpi, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.memory import PhysicalMemory

BASE = 0x8000_0000
PAGE = bytes(range(256)) * 16
MINE, YOURS = 5, 6


@pytest.fixture
def memory() -> PhysicalMemory:
    made = PhysicalMemory.over(Bank(BASE, 16 << 20))
    made.contexts = EncryptionContexts()
    made.gpt.set_run(BASE, Gpi.REALM, 8)
    made.assign(BASE, 4, MINE)
    made.write(World.REALM, BASE, PAGE, MINE)
    return made


def test_the_owner_reads_what_it_wrote_and_nobody_else_does(memory: PhysicalMemory) -> None:
    assert memory.read(World.REALM, BASE, 4096, MINE) == PAGE
    other = memory.read(World.REALM, BASE, 4096, YOURS)
    assert other not in (PAGE, bytes(4096))
    assert memory.read(World.REALM, BASE, 4096, YOURS) == other
    assert memory.read(World.REALM, BASE, 4096) not in (PAGE, other)
    assert memory.read(World.REALM, BASE + 16, 32, YOURS) == other[16:48]


def test_even_zeroes_of_another_context_do_not_read_as_zeroes(memory: PhysicalMemory) -> None:
    assert memory.read(World.REALM, BASE + 0x1000, 4096, MINE) == bytes(4096)
    assert memory.read(World.REALM, BASE + 0x1000, 4096, YOURS) != bytes(4096)


def test_a_read_over_two_granules_is_decrypted_granule_by_granule(memory: PhysicalMemory) -> None:
    memory.assign(BASE + 0x1000, 1, YOURS)
    both = memory.read(World.REALM, BASE + 0xFF0, 32, MINE)
    assert both[:16] == PAGE[-16:]
    assert both[16:] != bytes(16)


def test_a_store_under_another_key_spoils_the_rest_of_the_granule(memory: PhysicalMemory) -> None:
    memory.write(World.REALM, BASE + 8, b"stranger", YOURS)
    assert memory.read(World.REALM, BASE + 8, 8, YOURS) == b"stranger"
    assert memory.read(World.REALM, BASE, 8, YOURS) != PAGE[:8]
    assert memory.read(World.REALM, BASE, 4096, MINE)[4000:] != PAGE[4000:]


def test_a_refreshed_key_reads_nothing_of_what_was_there_before(memory: PhysicalMemory) -> None:
    before = memory.digest()
    memory.refresh(MINE)
    assert memory.read(World.REALM, BASE, 4096, MINE) not in (PAGE, bytes(4096))
    assert memory.digest() != before
    memory.write(World.REALM, BASE, PAGE, MINE)
    assert memory.read(World.REALM, BASE, 4096, MINE) == PAGE
    memory.refresh(YOURS)
    assert memory.read(World.REALM, BASE, 4096, MINE) == PAGE


def test_the_normal_world_has_no_contexts(memory: PhysicalMemory) -> None:
    memory.write(World.NS, BASE + 0x10_0000, PAGE)
    assert memory.read(World.NS, BASE + 0x10_0000, 4096) == PAGE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), st.integers(0, 3)), max_size=25))
def test_runs_of_keys_agree_with_a_key_per_granule(puts: list[tuple[int, int, int]]) -> None:
    contexts, plain = EncryptionContexts(), dict[int, int]()
    for first, count, key in puts:
        contexts.put(first, count, key)
        plain |= dict.fromkeys(range(first, first + count), key)
    assert [contexts.key_at(granule) for granule in range(50)] == [plain.get(granule, 0) for granule in range(50)]
    assert contexts.runs == sorted(contexts.runs)
    for (_, end, key), (first, _, other) in pairwise(contexts.runs):
        assert end < first or (end == first and key != other)
