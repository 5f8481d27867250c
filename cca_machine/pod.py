"""The walk of a confidential pod from its shim to its workload, as a table of steps with costs and failure points.

A pod is a Realm that starts a container image in the way of Kata Containers and Confidential Containers: direct kernel
boot of a guest image, an agent that checks its init-data against the RPV, attestation to a key broker, and an image
that is signed by its publisher and encrypted under a key that only the right Realm gets. No public release runs this
on CCA today, so the order of steps is that of Kata 3.31 and Confidential Containers 0.21 on other machines, and the
costs are assumed (`cca_machine.costs`). Where each step runs: `cca_machine.host.pods` and `cca_machine.guest.agent`.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise

from msgspec import Struct


class PodStep(StrEnum):
    """The step that a pod is at, or how its walk ended."""

    SHIM = "shim"
    VMM = "vmm"
    AGENT = "agent"
    SANDBOX = "sandbox"
    EVIDENCE = "evidence"
    KEY = "key"
    MANIFEST = "manifest"
    SIGNATURE = "signature"
    PULL = "pull"
    DECRYPT = "decrypt"
    WORKLOAD = "workload"
    RUNNING = "running"
    REFUSED = "refused"


class PodEvent(StrEnum):
    """What a step comes to."""

    DONE = "done"
    REFUSED = "refused"


class Row(Struct, frozen=True):
    """One step: who does what, which modelled costs it takes, and what stops the pod there."""

    step: PodStep
    actor: str
    does: str
    costs: tuple[str, ...]
    stops: str


P = PodStep

WALK: tuple[Row, ...] = (
    Row(P.SHIM, "containerd, Kata shim", "The shim of the runtime class starts and prepares the sandbox.",
        ("pod.shim",), "the machine is lost"),
    Row(P.VMM, "VMM, KVM, RMM", "A VM of type realm: direct kernel boot, measured image, RIM fixed by activation.",
        ("host.vmm-setup", "rmi.*"), "an RMI call is refused: no granules, no VMIDs"),
    Row(P.AGENT, "guest kernel, kata-agent", "The kernel boots, the agent listens, the shim dials it.",
        ("rsi.*", "pod.boot", "pod.dial"), "the guest crashes"),
    Row(P.SANDBOX, "kata-agent", "The agent takes init-data whose digest is the Realm's personalization value.",
        ("pod.sandbox",), "init-data were changed: their digest is not the RPV"),
    Row(P.EVIDENCE, "attestation agent, RMM, verifier",
        "A token over the broker's nonce and the guest's key; verifier and policy judge it.",
        ("rsi.attestation-token", "attestation.service", "attestation.latency"),
        "stale nonce or token, unknown RIM, platform or policy that is not met"),
    Row(P.KEY, "key broker, confidential data hub",
        "The broker releases the image key to the key in the evidence; the guest opens it.",
        ("guest.open-secret",), "the resource policy withholds the key, or it is sealed for another guest"),
    Row(P.MANIFEST, "confidential data hub", "The guest pulls manifest, configuration and signature from the registry.",
        ("pod.registry",), "the registry has no such image, or documents are malformed"),
    Row(P.SIGNATURE, "confidential data hub", "The image policy of the init-data says whose signature is asked for.",
        ("pod.signature",), "the policy rejects the image, nobody it trusts signed it, or another image was signed"),
    Row(P.PULL, "confidential data hub", "Encrypted layers come through the host, each held to its digest.",
        ("pod.registry", "pod.pull-mib"), "a layer was changed on its way or in the registry"),
    Row(P.DECRYPT, "confidential data hub", "Layer keys are opened with the released key, layers decrypted and"
        " unpacked into encrypted scratch.", ("pod.decrypt-mib", "pod.unpack-mib"),
        "the key is another one, HMAC or plain digest does not hold, the layer is no tar stream"),
    Row(P.WORKLOAD, "kata-agent", "The container's process starts; the Realm serves.",
        ("pod.start",), "the image has no entry point"),
)  # fmt: skip

_ORDER = (*(row.step for row in WALK), P.RUNNING)

TABLE: dict[tuple[PodStep, PodEvent], PodStep] = {
    **{(step, PodEvent.DONE): following for step, following in pairwise(_ORDER)},
    **{(step, PodEvent.REFUSED): P.REFUSED for step in _ORDER[:-1]},
}
"""(step, what it comes to) -> the next step. A refused pod is taken apart; another attempt is another Realm."""

ENDS = frozenset({P.RUNNING, P.REFUSED})


def after(step: PodStep, event: PodEvent = PodEvent.DONE) -> PodStep:
    """The next step of the walk. KeyError when the walk has ended."""
    return TABLE[step, event]


# -- what a pod is, and what machines say of it -----------------------------------------------------------------------


class ContainerSpec(Struct, frozen=True):
    """A container image: `content_bytes` of real content that follows from name and version, charged as `size_bytes`.

    Its publisher signs it and encrypts its layers (`cca_machine.registry`).
    """

    name: str
    version: int
    publisher: str
    layers: int
    content_bytes: int
    size_bytes: int


class PodSpec(Struct, frozen=True):
    """What makes a Realm a confidential pod: the image it starts, and the init-data that its RPV is the digest of."""

    container: ContainerSpec
    init_data: bytes


class PodStepped(Struct, frozen=True, tag="pod.step"):
    """A pod has done a step of its walk (`cca_machine.pod`); `took_ns` is what it cost on the machine."""

    realm: str
    incarnation: int
    step: str
    took_ns: int


class PodRefused(Struct, frozen=True, tag="pod.refused"):
    """A pod's walk ended at `step`: `reason` is the kind of check that failed, `why` a sentence.

    Machines say so of what happens there, the control plane of evidence and key.
    """

    realm: str
    incarnation: int
    step: str
    reason: str
    why: str
