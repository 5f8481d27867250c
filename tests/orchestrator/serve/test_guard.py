"""Who may ask: tokens off loopback, foreign pages, rebound names, and ports that are taken."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orchestrator.errors import UserMistake
from orchestrator.serve.guard import Listen, parse_listen
from orchestrator.serve.server import bind

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("text", "listen", "loopback"),
    [
        ("127.0.0.1:9464", Listen("127.0.0.1", 9464), True),
        ("127.8.9.1:1", Listen("127.8.9.1", 1), True),
        ("[::1]:9464", Listen("::1", 9464), True),
        ("localhost:0", Listen("localhost", 0), True),
        (":9464", Listen("0.0.0.0", 9464), False),
        ("0.0.0.0:9464", Listen("0.0.0.0", 9464), False),
        ("[::]:9464", Listen("::", 9464), False),
        ("10.0.0.7:9464", Listen("10.0.0.7", 9464), False),
        ("fleet.example:80", Listen("fleet.example", 80), False),
    ],
)
def test_an_address_is_read_and_known_to_be_loopback_or_not(text: str, listen: Listen, loopback: bool) -> None:
    assert parse_listen(text) == listen
    assert parse_listen(text).loopback is loopback


@pytest.mark.parametrize("text", ["", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "::1:9464", "a b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UserMistake, match="is not an address"):
        parse_listen(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "fleet.example"])
def test_an_address_that_others_reach_is_refused_without_a_token(host: str) -> None:
    with pytest.raises(UserMistake, match="needs a token"):
        bind(Listen(host, 0), "")


def test_a_token_that_is_easily_guessed_is_refused() -> None:
    with pytest.raises(UserMistake, match="too short"):
        bind(Listen("127.0.0.1", 0), "secret")


def test_a_port_in_use_is_one_clear_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserMistake, match=f"port {taken.getsockname()[1]} is in use"):
            bind(Listen("127.0.0.1", taken.getsockname()[1]), "")


def test_with_a_token_everything_about_the_fleet_needs_it(bring_up: Callable[..., Any]) -> None:
    up = bring_up(token=TOKEN)
    assert up.get("/api/v1/status").status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Basic x"}):
        with httpx.Client(base_url=up.server.url, headers=headers) as stranger:
            for path in ("/api/v1/status", "/metrics", "/-/sd", "/openapi.json", "/api/v1/events", "/nothing"):
                answer = stranger.get(path)
                assert (path, answer.status_code) == (path, 401)
                assert answer.headers["content-type"] == "application/problem+json"
            assert stranger.post("/api/v1/scale", json={"kind": "web", "count": 0}).status_code == 401
            assert stranger.get("/healthz").status_code == 200
    assert up.get("/api/v1/status").json()["realms_wanted"] > 0


def test_a_foreign_page_can_neither_post_nor_rebind_a_name(up: Any) -> None:
    body = {"kind": "web", "count": 1}
    foreign = up.client.post("/api/v1/realms", json=body, headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403
    rebound = up.client.get("/api/v1/status", headers={"host": "evil.example:9464"})
    assert rebound.status_code == 421
    own = up.client.get("/api/v1/status", headers={"origin": up.server.url})
    assert own.status_code == 200
