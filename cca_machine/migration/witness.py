"""The lineage witness (modelled): one linearizable record of which machine holds a Realm, at which generation.

It takes one decision per session and repeats it to whoever asks. A grant needs the destination itself, which registers
that everything arrived and then answers a fresh challenge; an abort needs anyone, as long as nothing is registered, and
afterwards only a fenced or long silent destination. It is a machine to the engine: messages in, messages out, instants.
"""

from __future__ import annotations

import hashlib
from heapq import heappop, heappush
from typing import Any

import msgspec

from attestation.keys import derive_key
from cca_machine.commands import (
    CONTROL,
    Advance,
    AskLineage,
    EndSession,
    LineageDecided,
    LineageOffered,
    LineageStep,
    OpenLineage,
    Parcel,
    Refused,
    Sent,
    Traced,
)
from cca_machine.migration import verdict as verdicts
from cca_machine.migration.tables import WITNESS, WitnessEffect, WitnessInput, WitnessState
from cca_machine.migration.verdict import Decision, Verdict
from cca_machine.migration.wire import (
    FRAME_BYTES,
    Challenge,
    Confirm,
    Decided,
    Freightage,
    Query,
    Ready,
    WantAbort,
    decode,
    encode,
)

DECIDE_NS = 2_000_000
"""What a durable write costs: a quorum of a replicated log in one site (assumed)."""
SILENCE_NS = 10_000_000_000
"""A registered destination that was not heard for so long may be given up (migration reference, 13.6)."""


class Lineage(msgspec.Struct, kw_only=True):
    """One Realm: its holder, and the session that is on, if any."""

    generation: int
    holder: str
    state: WitnessState = WitnessState.HELD
    session: str = ""
    destination: str = ""
    deadline_ns: int = 0
    digest: bytes = b""
    boot: int = 0
    nonce: bytes = b""
    heard_ns: int = 0
    abort_wanted: str = ""


class Ledger(msgspec.Struct):
    """All that a witness knows. `decided` has the signed decision of every session that ended, by name."""

    lineages: dict[str, Lineage] = {}
    decided: dict[str, bytes] = {}
    challenges: int = 0


class Witness:
    """The witness of a fleet; `seed` (32 bytes) gives its key and its challenges."""

    def __init__(self, seed: bytes) -> None:
        self.ledger = Ledger()
        self._key = derive_key(seed, "lineage witness")
        self._seed = seed
        self._agenda: list[tuple[int, int, str, int, Any]] = []
        self._clock_ns = 0
        self._sent = self._recorded = self._planned = 0
        self._out: list[Sent] = []
        self._told: list[Traced] = []

    @property
    def public_key(self) -> bytes:
        """COSE_Key of what it signs with."""
        return self._key.public.cose_key()

    def submit(self, item: Any, at_ns: int, priority: int, source: str, number: int) -> None:
        """Put a message on the agenda at the instant of its arrival (virtual ns)."""
        heappush(self._agenda, (at_ns, priority, source, number, item))

    def run_until(self, until_ns: int) -> Advance:
        """Do everything that is due strictly before `until_ns` (virtual ns)."""
        self._out, self._told = [], []
        while True:
            timer_ns = self._timer_ns()
            first_ns = self._agenda[0][0] if self._agenda else None
            due_ns = min((at_ns for at_ns in (timer_ns, first_ns) if at_ns is not None), default=None)
            if due_ns is None or due_ns >= until_ns:
                self._clock_ns = max(self._clock_ns, until_ns)
                return Advance(self._out, self._told, due_ns)
            self._clock_ns = max(self._clock_ns, due_ns)
            if first_ns == due_ns:
                _, _, source, number, item = heappop(self._agenda)
                if isinstance(item, Sent):
                    self._sent += 1
                    self._out.append(msgspec.structs.replace(item, number=self._sent))
                else:
                    self._take(source, number, item)
            else:
                self._timers()

    # -- what arrives ------------------------------------------------------------------------------------------------

    def _take(self, source: str, number: int, body: Any) -> None:
        match body:
            case OpenLineage():
                self._open(body, number)
            case EndSession():
                given = WitnessInput.FENCED if body.fenced else WitnessInput.ABORT
                self._ended(body.session, body.lineage, given, body.why)
                self._repeat(body.session, CONTROL)
            case AskLineage():
                self._repeat(body.session, CONTROL)
            case Parcel():
                try:
                    message = decode(body.payload)
                except msgspec.MsgspecError:
                    return
                self._parcel(source, body.session, message)

    def _open(self, order: OpenLineage, number: int) -> None:
        if order.session in self.ledger.decided:
            self._repeat(order.session, CONTROL)
            return
        lineage = self.ledger.lineages.setdefault(
            order.lineage, Lineage(generation=order.generation, holder=order.source)
        )
        why = ""
        if lineage.session not in ("", order.session):
            why = f"session {lineage.session} is on"
        elif (lineage.holder, lineage.generation) != (order.source, order.generation):
            why = f"{lineage.holder} holds generation {lineage.generation}"
        if why:
            self._say(CONTROL, Refused("open-lineage", order.session, "lineage-held", why), answers=number)
            return
        lineage.session, lineage.destination, lineage.deadline_ns = order.session, order.target, order.deadline_ns
        self._step(order.lineage, lineage, WitnessInput.OPEN)
        self._say(CONTROL, LineageOffered(order.session), answers=number)

    def _parcel(self, source: str, session: str, message: Freightage) -> None:
        if not isinstance(message, Ready | Confirm | WantAbort | Query):
            return
        if session in self.ledger.decided:
            self._repeat(session, source)
            return
        lineage = self.ledger.lineages.get(message.lineage)
        if lineage is None or lineage.session != session or source not in (lineage.holder, lineage.destination):
            return
        if isinstance(message, WantAbort):
            # an end that is out by itself says so for good: a destination's word counts as its own end
            given = WitnessInput.FENCED if source == lineage.destination else WitnessInput.ABORT
            self._ended(session, message.lineage, given, f"{source}: {message.why}")
        elif source == lineage.destination and isinstance(message, Ready):
            lineage.digest, lineage.boot = message.digest, message.boot
            lineage.heard_ns = self._clock_ns
            self._step(message.lineage, lineage, WitnessInput.READY)
        elif source == lineage.destination and isinstance(message, Confirm):
            told = (message.digest, message.boot, message.nonce)
            if lineage.nonce and told == (lineage.digest, lineage.boot, lineage.nonce):
                self._step(message.lineage, lineage, WitnessInput.CONFIRM)

    def _ended(self, session: str, name: str, given: WitnessInput, why: str) -> None:
        """Somebody wants the session to end; one that was never opened is decided here and now, so it never will be."""
        lineage = self.ledger.lineages.get(name)
        if session in self.ledger.decided:
            return
        if lineage is not None and lineage.session == session:
            lineage.abort_wanted = lineage.abort_wanted or why
            self._step(name, lineage, given)
        elif lineage is None or not lineage.session:
            generation, holder = (0, "") if lineage is None else (lineage.generation, lineage.holder)
            never = Verdict(Decision.ABORT, name, session, generation, holder, 0, self._clock_ns)
            self.ledger.decided[session] = verdicts.sign(never, self._key)

    # -- instants ----------------------------------------------------------------------------------------------------

    def _timer_ns(self) -> int | None:
        """The next deadline, or end of a silence that counts."""
        return min(
            (at_ns for one in self.ledger.lineages.values() if (at_ns := _due_ns(one)) is not None), default=None
        )

    def _timers(self) -> None:
        for name in sorted(self.ledger.lineages):
            lineage = self.ledger.lineages[name]
            due_ns = _due_ns(lineage)
            if due_ns is None or due_ns > self._clock_ns:
                continue
            lineage.abort_wanted = lineage.abort_wanted or "deadline"
            silent = lineage.state is WitnessState.REGISTERED
            self._step(name, lineage, WitnessInput.UNREACHABLE if silent else WitnessInput.ABORT)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _step(self, name: str, lineage: Lineage, given: WitnessInput) -> None:
        row = WITNESS.get((lineage.state, given))
        if row is None:
            return
        state, effect = row
        changed, lineage.state = state is not lineage.state, state
        if effect is WitnessEffect.CHALLENGE:
            self._challenge(lineage)
        elif effect is WitnessEffect.GRANT:
            self._decide(name, lineage, Decision.GRANT)
        elif effect is WitnessEffect.ABORT:
            self._decide(name, lineage, Decision.ABORT)
        if changed and lineage.session:
            self._tell(name, lineage, lineage.session, lineage.holder)

    def _challenge(self, lineage: Lineage) -> None:
        if not lineage.nonce:
            self.ledger.challenges += 1
            number = self.ledger.challenges.to_bytes(8, "big")
            lineage.nonce = hashlib.sha256(self._seed + b"challenge" + number).digest()
        self._send(lineage.destination, lineage.session, Challenge(lineage.nonce))

    def _decide(self, name: str, lineage: Lineage, decision: Decision) -> None:
        source, session, destination = lineage.holder, lineage.session, lineage.destination
        boot = 0
        if decision is Decision.GRANT:
            lineage.generation += 1
            lineage.holder, boot = destination, lineage.boot
        verdict = Verdict(decision, name, session, lineage.generation, lineage.holder, boot, self._clock_ns)
        self.ledger.decided[session] = verdicts.sign(verdict, self._key)
        why = lineage.abort_wanted if decision is Decision.ABORT else ""
        lineage.session = lineage.destination = lineage.abort_wanted = ""
        lineage.nonce = lineage.digest = b""
        self._tell(name, lineage, session, lineage.holder, decision, why)
        for party in (destination, source, CONTROL):
            self._repeat(session, party)

    # -- what leaves -------------------------------------------------------------------------------------------------

    def _repeat(self, session: str, party: str) -> None:
        """Tell a party what was decided, if it was."""
        signed = self.ledger.decided.get(session)
        if signed is None:
            return
        if party == CONTROL:
            verdict = verdicts.read(signed)
            told = LineageDecided(session, verdict.decision, verdict.generation, verdict.holder, verdict.at_ns, signed)
            self._say(CONTROL, told)
        else:
            self._send(party, session, Decided(signed))

    def _send(self, party: str, session: str, message: Freightage) -> None:
        payload = encode(message)
        self._say(party, Parcel(session, payload, len(payload) + FRAME_BYTES))

    def _say(self, party: str, body: Any, answers: int = 0) -> None:
        at_ns = self._clock_ns + DECIDE_NS
        self._later(at_ns, Sent(at_ns, 0, party, body, answers))

    def _later(self, at_ns: int, item: Sent) -> None:
        self._planned += 1
        heappush(self._agenda, (at_ns, _OWN, "", self._planned, item))

    def _tell(self, name: str, lineage: Lineage, session: str, holder: str, decision: str = "", why: str = "") -> None:
        self._recorded += 1
        record = LineageStep(session, name, lineage.state, lineage.generation, holder, decision, why)
        self._told.append(Traced(self._clock_ns, self._recorded, record))


_OWN = 3
"""Priority of what the witness itself planned, after messages of the same instant."""


def _due_ns(lineage: Lineage) -> int | None:
    if lineage.state is WitnessState.OFFERED:
        return lineage.deadline_ns
    if lineage.state is WitnessState.REGISTERED and lineage.abort_wanted:
        return lineage.heard_ns + SILENCE_NS
    if lineage.state is WitnessState.REGISTERED:
        return max(lineage.deadline_ns, lineage.heard_ns + SILENCE_NS)
    return None
