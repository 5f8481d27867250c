"""The command line's side of the API: one request, one answer, and problems in the words of the command line."""

from __future__ import annotations

import http.client
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.errors import UserMistake

ADDRESS = "127.0.0.1:9464"
TIMEOUT_S = 30.0


class ActionRefused(Exception):
    """The fleet said no: what was asked is forbidden in its present state."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.detail, self.hint = detail, hint


class LiveClient:
    """Talks to the fleet that `realmfleet up` serves at `address` (host:port, with or without http://)."""

    def __init__(self, address: str = ADDRESS, token: str = "") -> None:
        self._address = re.sub(r"^http://", "", address).rstrip("/")
        self._token = token

    def get(self, *path: str) -> Any:
        """The answer to a GET under /api/v1. Raises `UserMistake`, `ActionRefused`."""
        return self._ask("GET", path, None)

    def post(self, *path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to a POST under /api/v1. Raises `UserMistake`, `ActionRefused`."""
        return self._ask("POST", path, body)

    def delete(self, *path: str) -> Any:
        """The answer to a DELETE under /api/v1. Raises `UserMistake`, `ActionRefused`."""
        return self._ask("DELETE", path, None)

    def _ask(self, method: str, path: tuple[str, ...], body: dict[str, Any] | None) -> Any:
        headers = {"accept": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = json.dumps(body)
        target = "/api/v1/" + "/".join(quote(part, safe="") for part in path)
        try:
            connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
            try:
                connection.request(method, target, content, headers)
                answer = connection.getresponse()
                return self._read(answer.status, answer.read())
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            hint = "start one with `realmfleet up FILE`, or name its address with --address"
            raise UserMistake(f"no fleet answers at {self._address}: {why}", hint) from error

    def _read(self, status: int, content: bytes) -> Any:
        try:
            answer = json.loads(content)
        except ValueError:
            raise UserMistake(f"what answers at {self._address} is no fleet", "check --address") from None
        if status < 300:
            return answer
        detail, hint = str(answer.get("detail", status)), str(answer.get("hint", ""))
        if status == 409:
            raise ActionRefused(detail, hint)
        raise UserMistake(detail, hint)


def read_token(file: Path | None, variable: str) -> str:
    """The token from a file (its first line), or from the environment; empty when there is none."""
    if file is None:
        return os.environ.get(variable, "").strip()
    try:
        text = file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise UserMistake(f"{file} is not a token: it holds more than ASCII", "one line of text") from error
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "check the path and its permissions") from error
    if not text or "\n" in text:
        raise UserMistake(f"{file} is not a token", "a file with one line, for example from `openssl rand -hex 16`")
    return text
