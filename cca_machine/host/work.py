"""One command at work: what it may touch, what it costs, and what follows from it at which instant.

State changes when the work begins; its consequences (records, outcomes, a Realm that starts to run) are put on the
agenda at the instants that the modelled costs give. Power that fails in between takes them with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cca_machine.abi.smc import Registers
from cca_machine.commands import CONTROL, MachineSpec, Outcome, Parcel, Record, RmiCalls
from cca_machine.costs import CALLS, Meter
from cca_machine.hardware.memory import PhysicalMemory
from cca_machine.host.buffers import HostMemory
from cca_machine.host.door import Door, Firmware
from cca_machine.host.fronts.choice import FRONTS
from cca_machine.host.happenings import Built, Gone, Happen, Happening, Say, Tell
from cca_machine.host.hosted import HostedRealm, HostState
from cca_machine.host.run import VirtualMachine
from cca_machine.host.states import HostedEvent
from cca_machine.layout import LoadPlan, plan


class GuestRoom(Protocol):
    """Where the guests of the machine live, as the host sees it."""

    meter: Meter

    def start(self, rd: int, plan: LoadPlan, program: str, realm: str, incarnation: int) -> None:
        """Put a program into the Realm at `rd`."""
        ...

    def stop(self, rd: int) -> None:
        """Forget the program of a Realm that is gone."""
        ...

    def last_token(self, rd: int) -> tuple[str, int]:
        """SHA-256 (hex) and size of the last token, as the Realm made it."""
        ...

    def pack(self, rd: int) -> bytes:
        """All that the program in the Realm knows: part of the Realm's memory, as far as a migration is concerned."""
        ...

    def unpack(self, rd: int, packed: bytes) -> None:
        """Let the program go on in the Realm at `rd`. ValueError when it was not packed by `pack`."""
        ...


class EL3(Firmware, Protocol):
    """The monitor as host and update agent reach it."""

    def stage(self, component: str, image: bytes) -> None:
        """Put an image into flash."""
        ...

    def unstage(self, component: str) -> None:
        """Take it out again."""
        ...

    def stage_for_boot(self, component: str, image: bytes) -> str:
        """Put an image into the other boot slot; why the next boot would not accept it, empty when it would."""
        ...

    def unstage_for_boot(self, component: str) -> None:
        """Empty that slot again."""
        ...

    def collect(self) -> dict[int, Registers]:
        """Answers of the PEs that an activation held."""
        ...

    @property
    def versions(self) -> dict[str, str]:
        """Running version by component."""
        ...


class Truth(Protocol):
    """What the trace knows and the host does not: looked up in firmware state, for records only."""

    def rim(self, rd: int) -> bytes:
        """RIM of the Realm at `rd`, at its digest's length."""
        ...

    def rak(self) -> bytes:
        """COSE_Key of the Realm attestation key that the RMM signs with."""
        ...

    def platform_token(self) -> bytes:
        """The platform token that vouches for it."""
        ...

    def rmm_alive(self) -> bool:
        """Whether EL3 still enters the RMM."""
        ...

    def boots(self) -> int:
        """How often the machine has booted."""
        ...

    def running(self, component: str) -> tuple[str, int, str]:
        """Version, security version and signer (hex) of a running component."""
        ...


class Site:
    """Everything a machine puts at its host's disposal; made anew at every boot.

    `components` names firmware components by the halves of the UUID that LFA_GET_INVENTORY answers; `doom_activation`
    makes EL3 fail the next activation, or not, on behalf of chaos.
    """

    def __init__(
        self,
        spec: MachineSpec,
        state: HostState,
        firmware: EL3,
        memory: PhysicalMemory,
        buffers: HostMemory,
        guests: GuestRoom,
        truth: Truth,
        components: dict[tuple[int, int], str],
        doom_activation: Callable[[bool], None],
    ) -> None:
        self.spec = spec
        self.state = state
        self.firmware = firmware
        self.memory = memory
        self.buffers = buffers
        self.guests = guests
        self.truth = truth
        self.components = components
        self.doom_activation = doom_activation


class Work:
    """One command under way since `now_ns`; `answers` is the number of the order that it is, 0 for a parcel."""

    def __init__(self, site: Site, now_ns: int, answers: int, faults: frozenset[str] = frozenset()) -> None:
        self.site = site
        self.now_ns = now_ns
        self.answers = answers
        self.faults = faults
        self.meter = Meter(site.spec.timing, CALLS[site.spec.edition])
        self.front = FRONTS[site.spec.edition](Door(site.firmware, site.memory, self.meter), site.buffers)
        self.agenda: list[tuple[int, Happening]] = []
        self._pe_until_ns: int | None = None
        site.guests.meter = self.meter

    @property
    def at_ns(self) -> int:
        """The instant that the work has come to."""
        return self.now_ns + self.meter.cost_ns

    @property
    def pe_until_ns(self) -> int:
        """Until when it occupies its control PE."""
        return self.at_ns if self._pe_until_ns is None else self._pe_until_ns

    def leave_pe(self) -> None:
        """The rest runs on the Realm's own PEs."""
        self._pe_until_ns = self.at_ns

    def rmi_calls(self) -> RmiCalls | None:
        """What was asked of the RMM so far; None when it was nothing."""
        calls = {name: count for name, count in sorted(self.meter.calls.items()) if name.startswith("RMI_")}
        return RmiCalls(calls) if calls else None

    def later(self, what: Happening) -> None:
        """Put something on the agenda at the instant that the work has come to."""
        self.agenda.append((self.at_ns, what))

    def say(self, outcome: Outcome, *, asked: bool = True) -> None:
        """Answer the control plane, or tell it something besides the answer to what it asked."""
        self.later(Say(CONTROL, outcome, self.answers if asked else 0))

    def send(self, peer: str, parcel: Parcel) -> None:
        """Send a parcel to another machine."""
        self.later(Say(peer, parcel))

    def tell(self, record: Record) -> None:
        """Write a line of the trace."""
        self.later(Tell(record))

    def happen(self, hosted: HostedRealm, event: HostedEvent, why: str) -> None:
        """Move a hosted Realm along its table."""
        self.later(Happen(hosted.spec.realm, hosted.spec.incarnation, event, why))

    def built(self, hosted: HostedRealm) -> None:
        """Announce a Realm whose RMI calls are all done."""
        rim = self.site.truth.rim(hosted.footprint.rd).hex()
        self.later(Built(hosted.spec.realm, hosted.spec.incarnation, rim, dict(sorted(self.meter.calls.items()))))

    def gone(self, hosted: HostedRealm, granules: list[tuple[int, int]]) -> None:
        """Announce the end of a Realm, and give its granules back."""
        self.later(Gone(hosted.spec.realm, hosted.spec.incarnation, tuple(granules)))

    def machine_of(self, hosted: HostedRealm) -> VirtualMachine:
        """The Realm as its VMM runs it."""
        site = self.site
        return VirtualMachine(self.front, site.state.pool, site.buffers, plan(hosted.spec), hosted.footprint)
