"""What the control plane orders about one Realm: launch, attest, secret, stop."""

from __future__ import annotations

from cca_machine.commands import (
    Attest,
    Attested,
    DeliverSecret,
    Launch,
    Launched,
    RealmEvidence,
    RealmSpec,
    Serving,
    Stop,
    Stopped,
)
from cca_machine.errors import ImpossibleRealm
from cca_machine.host import pods
from cca_machine.host.build import Builder
from cca_machine.host.door import Refusal
from cca_machine.host.evidence import forward, nonce_for
from cca_machine.host.hosted import HostedRealm
from cca_machine.host.run import Said
from cca_machine.host.states import EXECUTING, HostedEvent, after
from cca_machine.host.teardown import destroy, release
from cca_machine.host.work import Work
from cca_machine.layout import GuestCall, HostRequest, plan
from cca_machine.pod import PodStep


def builder(work: Work, spec: RealmSpec) -> Builder:
    """A builder for a Realm that may come here.

    Raises:
        Refusal: already-hosted, edition, no-vmids, impossible-realm.
    """
    state = work.site.state
    if spec.realm in state.realms:
        raise Refusal("already-hosted", f"incarnation {state.realms[spec.realm].spec.incarnation} is here")
    lacking = work.front.lacks(spec)
    if lacking:
        raise Refusal("edition", lacking)
    vmid = work.front.vmid(state.used_vmids(), work.site.spec.vmid_bits)
    if vmid is None:
        raise Refusal("no-vmids", f"all VMIDs of {work.site.spec.vmid_bits} bits are in use")
    try:
        layout = plan(spec)
    except ImpossibleRealm as impossible:
        raise Refusal("impossible-realm", str(impossible)) from None
    return Builder(work.front, state.pool, work.site.buffers, layout, vmid)


def launch(work: Work, order: Launch) -> None:
    """Build, enter, take the token: one order from nothing to evidence.

    Raises:
        Refusal: and everything is as it was before.
    """
    spec, site = order.realm, work.site
    build = builder(work, spec)
    walk = pods.Walk(work, spec)
    walk.shim()
    work.meter.charge("host.vmm-setup")
    hosted = HostedRealm(spec=spec, footprint=build.build(), lease_until_ns=order.lease_until_ns)
    build_ns = work.meter.cost_ns
    rim = site.truth.rim(hosted.footprint.rd)
    work.built(hosted)
    walk.done(PodStep.VMM)
    work.happen(hosted, HostedEvent.ENTERED, "launch")
    work.leave_pe()
    site.guests.start(hosted.footprint.rd, build.plan, spec.program, spec.realm, spec.incarnation)
    site.state.realms[spec.realm] = hosted
    try:
        _expect(work.machine_of(hosted).ask(HostRequest.NOTHING), GuestCall.READY)
        walk.sandbox(work.machine_of(hosted))
        evidence = _evidence(work, hosted, order.nonce)
        walk.done(PodStep.EVIDENCE)
    except Refusal as refusal:
        release(site.state.pool, _take_apart(work, hosted))
        del site.state.realms[spec.realm]
        work.agenda[:] = walk.told
        walk.stopped(refusal)
        raise
    work.say(Launched(spec.realm, spec.incarnation, evidence, rim, build_ns, work.meter.cost_ns - build_ns))


def attest(work: Work, order: Attest) -> None:
    """Fresh evidence of a Realm that runs. Raises Refusal: unknown-realm, realm-paused."""
    hosted = executing(work, order.realm, order.incarnation)
    work.leave_pe()
    evidence = _evidence(work, hosted, order.nonce)
    work.say(Attested(order.realm, order.incarnation, evidence, work.meter.cost_ns))


def deliver_secret(work: Work, order: DeliverSecret) -> None:
    """Hand the sealed resource to the Realm. Raises Refusal: unknown-realm, realm-paused, secret-not-opened, pod-*."""
    hosted = executing(work, order.realm, order.incarnation)
    work.leave_pe()
    machine = work.machine_of(hosted)
    walk = pods.Walk(work, hosted.spec, PodStep.KEY)
    said = machine.ask(HostRequest.OPEN, order.jwe)
    machine.ask(HostRequest.NOTHING)
    try:
        if said.call is not GuestCall.OPENED:
            raise Refusal("secret-not-opened", "what was delivered is not sealed for this Realm")
        walk.container(machine)
    except Refusal as refusal:
        walk.stopped(refusal)
        raise
    work.happen(hosted, HostedEvent.SECRET_OPENED, "secret")
    work.say(Serving(order.realm, order.incarnation))


def stop(work: Work, order: Stop) -> None:
    """Turn the Realm off and take it apart. Raises Refusal: unknown-realm, realm-busy."""
    hosted = known(work, order.realm, order.incarnation)
    if after(hosted.state, HostedEvent.STOP_ORDERED) is None:
        raise Refusal("realm-busy", f"the Realm is {hosted.state}")
    remove(work, hosted, "stop")
    work.say(Stopped(order.realm, order.incarnation))


def remove(work: Work, hosted: HostedRealm, why: str) -> None:
    """Take a Realm apart; at the end of the work it is gone and its granules are free."""
    work.happen(hosted, HostedEvent.STOP_ORDERED, why)
    if hosted.state in EXECUTING:
        work.machine_of(hosted).ask(HostRequest.POWER_OFF)
    work.gone(hosted, _take_apart(work, hosted))


def _take_apart(work: Work, hosted: HostedRealm) -> list[tuple[int, int]]:
    work.site.guests.stop(hosted.footprint.rd)
    return destroy(work.front, work.site.state.pool, hosted.footprint)


def known(work: Work, realm: str, incarnation: int) -> HostedRealm:
    """The Realm, if it is here. Raises Refusal."""
    hosted = work.site.state.find(realm, incarnation)
    if hosted is None:
        raise Refusal("unknown-realm", f"incarnation {incarnation} of {realm} is not on this machine")
    return hosted


def executing(work: Work, realm: str, incarnation: int) -> HostedRealm:
    """The Realm, if it runs here. Raises Refusal."""
    hosted = known(work, realm, incarnation)
    if hosted.state not in EXECUTING:
        raise Refusal("realm-paused", f"the Realm is {hosted.state}")
    return hosted


def _evidence(work: Work, hosted: HostedRealm, nonce: str) -> bytes:
    machine = work.machine_of(hosted)
    nonce = nonce_for(work.site.state, nonce, work.faults)
    said = _expect(machine.ask(HostRequest.ATTEST, nonce.encode()), GuestCall.EVIDENCE)
    machine.ask(HostRequest.NOTHING)
    digest, size = work.site.guests.last_token(hosted.footprint.rd)
    work.tell(RealmEvidence(hosted.spec.realm, hosted.spec.incarnation, digest, size))
    return forward(work.site.state, hosted.spec.realm, said.message, work.faults)


def _expect(said: Said, call: GuestCall) -> Said:
    if said.call is not call:
        what = "turned itself off" if said.call is None else f"said {said.call.name}"
        raise Refusal("realm-crashed", f"{call.name} was expected of the guest; it {what}")
    return said
