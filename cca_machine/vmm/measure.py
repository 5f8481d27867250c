"""A VMM's layout, carried out on the model's own RMM: the RIM after every step.

The RMM runs on its own (no EL3 secrets, no guest) on a machine that offers all that RMM 1.0 knows, so that only the
architecture refuses. Order: create, RAM by INIT_RIPAS, measured pieces by rising address, the boot vCPU, unmeasured
ranges (veraison/cca-realm-measurements docs/realm-vm.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from cca_machine.abi.rmi import (
    DATA_FLAG_MEASURE,
    MAX_REC_AUX_GRANULES,
    PAGE_BYTES,
    REC_FLAG_RUNNABLE,
    RealmParams,
    RecParams,
    Rmi,
    RmiStatus,
    index_of,
    status_of,
)
from cca_machine.abi.smc import Registers
from cca_machine.hardware.gpt import World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import GicFeatures, RmmFeatures
from cca_machine.rmm.measurement import RIM, digest_size
from cca_machine.rmm.replay_ports import FixedLengthTokens, ReplayEl3, ScriptedGuest
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.rtt import PAGE_LEVEL, size
from cca_machine.rmm.state import RmmState
from cca_machine.rmm.why import why
from cca_machine.vmm.layout import Piece, VmmLayout

DRAM_BASE = 1 << 40
SPARE_GRANULES = 1 << 16
"""Room for RD, REC, tables and Host pages beside the Realm's own pages."""

FEATURES = RmmFeatures(
    s2sz=52, lpa2=True, sve_vl=15, num_bps=63, num_wps=63, pmu_num_ctrs=31, pa_width=52, hpmn0=True, gic=GicFeatures()
)


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a Realm's construction and the RIM after it, trimmed to the digest.

    `op` is realm_create, init_ripas (`base`, `top`, `calls`: one per table entry), data_create (`base`, `last`,
    `content`), rec_create (`flags`, `pc`, `x0`) or data_create_unmeasured (`base`, `last`).
    """

    op: str
    rim: bytes
    base: int | None = None
    top: int | None = None
    last: int | None = None
    calls: int | None = None
    content: str | None = None
    flags: int | None = None
    pc: int | None = None
    x0: int | None = None


class CannotExist(Exception):
    """No RMM would build this Realm; the message names the call and the failing condition."""


def measure(layout: VmmLayout) -> Iterator[Step]:
    """Build the Realm of `layout` step by step.

    Raises:
        CannotExist: the RMM refuses a step.
        VmmMistake: a limit that the Realm needs is not known.
    """
    builder = _Builder(layout)
    builder.create()
    yield builder.step("realm_create")
    base, top = layout.ram_base, layout.ram_base + layout.ram_bytes
    yield builder.step("init_ripas", base=base, top=top, calls=builder.init_ripas(base, top))
    for piece in layout.pieces:
        last = builder.load(piece)
        yield builder.step("data_create", base=piece.first_page, last=last, content=piece.what)
    builder.rec(layout.pc, layout.x0)
    yield builder.step("rec_create", flags=REC_FLAG_RUNNABLE, pc=layout.pc, x0=layout.x0)
    for base, count in layout.unmeasured:
        last = builder.reserve(base, count)
        yield builder.step("data_create_unmeasured", base=base, last=last)


class _Builder:
    """A Host that only builds."""

    def __init__(self, layout: VmmLayout) -> None:
        pages = sum(len(piece.content) for piece in layout.pieces) + sum(count for _, count in layout.unmeasured)
        bank = Bank(DRAM_BASE, (2 * pages // PAGE_BYTES + SPARE_GRANULES) * PAGE_BYTES)
        self._layout = layout
        self._hardware = HardwareState.build((bank,))
        self._rmm = Rmm(
            RmmState.boot((bank,)), self._hardware, ReplayEl3(self._hardware), ScriptedGuest(self._hardware), FEATURES,
            tokens=FixedLengthTokens((0, 0)),
        )  # fmt: skip
        self._next = bank.base
        self._rd = 0

    def step(self, op: str, **fields: int | str) -> Step:
        """A finished step with the RIM as it is now."""
        realm = self._rmm.state.realms[self._rd]
        rim = realm.measurements[RIM][: digest_size(realm.hash_algo)]
        return Step(op=op, rim=rim, **fields)  # type: ignore[arg-type]  # names and types are the callers'

    def create(self) -> None:
        """REALM_CREATE with the starting level of fewest levels, tables concatenated."""
        fields = self._layout.measured_fields()
        start, roots = starting_level(fields["s2sz"])
        base = self._delegated(roots, roots)
        params = RealmParams(**fields, rpv=self._layout.rpv, rtt_base=base, rtt_level_start=start, rtt_num_start=roots)
        self._rd = self._delegated()
        self._do(Rmi.REALM_CREATE, self._rd, self._host_page(params.encode()))

    def init_ripas(self, base: int, top: int) -> int:
        """RTT_INIT_RIPAS over a range; how many table entries it took."""
        entries = 0
        while base < top:
            x = self._call(Rmi.RTT_INIT_RIPAS, self._rd, base, top)
            if _needs_table(x):
                self._table(base, index_of(x[0]) + 1)
                continue
            self._check(Rmi.RTT_INIT_RIPAS, (self._rd, base, top), x)
            walk = self._do(Rmi.RTT_READ_ENTRY, self._rd, base, PAGE_LEVEL)
            entries += (x[1] - base) // size(walk[1])
            base = x[1]
        return entries

    def load(self, piece: Piece) -> int:
        """DATA_CREATE, measured, for each page; the last byte's address."""
        ipa = piece.first_page
        for page in piece.pages():
            self._data(ipa, self._host_page(page), DATA_FLAG_MEASURE)
            ipa += PAGE_BYTES
        return ipa - 1

    def reserve(self, base: int, count: int) -> int:
        """DATA_CREATE, unmeasured, for each page; the last byte's address."""
        empty = self._host_page(b"")
        for ipa in range(base, base + count, PAGE_BYTES):
            self._data(ipa, empty, 0)
        return base + count - 1

    def rec(self, pc: int, x0: int) -> None:
        """REC_CREATE of the boot vCPU, the only one that is measured."""
        aux = self._delegated(MAX_REC_AUX_GRANULES)
        params = RecParams(
            flags=REC_FLAG_RUNNABLE, pc=pc, gprs=(x0, *(0,) * 7), num_aux=MAX_REC_AUX_GRANULES,
            aux=tuple(aux + at * PAGE_BYTES for at in range(MAX_REC_AUX_GRANULES)),
        )  # fmt: skip
        self._do(Rmi.REC_CREATE, self._rd, self._delegated(), self._host_page(params.encode()))

    def _data(self, ipa: int, src: int, flags: int) -> None:
        args = (self._rd, self._delegated(), ipa, src, flags)
        while _needs_table(x := self._call(Rmi.DATA_CREATE, *args)):
            self._table(ipa, index_of(x[0]) + 1)
        self._check(Rmi.DATA_CREATE, args, x)

    def _table(self, ipa: int, level: int) -> None:
        self._do(Rmi.RTT_CREATE, self._rd, self._delegated(), ipa & -size(level - 1), level)

    def _host_page(self, content: bytes) -> int:
        pa = self._granules(1)
        self._hardware.memory.write(World.NS, pa, content)
        return pa

    def _delegated(self, count: int = 1, align: int = 1) -> int:
        base = self._granules(count, align)
        self._rmm.smc_run(Rmi.GRANULE_DELEGATE, (base,), (PAGE_BYTES,), count)
        return base

    def _granules(self, count: int, align: int = 1) -> int:
        base = -(-self._next // (align * PAGE_BYTES)) * align * PAGE_BYTES
        self._next = base + count * PAGE_BYTES
        return base

    def _call(self, fid: Rmi, *args: int) -> Registers:
        return self._rmm.smc(fid, args)

    def _do(self, fid: Rmi, *args: int) -> Registers:
        x = self._call(fid, *args)
        self._check(fid, args, x)
        return x

    def _check(self, fid: Rmi, args: tuple[int, ...], x: Registers) -> None:
        reason = why(self._rmm.core, fid, args, x)
        if reason is not None:
            raise CannotExist(f"{fid.name}({', '.join(map(hex, args))}): {reason.condition}: {reason.says}")


def _needs_table(x: Registers) -> bool:
    return status_of(x[0]) is RmiStatus.ERROR_RTT and index_of(x[0]) < PAGE_LEVEL


def starting_level(ipa_bits: int) -> tuple[int, int]:
    """(starting level, root tables) of a Host that concatenates as much as it may: up to 16 tables, as KVM does."""
    bits = ipa_bits - 12
    levels = -(-bits // 9)
    if bits - 9 * (levels - 1) <= 4:
        levels -= 1
    return 4 - levels, 1 << max(bits - 9 * levels, 0)
