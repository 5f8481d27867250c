"""Any sequence of Host calls, stagings, power cuts and planted faults: what must hold after each of them."""

from __future__ import annotations

import hashlib

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cca_machine.abi.lfa import Lfa
from cca_machine.abi.psci import Psci
from cca_machine.monitor.image import PANICS_AT_ACTIVATION
from cca_machine.monitor.psci import mpidr_of
from cca_machine.monitor.state import LfaState, MonitorState

COMPONENT = st.sampled_from(["RMM", "RMM", "SP1", "BL31", "BL2"])
UPDATE = st.tuples(st.just("update"), COMPONENT, st.integers(0, 2))
STEP = st.one_of(
    UPDATE,
    UPDATE,
    UPDATE,
    st.tuples(st.just("round"), COMPONENT),
    st.tuples(st.just("offer and prime"), COMPONENT, st.integers(0, 5)),
    st.tuples(st.just("stage"), COMPONENT, st.integers(0, 5)),
    st.tuples(st.just("inventory"), COMPONENT),
    st.tuples(st.just("prime"), COMPONENT, st.integers(0, 2)),
    st.tuples(st.just("activate"), COMPONENT, st.integers(0, 2), st.sampled_from([0, 1])),
    st.tuples(st.just("activate"), st.just("RMM"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("cancel"), COMPONENT, st.integers(0, 2)),
    st.tuples(st.just("cancel"), st.just("RMM"), st.integers(0, 2)),
    st.tuples(st.sampled_from(["collect", "reset", "fail-next", "hold-commits", "commit"])),
    st.tuples(st.sampled_from(["off", "on"]), st.integers(0, 2)),
)


def variants(image, stranger, component):
    return [
        image(component),
        image(component, "1.1.0"),
        image(component, "1.2.0", security_version=2),
        image(component, "1.3.0", security_version=3, payload=PANICS_AT_ACTIVATION),
        image(component, "9.0.0", security_version=9, key=stranger),
        image(component, "2.0.0", data_format=2),
    ]


def free_pes(rig):
    now = rig.state.now
    return [pe for pe, one in enumerate(now.pes) if one.on and pe not in rig.monitor.held and pe not in now.released]


def apply(rig, step, images):
    """Do one step as far as some PE is free to do it."""
    what, *rest = step
    if what == "update":
        for component in images if free_pes(rig) else ():
            rig.lfa(Lfa.CANCEL, rig.ids[component], pe=free_pes(rig)[0])
    if what in ("round", "update"):
        rig.monitor.collect()
    free = free_pes(rig)
    if what == "stage":
        rig.monitor.stage(rest[0], images[rest[0]][rest[1]])
    elif free and what == "offer and prime":
        rig.monitor.stage(rest[0], images[rest[0]][rest[1]])
        for fid in (Lfa.GET_INVENTORY, Lfa.PRIME):
            rig.monitor.smc(fid, [rig.ids[rest[0]]], free[0])
    elif what == "reset":
        rig.reset()
    elif what == "collect":
        rig.monitor.collect()
    elif what == "fail-next":
        rig.state.fail_next_activation = True
    elif what == "hold-commits":
        rig.state.hold_commits = not rig.state.hold_commits
    elif what == "commit":
        rig.monitor.commit()
    elif what in ("round", "update") and len(free) == sum(pe.on for pe in rig.state.now.pes):
        if what == "update":
            apply(rig, ("offer and prime", *rest), images)
        again = True
        while again:
            again = any(x1 for _, x1 in rig.activate(rest[0]).values())
    elif free and what == "inventory":
        rig.monitor.smc(Lfa.GET_INVENTORY, [rig.ids[rest[0]]], free[0])
    elif free and what in ("prime", "cancel"):
        pe = free[rest[1] % len(free)]
        fid = Lfa.PRIME if what == "prime" else Lfa.CANCEL
        rig.lfa(fid, rig.ids[rest[0]], pe=pe)
    elif free and what == "activate":
        rig.arrive(rest[0], free[rest[1] % len(free)], rest[2])
    elif what == "off" and rest[0] in free:
        rig.monitor.smc(Psci.CPU_OFF, [], rest[0])
    elif what == "on" and free:
        rig.monitor.smc(Psci.CPU_ON, [mpidr_of(rest[0]), 0, 0], free[0])


def replayed(log):
    registers = {}
    for event in log:
        registers[event.slot] = hashlib.sha256(registers.get(event.slot, bytes(32)) + event.digest).digest()
    return registers


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=12, max_size=30))
def test_invariants_hold_after_every_step(make_rig, image, stranger, spec, steps):
    rig = make_rig(pes=3)
    images = {component: variants(image, stranger, component) for component in ("BL2", "BL31", "SP1", "RMM")}
    for step in steps:
        before = msgspec.msgpack.decode(msgspec.msgpack.encode(rig.state), type=MonitorState)
        apply(rig, step, images)
        old, new = before.now, rig.state.now
        launch, record = new.launch, new.activation

        # LFA-1: one record; it names a component exactly when it is not idle
        assert (record.component == "") == (record.state is LfaState.IDLE)
        # EL3-3: registers replay from the log; EL3-4, EL3-8: one accepted signer per slot
        assert {slot: one.register for slot, one in launch.slots.items()} == replayed(launch.log)
        assert {event.signer for event in launch.log} <= set(spec.anchors)
        assert len({(event.slot, event.signer) for event in launch.log}) == len(launch.slots)
        # EL3-10: nothing runs below its stored counter
        for name, running in launch.running.items():
            assert running.security_version >= rig.state.nonvolatile.counters[name]
            assert rig.state.nonvolatile.counters[name] >= before.nonvolatile.counters[name]
        if step[0] == "reset":
            continue
        # LFA-6, LFA-8: within a boot sequence and counters only grow, and by one success at a time
        grown = launch.rmm_sequence - old.launch.rmm_sequence
        activated = [event.component for event in launch.log[len(old.launch.log) :]]
        assert grown == activated.count("RMM")
        assert len(activated) <= 1
        assert launch.log[: len(old.launch.log)] == old.launch.log
        for name, running in launch.running.items():
            assert running.security_version >= old.launch.running[name].security_version
        # LFA-7: with the log the evidence changes, without it nothing does
        assert (launch.platform_token == old.launch.platform_token) == (not activated)
        assert (launch == old.launch) == (not activated)
        # LFA-2: what became active is what was bound
        if activated and step[0] != "update":
            assert old.activation.bound_digest == launch.running[activated[0]].image_digest
        # LFA-12: pending is only ever cleared by success or by reading the inventory
        if step[0] not in ("inventory", "offer and prime", "update"):
            cleared = [name for name in old.pending if old.pending[name] and not new.pending[name]]
            assert cleared == activated
        # a snapshot is the state
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(rig.state), type=MonitorState) == rig.state


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), fault=st.sampled_from(["none", "panic", "handover"]))
def test_every_pe_of_a_round_gets_the_same_status_whoever_leads(make_rig, image, order, fault):
    payload = PANICS_AT_ACTIVATION if fault == "panic" else None
    rig = make_rig().primed("RMM", image("RMM", "1.1.0", payload=payload))
    rig.rmm.handover_status = -1 if fault == "handover" else 0
    answers = [rig.arrive("RMM", pe) for pe in order]
    assert answers[:-1] == [()] * 3
    assert set(rig.monitor.collect().values()) == {answers[-1]}
