"""The host's way to the firmware: metered SMCs, and its own normal-world memory.

Every RMI call of the host goes through one `Door`, which counts it and adds up its modelled cost. A refusal that the
host has an answer for comes back as a value; one that ends what it is doing is raised as `Refusal` and reported to the
control plane in the specification's words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from cca_machine.abi.rmi import Rmi, RmiStatus, index_of, status_name
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.abi.rmi2 import status_name as status_name_2_0
from cca_machine.abi.smc import NOT_SUPPORTED, Registers
from cca_machine.costs import Meter
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.hardware.gpt import Gpi, GranuleProtectionFault, World
from cca_machine.hardware.memory import PhysicalMemory

Command: TypeAlias = Rmi | Rmi2
"""One RMI call, of either edition."""


class Firmware(Protocol):
    """What answers an SMC from the normal world: the monitor of the machine."""

    def smc(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        """One call; x0..x7."""
        ...

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        """`count` calls with arguments advancing by `stride`, up to the first refusal: successes, last result."""
        ...


class Refusal(Exception):
    """What the host was asked to do cannot be done, and nothing of it was: `code` and a sentence, as in `Refused`."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why


class RmiRefusal(Refusal):
    """The RMM refused a call that the host cannot do without; `code` names call and status."""

    def __init__(self, command: Command, x0: int, args: Sequence[int]) -> None:
        if x0 == NOT_SUPPORTED:
            status = "SMC_NOT_SUPPORTED"
        elif x0 & 0xFF == RmiStatus.ERROR_RTT:
            status = f"RMI_ERROR_RTT({index_of(x0)})"
        else:
            status = f"RMI_{status_name(x0) if isinstance(command, Rmi) else status_name_2_0(x0)}"
        shown = ", ".join(f"{arg:#x}" for arg in args)
        super().__init__(f"RMI_{command.name}: {status}", f"the RMM refused RMI_{command.name}({shown})")
        self.command = command
        self.x0 = x0


def missing_level(x0: int) -> int | None:
    """The level at which a walk stopped, when `x0` is an ERROR_RTT; None for any other answer."""
    return index_of(x0) if x0 != NOT_SUPPORTED and x0 & 0xFF == RmiStatus.ERROR_RTT else None


class Door:
    """Metered firmware calls and host memory of one piece of work on processing element `pe`."""

    def __init__(self, firmware: Firmware, memory: PhysicalMemory, meter: Meter, pe: int = 0) -> None:
        self.firmware = firmware
        self.memory = memory
        self.meter = meter
        self.pe = pe

    def ask(self, command: Command, *args: int) -> Registers:
        """One RMI call, whatever it answers."""
        self.meter.call(command)
        return self.firmware.smc(command, args, self.pe)

    def rmi(self, command: Command, *args: int) -> Registers:
        """One RMI call that must succeed. Raises RmiRefusal."""
        result = self.ask(command, *args)
        if result[0]:
            raise RmiRefusal(command, result[0], args)
        return result

    def ask_run(
        self, command: Command, args: Sequence[int], stride: Sequence[int], count: int
    ) -> tuple[int, Registers]:
        """Up to `count` calls, ended by the first refusal: how many succeeded, and the last result."""
        done, last = self.firmware.smc_run(command, args, stride, count, self.pe)
        self.meter.call(command, min(done + 1, count))
        return done, last

    def rmi_run(self, command: Command, args: Sequence[int], stride: Sequence[int], count: int) -> None:
        """`count` calls that must all succeed. Raises RmiRefusal at the first that does not."""
        if count:
            done, last = self.ask_run(command, args, stride, count)
            if done < count:
                raise RmiRefusal(command, last[0], [arg + done * step for arg, step in zip(args, stride, strict=True)])

    def write(self, pa: int, data: bytes) -> None:
        """Store into normal-world memory. Raises GranuleProtectionFault elsewhere."""
        self.memory.write(World.NS, pa, data)

    def write_pages(self, pa: int, pages: Sequence[bytes]) -> None:
        """Store whole pages from `pa` upward, sharing the objects. Raises GranuleProtectionFault elsewhere."""
        self._must_be_ours(pa, len(pages))
        for index, page in enumerate(pages):
            self.memory.put_page(pa + index * GRANULE_BYTES, page)

    def read(self, pa: int, size: int) -> bytes:
        """Load from normal-world memory. Raises GranuleProtectionFault elsewhere."""
        return self.memory.read(World.NS, pa, size)

    def wipe(self, pa: int, granules: int) -> None:
        """Zero normal-world granules. Raises GranuleProtectionFault elsewhere."""
        self._must_be_ours(pa, granules)
        self.memory.scrub_run(pa, granules)

    def _must_be_ours(self, pa: int, granules: int) -> None:
        ours = self.memory.gpt.run_length(pa, Gpi.NON_SECURE, granules)
        if ours < granules:
            raise GranuleProtectionFault(World.NS, pa + ours * GRANULE_BYTES)
