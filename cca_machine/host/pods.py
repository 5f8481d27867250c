"""The host's part of a confidential pod: the shim, what it hands to the agent, and the way to the registry.

All that passes here is seen and may be changed by the host, which is why chaos acts here. A Realm that is no pod has an
empty walk.
"""

from __future__ import annotations

import struct

import msgspec

from attestation.container import oci
from cca_machine import registry
from cca_machine.commands import FaultKind, RealmSpec
from cca_machine.host.door import Refusal
from cca_machine.host.happenings import Happening
from cca_machine.host.run import Said, VirtualMachine
from cca_machine.host.work import Work
from cca_machine.layout import GuestCall, HostRequest
from cca_machine.pod import ContainerSpec, PodRefused, PodSpec, PodStep, PodStepped, after

_TOTAL = struct.Struct(">Q")
MOST_TURNS = 100_000
"""Turns after which an agent that never comes to an end is given up."""


class PodRefusal(Refusal):
    """The agent of a pod refuses to go on; the code names the step."""

    def __init__(self, step: str, reason: str, why: str) -> None:
        super().__init__(f"pod-{step}", why)
        self.step = step
        self.reason = reason


class _Told(msgspec.Struct):
    step: str
    reason: str
    why: str


class _Pull(msgspec.Struct):
    name: str
    offset: int


class Walk:
    """A pod's steps within one order: each is traced at the instant it is done, with what it cost since the last.

    `told` are the entries that it put on the agenda: they stay when the order is refused.
    """

    def __init__(self, work: Work, spec: RealmSpec, first: PodStep = PodStep.SHIM) -> None:
        self.told: list[tuple[int, Happening]] = []
        self._work = work
        self._spec = spec
        self._pod = spec.pod
        self._at = first
        self._since_ns = work.meter.cost_ns

    def shim(self) -> None:
        """The shim of the runtime class starts."""
        if self._pod is not None:
            self._work.meter.charge("pod.shim")
            self.done(PodStep.SHIM)

    def done(self, step: PodStep) -> None:
        """A step is done."""
        if self._pod is not None:
            now_ns = self._work.meter.cost_ns
            took_ns, self._since_ns, self._at = now_ns - self._since_ns, now_ns, after(step)
            self._tell(PodStepped(self._spec.realm, self._spec.incarnation, step, took_ns))

    def stopped(self, refusal: Refusal) -> None:
        """The walk ended: the agent said no, or the guest did not do what the present step expects of it."""
        if self._pod is not None:
            where, reason = (
                (refusal.step, refusal.reason) if isinstance(refusal, PodRefusal) else (self._at.value, refusal.code)
            )
            self._tell(PodRefused(self._spec.realm, self._spec.incarnation, where, reason, refusal.why))

    def _tell(self, record: PodStepped | PodRefused) -> None:
        self._work.tell(record)
        self.told.append(self._work.agenda[-1])

    def sandbox(self, machine: VirtualMachine) -> None:
        """Dial the agent and create the sandbox with the pod's init-data. Raises Refusal."""
        if self._pod is None:
            return
        self._work.meter.charge("pod.dial")
        self.done(PodStep.AGENT)
        self._step(machine.ask(HostRequest.SANDBOX, self._init_data(self._pod)))
        machine.ask(HostRequest.NOTHING)

    def container(self, machine: VirtualMachine) -> None:
        """Have the agent create the container, and fetch for it what it asks for. Raises Refusal."""
        if self._pod is None:
            return
        self.done(PodStep.KEY)
        container = self._pod.container
        said = machine.ask(HostRequest.CONTAINER, registry.reference_of(container).encode())
        for _ in range(MOST_TURNS):
            if said.call is GuestCall.POD_PULL:
                said = machine.ask(HostRequest.BLOB, self._piece(container, said.message, machine.plan.mailbox_bytes))
            elif self._step(said) == PodStep.WORKLOAD:
                machine.ask(HostRequest.NOTHING)
                return
            else:
                said = machine.ask(HostRequest.NOTHING)
        raise Refusal("realm-crashed", f"the agent had no end after {MOST_TURNS} turns")

    def _step(self, said: Said) -> str:
        """What the agent did. Raises PodRefusal, or Refusal when it said something else."""
        if said.call is GuestCall.POD_STEP:
            step = said.message.decode()
            self.done(PodStep(step))
            return step
        if said.call is not GuestCall.POD_REFUSED:
            raise Refusal("realm-crashed", "the agent of the pod does not answer")
        told = msgspec.json.decode(said.message, type=_Told)
        raise PodRefusal(told.step, told.reason, told.why)

    # -- what crosses the host, and what chaos does to it --------------------------------------------------------------

    def _init_data(self, pod: PodSpec) -> bytes:
        if FaultKind.TAMPERED_INIT_DATA in self._work.faults:
            return pod.init_data.replace(b'"reject"', b'"insecureAcceptAnything"')
        return pod.init_data

    def _piece(self, container: ContainerSpec, asked: bytes, room: int) -> bytes:
        """As much of what is asked for as the mailbox holds; nothing when the registry does not have it."""
        pull = msgspec.json.decode(asked, type=_Pull)
        blob = registry.published(container).get(pull.name)
        if blob is None:
            return b""
        if FaultKind.TAMPERED_IMAGE in self._work.faults and pull.name in _layers(container):
            middle = len(blob) // 2
            blob = blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]
        piece = blob[pull.offset : pull.offset + room - _TOTAL.size]
        return _TOTAL.pack(len(blob)) + piece


def _layers(container: ContainerSpec) -> list[str]:
    manifest = registry.published(container)[f"manifests/{registry.reference_of(container)}"]
    return [f"blobs/{layer.digest}" for layer in oci.read_manifest(manifest).layers]
