"""Rounds of heartbeats, of which only those are sent that can say something new.

Every `control.heartbeat` each machine is asked and its leases are renewed. A machine *rests* when its last answer said
only what is believed, and since then nothing was on its way to it and nothing but the end of leases on its agenda. Then
the next answers are known: they would say the same again. Such rounds are counted, not sent: `last_heard_ns`, leases
and the draws of the links follow from the number of the round when somebody needs them. An order, a strike, or a rule
on the machine's link to the control plane ends the rest before it takes effect, and the next round is sent again.

Nobody is told anything that messages would not have told. `every=True` sends them all; the trace is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from cca_machine.commands import CONTROL, HEARTBEATS, Heartbeat, LeasesKept, MachineSpec, RenewLeases
from cca_machine.host.states import HostedState
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.instant import beat_ceil
from orchestrator.engine.ports import Delivery, Message
from orchestrator.fleet import leases
from orchestrator.store import MachineView, RealmState, Store

CALM = "calm"
"""Source of `LeasesKept`: before chaos in the total order, for what it says was so before any deed of the instant."""


class Fates(Protocol):
    """What links say of heartbeats: `orchestrator.engine.links.Links`."""

    def arrival_ns(self, message: Message) -> int | None:
        """Instant of arrival; None when the message is lost."""
        ...

    def spoken_about(self, endpoint: str, from_ns: int, until_ns: int) -> frozenset[str] | None:
        """Endpoints whose messages from or to `endpoint` some rule judges in that time; None: all of them."""
        ...


class _Asked(Struct, frozen=True):
    """The last heartbeat that was sent to a machine; for a resting one, the last before its rest."""

    number: int
    sent_ns: int
    renewed: tuple[tuple[str, int], ...]


class Round(Struct, frozen=True):
    """What one look at the heartbeats gives the engine (`orchestrator.engine.ports.ControlStep`).

    `ended` names the machines whose rest ended: from now on, silence means something.
    """

    messages: list[Message]
    ended: list[str]
    rest: list[tuple[str, int]]
    rouse: list[tuple[str, int]]
    implied: int


class Heartbeats:
    """Rounds, and which machines rest. Without `fates`, or with `every`, no machine ever rests."""

    def __init__(
        self, cluster: Cluster, machines: Mapping[str, MachineSpec], fates: Fates | None = None, *, every: bool = False
    ) -> None:
        self._control = cluster.control
        self._fates = fates
        self._places = {name: place for place, name in enumerate(sorted(machines))}
        self._answer_ns = {name: spec.timing["host.heartbeat"] for name, spec in machines.items()}
        self._may_rest = fates is not None and not every and _fit(cluster, self._answer_ns.values())
        self._next_ns = 0
        self._round = 0
        self._round_ns = 0
        self._restless = dict.fromkeys(self._places)
        self._asked: dict[str, _Asked] = {}
        self._resting: dict[str, _Asked] = {}
        self._told_ns: dict[str, int] = {}
        self._owed: dict[str, Message] = {}
        self._rouse: dict[str, int] = {}
        self._ended: list[str] = []
        self._answers: list[tuple[str, Heartbeat, _Asked]] = []

    # -- what the engine asks ------------------------------------------------------------------------------------------

    def lie_down(self, machine: str) -> None:
        """The engine agrees that the machine has nothing to do."""
        self._resting[machine] = self._asked[machine]
        self._told_ns[machine] = self._asked[machine].sent_ns
        del self._restless[machine]

    def rests(self, machine: str) -> bool:
        """Whether the machine's heartbeats are counted only."""
        return machine in self._resting

    def kept(self, machine: str) -> Message | None:
        """The renewals that were not sent since the machine last ran, as one message."""
        asked = self._resting.get(machine)
        if asked is not None:
            self._owe(machine, asked)
        return self._owed.pop(machine, None)

    def _owe(self, machine: str, asked: _Asked) -> None:
        if asked.renewed and self._told_ns[machine] < self._round_ns:
            self._told_ns[machine] = self._round_ns
            kept = LeasesKept(asked.renewed, self._round_ns + self._control.lease)
            self._owed[machine] = Message(CALM, self._number(machine), machine, self._round_ns, kept)

    def _number(self, machine: str) -> int:
        """Number of the last round's message to a machine: no other message of the run has it."""
        return HEARTBEATS + self._round * len(self._places) + self._places[machine]

    # -- what the control plane learns and does ------------------------------------------------------------------------

    @property
    def restless(self) -> list[str]:
        """Machines whose heartbeats are sent, sorted."""
        return sorted(self._restless)

    @property
    def next_ns(self) -> int:
        """When the next round is due (virtual ns)."""
        return self._next_ns

    def answered(self, machine: str, body: Heartbeat, delivery: Delivery) -> None:
        """An answer arrived; whether the machine may rest now is decided when everything else is known."""
        asked = self._asked.get(machine)
        if self._may_rest and asked is not None and delivery.message.answers == asked.number:
            self._answers.append((machine, body, asked))

    def disturb(self, store: Store, machine: str) -> None:
        """End a rest: what the counted rounds did becomes part of the belief, and the machine's timer runs again."""
        asked = self._resting.pop(machine, None)
        if asked is None:
            return
        self._restless[machine] = None
        self._ended.append(machine)
        view = store.machines[machine]
        until_ns = max(self._round_ns, asked.sent_ns) + self._control.lease
        if self._round_ns > asked.sent_ns:
            view.last_heard_ns = max(view.last_heard_ns, self._heard_ns(machine))
            view.heartbeat_ns = max(view.heartbeat_ns, view.last_heard_ns)
            if asked.renewed:
                leases.renewed(store, view, asked.renewed, until_ns)
        if asked.renewed:
            self._owe(machine, asked)
            self._rouse[machine] = until_ns

    def _heard_ns(self, machine: str) -> int:
        """When the machine answered the last counted round, by its own clock (virtual ns)."""
        assert self._fates is not None
        arrived_ns = self._fates.arrival_ns(Message(CONTROL, self._number(machine), machine, self._round_ns, None))
        assert arrived_ns is not None
        return arrived_ns + self._answer_ns[machine]

    def close_step(self, store: Store, touched: Iterable[str]) -> Round:
        """End a step in which `touched` get orders or strikes: hold a round if one is due, and see who may rest."""
        busy = dict.fromkeys(touched)
        for machine in busy:
            self.disturb(store, machine)
        messages, implied = self._hold_round(store) if self._next_ns <= store.now_ns else ([], 0)
        answers, self._answers = self._answers, []
        rest = [
            (machine, asked.sent_ns)
            for machine, body, asked in answers
            if machine not in busy
            and self._asked[machine] is asked
            and as_believed(store, store.machines[machine], body)
        ]
        rouse, self._rouse = list(self._rouse.items()), {}
        ended, self._ended = self._ended, []
        return Round(messages, ended, rest, rouse, implied)

    def _hold_round(self, store: Store) -> tuple[list[Message], int]:
        """Ask every machine that does not rest; count what the others are not sent and do not answer."""
        while self._next_ns <= store.now_ns:
            self._next_ns += self._control.heartbeat
        if self._resting and self._fates is not None:
            judged = self._fates.spoken_about(CONTROL, store.now_ns, store.now_ns + self._control.beat)
            for machine in list(self._resting) if judged is None else sorted(judged & self._resting.keys()):
                self.disturb(store, machine)
        self._round += 1
        self._round_ns = store.now_ns
        return [self._ask(store, store.machines[machine]) for machine in self.restless], 2 * len(self._resting)

    def _ask(self, store: Store, machine: MachineView) -> Message:
        body = renewal(store, machine)
        asked = self._asked[machine.name] = _Asked(self._number(machine.name), store.now_ns, body.leases)
        return Message(CONTROL, asked.number, machine.name, store.now_ns, body)


def renewal(store: Store, machine: MachineView) -> RenewLeases:
    """A heartbeat to a machine as of now; its leases count as granted."""
    renewed = leases.renewals(store, machine)
    return RenewLeases(renewed, store.now_ns + store.cluster.control.lease if renewed else store.now_ns)


def as_believed(store: Store, machine: MachineView, body: Heartbeat) -> bool:
    """Whether an answer says what is believed and nothing is under way: asked again, the host would say the same."""
    if not (body.rmm_alive and machine.heard and body.boot == machine.boot and body.versions == machine.versions):
        return False
    if len(body.realms) != len(machine.residents):
        return False
    for status in body.realms:
        realm = store.realms.get(status.realm)
        if realm is None or (realm.machine, realm.incarnation) != (machine.name, status.incarnation):
            return False
        if realm.state is not RealmState.SERVING or status.state != HostedState.SERVING:
            return False
        if realm.asked is not None or realm.session or realm.attest_wanted:
            return False
    return True


def _fit(cluster: Cluster, answers_ns: Iterable[int]) -> bool:
    """Whether an answer always arrives within the beat of its round, and knowledge and leases outlive two rounds."""
    control, link = cluster.control, cluster.network.to_control
    way_ns = 2 * (link.latency + link.jitter) + max(answers_ns, default=0)
    apart_ns = beat_ceil(control.heartbeat, control.beat) + control.beat
    return way_ns < control.beat and apart_ns <= control.suspect_after and apart_ns <= control.lease
