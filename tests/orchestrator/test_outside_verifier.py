"""A verifier outside a live fleet: a process of its own on loopback, its answers journaled, and what may go wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from attestation.ear import Ear, Submod, VerifierId, sign_jwt
from attestation.keys import Curve, derive_key, to_base64url
from attestation.session import EVIDENCE_MEDIA_TYPE
from attestation.trust import Tier
from orchestrator.api import Run, RunOptions, RunResult
from orchestrator.chaos.history import Line, read
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Attestation
from orchestrator.endorsements import export
from orchestrator.engine.run_store import RunReader
from orchestrator.errors import UserMistake
from orchestrator.live import LiveSession
from orchestrator.outside_verifier import Client
from orchestrator.realms.outside import Question
from orchestrator.replay import replay_run

FILE = Path(__file__).resolve().parents[2] / "clusters" / "realm-attest.yaml"
S = 1_000_000_000
SIGNER = derive_key(b"outside", "results", Curve.P256)


@contextmanager
def service(folder: Path, seed: int = 1) -> Iterator[str]:
    """A verifier that knows the fleet of the cluster file under `seed`, as a process of its own; its address."""
    files = export(FILE, folder / "corim", seed)
    corims = [word for name in files if name.endswith(".corim") for word in ("--corim", name)]
    (folder / "secrets" / "a" / "b").mkdir(parents=True)
    (folder / "secrets" / "a" / "b" / "c").write_bytes(b"-")
    words = ["kbs", "serve", "--resources", str(folder / "secrets"), "--port", "0", *corims]
    command = [sys.executable, "-m", "orchestrator.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().rpartition(" ")[2]
        finally:
            process.terminate()


def live(folder: Path, url: str, api: str = "veraison", timeout: str = "10s") -> tuple[RunResult, list[Line]]:
    """A live run of half a virtual minute under this verifier, and its trace."""
    settings = f"attestation: {{verifier: '{url}', verifier_api: {api}, verifier_timeout: {timeout}, retries: 1}}\n"
    text = FILE.read_text("utf-8") + settings
    cluster = load_text(text, "f").value
    assert cluster is not None
    with Run(cluster, text, RunOptions(fleet="local", out=folder / "run", live=True)) as run:
        result = LiveSession(run, 15.0).run(30 * S)
    with RunReader(folder / "run" / "run.db") as reader:
        return result, read(list(reader.trace()))


def verdicts(trace: list[Line]) -> list[dict[str, Any]]:
    return [line.what for line in trace if line.kind == "realm.verdict"]


@pytest.mark.parametrize("api", ["veraison", "trustee"])
def test_evidence_that_it_accepts_brings_the_realm_up_and_a_replay_asks_nobody(tmp_path: Path, api: str) -> None:
    with service(tmp_path) as url:
        result, trace = live(tmp_path, url, api)
    assert result.summary.realms_running == result.summary.secrets_released == 1
    [verdict] = verdicts(trace)
    assert verdict["passed"]
    assert "affirming" in verdict["detail"]
    [answered] = [line for line in trace if line.kind == "operator.accepted"]
    assert answered.what["asked"] == "verifier-answered"
    again = replay_run(tmp_path / "run")
    assert (again.same, again.inputs) == (True, 1)


def test_evidence_that_it_does_not_know_is_refused_with_its_words(tmp_path: Path) -> None:
    with service(tmp_path, seed=2) as url:
        result, trace = live(tmp_path, url)
    assert result.summary.realms_running == result.summary.secrets_released == 0
    assert {verdict["reason"] for verdict in verdicts(trace)} == {"policy"}
    assert "trust anchor" in verdicts(trace)[0]["detail"]
    assert replay_run(tmp_path / "run").same


def test_a_verifier_that_is_not_there_is_said_to_be_so_and_replayed_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result, trace = live(tmp_path, f"http://127.0.0.1:{port}")
    assert result.summary.realms_running == 0
    assert {verdict["reason"] for verdict in verdicts(trace)} == {"verifier"}
    assert "cannot be reached" in verdicts(trace)[0]["detail"]
    assert replay_run(tmp_path / "run").same


def test_a_batch_run_refuses_it_and_says_why() -> None:
    text = FILE.read_text("utf-8") + "attestation: {verifier: 'http://127.0.0.1:1'}\n"
    cluster = load_text(text, "f").value
    assert cluster is not None
    with pytest.raises(UserMistake, match="only a live fleet"):
        Run(cluster, text, RunOptions(fleet="local"))


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://x", "https://", "https://user@host/", "http://h/?q", "http://h/#f"]
)
def test_what_is_no_address_of_a_verifier_is_a_mistake_of_the_file(url: str) -> None:
    loaded = load_text(FILE.read_text("utf-8") + f"attestation: {{verifier: '{url}'}}\n", "f")
    assert loaded.value is None
    assert "attestation.verifier" in loaded.render()


# -- servers that misbehave --------------------------------------------------------------------------------------------


def ear(status: Tier = Tier.AFFIRMING, nonce: bytes | None = None, issued_at: int | None = None) -> Ear:
    import time

    return Ear(
        issued_at=int(time.time()) if issued_at is None else issued_at,
        verifier=VerifierId(build="b", developer="d"),
        nonce=None if nonce is None else to_base64url(nonce),
        submods={"CCA_REALM": Submod(status=status)},
    )


QUESTION = Question(7, "web-001", b"token", bytes(range(64)), {"nonce": "n"})
KEY = {"ear-verification-key": {"alg": "ES256", **SIGNER.public.jwk()}}


class Script(BaseHTTPRequestHandler):
    """Answers from a table of the server: (status, headers, body) by method and path."""

    def answer(self) -> None:
        table: dict[tuple[str, str], tuple[int, dict[str, str], bytes]] = self.server.table  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, body = table.get((self.command, self.path.partition("?")[0]), (404, {}, b"nothing here"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def ask(table: dict[tuple[str, str], tuple[int, dict[str, str], bytes]], api: str = "veraison") -> Any:
    """What a client makes of a server with these answers."""
    with HTTPServer(("127.0.0.1", 0), Script) as server:
        server.table = table  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            return Client(Attestation(verifier=url, verifier_api=api, verifier_timeout="2s")).ask(QUESTION)  # type: ignore[arg-type]
        finally:
            server.shutdown()
            thread.join()


def veraison(result: Any, key: Any = KEY, **session: Any) -> dict[tuple[str, str], tuple[int, dict[str, str], bytes]]:
    new = "/challenge-response/v1/newSession"
    made = {"status": "waiting", "accept": [EVIDENCE_MEDIA_TYPE]}
    told = {"status": "complete", "result": result, **session}
    return {
        ("POST", new): (201, {"location": "session/1"}, json.dumps(made).encode()),
        ("POST", "/challenge-response/v1/session/1"): (200, {}, json.dumps(told).encode()),
        ("GET", "/.well-known/veraison/verification"): (200, {}, json.dumps(key).encode()),
    }


def test_a_signed_affirming_result_over_the_challenge_is_taken() -> None:
    answered = ask(veraison(sign_jwt(ear(nonce=QUESTION.challenge), SIGNER)))
    assert (answered.question, answered.realm, answered.accepted, answered.reason) == (7, "web-001", True, "")


@pytest.mark.parametrize("status", [Tier.NONE, Tier.WARNING, Tier.CONTRAINDICATED])
def test_anything_but_affirming_is_a_refusal(status: Tier) -> None:
    answered = ask(veraison(sign_jwt(ear(status), SIGNER)))
    assert (answered.accepted, answered.reason) == (False, "policy")
    assert status.text in answered.detail


FORGED = sign_jwt(ear(), derive_key(b"somebody", "else", Curve.P256))


@pytest.mark.parametrize(("table", "told"), [
    (veraison(FORGED), "signature does not verify"),
    (veraison(sign_jwt(ear(nonce=bytes(64)), SIGNER)), "another challenge"),
    (veraison(sign_jwt(ear(issued_at=1 << 40), SIGNER)), "future"),
    (veraison("no.result.atall"), "not to be believed"),
    (veraison(None), "holds no result"),
    (veraison(None, status="failed"), "'failed'"),
    (veraison(sign_jwt(ear(), SIGNER), key={}), "no key"),
    ({}, "404"),
    ({("POST", "/challenge-response/v1/newSession"): (201, {}, b"{}")}, "no location"),
    ({("POST", "/challenge-response/v1/newSession"): (201, {"location": "http://x.example/s"}, b"{}")}, "another host"),
    ({("POST", "/challenge-response/v1/newSession"): (201, {"location": "session/1"}, b"[")}, "not JSON"),
    ({("POST", "/challenge-response/v1/newSession"): (201, {"location": "s"}, b'{"accept":["x"]}')}, "does not take"),
    ({("POST", "/challenge-response/v1/newSession"): (201, {"location": "s"}, b" " * (2 << 20))}, "more than"),
    (veraison(None, status="processing"), "404"),
])  # fmt: skip
def test_a_server_that_misbehaves_gives_no_verdict_and_a_reason(table: Any, told: str) -> None:
    answered = ask(table)
    assert (answered.accepted, answered.reason, answered.result) == (False, "verifier", "")
    assert told in answered.detail


@pytest.mark.parametrize(("body", "told"), [
    (b"", "not to be believed"),
    (b"a.b.c", "not to be believed"),
    (sign_jwt(ear(), SIGNER).encode(), "names no key"),
])  # fmt: skip
def test_a_trustee_that_misbehaves_gives_no_verdict_and_a_reason(body: bytes, told: str) -> None:
    answered = ask({("POST", "/attestation"): (200, {}, body)}, "trustee")
    assert (answered.accepted, answered.reason) == (False, "verifier")
    assert told in answered.detail


def test_a_verifier_that_never_answers_is_given_up_after_its_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = Attestation(verifier=url, verifier_timeout="200ms")  # type: ignore[arg-type]
        answered = Client(settings).ask(QUESTION)
    assert (answered.accepted, answered.reason) == (False, "verifier")
    assert "did not answer within 0.2 s" in answered.detail
