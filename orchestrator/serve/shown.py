"""JSON answers from records, and their schemas for the OpenAPI document."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Response

_ENCODER = msgspec.json.Encoder()
_TEMPLATE = "#/components/schemas/{name}"


def shown(value: Any, status: int = 200) -> Response:
    """A value as a JSON response that nobody may keep."""
    return Response(_ENCODER.encode(value), status, {"cache-control": "no-store"}, "application/json")


def described(*types: Any) -> dict[str, Any]:
    """Schemas of records for `components`, by name."""
    return msgspec.json.schema_components(types, ref_template=_TEMPLATE)[1]


def answers(kind: Any, description: str, many: bool = False) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers with a record, or with a list of them under `items`."""
    ref: dict[str, Any] = {"$ref": _TEMPLATE.format(name=kind.__name__)}
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": ref}}} if many else ref
    return {200: {"description": description, "content": {"application/json": {"schema": schema}}}}
