"""A fleet at the outer edge of the control plane: machines that answer by a short script, with real keys and tokens.

`ScriptedFleet` stands where machines do (`FleetPort`) and is driven by the real engine over real links. Its machines
build nothing, but sign what a machine signs, hold leases to the nanosecond, and keep a list of when each copy of a
Realm executed, which tests judge.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from attestation import token as tokens
from attestation.claims import PlatformClaims, RealmClaims, SoftwareComponent
from attestation.kbs.client import Guest
from attestation.keys import derive_key
from cca_machine import commands as c
from cca_machine.migration import wire
from cca_machine.migration.verdict import Verdict, read
from cca_machine.monitor.platform_token import CONFIG, platform_identity
from orchestrator.cluster.schema import Cluster
from orchestrator.control import ControlPlane, control_plane
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.links import Drop, Links, LinkShape, Rule, Topology, partition
from orchestrator.engine.loop import Engine
from orchestrator.engine.ports import ControlStep, Delivery, MachineReport, Message, Strike
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.firmware.image import FirmwareSet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan
from orchestrator.realms.reference import expected_rim

MS = 1_000_000
S = 1_000_000_000
BOOT_NS = 20 * S
"""A boot of the scripted machines: longer than `suspect_after`, as real ones are."""


class Copy(msgspec.Struct):
    """One hosted incarnation; `from_ns` is when it last began to execute, None while it does not."""

    spec: c.RealmSpec
    state: str
    lease_until_ns: int
    guest: Guest
    from_ns: int | None = None
    session: str = ""


class Machine:
    """Answers orders after a millisecond; `tamper`, `mute` and `refuse` make it misbehave."""

    def __init__(self, spec: c.MachineSpec, firmware: FirmwareSet, release: str, lives: list[Any]) -> None:
        self.spec, self.firmware, self.release, self.lives = spec, firmware, release, lives
        self.boot, self.up_ns, self.number, self.sent = 0, 0, 0, 0
        self.copies: dict[str, Copy] = {}
        self.peers: dict[str, str] = {}
        self.outbox: list[tuple[int, int, str, Any, int, int]] = []
        self.timer: list[int] = []
        self.tamper, self.mute = False, False
        self.refuse: dict[str, list[str]] = {}
        self.orders: list[tuple[int, Any]] = []
        self.start(0)

    # -- identity ------------------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        self.boot, self.up_ns = self.boot + 1, now_ns
        self.rak = derive_key(self.spec.seed, f"scripted rak {self.boot}")
        identity = platform_identity(self.spec.seed)
        signed = [part for (of, _), part in self.firmware.components.items() if of == self.release]
        claims = PlatformClaims(
            challenge=hashlib.sha256(self.rak.public.cose_key()).digest(),
            implementation_id=self.spec.implementation_id,
            instance_id=identity.instance_id,
            config=CONFIG,
            lifecycle=self.spec.lifecycle,
            sw_components=tuple(
                SoftwareComponent(
                    measurement_type=part.component, measurement_value=part.measurement, version=part.version,
                    signer_id=part.signer_id, description="sha-256",
                )
                for part in signed
            ),
        )  # fmt: skip
        self.versions = {part.component: part.version for part in signed}
        self.token = tokens.encode_platform(claims, identity.cpak)
        self.say(now_ns, c.Booted(self.boot, self.token, self.rak.public.cose_key(), self.versions))

    def evidence(self, copy: Copy, nonce: str) -> bytes:
        claims = RealmClaims(
            challenge=copy.guest.challenge(nonce),
            personalization_value=copy.spec.rpv,
            hash_algo_id=copy.spec.hash_algo,
            public_key=self.rak.public.cose_key(),
            initial_measurement=expected_rim(copy.spec),
            extensible_measurements=(bytes(len(expected_rim(copy.spec))),) * 4,
        )
        token = tokens.encode_collection(self.token, tokens.encode_realm(claims, self.rak))
        if self.tamper:
            token = token[:-5] + bytes([token[-5] ^ 1]) + token[-4:]
        return copy.guest.attestation(token)

    # -- time ----------------------------------------------------------------------------------------------------------

    def say(self, at_ns: int, body: Any, answers: int = 0, target: str = c.CONTROL, size: int = 0) -> None:
        if self.mute and target == c.CONTROL:
            return
        self.number += 1
        heapq.heappush(self.outbox, (at_ns + MS, self.number, target, body, answers, size))

    def begin(self, copy: Copy, now_ns: int) -> None:
        if copy.from_ns is None and now_ns < copy.lease_until_ns:
            copy.from_ns = now_ns
            self.timer.append(copy.lease_until_ns)

    def end(self, copy: Copy, now_ns: int) -> None:
        if copy.from_ns is not None:
            self.lives.append((copy.spec.realm, copy.from_ns, now_ns, self.spec.name, copy.spec.incarnation))
            copy.from_ns = None

    def lapse(self, now_ns: int) -> None:
        """End what executes past its lease, at the instant the lease ended."""
        for copy in self.copies.values():
            if copy.from_ns is not None and self.spec.leases and copy.lease_until_ns <= now_ns:
                self.end(copy, copy.lease_until_ns)
        self.timer = [at for at in self.timer if at > now_ns]

    def advance(self, until_ns: int, inbox: Sequence[Delivery]) -> MachineReport:
        for delivery in inbox:
            self.lapse(delivery.arrives_ns)
            self.receive(delivery.arrives_ns, delivery.message)
        self.lapse(until_ns - 1)
        sent = []
        while self.outbox and self.outbox[0][0] < until_ns:
            at_ns, _, target, body, answers, size = heapq.heappop(self.outbox)
            self.sent += 1
            sent.append(Message(self.spec.name, self.sent, target, at_ns, body, answers, size))
        due = [*([self.outbox[0][0]] if self.outbox else []), *self.timer]
        return MachineReport(self.spec.name, sent, [], min(due, default=None))

    # -- what arrives --------------------------------------------------------------------------------------------------

    def receive(self, now_ns: int, message: Message) -> None:
        body = message.body
        if isinstance(body, c.Inject | c.Heal):
            self.strike(now_ns, body)
        elif now_ns < self.up_ns:
            return
        elif isinstance(body, c.Parcel):
            self.parcel(now_ns, message.source, body)
        else:
            self.orders.append((now_ns, body))
            tag = str(type(body).__struct_config__.tag)
            subject = getattr(body, "session", "") or getattr(body, "realm", "")
            named = subject.realm if isinstance(subject, c.RealmSpec) else subject
            incarnation = getattr(subject, "incarnation", getattr(body, "incarnation", 0))
            if self.refuse.get(tag):
                code = self.refuse[tag].pop(0)
                self.say(now_ns, c.Refused(tag, named, code, "scripted", incarnation), message.number)
                return
            for answer in getattr(self, "on_" + tag.replace("-", "_"))(now_ns, body):
                self.say(now_ns, answer, message.number)

    def strike(self, now_ns: int, body: c.Inject | c.Heal) -> None:
        if isinstance(body, c.Inject):
            self.up_ns = 1 << 62
            for copy in self.copies.values():
                self.end(copy, now_ns)
            self.copies, self.peers, self.outbox, self.timer = {}, {}, [], []
        else:
            self.start(now_ns + BOOT_NS)

    def find(self, realm: str, incarnation: int) -> Copy | None:
        copy = self.copies.get(realm)
        return copy if copy is not None and copy.spec.incarnation == incarnation else None

    def unknown(self, tag: str, body: Any) -> list[Any]:
        named = getattr(body, "session", "") or body.realm
        return [c.Refused(tag, named, "unknown-realm", "scripted", getattr(body, "incarnation", 0))]

    def on_renew_leases(self, now_ns: int, body: c.RenewLeases) -> list[Any]:
        for realm, incarnation in body.leases:
            copy = self.find(realm, incarnation)
            if copy is not None:
                copy.lease_until_ns = max(copy.lease_until_ns, body.until_ns)
                self.timer.append(copy.lease_until_ns)
                if copy.state in ("attesting", "serving"):
                    self.begin(copy, now_ns)
        held = tuple(
            c.RealmStatus(n, self.copies[n].spec.incarnation, self.copies[n].state) for n in sorted(self.copies)
        )
        used = sum(copy.spec.memory_bytes // 4096 for copy in self.copies.values())
        free = self.spec.memory_bytes // 4096 - used
        return [c.Heartbeat(self.boot, free, 250 - len(held), True, self.versions, held)]

    def on_launch(self, now_ns: int, body: c.Launch) -> list[Any]:
        if body.realm.realm in self.copies:
            return [c.Refused("launch", body.realm.realm, "already-hosted", "scripted", body.realm.incarnation)]
        seed = f"{self.spec.name}/{body.realm.realm}/{body.realm.incarnation}".encode()
        copy = Copy(body.realm, "attesting", body.lease_until_ns, Guest(seed.ljust(32, b".")))
        self.copies[body.realm.realm] = copy
        self.begin(copy, now_ns)
        evidence, rim = self.evidence(copy, body.nonce), expected_rim(body.realm)
        return [c.Launched(body.realm.realm, body.realm.incarnation, evidence, rim, MS, MS)]

    def on_attest(self, now_ns: int, body: c.Attest) -> list[Any]:
        copy = self.find(body.realm, body.incarnation)
        if copy is None:
            return self.unknown("attest", body)
        return [c.Attested(body.realm, body.incarnation, self.evidence(copy, body.nonce), MS)]

    def on_deliver_secret(self, now_ns: int, body: c.DeliverSecret) -> list[Any]:
        copy = self.find(body.realm, body.incarnation)
        if copy is None:
            return self.unknown("deliver-secret", body)
        assert copy.guest.open(body.jwe)
        copy.state = "serving"
        return [c.Serving(body.realm, body.incarnation)]

    def on_stop(self, now_ns: int, body: c.Stop) -> list[Any]:
        copy = self.find(body.realm, body.incarnation)
        if copy is None:
            return self.unknown("stop", body)
        self.end(copy, now_ns)
        del self.copies[body.realm]
        return [c.Stopped(body.realm, body.incarnation)]

    def on_open_import(self, now_ns: int, body: c.OpenImport) -> list[Any]:
        if body.session in self.peers:
            return []
        seed = f"{self.spec.name}/{body.session}".encode()
        self.copies[body.realm.realm] = Copy(
            body.realm, "arriving", body.lease_until_ns, Guest(seed.ljust(32, b".")), session=body.session
        )
        self.peers[body.session] = body.realm.realm
        return []

    def on_open_export(self, now_ns: int, body: c.OpenExport) -> list[Any]:
        copy = self.find(body.realm, body.incarnation)
        if copy is None:
            return self.unknown("open-export", body)
        if body.session in self.peers:
            return []
        self.end(copy, now_ns)
        copy.state, copy.session, self.peers[body.session] = "leaving", body.session, body.realm
        self.say(now_ns, c.Parcel(body.session, b"sealed", 1 << 20), target=body.peer, size=1 << 20)
        return [c.ExportReady(body.session, 1 << 20)]

    def parcel(self, now_ns: int, source: str, parcel: c.Parcel) -> None:
        copy = self.copies.get(self.peers.get(parcel.session, ""))
        if copy is None or copy.session != parcel.session:
            return
        if source != wire.WITNESS:
            copy.state = "ready"
            self.register(now_ns, copy)
            return
        match wire.decode(parcel.payload):
            case wire.Challenge(nonce):
                self.tell(now_ns, copy, wire.Confirm(self.lineage(copy), b"all", self.boot, nonce))
            case wire.Decided(verdict):
                for answer in self.decided(now_ns, copy, read(verdict)):
                    self.say(now_ns, answer)

    def decided(self, now_ns: int, copy: Copy, verdict: Verdict) -> list[Any]:
        session, copy.session = copy.session, ""
        if verdict.decision == "grant" and copy.state == "ready":
            copy.state = "serving"
            self.begin(copy, now_ns)
            return [c.Imported(session, copy.spec.realm, copy.spec.incarnation)]
        if verdict.decision == "abort" and copy.state == "leaving":
            copy.state = "serving"
            self.begin(copy, now_ns)
            self.peers[session] = ""
            return [c.SessionClosed(session, "active")]
        del self.copies[copy.spec.realm]
        self.peers[session] = ""
        return [c.SessionClosed(session, "scrubbed" if verdict.decision == "grant" else "failed")]

    def on_settle_session(self, now_ns: int, body: c.SettleSession) -> list[Any]:
        realm = self.peers.setdefault(body.session, "")
        copy = self.copies.get(realm)
        if copy is None:
            return [c.SessionClosed(body.session, "unknown")]
        copy.lease_until_ns = max(copy.lease_until_ns, body.lease_until_ns)
        if not copy.session:
            return [c.Imported(body.session, copy.spec.realm, copy.spec.incarnation)]
        if copy.state == "ready":
            self.register(now_ns, copy)
        else:
            self.tell(now_ns, copy, wire.Query(self.lineage(copy)))
        return []

    def register(self, now_ns: int, copy: Copy) -> None:
        self.tell(now_ns, copy, wire.Ready(self.lineage(copy), b"all", self.boot))

    def lineage(self, copy: Copy) -> str:
        return f"{copy.spec.realm}/{copy.spec.incarnation}"

    def tell(self, now_ns: int, copy: Copy, message: wire.Freightage) -> None:
        self.say(now_ns, c.Parcel(copy.session, wire.encode(message), 200), target=wire.WITNESS, size=200)


class Watched:
    """The control plane, noting at which boundaries it said anything."""

    def __init__(self, control: ControlPlane) -> None:
        self.control = control
        self.steps: list[tuple[int, ControlStep]] = []
        self.strikes: list[Strike] = []

    def step(self, now_ns: int, arrived: Sequence[Delivery]) -> ControlStep:
        step = self.control.step(now_ns, arrived)
        due = [strike for strike in self.strikes if strike.at_ns <= now_ns + 100 * MS]
        self.strikes = [strike for strike in self.strikes if strike not in due]
        self.steps.append((now_ns, step))
        wake = min([s.at_ns - 100 * MS for s in self.strikes] + [step.next_due_ns or 1 << 62])
        return msgspec.structs.replace(step, strikes=due, next_due_ns=max(wake, now_ns))


class World:
    """Engine, links, control plane and scripted machines of one small cluster."""

    def __init__(self, document: Mapping[str, Any], seed: int = 1, skip: bool = True) -> None:
        self.cluster = Cluster.model_validate(document)
        self.made = plan(self.cluster, seed)
        self.lives: list[tuple[str, int, int, str, int]] = []
        release = {name: self.cluster.profiles[spec.profile].firmware for name, spec in self.made.machines.items()}
        self.fleet = {
            name: Machine(spec, self.made.firmware, release[name], self.lives)
            for name, spec in self.made.machines.items()
        }
        self.tokens: list[tuple[str, int, str]] = []
        self.control = control_plane(self.made, sink=lambda *seen: self.tokens.append(seen[:3]))
        self.store = self.control.store
        shape = LinkShape(250_000)
        racks = {name: spec.rack for name, spec in self.made.machines.items()}
        self.links = Links(self.made.secret, Topology(racks, shape, shape, shape))
        self.sink = MemorySink()
        self.trace = Trace(self.sink)
        self.watched = Watched(self.control)
        self.witnessed = WitnessedFleet(self, witness_of(self.made.secret))
        self.engine = Engine(100 * MS, self.witnessed, self.watched, self.links, self.trace, MemoryJournal(), skip=skip)

    def machines(self) -> Sequence[str]:
        return sorted(self.fleet)

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        return [self.fleet[name].advance(until_ns, inbox.get(name, ())) for name in sorted(only)]

    def run(self, seconds: float) -> World:
        self.engine.run_until(int(seconds * S))
        return self

    def power_loss(self, machine: str, at_s: float, for_s: float) -> None:
        kind = c.FaultKind.POWER_LOSS
        self.watched.strikes += [
            Strike(machine, int(at_s * S), c.Inject(kind)),
            Strike(machine, int((at_s + for_s) * S), c.Heal(kind)),
        ]

    def cut(self, machine: str, from_s: float, until_s: float) -> None:
        """Cut a machine off from the control plane, both ways."""
        for rule in partition("cut", (c.CONTROL,), (machine,), int(from_s * S), int(until_s * S)):
            self.links.impose(rule, 0)

    def deafen(self, machine: str, from_s: float, until_s: float) -> None:
        """Lose what the control plane sends to a machine; what the machine sends arrives."""
        self.links.impose(Rule("deaf", (c.CONTROL,), (machine,), int(from_s * S), int(until_s * S), Drop()), 0)

    def silence(self, machine: str, from_s: float, until_s: float) -> None:
        """Lose what a machine sends to the control plane; what it is sent arrives."""
        self.links.impose(Rule("mute", (machine,), (c.CONTROL,), int(from_s * S), int(until_s * S), Drop()), 0)

    def records(self, kind: str) -> list[tuple[int, Any]]:
        """(instant, record) of one kind, from everything the control plane noted so far."""
        return [
            (entry.at_ns, entry.what)
            for _, step in self.watched.steps
            for entry in step.records
            if type(entry.what).__struct_config__.tag == kind
        ]

    def executions(self) -> list[tuple[str, int, int, str, int]]:
        """(realm, from, until, machine, incarnation) of every stretch in which a copy executed, open ones until now."""
        now_ns = self.engine.now_ns
        still = [
            (copy.spec.realm, copy.from_ns, now_ns, machine.spec.name, copy.spec.incarnation)
            for machine in self.fleet.values()
            for copy in machine.copies.values()
            if copy.from_ns is not None
        ]
        return sorted(self.lives + still)

    def doubles(self) -> list[tuple[Any, Any]]:
        """Pairs of stretches in which one Realm executed twice at once."""
        found = []
        for one in self.executions():
            for other in self.executions():
                if one < other and one[0] == other[0] and one[1] < other[2] and other[1] < one[2]:
                    found.append((one, other))
        return found


def document(**changes: Any) -> dict[str, Any]:
    """A small cluster file: two racks of two machines, three web Realms. Keys given replace those of the file."""
    rmm = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}
    return {
        "version": 1,
        "name": "small",
        "profiles": {"std": {"pes": 4, "memory": "256MiB", "firmware": "base"}},
        "racks": {"r1": {"machines": {"std": 2}}, "r2": {"machines": {"std": 2}}},
        "firmware": {"releases": {"base": {"components": {"RMM": rmm}}}},
        "images": {"web": {"size": "16KiB"}},
        "realms": {"web": {"image": "web", "count": 3, "memory": "16MiB"}},
        "attestation": {"servers": 1, "service": "5ms", "latency": "12ms"},
        **changes,
    }


@pytest.fixture
def cluster_file() -> Any:
    """Builds a small cluster document; keyword arguments replace top-level keys."""
    return document


@pytest.fixture
def world() -> Any:
    """Builds a World over the small cluster; keyword arguments replace top-level keys of the file."""

    def build(seed: int = 1, skip: bool = True, **changes: Any) -> World:
        return World(document(**changes), seed, skip)

    return build


# -- a real browser ----------------------------------------------------------------------------------------------------

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, headless, driven by Playwright; skips where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: the page is not driven"
    )
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: the page is not driven (apt-get install chromium)")
    with playwright.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()
