"""What may be asked of a machine, what it answers, and what it says to its trace.

Three closed unions, each a family of frozen msgspec records with a tag, so that they cross the wire between head and
node without a second description:

- `Input`: a `Command` of the control plane, a `Parcel` from a machine, or a `Fault` of chaos (unseen by controllers);
- `Output`: an `Outcome` (to the control plane) or a `Parcel` (to another machine);
- `Record`: one line of the trace, the ground truth that checkers judge.

Start with `RealmSpec` and `Launch`; everything else follows a Realm's life.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from attestation.firmware_policy import SigningPolicy
from cca_machine.faults import FaultKind as FaultKind
from cca_machine.migration.precopy import Terms
from cca_machine.pod import PodRefused, PodSpec, PodStepped

CONTROL = "control"
"""Name of the control plane as an endpoint of messages."""

HEARTBEATS = 1 << 40
"""Heartbeats are numbered from here on, and an answer has the number of what it answers; other messages below."""


# -- what machines and Realms are made of ---------------------------------------------------------------------------


class ImageSpec(Struct, frozen=True):
    """A Realm image: `size_bytes` of content that follows from name and version (`cca_machine.image`)."""

    name: str
    version: int
    size_bytes: int


class Workload(Struct, frozen=True):
    """Steady behaviour of a Realm, a fluid model: integer rates, closed form since the last event.

    `demand_ppm` is the CPU demand of each vCPU in parts per million of one PE; `requests_per_s` are served while the
    Realm runs undisturbed; `dirty_bytes_per_s` over a working set of `working_set_bytes` feeds migration.
    """

    requests_per_s: int = 0
    demand_ppm: int = 200_000
    dirty_bytes_per_s: int = 0
    working_set_bytes: int = 0


class RealmSpec(Struct, frozen=True):
    """One incarnation of a Realm as its VMM is asked to build it. A restart elsewhere is a new incarnation.

    `mec` is `shared`, or `private` for a memory encryption context of its own; `lfa` is `allow`, or `disallow` where no
    firmware may be activated under the Realm. Only RMM 2.0 can keep the latter of both.
    """

    realm: str
    incarnation: int
    kind: str
    vcpus: int
    memory_bytes: int
    image: ImageSpec
    program: str
    workload: Workload
    hash_algo: str = "sha-256"
    rpv: bytes = bytes(64)
    mec: str = "shared"
    lfa: str = "allow"
    pod: PodSpec | None = None


class MachineSpec(Struct, frozen=True):
    """One server: its size, identity, firmware and the assumed costs of what it does.

    `seed` (32 bytes) comes from (run seed, machine name); all keys and draws of the machine derive from it.
    `firmware` holds signed images (`attestation.firmware`) by component; `anchors` the signers that EL3 accepts
    (signer id -> COSE_Key bytes), `firmware_policy` how many of them an image needs. `timing` maps names of
    `cca_machine.costs` to nanoseconds. `edition` is that of the RMM, `token_profile` the year of its tokens' profiles;
    `mecids` counts the memory encryption contexts that one Realm each may have (RMM 2.0).
    """

    name: str
    rack: str
    profile: str
    seed: bytes
    pes: int
    memory_bytes: int
    firmware: dict[str, bytes]
    anchors: dict[bytes, bytes]
    implementation_id: bytes
    timing: dict[str, int]
    vmid_bits: int = 8
    ipa_bits: int = 48
    lifecycle: int = 0x3000
    quirks: str = "suggested"
    leases: bool = True
    firmware_policy: SigningPolicy = SigningPolicy()
    host_version: str = "1.0.0"
    edition: str = "1.0"
    token_profile: str = "2023"
    mecids: int = 0


# -- commands: what the control plane asks ---------------------------------------------------------------------------


class Launch(Struct, frozen=True, tag="launch"):
    """Build a Realm by RMI, enter it, and come home with evidence over `nonce` (key-broker challenge, base64 text)."""

    realm: RealmSpec
    nonce: str
    lease_until_ns: int


class Attest(Struct, frozen=True, tag="attest"):
    """Have a running Realm produce fresh evidence over `nonce`."""

    realm: str
    incarnation: int
    nonce: str


class DeliverSecret(Struct, frozen=True, tag="deliver-secret"):
    """Hand the broker's encrypted resource (JWE) to the Realm; the Realm serves once it has opened it."""

    realm: str
    incarnation: int
    jwe: bytes


class Stop(Struct, frozen=True, tag="stop"):
    """Shut the Realm down, destroy it by RMI and return its granules to the host."""

    realm: str
    incarnation: int


class RenewLeases(Struct, frozen=True, tag="renew-leases"):
    """Heartbeat: the listed (realm, incarnation) may run until `until_ns`. Answered by `Heartbeat`."""

    leases: tuple[tuple[str, int], ...]
    until_ns: int


class LeasesKept(Struct, frozen=True, tag="leases-kept"):
    """What heartbeats did that were not sent one by one: nothing changed, and leases were renewed up to `until_ns`.

    Comes before anything else that happens to the machine, and is not answered.
    """

    leases: tuple[tuple[str, int], ...]
    until_ns: int


class OpenExport(Struct, frozen=True, tag="open-export"):
    """Source side of a migration (modelled): agree with `peer` on keys and send it the Realm.

    `peer_rak` is the COSE_Key of the peer's RAK as the control plane verified it; `witness` that of the lineage
    witness, whose decision at `generation` is the only one that counts. Until everything is sealed the source gives up
    by itself at `deadline_ns`. `terms` say how memory crosses.
    """

    session: str
    realm: str
    incarnation: int
    peer: str
    peer_rak: bytes
    witness: bytes
    generation: int
    deadline_ns: int
    terms: Terms


class OpenImport(Struct, frozen=True, tag="open-import"):
    """Destination side of a migration (modelled): build a shell for the Realm described by `realm`, fed by `peer`.

    `lease_until_ns` is the lease under which the Realm may run here once the witness granted it; the rest is as in
    `OpenExport`.
    """

    session: str
    realm: RealmSpec
    peer: str
    peer_rak: bytes
    witness: bytes
    generation: int
    deadline_ns: int
    lease_until_ns: int


class SettleSession(Struct, frozen=True, tag="settle-session"):
    """Say how the session ended here. An end that waits asks the witness; one that never was cannot be opened any more.

    If the Realm runs or will run here, it may until `lease_until_ns`.
    """

    session: str
    lease_until_ns: int


class OpenLineage(Struct, frozen=True, tag="open-lineage"):
    """To the witness (modelled): a session may take the Realm from `source` to `target`, until `deadline_ns`."""

    session: str
    lineage: str
    generation: int
    source: str
    target: str
    deadline_ns: int


class EndSession(Struct, frozen=True, tag="end-session"):
    """To the witness (modelled): end the session if it can still be ended; `fenced`: the target was surely reset."""

    session: str
    lineage: str
    why: str
    fenced: bool = False


class AskLineage(Struct, frozen=True, tag="ask-lineage"):
    """To the witness (modelled): repeat what was decided about the session, if it was."""

    session: str
    lineage: str


class Nudge(Struct, frozen=True, tag="nudge"):
    """A session's own clock (modelled): its machine put it on the agenda; `tick` says which hand."""

    session: str
    tick: int


class Prime(Struct, frozen=True, tag="prime"):
    """Stage a signed firmware image and LFA_PRIME it (several calls if the agent asks to be called again)."""

    image: bytes


class Activate(Struct, frozen=True, tag="activate"):
    """LFA_ACTIVATE the primed component with all PEs in the rendezvous."""

    component: str


class Cancel(Struct, frozen=True, tag="cancel"):
    """LFA_CANCEL the component."""

    component: str


class StageFirmware(Struct, frozen=True, tag="stage-firmware"):
    """Put a signed image into the other boot slot: the next cold boot tries it once (A/B slots, modelled)."""

    image: bytes


class UnstageFirmware(Struct, frozen=True, tag="unstage-firmware"):
    """Empty the other boot slot of a component: the next boot is as the last one."""

    component: str


class Reboot(Struct, frozen=True, tag="reboot"):
    """Stop every Realm in order, then reset the machine; refused when the machine is in another boot than `boot`."""

    boot: int


Command: TypeAlias = (
    Launch | Attest | DeliverSecret | Stop | RenewLeases | LeasesKept | OpenExport | OpenImport
    | SettleSession | OpenLineage | EndSession | AskLineage
    | Prime | Activate | Cancel | StageFirmware | UnstageFirmware | Reboot
)  # fmt: skip


# -- between machines, and from chaos --------------------------------------------------------------------------------


class Parcel(Struct, frozen=True, tag="parcel"):
    """Bytes from machine to machine within a migration session; `modelled_bytes` is what the link is charged for."""

    session: str
    payload: bytes
    modelled_bytes: int


class Inject(Struct, frozen=True, tag="inject"):
    """A fault begins."""

    kind: FaultKind


class Heal(Struct, frozen=True, tag="heal"):
    """The fault is undone."""

    kind: FaultKind


Fault: TypeAlias = Inject | Heal
Input: TypeAlias = Command | Parcel | Fault | Nudge


# -- outcomes: what a machine answers ---------------------------------------------------------------------------------


class Booted(Struct, frozen=True, tag="booted"):
    """The machine is up: its platform token (challenge = hash of the RAK), RAK and running versions by component."""

    boot: int
    platform_token: bytes
    rak: bytes
    versions: dict[str, str]


class RealmStatus(Struct, frozen=True):
    """One Realm as its host sees it: state is a `cca_machine.host.states.HostedState` value."""

    realm: str
    incarnation: int
    state: str


class Heartbeat(Struct, frozen=True, tag="heartbeat"):
    """Answer to `RenewLeases`: boot count, capacity left and every hosted Realm."""

    boot: int
    free_granules: int
    free_vmids: int
    rmm_alive: bool
    versions: dict[str, str]
    realms: tuple[RealmStatus, ...]
    free_mecids: int = 0


class Launched(Struct, frozen=True, tag="launched"):
    """The Realm was built, measured and entered; `evidence` is the key-broker attestation body with the token."""

    realm: str
    incarnation: int
    evidence: bytes
    rim: bytes
    build_ns: int
    token_ns: int


class Attested(Struct, frozen=True, tag="attested"):
    """Fresh evidence of a running Realm."""

    realm: str
    incarnation: int
    evidence: bytes
    token_ns: int


class Serving(Struct, frozen=True, tag="serving"):
    """The Realm opened its secret and does its work."""

    realm: str
    incarnation: int


class Stopped(Struct, frozen=True, tag="stopped"):
    """The Realm is gone and its granules are back."""

    realm: str
    incarnation: int


class ExportReady(Struct, frozen=True, tag="export-ready"):
    """The start token is sent; the Realm stays paused until the witness decides."""

    session: str
    sent_bytes: int


class Imported(Struct, frozen=True, tag="imported"):
    """The destination runs the Realm; downtime runs from the source's pause to this instant."""

    session: str
    realm: str
    incarnation: int


class SessionClosed(Struct, frozen=True, tag="session-closed"):
    """A migration session is over on this side: `how` is active, scrubbed, gone, failed or unknown."""

    session: str
    how: str
    why: str = ""


class LineageOffered(Struct, frozen=True, tag="lineage-offered"):
    """The witness lets the session begin."""

    session: str


class LineageDecided(Struct, frozen=True, tag="lineage-decided"):
    """What the witness decided: `decision` is grant or abort, `verdict` the signed form."""

    session: str
    decision: str
    generation: int
    holder: str
    decided_ns: int
    verdict: bytes


class Primed(Struct, frozen=True, tag="primed"):
    """LFA_PRIME completed for the component at this version."""

    component: str
    version: str


class Activated(Struct, frozen=True, tag="activated"):
    """The new image runs; platform token and RAK are those of the new firmware."""

    component: str
    versions: dict[str, str]
    platform_token: bytes
    rak: bytes
    pause_ns: int


class Staged(Struct, frozen=True, tag="staged"):
    """The image stands in the other boot slot and would be accepted by the next boot as things are now."""

    component: str
    version: str


class Rebooting(Struct, frozen=True, tag="rebooting"):
    """No Realm is left on the machine and it goes down now; `boot` is the boot that ends."""

    boot: int


class Refused(Struct, frozen=True, tag="refused"):
    """A command was refused and changed nothing.

    `command` is the command's tag, `subject` the Realm, session or component it named, `code` the refusing call
    and status as the specification names them ("RMI_REALM_CREATE: RMI_ERROR_INPUT", "LFA_PRIME: AUTH_ERROR") or a word
    of the host ("no-granules", "unknown-realm"), `why` a sentence.
    """

    command: str
    subject: str
    code: str
    why: str
    incarnation: int = 0


Outcome: TypeAlias = (
    Booted | Heartbeat | Launched | Attested | Serving | Stopped | ExportReady | Imported
    | SessionClosed | LineageOffered | LineageDecided | Primed | Activated | Staged | Rebooting | Refused
)  # fmt: skip
Output: TypeAlias = Outcome | Parcel


# -- trace records of a machine ---------------------------------------------------------------------------------------


class MachineBooted(Struct, frozen=True, tag="machine.booted"):
    boot: int
    versions: dict[str, str]


class MachineLost(Struct, frozen=True, tag="machine.lost"):
    """Power, or the RMM, is gone; `realms` are the (realm, incarnation) that died with it."""

    why: FaultKind
    realms: tuple[tuple[str, int], ...]


class MachineHung(Struct, frozen=True, tag="machine.hung"):
    """Every PE but `absent` waits in the pen of LFA_ACTIVATE, interrupts masked: nothing executes any more."""

    component: str
    absent: int


class MachineFrozen(Struct, frozen=True, tag="machine.frozen"):
    realms: tuple[tuple[str, int], ...]


class MachineThawed(Struct, frozen=True, tag="machine.thawed"):
    realms: tuple[tuple[str, int], ...]


class RealmBuilt(Struct, frozen=True, tag="realm.built"):
    """The Realm exists in the RMM: its RIM, the calls it took and the granules it holds as [base, count] runs."""

    realm: str
    incarnation: int
    rim: str
    calls: dict[str, int]
    granules: tuple[tuple[int, int], ...]


class RmiCalls(Struct, frozen=True, tag="rmi.calls"):
    """RMI calls that the host made for one command, parcel or boot, by name, refused ones included."""

    calls: dict[str, int]


class RealmLive(Struct, frozen=True, tag="realm.live"):
    """From this instant the Realm's RECs are enterable and run; `serving` says whether it does its work."""

    realm: str
    incarnation: int
    serving: bool
    why: str


class RealmStill(Struct, frozen=True, tag="realm.still"):
    """From this instant the Realm does not execute on this machine; `served` counts its requests here so far."""

    realm: str
    incarnation: int
    served: int
    why: str


class RealmEvidence(Struct, frozen=True, tag="realm.evidence"):
    """A token left the Realm; `sha256` is the digest of the token bytes as the Realm made them."""

    realm: str
    incarnation: int
    sha256: str
    size_bytes: int


class RealmDestroyed(Struct, frozen=True, tag="realm.destroyed"):
    realm: str
    incarnation: int
    granules: tuple[tuple[int, int], ...]


class FirmwareActivated(Struct, frozen=True, tag="firmware.activated"):
    component: str
    version: str
    security_version: int
    signer: str
    pause_ns: int


class FirmwareBooted(Struct, frozen=True, tag="firmware.booted"):
    """An image from the other boot slot came up healthy at a cold boot, and was committed."""

    component: str
    version: str
    security_version: int
    signer: str


class MachineRebooting(Struct, frozen=True, tag="machine.rebooting"):
    """The machine resets by order; every Realm there was stopped before."""

    boot: int


class FirmwareRefused(Struct, frozen=True, tag="firmware.refused"):
    component: str
    step: str
    status: str
    why: str


class SessionStep(Struct, frozen=True, tag="migration.step"):
    """A migration session (modelled) changed state on this side."""

    session: str
    realm: str
    incarnation: int
    role: str
    state: str
    sent_bytes: int = 0
    why: str = ""


class MigrationRound(Struct, frozen=True, tag="migration.round"):
    """A round of pre-copy (modelled) crossed while the Realm ran; `dirty_bytes` were dirty at its end."""

    session: str
    realm: str
    incarnation: int
    number: int
    sent_bytes: int
    lasts_ns: int
    dirty_bytes: int
    throttle_ppm: int


class MigrationPaused(Struct, frozen=True, tag="migration.paused"):
    """A pre-copy (modelled) is over for `why`: target, rounds or stalled; `rest_bytes` cross during the pause."""

    session: str
    realm: str
    incarnation: int
    rounds: int
    rest_bytes: int
    dirty_bytes_per_s: int
    why: str


class LineageStep(Struct, frozen=True, tag="migration.lineage"):
    """The witness (modelled) moved a lineage along its table; `decision` is grant or abort once it took one."""

    session: str
    lineage: str
    state: str
    generation: int
    holder: str
    decision: str = ""
    why: str = ""


class CommandRefused(Struct, frozen=True, tag="command.refused"):
    command: str
    subject: str
    code: str
    why: str


Record: TypeAlias = (
    MachineBooted | MachineLost | MachineHung | MachineFrozen | MachineThawed | RealmBuilt | RmiCalls | RealmLive
    | RealmStill | RealmEvidence | PodStepped | PodRefused | RealmDestroyed | FirmwareActivated | FirmwareBooted
    | MachineRebooting | FirmwareRefused | SessionStep | MigrationRound | MigrationPaused
    | LineageStep | CommandRefused
)  # fmt: skip


# -- what a machine returns from a stretch of time ---------------------------------------------------------------------


class Sent(Struct, frozen=True):
    """Something that left the machine at `at_ns`, numbered per machine without gaps; `HEARTBEATS` apart."""

    at_ns: int
    number: int
    target: str
    body: Output
    answers: int = 0
    """Number of the control-plane message it answers; 0 when it answers none (boot, parcels)."""


class Traced(Struct, frozen=True):
    """One record at its instant, numbered per machine without gaps."""

    at_ns: int
    number: int
    what: Record


class Advance(Struct, frozen=True):
    """What `Machine.run_until` gives back; `next_due_ns` is None when nothing is on the agenda.

    `idle` says that nothing but the end of leases is.
    """

    sent: list[Sent]
    records: list[Traced]
    next_due_ns: int | None
    idle: bool = False
