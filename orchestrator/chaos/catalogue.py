"""Every fault that chaos knows: what it does, where it acts, what its undo does, what must survive it.

Faults of a machine travel as `cca_machine.commands.Inject` and `Heal`; faults of links are rules of the network. The
kinds are those of `cca_machine.commands.FaultKind` plus `LINK_KINDS`; the naming is domain.what.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from cca_machine.commands import FaultKind


class LinkKind(StrEnum):
    """Faults of the links between two groups of endpoints."""

    PARTITION = "network.partition"
    LOSS = "network.loss"
    DELAY = "network.delay"


class FaultFacts(Struct, frozen=True):
    """One row of the catalogue: sentences for people, and the checkers (`orchestrator.chaos.checkers`) at stake."""

    kind: str
    does: str
    acts_in: str
    undo: str
    at_stake: tuple[str, ...]


CATALOGUE: Final[dict[str, FaultFacts]] = {
    facts.kind: facts
    for facts in (
        FaultFacts(
            FaultKind.POWER_LOSS,
            "All volatile state of the machine is gone at once, its Realms with it.",
            "machine",
            "Power comes back and the machine boots from its boot firmware.",
            ("alive-once", "recovered"),
        ),
        FaultFacts(
            FaultKind.FREEZE,
            "Nothing on the machine executes: no Realm, no host, no answer.",
            "machine",
            "The machine goes on with its state as it was; leases that ended meanwhile are ended.",
            ("alive-once", "lease-respected", "recovered"),
        ),
        FaultFacts(
            FaultKind.RMM_PANIC,
            "The RMM fails: every RMI call answers unknown and all Realms of the machine are lost.",
            "RMM",
            "Cold reset of the machine.",
            ("alive-once", "granule-exclusive", "recovered"),
        ),
        FaultFacts(
            FaultKind.TAMPERED_TOKEN,
            "The host flips a bit in every token it forwards.",
            "host",
            "Tokens are forwarded as they are again.",
            ("attested-before-serving", "no-secret-after-refusal"),
        ),
        FaultFacts(
            FaultKind.STALE_TOKEN,
            "The host answers with the first token it ever saw of the Realm.",
            "host",
            "Fresh tokens are forwarded again.",
            ("attested-before-serving", "no-secret-after-refusal"),
        ),
        FaultFacts(
            FaultKind.STALE_NONCE,
            "The host hands guests the first nonce it saw since its boot, so their evidence answers an old challenge.",
            "host",
            "Guests get the fresh nonce again.",
            ("attested-before-serving", "no-secret-after-refusal"),
        ),
        FaultFacts(
            FaultKind.TAMPERED_IMAGE,
            "The host flips a bit in every image layer that it fetches for a pod.",
            "host",
            "Layers arrive as the registry has them again.",
            ("attested-before-serving", "recovered"),
        ),
        FaultFacts(
            FaultKind.TAMPERED_INIT_DATA,
            "The host gives pods init-data whose image policy accepts anything.",
            "host",
            "Pods get the init-data they were made for again.",
            ("attested-before-serving", "recovered"),
        ),
        FaultFacts(
            FaultKind.ACTIVATION_FAILURE,
            "LFA_ACTIVATE answers ACTIVATION_FAILED; the old image goes on running.",
            "EL3 monitor",
            "Activations succeed again; the primed image may be activated.",
            ("firmware-monotonic", "rollout-canary"),
        ),
        FaultFacts(
            FaultKind.PE_ABSENT,
            "One PE never calls LFA_ACTIVATE: the others hang in EL3 with interrupts masked until the watchdog resets "
            "the machine into the firmware of before.",
            "host",
            "Every PE takes part in an activation again.",
            ("alive-once", "lease-respected", "firmware-monotonic", "rollout-canary", "recovered"),
        ),
        FaultFacts(
            LinkKind.PARTITION,
            "No message passes between the two groups (one way: none from the first to the second).",
            "links",
            "Messages pass again; what was lost stays lost.",
            ("alive-once", "lease-respected", "recovered"),
        ),
        FaultFacts(
            LinkKind.LOSS,
            "Each message between the two groups is lost with the given probability.",
            "links",
            "Nothing more is lost.",
            ("alive-once", "recovered"),
        ),
        FaultFacts(
            LinkKind.DELAY,
            "Each message between the two groups arrives later by the given time.",
            "links",
            "New messages take the link's own latency again.",
            ("alive-once", "lease-respected"),
        ),
    )
}
