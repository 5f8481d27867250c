"""What is inside bundles: the state of a Realm, item by item (modelled; items as in TDX and SNP migration).

Carried: the immutable parameters, RIM and REMs, RIPAS and whether memory is assigned by IPA run, every page that has
contents, vCPU registers, and the guest program's record. Not carried: physical addresses, tables, VMID, keys of the
platform, a token that is being made.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from cca_machine.abi.guest import SystemRegister


class Immutable(msgspec.Struct, frozen=True, tag="immutable", kw_only=True, omit_defaults=True):
    """Creation parameters that the destination must equal exactly.

    `edition` is that of the RMM which measured them; None stands for 1.0, whose bundles stay as they were.
    """

    edition: str | None = None
    flags: int
    ipa_width: int
    sve_vl: int
    num_bps: int
    num_wps: int
    pmu_num_ctrs: int
    hash_algo: int
    rpv: bytes


class MapRun(msgspec.Struct, frozen=True, array_like=True):
    """`count` granules from `ipa` with one RIPAS, backed by memory or not."""

    ipa: int
    count: int
    ripas: int
    assigned: bool


class MemoryMap(msgspec.Struct, frozen=True, tag="map"):
    """All RAM of the Realm, ascending and without gaps."""

    runs: tuple[MapRun, ...]


class PageRun(msgspec.Struct, frozen=True, array_like=True):
    """`count` assigned granules from `ipa`; `pages` holds those with contents as (index in the run, bytes)."""

    ipa: int
    count: int
    pages: tuple[tuple[int, bytes], ...]


class Memory(msgspec.Struct, frozen=True, tag="memory"):
    """Pages of the Realm; those that nothing was ever written to cross as mere counts."""

    runs: tuple[PageRun, ...]

    @property
    def granules(self) -> int:
        """Pages that this bundle stands for."""
        return sum(run.count for run in self.runs)


class Again(msgspec.Struct, frozen=True, tag="again"):
    """Pages that were dirtied after they had crossed (modelled by their number): a round of pre-copy, or its rest."""

    round: int
    granules: int


class VcpuState(msgspec.Struct, frozen=True, kw_only=True):
    """One REC's registers and pending requests."""

    index: int
    runnable: bool
    gprs: tuple[int, ...]
    pc: int
    pstate: int
    psci_pending: bool
    host_call_ipa: int | None
    system: tuple[tuple[SystemRegister, int], ...]


class Mutable(msgspec.Struct, frozen=True, tag="mutable", omit_defaults=True):
    """What the Realm was at its pause: measurements (RIM, REMs), vCPUs, its program's record, and its instance id."""

    measurements: tuple[bytes, ...]
    vcpus: tuple[VcpuState, ...]
    program: bytes
    instance_id: bytes | None = None


class Start(msgspec.Struct, frozen=True, tag="start"):
    """The start token: nothing follows. It counts and hashes everything before it."""

    bundles: int
    granules: int
    transcript: bytes


Content: TypeAlias = Immutable | MemoryMap | Memory | Again | Mutable | Start


def encode(content: Content) -> bytes:
    """Content as it is sealed."""
    return msgspec.msgpack.encode(content)


def decode(data: bytes) -> Content:
    """Content as it was sealed. Raises msgspec.MsgspecError."""
    decoded: Content = msgspec.msgpack.decode(data, type=Content)
    return decoded
