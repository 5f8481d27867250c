"""What a machine's RMM offers under RMI 2.0: feature registers 1 to 4, devices, planes, contexts (DEN0137 2.0-bet0)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cca_machine.abi.rmi2 import MAX_AUX_PLANES, PlaneTables

MAX_CONTEXTS = 160
"""Stateful operations under way at once: 10 per CPU of 16 in TF-RMM."""

_GRANULE_4K, _SHA_256, _SHA_384, _SHA_512 = 1 << 0, 1 << 3, 1 << 4, 1 << 5
_S2AP_INDIRECT = 1 << 6


class LaterFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of feature registers 1 to 4; `yields` says whether map and unmap look for interrupts while they work."""

    sha_384: bool = True
    l0gptsz: int = 0
    pps: int = 5
    devices: bool = False
    max_vdevs_order: int = 0
    max_aux_planes: int = MAX_AUX_PLANES
    plane_tables: PlaneTables = PlaneTables.EITHER
    s2ap_indirect: bool = True
    mec_count: int = 0xFFFE
    contexts: int = MAX_CONTEXTS
    yields: bool = False
    sysreg_128: bool = False
    """FEAT_SYSREG128: registers of planes may be read and written with 128 bits."""
    pmu: bool = False
    """Whether register 0 shows a PMU; TF-RMM does not under 2.0."""

    def registers(self, register_0: int, max_recs_order: int) -> tuple[int, ...]:
        """RmiFeatureRegister0 to 4, given what register 0 has in common with 1.0."""
        first = register_0 & 0xFFFF_FFFF
        if not self.pmu:
            first &= (1 << 26) - 1
        hashes = _SHA_256 | _SHA_512 | (_SHA_384 if self.sha_384 else 0)
        second = _GRANULE_4K | hashes | max_recs_order << 6 | self.l0gptsz << 10 | self.pps << 14
        third = int(self.devices) | self.max_vdevs_order << 4
        fourth = self.max_aux_planes | self.plane_tables << 4 | (_S2AP_INDIRECT if self.s2ap_indirect else 0)
        return first, second, third, fourth, self.mec_count

    @classmethod
    def from_registers(cls, values: Sequence[int], *, yields: bool = False, sysreg_128: bool = False) -> LaterFeatures:
        """The machine that reports `values` as feature registers 0 to 4."""
        first, second, third, fourth, fifth = values
        return cls(
            sha_384=bool(second & _SHA_384),
            l0gptsz=second >> 10 & 0xF,
            pps=second >> 14 & 7,
            devices=bool(third & 1),
            max_vdevs_order=third >> 4 & 0xF,
            max_aux_planes=fourth & 0xF,
            plane_tables=PlaneTables(fourth >> 4 & 3),
            s2ap_indirect=bool(fourth & _S2AP_INDIRECT),
            mec_count=fifth,
            yields=yields,
            sysreg_128=sysreg_128,
            pmu=bool(first >> 26 & 1),
        )
