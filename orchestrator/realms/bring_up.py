"""Bringing a Realm up: placed, launched, verified, given its secret, serving; and taking a copy down again.

`BringUp.take` is the one place where a Realm moves: it walks the table of `orchestrator.realms.lifecycle` and does what
the row's effect says. Orders gather in `orders` until the controller sends them. Building is one order that carries the
challenge and the lease, and comes home with evidence; nothing is released before the verdict on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from attestation.errors import Denied
from cca_machine.commands import (
    Attest,
    Command,
    DeliverSecret,
    Launch,
    Launched,
    Stop,
)
from cca_machine.pod import PodRefused, PodStep
from orchestrator.controller import Decision, Order
from orchestrator.engine.ports import Delivery
from orchestrator.fleet import leases
from orchestrator.realms.attestation import EvidenceVerdict, Subject, Verifier
from orchestrator.realms.lifecycle import Effect, Step, move
from orchestrator.realms.reference import realm_spec, resource_path
from orchestrator.records import (
    RealmPlaced,
    RealmUnplaced,
    RealmVerdict,
    RealmWanted,
    SecretReleased,
    SecretWithheld,
)
from orchestrator.scheduler.bind import Explanation, Round
from orchestrator.scheduler.filters import Wish
from orchestrator.store import Asked, RealmState, RealmView, Store

BRING_UP = "bring-up"


class BringUp:
    """The way of each Realm from wanted to serving, and the orders that are open."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier
        self.orders: list[Order] = []
        self._wanted: dict[str, None] = {}
        self._look_ns = 0
        self._verdicts: list[EvidenceVerdict] = []
        self._sealed: dict[str, bytes] = {}
        self._wakes: list[tuple[int, str]] = []

    # -- moving ----------------------------------------------------------------------------------------------------

    def take(self, store: Store, realm: RealmView, step: Step, why: str, at_ns: int = 0) -> bool:
        """Take one step of the table and do its effect; False when the step means nothing in the Realm's state."""
        effect = move(store, realm, step, why, at_ns)
        if effect is None:
            return False
        _ACTS[effect](self, store, realm, why)
        return True

    def _want(self, store: Store, realm: RealmView, why: str) -> None:
        """A new incarnation is wanted; nothing of the old one counts any more."""
        self._forget(store, realm, why)
        realm.incarnation += 1
        realm.generation = 0
        realm.lease_until_ns = realm.hosted_since_ns = 0
        realm.hosted_state = realm.attest_wanted = ""
        self._wanted[realm.name] = None
        self._look_ns = store.now_ns
        store.note(RealmWanted(realm.name, realm.incarnation, realm.kind, why))

    def _forget(self, store: Store, realm: RealmView, why: str) -> None:
        self._wanted.pop(realm.name, None)
        self._sealed.pop(realm.name, None)
        self._drop_challenge(realm)
        realm.asked = None
        if realm.machine:
            store.unbind(realm)
            store.room = True

    def _launch(self, store: Store, realm: RealmView, why: str) -> None:
        self._pose(store, realm, BRING_UP)
        self._ask(store, realm, self._launch_order(store, realm))
        self.take(store, realm, Step.ORDERED, "launch order sent")

    def _launch_order(self, store: Store, realm: RealmView) -> Launch:
        spec = realm_spec(store.cluster, realm.kind, realm.name, realm.incarnation)
        return Launch(spec, realm.nonce, leases.grant(store, realm))

    def _stop_copy(self, store: Store, realm: RealmView, why: str) -> None:
        self._drop_challenge(realm)
        self._sealed.pop(realm.name, None)
        self._ask(store, realm, Stop(realm.name, realm.incarnation))

    def _serve(self, store: Store, realm: RealmView, why: str) -> None:
        realm.asked = None
        realm.refusals = 0
        realm.excluded = []
        self._sealed.pop(realm.name, None)

    def _nothing(self, store: Store, realm: RealmView, why: str) -> None:
        """The row's effect is done by whoever took the step, with what it holds in hand."""

    # -- placing ---------------------------------------------------------------------------------------------------

    def place(self, store: Store, decision: Decision) -> None:
        """Look for machines for all wanted Realms, in order of their names; try again at the next heartbeat at most."""
        if not self._wanted:
            return
        if store.room or self._look_ns <= store.now_ns:
            placing = Round(store)
            hopeless: dict[Wish, Explanation] = {}
            for name in sorted(self._wanted):
                self._place_one(store, store.realms[name], placing, hopeless)
            self._look_ns = store.now_ns + store.cluster.control.heartbeat
        if self._wanted:
            decision.due(self._look_ns)

    def _place_one(self, store: Store, realm: RealmView, placing: Round, hopeless: dict[Wish, Explanation]) -> None:
        wish = Wish(realm.kind, tuple(sorted(realm.excluded)))
        if realm.excluded and realm.since_ns + store.cluster.control.order_timeout <= store.now_ns:
            wish = Wish(realm.kind)  # nowhere else after all this time: where it failed is worth another try
        if wish in hopeless:
            _say_unplaced(store, realm, hopeless[wish])
            return
        choice = placing.place(realm, wish)
        if not choice.machine:
            hopeless[wish] = choice.why
            _say_unplaced(store, realm, choice.why)
            return
        realm.unplaced = {}
        del self._wanted[realm.name]
        why = choice.why
        placed = (realm.name, realm.incarnation, choice.machine, why.considered, why.refused, why.samples, why.best)
        store.note(RealmPlaced(*placed))
        self.take(store, realm, Step.BOUND, f"bound to {choice.machine}")

    # -- evidence --------------------------------------------------------------------------------------------------

    def _pose(self, store: Store, realm: RealmView, why: str) -> None:
        """Open a challenge for the Realm; requests for evidence that were waiting are answered by it."""
        self._drop_challenge(realm)
        challenge = self.verifier.challenge(realm.name, realm.incarnation, store.now_ns)
        realm.challenge, realm.nonce = challenge
        realm.attest_why, realm.attest_wanted = why, ""

    def _drop_challenge(self, realm: RealmView) -> None:
        if realm.challenge:
            self.verifier.close(realm.challenge)
        realm.challenge = realm.nonce = realm.attest_why = ""

    def ask_evidence(self, store: Store, realm: RealmView) -> None:
        """Ask a serving Realm for fresh evidence, unless an order to it is open or its machine is silent."""
        if realm.state is RealmState.SERVING and realm.asked is None and store.machines[realm.machine].heard:
            self._pose(store, realm, realm.attest_wanted)
            self._ask(store, realm, Attest(realm.name, realm.incarnation, realm.nonce))

    def evidence(self, store: Store, realm: RealmView, evidence: bytes, delivery: Delivery) -> None:
        """Hand arrived evidence to the verifier; evidence nobody asked for is passed over."""
        if not realm.nonce:
            return
        if isinstance(delivery.message.body, Launched) or not realm.hosted_since_ns:
            realm.hosted_since_ns = delivery.message.sent_ns
        if realm.state is RealmState.LAUNCHING:
            self.take(store, realm, Step.EVIDENCE, "evidence arrived")
        subject = Subject(realm.name, realm.incarnation, realm.kind, realm.machine, realm.attest_why)
        session, realm.challenge = realm.challenge, ""  # the session lives on with the verdict
        realm.nonce = realm.attest_why = ""
        realm.asked = None
        verdict = self.verifier.appraise_evidence(subject, session, evidence, delivery.arrives_ns)
        if verdict is not None:
            self._verdicts.append(verdict)

    def take_verdicts(self, store: Store, decision: Decision) -> None:
        """Act on the verdicts whose reply falls into the beat that begins now, at the instant of the reply."""
        beat = store.cluster.control.beat
        answers, store.verifier_answers = store.verifier_answers, []
        self._verdicts += [told for answered in answers if (told := self.verifier.answer(answered, store.now_ns))]
        waiting = []
        for verdict in self._verdicts:
            replied_ns = verdict.service.replied_ns
            if replied_ns >= store.now_ns + beat:
                waiting.append(verdict)
                decision.due(replied_ns - beat + 1)
            else:
                self._judge(store, store.realms[verdict.subject.realm], verdict)
        self._verdicts = waiting

    def _judge(self, store: Store, realm: RealmView, verdict: EvidenceVerdict) -> None:
        subject, at_ns = verdict.subject, max(verdict.service.replied_ns, store.now_ns)
        store.note(_verdict_record(verdict), at_ns)
        if (realm.incarnation, realm.machine) != (subject.incarnation, subject.machine):
            self.verifier.close(verdict.session)
            return
        if not verdict.passed:
            if realm.state is RealmState.VERIFYING:
                store.note(_withheld(store, verdict, verdict.reason, verdict.detail), at_ns)
                _stop_pod(store, realm, PodStep.EVIDENCE, verdict.reason, verdict.detail, at_ns)
            self.refuse(store, realm, f"{verdict.reason}: {verdict.detail}", at_ns)
            return
        realm.attested_ns = at_ns
        realm.attestations += 1
        machine = store.machines[subject.machine]
        if not machine.platform_token_sha256 and not machine.distrusted:
            # its boot message was lost: evidence that passed vouches for the platform just as well
            machine.platform_token_sha256 = self.verifier.digest(verdict.platform_token)
            machine.rak = verdict.rak
        if self.take(store, realm, Step.PASSED, subject.why, at_ns) and realm.state is RealmState.RELEASING:
            self._release(store, realm, verdict, at_ns)
        else:
            self.verifier.close(verdict.session)

    def _release(self, store: Store, realm: RealmView, verdict: EvidenceVerdict, at_ns: int) -> None:
        try:
            sealed = self.verifier.release(verdict)
        except Denied as denial:
            store.note(_withheld(store, verdict, denial.reason, str(denial)), at_ns)
            _stop_pod(store, realm, PodStep.KEY, denial.reason, str(denial), at_ns)
            self.refuse(store, realm, f"{denial.reason}: {denial}", at_ns)
            return
        subject = verdict.subject
        resource = resource_path(store.cluster, subject.kind)
        whose = (subject.realm, subject.incarnation, subject.machine)
        store.note(SecretReleased(*whose, resource, verdict.evidence_sha256), at_ns)
        self._sealed[realm.name] = sealed
        self._ask(store, realm, DeliverSecret(realm.name, realm.incarnation, sealed), at_ns)

    def refuse(self, store: Store, realm: RealmView, why: str, at_ns: int = 0) -> None:
        """This copy is no good: stop it, and try again elsewhere as long as attempts are left."""
        machine = realm.machine
        if self.take(store, realm, Step.REFUSED, why, at_ns):
            realm.refusals += 1
            realm.failure = why
            self.avoid(realm, machine)

    def avoid(self, realm: RealmView, machine: str) -> None:
        """Try other machines first until the Realm has served again."""
        if machine not in realm.excluded:
            realm.excluded.append(machine)

    def gone(self, store: Store, realm: RealmView) -> None:
        """The machine confirmed that the copy is no more."""
        if realm.state is RealmState.REPLACING and realm.refusals > store.cluster.attestation.retries:
            self.take(store, realm, Step.GONE_SPENT, realm.failure)
        else:
            self.take(store, realm, Step.GONE, "the copy is gone")

    # -- orders ----------------------------------------------------------------------------------------------------

    def _ask(self, store: Store, realm: RealmView, command: Command, at_ns: int = 0) -> None:
        """Send an order about the Realm's copy and remember when to send it again."""
        sent_ns = max(at_ns, store.now_ns)
        self.orders.append(Order(realm.machine, command, sent_ns))
        tag = str(type(command).__struct_config__.tag)
        realm.asked = Asked(tag, sent_ns, sent_ns + store.cluster.control.order_timeout)
        heapq.heappush(self._wakes, (realm.asked.again_ns, realm.name))

    def ask_again(self, store: Store, realm: RealmView, at_ns: int) -> None:
        """Repeat the Realm's open order at `at_ns` (virtual ns)."""
        if realm.asked is not None:
            realm.asked.again_ns = at_ns
            heapq.heappush(self._wakes, (at_ns, realm.name))

    def relaunch(self, store: Store, realm: RealmView) -> None:
        """Have the same machine build the same copy again: it lost whatever it may have begun."""
        if realm.asked is not None:
            realm.asked.command = "launch"
            self.ask_again(store, realm, store.now_ns)

    def probe(self, store: Store, realm: RealmView) -> None:
        """The copy seems to exist although its evidence never came: ask for evidence of the same challenge."""
        self._ask(store, realm, Attest(realm.name, realm.incarnation, realm.nonce))

    def repeat_orders(self, store: Store, decision: Decision) -> None:
        """Send again what stayed unanswered; to a silent machine only once it is heard again."""
        while self._wakes and self._wakes[0][0] <= store.now_ns:
            _, name = heapq.heappop(self._wakes)
            realm = store.realms[name]
            asked = realm.asked
            if asked is None or asked.again_ns > store.now_ns:
                continue
            if store.machines[realm.machine].heard:
                asked.attempts += 1
                self.orders.append(Order(realm.machine, self._same_order(store, realm, asked)))
            self.ask_again(store, realm, store.now_ns + store.cluster.control.order_timeout)
        if self._wakes:
            decision.due(self._wakes[0][0])

    def _same_order(self, store: Store, realm: RealmView, asked: Asked) -> Command:
        match asked.command:
            case "launch":
                return self._launch_order(store, realm)
            case "attest":
                return Attest(realm.name, realm.incarnation, realm.nonce)
            case "deliver-secret":
                return DeliverSecret(realm.name, realm.incarnation, self._sealed[realm.name])
            case _:
                return Stop(realm.name, realm.incarnation)


_ACTS: dict[Effect, Callable[[BringUp, Store, RealmView, str], None]] = {
    Effect.NONE: BringUp._nothing,
    Effect.PLACE: BringUp._want,
    Effect.LAUNCH: BringUp._launch,
    Effect.VERIFY: BringUp._nothing,
    Effect.RELEASE: BringUp._nothing,
    Effect.SERVE: BringUp._serve,
    Effect.STOP_COPY: BringUp._stop_copy,
    Effect.FORGET: BringUp._forget,
}


def _stop_pod(store: Store, realm: RealmView, step: PodStep, reason: str, why: str, at_ns: int) -> None:
    """Say at which step of its walk a pod was stopped; a Realm that is no pod has none."""
    if store.cluster.realms[realm.kind].pod is not None:
        store.note(PodRefused(realm.name, realm.incarnation, step, str(reason), why), at_ns)


def _say_unplaced(store: Store, realm: RealmView, why: Explanation) -> None:
    """Record the refusals when they differ from the last ones; not while the fleet is still coming up."""
    if realm.unplaced != why.refused:
        realm.unplaced = why.refused
        if realm.incarnation == 1 and set(why.refused) <= {"state", "report"}:
            return
        store.note(RealmUnplaced(realm.name, realm.incarnation, why.considered, why.refused, why.samples))


def _verdict_record(verdict: EvidenceVerdict) -> RealmVerdict:
    subject, service = verdict.subject, verdict.service
    return RealmVerdict(
        realm=subject.realm,
        incarnation=subject.incarnation,
        machine=subject.machine,
        passed=verdict.passed,
        why=subject.why,
        reason=verdict.reason,
        detail=verdict.detail,
        evidence_sha256=verdict.evidence_sha256,
        rim=verdict.rim,
        tiers=verdict.tiers,
        arrived_ns=service.arrived_ns,
        started_ns=service.started_ns,
        done_ns=service.done_ns,
        replied_ns=service.replied_ns,
    )


def _withheld(store: Store, verdict: EvidenceVerdict, reason: str, why: str) -> SecretWithheld:
    subject = verdict.subject
    resource = resource_path(store.cluster, subject.kind)
    return SecretWithheld(
        subject.realm, subject.incarnation, subject.machine, resource, verdict.evidence_sha256, reason, why
    )
