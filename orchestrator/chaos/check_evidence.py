"""Checkers of attestation: nobody serves unproven, no verdict over borrowed evidence, no secret against a refusal."""

from __future__ import annotations

from orchestrator.chaos.history import Life, Line
from orchestrator.chaos.verdict import Case, Outcome, Verdict, Violations
from orchestrator.engine.instant import format_instant

Incarnation = tuple[str, int]


def attested_before_serving(case: Case) -> Verdict:
    """No incarnation serves before its evidence passed and its secret was released, nor unproven after a move.

    A migrated Realm brings its secret along; within `reattest_within_ns` evidence from its new machine must have
    passed, unless it no longer runs there by then.
    """
    found, open_ends = Violations(), 0
    passed: set[Incarnation] = set()
    released: set[Incarnation] = set()
    serving = 0
    for line in case.lines:
        if line.kind == "realm.verdict" and line.what["passed"]:
            passed.add(line.incarnation)
        elif line.kind == "secret.released":
            released.add(line.incarnation)
        elif line.kind == "realm.live" and line.what["serving"]:
            serving += 1
            realm, incarnation = line.incarnation
            if line.incarnation not in passed:
                found.add(
                    f"{realm}#{incarnation} serves on {line.source} and no verdict over its evidence passed", line
                )
            elif line.incarnation not in released:
                found.add(f"{realm}#{incarnation} serves on {line.source} and no secret was released to it", line)
    proofs = _proofs(case)
    for life in _moved(case):
        proof = _proven_on(case, life, proofs.get((life.realm, life.incarnation, life.machine), []))
        if proof is None:
            open_ends += 1
        elif not proof:
            until = format_instant(life.from_ns + case.facts.reattest_within_ns)
            found.add(f"{life.realm}#{life.incarnation} moved to {life.machine} and has not attested there by {until}",
                      life.began)  # fmt: skip
    verdict = found.verdict("attested-before-serving", f"{serving} times a Realm began to serve, always proven")
    if verdict.outcome is Outcome.PASS and open_ends:
        detail = f"the run ends before {open_ends} moved Realms had to attest on their new machine"
        return Verdict(verdict.name, Outcome.UNKNOWN, detail)
    return verdict


def _moved(case: Case) -> list[Life]:
    """The first serving stretch of an incarnation on each machine that it moved to."""
    homes: dict[Incarnation, set[str]] = {}
    moved = []
    for life in case.lives:
        if life.serving_from_ns is None:
            continue
        known = homes.setdefault((life.realm, life.incarnation), set())
        if known and life.machine not in known:
            moved.append(life)
        known.add(life.machine)
    return moved


def _proofs(case: Case) -> dict[tuple[str, int, str], list[int]]:
    """Instants of verdicts that passed, by realm, incarnation and machine."""
    proofs: dict[tuple[str, int, str], list[int]] = {}
    for line in case.of("realm.verdict"):
        if line.what["passed"]:
            proofs.setdefault((*line.incarnation, line.what["machine"]), []).append(line.at_ns)
    return proofs


def _proven_on(case: Case, life: Life, proofs_ns: list[int]) -> bool | None:
    """Whether evidence from the new machine passed in time; None when it had not to before the end."""
    until_ns = life.from_ns + case.facts.reattest_within_ns
    if any(life.from_ns <= at_ns <= until_ns for at_ns in proofs_ns):
        return True
    if life.until_ns is not None and life.until_ns <= until_ns:
        return True
    return None if case.facts.end_ns < until_ns else False


def evidence_genuine(case: Case) -> Verdict:
    """Every verdict that passed is over a token which that incarnation made itself, and over a new one each time."""
    found = Violations()
    made: dict[str, tuple[Incarnation, Line]] = {}
    spent: dict[str, Line] = {}
    count = 0
    for line in case.of("realm.evidence", "realm.verdict"):
        if line.kind == "realm.evidence":
            made.setdefault(line.what["sha256"], (line.incarnation, line))
            continue
        if not line.what["passed"]:
            continue
        count += 1
        digest, name = line.what["evidence_sha256"], f"{line.what['realm']}#{line.what['incarnation']}"
        maker = made.get(digest)
        if maker is None:
            found.add(f"a verdict for {name} passed over evidence that no Realm made", line)
        elif maker[0] != line.incarnation:
            found.add(f"a verdict for {name} passed over evidence of {maker[0][0]}#{maker[0][1]}", maker[1], line)
        elif digest in spent:
            found.add(f"a verdict for {name} passed over evidence that had served before", spent[digest], line)
        spent[digest] = line
    return found.verdict("evidence-genuine", f"{count} verdicts passed, each over fresh evidence of its own Realm")


def no_secret_after_refusal(case: Case) -> Verdict:
    """Each secret is released on a verdict that passed over the same evidence of the same incarnation."""
    found = Violations()
    verdicts: dict[tuple[Incarnation, str], Line] = {}
    count = 0
    for line in case.of("realm.verdict", "secret.released"):
        key = (line.incarnation, line.what["evidence_sha256"])
        if line.kind == "realm.verdict":
            verdicts[key] = line
            continue
        count += 1
        verdict = verdicts.get(key)
        name = f"{line.what['realm']}#{line.what['incarnation']}"
        if verdict is None:
            found.add(f"a secret was released to {name} without a verdict over its evidence", line)
        elif not verdict.what["passed"]:
            found.add(f"a secret was released to {name} against a verdict of {verdict.what['reason']}", verdict, line)
    return found.verdict("no-secret-after-refusal", f"{count} secrets released, each on its own passed verdict")
