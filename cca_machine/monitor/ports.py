"""Who the monitor talks to: the machine it was built for, and the RMM it runs.

The monitor knows neither `MachineSpec` nor the RMM package; whatever has these members will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attestation.firmware_policy import SigningPolicy
from cca_machine.abi.smc import Registers


class Platform(Protocol):
    """What is fixed about a machine when it leaves the factory; `MachineSpec` is one.

    `firmware` holds the signed images of the first boot by component name, `anchors` the accepted signers (signer id to
    COSE_Key bytes), `firmware_policy` how many of them an image needs, `seed` 32 bytes from which all keys
    of the machine derive.
    """

    @property
    def seed(self) -> bytes: ...
    @property
    def pes(self) -> int: ...
    @property
    def firmware(self) -> Mapping[str, bytes]: ...
    @property
    def anchors(self) -> Mapping[bytes, bytes]: ...
    @property
    def firmware_policy(self) -> SigningPolicy: ...
    @property
    def implementation_id(self) -> bytes: ...
    @property
    def lifecycle(self) -> int: ...
    @property
    def quirks(self) -> str: ...
    @property
    def token_profile(self) -> str: ...


class RmmPort(Protocol):
    """The RMM as EL3 enters it. What it asks of EL3 in return is `cca_machine.abi.rmm_el3.El3Services`."""

    @property
    def panicked(self) -> bool:
        """Whether it stopped by itself, or was told to by `fail`; a cold boot cures that."""
        ...

    def boot(self, manifest: bytes) -> int:
        """Cold boot from an empty state with the boot manifest; a `BootStatus`.

        Anything but OK leaves the machine without an RMM.
        """
        ...

    def smc(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        """One RMI call from the Normal world on PE `pe`; unknown function ids answer NOT_SUPPORTED."""
        ...

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        """`count` calls of `smc`, adding `stride` to the arguments after each, up to the first refusal.

        Answers how many succeeded and the registers of the last call made.
        """
        ...

    def handover(self, image_sequence: int) -> int:
        """Enter a new RMM image by the cold boot protocol with a nonzero activation token; a `BootStatus`.

        The new RMM takes over the state of the old one, and asks EL3 again for the Realm attestation key and the
        platform token. `image_sequence` counts the RMM images of this boot, the first being 1. (TF-A
        services/std_svc/rmmd; TF-RMM lib/glob_data.)
        """
        ...

    def lfa_disallowing(self) -> int:
        """How many Realms forbid that firmware of their TCB is activated live (DEN0137 2.0 A3.14)."""
        ...

    def fail(self) -> None:
        """The RMM is lost until the next cold boot: EL3 will never enter it again."""
        ...
