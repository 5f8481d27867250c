"""What runs in a pod's Realm: agent and confidential data hub, from init-data to the running container.

`PodAgent` state is a record; `answer` takes what the host answered and names what the guest says next. The host and the
registry behind it are strangers: every byte is held to the RPV, a signature, a digest or an HMAC before it counts.
Plain layers and keys live only within one call; what stays in the record is what the Realm would have on its encrypted
scratch disk, as digests.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Protocol

import msgspec

from attestation.container import oci
from attestation.container.encryption import decrypt_layer
from attestation.container.init_data import image_policy_of, read_init_data
from attestation.container.publish import SIZE_ANNOTATION, repository_of
from attestation.container.signature import keys_for, signature_tag, verify
from attestation.errors import Malformed, Refused, Untrusted
from cca_machine.layout import GuestCall, HostRequest
from cca_machine.pod import PodEvent, PodStep, after

_TOTAL = struct.Struct(">Q")
MIB = 1 << 20
ENTRY_POINT = "app"


class Charges(Protocol):
    """Where a guest books what its own computing costs."""

    def charge(self, cost: str, times: int = 1) -> None:
        """Add a modelled cost by name."""
        ...


class PodAgent(msgspec.Struct, kw_only=True):
    """Where a pod stands. `step` is the step it is at, `why` (reason and sentence) what stopped it.

    `wanted` is what it pulls and `have` as much of that as has come; `got` holds what is pulled whole, by name.
    `rootfs` are the plain digests of the unpacked layers.
    """

    step: PodStep = PodStep.SANDBOX
    files: dict[str, str] = {}
    reference: str = ""
    key: bytes = b""
    wanted: str = ""
    have: bytes = b""
    got: dict[str, bytes] = {}
    rootfs: tuple[str, ...] = ()
    entry_point: bool = False
    reason: str = ""
    why: str = ""


def answer(pod: PodAgent, request: int, message: bytes, rpv: bytes, charges: Charges) -> tuple[GuestCall, bytes] | None:
    """What the agent says to the host's answer; None when it is not for the agent."""
    if request == HostRequest.SANDBOX and pod.step is PodStep.SANDBOX:
        charges.charge("pod.sandbox")
        return _tried(pod, lambda: _sandbox(pod, message, rpv))
    if request == HostRequest.CONTAINER:
        return _create(pod, message)
    if request == HostRequest.BLOB and pod.wanted:
        return _tried(pod, lambda: _take(pod, message, charges))
    if request == HostRequest.NOTHING and pod.reference and pod.step in _WORK:
        return _tried(pod, lambda: _WORK[pod.step](pod, charges))
    return None


def key_opened(pod: PodAgent, key: bytes) -> None:
    """The broker's key for the image is there."""
    if pod.step in (PodStep.EVIDENCE, PodStep.KEY):
        pod.key, pod.step = key, PodStep.MANIFEST


def attested(pod: PodAgent) -> None:
    """Evidence left the guest."""
    if pod.step is PodStep.EVIDENCE:
        pod.step = PodStep.KEY


def _tried(pod: PodAgent, work: Callable[[], tuple[GuestCall, bytes]]) -> tuple[GuestCall, bytes]:
    """Do some work of the present step; what it refuses ends the walk there, and is told to the shim."""
    step = pod.step
    try:
        return work()
    except Refused as refusal:
        pod.reason, pod.why = refusal.reason.value, str(refusal)
        pod.step, pod.key, pod.got, pod.have, pod.wanted = after(step, PodEvent.REFUSED), b"", {}, b"", ""
        return _refused(step, pod)


def _refused(step: PodStep, pod: PodAgent) -> tuple[GuestCall, bytes]:
    told = {"step": step, "reason": pod.reason, "why": pod.why}
    return GuestCall.POD_REFUSED, json.dumps(told).encode()


def _done(pod: PodAgent) -> tuple[GuestCall, bytes]:
    step, pod.step = pod.step, after(pod.step)
    return GuestCall.POD_STEP, step.encode()


def _sandbox(pod: PodAgent, message: bytes, rpv: bytes) -> tuple[GuestCall, bytes]:
    pod.files = read_init_data(message, rpv)
    image_policy_of(pod.files)
    return _done(pod)


# -- pulling -----------------------------------------------------------------------------------------------------------


def _create(pod: PodAgent, message: bytes) -> tuple[GuestCall, bytes]:
    """CreateContainer: begin with the manifest; a pod that runs or was refused already says so again."""
    if pod.step is PodStep.RUNNING:
        return GuestCall.POD_STEP, PodStep.WORKLOAD.encode()
    if pod.step is not PodStep.MANIFEST:
        return _refused(pod.step, pod)
    pod.reference = message.decode("ascii", "replace")
    return _want(pod, f"manifests/{pod.reference}")


def _want(pod: PodAgent, name: str) -> tuple[GuestCall, bytes]:
    pod.wanted, pod.have = name, b""
    return _ask(pod)


def _ask(pod: PodAgent) -> tuple[GuestCall, bytes]:
    return GuestCall.POD_PULL, json.dumps({"name": pod.wanted, "offset": len(pod.have)}).encode()


def _take(pod: PodAgent, message: bytes, charges: Charges) -> tuple[GuestCall, bytes]:
    """A piece of what is wanted: its total size, then bytes."""
    if len(message) <= _TOTAL.size:
        raise Malformed(f"the registry has no {pod.wanted}")
    (total,) = _TOTAL.unpack(message[: _TOTAL.size])
    if total > oci.MAX_BLOB_BYTES:
        raise Malformed(f"{pod.wanted} is larger than {oci.MAX_BLOB_BYTES} bytes")
    pod.have += message[_TOTAL.size :]
    if len(pod.have) < total:
        return _ask(pod)
    charges.charge("pod.registry")
    name, pod.wanted = pod.wanted, ""
    pod.got[name], pod.have = pod.have[:total], b""
    if pod.step is PodStep.MANIFEST:
        return _next_document(pod)
    charges.charge("pod.pull-mib", sum(_mib(layer) for layer in _manifest(pod).layers if name.endswith(layer.digest)))
    return _next_layer(pod)


def _manifest(pod: PodAgent) -> oci.Manifest:
    return oci.read_manifest(pod.got[f"manifests/{pod.reference}"])


def _signature_name(pod: PodAgent) -> str:
    manifest = oci.digest(pod.got[f"manifests/{pod.reference}"])
    return f"manifests/{repository_of(pod.reference)}:{signature_tag(manifest)}"


def _next_document(pod: PodAgent) -> tuple[GuestCall, bytes]:
    """After the manifest its configuration, the manifest of its signatures, and the first of those."""
    config = f"blobs/{_manifest(pod).config.digest}"
    for name in (config, _signature_name(pod)):
        if name not in pod.got:
            return _want(pod, name)
    _manifest(pod).config.check(pod.got[config])
    signed = f"blobs/{oci.read_manifest(pod.got[_signature_name(pod)]).layers[0].digest}"
    return _done(pod) if signed in pod.got else _want(pod, signed)


def _next_layer(pod: PodAgent) -> tuple[GuestCall, bytes]:
    for layer in _manifest(pod).layers:
        name = f"blobs/{layer.digest}"
        if name not in pod.got:
            return _want(pod, name)
        layer.check(pod.got[name])
    return _done(pod)


# -- the steps that the guest does by itself ---------------------------------------------------------------------------


def _check_signature(pod: PodAgent, charges: Charges) -> tuple[GuestCall, bytes]:
    charges.charge("pod.signature")
    keys = keys_for(image_policy_of(pod.files), pod.reference)
    if keys:
        layer = oci.read_manifest(pod.got[_signature_name(pod)]).layers[0]
        body = pod.got[f"blobs/{layer.digest}"]
        manifest = oci.digest(pod.got[f"manifests/{pod.reference}"])
        verify(layer, body, repository_of(pod.reference), manifest, keys)
    return _done(pod)


def _pull(pod: PodAgent, charges: Charges) -> tuple[GuestCall, bytes]:
    return _next_layer(pod)


def _decrypt(pod: PodAgent, charges: Charges) -> tuple[GuestCall, bytes]:
    manifest = _manifest(pod)
    wanted = oci.read_diff_ids(pod.got[f"blobs/{manifest.config.digest}"])
    mib = sum(_mib(layer) for layer in manifest.layers)
    charges.charge("pod.decrypt-mib", mib)
    charges.charge("pod.unpack-mib", mib)
    plain = []
    for layer in manifest.layers:
        tar = decrypt_layer(layer, pod.got[f"blobs/{layer.digest}"], pod.key)
        plain.append(oci.digest(tar))
        pod.entry_point = pod.entry_point or ENTRY_POINT in oci.unpack_layer(tar)
    if tuple(plain) != wanted:
        raise Untrusted("decrypted layers are not those of the image configuration", label="diff_ids")
    pod.rootfs, pod.got, pod.key = tuple(plain), {}, b""
    return _done(pod)


def _start(pod: PodAgent, charges: Charges) -> tuple[GuestCall, bytes]:
    if not pod.entry_point:
        raise Malformed(f"the image has no entry point {ENTRY_POINT}")
    charges.charge("pod.start")
    return _done(pod)


_WORK: dict[PodStep, Callable[[PodAgent, Charges], tuple[GuestCall, bytes]]] = {
    PodStep.SIGNATURE: _check_signature,
    PodStep.PULL: _pull,
    PodStep.DECRYPT: _decrypt,
    PodStep.WORKLOAD: _start,
}


def _mib(layer: oci.Descriptor) -> int:
    """Whole MiB for which a layer is charged: what its publisher says it stands for, or what it has."""
    told = layer.annotations.get(SIZE_ANNOTATION, "")
    size = int(told) if told.isascii() and told.isdecimal() and len(told) < 16 else layer.size
    return -(-size // MIB)
