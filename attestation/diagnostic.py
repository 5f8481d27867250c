"""CBOR diagnostic notation (RFC 8949 section 8), for people; byte strings that hold CBOR are shown opened: <<...>>."""

from __future__ import annotations

import json
import math
from typing import Any

from attestation import cbor
from attestation.errors import Malformed

_LITERALS = {False: "false", True: "true"}
MIN_EMBEDDED = 4
"""Shortest byte string (bytes) that is opened: almost any shorter one happens to be CBOR."""


def diagnose(data: bytes, limits: cbor.Limits = cbor.TOKEN_LIMITS) -> str:
    """Write one data item in diagnostic notation, a member a line. Raises Malformed."""
    return _text(cbor.decode(data, limits), 0, limits)


def _text(value: Any, depth: int, limits: cbor.Limits) -> str:
    if isinstance(value, cbor.Tag):
        return f"{value.number}({_text(value.value, depth, limits)})"
    if isinstance(value, dict):
        pairs = [f"{_text(key, depth + 1, limits)}: {_text(item, depth + 1, limits)}" for key, item in value.items()]
        return _block("{", pairs, "}", depth)
    if isinstance(value, cbor.Simple):
        return f"simple({value.number})"
    if isinstance(value, list):
        return _block("[", [_text(item, depth + 1, limits) for item in value], "]", depth)
    if isinstance(value, bytes):
        return _bytes(value, depth, limits)
    if isinstance(value, bool):
        return _LITERALS[value]
    if value is None or value is cbor.UNDEFINED:
        return "null" if value is None else "undefined"
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value, ensure_ascii=False)


def _block(opening: str, items: list[str], closing: str, depth: int) -> str:
    if not items:
        return opening + closing
    margin = "  " * (depth + 1)
    return f"{opening}\n{margin}" + f",\n{margin}".join(items) + f"\n{'  ' * depth}{closing}"


def _bytes(value: bytes, depth: int, limits: cbor.Limits) -> str:
    # only a tag, map or array is opened: a digest often is some CBOR integer and a rest by chance
    if len(value) >= MIN_EMBEDDED and value[0] >> 5 in (4, 5, 6):
        try:
            return f"<<{_text(cbor.decode(value, limits), depth, limits)}>>"
        except Malformed:
            pass
    return f"h'{value.hex()}'"


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return ("-" if value < 0 else "") + "Infinity" if math.isinf(value) else repr(value)
