"""Asks a verifier outside the fleet over HTTP: Veraison's challenge-response sessions, or Trustee's service.

Nothing here raises for what the other side does: whatever goes wrong is an answer with its reason, so that it is
journaled and a replay meets the same. Results are verified before they count: Veraison's under the key of its discovery
document, Trustee's under the key in the token's header, so how far that is to be trusted is a matter of the connection
(TLS).
Sources: veraison/docs api/challenge-response, confidential-containers/trustee attestation-service (restful).
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attestation import jws
from attestation.ear import Ear, verify_jwt
from attestation.errors import Malformed, RefusalReason, Refused, Stale
from attestation.keys import PublicKey, from_base64url, to_base64url
from attestation.session import EVIDENCE_MEDIA_TYPE, NEW_SESSION
from attestation.stores import read_json
from attestation.trust import tier_of
from orchestrator.cluster.schema import Attestation
from orchestrator.inputs import VerifierAnswered
from orchestrator.realms.outside import Question

MAX_ANSWER_BYTES = 1 << 20
WORKERS = 4
"""Questions that are asked at once."""
POLL_S = 0.2
DISCOVERY = "/.well-known/veraison/verification"
DETAIL_CHARACTERS = 400


class NoAnswer(Exception):
    """The verifier gave no answer that counts; the message says why."""


class Asking:
    """Takes questions and hands each answer to `admit`; without a verifier in the settings it takes none."""

    def __init__(self, settings: Attestation, admit: Callable[[VerifierAnswered], object]) -> None:
        self._client = Client(settings) if settings.verifier is not None else None
        self._admit = admit
        self._pool = ThreadPoolExecutor(WORKERS, "realmfleet-outside") if self._client is not None else None

    def put(self, question: Question) -> None:
        """Ask in the background."""
        if self._pool is not None and self._client is not None:
            self._pool.submit(self._ask, self._client, question)

    def _ask(self, client: Client, question: Question) -> None:
        self._admit(client.ask(question))

    def close(self) -> None:
        """Ask nothing more; what is under way is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


class Client:
    """One verifier at one address."""

    def __init__(self, settings: Attestation) -> None:
        assert settings.verifier is not None
        self._url = settings.verifier.rstrip("/")
        self._timeout_s = settings.verifier_timeout / 1e9
        self._judge = {"veraison": self._veraison, "trustee": self._trustee}[settings.verifier_api]
        self._key: PublicKey | None = None

    def ask(self, question: Question) -> VerifierAnswered:
        """The verifier's answer; when there is none that counts, a refusal for the reason `verifier`."""
        try:
            result, text = self._judge(question)
        except NoAnswer as nothing:
            return _no(question, RefusalReason.VERIFIER, str(nothing))
        except Refused as refusal:
            return _no(question, RefusalReason.VERIFIER, f"its result is not to be believed: {refusal}")
        return _answer(question, result, text)

    # -- Veraison ------------------------------------------------------------------------------------------------------

    def _veraison(self, question: Question) -> tuple[Ear, str]:
        until_s = time.monotonic() + self._timeout_s
        nonce = to_base64url(question.challenge)
        made, headers = self._call("POST", f"{self._url}{NEW_SESSION}?nonce={nonce}", b"", "")
        location = headers.get("location")
        if location is None:
            raise NoAnswer("a new session has no location")
        session = urllib.parse.urljoin(f"{self._url}{NEW_SESSION}", location)
        if urllib.parse.urlsplit(session).netloc != urllib.parse.urlsplit(self._url).netloc:
            raise NoAnswer("a new session is said to be at another host")
        if EVIDENCE_MEDIA_TYPE not in _object(made).get("accept", [EVIDENCE_MEDIA_TYPE]):
            raise NoAnswer("it does not take evidence of Arm CCA")
        told, _ = self._call("POST", session, question.token, EVIDENCE_MEDIA_TYPE)
        while _object(told).get("status") == "processing":
            if time.monotonic() > until_s:
                raise NoAnswer(f"it was still processing after {self._timeout_s:g} s")
            time.sleep(POLL_S)
            told, _ = self._call("GET", session, None, "")
        result = _object(told).get("result")
        if not isinstance(result, str):
            raise NoAnswer(f"its session is {str(_object(told).get('status'))!r:.40} and holds no result")
        if self._key is None:
            self._key = self._discover()
        ear = verify_jwt(result, self._key, now_s=int(time.time()))
        if ear.nonce is not None and from_base64url(ear.nonce.rstrip("=")) != question.challenge:
            raise Stale("result is about another challenge", label="eat_nonce")
        return ear, result

    def _discover(self) -> PublicKey:
        document, _ = self._call("GET", f"{self._url}{DISCOVERY}", None, "")
        jwk = _object(document).get("ear-verification-key")
        if not isinstance(jwk, dict):
            raise NoAnswer("its discovery document holds no key of its results")
        return PublicKey.from_jwk(jwk)

    # -- Trustee -------------------------------------------------------------------------------------------------------

    def _trustee(self, question: Question) -> tuple[Ear, str]:
        evidence = json.dumps({"token": list(question.token)}).encode()
        request = {
            "tee": "cca",
            "evidence": to_base64url(evidence),
            "runtime_data": {"structured": question.runtime_data},
            "runtime_data_hash_algorithm": "sha384",
        }
        body = json.dumps({"verification_requests": [request], "policy_ids": []}).encode()
        told, _ = self._call("POST", f"{self._url}/attestation", body, "application/json")
        text = told.decode("ascii", "replace").strip()
        header = jws.parse(text).header
        jwk = header.get("jwk")
        if not isinstance(jwk, dict):
            raise Malformed("result names no key", label="jwk")
        return verify_jwt(text, PublicKey.from_jwk(jwk), now_s=int(time.time())), text

    # -- HTTP ----------------------------------------------------------------------------------------------------------

    def _call(self, method: str, url: str, body: bytes | None, media_type: str) -> tuple[bytes, dict[str, str]]:
        headers = {"content-type": media_type} if media_type else {}
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                content = answer.read(MAX_ANSWER_BYTES + 1)
                told = {name.lower(): value for name, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            detail = error.read(DETAIL_CHARACTERS).decode("utf-8", "replace")
            raise NoAnswer(f"it answers {error.code} to {method} {_path(url)}: {detail}") from None
        except TimeoutError:
            raise NoAnswer(f"it did not answer within {self._timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            if isinstance(why, TimeoutError):
                raise NoAnswer(f"it did not answer within {self._timeout_s:g} s") from None
            raise NoAnswer(f"it cannot be reached: {why}") from None
        if len(content) > MAX_ANSWER_BYTES:
            raise NoAnswer(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
        return content, told


def _path(url: str) -> str:
    return urllib.parse.urlsplit(url).path


def _object(data: bytes) -> dict[str, Any]:
    body = read_json(data, "answer of the verifier")
    if not isinstance(body, dict):
        raise Malformed("answer of the verifier is not a JSON object")
    return body


def _answer(question: Question, result: Ear, text: str) -> VerifierAnswered:
    tiers = {
        f"{_half(name)}/{claim.value}": tier_of(value).text
        for name, submod in result.submods.items()
        for claim, value in (submod.vector or {}).items()
    }
    statuses = ", ".join(f"{name} {submod.status.text}" for name, submod in result.submods.items())
    problems = [str((submod.policy_claims or {}).get("problem", "")) for submod in result.submods.values()]
    detail = "; ".join([statuses, *filter(None, problems)])[:DETAIL_CHARACTERS]
    good = bool(result.submods) and result.affirming
    reason = "" if good else RefusalReason.POLICY.value
    return VerifierAnswered(question.number, question.realm, good, reason, detail, tiers, text)


def _half(submod: str) -> str:
    """The half of the token that a submod is about, in the words of the trace."""
    return {"CCA_SSD_PLATFORM": "platform", "CCA_REALM": "realm"}.get(submod, submod)


def _no(question: Question, reason: RefusalReason, detail: str) -> VerifierAnswered:
    return VerifierAnswered(question.number, question.realm, False, reason.value, detail[:DETAIL_CHARACTERS])
