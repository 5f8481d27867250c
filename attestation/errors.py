"""Why evidence, a key, a reference file or a request is refused.

One family, so that a caller may catch all of it at once:

    Refused                     something was checked and the answer is no
    ├── Malformed               bytes are not what they must be: CBOR, COSE, JSON, PEM, JWE, image framing
    ├── BadClaims               a claim set breaks its profile, or the profile is unknown
    ├── Untrusted               no key to trust, or a signature or binding does not hold
    ├── Stale                   the evidence answers another challenge
    └── Denied                  a policy, session or resource says no

Each carries a machine-readable ``reason``; ``label`` (claim label, header label or member name) and ``offset`` (byte
offset into the bytes given to the outermost call) are set when known. Messages never hold secrets.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class RefusalReason(StrEnum):
    """What kind of check failed; the failure classes of the CCA verification order and those around it."""

    MALFORMED = "malformed"
    CLAIMS = "claims"
    PROFILE = "profile"
    UNKNOWN_INSTANCE = "unknown-instance"
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "signature"
    BINDING = "binding"
    FRESHNESS = "freshness"
    POLICY = "policy"
    SESSION = "session"
    RESOURCE = "resource"
    PATH = "path"
    VERSION = "version"
    VERIFIER = "verifier"
    """A verifier elsewhere gave no answer, or none that can be believed."""


Label = int | str | None


class Refused(Exception):
    """A check failed: what kind, where, and a sentence for people."""

    default_reason = RefusalReason.MALFORMED

    def __init__(
        self,
        message: str,
        *,
        reason: RefusalReason | None = None,
        label: Label = None,
        offset: int | None = None,
        part: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = self.default_reason if reason is None else reason
        self.label = label
        self.offset = offset
        self.part = part

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.reason, self.label, self.offset, self.part)

    def __str__(self) -> str:
        where = [self.part] if self.part else []
        if self.label is not None:
            where.append(f"label {self.label}")
        if self.offset is not None:
            where.append(f"byte {self.offset}")
        return f"{self.message} ({', '.join(where)})" if where else self.message

    def located(self, *, part: str = "", base: int | None = None) -> Refused:
        """Tell the refusal which part of a larger whole it happened in, and where that part starts (bytes)."""
        if part and not self.part:
            self.part = part
        if base is not None and self.offset is not None:
            self.offset += base
        return self


class Malformed(Refused):
    """Bytes are not what they must be."""


class BadClaims(Refused):
    """A claim set breaks the rules of its profile."""

    default_reason = RefusalReason.CLAIMS


class Untrusted(Refused):
    """No key to trust, or a signature or binding does not hold."""

    default_reason = RefusalReason.SIGNATURE


class Stale(Refused):
    """The evidence answers another challenge than the one posed."""

    default_reason = RefusalReason.FRESHNESS


class Denied(Refused):
    """A policy, session or resource says no."""

    default_reason = RefusalReason.POLICY


def _rebuild(
    kind: type[Refused], message: str, reason: RefusalReason, label: Label, offset: int | None, part: str
) -> Refused:
    """Rebuild a refusal that crossed a process boundary (exceptions with keyword arguments do not pickle alone)."""
    return kind(message, reason=reason, label=label, offset=offset, part=part)
