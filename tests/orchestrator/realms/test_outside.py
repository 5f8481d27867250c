"""What the control plane still holds to account when a verifier outside judges the evidence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from attestation.errors import Denied, RefusalReason
from attestation.kbs.client import Guest
from cca_machine.commands import Launch
from orchestrator.inputs import VerifierAnswered
from orchestrator.realms.attestation import Subject
from orchestrator.realms.outside import OutsideVerifier
from orchestrator.realms.policy import secrets
from orchestrator.realms.reference import personalization, realm_spec, resource_path

S = 1_000_000_000


class Bench:
    """A verifier that asks outside, and one scripted machine with a Realm on it."""

    def __init__(self, small: Any) -> None:
        self.small = small
        self.machine = small.fleet["r1-std-01"]
        self.verifier = OutsideVerifier(small.cluster, small.made.machines, small.made.references, small.made.secret)
        self.challenge = self.verifier.challenge("web-001", 1, 0)
        self.subject = Subject("web-001", 1, "web", "r1-std-01", "bring-up")

    def ask(self, kind: str = "web", nonce: str = "", **spec: Any) -> Any:
        realm = msgspec.structs.replace(realm_spec(self.small.cluster, kind, "web-001", 1), **spec)
        self.machine.copies = {}
        launched = self.machine.on_launch(0, Launch(realm, nonce or self.challenge.nonce, 1))[0]
        return self.verifier.appraise_evidence(self.subject, self.challenge.session, bytes(launched.evidence), 5)

    def answer(self, accepted: bool = True, number: int = 1) -> Any:
        reason = "" if accepted else "policy"
        said = VerifierAnswered(number, "web-001", accepted, reason, "said so", {"realm/executables": "affirming"})
        return self.verifier.answer(said, 7 * S)


@pytest.fixture
def bench(world: Any) -> Bench:
    db = {"image": "web", "memory": "32MiB", "secret": "db"}
    web = {"image": "web", "memory": "16MiB", "count": 3}
    return Bench(world(realms={"web": web, "db": db}))


def test_evidence_becomes_one_question_and_its_answer_the_verdict(bench: Bench) -> None:
    assert bench.ask() is None
    [question] = bench.verifier.take_questions()
    assert bench.verifier.take_questions() == []
    guest = Guest(bytes(32), question.runtime_data["nonce"])
    assert (question.number, question.realm, len(question.challenge)) == (1, "web-001", 64)
    assert guest.nonce == bench.challenge.nonce
    verdict = bench.answer()
    assert (verdict.passed, verdict.detail, verdict.service.replied_ns) == (True, "said so", 7 * S)
    assert verdict.tiers == {"realm/executables": "affirming"}


def test_a_verdict_releases_the_secret_to_the_guest_of_the_evidence(bench: Bench) -> None:
    bench.ask()
    sealed = bench.verifier.release(bench.answer())
    [copy] = bench.machine.copies.values()
    secret = secrets(bench.small.cluster, bench.small.made.secret)[resource_path(bench.small.cluster, "web")]
    assert copy.guest.open(sealed) == secret


def test_nothing_is_released_without_a_verdict_or_twice(bench: Bench) -> None:
    bench.ask()
    verdict = bench.answer()
    bench.verifier.release(verdict)
    with pytest.raises(Denied):
        bench.verifier.release(verdict)


@pytest.mark.parametrize(("spec", "reason"), [
    ({"kind": "db"}, RefusalReason.CLAIMS),
    ({"rpv": personalization("web-002")}, RefusalReason.BINDING),
])  # fmt: skip
def test_good_evidence_of_another_realm_is_refused_whatever_was_said(
    bench: Bench, spec: dict[str, Any], reason: RefusalReason
) -> None:
    bench.ask(**spec)
    verdict = bench.answer()
    assert (verdict.passed, verdict.reason) == (False, reason)
    with pytest.raises(Denied):
        bench.verifier.release(verdict)


def test_what_was_refused_outside_is_refused_in_its_words(bench: Bench) -> None:
    bench.ask()
    verdict = bench.answer(accepted=False)
    assert (verdict.passed, verdict.reason, verdict.detail) == (False, "policy", "said so")


def test_evidence_over_another_nonce_is_refused_and_asked_of_nobody(bench: Bench) -> None:
    verdict = bench.ask(nonce="AAAA")
    assert (verdict.passed, verdict.reason) == (False, RefusalReason.FRESHNESS)
    assert bench.verifier.take_questions() == []


def test_an_answer_that_nobody_waits_for_is_none(bench: Bench) -> None:
    bench.ask()
    assert bench.answer(number=2) is None
    assert bench.answer() is not None
    assert bench.answer() is None
