"""PSCI as a Realm calls it, and as the Host completes it (DEN0137 1.0-rel0, part B6; TF-RMM runtime/rsi/psci.c)."""

from __future__ import annotations

from cca_machine.abi.guest import SystemRegister
from cca_machine.abi.psci import VERSION_1_1, Affinity, Psci, PsciStatus
from cca_machine.abi.rmi import NUM_GPRS, ExitReason
from cca_machine.abi.smc import SMCCC_VERSION, function_id, unsigned
from cca_machine.rmm.inject import SCTLR_EE
from cca_machine.rmm.outcome import FORWARDED, Outcome, back, notify
from cca_machine.rmm.quirks import QuirkSet
from cca_machine.rmm.state import PSTATE_EL1H_MASKED, RealmState, Rec
from cca_machine.rmm.view import RunningRec

FEATURES_LISTED = frozenset(map(int, Psci)) | {SMCCC_VERSION}


def rec_index(mpidr: int) -> int:
    """REC index of an MPIDR in RmiRecMpidr form: aff0 in 3:0, aff1 in 15:8, aff2 in 23:16, aff3 in 31:24."""
    return mpidr & 0xF | (mpidr >> 8 & 0xFF) << 4 | (mpidr >> 16 & 0xFF) << 12 | (mpidr >> 24 & 0xFF) << 20


def target_index(affinity: int, quirks: QuirkSet) -> int:
    """REC index that a PSCI target names: MPIDR_EL1 form, aff3 in 39:32 (D10)."""
    if quirks.psci_aff3_low:
        return rec_index(affinity)
    return rec_index(affinity & 0xFF_FFFF | (affinity >> 32 & 0xFF) << 24)


def version(running: RunningRec) -> Outcome:
    """PSCI_VERSION."""
    return back(VERSION_1_1)


def features(running: RunningRec) -> Outcome:
    """PSCI_FEATURES: SUCCESS for what the RMM serves."""
    asked = running.state.gprs[1] & 0xFFFF_FFFF
    listed = asked in FEATURES_LISTED
    if asked == Psci.VERSION and running.core.quirks.psci_version_unlisted:
        listed = False
    return back(unsigned(PsciStatus.SUCCESS if listed else PsciStatus.NOT_SUPPORTED))


def cpu_suspend(running: RunningRec) -> Outcome:
    """PSCI_CPU_SUSPEND: a hint to the Host; all parameters are ignored."""
    _show(running, 1)
    return notify(PsciStatus.SUCCESS)


def cpu_off(running: RunningRec) -> Outcome:
    """PSCI_CPU_OFF: the REC is not enterable until another REC's CPU_ON."""
    running.state.runnable = False
    _show(running, 1)
    return notify(PsciStatus.SUCCESS)


def cpu_on(running: RunningRec) -> Outcome:
    """PSCI_CPU_ON: checked here, completed by the Host, which alone knows the target REC."""
    affinity, entry = running.state.gprs[1:3]
    if entry >= running.realm.half:
        return back(unsigned(PsciStatus.INVALID_ADDRESS))
    target = target_index(affinity, running.core.quirks)
    if target >= running.realm.rec_index:
        return back(unsigned(PsciStatus.INVALID_PARAMETERS))
    if target == running.state.index:
        return back(unsigned(PsciStatus.ALREADY_ON))
    return _forward(running)


def affinity_info(running: RunningRec) -> Outcome:
    """PSCI_AFFINITY_INFO: whether another REC runs; completed by the Host."""
    affinity, level = running.state.gprs[1:3]
    target = target_index(affinity, running.core.quirks)
    if level or target >= running.realm.rec_index:
        return back(unsigned(PsciStatus.INVALID_PARAMETERS))
    if target == running.state.index:
        return back(Affinity.ON)
    return _forward(running)


def system_off(running: RunningRec) -> Outcome:
    """PSCI_SYSTEM_OFF and PSCI_SYSTEM_RESET: no REC of the Realm can be entered any more."""
    running.realm.state = RealmState.SYSTEM_OFF
    _show(running, 1)
    return FORWARDED


def complete(calling: Rec, target: Rec, status: int, quirks: QuirkSet) -> bool:
    """Finish the pending request of `calling` with the Host's `status`; False when the Host may not answer that.

    The caller has checked that `target` is the REC that the request names. A refusal changes nothing, except with
    quirk D6.
    """
    on = target.runnable or target.running
    answer: int
    if function_id(calling.gprs[0]) in (Psci.AFFINITY_INFO, Psci.AFFINITY_INFO_32):
        if status != PsciStatus.SUCCESS:
            return False
        answer = Affinity.ON if on else Affinity.OFF
    elif status == PsciStatus.SUCCESS:
        answer = PsciStatus.ALREADY_ON if on else PsciStatus.SUCCESS
        if not on:
            _start(calling, target, quirks)
    elif status != PsciStatus.DENIED or (on and not quirks.denied_completes):
        return False
    else:
        answer = PsciStatus.ALREADY_ON if on else PsciStatus.DENIED
    calling.gprs[:4] = (unsigned(answer), 0, 0, 0)
    calling.psci_pending = False
    return not (on and status == PsciStatus.DENIED)


def _start(calling: Rec, target: Rec, quirks: QuirkSet) -> None:
    if not quirks.cpu_on_keeps_registers:
        target.gprs[:] = (0,) * NUM_GPRS
    target.gprs[0] = calling.gprs[3]
    target.pc = calling.gprs[2]
    target.pstate = PSTATE_EL1H_MASKED
    target.system[SystemRegister.SCTLR_EL1] = calling.system.get(SystemRegister.SCTLR_EL1, 0) & SCTLR_EE
    target.runnable = True


def _forward(running: RunningRec) -> Outcome:
    running.state.psci_pending = True
    _show(running, 2)
    return FORWARDED


def _show(running: RunningRec, registers: int) -> None:
    running.exit.exit_reason = ExitReason.PSCI
    running.exit.gprs = (*running.state.gprs[:registers], *(0,) * (NUM_GPRS - registers))
