"""One machine's way through a rollout: live activation, or a reboot with its Realms moved away or stopped; then proof.

`Updater.step` asks what the present belief says about the machine in its phase (`_OBSERVERS`), looks the answer up in
`phases.MACHINE_TABLE` and does the row's effect, until nothing more follows. What the machine answered is handed in by
`Updater.answer`; nothing here reads what the control plane has not been told.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct, field

from attestation.firmware import unmet
from cca_machine.commands import (
    Activate,
    Activated,
    Cancel,
    Command,
    Prime,
    Primed,
    Reboot,
    Rebooting,
    Refused,
    Staged,
    StageFirmware,
    UnstageFirmware,
)
from cca_machine.host.lfa import NO_RMM
from orchestrator.cluster.schema import Component
from orchestrator.controller import Decision, Order
from orchestrator.firmware.choice import choose
from orchestrator.firmware.phases import ANSWERED_IN, MACHINE_TABLE, UNDER_WAY, Effect, Input, Phase
from orchestrator.firmware.records import RolloutMachine
from orchestrator.fleet.health import UNDER_APPRAISAL
from orchestrator.store import MachineState, MachineView, RealmState, RealmView, Store

ATTEMPTS = 3
"""How often an order is sent before its machine counts as silent."""
DRAIN_PATIENCE = 10
"""Order time-outs that open migration sessions are given to end by their own deadlines."""


class Goal(Struct, frozen=True):
    """What a rollout brings to each machine; `patience_ns` is the time-out of one order."""

    rollout: str
    release: str
    component: str
    version: str
    image: bytes
    patience_ns: int
    strategy: str = "live"
    boot_patience_ns: int = 0
    """How long a machine may take from the order to reboot to its first message (virtual ns)."""


class Answer(Struct, frozen=True):
    """A machine's answer to an order: `command` is the order's tag."""

    command: str
    input: Input
    why: str = ""
    token_sha256: str = ""


class Update(Struct):
    """State of one machine in one rollout; instants in virtual ns."""

    machine: str
    phase: Phase = Phase.QUEUED
    wave: int = 0
    boot: int = 0
    attempts: int = 0
    again_ns: int = 0
    """When the present order is sent again, or the present phase is overdue."""
    token_before: str = ""
    token_expected: str = ""
    """Digest of the new firmware's platform token; empty when the answer that carried it was lost."""
    asked_ns: int = 0
    realms: dict[str, int] = field(default_factory=dict)
    """Realms asked for fresh evidence, with their incarnation."""
    answers: list[Answer] = field(default_factory=list)
    left: int = 0
    """Realms that were there when an evacuation last got on."""
    why: str = ""
    strategy: str = ""
    """The way it is updated: the rollout's, or chosen for it when it was taken."""
    version_before: str = ""
    """What the machine ran when the rollout took it."""
    lost_rmm: bool = False
    """Its activation cost it the RMM, and was not committed: the next boot brings back what it ran."""
    proven_from_ns: int = 0
    """Since when it runs the release with the platform token accepted (virtual ns)."""


def answers(view: MachineView, strategy: str) -> bool:
    """Whether a rollout may take the machine: it is heard; that its firmware is not trusted is what updates are for.

    A machine without an RMM has nothing to be exchanged live, but it can be given another image and reset.
    """
    return view.state in (MachineState.ADMITTED, MachineState.REFUSED) or (view.rmm_dead and strategy != "live")


class Updater:
    """Steps machines of one rollout along the table; holds nothing but the goal."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.activations = (0, 0)
        """Live activations of this rollout that are through, and how many of them failed; set by the rollout."""

    def answer(self, update: Update, outcome: object) -> None:
        """Keep an outcome that answers an order of this rollout; anything else is passed over."""
        answer = _answer(outcome, self.goal.component)
        if answer is not None and ANSWERED_IN[answer.command] is update.phase:
            update.answers.append(answer)

    def step(self, update: Update, store: Store, decision: Decision) -> int | None:
        """Follow the machine as far as the present belief goes; returns when to look again (virtual ns)."""
        while update.phase in UNDER_WAY:
            seen = self._observe(update, store)
            if seen is None:
                self._send_again(update, store, decision)
                return update.again_ns
            self.move(update, seen[0], seen[1], store, decision)
        return None

    def move(self, update: Update, happened: Input, why: str, store: Store, decision: Decision) -> None:
        """Take one row of the table and do its effect."""
        was = update.phase
        update.phase, effect = MACHINE_TABLE[was, happened]
        update.why = why
        update.answers = []
        record = RolloutMachine(self.goal.rollout, update.wave, update.machine, was, update.phase, why or happened)
        decision.records.append(record)
        _EFFECTS[effect](self, update, store, decision)

    def current(self, view: MachineView) -> bool:
        """Whether the machine is believed to run the release already."""
        return view.versions.get(self.goal.component) == self.goal.version

    # -- what the belief says --------------------------------------------------------------------------------------

    def _observe(self, update: Update, store: Store) -> tuple[Input, str] | None:
        view = store.machines[update.machine]
        if update.phase is Phase.REBOOTING:
            return self._rebooting(update, view, store)
        if view.state is MachineState.DOWN and not (view.rmm_dead and update.strategy != "live"):
            return Input.LOST, "machine is down"
        if view.boot != update.boot:
            return Input.LOST, "machine rebooted"
        return _OBSERVERS[update.phase](self, update, view, store)

    def _draining(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        if not store.sessions_on(update.machine):
            if self.current(view):
                return Input.CURRENT, "runs the release, unproven"
            why = _skew(self.goal, view, store)
            if why:
                return Input.REFUSED, why
            return (Input.QUIET if update.strategy == "live" else Input.QUIET_FOR_BOOT), ""
        return _overdue(update, store, "a migration session does not end")

    def _staging(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        for answer in update.answers:
            drain = answer.input is Input.STAGED and update.strategy == "drain"
            return (Input.STAGED_TO_DRAIN if drain else answer.input), answer.why
        return _overdue(update, store, "no answer to stage-firmware")

    def _evacuating(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        """Have the next Realm moved whenever no session is open here; a target that will not have it is asked again."""
        here = store.realms_on(update.machine)
        if not here and not store.sessions_on(update.machine):
            return Input.EMPTY, ""
        if len(here) < update.left:
            update.left, update.asked_ns = len(here), store.now_ns
        elif store.now_ns >= update.asked_ns + DRAIN_PATIENCE * self.goal.patience_ns:
            return Input.OVERDUE, f"{len(here)} Realms find no other machine, {here[0].name} first" if here else "stuck"
        serving = [realm for realm in here if realm.state is RealmState.SERVING]
        if serving and store.now_ns >= update.again_ns and not store.sessions_on(update.machine):
            store.request_migration(serving[0].name, "", f"drain for {self.goal.release}")
            update.again_ns = store.now_ns + store.cluster.control.heartbeat
        elif store.now_ns >= update.again_ns:
            update.again_ns = store.now_ns + store.cluster.control.heartbeat
        return None

    def _rebooting(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        """Silence is expected here; a boot says what became of it."""
        if view.boot > update.boot:
            if view.state is MachineState.DOWN:
                return Input.LOST, "machine is down again after its reboot"
            if self.current(view):
                return Input.BOOTED, ""
            update.boot = view.boot
            return Input.REVERTED, "the boot was not healthy; it runs what it ran before"
        for answer in update.answers:
            if answer.input is Input.REFUSED and update.attempts == 1:
                return Input.REFUSED, answer.why
        if any(answer.input is Input.EMPTY for answer in update.answers):
            # confirmed: every Realm there was stopped, so each may be started elsewhere at once
            for realm in store.realms_on(update.machine):
                store.lose(realm, "stopped for a reboot")
            update.answers = []
            update.attempts = ATTEMPTS
            update.again_ns = store.now_ns + self.goal.boot_patience_ns
        return _overdue(update, store, "it does not come back from its reboot")

    def _priming(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        for answer in update.answers:
            # a repeated PRIME is refused with WRONG_STATE when the first one was done and only its answer was lost
            if answer.input is Input.REFUSED and update.attempts > 1 and "WRONG_STATE" in answer.why:
                return Input.PRIMED, ""
            return answer.input, answer.why
        return _overdue(update, store, "no answer to prime")

    def _activating(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        for answer in update.answers:
            # a repeated ACTIVATE is refused when the first one was done: the heartbeat then tells which it was
            if answer.input is Input.REFUSED and update.attempts > 1:
                continue
            update.token_expected = answer.token_sha256
            update.lost_rmm = NO_RMM in answer.why
            return answer.input, answer.why
        if store.now_ns >= update.again_ns and self.current(view):
            return Input.ACTIVATED, "the answer was lost; the heartbeat names the new version"
        return _overdue(update, store, "no answer to activate")

    def _appraising(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        token = view.platform_token_sha256
        if view.distrusted not in ("", UNDER_APPRAISAL):
            return Input.REFUSED, f"platform token of the new firmware is refused: {view.distrusted}"
        fresh = token == update.token_expected if update.token_expected else token not in ("", update.token_before)
        if view.state is MachineState.ADMITTED and fresh:
            return Input.ADMITTED, ""
        return _overdue(update, store, "no verdict on the platform token of the new firmware")

    def _reattesting(self, update: Update, view: MachineView, store: Store) -> tuple[Input, str] | None:
        proofs = {
            name: proof(store.realms.get(name), update.machine, incarnation, update.asked_ns)
            for name, incarnation in update.realms.items()
        }
        refused = [name for name, word in proofs.items() if word == "refused"]
        if refused:
            return Input.REFUSED, f"evidence of Realm {refused[0]} over the new firmware is refused"
        missing = [name for name, word in proofs.items() if word == "open"]
        if not missing:
            return Input.ATTESTED, f"Realms attested: {sum(word == 'attested' for word in proofs.values())}"
        return _overdue(update, store, f"no fresh evidence of {len(missing)} Realms, {missing[0]} first")

    # -- effects -----------------------------------------------------------------------------------------------------

    def nothing(self, update: Update, store: Store, decision: Decision) -> None:
        """Only the phase changes."""

    def cordon(self, update: Update, store: Store, decision: Decision) -> None:
        """Keep new Realms and migrations away; what is under way may end."""
        view = store.machines[update.machine]
        store.cordon(update.machine, f"rollout of {self.goal.release}", by=self.goal.rollout)
        update.boot, update.token_before = view.boot, view.platform_token_sha256
        running = view.versions.get(self.goal.component, "")
        if running != self.goal.version:
            update.version_before = running
        update.lost_rmm = False
        update.strategy = self.goal.strategy
        if self.goal.strategy == "auto":
            new = _component(self.goal, store)
            tries, failures = self.activations
            chosen = choose(self.goal.rollout, view, new, tries, failures, store)
            update.strategy = chosen.strategy
            decision.records.append(chosen)
        update.token_expected = ""
        update.again_ns = store.now_ns + DRAIN_PATIENCE * self.goal.patience_ns
        update.attempts = ATTEMPTS

    def stage(self, update: Update, store: Store, decision: Decision) -> None:
        """Order the image into the other boot slot."""
        store.occupy(update.machine, "stage")
        update.attempts = 0
        self._order(update, store, decision)

    def unstage(self, update: Update, store: Store, decision: Decision) -> None:
        """Empty the slot again: no later boot may bring the release unasked."""
        decision.orders.append(Order(update.machine, UnstageFirmware(self.goal.component)))
        self.release(update, store, decision)

    def evacuate(self, update: Update, store: Store, decision: Decision) -> None:
        """Let the Realms leave; migrations are allowed, so the activity ends for as long."""
        store.vacate(update.machine)
        update.left = len(store.realms_on(update.machine))
        update.asked_ns = update.again_ns = store.now_ns
        update.attempts = ATTEMPTS

    def reboot(self, update: Update, store: Store, decision: Decision) -> None:
        """Order the reset."""
        store.occupy(update.machine, "reboot")
        update.attempts = 0
        self._order(update, store, decision)

    def meet(self, update: Update, store: Store, decision: Decision) -> None:
        """It is back: from here on this is the boot that must last; any token but the old one is its own."""
        view = store.machines[update.machine]
        update.boot = view.boot
        update.again_ns = store.now_ns + ATTEMPTS * self.goal.patience_ns
        update.attempts = ATTEMPTS

    def prime(self, update: Update, store: Store, decision: Decision) -> None:
        """Order LFA_PRIME of the release's image."""
        store.occupy(update.machine, "prime")
        update.attempts = 0
        self._order(update, store, decision)

    def activate(self, update: Update, store: Store, decision: Decision) -> None:
        """Order LFA_ACTIVATE."""
        store.occupy(update.machine, "activate")
        update.attempts = 0
        self._order(update, store, decision)

    def expect_token(self, update: Update, store: Store, decision: Decision) -> None:
        """Wait for the verifier; if the token was lost with its answer, have Realms bring it in their evidence."""
        if not update.token_expected:
            self._ask_evidence(update, store)
        update.again_ns = store.now_ns + ATTEMPTS * self.goal.patience_ns
        update.attempts = ATTEMPTS

    def ask_realms(self, update: Update, store: Store, decision: Decision) -> None:
        """Ask every serving Realm there for fresh evidence; one in any other state attests on its way anyway."""
        update.realms = self._ask_evidence(update, store)
        update.asked_ns = update.proven_from_ns = store.now_ns
        store.vacate(update.machine)
        update.again_ns = store.now_ns + ATTEMPTS * self.goal.patience_ns
        update.attempts = ATTEMPTS

    def _ask_evidence(self, update: Update, store: Store) -> dict[str, int]:
        serving = [realm for realm in store.realms_on(update.machine) if realm.state is RealmState.SERVING]
        for realm in serving:
            store.request_attestation(realm.name, f"firmware {self.goal.component} {self.goal.version}")
        return {realm.name: realm.incarnation for realm in serving}

    def release(self, update: Update, store: Store, decision: Decision) -> None:
        """Let Realms come again."""
        store.vacate(update.machine)
        store.uncordon(update.machine, by=self.goal.rollout)

    def cancel(self, update: Update, store: Store, decision: Decision) -> None:
        """LFA_CANCEL what may be primed; the old firmware runs on as before, so Realms may come again."""
        decision.orders.append(Order(update.machine, Cancel(self.goal.component)))
        self.release(update, store, decision)

    def quarantine(self, update: Update, store: Store, decision: Decision) -> None:
        """Keep the cordon: nobody can prove which firmware runs; Realms may still leave."""
        store.vacate(update.machine)

    def _send_again(self, update: Update, store: Store, decision: Decision) -> None:
        if update.attempts < ATTEMPTS and store.now_ns >= update.again_ns:
            self._order(update, store, decision)

    def _order(self, update: Update, store: Store, decision: Decision) -> None:
        decision.orders.append(Order(update.machine, self._command(update)))
        update.attempts += 1
        update.again_ns = store.now_ns + _boot_patience(update, self.goal)

    def _command(self, update: Update) -> Command:
        match update.phase:
            case Phase.PRIMING:
                return Prime(self.goal.image)
            case Phase.STAGING:
                return StageFirmware(self.goal.image)
            case Phase.REBOOTING:
                return Reboot(update.boot)
            case _:
                return Activate(self.goal.component)


def _boot_patience(update: Update, goal: Goal) -> int:
    """After the last order to reboot the machine may be on its way, its answer lost."""
    last = update.phase is Phase.REBOOTING and update.attempts >= ATTEMPTS
    return goal.boot_patience_ns if last else goal.patience_ns


def _component(goal: Goal, store: Store) -> Component:
    """The component of the release that the rollout brings."""
    components = store.cluster.firmware.releases[goal.release].components
    return next(one for name, one in components.items() if name == goal.component)


def _skew(goal: Goal, view: MachineView, store: Store) -> str:
    """Why the release does not work with what runs there: its own needs, and those of what stays."""
    releases = store.cluster.firmware.releases
    new = _component(goal, store)
    versions = {**view.versions, goal.component: new.version, "host": store.cluster.profiles[view.profile].host}
    why = unmet({str(name): version for name, version in new.needs.items()}, versions)
    if why:
        return f"{goal.component} {new.version} {why}"
    for name, version in sorted(view.versions.items()):
        for release in releases.values():
            other = release.components.get(name)  # type: ignore[call-overload]
            if name != goal.component and other is not None and other.version == version:
                why = unmet({str(need): least for need, least in other.needs.items() if need != "host"}, versions)
                if why:
                    return f"{name} {version} {why}"
    return ""


def _overdue(update: Update, store: Store, why: str) -> tuple[Input, str] | None:
    return (Input.OVERDUE, why) if update.attempts >= ATTEMPTS and store.now_ns >= update.again_ns else None


def _answer(outcome: object, component: str) -> Answer | None:
    if isinstance(outcome, Primed) and outcome.component == component:
        return Answer("prime", Input.PRIMED)
    if isinstance(outcome, Activated) and outcome.component == component:
        digest = hashlib.sha256(outcome.platform_token).hexdigest()
        return Answer("activate", Input.ACTIVATED, f"paused for {outcome.pause_ns} ns", digest)
    if isinstance(outcome, Staged) and outcome.component == component:
        return Answer("stage-firmware", Input.STAGED)
    if isinstance(outcome, Rebooting):
        return Answer("reboot", Input.EMPTY)
    if isinstance(outcome, Refused) and outcome.command in ANSWERED_IN:
        return Answer(outcome.command, Input.REFUSED, f"{outcome.code}: {outcome.why}")
    return None


def proof(realm: RealmView | None, machine: str, incarnation: int, asked_ns: int) -> str:
    """Whether the Realm gave good evidence since it was asked: attested, open, refused, or gone from the machine."""
    if realm is None or realm.state in (RealmState.STOPPING, RealmState.STOPPED):
        return "gone"
    here = realm.machine == machine and realm.incarnation == incarnation
    if here and realm.state in (RealmState.SERVING, RealmState.MIGRATING):
        asked = realm.attest_wanted or realm.nonce
        return "attested" if realm.attested_ns > asked_ns and not asked else "open"
    return "refused" if machine in realm.excluded else "gone"


_OBSERVERS = {
    Phase.DRAINING: Updater._draining,
    Phase.STAGING: Updater._staging,
    Phase.EVACUATING: Updater._evacuating,
    Phase.PRIMING: Updater._priming,
    Phase.ACTIVATING: Updater._activating,
    Phase.APPRAISING: Updater._appraising,
    Phase.REATTESTING: Updater._reattesting,
}

_EFFECTS = {effect: getattr(Updater, effect.value) for effect in Effect}
