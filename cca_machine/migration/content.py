"""What is inside bundles: the state of a Realm, item by item (modelled; items as in TDX and SNP migration).

Carried: the immutable parameters, RIM and REMs, RIPAS and whether memory is assigned by IPA run, every page that has
contents, vCPU registers, and the guest program's record. Not carried: physical addresses, tables, VMID, keys of the
platform, a token that is being made.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from cca_machine.abi.guest import SystemRegister
from cca_machine.migration.bundles import BundleType


class Immutable(msgspec.Struct, frozen=True, tag="immutable", kw_only=True):
    """Creation parameters that the destination must equal exactly, and the identity that it takes over.

    `edition` is that of the RMM which measured them.
    """

    edition: str
    flags: int
    ipa_width: int
    sve_vl: int
    num_bps: int
    num_wps: int
    pmu_num_ctrs: int
    hash_algo: int
    rpv: bytes
    instance_id: bytes = b""


class MapRun(msgspec.Struct, frozen=True, array_like=True):
    """`count` granules from `ipa` with one RIPAS, backed by memory or not."""

    ipa: int
    count: int
    ripas: int
    assigned: bool


class MemoryMap(msgspec.Struct, frozen=True, tag="map"):
    """All RAM of the Realm, ascending and without gaps."""

    runs: tuple[MapRun, ...]


class PageOp(StrEnum):
    """What a run of pages is to the destination."""

    NEW = "new"
    AGAIN = "again"
    """It crossed before and was written since."""
    CANCEL = "cancel"
    """It crossed before and is no RAM of the Realm any more."""


class PageRun(msgspec.Struct, frozen=True, array_like=True):
    """`count` granules from `ipa`; `pages` holds those with contents as (index in the run, bytes)."""

    ipa: int
    count: int
    op: PageOp
    pages: tuple[tuple[int, bytes], ...]


class Memory(msgspec.Struct, frozen=True, tag="memory"):
    """Pages of the Realm; those that nothing was ever written to cross as mere counts.

    `modelled` pages were dirtied by the modelled workload: they cost what they weigh and have no contents.
    """

    runs: tuple[PageRun, ...]
    modelled: int = 0

    @property
    def granules(self) -> int:
        """Pages that this bundle stands for."""
        return self.modelled + sum(run.count for run in self.runs if run.op is not PageOp.CANCEL)

    @property
    def unwritten(self) -> int:
        """Pages that weigh on the link without bytes of their own."""
        return self.granules - sum(len(run.pages) for run in self.runs)


class VcpuState(msgspec.Struct, frozen=True, tag="rec", kw_only=True):
    """One REC's registers and pending requests."""

    index: int
    runnable: bool
    gprs: tuple[int, ...]
    pc: int
    pstate: int
    psci_pending: bool
    host_call_ipa: int | None
    system: tuple[tuple[SystemRegister, int], ...]


class Mutable(msgspec.Struct, frozen=True, tag="mutable"):
    """What the Realm was at its pause: measurements (RIM, REMs) and its program's record."""

    measurements: tuple[bytes, ...]
    program: bytes


class Epoch(msgspec.Struct, frozen=True, tag="epoch"):
    """Everything of the epochs before `number` was issued: `bundles` in all, this one not counted."""

    number: int
    bundles: int


class Start(msgspec.Struct, frozen=True, tag="start"):
    """The start token: nothing follows. Totals of everything before it, and its hash."""

    bundles: int
    granules: int
    recs: int
    transcript: bytes


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The abort token of a destination that will never run the Realm."""

    why: str


Content: TypeAlias = Immutable | MemoryMap | Memory | Mutable | VcpuState | Epoch | Start | Failed

TYPES: dict[type, BundleType] = {
    Immutable: BundleType.IMMUTABLE,
    MemoryMap: BundleType.RIPAS_MAP,
    Memory: BundleType.MEM,
    Mutable: BundleType.REALM_MUTABLE,
    VcpuState: BundleType.REC,
    Epoch: BundleType.EPOCH,
    Start: BundleType.START,
    Failed: BundleType.ABORT,
}
"""The bundle type of each content."""


def encode(content: Content) -> bytes:
    """Content as it is sealed."""
    return msgspec.msgpack.encode(content)


def decode(data: bytes) -> Content:
    """Content as it was sealed. Raises msgspec.MsgspecError."""
    decoded: Content = msgspec.msgpack.decode(data, type=Content)
    return decoded
