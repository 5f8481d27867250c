"""The strict decoder agrees with cbor2 on what is good and refuses the rest by offset."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation import cbor
from attestation.errors import Malformed

KEYS = st.integers(-(2**63), 2**63) | st.text(max_size=8) | st.binary(max_size=8)
LEAVES = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=40) | st.binary(max_size=300) | st.booleans() | st.none()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_what_cbor2_encodes_reads_back_as_cbor2_reads_it(value: Any) -> None:
    data = cbor2.dumps(value)
    assert cbor.decode(data, cbor.Limits(1 << 20, 64)) == cbor2.loads(data) == value


REFUSED = [
    ("", 0, "ends where"),
    ("18", 0, "inside the head"),
    ("1c", 0, "reserved"),
    ("9f01ff", 0, "indefinite"),
    ("bf0102ff", 0, "indefinite"),
    ("5f4101ff", 0, "indefinite"),
    ("ff", 0, "break"),
    ("4201", 0, "past the end"),
    ("9b00000000ffffffff", 0, "past the end"),
    ("bb7fffffffffffffff", 0, "past the end"),
    ("0000", 1, "after the end"),
    ("a201020103", 3, "duplicate"),
    ("a20102180103", 3, "duplicate"),
    ("a2616101616102", 4, "duplicate"),
    ("a18001", 1, "map key"),
    ("a1f501", 1, "map key"),
    ("61ff", 1, "UTF-8"),
    ("f818", 0, "two-byte"),
    ("81" * 20 + "00", 16, "deeper"),
    ("c1" * 20 + "00", 16, "deeper"),
    ("82820101", 4, "ends where"),
]


@pytest.mark.parametrize(("data", "offset", "text"), REFUSED)
def test_bad_cbor_is_refused_with_its_offset(data: str, offset: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as refused:
        cbor.decode(bytes.fromhex(data))
    assert refused.value.offset == offset


def test_oversized_input_is_refused_before_it_is_read() -> None:
    with pytest.raises(Malformed, match="limit"):
        cbor.decode(b"\x00" * 101, cbor.Limits(max_bytes=100))


def test_long_form_integers_and_lengths_are_tolerated() -> None:
    assert cbor.decode(bytes.fromhex("1b0000000000000001")) == 1
    assert cbor.decode(bytes.fromhex("5900026162")) == b"ab"
    assert cbor.decode(bytes.fromhex("b90001190001190002")) == {1: 2}


def test_tags_floats_and_simple_values_are_kept_apart() -> None:
    assert cbor.decode(bytes.fromhex("d2820102")) == cbor.Tag(18, [1, 2])
    assert cbor.decode(bytes.fromhex("f93c00")) == 1.0
    assert cbor.decode(bytes.fromhex("fb3ff0000000000000")) == 1.0
    assert cbor.decode(bytes.fromhex("f8ff")) == cbor.Simple(255)
    assert cbor.decode(b"\xf7") is cbor.UNDEFINED


def test_locate_finds_values_by_path() -> None:
    data = cbor2.dumps(cbor2.CBORTag(399, {1: b"abc", 2: [7, {5: "x"}]}))
    assert data[cbor.locate(data, (1,))] == 0x43
    assert data[cbor.locate(data, (1,), content=True) :][:3] == b"abc"
    assert data[cbor.locate(data, (2, 1, 5)) :] == b"\x61x"
    assert cbor.locate(data, (3,)) is None
    assert cbor.locate(data, (2, 9)) is None
