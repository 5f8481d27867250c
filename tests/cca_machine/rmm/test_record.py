"""A recorded door replays against a fresh RMM without a disagreement."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_door import DRAM, PAGE, Door

from cca_machine.abi.guest import Access, Poke, SetRegister, SetSystemRegister, Smc, SystemRegister, Yield
from cca_machine.abi.guest import ExceptionKind as Kind
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import RealmParams, RecEnter, RecParams, Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.hardware.gpt import Gpi, GranuleProtectionFault, World
from cca_machine.rmm.quirks import TF_RMM
from cca_machine.rmm.record import RecordedDoor
from cca_machine.rmm.replay import replay
from cca_machine.rmm.replay_ports import FixedLengthTokens

HALF = 1 << 39


class Writing:
    """A guest that also stores through its view, between events."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.stores: list[tuple[int, bytes]] = []

    def next_event(self, rec):
        for ipa, data in self.stores:
            rec.write(ipa, data)
        self.stores = []
        return self.inner.next_event(rec)


def live_a_little(door: Door) -> list[dict]:
    """A Realm from delegation to destruction through a recorded door, as JSON lines would carry it."""
    records: list[dict] = []
    guest = Writing(door.guest)
    door.rmm.guest = guest
    recorded = RecordedDoor(door.rmm, records.append)
    plain, door.rmm = door.rmm, recorded
    recorded.state, recorded.features = plain.state, plain.features
    base = door.granules(64, 16 * PAGE)
    assert recorded.smc_run(Rmi.GRANULE_DELEGATE, (base,), (PAGE,), 60)[0] == 60
    rd, page = base + 2 * PAGE, door.granules()
    door.write(
        page, RealmParams(s2sz=40, rtt_level_start=1, rtt_num_start=2, num_bps=1, num_wps=1, rtt_base=base).encode()
    )
    door.ok(Rmi.REALM_CREATE, rd, page)
    door.ok(Rmi.RTT_CREATE, rd, base + 3 * PAGE, 0, 2)
    door.ok(Rmi.RTT_CREATE, rd, base + 4 * PAGE, 0, 3)
    for index in range(3):
        door.write(page, bytes([index + 1]) * PAGE)
        door.ok(Rmi.DATA_CREATE, rd, base + (10 + index) * PAGE, index * PAGE, page, 1)
    assert recorded.smc_run(Rmi.DATA_CREATE_UNKNOWN, (rd, base + 13 * PAGE, 3 * PAGE), (0, PAGE, PAGE), 4)[0] == 4
    rec = base + 20 * PAGE
    door.write(page, RecParams(flags=1, num_aux=16, aux=tuple(base + (21 + at) * PAGE for at in range(16))).encode())
    door.ok(Rmi.REC_CREATE, rd, rec, page)
    door.ok(Rmi.REALM_ACTIVATE, rd)
    run = door.granules()
    guest.stores = [(0x100, b"by the guest itself")]
    for script in (
        [
            SetRegister(5, 7),
            Access(ipa=8, register=1),
            Access(ipa=16, write=True, register=5),
            Smc((Rsi.VERSION, 0x1_0000)),
        ],
        [Poke(0x200, b"\1\0\0\0\0\0\0\0" + b"argument"), Smc((Rsi.HOST_CALL, 0x200))],
        [Smc((Rsi.ATTESTATION_TOKEN_INIT, 1, 2)), Smc((Rsi.ATTESTATION_TOKEN_CONTINUE, PAGE, 0, 4096))],
        [Smc((Rsi.MEASUREMENT_EXTEND, 2, 8, 1234)), Access(ipa=HALF + 8, write=True, register=3)],
        [SetSystemRegister(SystemRegister.CNTV_CTL, 5)],
        [Smc((Psci.CPU_SUSPEND,)), Yield()],
        [Smc((Rsi.IPA_STATE_SET, 0, 2 * PAGE, 0, 0))],
        [Yield(Kind.IRQ)],
    ):
        door.write(run, RecEnter(flags=1 if script[0] == SetSystemRegister(SystemRegister.CNTV_CTL, 5) else 0).encode())
        door.guest.events = script
        door.ok(Rmi.REC_ENTER, rec, run)
    door.hardware.gpt.set(page, Gpi.SECURE)
    door.call(Rmi.GRANULE_DELEGATE, page)
    door.hardware.gpt.set(page, Gpi.NON_SECURE)
    door.ok(Rmi.GRANULE_DELEGATE, page)
    door.call(0xC400_0160, 1)
    assert recorded.smc_run(Rmi.DATA_DESTROY, (rd, 0), (0, PAGE), 100)[0] == 7
    recorded.close()
    return json.loads(json.dumps(records))


@pytest.mark.parametrize("quirks", [None, TF_RMM])
def test_a_recorded_life_replays_without_a_disagreement(quirks) -> None:
    door = Door() if quirks is None else Door(quirks)
    report = replay(live_a_little(door))
    assert {name: command.first for name, command in report.commands.items() if command.first} == {}
    assert report.agrees
    assert report.commands["REC_ENTER"].calls == 8
    assert report.commands["END"].calls == 1


def test_an_image_with_longer_tokens_replays_too() -> None:
    records: list[dict] = []
    door = Door()
    recorded = RecordedDoor(door.rmm, records.append)
    plain, door.rmm = door.rmm, recorded
    recorded.state = plain.state
    _, (rec,) = door.running_realm()
    plain.core.tokens = FixedLengthTokens((3000, 3100))
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT)
    assert door.rsi(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, PAGE, 0, 4096)[:2] == [0, 3000]
    recorded.close()
    assert replay(json.loads(json.dumps(records))).agrees


def test_a_changed_answer_in_a_recording_is_found() -> None:
    records = live_a_little(Door())
    enter = next(record for record in records if record.get("name") == "REC_ENTER")
    enter["realm"][-1]["x"][1] = "0x2"
    report = replay(records)
    assert not report.agrees
    first = report.commands["REC_ENTER"].first
    assert first is not None
    assert first["i"] == enter["i"]


def test_recording_must_start_at_boot() -> None:
    door = Door()
    door.delegated()
    with pytest.raises(ValueError, match="nothing has happened"):
        RecordedDoor(door.rmm, lambda record: None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(Rmi)), st.lists(st.integers(0, 40), max_size=5), st.binary(max_size=16)),
        max_size=25,
    )
)
def test_any_sequence_of_calls_replays(calls: list[tuple[Rmi, list[int], bytes]]) -> None:
    records: list[dict] = []
    door = Door()
    recorded = RecordedDoor(door.rmm, records.append)
    recorded.smc_run(Rmi.GRANULE_DELEGATE, (DRAM.base,), (PAGE,), 20)
    for fid, picks, content in calls:
        args = [DRAM.base + pick * PAGE if pick > 3 else pick for pick in picks]
        with contextlib.suppress(GranuleProtectionFault):
            door.hardware.memory.write(World.NS, DRAM.base + (picks[-1] if picks else 0) * PAGE, content)
        recorded.smc(fid, args)
    recorded.close()
    report = replay(json.loads(json.dumps(records)))
    assert {name: command.first for name, command in report.commands.items() if command.first} == {}
