"""Realm measurements: every step of every recorded RIM, REM chains, and the known answers of the RMM."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from attestation import rim
from attestation.rim import (
    DataCreate,
    HashAlgorithm,
    PageDigests,
    RealmCreate,
    RecCreate,
    RemRule,
    RimEvent,
    RimLog,
    RimRule,
    RipasInit,
)

ALGORITHMS = {"sha256": HashAlgorithm.SHA_256, "sha512": HashAlgorithm.SHA_512}


def _params(vector: dict[str, Any]) -> RealmCreate:
    given = vector["realm_params"]
    vector_length = given.get("sve_vl", 0)
    has_pmu = given.get("pmu", False)
    flags = int(given.get("lpa2", False)) | (2 if vector_length else 0) | (4 if has_pmu else 0)
    return RealmCreate(
        flags=flags,
        s2sz=given["ipa_bits"],
        sve_vl=vector_length // 128 - 1 if vector_length else 0,
        num_bps=given["num_bps"] - 1,
        num_wps=given["num_wps"] - 1,
        pmu_num_ctrs=given["pmu_num_ctrs"] if has_pmu else 0,
        hash_algo=ALGORITHMS[vector["hash"]],
    )


def _content(folder: Path, vector: dict[str, Any], step: dict[str, Any]) -> tuple[bytes, int]:
    """The bytes of a data step and the address at which they start."""
    base, name = int(step["base"], 16), step["content"]
    data = (folder / (vector["dtb"] if name == "dtb" else name)).read_bytes()
    if vector["vmm"] == "kvmtool" and name == "initrd.bin":
        return data, (int(step["last"], 16) + 1 - len(data)) & ~3
    return data, base


def _events(folder: Path, vector: dict[str, Any], step: dict[str, Any], pages: PageDigests) -> Iterator[RimEvent]:
    match step["op"]:
        case "realm_create":
            yield _params(vector)
        case "init_ripas":
            blocks = list(
                rim.ripas_blocks(int(step["base"], 16), int(step["top"], 16), vector["realm_params"]["ipa_bits"])
            )
            assert len(blocks) == step["calls"]
            yield from blocks
        case "data_create":
            yield from pages.data_events(*_content(folder, vector, step))
        case "data_create_unmeasured":
            for ipa in range(int(step["base"], 16), int(step["last"], 16), rim.PAGE):
                yield DataCreate(ipa, 0)
        case "rec_create":
            yield RecCreate(step["flags"], int(step["pc"], 16), (int(step["x0"], 16), 0, 0, 0, 0, 0, 0, 0))


def test_every_step_of_every_recorded_rim_is_reproduced(vectors: Path) -> None:
    folder = vectors / "attestation/realm"
    recorded = json.loads((folder / "rim-vectors.json").read_text())["vectors"]
    count = 0
    for vector in recorded:
        algorithm = ALGORITHMS[vector["hash"]]
        pages = PageDigests(algorithm)
        log = RimLog()
        for step in vector["steps"]:
            for event in _events(folder, vector, step, pages):
                log.add(event)
            assert log.rim().hex() == step["rim"], (vector["id"], step)
            count += 1
        assert rim.compute(log.events, algorithm).hex() == vector["rim"]
        again = msgspec.msgpack.decode(msgspec.msgpack.encode(log), type=RimLog)
        assert again.rim().hex() == vector["rim"]
    print(f"{count} steps of {len(recorded)} RIM vectors")


def test_recorded_primitives_are_reproduced(vectors: Path) -> None:
    primitives = json.loads((vectors / "attestation/realm/primitives.json").read_text())
    for case in primitives["create"]:
        params = RealmCreate(
            flags=case["flags"], s2sz=case["s2sz"], sve_vl=case["sve_vl_field"], num_bps=case["num_bps_field"],
            num_wps=case["num_wps_field"], pmu_num_ctrs=case["pmu_num_ctrs_field"],
            hash_algo=ALGORITHMS[case["hash"]],
        )  # fmt: skip
        assert rim.create(params).hex() == case["rim"]
    for chain in primitives["rem"]:
        algorithm = ALGORITHMS[chain["hash"]]
        register = rim.zero_rem(algorithm)
        assert register.hex() == chain["start"]
        for step in chain["steps"]:
            register = rim.extend_rem(register, bytes.fromhex(step["data"]), algorithm)
            assert register.hex() == step["rem"]
    print(f"{len(primitives['create'])} creations, {len(primitives['rem'])} REM chains")


def _sequence(params: dict[str, int], algorithm: HashAlgorithm) -> list[RimEvent]:
    page = bytes((7 * index + 3) % 256 for index in range(rim.PAGE))
    return [
        RealmCreate(**params, hash_algo=algorithm),
        RipasInit(0x80000000, 0x80200000),
        DataCreate(0x80200000, 1, PageDigests(algorithm).page(page)),
        DataCreate(0x80201000, 0),
        RecCreate(1, 0x80200000, (0x88000000, 1, 2, 3, 4, 5, 6, 7)),
    ]


def test_the_known_sequence_has_its_known_rims_under_sha_256(own_vectors: Path) -> None:
    known = json.loads((own_vectors / "measurements.json").read_text())["sequence"]
    events = _sequence(known["create"], HashAlgorithm.SHA_256)
    assert [step.hex() for step in rim.steps(events)] == known["sha256"]


def test_the_known_sequence_has_its_known_rims_under_sha_512(own_vectors: Path) -> None:
    known = json.loads((own_vectors / "measurements.json").read_text())["sequence"]
    assert [step.hex() for step in rim.steps(_sequence(known["create"], HashAlgorithm.SHA_512))] == known["sha512"]


def test_known_rem_extensions_hold_under_both_rules(own_vectors: Path) -> None:
    for case in json.loads((own_vectors / "measurements.json").read_text())["rem"]:
        algorithm = ALGORITHMS[case["hash"]]
        value = bytes(range(case["size"]))
        extended = rim.extend_rem(rim.zero_rem(algorithm), value, algorithm, RemRule(case["rule"]))
        assert extended.hex() == case["rem"]
    with pytest.raises(ValueError, match="at most 64"):
        rim.extend_rem(bytes(32), bytes(65), HashAlgorithm.SHA_256)


def test_newer_rules_leave_out_ripas_and_the_parameters() -> None:
    events = _sequence({"s2sz": 41, "num_bps": 5, "num_wps": 3}, HashAlgorithm.SHA_256)
    without_ripas = [event for event in events if not isinstance(event, RipasInit)]
    assert rim.compute(events, rule=RimRule.RMM_2_0) == rim.compute(without_ripas)
    first = next(iter(rim.steps(events, rule=RimRule.RMM_2_0_TEXT)))
    assert first == bytes(32)
    assert len({rim.compute(events, rule=rule) for rule in RimRule}) == 3


def test_only_a_runnable_rec_is_measured() -> None:
    events = _sequence({"s2sz": 41, "num_bps": 5, "num_wps": 3}, HashAlgorithm.SHA_256)
    stopped = RecCreate(0, 0x1000)
    assert rim.compute([*events, stopped]) == rim.compute(events)
    assert rim.compute([*events, RecCreate(1, 0x1000)]) != rim.compute(events)


@pytest.mark.parametrize(
    ("base", "top", "ipa_bits", "blocks"),
    [
        (0x80000000, 0xA0000000, 33, 256),
        (0x40000000, 0x80000000, 41, 1),
        (0x40000000, 0x60000000, 48, 256),
        (0x40000000, 0x40201000, 41, 2),
        (0x401FF000, 0x40401000, 41, 3),
        (0, 512 << 30, 48, 1),
        (0, 512 << 30, 43, 512),
    ],
)
def test_ripas_is_set_in_the_largest_blocks_the_tables_allow(base: int, top: int, ipa_bits: int, blocks: int) -> None:
    found = list(rim.ripas_blocks(base, top, ipa_bits))
    assert len(found) == blocks
    assert found[0].base == base
    assert found[-1].top == top
    assert all(one.top == other.base for one, other in pairwise(found))


def test_events_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="creation"):
        rim.compute([RipasInit(0, 4096)])
    with pytest.raises(ValueError, match="no events"):
        rim.compute([])
    with pytest.raises(ValueError, match="hash algorithm"):
        rim.compute([RealmCreate(s2sz=33, num_bps=1, num_wps=1)], HashAlgorithm.SHA_512)


def test_page_digests_are_those_of_hashlib_and_zero_filled() -> None:
    pages = PageDigests(HashAlgorithm.SHA_256, capacity=2)
    assert pages.page(b"x") == hashlib.sha256(b"x" + bytes(4095)).digest()
    padded = bytes(0x10) + b"y" * 4096
    expected = (hashlib.sha256(padded[:4096]).digest(), hashlib.sha256(padded[4096:].ljust(4096, b"\0")).digest())
    assert pages.image(b"y" * 4096, 0x10) == expected
    assert [event.ipa for event in pages.data_events(b"y" * 4096, 0x5010)] == [0x5000, 0x6000]
