"""Trustee's attestation service over HTTP, beside the key broker: `POST /attestation`."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response

from attestation.errors import Refused
from attestation.kbs.server import Broker
from attestation.kbs.service import evaluate

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["verification_requests", "policy_ids"],
    "properties": {
        "verification_requests": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tee", "evidence"],
                "properties": {
                    "tee": {"type": "string"},
                    "evidence": {"type": "string"},
                    "runtime_data": {"type": "object"},
                    "runtime_data_hash_algorithm": {"type": "string"},
                },
            },
        },
        "policy_ids": {"type": "array", "items": {"type": "string"}},
    },
}
_TEXT: dict[str, Any] = {"content": {"text/plain": {}}}


def add(app: FastAPI, broker: Broker) -> None:
    """Add the route; results are signed as the broker's are, and say nothing that the broker would not."""

    @app.post(
        "/attestation",
        response_class=PlainTextResponse,
        responses={
            408: {"description": "body took too long", **_TEXT},
            413: {"description": "body too large", **_TEXT},
            400: {"description": "not understood, or the evidence does not verify", **_TEXT},
        },
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
    )
    async def attestation(request: Request) -> Response:
        """Judge evidence; the answer is a signed result. Every refusal is a 400 with its reason; Trustee's is a 500."""
        if broker.issuer is None:
            return PlainTextResponse("no key to sign results with", 400)
        try:
            token = evaluate(
                await request.body(), broker.anchors, broker.references, broker.issuer, now_ns=time.time_ns(),
                trusted_platforms=broker.trusted_platforms,
            )  # fmt: skip
        except Refused as refusal:
            return PlainTextResponse(f"attestation report evaluate: {refusal}", 400)
        return PlainTextResponse(token)
