"""A floor of machines at the outer edge of the rollout controller: they answer orders, and verdicts follow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cca_machine.commands import (
    CONTROL,
    Activate,
    Activated,
    Booted,
    Cancel,
    Prime,
    Primed,
    Reboot,
    Rebooting,
    Refused,
    Staged,
    StageFirmware,
    UnstageFirmware,
)
from orchestrator.cluster.schema import Cluster, RolloutEvent, SteerEvent
from orchestrator.engine.ports import Delivery, Message, Priority
from orchestrator.firmware.rollouts import Rollouts
from orchestrator.store import MachineState, MachineView, RealmState, RealmView, Store

BEAT = 100_000_000
S = 1_000_000_000


def make_cluster(machines: int, racks: int = 1, steer: Sequence[dict[str, Any]] = (), **rollout: Any) -> Cluster:
    rmm = {"signed_by": "vendor", "size": "4KiB"}
    event = {"kind": "rollout", "at": "1s", "release": "next", "bake": "5s", **rollout}
    return Cluster.model_validate(
        {
            "version": 1,
            "name": "floor",
            "profiles": {"std": {"pes": 4, "memory": "1GiB", "firmware": "base"}},
            "racks": {
                f"r{rack}": {"machines": {"std": machines}, "power": "ab"[rack % 2]} for rack in range(1, racks + 1)
            },
            "firmware": {
                "releases": {
                    "base": {"components": {"RMM": {"version": "1.0.0", **rmm}}},
                    "next": {"components": {"RMM": {"version": "1.1.0", **rmm}}},
                }
            },
            "images": {"web": {}},
            "realms": {"web": {"image": "web", "count": machines}},
            "events": [event, *({"kind": "steer", **one} for one in steer)],
        }
    )


class Floor:
    """Machines m0, m1, ... with one serving Realm each (w0, w1, ...), whose behaviour a test may change by name."""

    def __init__(self, machines: int, *, racks: int = 1, steer: Sequence[dict[str, Any]] = (), **rollout: Any) -> None:
        self.store = Store(make_cluster(machines, racks, steer, **rollout), 1)
        for number in range(machines):
            name, realm = f"m{number}", f"w{number}"
            view = MachineView(name, f"r{number % racks + 1}", "std", 4, 1000, MachineState.ADMITTED, boot=1)
            view.versions, view.platform_token_sha256 = {"RMM": "1.0.0"}, "old"
            self.store.machines[name] = view
            self.store.realms[realm] = RealmView(realm, "web", 0, RealmState.SERVING, incarnation=1)
            self.store.bind(self.store.realms[realm], name)
        events = self.store.cluster.events
        rollouts = [event for event in events if isinstance(event, RolloutEvent)]
        steering = [event for event in events if isinstance(event, SteerEvent)]
        self.rollouts = Rollouts(rollouts, self.store, lambda release, component: b"image", steering)
        self.rollout = self.rollouts.rollouts[0]
        self.now_ns = 0
        self.records: list[Any] = []
        self.orders: list[tuple[int, str, Any]] = []
        self.behaviour: dict[str, Callable[[str, Any], list[Any]]] = {}
        self.bad_tokens: set[str] = set()
        self.slow_verifier: set[str] = set()
        self.mute_realms: set[str] = set()
        self._arriving: list[tuple[str, Any]] = []
        self._numbers = 0

    # -- the world -----------------------------------------------------------------------------------------------

    def good(self, machine: str, command: Any) -> list[Any]:
        if isinstance(command, Prime):
            return [Primed("RMM", "1.1.0")]
        if isinstance(command, Activate):
            return [Activated("RMM", {"RMM": "1.1.0"}, f"token of {machine}".encode(), b"rak", 1000)]
        if isinstance(command, StageFirmware):
            return [Staged("RMM", "1.1.0")]
        if isinstance(command, Reboot):
            return [Rebooting(command.boot)] if command.boot == self.store.machines[machine].boot else []
        assert isinstance(command, Cancel | UnstageFirmware)
        return []

    def deliver(self, machine: str, outcome: Any) -> None:
        self._arriving.append((machine, outcome))

    def boot(self, machine: str, version: str) -> None:
        """The machine boots, and everyone who must notice notices."""
        view = self.store.machines[machine]
        view.boot += 1
        view.versions, view.platform_token_sha256 = {"RMM": version}, f"boot {view.boot}"
        view.state, view.distrusted = MachineState.ADMITTED, ""
        self.deliver(machine, Booted(view.boot, b"", b"", dict(view.versions)))

    def _arrive(self) -> None:
        arriving, self._arriving = self._arriving, []
        for machine, outcome in arriving:
            self._numbers += 1
            message = Message(machine, self._numbers, CONTROL, self.now_ns - 1, outcome)
            if isinstance(outcome, Activated):
                self._health(machine, outcome)
            self.rollouts.fold(self.store, Delivery(self.now_ns, Priority.MACHINE, message))
        for realm in self.store.realms.values():
            if realm.attest_wanted and realm.name not in self.mute_realms:
                realm.attest_wanted, realm.attested_ns = "", self.now_ns

    def _health(self, machine: str, outcome: Activated) -> None:
        view = self.store.machines[machine]
        view.versions = dict(outcome.versions)
        if machine in self.bad_tokens:
            view.distrusted, view.platform_token_sha256 = "no reference value", ""
        elif machine not in self.slow_verifier:
            view.platform_token_sha256 = hashlib.sha256(outcome.platform_token).hexdigest()

    def step(self) -> int | None:
        """One beat; returns when the controller wants to be called next."""
        self.store.now_ns = self.now_ns
        self._arrive()
        decision = self.rollouts.decide(self.store, self.now_ns)
        self.records += decision.records
        for order in decision.orders:
            self.orders.append((self.now_ns, order.machine, order.command))
            answer = self.behaviour.get(order.machine, self.good)
            self._arriving += [(order.machine, outcome) for outcome in answer(order.machine, order.command)]
        self.now_ns += BEAT
        return decision.next_due_ns

    def run(self, until_s: float) -> Floor:
        while self.now_ns <= until_s * S:
            self.step()
        return self

    # -- reading --------------------------------------------------------------------------------------------------

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    def phase(self, machine: str) -> str:
        return str(self.rollout.state.updates[machine].phase)

    def sent(self, kind: type) -> list[str]:
        return [machine for _, machine, command in self.orders if isinstance(command, kind)]


@pytest.fixture
def silent() -> Callable[[str, Any], list[Any]]:
    return lambda machine, command: []


@pytest.fixture
def refusing() -> Callable[[str], Callable[[str, Any], list[Any]]]:
    """A behaviour that refuses one command by its tag and answers the others well."""

    def make(tag: str) -> Callable[[str, Any], list[Any]]:
        def answer(machine: str, command: Any) -> list[Any]:
            if isinstance(command, Prime if tag == "prime" else Activate):
                return [Refused(tag, "RMM", f"LFA_{tag.upper()}: AUTH_ERROR", "not as it should be")]
            return [Primed("RMM", "1.1.0")] if isinstance(command, Prime) else []

        return answer

    return make


@pytest.fixture
def floor() -> type[Floor]:
    return Floor
