"""Errors of the API leave as problem details, also those that nobody foresaw."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from orchestrator.serve.problems import MEDIA_TYPE, install


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    install(app)

    @app.get("/broken")
    def broken() -> None:
        raise LookupError("a secret detail")

    @app.get("/number/{value}")
    def number(value: int) -> int:
        return value

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/broken", 500, "/problems/fault"),
        ("GET", "/number/many", 422, "/problems/invalid"),
        ("GET", "/nowhere", 404, "/problems/no-such-path"),
        ("POST", "/broken", 405, "/problems/no-such-method"),
    ],
)
def test_every_error_is_a_problem(client: TestClient, method: str, path: str, status: int, kind: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert (answer.json()["type"], answer.json()["status"]) == (kind, status)


def test_a_fault_of_ours_does_not_tell_what_is_inside(client: TestClient) -> None:
    assert "secret" not in client.get("/broken").text
    assert client.get("/broken").json()["detail"] == "GET /broken met a fault of this program (LookupError)"
