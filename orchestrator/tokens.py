"""`realmfleet token decode|verify|appraise|explain`: verdicts on tokens as people and scripts want to see them.

The judging is all in `attestation`; here its answers become text or JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from rich.text import Text

from attestation.appraise import Appraisal, Scheme, SubmodAppraisal, appraise_claims
from attestation.appraise import appraise as appraise_verified
from attestation.errors import Refused
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.token import Evidence
from attestation.token import decode as decode_token
from attestation.verify import check_binding, check_freshness, read_rak
from attestation.verify import verify as verify_token
from orchestrator.cli.claim_tree import (
    Mark,
    Note,
    Notes,
    appraisal_notes,
    field_of,
    marked,
    plain_claims,
    tree,
    verified_notes,
)
from orchestrator.cli.key_files import read_token


class Answer(Struct, frozen=True):
    """What was found out about one token: the decoded claims if it could be read, the refusal if there is one."""

    kind: str
    claims: dict[str, Any] | None
    refusal: dict[str, Any] | None
    checks: tuple[str, ...] = ()
    notes: Notes = {}
    appraisal: Appraisal | None = None

    @property
    def good(self) -> bool:
        """Whether nothing was refused, and what was appraised is affirming."""
        return self.refusal is None and (self.appraisal is None or self.appraisal.affirming)

    def as_json(self) -> dict[str, Any]:
        """The answer as plain data."""
        answer = {
            "kind": self.kind,
            "verdict": "accepted" if self.good else "refused",
            "refusal": self.refusal,
            "checks": list(self.checks),
            "claims": self.claims,
            "notes": {path: {"mark": note.mark.value, "text": note.text} for path, note in self.notes.items()},
        }
        if self.appraisal is not None:
            answer["submods"] = {submod.name: _submod_json(submod) for submod in self.appraisal.submods}
        return answer

    def text(self) -> Text:
        """The answer for people: the verdict, then the claims as a tree."""
        text = Text()
        if self.refusal is not None:
            text.append(f"refused ({self.refusal['reason']}): {self.refusal['message']}\n", style="bold red")
        elif self.appraisal is not None:
            style = "bold green" if self.good else "bold red"
            statuses = ", ".join(f"{submod.name} is {submod.status.text}" for submod in self.appraisal.submods)
            text.append(f"{'accepted' if self.good else 'refused (policy)'}: {statuses}\n", style=style)
        elif self.checks:
            text.append("accepted: " + "; ".join(self.checks) + "\n", style="bold green")
        if self.claims is not None:
            text.append_text(tree(self.claims, self.notes))
        return text


def _submod_json(submod: SubmodAppraisal) -> dict[str, Any]:
    return {
        "status": submod.status.text,
        "trustworthiness_vector": {str(claim): value for claim, value in submod.vector.members().items()},
        "explanations": [
            {**msgspec.to_builtins(told), "tier": told.tier.text, "meaning": told.meaning}
            for told in submod.explanations
        ],
    }


def decode(data: bytes) -> Answer:
    """Take a token apart; nothing is judged but its form."""
    try:
        evidence = decode_token(read_token(data))
    except Refused as refusal:
        return Answer("token", None, _refusal(refusal))
    return Answer("token", plain_claims(evidence), None)


def verify(data: bytes, anchors: TrustAnchors, nonce: bytes | None) -> Answer:
    """Verify a token under `anchors`; without a nonce freshness is not judged, and the answer says so."""
    token = read_token(data)
    try:
        verified = verify_token(token, anchors, nonce)
    except Refused as refusal:
        return _refused("verification", token, refusal)
    return Answer(
        "verification", plain_claims(verified.evidence), None, _checks(verified.fresh), verified_notes(verified.fresh)
    )


def _checks(fresh: bool) -> tuple[str, ...]:
    told = "challenge answers the nonce" if fresh else "freshness not judged (no --nonce)"
    return "platform signature", "realm signature", "binding of realm to platform", told


def _refused(kind: str, token: bytes, refusal: Refused) -> Answer:
    """A refusal beside the claim it is about; a token whose form is broken has no claims to show."""
    try:
        claims = plain_claims(decode_token(token))
    except Refused:
        return Answer(kind, None, _refusal(refusal))
    path = field_of(refusal.part, refusal.label)
    return Answer(kind, claims, _refusal(refusal), notes={path: Note(Mark.BAD, refusal.message)} if path else {})


def appraise(
    data: bytes, anchors: TrustAnchors, nonce: bytes | None, references: ReferenceValues, scheme: Scheme
) -> Answer:
    """Verify a token and appraise its claims; good means that platform and Realm are affirming."""
    token = read_token(data)
    try:
        verified = verify_token(token, anchors, nonce)
    except Refused as refusal:
        return _refused("appraisal", token, refusal)
    appraisal = appraise_verified(verified, references, scheme)
    notes = verified_notes(verified.fresh) | appraisal_notes(appraisal)
    return Answer(
        "appraisal", plain_claims(verified.evidence), None, _checks(verified.fresh), notes, appraisal=appraisal
    )


class Step(Struct, frozen=True):
    """One step of verification in its order: what was asked, and what came out."""

    name: str
    mark: Mark
    found: str


class Explanation(Struct, frozen=True):
    """All steps of verification; later ones are tried even when an earlier one failed."""

    steps: tuple[Step, ...]

    @property
    def good(self) -> bool:
        """Whether no step failed."""
        return all(step.mark in (Mark.GOOD, Mark.UNJUDGED) for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """The explanation as plain data."""
        steps = [{"step": step.name, "mark": step.mark.value, "found": step.found} for step in self.steps]
        return {"kind": "token-explanation", "verdict": "accepted" if self.good else "refused", "steps": steps}

    def text(self) -> Text:
        """The explanation for people, one step a line."""
        text = Text()
        for number, step in enumerate(self.steps, 1):
            text.append(f"{number}. {step.name:<28} ")
            text.append_text(marked(Note(step.mark, step.found))).append("\n")
        return text


def explain(
    data: bytes, anchors: TrustAnchors | None, nonce: bytes | None, references: ReferenceValues | None
) -> Explanation:
    """Go through verification step by step and tell what each finds; a step without its input is left unjudged."""
    try:
        evidence = decode_token(read_token(data))
    except Refused as refusal:
        return Explanation((Step("form of the token", Mark.BAD, str(refusal)),))
    steps = [
        Step("form of the token", Mark.GOOD, f"collection under tag {evidence.wrapper:d}, both claim sets complete"),
        _step("trust anchor", anchors is not None, lambda: _anchor(evidence, anchors), "no --key"),
        _step("platform signature", anchors is not None, lambda: _platform_signature(evidence, anchors), "no --key"),
        _step("realm signature", True, lambda: _realm_signature(evidence)),
        _step("binding of realm to platform", True, lambda: _binding(evidence)),
        _step("freshness", nonce is not None, lambda: _freshness(evidence, nonce), "no --nonce"),
    ]
    if references is not None:
        appraisal = appraise_claims(evidence.platform.claims, evidence.realm.claims, references)
        for submod in appraisal.submods:
            steps += [_appraised(submod, note) for note in submod.explanations]
    return Explanation(tuple(steps))


def _step(name: str, possible: bool, check: Callable[[], str], missing: str = "") -> Step:
    if not possible:
        return Step(name, Mark.UNJUDGED, f"not judged ({missing})")
    try:
        return Step(name, Mark.GOOD, check())
    except Refused as refusal:
        return Step(name, Mark.BAD, f"{refusal.reason}: {refusal}")


def _anchor(evidence: Evidence, anchors: TrustAnchors | None) -> str:
    claims = evidence.platform.claims
    found = (anchors or TrustAnchors()).lookup(claims.instance_id, claims.implementation_id)
    return f"{found.public_key} is trusted for instance {claims.instance_id.hex()}"


def _platform_signature(evidence: Evidence, anchors: TrustAnchors | None) -> str:
    claims = evidence.platform.claims
    key = (anchors or TrustAnchors()).lookup(claims.instance_id, claims.implementation_id).public_key
    if key is not None:
        evidence.platform.sign1.verify(key)
    return "holds under the trust anchor"


def _realm_signature(evidence: Evidence) -> str:
    if evidence.realm.sign1 is None:
        return "direct mode: the realm claims are bound by their own hash"
    evidence.realm.sign1.verify(read_rak(evidence.realm.claims))
    return "holds under the key in claim 44237"


def _binding(evidence: Evidence) -> str:
    check_binding(evidence)
    return "the platform token carries the hash of the realm's key"


def _freshness(evidence: Evidence, nonce: bytes | None) -> str:
    check_freshness(evidence.realm.claims, nonce or b"")
    return "the realm challenge is the nonce"


def _appraised(submod: SubmodAppraisal, told: Any) -> Step:
    mark = {"affirming": Mark.GOOD, "warning": Mark.WARNING, "contraindicated": Mark.BAD}.get(told.tier.text, Mark.BAD)
    found = f"{told.value}, {told.meaning}; rule: {told.rule}; expected {told.expected}; found {told.found}"
    source = f"; source {told.source}" if told.source else ""
    half = "platform" if "PLATFORM" in submod.name else "realm"
    return Step(f"{half} {told.claim}", mark, found + source)


def _refusal(refusal: Refused) -> dict[str, Any]:
    return {
        "reason": refusal.reason.value,
        "message": str(refusal),
        "part": refusal.part,
        "label": refusal.label,
        "offset": refusal.offset,
    }
