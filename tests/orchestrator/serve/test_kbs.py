"""The broker's server room over a loopback socket: good Realms, refusals, clients that are slow, huge or half gone."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi import checks

from attestation import ear
from attestation.claims import PlatformClaims, RealmClaims, SoftwareComponent
from attestation.errors import Denied, Refused
from attestation.kbs import messages
from attestation.kbs.client import Guest
from attestation.keys import Curve, PublicKey, derive_key, from_base64url
from attestation.session import EVIDENCE_MEDIA_TYPE
from attestation.stores import (
    ComponentReference,
    PlatformReference,
    RealmReference,
    ReferenceValues,
    TrustAnchor,
    TrustAnchors,
)
from attestation.token import create, pad_nonce
from orchestrator.errors import UserMistake
from orchestrator.serve import kbs
from orchestrator.serve.kbs_client import fetch

CPAK, RAK = derive_key(b"machine", "CPAK"), derive_key(b"machine", "RAK")
SIGNER = derive_key(b"verifier", "EAR", Curve.P256)
COMPONENT = SoftwareComponent(
    measurement_type="RMM", measurement_value=b"\x12" * 32, version="1", signer_id=b"\xc3" * 32
)
PLATFORM = PlatformClaims(
    implementation_id=b"\xa1" * 32, instance_id=b"\x01" + b"\xb2" * 32, config=b"\xcf", lifecycle=0x3000,
    sw_components=(COMPONENT,),
)  # fmt: skip
REALM = RealmClaims(
    challenge=bytes(64), personalization_value=bytes(64), initial_measurement=b"\x44" * 32,
    extensible_measurements=(bytes(32),) * 4,
)  # fmt: skip
SECRET = b"open sesame"
DISK = "default/disk/key"


def evidence(challenge: bytes, realm: RealmClaims = REALM) -> bytes:
    return create(PLATFORM, msgspec.structs.replace(realm, challenge=pad_nonce(challenge)), CPAK, RAK)


@pytest.fixture
def room() -> kbs.Room:
    anchors = TrustAnchors([TrustAnchor(PLATFORM.instance_id, PLATFORM.implementation_id, CPAK.public)])
    known = ComponentReference(measurement_value=COMPONENT.measurement_value, name="RMM", version="1")
    references = ReferenceValues(
        [PlatformReference(implementation_id=PLATFORM.implementation_id, components=(known,), config=PLATFORM.config)],
        [RealmReference(initial_measurement=REALM.initial_measurement)],
    )
    return kbs.room({DISK: SECRET}, anchors, references, SIGNER)


class Served:
    """A server on a free loopback port, in a thread of its own."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.socket = server.config.bind_socket()
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = server
        # the socket listens before the thread starts, so that no client has to wait for it
        self.socket.listen(128)
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [self.socket]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def still_serves(self) -> bool:
        return fetch(self.url, DISK, evidence) == SECRET


@pytest.fixture
def served(room: kbs.Room) -> Iterator[Served]:
    one = Served(kbs.server(kbs.create_app(room, max_body_bytes=64 * 1024, body_timeout_s=0.3), "127.0.0.1", 0))
    yield one
    one.stop()


# -- Trustee's key broker ---------------------------------------------------------------------------------------------


def test_a_good_realm_fetches_its_secret_and_the_release_is_recorded(served: Served, room: kbs.Room) -> None:
    assert fetch(served.url, DISK, evidence) == SECRET
    assert [record.event.value for record in room.broker.state.audit] == ["admitted", "released"]
    assert room.broker.state.audit[-1].initial_measurement == REALM.initial_measurement.hex()


@pytest.mark.parametrize(
    ("resource", "make", "told"),
    [
        (DISK, lambda challenge: evidence(b"an old challenge"), "AttestationError"),
        (DISK, lambda challenge: b"", "401 SerdeError"),
        (
            DISK,
            lambda challenge: evidence(challenge, msgspec.structs.replace(REALM, initial_measurement=bytes(32))),
            "realm.executables",
        ),
        ("default/other/key", evidence, "PluginInternalError"),
        ("default/disk", evidence, "404 InvalidRequestPath"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(served: Served, resource: str, make: Callable[[bytes], bytes], told: str) -> None:
    with pytest.raises(Denied, match=told) as denied:
        fetch(served.url, resource, make)
    assert SECRET.decode() not in str(denied.value)


def _attest(served: Served) -> tuple[Guest, str, str]:
    """A guest that has attested: with its cookie and its token."""
    guest = Guest(b"guest")
    status, headers, challenge = served.call("POST", "/kbs/v0/auth", guest.request())
    assert status == 200
    cookie = headers["set-cookie"]
    body = guest.attestation(evidence(guest.receive(challenge)))
    status, _, response = served.call("POST", "/kbs/v0/attest", body, {"cookie": cookie.partition(";")[0]})
    assert status == 200
    return guest, cookie, messages.read_response(response)


def test_the_cookie_is_that_of_the_protocol_and_kept_from_scripts(served: Served) -> None:
    _, cookie, _ = _attest(served)
    name, _, rest = cookie.partition("=")
    assert name == "kbs-session-id"
    assert len(rest.partition(";")[0]) == 32
    assert "HttpOnly" in cookie


def test_the_token_opens_the_resource_without_the_cookie(served: Served) -> None:
    guest, _, token = _attest(served)
    status, _, sealed = served.call("GET", f"/kbs/v0/resource/{DISK}", headers={"authorization": f"Bearer {token}"})
    assert status == 200
    assert guest.open(sealed) == SECRET


@pytest.mark.parametrize("headers", [{}, {"cookie": "kbs-session-id=none"}, {"authorization": "Bearer x.y.z"}])
def test_nobody_gets_a_secret_without_cookie_or_token(served: Served, headers: dict[str, str]) -> None:
    status, _, body = served.call("GET", f"/kbs/v0/resource/{DISK}", headers=headers)
    assert status == 401
    assert json.loads(body)["type"].startswith("https://github.com/confidential-containers/kbs/errors/")


def test_an_old_protocol_version_is_refused_with_both_versions(served: Served) -> None:
    status, _, body = served.call("POST", "/kbs/v0/auth", b'{"version":"0.2.0","tee":"cca"}')
    assert status == 401
    told = json.loads(body)
    assert told["type"].endswith("/AttestationError")
    assert "0.2.0" in told["detail"]
    assert "0.4.0" in told["detail"]


def test_nonces_and_sessions_never_repeat(served: Served) -> None:
    seen = [served.call("POST", "/kbs/v0/auth", messages.request_body()) for _ in range(5)]
    assert len({body for _, _, body in seen}) == 5
    assert len({headers["set-cookie"] for _, headers, _ in seen}) == 5


# -- Veraison's sessions ----------------------------------------------------------------------------------------------


def test_a_verification_session_from_nonce_to_result(served: Served) -> None:
    status, headers, body = served.call("POST", "/challenge-response/v1/newSession?nonceSize=48")
    session = json.loads(body)
    assert status == 201
    assert headers["content-type"] == "application/vnd.veraison.challenge-response-session+json"
    path = f"/challenge-response/v1/{headers['location']}"
    nonce = from_base64url(session["nonce"])
    assert len(nonce) == 48
    status, _, body = served.call("POST", path, evidence(nonce), {"content-type": EVIDENCE_MEDIA_TYPE})
    assert status == 200
    _, _, told = served.call("GET", "/.well-known/veraison/verification")
    key = PublicKey.from_jwk(json.loads(told)["ear-verification-key"])
    assert ear.verify_jwt(json.loads(body)["result"], key, nonce=session["nonce"]).affirming
    assert json.loads(served.call("GET", path)[2])["status"] == "complete"
    assert served.call("DELETE", path)[0] == 204
    assert served.call("GET", path)[0] == 404


def test_session_errors_are_problem_details(served: Served) -> None:
    _, headers, _ = served.call("POST", "/challenge-response/v1/newSession")
    path = f"/challenge-response/v1/{headers['location']}"
    for method, where, body, kind, status in (
        ("POST", "/challenge-response/v1/newSession?nonceSize=7", None, "", 400),
        ("POST", "/challenge-response/v1/newSession?nonceSize=8&nonce=AAAAAAAAAAA", None, "", 400),
        ("POST", path, b"x", "text/plain", 415),
        ("POST", path, b"{", "application/cmw+json", 400),
        ("GET", "/challenge-response/v1/session/none", None, "", 404),
        ("POST", "/challenge-response/v1/session/none", b"x", EVIDENCE_MEDIA_TYPE, 404),
    ):
        got, answered, told = served.call(method, where, body, {"content-type": kind} if kind else {})
        assert got == status, where
        assert answered["content-type"] == "application/problem+json"
        assert json.loads(told)["status"] == status
        assert ("accept" in answered) == (status == 415)


# -- clients that misbehave -------------------------------------------------------------------------------------------

HEAD = b"POST /kbs/v0/attest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def _answer(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_a_body_announced_too_large_is_refused_unread(served: Served) -> None:
    with served.raw() as client:
        client.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
        assert _answer(client).startswith(b"HTTP/1.1 413 ")
    assert served.still_serves()


def test_a_chunked_body_is_cut_off_at_the_limit(served: Served) -> None:
    with served.raw() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n10\r\n" + bytes(16) + b"\r\n")
        assert _answer(client).startswith(b"HTTP/1.1 413 ")
    assert served.still_serves()


def test_a_slow_body_is_given_up(served: Served) -> None:
    with served.raw() as client:
        client.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert _answer(client).startswith(b"HTTP/1.1 408 ")
    assert served.still_serves()


def test_slow_clients_do_not_keep_others_waiting(served: Served) -> None:
    slow = [served.raw() for _ in range(40)]
    try:
        for client in slow:
            client.sendall(HEAD[:40])
        assert served.still_serves()
    finally:
        for client in slow:
            client.close()


def test_clients_that_leave_inside_a_body_leave_nothing_behind(served: Served, room: kbs.Room) -> None:
    for _ in range(20):
        with served.raw() as client:
            client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
    assert served.still_serves()
    assert len(room.broker.state.sessions) == 1


def test_a_half_closed_client_still_gets_no_crash(served: Served) -> None:
    with served.raw() as client:
        client.sendall(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        client.shutdown(socket.SHUT_WR)
        assert _answer(client)[:12] in (b"HTTP/1.1 401", b"")
    assert served.still_serves()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 100,
        b"GET /" + b"a" * 40000,
        HEAD + b"Content-Length: -1\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request_end_that_connection_only(served: Served, data: bytes) -> None:
    with served.raw() as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert _answer(client)[:12] in (b"", b"HTTP/1.1 400")
    assert served.still_serves()


# -- against its own description --------------------------------------------------------------------------------------


CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
BUDGET = settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def test_the_app_keeps_to_its_own_description(room: kbs.Room) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", kbs.create_app(room))
    tried: list[int] = []

    def check(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(checks=CHECKS)
        tried.append(answer.status_code)
        assert answer.status_code < 500
        assert SECRET not in answer.content

    operations = [each.ok() for each in schema.get_all_operations()]
    for operation in operations:
        BUDGET(given(case=operation.as_strategy())(check))()
    assert len(operations) == 9
    assert len(tried) >= 60
    print(f"{len(tried)} generated requests")


# -- starting ---------------------------------------------------------------------------------------------------------


def test_secrets_are_read_from_files_at_their_names(tmp_path: Path) -> None:
    file = tmp_path / "default" / "disk" / "key"
    file.parent.mkdir(parents=True)
    file.write_bytes(SECRET)
    assert kbs.read_resources(tmp_path) == {DISK: SECRET}
    (tmp_path / "stray").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "default" / "disk"):
        with pytest.raises(UserMistake):
            kbs.read_resources(folder)


def test_results_are_signed_on_p256_alone(room: kbs.Room) -> None:
    with pytest.raises(UserMistake, match="P-384"):
        kbs.room({}, room.broker.anchors, room.broker.references, CPAK)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://x", "nonsense"])
def test_a_broker_that_does_not_answer_is_the_users_to_change(url: str) -> None:
    with pytest.raises(UserMistake):
        fetch(url, DISK, evidence)


def test_a_server_that_is_no_broker_is_a_refusal(served: Served) -> None:
    with pytest.raises(Refused, match="without saying why"):
        fetch(f"{served.url}/elsewhere", DISK, evidence)
