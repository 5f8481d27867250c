"""Trace records of the control plane: what it decided, on what grounds, and what it came to believe.

Frozen, tagged structs; the tag is the record's kind in the trace. Instants inside a record are exact virtual ns, finer
than the beat at which the record stands. Explanations hold counts and a few samples, never a whole fleet.
"""

from __future__ import annotations

from msgspec import Struct

# -- machines ----------------------------------------------------------------------------------------------------------


class MachineAdmitted(Struct, frozen=True, tag="machine.admitted"):
    """Realms may be placed on the machine; `vouched` says whether its platform token has been verified."""

    machine: str
    boot: int
    vouched: bool
    versions: dict[str, str]
    platform_token_sha256: str
    arrived_ns: int
    replied_ns: int


class MachineDistrusted(Struct, frozen=True, tag="machine.distrusted"):
    """The verifier refused the platform token: no Realm goes to the machine until it boots anew."""

    machine: str
    boot: int
    reason: str
    why: str


class MachineSuspect(Struct, frozen=True, tag="machine.suspect"):
    """Nothing was heard for too long: no Realm goes there and no lease there is renewed."""

    machine: str
    last_heard_ns: int
    lease_until_ns: int


class MachineDown(Struct, frozen=True, tag="machine.down"):
    """Every lease there is over (or its RMM is dead): its Realms may run elsewhere."""

    machine: str
    why: str
    last_heard_ns: int
    lease_until_ns: int
    realms: int


class MachineBack(Struct, frozen=True, tag="machine.back"):
    """A suspect or lost machine answers again; a new boot count says that it kept nothing."""

    machine: str
    was: str
    boot: int
    rebooted: bool
    silent_ns: int


class MachineCordoned(Struct, frozen=True, tag="machine.cordoned"):
    machine: str
    by: str
    why: str


class MachineUncordoned(Struct, frozen=True, tag="machine.uncordoned"):
    machine: str
    by: str


# -- placement ---------------------------------------------------------------------------------------------------------


class Scored(Struct, frozen=True):
    """A machine that passed all filters, with its score and the parts that add up to it."""

    machine: str
    score: int
    parts: dict[str, int]


class RealmWanted(Struct, frozen=True, tag="realm.wanted"):
    """From now on an incarnation of the Realm should run; `why` is start, restart or refused."""

    realm: str
    incarnation: int
    kind: str
    why: str


class RealmPlaced(Struct, frozen=True, tag="realm.placed"):
    """The scheduler's decision: how many machines each filter refused, samples of refusals, the best three."""

    realm: str
    incarnation: int
    machine: str
    considered: int
    refused: dict[str, int]
    samples: dict[str, str]
    best: tuple[Scored, ...]


class RealmUnplaced(Struct, frozen=True, tag="realm.unplaced"):
    """No machine passed the filters; said once per change of the counts, not at every look."""

    realm: str
    incarnation: int
    considered: int
    refused: dict[str, int]
    samples: dict[str, str]


# -- a Realm's life ----------------------------------------------------------------------------------------------------


class RealmChanged(Struct, frozen=True, tag="realm.state"):
    """The control plane's belief about the Realm moved along the table of `orchestrator.realms.lifecycle`."""

    realm: str
    incarnation: int
    machine: str
    was: str
    state: str
    why: str


class RealmVerdict(Struct, frozen=True, tag="realm.verdict"):
    """What the verifier said about one piece of evidence, and when: arrival, start and end of service, reply.

    `why` is bring-up or the reason of a re-attestation; `reason` is empty when `passed`. `tiers` is the trust vector
    by submodule and claim, for example platform/executables: affirming.
    """

    realm: str
    incarnation: int
    machine: str
    passed: bool
    why: str
    reason: str
    detail: str
    evidence_sha256: str
    rim: str
    tiers: dict[str, str]
    arrived_ns: int
    started_ns: int
    done_ns: int
    replied_ns: int


class SecretReleased(Struct, frozen=True, tag="secret.released"):
    """The broker sealed the resource to the Realm's key after the verdict over `evidence_sha256`."""

    realm: str
    incarnation: int
    machine: str
    resource: str
    evidence_sha256: str


class SecretWithheld(Struct, frozen=True, tag="secret.withheld"):
    realm: str
    incarnation: int
    machine: str
    resource: str
    evidence_sha256: str
    reason: str
    why: str


class RealmRestart(Struct, frozen=True, tag="realm.restart"):
    """A copy is gone for good and another is wanted; nothing of `incarnation` may run from here on."""

    realm: str
    incarnation: int
    machine: str
    why: str
    lease_until_ns: int


class StrayCopy(Struct, frozen=True, tag="realm.stray"):
    """A machine hosts a copy that is not the one believed in; it is told to stop it."""

    machine: str
    realm: str
    incarnation: int
    believed_machine: str
    believed_incarnation: int


class OrderRefused(Struct, frozen=True, tag="order.refused"):
    """A machine refused an order; `code` is the refusing call and status as the specification names them."""

    machine: str
    command: str
    subject: str
    incarnation: int
    code: str
    why: str


# -- migration (modelled) ----------------------------------------------------------------------------------------------


class MigrationDeclined(Struct, frozen=True, tag="migration.declined"):
    """A move was asked for and not begun."""

    realm: str
    to: str
    asked_why: str
    rule: str
    why: str


class MigrationStarted(Struct, frozen=True, tag="migration.started"):
    session: str
    realm: str
    incarnation: int
    source: str
    target: str
    why: str
    deadline_ns: int


class MigrationCommitted(Struct, frozen=True, tag="migration.committed"):
    """The witness granted it: the target may run the Realm, now at `generation`, the source never again."""

    session: str
    realm: str
    incarnation: int
    source: str
    target: str
    generation: int = 0


class MigrationAborted(Struct, frozen=True, tag="migration.aborted"):
    """The one decision fell the other way: the target never runs the Realm; `why` names the missing party or rule."""

    session: str
    realm: str
    incarnation: int
    source: str
    target: str
    why: str


class MigrationWaiting(Struct, frozen=True, tag="migration.waiting"):
    """The session cannot go on: `party` does not answer. Nothing is guessed meanwhile."""

    session: str
    realm: str
    incarnation: int
    source: str
    target: str
    phase: str
    party: str


class MigrationFinished(Struct, frozen=True, tag="migration.finished"):
    """Both sides are through: `outcome` is moved, resumed or lost."""

    session: str
    realm: str
    incarnation: int
    source: str
    target: str
    outcome: str
    opened_ns: int
    sent_bytes: int = 0


class DrainStarted(Struct, frozen=True, tag="drain.started"):
    """`realms` Realms are to leave `machines`; `eta_ns` is when by the model. With `dry_run` only the plan follows."""

    drain: str
    machines: tuple[str, ...]
    realms: int
    dry_run: bool
    goal: str = ""
    eta_ns: int = 0


class DrainPlanned(Struct, frozen=True, tag="drain.planned"):
    """Before anything moves: where a Realm would go, or the rule that blocks it and why."""

    drain: str
    realm: str
    machine: str
    to: str
    rule: str
    why: str


class DrainBlocked(Struct, frozen=True, tag="drain.blocked"):
    """A drain gives a Realm up after `tries` moves that were declined or failed."""

    drain: str
    realm: str
    machine: str
    rule: str
    why: str
    tries: int


class DrainFinished(Struct, frozen=True, tag="drain.finished"):
    """Nothing more is to be moved: `moved` Realms left, `blocked` stay; `why` is set when an operator ended it."""

    drain: str
    moved: int
    blocked: int
    began_ns: int
    why: str = ""


ControlRecord = (
    MachineAdmitted
    | MachineDistrusted
    | MachineSuspect
    | MachineDown
    | MachineBack
    | MachineCordoned
    | MachineUncordoned
    | RealmWanted
    | RealmPlaced
    | RealmUnplaced
    | RealmChanged
    | RealmVerdict
    | SecretReleased
    | SecretWithheld
    | RealmRestart
    | StrayCopy
    | OrderRefused
    | MigrationDeclined
    | MigrationStarted
    | MigrationCommitted
    | MigrationAborted
    | MigrationWaiting
    | MigrationFinished
    | DrainStarted
    | DrainPlanned
    | DrainBlocked
    | DrainFinished
)
