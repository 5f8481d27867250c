"""The verifier as a service: exact instants of a queue, and verdicts that nothing but honest evidence passes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import Denied
from attestation.kbs.client import Guest
from cca_machine.commands import Launch
from orchestrator.realms.attestation import Service, Subject, Verifier, VerifierQueue
from orchestrator.realms.reference import realm_spec

MS = 1_000_000


def queue(servers: int, service: int = 5 * MS, latency: int = 12 * MS) -> VerifierQueue:
    return VerifierQueue([0] * servers, service, latency // 2, latency - latency // 2)


def test_an_idle_verifier_takes_its_latency_and_its_service_time() -> None:
    assert queue(1).serve(100) == Service(100, 100 + 6 * MS, 100 + 11 * MS, 100 + 17 * MS)


def test_work_waits_for_the_worker_that_is_free_first() -> None:
    busy = queue(2)
    assert [busy.serve(0).started_ns for _ in range(5)] == [6 * MS, 6 * MS, 11 * MS, 11 * MS, 16 * MS]


@given(
    servers=st.integers(1, 4),
    service=st.integers(1, 50),
    gaps=st.lists(st.integers(0, 60), min_size=1, max_size=40),
)
def test_no_more_pieces_are_in_service_than_there_are_workers(servers: int, service: int, gaps: list[int]) -> None:
    line = queue(servers, service, latency=7)
    arrived, done = 0, []
    for gap in gaps:
        arrived += gap
        done.append(line.serve(arrived))
    assert all(one.done_ns - one.started_ns == service for one in done)
    assert all(one.started_ns >= one.arrived_ns + 3 and one.replied_ns == one.done_ns + 4 for one in done)
    for one in done:
        assert sum(other.started_ns <= one.started_ns < other.done_ns for other in done) <= servers
    assert [one.started_ns for one in done] == sorted(one.started_ns for one in done)


class Bench:
    """One verifier and one scripted machine with a Realm on it."""

    def __init__(self, small: Any) -> None:
        self.small = small
        self.machine = small.fleet["r1-std-01"]
        self.verifier = Verifier(small.cluster, small.made.machines, small.made.references, small.made.secret)
        self.challenge = self.verifier.challenge("web-001", 1, 0)
        self.subject = Subject("web-001", 1, "web", "r1-std-01", "bring-up")

    def evidence(self, nonce: str, name: str = "web-001", kind: str = "web", **spec: Any) -> bytes:
        realm = msgspec.structs.replace(realm_spec(self.small.cluster, kind, name, 1), **spec)
        self.machine.copies = {}
        launched = self.machine.on_launch(0, Launch(realm, nonce, 1))[0]
        return bytes(launched.evidence)

    def judge(self, evidence: bytes) -> Any:
        return self.verifier.appraise_evidence(self.subject, self.challenge.session, evidence, 0)


@pytest.fixture
def bench(world: Any) -> Bench:
    db = {"image": "web", "memory": "32MiB", "secret": "db"}
    web = {"image": "web", "memory": "16MiB", "count": 3}
    return Bench(world(realms={"web": web, "db": db}))


def test_honest_evidence_passes_and_its_secret_opens_only_for_its_guest(bench: Bench) -> None:
    verdict = bench.judge(bench.evidence(bench.challenge.nonce))
    assert (verdict.passed, verdict.reason) == (True, "")
    assert verdict.rak == bench.machine.rak.public.cose_key()
    assert verdict.platform_token == bench.machine.token
    assert verdict.tiers["platform/executables"] == verdict.tiers["realm/executables"] == "affirming"
    sealed = bench.verifier.release(verdict)
    assert len(bench.machine.copies["web-001"].guest.open(sealed)) == 32
    with pytest.raises(Exception, match="not sealed for this key"):
        Guest(b"other".ljust(32, b".")).open(sealed)


def test_evidence_for_another_challenge_is_stale(bench: Bench) -> None:
    other = bench.verifier.challenge("web-001", 1, 0)
    verdict = bench.judge(bench.evidence(other.nonce))
    assert (verdict.passed, verdict.reason) == (False, "freshness")


def test_a_changed_token_is_refused_and_releases_nothing(bench: Bench) -> None:
    bench.machine.tamper = True
    verdict = bench.judge(bench.evidence(bench.challenge.nonce))
    assert (verdict.passed, verdict.reason) == (False, "signature")
    with pytest.raises(Denied):
        bench.verifier.release(verdict)


def test_bytes_that_are_no_evidence_are_a_refusal_and_not_a_crash(bench: Bench) -> None:
    assert bench.judge(b"\xff nonsense").reason == "malformed"


def test_a_nonce_admits_one_piece_of_evidence(bench: Bench) -> None:
    evidence = bench.evidence(bench.challenge.nonce)
    assert bench.judge(evidence).passed
    assert bench.judge(evidence).reason == "session"


def test_a_realm_of_another_kind_does_not_pass_for_this_one(bench: Bench) -> None:
    verdict = bench.judge(bench.evidence(bench.challenge.nonce, "web-001", "db"))
    assert not verdict.passed
    assert "another kind" in verdict.detail


def test_evidence_of_another_realm_of_the_kind_does_not_pass_for_this_one(bench: Bench) -> None:
    verdict = bench.judge(bench.evidence(bench.challenge.nonce, "web-002"))
    assert (verdict.passed, verdict.reason) == (False, "binding")


def test_a_changed_image_is_not_known_to_anybody(bench: Bench) -> None:
    image = msgspec.structs.replace(realm_spec(bench.small.cluster, "web", "web-001", 1).image, version=9)
    verdict = bench.judge(bench.evidence(bench.challenge.nonce, image=image))
    assert not verdict.passed
    assert verdict.tiers["realm/executables"] != "affirming"


def test_firmware_below_the_required_security_version_gets_no_secret(world: Any) -> None:
    rmm = {"version": "1.0.0", "security_version": 3, "signed_by": "vendor", "size": "4KiB"}
    firmware = {"releases": {"base": {"components": {"RMM": rmm}}}}
    for floor, passes in ((3, True), (4, False)):
        bench = Bench(world(firmware=firmware, attestation={"required_security_version": floor}))
        verdict = bench.judge(bench.evidence(bench.challenge.nonce))
        assert verdict.passed is passes, floor


def test_every_token_that_reaches_the_verifier_is_handed_to_the_sink(world: Any) -> None:
    small = world().run(3)
    assert small.tokens == [("web-001", 1, "r1-std-01"), ("web-003", 1, "r1-std-02"), ("web-002", 1, "r2-std-01")]
