"""Where a VMM puts a Realm: address space, RAM, image, device tree, vCPUs; pure, and the same for everyone who asks.

The host of a machine executes a plan by RMI calls; the control plane feeds the same plan to an independent calculator
(`attestation.rim`) to know which RIM to expect. Neither sees the other's result. The layout is that of QEMU's virt
machine: RAM at 1 GiB, at least 41 bits of IPA, the kernel at the start of RAM, the device tree 2 MiB aligned behind it.
Sources: QEMU hw/arm/virt and veraison/cca-realm-measurements (layout), DEN0137 1.0-rel0 section A5.5.9 (start level).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from cca_machine import image as images
from cca_machine.abi.rmi import PAGE_BYTES, HashAlgorithm
from cca_machine.abi.rmi2 import LFA_ALLOW, LFA_POLICY_SHIFT, MEC_POLICY_SHIFT, MEC_PRIVATE, SHA_384
from cca_machine.commands import ImageSpec, RealmSpec
from cca_machine.devicetree import device_tree
from cca_machine.errors import ImpossibleRealm

RAM_BASE = 0x4000_0000
MIN_IPA_WIDTH = 41
BLOCK_BYTES = 2 << 20
MAILBOX_BYTES = 32 << 10
"""Memory that a guest shares with its host for evidence and secrets."""

BREAKPOINTS = 1
WATCHPOINTS = 1
"""Counts minus one: the architecture's minimum of two each, which every RMM offers."""


class GuestCall(IntEnum):
    """Immediate of a host call: what the guest tells the host; gprs[0] is the number of bytes in the mailbox."""

    READY = 1
    """Nothing to say; the answer is the next request."""
    EVIDENCE = 2
    """A key-broker attestation body lies in the mailbox."""
    OPENED = 3
    """The secret was opened."""
    NOT_OPENED = 4
    """What lay in the mailbox did not open."""
    POD_STEP = 5
    """The agent of a pod has done the step of `cca_machine.pod` whose name lies in the mailbox."""
    POD_PULL = 6
    """It wants more of a document or blob of the registry: JSON with name and offset."""
    POD_REFUSED = 7
    """Its walk ended: JSON with step, reason and why."""


class HostRequest(IntEnum):
    """gprs[0] of the host's answer to a host call; gprs[1] is the number of bytes in the mailbox."""

    NOTHING = 0
    ATTEST = 1
    """Produce evidence over the challenge text in the mailbox."""
    OPEN = 2
    """Open the encrypted resource in the mailbox."""
    POWER_OFF = 3
    SANDBOX = 4
    """CreateSandbox: init-data lie in the mailbox."""
    CONTAINER = 5
    """CreateContainer: the reference of the image lies in the mailbox."""
    BLOB = 6
    """What a `POD_PULL` asked for: total size (8 bytes, big endian), then bytes from the offset; empty: not there."""


HASHES: dict[str, int] = {"sha-256": HashAlgorithm.SHA_256, "sha-512": HashAlgorithm.SHA_512, "sha-384": SHA_384}
LATER_HASHES = frozenset({"sha-384"})
"""Hashes that only RMM 2.0 measures with."""

ALLOW, DISALLOW = "allow", "disallow"
"""Whether firmware may be activated live under a Realm (RMM 2.0)."""

SHARED, PRIVATE = "shared", "private"
"""Whether a Realm shares the memory encryption context of all Realms, or wants one of its own (RMM 2.0)."""


class RecPlan(Struct, frozen=True):
    """One vCPU; only a runnable one is measured."""

    mpidr: int
    runnable: bool
    pc: int
    gprs: tuple[int, ...]


class LoadPlan(Struct, frozen=True):
    """Everything a VMM decides before it makes the first RMI call. Addresses are IPAs; breakpoint counts minus one.

    `ripas` are the measured entries of RTT_INIT_RIPAS, each one block of the largest size that fits, ascending.
    `heap` are the guest's private working pages, `mailbox` the range it will share with the host. `policy_flags` are
    what RMM 2.0 takes as flags besides.
    """

    ipa_width: int
    rtt_level_start: int
    rtt_num_start: int
    hash_algo: int
    rpv: bytes
    ram_base: int
    ram_bytes: int
    ripas: tuple[tuple[int, int], ...]
    image: ImageSpec
    image_base: int
    tree: bytes
    tree_base: int
    heap: int
    mailbox: int
    mailbox_bytes: int
    recs: tuple[RecPlan, ...]
    flags: int = 0
    policy_flags: int = 0
    sve_vl: int = 0
    num_bps: int = BREAKPOINTS
    num_wps: int = WATCHPOINTS
    pmu_num_ctrs: int = 0

    @property
    def ram_top(self) -> int:
        """First IPA above RAM."""
        return self.ram_base + self.ram_bytes

    def loads(self) -> tuple[tuple[int, tuple[bytes, ...]], ...]:
        """(IPA, pages) of each measured piece, ascending: image, then device tree."""
        tree = self.tree + bytes(-len(self.tree) % PAGE_BYTES)
        split = tuple(tree[at : at + PAGE_BYTES] for at in range(0, len(tree), PAGE_BYTES))
        return ((self.image_base, images.pages(self.image)), (self.tree_base, split))


class RealmCreated(Struct, frozen=True, tag="realm-created"):
    """First event: the parameters that RMI_REALM_CREATE measures."""

    flags: int
    s2sz: int
    sve_vl: int
    num_bps: int
    num_wps: int
    pmu_num_ctrs: int
    hash_algo: int


class RipasInitialised(Struct, frozen=True, tag="ripas-initialised"):
    """One RTT entry of RMI_RTT_INIT_RIPAS."""

    base: int
    top: int


class DataLoaded(Struct, frozen=True, tag="data-loaded"):
    """One measured RMI_DATA_CREATE."""

    ipa: int
    content: bytes


class RecCreated(Struct, frozen=True, tag="rec-created"):
    """One RMI_REC_CREATE of a runnable vCPU."""

    pc: int
    gprs: tuple[int, ...]


MeasuredEvent: TypeAlias = RealmCreated | RipasInitialised | DataLoaded | RecCreated


def measured_events(plan: LoadPlan) -> Iterator[MeasuredEvent]:
    """What extends the RIM, in order (DEN0137 1.0-rel0, section A7.1): parameters, RAM, contents, boot vCPU."""
    yield RealmCreated(
        plan.flags, plan.ipa_width, plan.sve_vl, plan.num_bps, plan.num_wps, plan.pmu_num_ctrs, plan.hash_algo
    )
    for base, top in plan.ripas:
        yield RipasInitialised(base, top)
    for ipa, contents in plan.loads():
        for index, content in enumerate(contents):
            yield DataLoaded(ipa + index * PAGE_BYTES, content)
    for rec in plan.recs:
        if rec.runnable:
            yield RecCreated(rec.pc, rec.gprs)


@lru_cache(maxsize=256)
def plan(realm: RealmSpec) -> LoadPlan:
    """The plan of `realm`.

    Raises:
        ImpossibleRealm: its memory does not hold image, device tree and working pages, is no multiple of a granule,
            it has no vCPU, or its hash algorithm is unknown.
    """
    if realm.memory_bytes % PAGE_BYTES or realm.vcpus < 1 or realm.image.size_bytes < 1:
        raise ImpossibleRealm(f"{realm.realm}: memory must be whole pages, with at least one vCPU and some image")
    if realm.hash_algo not in HASHES:
        raise ImpossibleRealm(f"{realm.realm}: hash {realm.hash_algo!r} is none of {', '.join(HASHES)}")
    mpidrs = tuple(mpidr_of(index) for index in range(realm.vcpus))
    tree_base = _align(RAM_BASE + images.page_count(realm.image) * PAGE_BYTES, BLOCK_BYTES)
    heap = tree_base + BLOCK_BYTES
    mailbox = heap + BLOCK_BYTES // 2
    top = RAM_BASE + realm.memory_bytes
    if heap + BLOCK_BYTES > top:
        needed = heap + BLOCK_BYTES - RAM_BASE
        raise ImpossibleRealm(f"{realm.realm}: needs {needed} bytes of memory for its image, has {realm.memory_bytes}")
    width = max(MIN_IPA_WIDTH, (top - 1).bit_length() + 1)
    level, tables = start_level(width)
    boot = RecPlan(mpidrs[0], True, RAM_BASE, (tree_base, *(0,) * 7))
    return LoadPlan(
        ipa_width=width,
        rtt_level_start=level,
        rtt_num_start=tables,
        hash_algo=HASHES[realm.hash_algo],
        rpv=realm.rpv,
        ram_base=RAM_BASE,
        ram_bytes=realm.memory_bytes,
        ripas=ripas_blocks(RAM_BASE, top, level),
        image=realm.image,
        image_base=RAM_BASE,
        tree=device_tree(RAM_BASE, realm.memory_bytes, mpidrs, mailbox, MAILBOX_BYTES),
        tree_base=tree_base,
        heap=heap,
        mailbox=mailbox,
        mailbox_bytes=MAILBOX_BYTES,
        recs=(boot, *(RecPlan(mpidr, False, 0, (0,) * 8) for mpidr in mpidrs[1:])),
        policy_flags=_policy_flags(realm),
    )


def _policy_flags(realm: RealmSpec) -> int:
    """Flags 8:7, the memory encryption context, and 6:5, whether firmware may be activated under the Realm."""
    context = MEC_PRIVATE << MEC_POLICY_SHIFT if realm.mec == PRIVATE else 0
    return context | (LFA_ALLOW << LFA_POLICY_SHIFT if realm.lfa == ALLOW else 0)


def start_level(ipa_width: int) -> tuple[int, int]:
    """Starting level and number of concatenated root tables: as few levels as allowed, at most 16 root tables."""
    bits = ipa_width - 12
    levels = -(-bits // 9)
    if bits - 9 * (levels - 1) <= 4:
        levels -= 1
    return 4 - levels, 1 << max(bits - 9 * levels, 0)


@lru_cache(maxsize=256)
def ripas_blocks(base: int, top: int, level: int) -> tuple[tuple[int, int], ...]:
    """[base, top) as the blocks that RTT_INIT_RIPAS meets when tables exist only where they are needed.

    Each is the largest naturally aligned block, of a size that an entry at or below `level` covers.
    """
    sizes = [1 << (39 - 9 * at) for at in range(level, 4)]
    blocks = []
    while base < top:
        size = next(size for size in sizes if base % size == 0 and base + size <= top)
        blocks.append((base, base + size))
        base += size
    return tuple(blocks)


def mpidr_of(index: int) -> int:
    """MPIDR of vCPU `index`: Aff0 has four bits, Aff1 and Aff2 eight each (DEN0137 1.0-rel0, RmiRecMpidr)."""
    return index & 0xF | (index >> 4 & 0xFF) << 8 | (index >> 12 & 0xFF) << 16


def _align(value: int, to: int) -> int:
    return -(-value // to) * to
