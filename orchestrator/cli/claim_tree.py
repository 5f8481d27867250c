"""Claims as a tree for people: one line a claim, and beside it what was found out about it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from rich.text import Text

from attestation.appraise import Appraisal, Explanation
from attestation.claim_records import lifecycle_name
from attestation.profiles import PLATFORM_TABLES, REALM_TABLES
from attestation.token import Evidence
from attestation.trust import Tier, TrustClaim


class Mark(StrEnum):
    """How a claim came out."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    UNJUDGED = "unjudged"


class Note(Struct, frozen=True):
    """What was found out about one claim, in a few words."""

    mark: Mark
    text: str


Notes = dict[str, Note]
"""Notes by dotted path, such as ``platform.config``."""

_STYLES = {Mark.GOOD: "green", Mark.WARNING: "yellow", Mark.BAD: "bold red", Mark.UNJUDGED: "dim"}
_SIGNS = {Mark.GOOD: "✓", Mark.WARNING: "!", Mark.BAD: "✗", Mark.UNJUDGED: "·"}
_MARK_OF_TIER = {
    Tier.NONE: Mark.UNJUDGED,
    Tier.AFFIRMING: Mark.GOOD,
    Tier.WARNING: Mark.WARNING,
    Tier.CONTRAINDICATED: Mark.BAD,
}
_PLATFORM_CLAIM_OF = {
    TrustClaim.INSTANCE_IDENTITY: "lifecycle",
    TrustClaim.CONFIGURATION: "config",
    TrustClaim.EXECUTABLES: "sw_components",
}
_FIELDS = {("platform", rule.label): rule.field for table in PLATFORM_TABLES.values() for rule in table.rules} | {
    ("realm", rule.label): rule.field for table in REALM_TABLES.values() for rule in table.rules
}


def field_of(part: str, label: object) -> str:
    """The path of the claim that a refusal names; empty when it names none."""
    half = "platform" if part.startswith("platform") else "realm" if part.startswith("realm") else ""
    field = _FIELDS.get((half, label)) if isinstance(label, int) else None
    return f"{half}.{field}" if field else half


def plain_claims(evidence: Evidence) -> dict[str, Any]:
    """Both claim sets as plain data, byte strings in hex, with the names of things where numbers have one."""
    platform = _plain(msgspec.structs.asdict(evidence.platform.claims))
    lifecycle = lifecycle_name(evidence.platform.claims.lifecycle)
    platform["lifecycle_name"] = lifecycle.value if lifecycle is not None else None
    realm = _plain(msgspec.structs.asdict(evidence.realm.claims))
    ignored = evidence.ignored + evidence.platform.ignored + evidence.realm.ignored
    return {"wrapper": int(evidence.wrapper), "platform": platform, "realm": realm, "ignored": list(ignored)}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Struct):
        return _plain(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def verified_notes(fresh: bool) -> Notes:
    """Notes for a token that passed every check."""
    return {
        "platform": Note(Mark.GOOD, "signature holds under the trust anchor"),
        "platform.challenge": Note(Mark.GOOD, "hash of the realm's key"),
        "platform.workload_binding": Note(Mark.GOOD, "hash of the realm's key"),
        "realm": Note(Mark.GOOD, "signature holds under a key that the platform vouches for"),
        "realm.challenge": Note(Mark.GOOD, "answers the nonce")
        if fresh
        else Note(Mark.UNJUDGED, "freshness not judged (no --nonce)"),
    }


def appraisal_notes(appraisal: Appraisal) -> Notes:
    """Notes for the claims that members of the trust vectors rest on."""
    notes: Notes = {}
    for told in appraisal.platform.explanations:
        field = _PLATFORM_CLAIM_OF.get(told.claim)
        if field is not None:
            notes[f"platform.{field}"] = _note(told)
    for told in appraisal.realm.explanations:
        if told.claim is TrustClaim.EXECUTABLES:
            notes["realm.initial_measurement"] = _note(told)
    return notes


def _note(told: Explanation) -> Note:
    found = "" if told.tier is Tier.AFFIRMING else f": {told.found}"
    return Note(_MARK_OF_TIER[told.tier], f"{told.claim} {told.value}, {told.meaning}{found}")


def tree(claims: Mapping[str, Any], notes: Notes) -> Text:
    """Claims as an indented tree with their notes; styles show on a terminal only."""
    text = Text()
    for line in _lines(claims, notes, 0, ""):
        text.append_text(line).append("\n")
    text.right_crop()
    return text


def _lines(value: Mapping[str, Any], notes: Notes, depth: int, path: str) -> list[Text]:
    lines: list[Text] = []
    for key, item in value.items():
        if item in (None, [], ""):
            continue
        here = f"{path}.{key}" if path else key
        margin, note = "  " * depth, notes.get(here)
        if isinstance(item, Mapping):
            lines += [_line(f"{margin}{key}", "", note), *_lines(item, notes, depth + 1, here)]
        elif isinstance(item, list) and isinstance(item[0], dict):
            lines.append(_line(f"{margin}{key}", "", note))
            for number, entry in enumerate(item):
                lines.append(Text(f"{margin}  [{number}]"))
                lines += _lines(entry, notes, depth + 2, f"{here}.{number}")
        elif isinstance(item, list):
            lines += [_line(f"{margin}{key}", "", note), *(Text(f"{margin}  {entry}") for entry in item)]
        else:
            lines.append(_line(f"{margin}{key}", f": {item}", note))
    return lines


def _line(name: str, value: str, note: Note | None) -> Text:
    line = Text(name, style="bold").append(value, style="not bold")
    if note is not None:
        line.append("   ").append_text(marked(note))
    return line


def marked(note: Note) -> Text:
    """A note with its sign, in its colour."""
    return Text(f"{_SIGNS[note.mark]} {note.text}", style=_STYLES[note.mark])
