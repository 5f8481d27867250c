"""A few machines under a hand on the clock: orders and faults in, parcels carried, everything that left kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from attestation import firmware
from attestation.kbs import jwe
from attestation.kbs.messages import Attestation
from attestation.keys import SigningKey, derive_key
from cca_machine import commands as c
from cca_machine.costs import reference_timing
from cca_machine.machine import Machine
from cca_machine.migration.precopy import Terms
from cca_machine.migration.wire import WITNESS
from cca_machine.migration.witness import Witness

MS = 1_000_000
S = 1_000_000_000
COMPONENTS = ("HES", "BL2", "BL31", "RMM")
VENDOR = derive_key(b"a vendor's seed, 32 bytes of it..", "vendor")
ENVIRONMENT, PARCEL, ORDER = 0, 1, 2
NONCE = "bm9uY2UgZm9yIGEgdGVzdA=="


def firmware_image(component: str, version: str, key: SigningKey = VENDOR, head: bytes = b"", **fields: Any) -> bytes:
    """A signed image; `head` is what its payload begins with."""
    fields = {"security_version": 1, "data_format": 1, **fields}
    payload = head + f"{component} {version} ".encode() * 4096
    return firmware.build(firmware.FirmwareManifest(component=component, version=version, **fields), payload, key)


FIRMWARE = {component: firmware_image(component, "1.0.0") for component in COMPONENTS}


def machine_spec(name: str, **fields: Any) -> c.MachineSpec:
    given: dict[str, Any] = {
        "rack": "r1",
        "profile": "test",
        "seed": hashlib.sha256(name.encode()).digest(),
        "pes": 8,
        "memory_bytes": 1 << 30,
        "firmware": FIRMWARE,
        "anchors": {firmware.signer_id(VENDOR.public): VENDOR.public.cose_key()},
        "implementation_id": bytes(range(32)),
        "timing": reference_timing(),
    }
    return c.MachineSpec(name=name, **{**given, **fields})


def realm_spec(realm: str = "r", **fields: Any) -> c.RealmSpec:
    given: dict[str, Any] = {
        "incarnation": 1,
        "kind": "web",
        "vcpus": 2,
        "memory_bytes": 64 << 20,
        "image": c.ImageSpec("web", 1, 256 << 10),
        "program": "server",
        "workload": c.Workload(requests_per_s=1000),
    }
    return c.RealmSpec(realm=realm, **{**given, **fields})


class World:
    """Machines by name; `now_ns` is how far all of them have run."""

    def __init__(self, *names: str, **fields: Any) -> None:
        self.machines: dict[str, Any] = {name: Machine(machine_spec(name, **fields)) for name in names}
        self.machines[WITNESS] = Witness(bytes(range(32)))
        self.latency_ns = 100_000
        self.now_ns = 0
        self.number = 0
        self.sent: list[tuple[str, c.Sent]] = []
        self.records: list[tuple[int, str, Any]] = []
        self.carry: Callable[[str, c.Sent], list[c.Parcel]] = lambda name, sent: [sent.body]  # type: ignore[list-item]
        self.run(S)

    def order(self, machine: str, body: Any, at_ns: int | None = None) -> int:
        """Submit an order, or a deed of chaos."""
        self.number += 1
        chaos = isinstance(body, c.Inject | c.Heal)
        priority, source = (ENVIRONMENT, "chaos") if chaos else (ORDER, c.CONTROL)
        self.machines[machine].submit(body, at_ns or self.now_ns, priority, source, self.number)
        return self.number

    def run(self, for_ns: int) -> World:
        """Let all machines run on, in windows no longer than the link's latency while anything is due."""
        until_ns = self.now_ns + for_ns
        due: dict[str, int | None] = dict.fromkeys(self.machines, self.now_ns)
        while self.now_ns < until_ns:
            # with nothing due the last window reaches to the end, so that all machines have run equally far
            idle = all(at_ns is None or at_ns >= until_ns for at_ns in due.values())
            window_ns = until_ns if idle else min(self.now_ns + self.latency_ns, until_ns)
            for name, machine in sorted(self.machines.items()):
                advance = machine.run_until(window_ns)
                due[name] = advance.next_due_ns
                self.records += [(traced.at_ns, name, traced.what) for traced in advance.records]
                for sent in advance.sent:
                    self.sent.append((name, sent))
                    if isinstance(sent.body, c.Parcel):
                        self._carry(name, sent, due)
            earliest = min((at_ns for at_ns in due.values() if at_ns is not None), default=until_ns)
            self.now_ns = window_ns if earliest >= until_ns else max(window_ns, earliest)
        return self

    def _carry(self, name: str, sent: c.Sent, due: dict[str, int | None]) -> None:
        for parcel in self.carry(name, sent):
            arrives_ns = sent.at_ns + self.latency_ns + parcel.modelled_bytes * 8 // 10
            self.machines[sent.target].submit(parcel, arrives_ns, PARCEL, name, sent.number)
            other = due[sent.target]
            due[sent.target] = arrives_ns if other is None else min(other, arrives_ns)

    def bodies(self, kind: type[Any], machine: str = "") -> list[Any]:
        """Outcomes of a kind, oldest first."""
        return [sent.body for name, sent in self.sent if isinstance(sent.body, kind) and machine in ("", name)]

    def told(self, kind: type[Any], machine: str = "") -> list[tuple[int, Any]]:
        """(instant, record) of a kind, oldest first."""
        return [(at, what) for at, name, what in self.records if isinstance(what, kind) and machine in ("", name)]

    def open_session(self, session: str = "s", realm: c.RealmSpec | None = None, **fields: Any) -> None:
        """Have the Realm moved from `a` to `b`; terms and deadline may be given."""
        spec = realm or realm_spec()
        lineage, generation = f"{spec.realm}/{spec.incarnation}", fields.pop("generation", 0)
        source, target = fields.pop("source", "a"), fields.pop("target", "b")
        deadline_ns = self.now_ns + fields.pop("deadline_ns", 100 * S)
        terms = fields.pop("terms", Terms(bytes_per_s=1 << 30, most_rounds=0))
        self.order(WITNESS, c.OpenLineage(session, lineage, generation, source, target, deadline_ns))
        self.run(10 * MS)
        key = self.machines[WITNESS].public_key
        fixed = (key, generation, deadline_ns)
        lease_ns = self.now_ns + fields.pop("lease_ns", 1000 * S)
        opened = [
            (target, c.OpenImport(session, spec, source, self.rak(source), *fixed, lease_ns)),
            (source, c.OpenExport(session, spec.realm, spec.incarnation, target, self.rak(target), *fixed, terms)),
        ]
        if fields.pop("export_first", False):
            opened.reverse()
        for machine, order in opened:
            self.order(machine, order)
            self.run(fields.get("between_ns", 1 * MS))

    def rak(self, machine: str) -> bytes:
        """The RAK that the machine last announced."""
        rak: bytes = self.bodies(c.Booted | c.Activated, machine)[-1].rak  # type: ignore[arg-type]
        return rak

    def launch(self, machine: str = "m", realm: c.RealmSpec | None = None, lease_ns: int = 1000 * S) -> Any:
        """Launch a Realm; the answer."""
        spec = realm or realm_spec()
        number = self.order(machine, c.Launch(spec, NONCE, self.now_ns + lease_ns))
        self.run(2 * S)
        return self.answer(number)

    def serve(self, machine: str = "m", realm: c.RealmSpec | None = None, lease_ns: int = 1000 * S) -> Any:
        """Launch a Realm and give it its secret; what it answered."""
        launched = self.launch(machine, realm, lease_ns)
        order = c.DeliverSecret(launched.realm, launched.incarnation, sealed(launched.evidence))
        number = self.order(machine, order)
        self.run(S)
        return self.answer(number)

    def do(self, machine: str, body: Any, for_ns: int = 2 * S) -> Any:
        """One order and its answer."""
        number = self.order(machine, body)
        self.run(for_ns)
        return self.answer(number)

    def answer(self, number: int) -> Any:
        """What answered an order, None if nothing did."""
        return next((sent.body for _, sent in self.sent if sent.answers == number), None)

    def lives(self) -> list[tuple[str, int, str, int, int | None]]:
        """(realm, incarnation, machine, from, until) of every stretch of execution that the trace tells."""
        open_: dict[tuple[str, int, str], int] = {}
        done: list[tuple[str, int, str, int, int | None]] = []
        frozen: dict[str, list[tuple[str, int, str]]] = {}

        def end(key: tuple[str, int, str], at_ns: int) -> None:
            if key in open_:
                done.append((*key, open_.pop(key), at_ns))

        for at_ns, name, what in self.records:
            here = [key for key in open_ if key[2] == name]
            if isinstance(what, c.RealmLive):
                open_.setdefault((what.realm, what.incarnation, name), at_ns)
            elif isinstance(what, c.RealmStill):
                key = (what.realm, what.incarnation, name)
                end(key, at_ns)
                frozen[name] = [one for one in frozen.get(name, []) if one != key]
            elif isinstance(what, c.MachineLost):
                frozen.pop(name, None)
                for key in here:
                    end(key, at_ns)
            elif isinstance(what, c.MachineFrozen):
                frozen[name] = here
                for key in here:
                    end(key, at_ns)
            elif isinstance(what, c.MachineThawed):
                open_.update(dict.fromkeys(frozen.pop(name, []), at_ns))
        return done + [(*key, since, None) for key, since in open_.items()]


def sealed(evidence: bytes, secret: bytes = b"the secret") -> bytes:
    """The broker's encrypted resource for the guest that gave this evidence."""
    return jwe.seal(secret, Attestation(evidence).tee_key, b"ephemeral seed of a broker, 32 b.")


class Kit:
    """What tests of machines build with."""

    World = World
    machine_spec = staticmethod(machine_spec)
    realm_spec = staticmethod(realm_spec)
    firmware_image = staticmethod(firmware_image)
    sealed = staticmethod(sealed)
    FIRMWARE = FIRMWARE
    VENDOR = VENDOR
    NONCE = NONCE
    MS = MS
    S = S


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    """Builders and constants."""
    return Kit


@pytest.fixture
def world() -> World:
    """One machine `m`, booted."""
    return World("m")


@pytest.fixture
def pair() -> World:
    """Two machines `a` and `b`, booted."""
    return World("a", "b")
