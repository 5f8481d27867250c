"""What the control plane believes: machines, Realms and migration sessions, learnt from what arrived and nothing else.

The records are views, not the truth: a dead machine looks healthy here until its silence is noticed. Controllers write
the part they own and read the rest:

- `MachineView` belongs to `orchestrator.fleet.health` (cordons and activities to whoever put them there);
- `RealmView` belongs to `orchestrator.realms` (`machine`, and `session` while a migration runs, to `migration` too);
- `SessionView` belongs to `orchestrator.migration`;
- requests between controllers are methods of `Store`; each is noticed in the same step or at the next boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from orchestrator.cluster.schema import Cluster, RealmKind, RevokeEvent
from orchestrator.inputs import VerifierAnswered
from orchestrator.records import MachineCordoned, MachineUncordoned


class MachineState(StrEnum):
    """Life of a machine as the control plane believes it; the table is in `orchestrator.fleet.inventory`."""

    EXPECTED = "expected"
    """In the cluster file, never heard."""
    APPRAISING = "appraising"
    """It booted; its platform token is with the verifier."""
    ADMITTED = "admitted"
    """Heard within `suspect_after`; Realms may go there."""
    SUSPECT = "suspect"
    """Silent for too long: nothing new goes there, leases are no longer renewed."""
    DOWN = "down"
    """Silent past its last lease, or its RMM is dead: its Realms may run elsewhere."""
    REFUSED = "refused"
    """Its platform token was refused: no Realm goes there until it boots anew."""


class RealmState(StrEnum):
    """Life of a Realm in the fleet as the control plane believes it; table: `orchestrator.realms.lifecycle`."""

    AWAITED = "awaited"
    """In the cluster file, its `start_at` is still to come."""
    WANTED = "wanted"
    """It should run and has no machine."""
    PLACED = "placed"
    """The scheduler bound it to a machine; the order to build it is about to leave."""
    LAUNCHING = "launching"
    """The machine was told to build it."""
    VERIFYING = "verifying"
    """Its evidence is with the verifier."""
    RELEASING = "releasing"
    """The verdict was good; its secret is on the way."""
    SERVING = "serving"
    """It opened its secret and does its work."""
    MIGRATING = "migrating"
    """A migration session holds it."""
    REPLACING = "replacing"
    """This copy is being stopped so that another may be built."""
    STOPPING = "stopping"
    """Stopped for good: the order is out."""
    STOPPED = "stopped"
    FAILED = "failed"
    """No attempt is left; `RealmView.failure` says why."""


class SessionPhase(StrEnum):
    """Where a migration session stands for the control plane; the table is in `orchestrator.migration.phases`."""

    OPENING = "opening"
    """The lineage witness was asked to let the session begin."""
    OPEN = "open"
    """Both ends were told; nothing is decided."""
    EXPORTED = "exported"
    """The source has sent its start token."""
    WITHDRAWING = "withdrawing"
    """The witness was asked to end the session; it may have granted it before."""
    GRANTED = "granted"
    """The Realm is the target's."""
    HANDING_OVER = "handing-over"
    """The target runs it, or died with it; the source wipes its copy."""
    ABORTED = "aborted"
    """The Realm stays the source's; the target wipes what arrived."""
    DONE = "done"


HOSTED = frozenset(
    {
        RealmState.LAUNCHING, RealmState.VERIFYING, RealmState.RELEASING, RealmState.SERVING,
        RealmState.MIGRATING, RealmState.REPLACING, RealmState.STOPPING,
    }
)  # fmt: skip
"""States in which a copy of the Realm may exist on `RealmView.machine`."""


class Capacity(Struct):
    """What is free on a machine after its last heartbeat, less what was bound there since."""

    granules: int
    vmids: int
    mecids: int = 0

    def has_less_than(self, other: Capacity) -> bool:
        """Whether anything was scarcer here than it is in `other`."""
        return self.granules < other.granules or self.vmids < other.vmids or self.mecids < other.mecids


class MachineView(Struct):
    """One machine as the control plane believes it; `since_ns` is when `state` was entered (virtual ns)."""

    name: str
    rack: str
    profile: str
    pes: int
    granules: int
    state: MachineState = MachineState.EXPECTED
    since_ns: int = 0
    boot: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    platform_token_sha256: str = ""
    """Digest of the platform token that the verifier accepted; empty while none was."""
    rak: bytes = b""
    """COSE_Key of the RAK that the accepted token vouches for; empty while none was."""
    capacity: Capacity | None = None
    last_heard_ns: int = 0
    heartbeat_ns: int = 0
    """Instant, by the machine's own clock, of the newest heartbeat folded (virtual ns)."""
    lease_until_ns: int = 0
    """End of the last lease ever granted to a Realm there (virtual ns)."""
    distrusted: str = ""
    """Why the platform token of this boot was refused; empty when it was not."""
    demand_ppm: int = 0
    """CPU demand of the Realms bound here, in parts per million of one PE."""
    residents: dict[str, None] = field(default_factory=dict)
    """Names of the Realms bound here, as an ordered set."""
    cordons: dict[str, str] = field(default_factory=dict)
    """Who keeps new Realms away, and why."""
    rmm_dead: bool = False
    """Its host answers and says that there is no RMM; only firmware can be put there, and a reset ordered."""
    activity: str = ""
    """Firmware activity under way ("prime", "activate", ...): no migration may start or end here."""

    @property
    def heard(self) -> bool:
        """Whether the machine is believed to answer at present."""
        return self.state in (MachineState.APPRAISING, MachineState.ADMITTED, MachineState.REFUSED)


class Asked(Struct):
    """An order that waits for its answer: what was asked, when, and when it is asked again (virtual ns)."""

    command: str
    sent_ns: int
    again_ns: int
    attempts: int = 1


class RealmView(Struct):
    """One Realm as the control plane believes it, over all its incarnations."""

    name: str
    kind: str
    start_at_ns: int
    state: RealmState = RealmState.AWAITED
    since_ns: int = 0
    incarnation: int = 0
    machine: str = ""
    lease_until_ns: int = 0
    """End of the last lease granted to the present copy (virtual ns)."""
    hosted_since_ns: int = 0
    """Instant at which the machine first said that the present copy exists (its own clock); 0 before."""
    hosted_state: str = ""
    """What the last heartbeat said of the present copy (`cca_machine.host.states.HostedState`); empty before."""
    nonce: str = ""
    """Challenge that the next evidence must answer; empty when none is open."""
    challenge: str = ""
    """Key-broker session of that challenge."""
    asked: Asked | None = None
    unplaced: dict[str, int] = field(default_factory=dict)
    """Refusals by filter when the scheduler last found no machine; empty when it has one."""
    refusals: int = 0
    """Refused attempts since the Realm last served."""
    excluded: list[str] = field(default_factory=list)
    """Machines that refused it or whose evidence for it was refused, since it last served."""
    attest_wanted: str = ""
    """Why fresh evidence is wanted; empty when none is."""
    attest_why: str = ""
    """Why the evidence that is under way was asked for; empty when none is."""
    attested_ns: int = 0
    """Instant of the last verdict that passed (virtual ns)."""
    attestations: int = 0
    stop_wanted: str = ""
    stop_at_ns: int = 0
    """When the cluster file lets it go for good (virtual ns); 0: never."""
    deleted: bool = False
    """An operator deleted it: it is stopped, counts nowhere, and its name is not used again."""
    session: str = ""
    generation: int = 0
    """How often the present incarnation was granted to another machine."""
    restarts: int = 0
    failure: str = ""

    @property
    def hosted(self) -> bool:
        """Whether a copy may exist on `machine`."""
        return self.state in HOSTED and self.machine != ""


class SessionView(Struct):
    """One migration session (modelled); instants in virtual ns. The table is in `orchestrator.migration.phases`."""

    session: str
    realm: str
    incarnation: int
    source: str
    target: str
    why: str
    opened_ns: int
    deadline_ns: int
    source_boot: int
    target_boot: int
    generation: int = 0
    """Generation of the Realm before the session: a grant makes it one more."""
    phase: SessionPhase = SessionPhase.OPENING
    committed_ns: int = 0
    """When the control plane learned that the witness granted it; 0 before. Once set it is never unset."""
    ends_told: int = 0
    """How often the opening orders were sent."""
    source_closed: bool = False
    target_closed: bool = False
    target_fenced: bool = False
    """The target's machine has surely been reset since."""
    again_ns: int = 0
    """When the orders of the present phase are sent again."""
    attempts: int = 0
    sent_bytes: int = 0
    outcome: str = ""
    failure: str = ""


class MigrationRequest(Struct, frozen=True):
    """Somebody wants a Realm moved; an empty `to` leaves the choice to the scheduler."""

    realm: str
    to: str
    why: str
    at_ns: int


class DrainRequest(Struct, frozen=True):
    """Somebody wants a machine or a rack without Realms, loads evened out or packed, or to know what that would take.

    Exactly one of `machine`, `rack` and `goal` (spread or pack, at most `budget` moves) is given.
    """

    machine: str = ""
    rack: str = ""
    dry_run: bool = False
    goal: str = ""
    budget: int = 0


class Try(Struct):
    """How often a Realm's move was asked for, and when it may be again; `blocked` once it is given up."""

    count: int = 0
    again_ns: int = 0
    blocked: bool = False


class DrainView(Struct):
    """One drain or rebalancing under way. `goals` says where a rebalancing wants which Realm; a drain has none."""

    name: str
    machines: tuple[str, ...]
    began_ns: int
    realms: int
    tries: dict[str, Try] = field(default_factory=dict)
    goals: dict[str, str] = field(default_factory=dict)
    eta_ns: int = 0
    """When it was expected to be done, by the model, when it began (virtual ns)."""


class Loss(Struct, frozen=True):
    """A copy of a Realm is gone for good; nobody may believe in it any longer."""

    realm: str
    incarnation: int
    machine: str
    why: str


class Note(Struct, frozen=True):
    """A record on its way to the trace."""

    at_ns: int
    what: Any


class Store:
    """The belief, the cluster it is about, and the requests that controllers make of each other."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.seed = seed
        self.now_ns = 0
        self.machines: dict[str, MachineView] = {}
        self.realms: dict[str, RealmView] = {}
        self.witness: bytes = b""
        """COSE_Key of the lineage witness."""
        self.sessions: dict[str, SessionView] = {}
        """Open sessions only; what ended is in the trace."""
        self.migrations_wanted: list[MigrationRequest] = []
        self.drains: dict[str, DrainView] = {}
        """Drains and rebalancings under way, in the order in which they began."""
        self.drains_wanted: list[DrainRequest] = []
        self.drains_ended: list[str] = []
        self.cancels_wanted: list[tuple[str, str]] = []
        self.launches_wanted: list[str] = []
        self.stops_wanted: list[str] = []
        self.attestations_wanted: list[str] = []
        self.verifier_answers: list[VerifierAnswered] = []
        """What the verifier outside said and nobody acted on yet."""
        self.revocations_wanted: list[RevokeEvent] = []
        self.reappraisals_wanted: list[str] = []
        self.revoked_firmware: dict[tuple[str, str], None] = {}
        """(component, version) that the verifier refuses since a revocation, as an ordered set."""
        self.losses: list[Loss] = []
        self.room = False
        """Set when a machine was admitted, uncordoned or has more room than before: placing is worth another try."""
        self.kinds_on: dict[tuple[str, str], int] = {}
        """How many Realms of a kind are bound to a machine, and to a rack: (kind, machine or rack:NAME)."""
        self.touched: dict[str, None] = {}
        """Machines of which something changed that placing looks at, since it last looked."""
        self.fields: Any = None
        """What placing keeps from decision to decision (`orchestrator.scheduler.bind.Fields`)."""
        self.notes: list[Note] = []
        self.scoring: Callable[[MachineView, RealmKind, Store], Mapping[str, int]] | None = None
        """A script's own score in place of `orchestrator.scheduler.scores`; see `orchestrator.extensions`."""
        self.requested = False
        """Set by every request: the control plane looks again at the next boundary."""

    # -- reading -------------------------------------------------------------------------------------------------

    def kind(self, realm: str) -> RealmKind:
        """The kind of the cluster file that this Realm belongs to."""
        return self.cluster.realms[self.realms[realm].kind]

    def now_in(self, cluster: Cluster) -> None:
        """Take over a changed cluster file; what placing knew under the old one is forgotten."""
        self.cluster = cluster
        self.fields = None

    def realms_on(self, machine: str) -> list[RealmView]:
        """Realms whose present copy may exist on `machine`, by name."""
        bound = (self.realms[name] for name in sorted(self.machines[machine].residents))
        return [realm for realm in bound if realm.hosted]

    def sessions_on(self, machine: str) -> list[SessionView]:
        """Open migration sessions with an end on `machine`, by session."""
        return [session for session in self.sessions.values() if machine in (session.source, session.target)]

    def touch(self, machine: str) -> None:
        """Say that state, capacity, versions, cordons or activity of a machine may have changed."""
        self.touched[machine] = None

    # -- binding -----------------------------------------------------------------------------------------------------

    def bind(self, realm: RealmView, machine: str) -> None:
        """Say where the Realm's present copy is or will be; it leaves the machine it was bound to."""
        self.unbind(realm)
        realm.machine = machine
        self._count(realm, machine, 1)
        self.machines[machine].residents[realm.name] = None

    def unbind(self, realm: RealmView) -> None:
        """Say that the Realm is bound nowhere."""
        if realm.machine:
            self._count(realm, realm.machine, -1)
            del self.machines[realm.machine].residents[realm.name]
            realm.machine = ""

    def _count(self, realm: RealmView, machine: str, by: int) -> None:
        view, kind = self.machines[machine], self.cluster.realms[realm.kind]
        self.touch(machine)
        view.demand_ppm += by * kind.vcpus * kind.workload.cpu
        for where in (machine, rack_key(view.rack)):
            self.kinds_on[realm.kind, where] = self.kinds_on.get((realm.kind, where), 0) + by

    # -- writing the trace -----------------------------------------------------------------------------------------

    def note(self, what: Any, at_ns: int = 0) -> None:
        """Hand a tagged record to the trace, at `at_ns` or at the present boundary, whichever is later."""
        self.notes.append(Note(max(at_ns, self.now_ns), what))

    # -- requests between controllers --------------------------------------------------------------------------------

    def request_attestation(self, realm: str, why: str) -> None:
        """Have a serving Realm produce fresh evidence; a Realm in any other state attests on its way anyway."""
        self.realms[realm].attest_wanted = why
        self.attestations_wanted.append(realm)
        self.requested = True

    def request_cancel(self, session: str, why: str) -> None:
        """Have an open session ended, if the witness still can end it; the answer is a record."""
        self.cancels_wanted.append((session, why))
        self.requested = True

    def request_reappraisal(self, machine: str) -> None:
        """Have the platform token that a machine gave appraised again: reference values have changed."""
        self.reappraisals_wanted.append(machine)
        self.requested = True

    def request_revocation(self, revocation: RevokeEvent) -> None:
        """Have firmware revoked from the next boundary on."""
        self.revocations_wanted.append(revocation)
        self.requested = True

    def request_migration(self, realm: str, to: str, why: str) -> None:
        """Have a Realm moved to machine `to` (empty: the scheduler chooses); the answer is a record."""
        self.migrations_wanted.append(MigrationRequest(realm, to, why, self.now_ns))
        self.requested = True

    def request_drain(self, request: DrainRequest) -> None:
        """Have machines emptied or loads rearranged, or only told what that would take; the answers are records."""
        self.drains_wanted.append(request)
        self.requested = True

    def request_drain_end(self, drain: str) -> None:
        """Have a drain given up: its sessions are ended if the witness still can, and its cordons are taken back."""
        self.drains_ended.append(drain)
        self.requested = True

    def request_launch(self, realm: str, kind: str) -> None:
        """Have a Realm of a kind of the cluster file run that the file did not ask for; its name must be new."""
        self.realms[realm] = RealmView(realm, kind, start_at_ns=self.now_ns)
        self.launches_wanted.append(realm)
        self.requested = True

    def lose(self, realm: RealmView, why: str) -> None:
        """Declare the present copy of a Realm gone for good, with its machine's volatile state or its last lease."""
        self.losses.append(Loss(realm.name, realm.incarnation, realm.machine, why))
        self.requested = True

    def request_stop(self, realm: str, why: str = "operator") -> None:
        """Have a Realm stopped for good."""
        self.realms[realm].stop_wanted = why
        self.stops_wanted.append(realm)
        self.requested = True

    def cordon(self, machine: str, why: str, by: str = "operator") -> None:
        """Keep new Realms and migrations away from `machine` until `by` takes it back."""
        self.machines[machine].cordons[by] = why
        self.touch(machine)
        self.note(MachineCordoned(machine, by, why))
        self.requested = True

    def uncordon(self, machine: str, by: str = "operator") -> None:
        """Take back the cordon of `by`; without one, nothing changes."""
        if self.machines[machine].cordons.pop(by, None) is not None:
            self.touch(machine)
            self.note(MachineUncordoned(machine, by))
            self.requested = self.room = True

    def occupy(self, machine: str, activity: str) -> None:
        """Announce firmware activity on `machine`, so that no migration starts or ends there."""
        self.machines[machine].activity = activity
        self.touch(machine)

    def vacate(self, machine: str) -> None:
        """Announce the end of firmware activity on `machine`."""
        self.machines[machine].activity = ""
        self.touch(machine)
        self.requested = self.room = True


def rack_key(rack: str) -> str:
    """The name under which `Store.kinds_on` counts a rack, distinct from every machine's name."""
    return f"rack:{rack}"
