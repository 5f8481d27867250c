from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cca_machine.abi.rmm_el3 import El3Services, El3Status
from cca_machine.hardware.gpt import Gpi, GranuleProtectionFault, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.memory import PhysicalMemory
from cca_machine.monitor.transition import Transition, carve, move, move_run

BASE, SIZE = 0x8000_0000, 8 << 20
TOP = BASE + SIZE


def memory() -> PhysicalMemory:
    return PhysicalMemory.over(Bank(BASE, SIZE), Bank(1 << 40, 3 << 12))


def test_a_granule_goes_to_realm_and_back(rig):
    services: El3Services = rig.services
    pa = BASE + 0x3000
    assert services.delegate(pa) == El3Status.OK
    with pytest.raises(GranuleProtectionFault):
        rig.hardware.memory.read(World.NS, pa, 1)
    assert services.undelegate(pa) == El3Status.OK
    assert rig.hardware.memory.read(World.NS, pa, 1) == b"\0"


@pytest.mark.parametrize("pa", [BASE + 1, BASE - 4096, TOP, 1 << 60, 0])
@pytest.mark.parametrize("transition", Transition)
def test_an_address_that_is_no_granule_of_memory_is_a_bad_address(transition, pa):
    assert move(memory().gpt, transition, pa) is El3Status.BAD_ADDRESS


def test_a_misaligned_address_in_the_wrong_pas_is_a_bad_address_first():
    gpt = memory().gpt
    move(gpt, Transition.DELEGATE, BASE)
    assert move(gpt, Transition.DELEGATE, BASE + 8) is El3Status.BAD_ADDRESS


# cca-1.1 facts 1.7: only NS to Realm, Realm to NS, NS to Secure, Secure to NS; never to or from Root
@pytest.mark.parametrize("gpi", [Gpi.NON_SECURE, Gpi.REALM, Gpi.SECURE, Gpi.ROOT, Gpi.NO_ACCESS])
@pytest.mark.parametrize("transition", Transition)
def test_a_move_starts_from_its_own_pas_only(transition, gpi):
    gpt = memory().gpt
    gpt.set(BASE, gpi)
    start, end = {
        "DELEGATE": (Gpi.NON_SECURE, Gpi.REALM),
        "UNDELEGATE": (Gpi.REALM, Gpi.NON_SECURE),
        "SECURE": (Gpi.NON_SECURE, Gpi.SECURE),
        "RELEASE": (Gpi.SECURE, Gpi.NON_SECURE),
    }[transition.name]
    assert move(gpt, transition, BASE) is (El3Status.OK if gpi is start else El3Status.BAD_PAS)
    assert gpt.gpi(BASE) is (end if gpi is start else gpi)


def test_delegating_twice_succeeds_once(rig):
    assert [rig.services.delegate(BASE), rig.services.delegate(BASE)] == [El3Status.OK, El3Status.BAD_PAS]


def test_delegating_and_undelegating_a_set_restores_the_table(rig):
    before = rig.hardware.digest()
    assert rig.services.delegate_run(BASE + 0x1000, 1000) == 1000
    assert rig.hardware.digest() != before
    assert rig.services.undelegate_run(BASE + 0x1000, 1000) == 1000
    assert rig.hardware.digest() == before


def test_carving_sets_a_region_aside_or_says_that_it_cannot():
    gpt = memory().gpt
    carve(gpt, Transition.SECURE, BASE, 2 << 20)
    assert gpt.counts()[Gpi.SECURE] == 512
    with pytest.raises(ValueError, match="NON_SECURE"):
        carve(gpt, Transition.SECURE, BASE, 4096)


@given(
    holes=st.lists(st.integers(0, 2047), max_size=4),
    start=st.integers(-4, 2050),
    count=st.integers(-1, 2100),
    transition=st.sampled_from(Transition),
    skew=st.sampled_from([0, 0, 0, 8]),
)
def test_a_run_is_that_many_single_moves_up_to_the_first_refusal(holes, start, count, transition, skew):
    one, other = memory().gpt, memory().gpt
    for gpt in (one, other):
        if transition.value[0] is not Gpi.NON_SECURE:
            gpt.set_run(BASE, transition.value[0], 2048)
        for hole in holes:
            gpt.set(BASE + hole * 4096, Gpi.ROOT)
    pa = BASE + start * 4096 + skew
    done = 0
    while done < count and move(one, transition, pa + done * 4096) is El3Status.OK:
        done += 1
    assert move_run(other, transition, pa, count) == done
    assert list(one.granules.runs()) == list(other.granules.runs())
