"""Services for Realms: one row per RSI and PSCI function id (DEN0137 1.0-rel0, parts B5 and B6)."""

from __future__ import annotations

from cca_machine.abi.psci import Psci, PsciStatus, is_psci
from cca_machine.abi.rsi import Rsi
from cca_machine.abi.rsi import status_name as rsi_status_name
from cca_machine.abi.smc import NOT_SUPPORTED, SMCCC_VERSION, SMCCC_VERSION_1_2, SVE_HINT, function_id, signed
from cca_machine.rmm import psci, rsi, token
from cca_machine.rmm.outcome import Outcome, Service, back
from cca_machine.rmm.view import RunningRec


def _smccc_version(running: RunningRec) -> Outcome:
    return back(SMCCC_VERSION_1_2)


_RSI: dict[Rsi, Service] = {
    Rsi.VERSION: rsi.version,
    Rsi.FEATURES: rsi.features,
    Rsi.MEASUREMENT_READ: rsi.measurement_read,
    Rsi.MEASUREMENT_EXTEND: rsi.measurement_extend,
    Rsi.ATTESTATION_TOKEN_INIT: token.init,
    Rsi.ATTESTATION_TOKEN_CONTINUE: token.carry_on,
    Rsi.REALM_CONFIG: rsi.realm_config,
    Rsi.IPA_STATE_SET: rsi.ipa_state_set,
    Rsi.IPA_STATE_GET: rsi.ipa_state_get,
    Rsi.HOST_CALL: rsi.host_call,
}

_PSCI: dict[Psci, Service] = {
    Psci.VERSION: psci.version,
    Psci.CPU_SUSPEND: psci.cpu_suspend,
    Psci.CPU_SUSPEND_32: psci.cpu_suspend,
    Psci.CPU_OFF: psci.cpu_off,
    Psci.CPU_ON: psci.cpu_on,
    Psci.CPU_ON_32: psci.cpu_on,
    Psci.AFFINITY_INFO: psci.affinity_info,
    Psci.AFFINITY_INFO_32: psci.affinity_info,
    Psci.SYSTEM_OFF: psci.system_off,
    Psci.SYSTEM_RESET: psci.system_off,
    Psci.FEATURES: psci.features,
}

SERVICES: dict[int, tuple[str, Service]] = {
    SMCCC_VERSION: ("SMCCC_VERSION", _smccc_version),
    **{int(fid): (f"RSI_{fid.name}", serve) for fid, serve in _RSI.items()},
    **{int(fid): (f"PSCI_{fid.name.removesuffix('_32')}", serve) for fid, serve in _PSCI.items()},
}
"""Name for counters and handler, by function id without the SVE hint."""

_PSCI_STATUSES = {int(status): status.name for status in PsciStatus}


def call(running: RunningRec) -> Outcome:
    """Serve the SMC whose arguments stand in the Realm's registers; an unknown function id answers -1."""
    raw = running.state.gprs[0]
    fid = function_id(raw)
    row = running.core.services.get(fid) or SERVICES.get(fid)
    if row is None or (is_psci(fid) and raw & SVE_HINT and running.core.quirks.hint_reaches_psci):
        running.core.tally.service("UNKNOWN", "NOT_SUPPORTED")
        return back(NOT_SUPPORTED)
    name, serve = row
    outcome = serve(running)
    running.core.tally.service(name, _status_name(name, outcome))
    return outcome


def _status_name(name: str, outcome: Outcome) -> str:
    if outcome.abort_level is not None:
        return "ABORT"
    if not outcome.registers:
        return "FORWARDED"
    if name.startswith("RSI_"):
        return rsi_status_name(outcome.registers[0])
    return _PSCI_STATUSES.get(signed(outcome.registers[0]), "SUCCESS")
