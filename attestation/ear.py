"""EAR, the attestation result that relying parties read: records, JSON and CBOR forms, JWT and CWT.

Two spellings exist: the one of today's tools (dots and hyphens, veraison/ear and Trustee) and the one of
draft-ietf-rats-ear-03 (underscores, policy ids as a list). Which applies is said by ``eat_profile``; both are read,
each by its own names. Numbers of the CBOR form are the same in both. Sources: draft-ietf-rats-ear, veraison/ear.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from attestation import cbor, cose, jws
from attestation.errors import Malformed, RefusalReason, Stale, Untrusted
from attestation.keys import PublicKey, SigningKey, from_base64url, to_base64url
from attestation.trust import Tier, TrustClaim, tier_of

EAR_LIMITS = cbor.Limits(max_bytes=jws.MAX_BYTES, max_depth=16)
TAG_CWT = 61
CLOCK_SKEW_S = 60
"""How far in the future a result may have been issued, in seconds, before it is refused."""


class EarProfile(StrEnum):
    """Values of ``eat_profile``."""

    VERAISON = "tag:github.com,2023:veraison/ear"
    TRUSTEE = "tag:github.com,2024:confidential-containers/Trustee"
    DRAFT_03 = "tag:ietf.org,2026:rats/ear#03"


class Name(NamedTuple):
    """One member: record field, JSON name of the tools, JSON name of draft -03, CBOR key."""

    field: str
    tools: str
    draft: str
    key: int


TOP = (
    Name("profile", "eat_profile", "eat_profile", 265),
    Name("issued_at", "iat", "iat", 6),
    Name("expires_at", "exp", "exp", 4),
    Name("verifier", "ear.verifier-id", "ear_verifier_id", 1004),
    Name("raw_evidence", "ear.raw-evidence", "ear_raw_evidence", 1002),
    Name("nonce", "eat_nonce", "eat_nonce", 10),
    Name("submods", "submods", "submods", 266),
)
SUBMOD = (
    Name("status", "ear.status", "ear_status", 1000),
    Name("vector", "ear.trustworthiness-vector", "ear_trustworthiness_vector", 1001),
    Name("policy_ids", "ear.appraisal-policy-id", "ear_appraisal_policy_ids", 1003),
    Name("annotated_evidence", "ear.veraison.annotated-evidence", "ear_veraison_annotated_evidence", -70000),
    Name("policy_claims", "ear.veraison.policy-claims", "ear_veraison_policy_claims", -70001),
    Name("key_attestation", "ear.veraison.key-attestation", "ear_veraison_key_attestation", -70002),
)
_VERIFIER = (Name("developer", "developer", "developer", 0), Name("build", "build", "build", 1))
_VECTOR = tuple(Name(claim, claim, claim, number) for number, claim in enumerate(TrustClaim))
_TIERS: dict[object, Tier] = {tier.text: tier for tier in Tier} | {int(tier): tier for tier in Tier}
_PUBLIC_KEY = "akpub"


class VerifierId(msgspec.Struct, frozen=True):
    """Who appraised: developer and build of the verifier."""

    developer: str
    build: str


class Submod(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one attester; ``vector`` holds the members that were present, None when there was no vector.

    ``key_attestation`` is the public key that the attester vouches for (SubjectPublicKeyInfo in DER).
    """

    status: Tier
    vector: dict[TrustClaim, int] | None = None
    policy_ids: tuple[str, ...] = ()
    annotated_evidence: dict[str, Any] | None = None
    policy_claims: dict[str, Any] | None = None
    key_attestation: bytes | None = None
    extra: dict[str | int, Any] = {}

    @property
    def contradicted(self) -> bool:
        """Whether the vector holds a worse tier than the status admits: a reason for a relying party to look twice."""
        return any(tier_of(value) > self.status for value in (self.vector or {}).values())


class Ear(msgspec.Struct, frozen=True, kw_only=True):
    """An attestation result; instants in seconds since the epoch. ``extra`` keeps members that have no field here."""

    profile: str = EarProfile.VERAISON
    issued_at: int
    expires_at: int | None = None
    verifier: VerifierId
    raw_evidence: bytes | None = None
    nonce: str | None = None
    submods: dict[str, Submod]
    extra: dict[str | int, Any] = {}

    @property
    def affirming(self) -> bool:
        """Whether every submod is affirming, and no vector contradicts its status."""
        return all(submod.status is Tier.AFFIRMING and not submod.contradicted for submod in self.submods.values())


class _Form(NamedTuple):
    """How members are spelled: JSON names of one spelling, or CBOR keys."""

    json: bool
    draft: bool

    def label(self, name: Name) -> str | int:
        if not self.json:
            return name.key
        return name.draft if self.draft else name.tools

    def bytes_out(self, value: bytes) -> Any:
        return to_base64url(value) if self.json else value


# -- reading ----------------------------------------------------------------------------------------------------------


def read_json_claims(document: Any) -> Ear:
    """Read the JSON form of an EAR claim set, already parsed. Raises Malformed."""
    return _read(document, json=True)


def read_cbor_claims(data: bytes) -> Ear:
    """Read the CBOR form of an EAR claim set. Raises Malformed."""
    return _read(cbor.decode(data, EAR_LIMITS), json=False)


def _read(document: Any, *, json: bool) -> Ear:
    if not isinstance(document, dict):
        raise Malformed("attestation result is not a map")
    label: str | int = "eat_profile" if json else 265
    if document.get(label) not in tuple(EarProfile):
        found = "missing" if label not in document else "not one of an EAR"
        raise Malformed(f"profile is {found}", reason=RefusalReason.PROFILE, label=label)
    form = _Form(json, document[label] == EarProfile.DRAFT_03)
    values, extra = _split(document, TOP, form)
    for name in TOP:
        if name.field in ("issued_at", "verifier", "submods") and name.field not in values:
            raise Malformed("mandatory member is missing", label=form.label(name))
    submods = values["submods"]
    if not isinstance(submods, dict) or not submods:
        raise Malformed("there must be at least one submod", label=form.label(TOP[6]))
    return Ear(
        profile=values["profile"],
        issued_at=_seconds(values["issued_at"], form.label(TOP[1])),
        expires_at=_seconds(values["expires_at"], form.label(TOP[2])) if "expires_at" in values else None,
        verifier=_read_verifier(values["verifier"], form),
        raw_evidence=_bytes(values["raw_evidence"], form, form.label(TOP[4])) if "raw_evidence" in values else None,
        nonce=_nonce(values["nonce"], form.label(TOP[5])) if "nonce" in values else None,
        submods={_submod_name(name): _read_submod(value, form, name) for name, value in submods.items()},
        extra=extra,
    )


def _split(document: dict[Any, Any], names: tuple[Name, ...], form: _Form) -> tuple[dict[str, Any], dict[Any, Any]]:
    """Members by field, and the rest."""
    fields = {form.label(name): name.field for name in names}
    known = {fields[label]: value for label, value in document.items() if label in fields}
    return known, {label: value for label, value in document.items() if label not in fields}


def _seconds(value: Any, label: str | int) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise Malformed("instant is not a whole number of seconds since the epoch", label=label)
    return value


def _nonce(value: Any, label: str | int) -> str:
    if not isinstance(value, str) or not 8 <= len(value) <= 88:
        raise Malformed("nonce is not a text of 8 to 88 characters", label=label)
    return value


def _bytes(value: Any, form: _Form, label: str | int) -> bytes:
    if form.json and isinstance(value, str):
        try:
            return from_base64url(value)
        except Malformed:
            raise Malformed("value is not base64url", label=label) from None
    if form.json or not isinstance(value, bytes):
        raise Malformed("value is not base64url" if form.json else "value is not a byte string", label=label)
    return value


def _read_verifier(value: Any, form: _Form) -> VerifierId:
    label = form.label(TOP[3])
    members, _ = _split(value, _VERIFIER, form) if isinstance(value, dict) else ({}, {})
    if not all(isinstance(members.get(name.field), str) for name in _VERIFIER):
        raise Malformed("verifier id must name developer and build", label=label)
    return VerifierId(**members)


def _submod_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise Malformed("submod name is not a non-empty text", label="submods")
    return name


def _read_submod(value: Any, form: _Form, name: Any) -> Submod:
    part = f"submod {name!r:.60}"
    if not isinstance(value, dict):
        raise Malformed("submod is not a map", part=part)
    values, extra = _split(value, SUBMOD, form)
    labels = {each.field: form.label(each) for each in SUBMOD}
    try:
        status = values.get("status")
        if isinstance(status, bool) or not isinstance(status, str | int) or status not in _TIERS:
            raise Malformed("status is not one of the four tiers", label=labels["status"])
        return Submod(
            status=_TIERS[status],
            vector=_read_vector(values["vector"], form, labels["vector"]) if "vector" in values else None,
            policy_ids=_policy_ids(values["policy_ids"], form, labels["policy_ids"]) if "policy_ids" in values else (),
            annotated_evidence=_object(values, "annotated_evidence", labels),
            policy_claims=_object(values, "policy_claims", labels),
            key_attestation=_key(values["key_attestation"], form, labels["key_attestation"])
            if "key_attestation" in values
            else None,
            extra=extra,
        )
    except Malformed as refusal:
        raise refusal.located(part=part) from None


def _read_vector(value: Any, form: _Form, label: str | int) -> dict[TrustClaim, int]:
    if not isinstance(value, dict) or not value:
        raise Malformed("trustworthiness vector is not a non-empty map", label=label)
    members, unknown = _split(value, _VECTOR, form)
    if unknown:
        raise Malformed(f"trustworthiness vector has an unknown member {next(iter(unknown))!r:.40}", label=label)
    for claim, number in members.items():
        if type(number) is not int or not -128 <= number <= 127:
            raise Malformed(f"{claim} is not a signed 8-bit number", label=label)
    return {claim: members[claim] for claim in TrustClaim if claim in members}


def _policy_ids(value: Any, form: _Form, label: str | int) -> tuple[str, ...]:
    """One text in the tools' form, a list of texts in the draft's."""
    listed = value if form.draft else [value]
    if not isinstance(listed, list) or not listed or not all(isinstance(item, str) and item for item in listed):
        raise Malformed(
            "appraisal policy id is not text" if not form.draft else "not a list of policy ids", label=label
        )
    return tuple(listed)


def _object(values: dict[str, Any], field: str, labels: dict[str, str | int]) -> dict[str, Any] | None:
    value = values.get(field)
    if field in values and (not isinstance(value, dict) or not all(isinstance(key, str) for key in value)):
        raise Malformed("value is not a map with text keys", label=labels[field])
    return value


def _key(value: Any, form: _Form, label: str | int) -> bytes:
    if not isinstance(value, dict) or _PUBLIC_KEY not in value:
        raise Malformed(f"key attestation has no {_PUBLIC_KEY}", label=label)
    key = _bytes(value[_PUBLIC_KEY], form, label)
    if not key:
        raise Malformed(f"{_PUBLIC_KEY} is empty", label=label)
    return key


# -- writing ----------------------------------------------------------------------------------------------------------


def json_claims(ear: Ear) -> dict[str, Any]:
    """The JSON form of a claim set, in the spelling of its profile, always in the same order."""
    return _write(ear, _Form(True, ear.profile == EarProfile.DRAFT_03))


def cbor_claims(ear: Ear) -> bytes:
    """The CBOR form of a claim set, always in the same order."""
    return cbor.encode(_write(ear, _Form(False, ear.profile == EarProfile.DRAFT_03)))


def _write(ear: Ear, form: _Form) -> dict[Any, Any]:
    values: dict[str, Any] = {
        "profile": str(ear.profile),
        "issued_at": ear.issued_at,
        "expires_at": ear.expires_at,
        "verifier": {form.label(name): getattr(ear.verifier, name.field) for name in _VERIFIER},
        "raw_evidence": None if ear.raw_evidence is None else form.bytes_out(ear.raw_evidence),
        "nonce": ear.nonce,
        "submods": {name: _write_submod(submod, form) for name, submod in ear.submods.items()},
    }
    return _labelled(values, TOP, form) | ear.extra


def _labelled(values: Mapping[str, Any], names: tuple[Name, ...], form: _Form) -> dict[Any, Any]:
    return {form.label(name): values[name.field] for name in names if values.get(name.field) is not None}


def _write_vector(vector: dict[TrustClaim, int], form: _Form) -> dict[Any, Any]:
    return {form.label(name): vector[claim] for name, claim in zip(_VECTOR, TrustClaim, strict=True) if claim in vector}


def _write_submod(submod: Submod, form: _Form) -> dict[Any, Any]:
    key = submod.key_attestation
    values: dict[str, Any] = {
        "status": submod.status.text if form.json else int(submod.status),
        "vector": _write_vector(submod.vector, form) if submod.vector else None,
        "annotated_evidence": submod.annotated_evidence,
        "policy_claims": submod.policy_claims,
        "key_attestation": None if key is None else {_PUBLIC_KEY: form.bytes_out(key)},
    }
    if submod.policy_ids:
        if len(submod.policy_ids) > 1 and not form.draft:
            raise ValueError("the spelling of today's tools has room for one appraisal policy id")
        values["policy_ids"] = list(submod.policy_ids) if form.draft else submod.policy_ids[0]
    return _labelled(values, SUBMOD, form) | submod.extra


# -- signed -----------------------------------------------------------------------------------------------------------


def sign_jwt(ear: Ear, key: SigningKey, *, embed_key: bool = False) -> str:
    """Sign as JWT, deterministically; tools expect a P-256 key (ES256)."""
    return jws.sign(json_claims(ear), key, embed_key=embed_key)


def sign_cwt(ear: Ear, key: SigningKey) -> bytes:
    """Sign as CWT (a tagged COSE_Sign1), deterministically."""
    return cose.sign(cbor_claims(ear), key)


def verify_jwt(token: str | bytes, key: PublicKey, *, now_s: int | None = None, nonce: str | None = None) -> Ear:
    """Verify an EAR in JWT form: signature, then form, instants (when ``now_s`` is given), nonce. Raises Refused."""
    parsed = jws.parse(token)
    parsed.verify(key)
    ear = read_json_claims(parsed.payload)
    check(ear, now_s=now_s, nonce=nonce)
    return ear


def verify_cwt(token: bytes, key: PublicKey, *, now_s: int | None = None, nonce: str | None = None) -> Ear:
    """Verify an EAR in CWT form (COSE_Sign1, with or without tag 61 around it), like :func:`verify_jwt`."""
    value = cbor.decode(token, EAR_LIMITS)
    if isinstance(value, cbor.Tag) and value.number == TAG_CWT:
        value = value.value
    sign1 = cose.from_value(value, token)
    sign1.verify(key)
    ear = read_cbor_claims(sign1.payload)
    check(ear, now_s=now_s, nonce=nonce)
    return ear


def check(ear: Ear, *, now_s: int | None = None, nonce: str | None = None) -> None:
    """Check that a result is of its time and answers ``nonce``. Raises Stale, or Untrusted when it has no nonce."""
    if now_s is not None:
        if ear.issued_at > now_s + CLOCK_SKEW_S:
            raise Stale(f"result was issued in the future: {ear.issued_at}, it is {now_s}", label="iat")
        if ear.expires_at is not None and now_s >= ear.expires_at:
            raise Stale(f"result has expired at {ear.expires_at}, it is {now_s}", label="exp")
    if nonce is not None:
        if ear.nonce is None:
            raise Untrusted("result carries no nonce", reason=RefusalReason.FRESHNESS, label="eat_nonce")
        if ear.nonce != nonce:
            raise Stale("result answers another nonce", label="eat_nonce")
