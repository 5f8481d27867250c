"""The editions of the specifications and firmware that this model answers for."""

from __future__ import annotations

from typing import NamedTuple


class Edition(NamedTuple):
    """A document or source tree, and the revision that was modelled."""

    name: str
    revision: str
    defines: str


RMM_1_0 = Edition("DEN0137 Realm Management Monitor", "1.0-rel0", "RMI 1.0 and RSI 1.0")
PSCI = Edition("DEN0022 Power State Coordination Interface", "1.1", "PSCI as served to Realms")
SMCCC = Edition("DEN0028 SMC Calling Convention", "1.2", "function ids and registers")
TF_RMM_1_X = Edition("TF-RMM/tf-rmm tag rmm-spec-v1.x-aligned", "2f49356c", "quirk set tf-rmm for RMI 1.0")
RMM_EL3 = Edition("ARM-software/arm-trusted-firmware rmm-el3-comms-spec", "2026-08", "services of EL3 to the RMM")
LFA = Edition("DEN0147 Live Firmware Activation, through TF-A services/std_svc/lfa", "1.0", "live activation")

EDITIONS = (RMM_1_0, PSCI, SMCCC, TF_RMM_1_X, RMM_EL3, LFA)
