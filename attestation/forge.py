"""A corpus of evidence: good tokens and forged ones of every kind, each with the verdict it must get.

Deterministic: seed and count fix every byte. A corpus is judged with its own trust anchors and reference values, whose
JSON forms are the ccatoken stores, so that any verifier can be tried with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count as numbers
from typing import Any

import msgspec

from attestation.appraise import appraise
from attestation.errors import Refused
from attestation.forge_bench import Bench, Machine
from attestation.forge_recipes import RECIPES, Kind, Recipe
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.verify import verify

MAX_CASES = 1_000_000


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One token and the verdict it must get: failure class and label, or the status of both halves."""

    number: int
    kind: Kind
    name: str
    token: bytes
    nonce: bytes
    reason: str = ""
    label: int | str | None = None
    platform_status: str = ""
    realm_status: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the token must verify."""
        return not self.reason

    @property
    def file(self) -> str:
        """A file name for the token."""
        words = "".join(letter if letter.isalnum() else " " for letter in self.name.lower()).split()
        return f"{self.number:06d}-{self.kind}-{'-'.join(words)}.cbor"


class Corpus(msgspec.Struct, frozen=True):
    """Cases, and the machines whose anchors and references they are to be judged with."""

    cases: tuple[Case, ...]
    machines: tuple[Machine, ...]

    def anchors(self) -> TrustAnchors:
        """Trust anchors of all machines."""
        return TrustAnchors(machine.anchor() for machine in self.machines)

    def references(self) -> ReferenceValues:
        """Reference values of all machines."""
        return ReferenceValues(
            (machine.platform_reference() for machine in self.machines),
            (machine.realm_reference() for machine in self.machines),
        )

    def manifest(self) -> dict[str, Any]:
        """What must become of each file, as plain data: members as in the records, bytes in hex."""
        return {"kind": "token-corpus", "schema_version": 1, "cases": [_row(case) for case in self.cases]}


def _row(case: Case) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": case.file,
        "kind": case.kind.value,
        "name": case.name,
        "nonce": case.nonce.hex(),
        "verdict": "accepted" if case.accepted else "refused",
    }
    if case.accepted:
        return row | {"platform_status": case.platform_status, "realm_status": case.realm_status}
    return row | {"reason": case.reason, "label": case.label}


def forge(seed: bytes, count: int | None = None, kinds: Iterable[Kind] = tuple(Kind)) -> Corpus:
    """Make ``count`` cases of the kinds asked for (default: each recipe once). Raises ValueError on a bad count."""
    wanted = frozenset(kinds)
    recipes = [recipe for recipe in RECIPES if recipe.kind in wanted]
    total = len(recipes) if count is None else count
    if not recipes or not 0 < total <= MAX_CASES:
        raise ValueError(f"a corpus has 1 to {MAX_CASES} cases of at least one kind")
    cases: list[Case] = []
    machines: list[Machine] = []
    for bench in _benches(seed):
        machines += [bench.machine, bench.neighbour]
        cases += [_case(len(cases) + at, recipe, bench) for at, recipe in enumerate(recipes[: total - len(cases)])]
        if len(cases) == total:
            break
    return Corpus(tuple(cases), tuple(machines))


def _benches(seed: bytes) -> Iterator[Bench]:
    return (Bench(seed, number) for number in numbers())


def _case(number: int, recipe: Recipe, bench: Bench) -> Case:
    refused = recipe.reason is not None
    return Case(
        number=number, kind=recipe.kind, name=recipe.name, token=recipe.make(bench), nonce=bench.nonce,
        reason=recipe.reason.value if recipe.reason is not None else "", label=recipe.label,
        platform_status="" if refused else recipe.platform.text, realm_status="" if refused else recipe.realm.text,
    )  # fmt: skip


def judge(case: Case, anchors: TrustAnchors, references: ReferenceValues) -> str:
    """What our verifier says against the label: empty when it agrees, else a sentence that tells the difference."""
    try:
        verified = verify(case.token, anchors, case.nonce)
    except Refused as refusal:
        if case.accepted:
            return f"refused ({refusal.reason}): {refusal}"
        if refusal.reason != case.reason:
            return f"refused for {refusal.reason} instead of {case.reason}: {refusal}"
        if case.label is not None and refusal.label != case.label:
            return f"refused at label {refusal.label} instead of {case.label}: {refusal}"
        return ""
    if not case.accepted:
        return f"accepted, though {case.reason} was to be found"
    appraisal = appraise(verified, references)
    statuses = (appraisal.platform.status.text, appraisal.realm.status.text)
    if statuses != (case.platform_status, case.realm_status):
        return f"appraised {statuses[0]} and {statuses[1]}"
    return ""
