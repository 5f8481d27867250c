"""The broker's server room: Trustee's key broker and Veraison's verification sessions over HTTP.

The protocols are in `attestation.kbs` and `attestation.session`; here requests become their calls. Nonces, session
ids and seeds come from the operating system's generator. Each release and denial is logged as one JSON line.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from attestation.ear_results import Issuer
from attestation.errors import Denied, RefusalReason, Refused
from attestation.kbs import messages
from attestation.kbs.exchange import AuditRecord
from attestation.kbs.server import Broker
from attestation.keys import Curve, SigningKey, derive_key
from attestation.policy import Policy, default_policy
from attestation.session import (
    EVIDENCE_MEDIA_TYPE,
    NEW_SESSION,
    PROBLEM_MEDIA_TYPE,
    SESSION_MEDIA_TYPE,
    SessionService,
    UnsupportedMediaType,
    VerificationSession,
    problem,
    read_nonce_request,
)
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.verify import PlatformCache
from orchestrator.errors import UserMistake
from orchestrator.serve import attestation_service
from orchestrator.serve.body_limit import BODY_TIMEOUT_S, MAX_BODY_BYTES, BodyLimit

audit = logging.getLogger("realmfleet.kbs.audit")
MAX_CONNECTIONS = 128
MAX_HEADER_BYTES = 16 * 1024
MAX_RESOURCE_BYTES = 1024 * 1024


class Room(msgspec.Struct):
    """What the server answers from: broker, verification sessions, and how much of the audit trail is logged.

    `keep` is given each record of the trail besides.
    """

    broker: Broker
    sessions: SessionService
    logged: int = 0
    keep: Callable[[AuditRecord], None] | None = None

    def log_audit(self) -> None:
        """Write the audit records that are new."""
        for record in self.broker.state.audit:
            if record.number >= self.logged:
                audit.info("%s", json.dumps(msgspec.to_builtins(record)))
                if self.keep is not None:
                    self.keep(record)
        self.logged = self.broker.state.audit_count


def room(
    resources: Mapping[str, bytes],
    anchors: TrustAnchors,
    references: ReferenceValues,
    signer: SigningKey | None = None,
    policy: Policy | None = None,
    keep: Callable[[AuditRecord], None] | None = None,
) -> Room:
    """Set up broker and sessions under one signing key (P-256); without one a new key is drawn.

    Without a policy the default one decides; `keep` is given each record of the audit trail.
    """
    if signer is None:
        signer = derive_key(secrets.token_bytes(32), "attestation results", Curve.P256)
    if signer.curve is not Curve.P256:
        raise UserMistake(f"results are signed with ES256, this key is on {signer.curve}", "a key on P-256")
    issuer, platforms = Issuer(signer), PlatformCache()
    judged_by = default_policy() if policy is None else policy
    broker = Broker(resources, judged_by, anchors, references, trusted_platforms=platforms, issuer=issuer)
    return Room(broker, SessionService(anchors, references, issuer, trusted_platforms=platforms), keep=keep)


def read_resources(folder: Path) -> dict[str, bytes]:
    """Secrets by `repository/type/tag` from files at just that depth; other files are the user's mistake."""
    if not folder.is_dir():
        raise UserMistake(f"{folder} is not a directory", "a directory with files REPOSITORY/TYPE/TAG")
    found: dict[str, bytes] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.count("/") != 2:
            raise UserMistake(f"{file} is not at REPOSITORY/TYPE/TAG", "move it to just that depth")
        if file.stat().st_size > MAX_RESOURCE_BYTES:
            raise UserMistake(f"{file} is larger than {MAX_RESOURCE_BYTES} bytes", "keep keys here, not data")
        found[name] = file.read_bytes()
    if not found:
        raise UserMistake(f"{folder} holds no secret", "a directory with files REPOSITORY/TYPE/TAG")
    return found


class SessionResponse(JSONResponse):
    """A verification session."""

    media_type = SESSION_MEDIA_TYPE


def _answers(errors: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documented refusals in the media type `errors`, and what the gate before every route may say."""
    texts = {400: "not what the protocol wants", 401: "refused", 404: "nothing there", 415: "unsupported media type"}
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": texts[status], "content": {errors: {}}} for status in statuses
    }
    gate = {408: "body took too long", 413: "body too large"}
    return told | {status: {"description": text, "content": {"text/plain": {}}} for status, text in gate.items()}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


_REQUEST_SCHEMA = {
    "type": "object",
    "required": ["version", "tee"],
    "properties": {"version": {"type": "string"}, "tee": {"type": "string"}, "extra-params": {}},
}
_ATTESTATION_SCHEMA = {
    "type": "object",
    "required": ["runtime-data", "tee-evidence"],
    "properties": {
        "init-data": {},
        "runtime-data": {
            "type": "object",
            "required": ["nonce", "tee-pubkey"],
            "properties": {"nonce": {"type": "string"}, "tee-pubkey": {"type": "object"}},
        },
        "tee-evidence": {
            "type": "object",
            "properties": {
                "primary_evidence": {
                    "type": "object",
                    "properties": {
                        "token": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
                    },
                },
                "additional_evidence": {"type": "string"},
            },
        },
    },
}


def create_app(where: Room, *, max_body_bytes: int = MAX_BODY_BYTES, body_timeout_s: float = BODY_TIMEOUT_S) -> FastAPI:
    """The application; limits in bytes and seconds."""
    app = FastAPI(title="Realmfleet key broker and verifier", docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes, timeout_s=body_timeout_s)
    _add_broker(app, where)
    _add_sessions(app, where)
    attestation_service.add(app, where.broker)
    return app


# -- Trustee's key broker ---------------------------------------------------------------------------------------------


def _add_broker(app: FastAPI, where: Room) -> None:
    broker = where.broker

    @app.post(
        "/kbs/v0/auth",
        responses=_answers("application/json", 401),
        openapi_extra=_body("application/json", _REQUEST_SCHEMA),
    )
    async def auth(request: Request) -> Response:
        """Open a session: nonce and cookie."""
        try:
            session, challenge = broker.request(
                await request.body(), secrets.token_bytes(32), now_ns=time.time_ns(), session_id=uuid.uuid4().hex
            )
        except Refused as refusal:
            return _broker_error(refusal)
        response = _json(challenge)
        response.set_cookie(
            messages.COOKIE, session, httponly=True, samesite="strict", secure=request.url.scheme == "https",
            max_age=broker.session_lifetime_ns // 10**9,
        )  # fmt: skip
        return response

    @app.post(
        "/kbs/v0/attest",
        responses=_answers("application/json", 401),
        openapi_extra=_body("application/json", _ATTESTATION_SCHEMA),
    )
    async def attest(request: Request) -> Response:
        """Judge evidence; the answer is a signed result."""
        try:
            decision = broker.attest(_cookie(request), await request.body(), now_ns=time.time_ns())
        except Refused as refusal:
            return _broker_error(refusal)
        finally:
            where.log_audit()
        if not decision.token:
            return _broker_error(Denied(decision.detail, reason=decision.reason))
        return _json(messages.response_body(decision.token))

    @app.get("/kbs/v0/resource/{repository}/{kind}/{tag}", responses=_answers("application/json", 401, 404))
    async def resource(request: Request, repository: str, kind: str, tag: str) -> Response:
        """Release a secret, encrypted to the key that the evidence bound."""
        return _release(where, request, f"{repository}/{kind}/{tag}")

    @app.get("/kbs/v0/resource/{path:path}", include_in_schema=False)
    async def no_resource(path: str) -> Response:
        return _broker_error(Denied("path does not name repository/type/tag", reason=RefusalReason.PATH))


def _release(where: Room, request: Request, name: str) -> Response:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    seed, now_ns = secrets.token_bytes(32), time.time_ns()
    try:
        if scheme.lower() == "bearer":
            sealed = where.broker.bearer_resource(bearer.strip(), name, seed, now_ns=now_ns)
        else:
            sealed = where.broker.resource(_cookie(request), name, seed, now_ns=now_ns)
    except Refused as refusal:
        return _broker_error(refusal)
    finally:
        where.log_audit()
    return _json(sealed)


def _cookie(request: Request) -> str:
    session = request.cookies.get(messages.COOKIE)
    if session is None:
        raise Denied(f"request has neither cookie {messages.COOKIE} nor token", reason=RefusalReason.SESSION)
    return session


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _broker_error(refusal: Refused) -> Response:
    status, body = messages.error_response(refusal)
    return _json(body, status)


# -- Veraison's verification sessions ---------------------------------------------------------------------------------


def _add_sessions(app: FastAPI, where: Room) -> None:
    service = where.sessions
    session_path = "/challenge-response/v1/session/{session_id}"

    @app.post(NEW_SESSION, status_code=201, response_class=SessionResponse, responses=_answers(PROBLEM_MEDIA_TYPE, 400))
    async def new_session(nonce: str | None = None, nonceSize: str | None = None) -> Response:
        """Open a session with the client's nonce, or with one of the size asked for."""
        try:
            wanted = read_nonce_request(nonce, nonceSize)
        except Refused as refusal:
            return _problem(400, refusal)
        session = service.new_session(
            wanted, session_id=str(uuid.uuid4()), entropy=secrets.token_bytes(64), now_ns=time.time_ns()
        )
        return _session(session, 201, {"location": f"session/{session.id}"})

    @app.get(session_path, response_class=SessionResponse, responses=_answers(PROBLEM_MEDIA_TYPE, 404))
    async def get_session(session_id: str) -> Response:
        """Look at a session."""
        try:
            return _session(service.get(session_id, now_ns=time.time_ns()))
        except Refused as refusal:
            return _problem(404, refusal)

    evidence = _body(EVIDENCE_MEDIA_TYPE, {"type": "string", "format": "binary"})
    wrapped = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
    evidence["requestBody"]["content"]["application/cmw+json"] = {"schema": wrapped}

    @app.post(
        session_path,
        response_class=SessionResponse,
        responses=_answers(PROBLEM_MEDIA_TYPE, 400, 404, 415),
        openapi_extra=evidence,
    )
    async def submit(request: Request, session_id: str) -> Response:
        """Hand in evidence; a bad token is a result, not an error."""
        now_ns = time.time_ns()
        try:
            service.get(session_id, now_ns=now_ns)
        except Refused as refusal:
            return _problem(404, refusal)
        content_type = request.headers.get("content-type", "")
        try:
            return _session(service.submit(session_id, content_type, await request.body(), now_ns=now_ns))
        except UnsupportedMediaType as refusal:
            return _problem(415, refusal, {"accept": EVIDENCE_MEDIA_TYPE})
        except Refused as refusal:
            return _problem(400, refusal)

    @app.delete(session_path, status_code=204, response_class=Response, responses=_answers(PROBLEM_MEDIA_TYPE, 404))
    async def delete_session(session_id: str) -> Response:
        """Forget a session."""
        try:
            service.delete(session_id, now_ns=time.time_ns())
        except Refused as refusal:
            return _problem(404, refusal)
        return Response(status_code=204)

    @app.get("/.well-known/veraison/verification", responses=_answers(PROBLEM_MEDIA_TYPE))
    async def discovery() -> dict[str, Any]:
        """What this verifier takes, and the key of its results."""
        return service.capabilities()


def _session(session: VerificationSession, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return SessionResponse(session.document(), status, headers)


_TITLES = {400: "Bad Request", 404: "Not Found", 415: "Unsupported Media Type"}


def _problem(status: int, refusal: Refused, headers: dict[str, str] | None = None) -> Response:
    body = problem(status, _TITLES[status], str(refusal))
    return JSONResponse(body, status, headers, media_type=PROBLEM_MEDIA_TYPE)


# -- serving ----------------------------------------------------------------------------------------------------------


def server(app: FastAPI, host: str, port: int, cert: Path | None = None, key: Path | None = None) -> uvicorn.Server:
    """A server with its limits set, not yet running; port 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        http="h11",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        ssl_certfile=str(cert) if cert is not None else None,
        ssl_keyfile=str(key) if key is not None else None,
    )
    return uvicorn.Server(config)


def run(app: FastAPI, host: str, port: int, cert: Path | None = None, key: Path | None = None) -> None:
    """Serve until interrupted; the audit trail goes to standard error."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.WARNING)
    audit.setLevel(logging.INFO)
    serving = server(app, host, port, cert, key)
    try:
        listening = serving.config.bind_socket()
    except SystemExit:
        raise UserMistake(f"cannot listen on {host} port {port}", "choose a free --port, or 0") from None
    listening.listen()  # who reads the next line may connect at once
    scheme = "https" if cert is not None else "http"
    print(f"serving on {scheme}://{host}:{listening.getsockname()[1]}", flush=True)
    serving.run(sockets=[listening])
