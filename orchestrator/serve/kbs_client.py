"""A Realm's walk to a key broker over HTTP: request, challenge, attestation, resource."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from attestation.errors import Denied, Malformed
from attestation.kbs import messages
from attestation.kbs.client import Guest
from orchestrator.errors import UserMistake

TIMEOUT_S = 10.0


def fetch(url: str, resource: str, make_token: Callable[[bytes], bytes]) -> bytes:
    """Fetch a secret; `make_token` answers the 64-byte challenge with a CCA token.

    Raises Refused when the broker says no or answers what the protocol does not know, UserMistake when none answers.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserMistake(f"{url} is not the address of a broker", "like http://127.0.0.1:8080")
    guest = Guest(secrets.token_bytes(32))
    challenge, cookie = _call(f"{url}/kbs/v0/auth", guest.request(), "")
    evidence = guest.attestation(make_token(guest.receive(challenge)))
    response, _ = _call(f"{url}/kbs/v0/attest", evidence, cookie)
    messages.read_response(response)
    sealed, _ = _call(f"{url}/kbs/v0/resource/{urllib.parse.quote(resource)}", None, cookie)
    return guest.open(sealed)


def _call(url: str, body: bytes | None, cookie: str) -> tuple[bytes, str]:
    """One exchange: the answer's body, and the cookie it sets."""
    headers = {"content-type": "application/json"} | ({"cookie": cookie} if cookie else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=TIMEOUT_S) as answer:
            content = answer.read(messages.MAX_BODY_BYTES + 1)
            return content, (answer.headers.get("set-cookie") or "").partition(";")[0]
    except urllib.error.HTTPError as error:
        raise _refusal(error.code, error.read(messages.MAX_BODY_BYTES)) from None
    except (OSError, ValueError) as error:
        raise UserMistake(f"no broker answers at {url}: {error}", "check --url, and that the broker runs") from None


def _refusal(status: int, body: bytes) -> Denied | Malformed:
    try:
        told = json.loads(body)
        name, detail = str(told["type"]).rpartition("/")[2], str(told["detail"])
    except (ValueError, KeyError, TypeError):
        return Malformed(f"broker answers {status} without saying why")
    return Denied(f"broker says {status} {name}: {detail}")
