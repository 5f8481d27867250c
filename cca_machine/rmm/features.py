"""What a machine's RMM offers: feature register 0, auxiliary granules, VMID width and virtual GIC limits."""

from __future__ import annotations

import msgspec

from cca_machine.abi.rmi import MAX_REC_AUX_GRANULES, VERSION_1_0
from cca_machine.abi.rsi import VERSION_1_0 as RSI_VERSION_1_0
from cca_machine.rmm.features_2_0 import LaterFeatures

EDITION_1_0, EDITION_2_0 = "1.0", "2.0"

MIN_IPA_WIDTH = 32
"""Smallest IPA width a Host may ask for (TF-RMM runtime/rmi/realm.c; the text names no minimum)."""

MAX_IPA_WIDTH = 48
MAX_IPA_WIDTH_LPA2 = 52
LEVEL_0_START_PA_BITS = 44
"""A start at level 0 needs at least this physical address width (DDI0487, AArch64.S2InvalidSL)."""


class GicFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """The virtual GIC: list registers, unimplemented priority bits, largest vINTID, extended INTID ranges."""

    num_lrs: int = 16
    pri_res0_mask: int = 0x07
    max_vintid: int = 0xFFFF
    extended_ranges: bool = False
    ich_vtr: int = 0


class RmmFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of RmiFeatureRegister0 (DEN0137 1.0-rel0, section B4.4.5) and what else differs between machines.

    Breakpoint and watchpoint counts are minus one, as in the register; `sve_vl` is None without SVE.
    """

    s2sz: int = 48
    lpa2: bool = False
    sve_vl: int | None = None
    num_bps: int = 5
    num_wps: int = 3
    pmu_num_ctrs: int = 6
    max_recs_order: int = 10
    pa_width: int = 48
    vmid16: bool = True
    hpmn0: bool = False
    max_rec_aux: int = MAX_REC_AUX_GRANULES
    token_bound: int = 4096
    gic: GicFeatures = GicFeatures()
    rmi_versions: tuple[int, ...] = (VERSION_1_0,)
    rsi_versions: tuple[int, ...] = (RSI_VERSION_1_0,)
    edition: str = EDITION_1_0
    """The RMI that is spoken: it chooses the front end."""
    later: LaterFeatures = LaterFeatures()
    """What only RMI 2.0 reports."""

    @property
    def register_0(self) -> int:
        """RmiFeatureRegister0."""
        value = self.s2sz | int(self.lpa2) << 8 | self.num_bps << 14 | self.num_wps << 20
        if self.sve_vl is not None:
            value |= 1 << 9 | self.sve_vl << 10
        value |= 1 << 26 | self.pmu_num_ctrs << 27
        value |= 1 << 32 | 1 << 33
        return value | self.gic.num_lrs - 1 << 34 | self.max_recs_order << 38

    @classmethod
    def from_register_0(
        cls,
        value: int,
        *,
        gic: GicFeatures,
        vmid16: bool,
        hpmn0: bool,
        max_rec_aux: int,
        token_bound: int,
        pa_width: int | None = None,
    ) -> RmmFeatures:
        """The machine that reports `value`; its physical address width is S2SZ unless given, as TF-RMM reports it."""
        return cls(
            s2sz=value & 0xFF,
            lpa2=bool(value >> 8 & 1),
            sve_vl=value >> 10 & 0xF if value >> 9 & 1 else None,
            num_bps=value >> 14 & 0x3F,
            num_wps=value >> 20 & 0x3F,
            pmu_num_ctrs=value >> 27 & 0x1F,
            max_recs_order=value >> 38 & 0xF,
            pa_width=pa_width or value & 0xFF,
            vmid16=vmid16,
            hpmn0=hpmn0,
            max_rec_aux=max_rec_aux,
            token_bound=token_bound,
            gic=gic,
        )
