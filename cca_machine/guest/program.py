"""What a Realm does, as a short list of steps that issue RSI calls; the runner keeps its place in a record.

A step looks at the guest's record and at the running REC, and names the next event, or None when it is done. It changes
the record only after the memory it needs was reached, so that an access that stage 2 does not let through can be taken
as an abort and the step repeated.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Protocol

import msgspec

from attestation.errors import Refused
from attestation.kbs.client import Guest
from cca_machine.abi.guest import Access, ExceptionKind, GuestEvent, RealmAccessFault, RecView, Smc, Yield
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import Ripas
from cca_machine.abi.rsi import VERSION_1_0, HostCall, RealmConfig, Rsi, RsiStatus
from cca_machine.guest import agent
from cca_machine.guest.agent import PodAgent
from cca_machine.layout import GuestCall, HostRequest, LoadPlan, mpidr_of

PAGE = 4096
CALL_PAGE, CONFIG_PAGE, TOKEN_PAGE = range(3)
"""Pages of the guest's heap: host call structure, Realm configuration, token buffer."""
TOKEN_PIECE = PAGE
POD = "pod"
"""The program whose agent starts a container image."""


class GuestState(msgspec.Struct, kw_only=True):
    """Everything that a guest knows. `step` and `stage` are its place; `at` counts within a stage.

    `broker` is its side of the key-broker exchange, `token` the last token it made, `report` what it tells the host
    next. `pod` is the agent of a Realm that is a pod.
    """

    program: str
    vcpus: int
    heap: int
    mailbox: int
    mailbox_bytes: int
    broker: Guest
    step: int = 0
    stage: int = 0
    at: int = 0
    token: bytes = b""
    message_bytes: int = 0
    report: GuestCall = GuestCall.READY
    ipa_width: int = 0
    rpv: bytes = b""
    pod: PodAgent | None = None
    opened: bool = False
    secret_digest: bytes = b""
    crashed: str = ""


class Charges(Protocol):
    """Where a guest books what its own computing costs."""

    def charge(self, cost: str, times: int = 1) -> None:
        """Add a modelled cost by name."""
        ...


class Step(Protocol):
    """One thing that a program does."""

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        """The next event, or None when the step is done."""
        ...


class GuestCrashed(Exception):
    """The guest met something it has no answer for, and stops for good."""


def begin(plan: LoadPlan, program: str, key_seed: bytes) -> GuestState:
    """A guest at its entry point; `key_seed` is the entropy it finds for its key-broker key."""
    return GuestState(
        program=program,
        vcpus=len(plan.recs),
        heap=plan.heap,
        mailbox=plan.mailbox,
        mailbox_bytes=plan.mailbox_bytes,
        broker=Guest(key_seed),
        pod=PodAgent() if program == POD else None,
    )


def advance(guest: GuestState, steps: tuple[Step, ...], rec: RecView, charges: Charges) -> GuestEvent:
    """The next event of the program on its first vCPU; other vCPUs, and a guest that crashed, idle."""
    if rec.index or guest.crashed:
        return Yield(ExceptionKind.IRQ)
    try:
        while guest.step < len(steps):
            event = steps[guest.step].next(guest, rec, charges)
            if event is not None:
                return event
            guest.step += 1
            guest.stage = guest.at = 0
    except RealmAccessFault as fault:
        return Access(ipa=fault.ipa, register=30)
    except GuestCrashed as crash:
        guest.crashed = str(crash)
    return Smc((Psci.SYSTEM_OFF,))


def _answered(guest: GuestState, rec: RecView, what: str) -> None:
    status = rec.gprs[0]
    if status != RsiStatus.SUCCESS:
        raise GuestCrashed(f"{what} answered {status:#x}")


# -- steps -----------------------------------------------------------------------------------------------------------


class CheckVersion:
    """RSI_VERSION: go on only with an RMM that speaks RSI 1.0."""

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        if guest.stage == 0:
            guest.stage = 1
            return Smc((Rsi.VERSION, VERSION_1_0))
        _answered(guest, rec, "RSI_VERSION")
        return None


class ReadConfig:
    """RSI_REALM_CONFIG: learn the IPA width, and so where shared memory begins."""

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        page = guest.heap + CONFIG_PAGE * PAGE
        if guest.stage == 0:
            guest.stage = 1
            return Smc((Rsi.REALM_CONFIG, page))
        _answered(guest, rec, "RSI_REALM_CONFIG")
        config = RealmConfig.decode(rec.read(page, PAGE))
        guest.ipa_width, guest.rpv = config.ipa_width, config.rpv
        return None


class ShareMailbox:
    """RSI_IPA_STATE_SET(EMPTY) over the mailbox: its pages leave the Realm and are reached through the shared half."""

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        top = guest.mailbox + guest.mailbox_bytes
        if guest.stage == 1:
            _answered(guest, rec, "RSI_IPA_STATE_SET")
            if rec.gprs[1] >= top:
                return None
            if rec.gprs[1] <= guest.mailbox + guest.at:
                raise GuestCrashed("the host refuses to share memory")
            guest.at = rec.gprs[1] - guest.mailbox
        guest.stage = 1
        return Smc((Rsi.IPA_STATE_SET, guest.mailbox + guest.at, top, Ripas.EMPTY, 0))


class Extend:
    """RSI_MEASUREMENT_EXTEND of REM `index` with the SHA-256 of `what`."""

    def __init__(self, index: int, what: str) -> None:
        self.index = index
        self.value = struct.unpack("<4Q", hashlib.sha256(what.encode()).digest())

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        if guest.stage == 0:
            guest.stage = 1
            return Smc((Rsi.MEASUREMENT_EXTEND, self.index, 32, *self.value, 0, 0, 0, 0))
        _answered(guest, rec, "RSI_MEASUREMENT_EXTEND")
        return None


class StartCpus:
    """PSCI_CPU_ON for every vCPU but the first, at the entry point of the first."""

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        if guest.at:
            _answered(guest, rec, "PSCI_CPU_ON")
        guest.at += 1
        if guest.at >= guest.vcpus:
            return None
        return Smc((Psci.CPU_ON, mpidr_of(guest.at), guest.heap, guest.at))


class Boot:
    """The time that the guest takes from its entry point to its attester, by the name of its modelled cost."""

    def __init__(self, cost: str = "guest.boot") -> None:
        self.cost = cost

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        charges.charge(self.cost)
        return None


class Serve:
    """Do what the host asks, for good: attest, open the secret, turn off. Between requests the guest does its work."""

    def next(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        if guest.stage == _CALL:
            return self._call(guest, rec)
        if guest.stage == _LISTEN:
            return self._listen(guest, rec, charges)
        return self._make_token(guest, rec)

    def _call(self, guest: GuestState, rec: RecView) -> GuestEvent:
        structure = HostCall(imm=guest.report, gprs=(guest.message_bytes, *(0,) * 30))
        rec.write(guest.heap + CALL_PAGE * PAGE, structure.encode())
        guest.stage, guest.report, guest.message_bytes = _LISTEN, GuestCall.READY, 0
        return Smc((Rsi.HOST_CALL, guest.heap + CALL_PAGE * PAGE))

    def _listen(self, guest: GuestState, rec: RecView, charges: Charges) -> GuestEvent | None:
        reply = HostCall.decode(rec.read(guest.heap + CALL_PAGE * PAGE, 256))
        request, size = reply.gprs[0], min(reply.gprs[1], guest.mailbox_bytes)
        message = rec.read(self._shared(guest), size) if size else b""
        _answered(guest, rec, "RSI_HOST_CALL")
        if request == HostRequest.POWER_OFF:
            return None
        if request == HostRequest.ATTEST:
            challenge = guest.broker.challenge(message.decode("ascii", "replace"))
            guest.stage, guest.at, guest.token = _TOKEN, 0, b""
            return Smc((Rsi.ATTESTATION_TOKEN_INIT, *struct.unpack("<8Q", challenge)))
        if request == HostRequest.OPEN:
            guest.report = self._open(guest, message, charges)
        elif guest.pod is not None:
            self._ask_agent(guest, guest.pod, rec, request, message, charges)
        guest.stage = _CALL
        return self._call(guest, rec)

    def _ask_agent(
        self, guest: GuestState, pod: PodAgent, rec: RecView, request: int, message: bytes, charges: Charges
    ) -> None:
        """Let the pod's agent answer; what it says goes into the mailbox, which the host's message has mapped."""
        said = agent.answer(pod, request, message, guest.rpv, charges)
        if said is not None:
            guest.report, told = said
            rec.write(self._shared(guest), told)
            guest.message_bytes = len(told)

    def _open(self, guest: GuestState, resource: bytes, charges: Charges) -> GuestCall:
        charges.charge("guest.open-secret")
        try:
            secret = guest.broker.open(resource)
        except Refused:
            return GuestCall.NOT_OPENED
        if guest.pod is not None:
            agent.key_opened(guest.pod, secret)
        guest.secret_digest = hashlib.sha256(secret).digest()
        guest.opened = True
        return GuestCall.OPENED

    def _make_token(self, guest: GuestState, rec: RecView) -> GuestEvent:
        page = guest.heap + TOKEN_PAGE * PAGE
        if guest.at == 0:
            _answered(guest, rec, "RSI_ATTESTATION_TOKEN_INIT")
        else:
            status, size = rec.gprs[0], rec.gprs[1]
            piece = rec.read(page, size)
            if status not in (RsiStatus.SUCCESS, RsiStatus.INCOMPLETE):
                raise GuestCrashed(f"RSI_ATTESTATION_TOKEN_CONTINUE answered {status:#x}")
            guest.token += piece
            if status == RsiStatus.SUCCESS:
                return self._hand_over(guest, rec)
        guest.at = 1
        return Smc((Rsi.ATTESTATION_TOKEN_CONTINUE, page, 0, TOKEN_PIECE))

    def _hand_over(self, guest: GuestState, rec: RecView) -> GuestEvent:
        body = guest.broker.attestation(guest.token)
        if len(body) > guest.mailbox_bytes:
            raise GuestCrashed(f"evidence of {len(body)} bytes does not fit the mailbox")
        try:
            rec.write(self._shared(guest), body)
        except RealmAccessFault:
            # the step is repeated: the last piece is in the page still, and must not be taken twice
            guest.token = guest.token[: len(guest.token) - rec.gprs[1]]
            raise
        if guest.pod is not None:
            agent.attested(guest.pod)
        guest.report, guest.message_bytes = GuestCall.EVIDENCE, len(body)
        guest.stage = _CALL
        return self._call(guest, rec)

    def _shared(self, guest: GuestState) -> int:
        return guest.mailbox | 1 << guest.ipa_width - 1


_CALL, _LISTEN, _TOKEN = range(3)
