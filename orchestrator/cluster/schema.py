"""The cluster file as typed records: what a user may write, with units, defaults and the meaning of every key.

The records are frozen; unknown keys are errors. Durations are integer nanoseconds, sizes bytes, rates bits per second,
fractions parts per million after parsing (`orchestrator.cluster.quantities`). `orchestrator.cluster.load` turns a text
into a `Cluster` and `orchestrator.cluster.check` asks the questions that no single field can answer. Start with
`Cluster` at the end.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from orchestrator.cluster.quantities import Duration, Fraction, Name, Rate, Share, Size, Version


class Record(BaseModel):
    """Common ground of every record of the file: frozen, no unknown keys, no silent conversion between types."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        str_strip_whitespace=True,
        validate_default=True,
        hide_input_in_errors=True,
    )


def default(text: str, description: str, **limits: int) -> Any:
    """A field whose default is written as the user would write it; `limits` bound the parsed number."""
    return Field(text, validate_default=True, description=description, gt=limits.get("gt"), ge=limits.get("ge"))


class Control(Record):
    """The control plane's own rhythm."""

    beat: Duration = default("100ms", "Grain of virtual time at which control plane and machines talk.", gt=0)
    heartbeat: Duration = default("2s", "Interval at which each machine is asked and its leases renewed.", gt=0)
    suspect_after: Duration = default("7s", "Silence after which a machine is suspect: nothing new goes there.", gt=0)
    lease: Duration = default("30s", "How long a host may run a Realm without renewal.", gt=0)
    lease_margin: Duration = default("2s", "Waited on top of the last lease before a restart elsewhere.")
    leases: bool = Field(True, description="False turns leases off: partitions then make two live copies.")
    order_timeout: Duration = default("20s", "How long an order may stay unanswered before it is sent again.", gt=0)


class Attestation(Record):
    """The verifier and key broker of the control plane."""

    verifier: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="URL of a verifier outside the fleet that judges Realms' evidence instead; live fleets only.",
    )
    verifier_api: Literal["veraison", "trustee"] = Field(
        "veraison",
        description="What it speaks: Veraison's challenge-response sessions, or Trustee's attestation service (REST).",
    )
    verifier_timeout: Duration = default("10s", "Wall time after which it is taken not to answer.", gt=0)

    servers: int = Field(2, ge=1, le=4096, description="Verifier workers that serve the queue.")
    service: Duration = default("5ms", "Verifier time per token on one worker.")
    latency: Duration = default("12ms", "Way to the verifier and back, reference value look-up included.")
    retries: int = Field(
        2, ge=0, le=100, description="Fresh attempts after a refused verdict, on another machine if possible."
    )
    required_security_version: int = Field(
        0, ge=0, le=2**31, description="Lowest RMM security version a secret is released to."
    )


class LinkShape(Record):
    """One kind of link."""

    latency: Duration = default("100us", "One-way latency, at least 1us; neither jitter nor a fault undercuts it.")
    jitter: Duration = default("20us", "Added, drawn per message between zero and this.")
    bandwidth: Rate = default("10Gbit/s", "Shared by what crosses the link.", gt=0)


def _link(latency: str, jitter: str) -> LinkShape:
    return LinkShape.model_validate({"latency": latency, "jitter": jitter})


class Network(Record):
    """Latency and bandwidth by where the ends stand."""

    same_rack: LinkShape = Field(_link("50us", "10us"), description="Between two machines of a rack.")
    between_racks: LinkShape = Field(_link("125us", "50us"), description="Between machines of different racks.")
    to_control: LinkShape = Field(_link("250us", "100us"), description="Between a machine and the control plane.")


class Timing(Record):
    """Which assumed costs the machines use (`docs/reference/timing.md` lists them with source and confidence)."""

    profile: Literal["reference"] = Field("reference", description="Set of assumed costs.")
    scale: Fraction = default("100%", "Multiplies every modelled cost; may exceed 100%.", gt=0)
    override: dict[str, Duration] = Field(default_factory=dict, description="Single costs by name.")


class Profile(Record):
    """A kind of server."""

    pes: int = Field(ge=1, le=1024, description="Processing elements.")
    memory: Size = Field(description="DRAM, a multiple of the 4KiB granule.")
    firmware: Name = Field(description="Release it boots with.")
    host: Version = Field("1.0.0", description="Version of its hypervisor, which firmware may ask for (needs).")
    edition: Literal["1.0", "2.0"] = Field("1.0", description="RMM edition.")
    token_profile: Literal["2023", "2024", "2026"] | None = Field(
        None, description="Year of its tokens' profiles; absent: 2023 for edition 1.0, 2024 for 2.0."
    )
    mecids: int | None = Field(
        None,
        ge=0,
        le=0xFFFE,
        description="Edition 2.0: memory encryption contexts for one Realm each; absent: 254. 0 leaves them out.",
    )
    quirks: Literal["suggested", "text", "tf-rmm"] = Field(
        "suggested", description="Which answer is given where the specification's text and public firmware differ."
    )
    vmid_bits: Literal[8, 16] = Field(8, description="Width of the VMID: a machine holds at most 2^this Realms.")
    ipa_bits: int = Field(48, ge=32, le=48, description="Largest IPA width the RMM offers (S2SZ).")


class Rack(Record):
    """Machines that share a top-of-rack switch and a power domain; they are named `<rack>-<profile>-<nn>` from 01."""

    machines: dict[Name, Annotated[int, Field(ge=1, le=100_000)]] = Field(
        min_length=1, description="How many of which profile."
    )
    power: Name = Field("a", description="Power domain.")


class Component(Record):
    """One firmware component of a release."""

    version: Version = Field(description="Three numbers; a live activation must raise it.")
    security_version: int = Field(1, ge=0, le=2**31, description="Anti-rollback counter; it may never fall.")
    data_format: int = Field(1, ge=0, le=2**31, description="Live-state format that a live activation must match.")
    needs: dict[Literal["BL2", "BL31", "RMM", "HES", "host"], Version] = Field(
        default_factory=dict, description="Lowest version of another component, or of the host, that it works with."
    )
    size: Size = default("256KiB", "Image size, loaded and hashed at boot and at activation.", gt=0)
    signed_by: Name | list[Name] | None = Field(
        None,
        description="Signer, or several: the vendor, then countersigners. A machine refuses what its signers did not "
        "sign. Absent: nobody signed it.",
    )
    defect: Literal["none", "panics-at-activation", "panics-at-boot", "panics-later", "leaks-memory"] = Field(
        "none",
        description="A fault built into the image; the last two are an RMM's, and let it run for `defect_after`.",
    )
    defect_after: Duration = default("1h", "How long an RMM lives that panics later, or leaks memory.", gt=0)

    @property
    def signers(self) -> list[str]:
        """Everybody who signed it, the vendor first."""
        if self.signed_by is None:
            return []
        return [self.signed_by] if isinstance(self.signed_by, str) else list(self.signed_by)


class Release(Record):
    """A set of firmware components: a full one to boot, or some to activate live."""

    components: dict[Literal["BL2", "BL31", "RMM", "HES"], Component] = Field(
        min_length=1, description="Components by name; booting takes BL2, BL31 and RMM."
    )
    endorsed: bool = Field(True, description="Whether the verifier holds reference values for it.")


ComponentName = Literal["BL2", "BL31", "RMM", "HES"]


class Endorsing(Record):
    """Who must have signed an image."""

    required: list[Name] = Field(default_factory=list, description="Signers that must all have signed.")
    threshold: int = Field(1, ge=1, le=16, description="How many of the signers must have signed, at least.")


class RevokedVersion(Record):
    """A version that machines must not take any more."""

    component: ComponentName = Field(description="Component.")
    version: Version = Field(description="Version.")


class FirmwarePolicy(Endorsing):
    """What machines and the verifier's endorser ask of an image; checked by one function wherever an image is taken."""

    components: dict[ComponentName, Endorsing] = Field(
        default_factory=dict, description="Components that ask for something else than the rest."
    )
    revoked_signers: list[Name] = Field(default_factory=list, description="Signers that count no more.")
    revoked_versions: list[RevokedVersion] = Field(default_factory=list, description="Versions that count no more.")

    def rule(self, component: str) -> Endorsing:
        """What a component asks for."""
        return next((rule for name, rule in self.components.items() if name == component), self)


class Firmware(Record):
    """Signers and releases."""

    signers: list[Name] = Field(
        default_factory=lambda: ["vendor"], min_length=1, description="Signers the machines accept."
    )
    policy: FirmwarePolicy = Field(
        FirmwarePolicy(), description="Whose signatures an image needs, and what is revoked."
    )
    releases: dict[Name, Release] = Field(min_length=1, description="Releases by name.")


class Image(Record):
    """A Realm image; its content follows from name and version."""

    version: int = Field(1, ge=1, le=2**31, description="Another version has other content and another RIM.")
    size: Size = default("2MiB", "Measured content, loaded page by page; a multiple of 4KiB.", gt=0)


class WorkloadShape(Record):
    """What a Realm does, as integer rates."""

    requests_per_s: int = Field(0, ge=0, le=10**9, description="Requests served while it runs undisturbed.")
    cpu: Share = default("20%", "Demand of each vCPU.")
    dirty: Size = default("0", "Bytes dirtied per second.")
    working_set: Size = default("0", "Bytes over which dirtying roams, at most the Realm's memory.")


class Container(Record):
    """A container image; its content, its publisher's signature and its encryption follow from names and version."""

    version: int = Field(1, ge=1, le=2**31, description="Another version has other content.")
    publisher: Name = Field(description="Who signs and encrypts it.")
    layers: int = Field(2, ge=1, le=16, description="Layers, each encrypted under a key of its own.")
    content: Size = default(
        "64KiB", "Bytes that are really pulled, decrypted and unpacked, over all layers; at most 4MiB.", gt=0
    )
    size: Size = default("64MiB", "Bytes that pulling and unpacking are charged for.", gt=0)


class PodShape(Record):
    """What makes Realms confidential pods: they start a container image whose key the broker releases to them."""

    container: Name = Field(description="Container image they start.")
    trusted: list[Name] = Field(
        default_factory=list,
        max_length=16,
        description="Publishers whose signature the pod's image policy accepts; empty: that of its image.",
    )


class RealmKind(Record):
    """Realms that are alike; they are named `<kind>-<nnn>` from 001."""

    count: int = Field(1, ge=1, le=1_000_000, description="How many of them.")
    image: Name = Field(description="Image they start from.")
    vcpus: int = Field(1, ge=1, le=512, description="Virtual CPUs, one REC each.")
    memory: Size = default("256MiB", "Protected memory, a multiple of 4KiB.", gt=0)
    program: Literal["server", "batch", "database"] = Field("server", description="Guest program of the catalogue.")
    workload: WorkloadShape = Field(WorkloadShape(), description="What it does once it has its secret.")
    hash: Literal["sha-256", "sha-384", "sha-512"] = Field(
        "sha-256", description="Hash of the Realm's measurements; sha-384 takes edition 2.0."
    )
    mec: Literal["shared", "private"] = Field(
        "shared", description="Memory encryption context; one of its own (private) takes edition 2.0."
    )
    lfa: Literal["allow", "disallow"] = Field(
        "allow", description="Whether firmware may be activated live under it; disallow takes edition 2.0."
    )
    secret: Name = Field("default", description="Resource that the broker releases to the Realm.")
    pod: PodShape | None = Field(
        None, description="Start a container image as a confidential pod, instead of a program of the catalogue."
    )
    spread: Literal["none", "machine", "rack"] = Field(
        "none", description="Anti-affinity: no two Realms of the kind on one machine, or in one rack."
    )
    min_rmm: Version | None = Field(None, description="Lowest RMM version it may be placed on.")
    start_at: Duration = default("0s", "When the kind is first wanted.")


class Lifetime(Record):
    """One part of a mixture of lifetimes, exponential with its own mean."""

    share: Share = Field(description="Share of the Realms that live by it; the parts are weighed against each other.")
    mean: Duration = Field(gt=0, description="Mean lifetime.")


class Arrivals(Record):
    """Realms that come and go on their own; they are named `<process>-<nnnnnn>` from 000001."""

    kinds: dict[Name, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        min_length=1, description="Kinds of the Realms, each with its weight."
    )
    per_hour: int = Field(ge=1, le=1_000_000, description="Realms that arrive in an hour, averaged over a weekday.")
    daily: Share = default("30%", "Swing of the rate over a day, as a sine that is zero at midnight.")
    weekend: Share = default("80%", "Rate on days 6 and 7 of the run, as a share of the rate on weekdays.")
    batches: bool = Field(False, description="Arrive in deployments of 1 to 50, sized as in Azure 2019.")
    lifetimes: list[Lifetime] = Field(
        default_factory=list, max_length=16, description="Mixture of lifetimes; empty: 68% 18min, 22% 8h, 10% 2000h."
    )
    shortest: Duration = default("30s", "No Realm is stopped sooner than this after it was wanted.")
    start_at: Duration = default("0s", "When the process begins.")
    until: Duration | None = Field(None, description="When it ends; absent: with the run.")


class Wave(Record):
    """Part of a rollout: a share or a number of the machines not yet done; exactly one of the two.

    With `rack`, `power` or `kind` only such machines are counted and taken.
    """

    machines: int | None = Field(None, ge=1, le=1_000_000, description="How many machines.")
    share: Share | None = Field(None, description="Share of the machines not yet done, rounded up.")
    rack: Name | None = Field(None, description="Only machines of this rack.")
    power: Name | None = Field(None, description="Only machines of this power domain.")
    kind: Name | None = Field(None, description="Only machines that host a Realm of this kind when the wave begins.")


class HealthGate(Record):
    """Every machine of the wave answers and is trusted; a silent one is inconclusive, a lost one a fail."""

    gate: Literal["health"] = Field("health", description="What is asked.")


class ServiceGate(Record):
    """Enough Realms serve, and few were started anew since the wave began."""

    gate: Literal["service"] = Field("service", description="What is asked.")
    kind: Name | None = Field(None, description="Realms of this kind; absent: all.")
    serving: Share = default("100%", "Share of the wanted Realms that must serve.")
    max_restarts: int | None = Field(None, ge=0, le=1_000_000, description="Realms that may have been started anew.")


class AttestedGate(Record):
    """Every machine and every Realm of the wave has attested over the new reference values."""

    gate: Literal["attested"] = Field("attested", description="What is asked.")


class PythonGate(Record):
    """The user's own function answers: True, False, or None for inconclusive, or a pair of that and a sentence."""

    gate: Literal["python"] = Field("python", description="What is asked.")
    name: Name = Field(description="Name under which --gate NAME=FILE:FUNCTION, or Python, gives the function.")


class PromqlGate(Record):
    """Prometheus answers: a result with nothing but numbers above 0 passes, an empty one fails, silence is neither."""

    gate: Literal["promql"] = Field("promql", description="What is asked.")
    query: str = Field(min_length=1, max_length=2000, description="PromQL, as in sum(realmfleet_realms) > 8.")


Gate = Annotated[HealthGate | ServiceGate | AttestedGate | PythonGate | PromqlGate, Field(discriminator="gate")]


class BlastRadius(Record):
    """How much may be under way at once in one place, besides `max_unavailable`."""

    rack: int | None = Field(None, ge=1, le=1_000_000, description="Machines of one rack.")
    power: int | None = Field(None, ge=1, le=1_000_000, description="Machines of one power domain.")
    realms: Share | None = Field(None, gt=0, description="Share of the Realms of a kind that are on such machines.")


class MigrateEvent(Record):
    """An operator moves one Realm."""

    kind: Literal["migrate"] = Field("migrate", description="What the operator does.")
    at: Duration = Field(description="When.")
    realm: str = Field(description="Realm, as in web-001.")
    to: str | None = Field(None, description="Machine; without it the scheduler chooses.")


class Window(Record):
    """A stretch of virtual time, from its beginning to just before its end."""

    begin: Duration = Field(alias="from", description="When it begins.")
    end: Duration = Field(alias="to", description="When it ends.")


class RolloutEvent(Record):
    """An operator rolls a release out, wave by wave; the first wave is the canary."""

    kind: Literal["rollout"] = Field("rollout", description="What the operator does.")
    at: Duration = Field(description="When the first wave starts.")
    release: Name = Field(description="Release that holds the component.")
    component: Literal["RMM", "BL31"] = Field("RMM", description="Component to update.")
    after: str | None = Field(
        None,
        description="Begin only when this earlier rollout (rollout-1, ...) has brought every machine to its release.",
    )
    strategy: Literal["live", "drain", "reboot", "auto"] = Field(
        "live",
        description="Live activation under running Realms, or a reboot: after all Realms left, or with them stopped; "
        "auto chooses machine by machine, by predicted cost.",
    )
    max_unavailable: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Machines under way at once; without it the whole wave, with a reboot 1.",
    )
    windows: list[Window] = Field(default_factory=list, description="Machines are taken only then; empty: always.")
    freezes: list[Window] = Field(default_factory=list, description="No machine is taken then, window or not.")
    waves: list[Wave] = Field(min_length=1, max_length=64, description="Who goes when.")
    bake: Duration = default("10s", "Wait after a wave, in which every machine and Realm must attest.")
    max_failures: int = Field(0, ge=0, le=1_000_000, description="Machines that may fail before the rollout holds.")
    gates: list[Gate] = Field(
        default_factory=list, max_length=16, description="What must hold after each bake, before it goes on."
    )
    gate_every: Duration = default("10s", "How often an inconclusive gate is asked again.", gt=0)
    blast_radius: BlastRadius = Field(BlastRadius(), description="What may be under way at once in one place.")
    rollback: bool | Literal["machine", "wave", "rollout"] = Field(
        False,
        description="When it holds, bring failed machines, the wave, or all that is done (true) back to what they ran, "
        "where the counters permit it.",
    )


class SteerEvent(Record):
    """An operator steers a rollout."""

    kind: Literal["steer"] = Field("steer", description="What the operator does.")
    at: Duration = Field(description="When.")
    rollout: str = Field("rollout-1", description="Which: rollout-1 is the first of the file by its instant.")
    do: Literal["pause", "resume", "promote", "retry", "abort"] = Field(
        description="Promote goes on without bake and gates; retry takes the failed machines of a held one again."
    )


class RevokeEvent(Record):
    """A firmware version or a signer is revoked: from then on the verifier refuses evidence over what it stands for."""

    kind: Literal["revoke"] = Field("revoke", description="What happens.")
    at: Duration = Field(description="When.")
    component: ComponentName | None = Field(None, description="Component, together with version.")
    version: Version | None = Field(None, description="Its version that is known to be vulnerable.")
    signer: Name | None = Field(None, description="Or a signer whose signatures count no more.")
    realms: Literal["keep", "reattest"] = Field(
        "keep", description="Realms there go on without trust, or must attest at once, which stops those refused."
    )


class StopEvent(Record):
    """An operator stops one Realm for good."""

    kind: Literal["stop"] = Field("stop", description="What the operator does.")
    at: Duration = Field(description="When.")
    realm: str = Field(description="Realm, as in web-001.")


class Migration(Record):
    """How Realms are moved (modelled: no Arm ABI for it is public)."""

    mode: Literal["stop-copy", "pre-copy"] = Field(
        "stop-copy", description="Pause and send, or send in rounds while the Realm runs and pause for the rest."
    )
    downtime: Duration = default("300ms", "Pre-copy pauses the Realm when the rest would cross within this.", gt=0)
    max_rounds: int = Field(30, ge=1, le=10_000, description="Pre-copy pauses the Realm after so many rounds at last.")
    dirty_model: Literal["linear", "saturating"] = Field(
        "linear", description="Dirty bytes after t: min(rate t, W), or W (1 - exp(-rate t / W))."
    )
    auto_converge: bool = Field(False, description="Slow the vCPUs of a Realm that dirties faster than it is sent.")
    on_stall: Literal["stop", "give-up"] = Field(
        "stop", description="When rounds no longer shrink: pause at the round limit, or let the Realm run on here."
    )
    sessions_per_machine: int = Field(2, ge=1, le=1000, description="Sessions with an end on one machine at a time.")
    sessions: int | None = Field(
        None, ge=1, le=100_000, description="Sessions of the fleet at a time; absent: 5 % of the machines, at least 5."
    )
    retries: int = Field(3, ge=0, le=100, description="How often a drain tries a Realm again.")
    retry_after: Duration = default("20s", "Wait before a drain tries again; doubles each time.", gt=0)


class DrainEvent(Record):
    """An operator empties a machine or a rack: no new Realms go there, those it has are moved away."""

    kind: Literal["drain"] = Field("drain", description="What the operator does.")
    at: Duration = Field(description="When.")
    machine: str | None = Field(None, description="Machine to empty; either this or rack.")
    rack: Name | None = Field(None, description="Rack to evacuate; Realms go to other racks.")
    dry_run: bool = Field(False, description="Only say, Realm by Realm, where it would go or what blocks it.")


class RebalanceEvent(Record):
    """An operator evens out the loads of machines, or packs Realms onto fewer machines."""

    kind: Literal["rebalance"] = Field("rebalance", description="What the operator does.")
    at: Duration = Field(description="When.")
    goal: Literal["spread", "pack"] = Field("spread", description="Even loads, or machines that become empty.")
    budget: int = Field(10, ge=1, le=100_000, description="Moves at most.")
    dry_run: bool = Field(False, description="Only say which Realm would go where, or what blocks it.")


Event = Annotated[
    MigrateEvent | DrainEvent | RebalanceEvent | RolloutEvent | SteerEvent | RevokeEvent | StopEvent,
    Field(discriminator="kind"),
]


class Selector(Record):
    """Which machines a fault strikes; exactly one key."""

    machine: str | None = Field(None, description="One machine by name.")
    rack: Name | None = Field(None, description="Every machine of a rack.")
    realm: str | None = Field(None, description="The machine that hosts this Realm when the fault begins.")
    count: int | None = Field(
        None, ge=1, le=1_000_000, description="That many, drawn from the seed among machines in no other fault."
    )


MachineFaultKind = Literal[
    "machine.power-loss",
    "machine.freeze",
    "rmm.panic",
    "attest.tampered-token",
    "attest.stale-token",
    "attest.stale-nonce",
    "pod.tampered-image",
    "pod.tampered-init-data",
    "firmware.activation-failure",
    "firmware.pe-absent",
]

LinkFaultKind = Literal["network.partition", "network.loss", "network.delay"]


def _side(value: object) -> str:
    """Tag of one side of a link fault: the bare text is the control plane, everything else selects machines."""
    return "control" if isinstance(value, str) else "machines"


Side = Annotated[
    Annotated[Selector, Tag("machines")] | Annotated[Literal["control"], Tag("control")], Discriminator(_side)
]
"""One end of a cut or worsened link: some machines, or the control plane."""


class MachineFault(Record):
    """A fault inside machines; it undoes itself after `for`."""

    fault: MachineFaultKind = Field(description="What strikes.")
    at: Duration = Field(description="When it begins.")
    during: Duration = Field(alias="for", gt=0, description="Lease of the fault; healed when it ends.")
    select: Selector = Field(description="Which machines it strikes.")


class LinkFault(Record):
    """A fault of the links between two groups; it undoes itself after `for`."""

    fault: LinkFaultKind = Field(description="What strikes.")
    at: Duration = Field(description="When it begins.")
    during: Duration = Field(alias="for", gt=0, description="Lease of the fault; healed when it ends.")
    between: list[Side] = Field(min_length=2, max_length=2, description="The two ends: selectors, or control.")
    one_way: bool = Field(False, description="Only what goes from the first end to the second is struck.")
    loss: Share | None = Field(None, description="For network.loss: share of the messages lost.")
    delay: Duration | None = Field(None, description="For network.delay: added to the latency.")


Fault = MachineFault | LinkFault


class Cluster(Record):
    """One fleet and what happens to it."""

    version: Literal[1] = Field(description="Version of this format.")
    name: Name = Field(description="Name of the cluster, used in run directories and reports.")
    description: str = Field("", max_length=2000, description="What it shows, for reports.")
    seed: int = Field(0, ge=0, lt=2**64, description="Seed of every draw; the command line's --seed goes before it.")
    duration: Duration = default("10min", "Virtual time of a run, a multiple of the beat.", gt=0)
    control: Control = Field(Control(), description="Rhythm of the control plane.")
    timing: Timing = Field(Timing(), description="Assumed costs.")
    network: Network = Field(Network(), description="Links.")
    attestation: Attestation = Field(Attestation(), description="Verifier and key broker.")
    migration: Migration = Field(Migration(), description="How Realms are moved (modelled).")
    profiles: dict[Name, Profile] = Field(min_length=1, description="Kinds of servers by name.")
    racks: dict[Name, Rack] = Field(min_length=1, description="Racks by name.")
    firmware: Firmware = Field(description="Signers and releases.")
    images: dict[Name, Image] = Field(min_length=1, description="Realm images by name.")
    containers: dict[Name, Container] = Field(default_factory=dict, description="Container images of pods by name.")
    realms: dict[Name, RealmKind] = Field(default_factory=dict, description="Kinds of Realms by name.")
    arrivals: dict[Name, Arrivals] = Field(
        default_factory=dict, description="Realms that come and go, by the name of their arrival process."
    )
    events: list[Event] = Field(default_factory=list, description="What operators do.")
    faults: list[Annotated[Fault, Field(discriminator="fault")]] = Field(
        default_factory=list, description="What goes wrong; controllers are never told."
    )
    recover_within: Duration = default("90s", "Bound of the checker that everything runs again.", gt=0)
