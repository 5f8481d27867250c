"""Stores: the JSON forms of the ccatoken tools, both ways, and refusal of what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attestation.errors import RefusalReason, Refused
from attestation.keys import derive_key
from attestation.stores import (
    ReferenceValues,
    TrustAnchor,
    TrustAnchors,
    read_anchor_store,
    read_reference_store,
    write_anchor_store,
    write_reference_store,
)


def test_every_recorded_store_reads_and_round_trips(vectors: Path) -> None:
    folder = vectors / "attestation"
    count = 0
    for path in [*sorted((folder / "stores").glob("*-ta*.json")), folder / "trustee/tastore.json"]:
        anchors = read_anchor_store(path.read_bytes())
        again = read_anchor_store(write_anchor_store(anchors))
        assert list(again) == [anchor for anchor in anchors if anchor.public_key is not None]
        assert len(anchors) == len(json.loads(path.read_text()))
        count += 1
    for path in [folder / "stores/rust-rv.json", folder / "trustee/rvstore.json"]:
        references = read_reference_store(path.read_bytes())
        assert read_reference_store(write_reference_store(references)).records() == references.records()
        count += 1
    print(f"{count} stores read")


def test_a_point_off_its_curve_is_a_problem_of_its_anchor_only(vectors: Path) -> None:
    bad = json.loads((vectors / "attestation/stores/rust-ta-02-bad.json").read_text())
    good = json.loads((vectors / "attestation/stores/rust-ta.json").read_text())
    anchors = read_anchor_store(json.dumps(bad + good))
    usable = bytes.fromhex(good[0]["instance-id"]), bytes.fromhex(good[0]["implementation-id"])
    assert anchors.lookup(*usable).public_key is not None
    with pytest.raises(Refused, match="no usable key") as refused:
        anchors.lookup(bytes.fromhex(bad[0]["instance-id"]), bytes.fromhex(bad[0]["implementation-id"]))
    assert refused.value.reason is RefusalReason.UNKNOWN_KEY


def test_the_same_anchor_twice_is_one_and_a_contradiction_is_refused() -> None:
    anchor = TrustAnchor(b"\x01" + bytes(32), bytes(32), derive_key(b"a", "CPAK").public)
    anchors = TrustAnchors([anchor, anchor])
    assert len(anchors) == 1
    with pytest.raises(Refused, match="two different"):
        anchors.add(TrustAnchor(anchor.instance_id, bytes(32), derive_key(b"b", "CPAK").public))
    anchors.remove(anchor.instance_id)
    assert len(anchors) == 0


BAD_STORES = [
    "", "{", "7", "{}", "[7]", "[{}]", '[{"instance-id": 7}]', '[{"instance-id": "zz"}]',
    '[{"instance-id": "01"}]', '{"a": 1, "a": 2}', "[NaN]", "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_STORES)
def test_what_is_no_anchor_store_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_anchor_store(text)


@pytest.mark.parametrize(
    "text",
    [
        "[]", '{"platform": 7}', '{"platform": [{}]}', '{"realm": [{"initial-measurement": "00"}]}',
        '{"realm": [{"initial-measurement": "%s", "extensible-measurements": []}]}' % ("00" * 32),
    ],
)  # fmt: skip
def test_what_is_no_reference_store_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_reference_store(text)


def test_references_are_rebuilt_from_their_records(references: ReferenceValues) -> None:
    again = ReferenceValues(*references.records())
    assert again.records() == references.records()
    assert again.realm(bytes([0x44]) * 32)
    assert again.component(bytes([0xA1]) * 32, bytes([0x12]) * 32)
