"""Diagnostic notation: the examples of RFC 8949 appendix A, and a token opened down to its claims."""

from __future__ import annotations

import cbor2
import pytest

from attestation.diagnostic import diagnose
from attestation.errors import Malformed


@pytest.mark.parametrize(
    ("hexadecimal", "text"),
    [
        ("00", "0"), ("1864", "100"), ("1bffffffffffffffff", "18446744073709551615"), ("3863", "-100"),
        ("f93c00", "1.0"), ("f97c00", "Infinity"), ("f97e00", "NaN"), ("f9fc00", "-Infinity"),
        ("fbc010666666666666", "-4.1"),
        ("f4", "false"), ("f5", "true"), ("f6", "null"), ("f7", "undefined"), ("f0", "simple(16)"),
        ("f8ff", "simple(255)"),
        ("c11a514b67b0", "1(1363896240)"), ("40", "h''"), ("4401020304", "h'01020304'"), ("60", '""'),
        ("62225c", '"\\"\\\\"'), ("62c3bc", '"ü"'), ("80", "[]"), ("a0", "{}"), ("83010203", "[\n  1,\n  2,\n  3\n]"),
    ],
)  # fmt: skip
def test_the_examples_of_the_text_are_written_as_there(hexadecimal: str, text: str) -> None:
    assert diagnose(bytes.fromhex(hexadecimal)) == text


def test_a_byte_string_that_holds_a_map_is_opened() -> None:
    assert diagnose(cbor2.dumps(cbor2.dumps({1: "abc"}))) == '<<{\n  1: "abc"\n}>>'


def test_a_token_is_opened_down_to_its_claims(token: bytes) -> None:
    text = diagnose(token)
    assert text.startswith("399({\n  44234: <<18([\n")
    assert '265: "tag:arm.com,2023:cca_platform#1.0.0"' in text
    assert "44239: [" in text


def test_what_is_no_cbor_is_refused() -> None:
    with pytest.raises(Malformed):
        diagnose(b"\xff")
