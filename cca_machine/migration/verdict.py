"""What a lineage witness signs (modelled): which machine holds a Realm from now on, as a COSE_Sign1 under ES384.

Every party that acts on a decision checks the signature under the witness key that the Realm's policy names; who
carried it does not matter, nor how often.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from attestation import cose
from attestation.errors import Refused
from attestation.keys import PublicKey, SigningKey


class Decision(StrEnum):
    """The two ends that a session can have."""

    GRANT = "grant"
    ABORT = "abort"


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`holder` (in its boot `boot`) holds `lineage` at `generation` after `session`; `at_ns` is when it was decided."""

    decision: Decision
    lineage: str
    session: str
    generation: int
    holder: str
    boot: int
    at_ns: int


class VerdictRefused(Exception):
    """Not a decision of this witness about this session."""


def sign(verdict: Verdict, key: SigningKey) -> bytes:
    """The decision as it travels."""
    return cose.sign(msgspec.msgpack.encode(verdict), key)


def read(signed: bytes) -> Verdict:
    """What a decision says, whoever signed it. Raises VerdictRefused: malformed."""
    try:
        return msgspec.msgpack.decode(cose.parse(signed).payload, type=Verdict)
    except (Refused, msgspec.MsgspecError) as error:
        raise VerdictRefused(f"not a decision: {error}") from None


def check(signed: bytes, witness: bytes, session: str, lineage: str) -> Verdict:
    """A decision about this session. Raises VerdictRefused: malformed, other signer (COSE_Key) or session."""
    try:
        cose.parse(signed).verify(PublicKey.from_cose_key(witness))
    except Refused as refused:
        raise VerdictRefused(f"not a decision of this witness: {refused}") from None
    verdict = read(signed)
    if (verdict.session, verdict.lineage) != (session, lineage):
        raise VerdictRefused(f"a decision about session {verdict.session} of {verdict.lineage}")
    return verdict
