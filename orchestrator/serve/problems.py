"""Errors of the API as problem details (RFC 9457): what is wrong, which rule says so, and what would be right.

`type` is a relative reference to the kind of problem; `hint` is our extension member.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from orchestrator.cluster.diagnostics import suggestion

MEDIA_TYPE = "application/problem+json"

STATUS_OF_RULE = {
    "unknown": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""What the desk's rules (`orchestrator.operator_desk.Refusal`) are in HTTP."""


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: HTTPStatus, kind: str, detail: str, hint: str = "", **more: Any) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.hint, self.more = status, kind, detail, hint, more


def unknown(what: str, name: str, known: list[str]) -> Problem:
    """There is nothing of that name; the hint is the closest name that there is."""
    return Problem(HTTPStatus.NOT_FOUND, "unknown", f"there is no {what} {name}", suggestion(name, known, f"{what}s"))


def install(app: FastAPI) -> None:
    """Have every error of the application leave as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _ours)


def answer(status: HTTPStatus, kind: str, detail: str, hint: str = "", **more: Any) -> JSONResponse:
    """A problem as a response."""
    body = {"type": f"/problems/{kind}", "title": status.phrase, "status": int(status), "detail": detail}
    if hint:
        body["hint"] = hint
    return JSONResponse({**body, **more}, int(status), media_type=MEDIA_TYPE)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return answer(error.status, error.kind, error.detail, error.hint, instance=request.url.path, **error.more)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [
        {"at": ".".join(str(part) for part in found["loc"]), "message": found["msg"], **_hint(found)}
        for found in error.errors()
    ]
    detail = "; ".join(f"{found['at']}: {found['message']}" for found in wrong)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, instance=request.url.path, errors=wrong)


def _hint(found: Any) -> dict[str, str]:
    hint = (found.get("ctx") or {}).get("hint")
    return {"hint": hint} if isinstance(hint, str) else {}


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = {404: "no-such-path", 405: "no-such-method"}.get(int(status), "http")
    hint = "GET /openapi.json lists what there is" if status is HTTPStatus.NOT_FOUND else ""
    return answer(status, kind, f"{request.method} {request.url.path}: {error.detail}", hint, instance=request.url.path)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours: said as one, without what is inside; the server's log has the traceback."""
    detail = f"{request.method} {request.url.path} met a fault of this program ({type(error).__name__})"
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "fault", detail, "please report it", instance=request.url.path)
