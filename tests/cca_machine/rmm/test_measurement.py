"""RIM and REM known answers, confirmed byte for byte against TF-RMM's own measurement source by their author."""

from __future__ import annotations

import hashlib
import struct

import pytest
from spec_door import PAGE, Door

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi import RealmParams, Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.rmm.features import RmmFeatures
from cca_machine.rmm.measurement import extend_rem, initial_rim
from cca_machine.rmm.quirks import TEXT

INIT_ONLY = {
    0: "6739dfb22b75ee1268d08dfa8369f501bc0b066243553f069f560d1fa1172973",
    1: "799e434048fb57eb9d4f0e2a2b98158720377252deab2bdfcd69b5a8f82237f4"
    "34bd6bb1c75bf160a2d49382f733b3439a3ff769e4ea5dd9a6f72239d44bbbab",
}
SEQUENCE = {
    0: {
        "a": "cc5a6db2a4ed3e7919164b7444c36987c3c619cc952e80e879ed5166c726cc1b",
        "b": "3558d6c396d0bf3df6157536fb0bf9f47a06b91a50ca9e97508a3a2b23237541",
        "c": "071f804c97e1aacdcdcc107bec51e9e71132b8089a6ed49757ea6a0f050f0745",
        "d": "36b63ba42b9f4d3aab4124c46815bbb57de8e36b7a64011600fc1b857aaaf439",
        "e": "e5fd69021c0fe97a8c197e99180de9246c24d64ae3567cc1d9f1a2342f9b456e",
    },
    1: {
        "a": "2f93f911292d9eb871f5baacb0249bb7fd78b014e80a632a8ce4acc2692ce8a5"
        "ff5a140ce4a57200fa45f8d989c09045187e6d9e3303ab566610ef72148359ef",
        "b": "d4696828631a68037f1a69e6eb8bf1342873726ec734ac93a501b3dbbed1e450"
        "019ff84c2b4e5e4b579fc124c7192b06d870d6cd996673417abfdddd147eb3d5",
        "c": "f89806c5472a9fdda888f81ccb77e63c820be605d220c4319d87097a7d4a0c05"
        "a08b0559b0f2961ff13dcff11690c53c7d06b59cc349e9d03b6215c09394edbc",
        "d": "ec2bd5d6d7fb7ab2083e4d23ab70168aaf92e9a2bb228ad13f52eedaa9242223"
        "a801c502c07bda403f0a3594812a5ff76641d18db6a70f860f33e393b532cf08",
        "e": "8768bb71ac78c519ff6ba6abaddcac5a4ff333839b869489d531afc87e6ee439"
        "a04b28fe7354e26eeacbc6f6e53ee8a34e2510f689c47579498e7ccc21fc84da",
    },
}
REM_CASES = [
    (0, 32, False, "bb2275c49f28ad52cae6d55e34a974a58c7a3ba26f976e8ecbbe7a536918dc73"),
    (0, 32, True, "ddac6f7ab79e3d15d934a5db4dae62fbac04f8e13c6f0a74363cef2e071a1fb4"),
    (0, 64, False, "dc7a48014fc1fac8b52af39bc7ea5cafafabf8bb81fb8f880fdf3b4a4566795c"),
    (0, 64, True, "c5c03655a9aea55b2e35f32f3081d610592dd22fc1f758463d057337163b80ec"),
    (1, 64, False, "3317cc3c3c68eadf60825ca04a9a4d238c73cd2ad755d2ac479352ee6e56127a"
     "5fc8c65dcc5073246ac82b1be0797c4bdcc1a6c06195558d1955739fa607db03"),
]  # fmt: skip


def padded(digest: str) -> bytes:
    return bytes.fromhex(digest).ljust(64, b"\0")


@pytest.mark.parametrize("hash_algo", [0, 1])
def test_the_initial_rim_is_the_hash_of_the_measured_parameters_only(hash_algo: int) -> None:
    fields = {"s2sz": 48, "num_bps": 1, "num_wps": 1, "hash_algo": hash_algo}
    assert initial_rim(RealmParams(**fields)) == padded(INIT_ONLY[hash_algo])
    unmeasured = {"vmid": 9, "rpv": b"r" * 64, "rtt_base": 0x1000, "rtt_level_start": 1, "rtt_num_start": 2}
    assert initial_rim(RealmParams(**fields, **unmeasured)) == padded(INIT_ONLY[hash_algo])


@pytest.mark.parametrize("hash_algo", [0, 1])
def test_the_rim_after_each_command_of_a_build_is_the_published_one(hash_algo: int) -> None:
    door = Door(features=RmmFeatures(s2sz=48, lpa2=True, sve_vl=3, num_bps=5, num_wps=3, pmu_num_ctrs=6))
    rims = SEQUENCE[hash_algo]
    params = {"flags": 7, "s2sz": 41, "sve_vl": 3, "num_bps": 5, "num_wps": 3, "pmu_num_ctrs": 6}
    rd = door.realm(**params, rtt_level_start=1, rtt_num_start=4, hash_algo=hash_algo, rpv=b"p" * 64)

    def rim() -> bytes:
        return door.rmm.state.realms[rd].measurements[0]

    assert rim() == padded(rims["a"])
    door.tables(rd, 0x8000_0000, to=2)
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, 0x8000_0000, 0x8020_0000)[1] == 0x8020_0000
    assert rim() == padded(rims["b"])
    door.ok(Rmi.RTT_CREATE, rd, door.delegated(), 0x8020_0000, 3)
    door.data(rd, 0x8020_0000, bytes((7 * index + 3) % 256 for index in range(PAGE)), flags=1)
    assert rim() == padded(rims["c"])
    door.data(rd, 0x8020_1000, b"not measured", flags=0)
    assert rim() == padded(rims["d"])
    door.rec(rd, 0, pc=0x8020_0000, gprs=(0x8800_0000, 1, 2, 3, 4, 5, 6, 7))
    assert rim() == padded(rims["e"])


@pytest.mark.parametrize(("hash_algo", "size", "spec", "expected"), REM_CASES)
def test_rem_extension_has_two_published_forms(hash_algo: int, size: int, spec: bool, expected: str) -> None:
    assert extend_rem(hash_algo, bytes(64), bytes(range(64)), size, padded=spec) == padded(expected)


@pytest.mark.parametrize("size", [0, 1, 31, 64])
def test_a_realm_extends_its_own_rem_and_nothing_else(size: int) -> None:
    door = Door()
    rd, (rec,) = door.running_realm()
    before = list(door.rmm.state.realms[rd].measurements)
    value = bytes(range(1, 65))
    for _ in range(2):
        x = door.rsi(rec, Rsi.MEASUREMENT_EXTEND, 3, size, *struct.unpack("<8Q", value))
        assert x[0] == 0
    once = hashlib.sha256(bytes(32) + value[:size]).digest()
    twice = hashlib.sha256(once + value[:size]).digest()
    after = door.rmm.state.realms[rd].measurements
    assert after[3] == twice + bytes(32)
    assert [register for index, register in enumerate(after) if index != 3] == before[:3] + before[4:]


def test_the_text_quirk_set_extends_in_the_padded_form() -> None:
    door = Door(TEXT)
    rd, (rec,) = door.running_realm()
    value = bytes(range(64))
    door.enter(rec, [Smc((Rsi.MEASUREMENT_EXTEND, 1, 32, *struct.unpack("<8Q", value)))])
    assert door.rmm.state.realms[rd].measurements[1] == padded(REM_CASES[1][3])


def test_the_rim_does_not_depend_on_addresses_or_on_what_contributes_nothing() -> None:
    def build(detour: bool) -> bytes:
        door = Door()
        if detour:
            door.delegated(3)
        rd = door.realm(vmid=5 if detour else 6)
        tables = door.tables(rd, 0)
        if detour:
            door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, door.delegated(), 0x9000)
            door.ok(Rmi.DATA_DESTROY, rd, 0x9000)
            door.rec(rd, 0, flags=0)
            door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, 1 << 39, 1, 1 << 30)
        door.data(rd, 0x1000, b"page")
        assert tables
        return door.rmm.state.realms[rd].measurements[0]

    assert build(True) == build(False)


def test_swapping_two_contributions_changes_the_rim() -> None:
    def build(first: int, second: int) -> bytes:
        door = Door()
        rd = door.realm()
        door.tables(rd, 0)
        door.data(rd, first, b"same")
        door.data(rd, second, b"same")
        return door.rmm.state.realms[rd].measurements[0]

    assert build(0x1000, 0x2000) != build(0x2000, 0x1000)
