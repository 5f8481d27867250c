"""The broker's state: sessions, their state table, and the audit trail."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from attestation.errors import Denied, RefusalReason


class ExchangeState(StrEnum):
    """Where a session stands."""

    CHALLENGED = "challenged"
    EVIDENCED = "evidenced"
    APPRAISED = "appraised"
    RELEASED = "released"
    REFUSED = "refused"


class ExchangeInput(StrEnum):
    """What moves a session."""

    EVIDENCE_VERIFIED = "evidence-verified"
    EVIDENCE_REFUSED = "evidence-refused"
    POLICY_ADMITS = "policy-admits"
    POLICY_REFUSES = "policy-refuses"
    RESOURCE_RELEASED = "resource-released"
    RESOURCE_DENIED = "resource-denied"


class ExchangeEffect(StrEnum):
    """What a move does besides changing the state."""

    KEEP_EVIDENCE = "keep-evidence"
    KEEP_VERDICT = "keep-verdict"
    RECORD = "record"


TRANSITIONS: dict[tuple[ExchangeState, ExchangeInput], tuple[ExchangeState, ExchangeEffect]] = {
    (ExchangeState.CHALLENGED, ExchangeInput.EVIDENCE_VERIFIED): (
        ExchangeState.EVIDENCED, ExchangeEffect.KEEP_EVIDENCE,
    ),
    (ExchangeState.CHALLENGED, ExchangeInput.EVIDENCE_REFUSED): (ExchangeState.REFUSED, ExchangeEffect.RECORD),
    (ExchangeState.EVIDENCED, ExchangeInput.POLICY_ADMITS): (ExchangeState.APPRAISED, ExchangeEffect.KEEP_VERDICT),
    (ExchangeState.EVIDENCED, ExchangeInput.POLICY_REFUSES): (ExchangeState.REFUSED, ExchangeEffect.RECORD),
    (ExchangeState.APPRAISED, ExchangeInput.RESOURCE_RELEASED): (ExchangeState.RELEASED, ExchangeEffect.RECORD),
    (ExchangeState.APPRAISED, ExchangeInput.RESOURCE_DENIED): (ExchangeState.APPRAISED, ExchangeEffect.RECORD),
    (ExchangeState.RELEASED, ExchangeInput.RESOURCE_RELEASED): (ExchangeState.RELEASED, ExchangeEffect.RECORD),
    (ExchangeState.RELEASED, ExchangeInput.RESOURCE_DENIED): (ExchangeState.RELEASED, ExchangeEffect.RECORD),
}  # fmt: skip
"""(state, input) to (next state, effect). One nonce admits one piece of evidence: no row leads back to CHALLENGED."""


class Session(msgspec.Struct):
    """One exchange: its nonce, and after attestation the guest's key (raw point) and the facts for policy."""

    id: str
    nonce: str
    created_ns: int
    state: ExchangeState = ExchangeState.CHALLENGED
    tee_key: bytes = b""
    facts: dict[str, int | str] = {}
    problem: str = ""

    def move(self, event: ExchangeInput) -> ExchangeEffect:
        """Take one step of the table. Raises Denied (session) when the state does not know the input."""
        step = TRANSITIONS.get((self.state, event))
        if step is None:
            raise Denied(f"session is {self.state}: {event} is not possible", reason=RefusalReason.SESSION)
        self.state, effect = step
        return effect


class AuditEvent(StrEnum):
    """What an audit record tells."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    RELEASED = "released"
    DENIED = "denied"


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One release or denial and its reason; identities as hex, empty when they were never verified."""

    number: int
    at_ns: int
    session: str
    event: AuditEvent
    resource: str = ""
    reason: str
    detail: str
    instance_id: str = ""
    initial_measurement: str = ""


class BrokerState(msgspec.Struct):
    """Everything of a broker that a snapshot holds."""

    sessions: dict[str, Session] = {}
    audit: list[AuditRecord] = []
    audit_count: int = 0
    version: int = 1
