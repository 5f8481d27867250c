"""The host's part in live firmware activation: inventory, prime until done, and every PE into the rendezvous.

Source: DEN0147 1.0 as TF-A's services/std_svc/lfa speaks it; Linux drivers/firmware/arm_lfa (call-again loop,
stop_machine around ACTIVATE).
"""

from __future__ import annotations

from attestation.errors import Refused as RefusedBytes
from attestation.firmware import FirmwareManifest, read_manifest, version_key
from cca_machine.abi.lfa import CALL_AGAIN, Lfa, LfaStatus
from cca_machine.abi.smc import Registers, signed
from cca_machine.commands import (
    Activate,
    Activated,
    Cancel,
    FaultKind,
    FirmwareActivated,
    FirmwareRefused,
    Prime,
    Primed,
)
from cca_machine.errors import BrokenPromise
from cca_machine.host.door import Refusal
from cca_machine.host.happenings import BlackoutEnd, Hang
from cca_machine.host.work import Work

MIB = 1 << 20
HOST = "host"
"""Under this name a manifest says which hypervisor it needs."""

PRIME_BUDGET_NS = 30_000_000_000
"""How long the driver repeats PRIME before it cancels (Linux arm_lfa patches, 2026)."""
NO_RMM = "there is no RMM any more"
"""Words of a refusal that cost the machine its RMM."""
MAX_CALLS = 1 << 16
"""Repetitions of one LFA call after which the agent is taken to be stuck."""


class ActivationLost(Refusal):
    """The activation failed and took the RMM with it."""


def enumerate_components(work: Work) -> dict[str, int]:
    """LFA sequence id by component name; also makes the agent look at what is staged."""
    count = _call(work, Lfa.GET_INFO, 0)[1]
    found = {}
    for sequence in range(count):
        answer = _call(work, Lfa.GET_INVENTORY, sequence)
        name = work.site.components.get((answer[1], answer[2]))
        if name is not None:
            found[name] = sequence
    return found


def prime(work: Work, order: Prime) -> None:
    """Stage the image and LFA_PRIME it until the agent asks for no more calls.

    Raises:
        Refusal: malformed-image, unknown-component, or the LFA call and its status; nothing stays staged.
    """
    try:
        manifest, _, payload = read_manifest(order.image)
    except RefusedBytes as refusal:
        work.tell(FirmwareRefused("", "stage", "malformed-image", str(refusal)))
        raise Refusal("malformed-image", str(refusal)) from None
    check_host(work, manifest)
    component, megabytes = manifest.component, -(-len(payload) // MIB)
    work.meter.charge("lfa.stage")
    work.meter.charge("lfa.stage-mib", megabytes)
    work.site.firmware.stage(component, order.image)
    sequence = enumerate_components(work).get(component)
    if sequence is None:
        work.site.firmware.unstage(component)
        raise Refusal("unknown-component", f"the machine has no component {component}")
    before_ns = work.meter.cost_ns
    work.meter.charge("lfa.prime")
    work.meter.charge("lfa.prime-mib", megabytes)
    try:
        if work.meter.cost_ns - before_ns > PRIME_BUDGET_NS:
            _call(work, Lfa.PRIME, sequence)
            raise Refusal("LFA_PRIME: TIMEOUT", f"not done within {PRIME_BUDGET_NS // 10**9} s: given up by LFA_CANCEL")
        _until_done(work, Lfa.PRIME, sequence)
    except Refusal as refusal:
        work.tell(FirmwareRefused(component, "LFA_PRIME", refusal.code.split(": ")[-1], refusal.why))
        work.site.firmware.smc(Lfa.CANCEL, (sequence,), 0)
        work.site.firmware.unstage(component)
        enumerate_components(work)
        raise
    work.say(Primed(component, manifest.version))


def check_host(work: Work, manifest: FirmwareManifest) -> None:
    """Refuse firmware that this hypervisor is too old for; EL3 cannot know it. Raises Refusal: host-too-old."""
    least = manifest.needs.get(HOST, "")
    if least and version_key(work.site.spec.host_version) < version_key(least):
        why = f"{manifest.component} {manifest.version} needs host {least}, this is {work.site.spec.host_version}"
        work.tell(FirmwareRefused(manifest.component, "stage", "host-too-old", why))
        raise Refusal("host-too-old", why)


def activate(work: Work, order: Activate) -> None:
    """LFA_ACTIVATE on every PE. Realms stand still for the rendezvous and the start of the new image, and go on.

    If a PE does not come within `lfa.watchdog` there is no answer: EL3 does not bound the wait, the PEs in the pen have
    their interrupts masked, and only the watchdog ends it, by a reset into the firmware of before.

    Raises:
        Refusal: unknown-component, or LFA_ACTIVATE and its status.
        ActivationLost: the same, and there is no RMM any more.
    """
    site = work.site
    sequence = enumerate_components(work).get(order.component)
    if sequence is None:
        raise Refusal("unknown-component", f"the machine has no component {order.component}")
    alive = site.truth.rmm_alive()
    work.meter.charge("lfa.gather")
    timing = site.spec.timing
    late = FaultKind.PE_ABSENT in work.faults or timing["lfa.gather"] >= timing["lfa.watchdog"]
    site.doom_activation(FaultKind.ACTIVATION_FAILURE in work.faults)
    status = _rendezvous(work, sequence, late=late and site.spec.pes > 1)
    site.doom_activation(False)
    if status is None:
        work.later(Hang(order.component, site.spec.pes - 1, timing["lfa.watchdog"]))
        return
    if status is not LfaStatus.SUCCESS:
        why = f"the agent refused to activate {order.component}"
        work.tell(FirmwareRefused(order.component, "LFA_ACTIVATE", status.name, why))
        lost = alive and not site.truth.rmm_alive()
        why += f", and {NO_RMM}" if lost else ""
        raise (ActivationLost if lost else Refusal)(f"LFA_ACTIVATE: {status.name}", why)
    work.meter.charge("lfa.activate")
    pause_ns = work.meter.cost_ns
    work.later(BlackoutEnd())
    version, security_version, signer = site.truth.running(order.component)
    work.tell(FirmwareActivated(order.component, version, security_version, signer, pause_ns))
    work.meter.charge("boot.platform-token")
    enumerate_components(work)
    truth = site.truth
    work.say(Activated(order.component, site.firmware.versions, truth.platform_token(), truth.rak(), pause_ns))


def cancel(work: Work, order: Cancel) -> None:
    """LFA_CANCEL; success has no outcome of its own. Raises Refusal: unknown-component, or the call and its status."""
    sequence = enumerate_components(work).get(order.component)
    if sequence is None:
        raise Refusal("unknown-component", f"the machine has no component {order.component}")
    _call(work, Lfa.CANCEL, sequence)
    work.site.firmware.unstage(order.component)
    enumerate_components(work)


def _call(work: Work, call: Lfa, *args: int) -> Registers:
    work.meter.charge("lfa.call")
    answer = work.site.firmware.smc(call, args, 0)
    status = signed(answer[0])
    if status != LfaStatus.SUCCESS:
        raise Refusal(f"LFA_{call.name}: {LfaStatus(status).name}", f"the agent refused LFA_{call.name}")
    return answer


def _until_done(work: Work, call: Lfa, sequence: int) -> None:
    for _ in range(MAX_CALLS):
        if not _call(work, call, sequence)[1] & CALL_AGAIN:
            return
    raise BrokenPromise(f"LFA_{call.name} asks to be called again without end")


def _rendezvous(work: Work, sequence: int, *, late: bool) -> LfaStatus | None:
    """Send every PE into the pen, or, when one is `late`, all but the last one: then None, and nobody comes back."""
    firmware, pes = work.site.firmware, work.site.spec.pes
    for _ in range(MAX_CALLS):
        answer: Registers = ()
        for pe in range(pes - late):
            work.meter.charge("lfa.call")
            answer = firmware.smc(Lfa.ACTIVATE, (sequence, 0, work.site.buffers.params, 0), pe)
            if answer:
                break
        firmware.collect()
        if late and not answer:
            return None
        if not answer:
            raise BrokenPromise("all PEs wait in the rendezvous of LFA_ACTIVATE, and none came back")
        status = LfaStatus(signed(answer[0]))
        if status is not LfaStatus.SUCCESS or not answer[1] & CALL_AGAIN:
            return status
    raise BrokenPromise("LFA_ACTIVATE asks to be called again without end")
