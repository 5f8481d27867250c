"""Attestation and measurement scenarios of the compliance suite; a test has the name of its scenario.

Written from the suite's scenario document (ARM-software/cca-rmm-acs docs/attestation_measurement_scenarios.md).
"""

from __future__ import annotations

import hashlib
import struct

import pytest
from acs_stage import MAPPED, Stage
from spec_door import PAGE, StubbornEl3

from attestation.claims import PlatformClaims, SoftwareComponent
from attestation.keys import Curve, derive_key
from attestation.token import Evidence, decode, encode_platform
from attestation.verify import check_binding, check_freshness
from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi import ExitReason, Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.rmm.token import El3TokenMaker

OK, ERROR_STATE, INCOMPLETE = 0, 2, 3
FIRST, SECOND = bytes(range(64)), bytes(range(64, 128))


class KeyedEl3(StubbornEl3):
    """EL3 with a Realm attestation key and a platform token that vouches for it."""

    rak = derive_key(b"compliance scenarios, 32 bytes..", "rak", Curve.P384)
    cpak = derive_key(b"compliance scenarios, 32 bytes..", "cpak", Curve.P384)

    def realm_key(self) -> bytes:
        return self.rak.private_bytes()

    def platform_token(self) -> bytes:
        component = SoftwareComponent(measurement_value=bytes(32), signer_id=bytes(32))
        claims = PlatformClaims(
            challenge=hashlib.sha256(self.rak.public.cose_key()).digest(), implementation_id=bytes(32),
            instance_id=b"\x01" + bytes(32), config=b"c", lifecycle=0x3003, sw_components=(component,),
            hash_algo_id="sha-256",
        )  # fmt: skip
        return encode_platform(claims, self.cpak)


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.rmm.core.tokens = El3TokenMaker(KeyedEl3(made.hardware))
    return made


def init(stage: Stage, rec: int, challenge: bytes) -> None:
    assert stage.asks(rec, Rsi.ATTESTATION_TOKEN_INIT, *struct.unpack("<8Q", challenge))[0] == OK


def finish(stage: Stage, rec: int) -> Evidence:
    """The token of the operation under way, page by page, decoded."""
    token, x0 = b"", INCOMPLETE
    while x0 == INCOMPLETE:
        x0, length = stage.asks(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 0, PAGE)[:2]
        assert stage.guest.view is not None
        token += stage.guest.view.read(MAPPED, length)
    assert x0 == OK
    return decode(token)


def measured(stage: Stage, rec: int, index: int) -> bytes:
    x = stage.asks(rec, Rsi.MEASUREMENT_READ, index)
    assert x[0] == OK
    return struct.pack("<8Q", *x[1:9])


def test_measurement_immutable_rim(stage: Stage) -> None:
    rd, (rec,) = stage.realm_of_pages()
    before = measured(stage, rec, 0)
    stage.ok(Rmi.DATA_CREATE_UNKNOWN, rd, stage.delegated(), 0x5000)
    stage.ok(Rmi.DATA_DESTROY, rd, 0x5000)
    assert measured(stage, rec, 0) == before


def test_measurement_rim_order(stage: Stage) -> None:
    def rim(rec_first: bool, **fields: int) -> bytes:
        rd = stage.realm(**fields)
        stage.tables(rd, 0)
        steps = [lambda: stage.rec(rd), lambda: stage.data(rd, MAPPED, b"page")]
        for step in steps if rec_first else reversed(steps):
            step()
        return stage.rmm.state.realms[rd].measurements[0]

    assert rim(True) == rim(True)
    assert len({rim(True), rim(False), rim(True, s2sz=41, rtt_num_start=4)}) == 3


def test_measurement_initial_rem_is_zero(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    assert [measured(stage, rec, index) for index in range(1, 5)] == [bytes(64)] * 4


def test_attestation_token_init(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    init(stage, rec, FIRST)
    init(stage, rec, SECOND)
    assert finish(stage, rec).realm.claims.challenge == SECOND


def test_attestation_challenge_data_verification(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    init(stage, rec, FIRST)
    check_freshness(finish(stage, rec).realm.claims, FIRST)


def test_attestation_rec_exit_irq(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    init(stage, rec, FIRST)
    stage.hardware.pes[0].irq_pending = True
    out = stage.runs(rec, Smc((Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 0, PAGE)))
    assert (out.exit_reason, out.esr) == (ExitReason.IRQ, 0)
    stage.hardware.pes[0].irq_pending = False
    stage.runs(rec)
    assert stage.guest.gprs[0][:2] == [INCOMPLETE, 0]
    assert finish(stage, rec).realm.claims.challenge == FIRST


def test_attestation_token_verify(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    assert stage.asks(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 0, PAGE)[0] == ERROR_STATE
    init(stage, rec, FIRST)
    evidence = finish(stage, rec)
    check_binding(evidence)
    assert evidence.realm.claims.initial_measurement == measured(stage, rec, 0)[:32]
    assert evidence.platform.sign1.verify(KeyedEl3.cpak.public) is None
    assert evidence.realm.sign1 is not None
    assert evidence.realm.sign1.verify(KeyedEl3.rak.public) is None


def test_attestation_rpv_value(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages(rpv=SECOND)
    init(stage, rec, FIRST)
    assert finish(stage, rec).realm.claims.personalization_value == SECOND


def test_attestation_rem_extend_check(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    for index in range(1, 5):
        assert stage.asks(rec, Rsi.MEASUREMENT_EXTEND, index, 64, *range(5))[0] == OK
        assert measured(stage, rec, index) != bytes(64)


def test_attestation_rem_extend_check_realm_token(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    stage.asks(rec, Rsi.MEASUREMENT_EXTEND, 2, 8, 77)
    init(stage, rec, FIRST)
    rems = finish(stage, rec).realm.claims.extensible_measurements
    assert [rem != bytes(32) for rem in rems] == [False, True, False, False]


def test_attestation_realm_measurement_type(stage: Stage) -> None:
    for algorithm, size in ((0, 32), (1, 64)):
        _, (rec,) = stage.realm_of_pages(hash_algo=algorithm)
        init(stage, rec, FIRST)
        claims = finish(stage, rec).realm.claims
        assert {len(value) for value in (claims.initial_measurement, *claims.extensible_measurements)} == {size}


def test_attestation_platform_challenge_size(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages()
    init(stage, rec, FIRST)
    challenge = finish(stage, rec).platform.claims.challenge
    assert challenge is not None
    assert len(challenge) in (32, 48, 64)
