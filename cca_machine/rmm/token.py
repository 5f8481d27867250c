"""Attestation services: the CCA token, made on request of a Realm and handed out in pieces (DEN0137 1.0-rel0, A7.2).

The claims are captured at INIT; the first CONTINUE signs them with the Realm attestation key and wraps them with the
platform token that EL3 gave at boot.
"""

from __future__ import annotations

import struct

from attestation.claims import RealmClaims
from attestation.keys import SigningKey
from attestation.token import encode_collection, encode_realm
from cca_machine.abi.rmi import ExitReason
from cca_machine.abi.rmm_el3 import El3Services
from cca_machine.abi.rsi import RsiStatus
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.rmm import measurement
from cca_machine.rmm.outcome import Outcome, back, notify
from cca_machine.rmm.realm_memory import store
from cca_machine.rmm.rsi import INPUT, buffer
from cca_machine.rmm.state import AttestationOperation, Realm
from cca_machine.rmm.view import RunningRec

REALM_PROFILE_1_0 = "tag:arm.com,2023:realm#1.0.0"
RAK_HASH = "sha-256"


class El3TokenMaker:
    """Signs with the Realm attestation key of EL3; key and platform token are fetched once per boot of an RMM image."""

    def __init__(self, el3: El3Services) -> None:
        self._el3 = el3
        self._key: SigningKey | None = None
        self._platform_token = b""

    def make(self, realm: Realm, operation: AttestationOperation) -> bytes:
        """The token in RMM 1.0 form: tag 399 around platform and Realm tokens."""
        if self._key is None:
            self._key = SigningKey.from_private_bytes(self._el3.realm_key())
            self._platform_token = self._el3.platform_token()
        length = measurement.digest_size(realm.hash_algo)
        rim, *rems = (register[:length] for register in operation.measurements)
        claims = RealmClaims(
            profile=REALM_PROFILE_1_0,
            challenge=operation.challenge,
            personalization_value=realm.rpv,
            hash_algo_id=measurement.algorithm_name(realm.hash_algo),
            public_key=self._key.public.cose_key(),
            initial_measurement=rim,
            extensible_measurements=tuple(rems),
            public_key_hash_algo_id=RAK_HASH,
        )
        return encode_collection(self._platform_token, encode_realm(claims, self._key))


def init(running: RunningRec) -> Outcome:
    """RSI_ATTESTATION_TOKEN_INIT: capture challenge and measurements; an operation under way is dropped."""
    challenge = struct.pack("<8Q", *running.state.gprs[1:9])
    running.state.attestation = AttestationOperation(challenge=challenge, measurements=list(running.realm.measurements))
    return back(RsiStatus.SUCCESS, running.core.features.token_bound)


def carry_on(running: RunningRec) -> Outcome:
    """RSI_ATTESTATION_TOKEN_CONTINUE: the next piece of the token into the Realm's buffer.

    A pending interrupt ends the call right after signing with INCOMPLETE and nothing copied.
    """
    rec, core = running.state, running.core
    ipa, offset, count = rec.gprs[1:4]
    if ipa & GRANULE_MASK or offset >= GRANULE_BYTES or offset + count > GRANULE_BYTES or ipa >= running.realm.half:
        return INPUT
    operation = rec.attestation
    if operation is None:
        return back(RsiStatus.ERROR_STATE)
    if operation.token is None:
        operation.token = core.tokens.make(running.realm, operation)
        if core.hardware.irq_pending(running.pe):
            running.exit.exit_reason = ExitReason.IRQ
            return notify(RsiStatus.INCOMPLETE)
    found = buffer(running, ipa)
    if isinstance(found, Outcome):
        return found
    piece = operation.token[operation.copied : operation.copied + count]
    if piece:
        store(core, found.at(offset), piece)
        operation.copied += len(piece)
    if count and operation.copied == len(operation.token):
        rec.attestation = None
        return back(RsiStatus.SUCCESS, len(piece))
    return back(RsiStatus.INCOMPLETE, len(piece))
