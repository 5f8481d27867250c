"""What becomes of an exception that leaves a Realm: handled and back, or an exit to the Host (DEN0137 1.0-rel0, A4.3).

Each handler returns whether the Realm carries on. Order and masks follow TF-RMM runtime/core/exit.c where the text
leaves them open.
"""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.guest import ExceptionKind, SystemRegister
from cca_machine.abi.rmi import NUM_GPRS, ExitReason
from cca_machine.abi.rsi import Rsi
from cca_machine.abi.rsi2 import PlaneExitReason
from cca_machine.abi.smc import function_id
from cca_machine.rmm import inject, plane, syndrome
from cca_machine.rmm.core import RmmPanicked
from cca_machine.rmm.features import EDITION_1_0, EDITION_2_0
from cca_machine.rmm.realm_memory import Reach, translate
from cca_machine.rmm.services import call
from cca_machine.rmm.state import LastExit
from cca_machine.rmm.syndrome import ExceptionClass
from cca_machine.rmm.view import RunningRec

_SYSREG_MASK = 0x3F_FC1E
"""Op0, Op2, Op1, CRn, CRm of a trapped access: ISS without Rt and direction."""


def _sysreg(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    return op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1


FORWARDED_SYSREGS = frozenset(
    (
        _sysreg(3, 0, 12, 11, 1),  # ICC_DIR_EL1
        _sysreg(3, 0, 12, 11, 5),  # ICC_SGI1R_EL1
        _sysreg(3, 0, 12, 11, 6),  # ICC_ASGI1R_EL1
        _sysreg(3, 0, 12, 11, 7),  # ICC_SGI0R_EL1
    )
)
"""Virtual interrupt registers whose accesses the Host completes; the RMM emulates all others."""


_GIC_MASK, _GIC = _sysreg(3, 3, 15, 8, 0), _sysreg(3, 0, 12, 8, 0)
_GIC_PRIORITY_MASK = _sysreg(3, 0, 4, 6, 0)
"""RMI 2.0: every access to the CPU interface of the GIC is the Host's, who owns the virtual one."""

_UNDEFINED = (
    (_sysreg(2, 7, 14, 0, 0), _sysreg(2, 1, 8, 0, 0)),  # BRBE
    (_sysreg(3, 7, 15, 14, 0), _sysreg(3, 0, 10, 4, 0)),  # MPAM
    (_SYSREG_MASK, _sysreg(3, 0, 10, 2, 5)),  # S2POR_EL1
)
"""RMI 2.0: (mask, value) of registers that do not exist for a Realm."""


def _is_gic(esr: int) -> bool:
    return esr & _GIC_MASK == _GIC or esr & _SYSREG_MASK == _GIC_PRIORITY_MASK


def _is_undefined(esr: int) -> bool:
    return any(esr & mask == value for mask, value in _UNDEFINED)


def leave(running: RunningRec, kind: ExceptionKind, esr: int, far: int, hpfar: int) -> bool:
    """Handle one exception of a running REC; True when the Realm carries on."""
    if kind is ExceptionKind.SYNC:
        return _synchronous(running, esr, far, hpfar)
    if kind is ExceptionKind.SERROR:
        return _serror(running, esr)
    running.exit.exit_reason = ExitReason.IRQ if kind is ExceptionKind.IRQ else ExitReason.FIQ
    return False


def emulated_stage2_abort(running: RunningRec, level: int, ipa: int) -> None:
    """Make the exit look as if the Realm had touched `ipa`, so that the Host brings the page in."""
    running.exit.exit_reason = ExitReason.SYNC
    status = syndrome.FSC_TRANSLATION_L0 + level
    running.exit.esr = ExceptionClass.DATA_ABORT << syndrome.EC_SHIFT | status
    running.exit.hpfar = ipa >> 8


def _synchronous(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    running.exit.exit_reason = ExitReason.SYNC
    handler = _CLASSES.get(syndrome.exception_class(esr))
    if handler is not None and handler(running, esr, far, hpfar):
        return True
    if running.state.last_exit.esr == 0:
        visible = esr if running.exit.esr & syndrome.ISV else esr & ~syndrome.ISV
        if running.core.quirks.mmio_any_isv:
            visible = esr
        running.state.last_exit = LastExit(visible, far, hpfar)
    return False


def _to_p0(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    """Stop the active plane with this exception; False when the Host must bring in P0's run page first."""
    level = plane.stop(running, PlaneExitReason.SYNC, LastExit(esr, far, hpfar))
    if level is not None:
        emulated_stage2_abort(running, level, plane.run_page_of(running.state))
    return level is None


def _wfx(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    if running.state.active_plane:
        waits = running.state.trap_wfe if esr & 1 else running.state.trap_wfi
        if waits or running.core.quirks.plane_wait_to_p0:
            running.state.pc += 4
            if _to_p0(running, esr, far, hpfar):
                return True
            running.state.pc -= 4
            return False
    trap = syndrome.WFX_TI
    if running.core.quirks.bare_wfx:
        trap = syndrome.WFX_TI_BIT_0
    elif esr & syndrome.WFX_RV and esr & 2:
        register = esr >> 5 & 0x1F
        timeout = 0 if register == syndrome.XZR else running.state.gprs[register]
        running.exit.gprs = (timeout, *(0,) * (NUM_GPRS - 1))
    running.exit.esr = esr & (syndrome.EC_MASK | trap)
    running.state.pc += 4
    return False


def _hvc(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    if running.state.active_plane:
        if _to_p0(running, esr, far, hpfar):
            return True
        running.state.pc -= 4
        return False
    inject.undefined(running.state)
    return True


def _smc(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    return service_call(running)


def service_call(running: RunningRec) -> bool:
    """The Realm executed SMC with its arguments in x0..; True when it carries on."""
    rec = running.state
    if rec.active_plane and (function_id(rec.gprs[0]) != Rsi.HOST_CALL or rec.trap_host_call):
        # Only P0 reaches the services of the RMM; what another plane asks for is P0's to answer.
        return _to_p0(running, ExceptionClass.SMC << syndrome.EC_SHIFT | syndrome.IL, 0, 0)
    outcome = call(running)
    if outcome.abort_level is not None:
        emulated_stage2_abort(running, outcome.abort_level, running.state.gprs[outcome.buffer])
        return False
    if outcome.moved:
        return True
    running.state.pc += 4
    if outcome.registers:
        running.state.gprs[: len(outcome.registers)] = outcome.registers
    return not outcome.leaves


def _system_register(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    rec = running.state
    register = esr >> 5 & 0x1F
    reads = bool(esr & 1)
    if running.core.features.edition == EDITION_2_0 and _is_undefined(esr):
        inject.undefined(rec)
        return True
    rec.pc += 4
    if running.core.features.edition == EDITION_2_0 and _is_gic(esr):
        running.exit.esr = esr & ~(0x1F << 5)
        if not reads:
            value = 0 if register == syndrome.XZR else rec.gprs[register]
            running.exit.gprs = (value, *(0,) * (NUM_GPRS - 1))
        return False
    if esr & _SYSREG_MASK in FORWARDED_SYSREGS:
        running.exit.esr = esr & (syndrome.EC_MASK | _SYSREG_MASK | 1)
        if not reads:
            value = 0 if register == syndrome.XZR else rec.gprs[register]
            running.exit.gprs = (value, *(0,) * (NUM_GPRS - 1))
        return False
    if reads and register != syndrome.XZR:
        rec.gprs[register] = 0
    return True


def _data_abort(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    if syndrome.is_external(esr):
        return _external_abort(running, esr, far)
    ipa = syndrome.faulting_ipa(hpfar)
    reach = translate(running.core, running.realm, ipa).reach
    if running.state.active_plane and (syndrome.is_permission_fault(esr) or reach is Reach.EMPTY):
        return _to_p0(running, esr, far, hpfar)
    if reach in (Reach.EMPTY, Reach.BEYOND):
        inject.synchronous_external_abort(running.state, esr, far)
        return True
    running.exit.hpfar = hpfar
    if ipa < running.realm.half:
        running.exit.esr = esr & syndrome.VISIBLE_NOT_EMULATED
    elif not esr & syndrome.ISV and not running.core.quirks.no_isv_still_emulatable:
        hidden = running.core.quirks.bare_wfx and running.core.features.edition == EDITION_1_0
        il = 0 if hidden else syndrome.IL
        running.exit.esr = esr & (syndrome.VISIBLE_NOT_EMULATED | il)
    else:
        _emulatable_abort(running, esr, far)
    plane.show_tree(running)
    return False


def _emulatable_abort(running: RunningRec, esr: int, far: int) -> None:
    running.exit.esr = esr & syndrome.VISIBLE_EMULATED
    running.exit.far = far & 0xFFF
    register = syndrome.transfer_register(esr)
    if esr & syndrome.WNR and register != syndrome.XZR:
        mask = (1 << 8 * syndrome.access_bytes(esr)) - 1
        running.exit.gprs = (running.state.gprs[register] & mask, *(0,) * (NUM_GPRS - 1))


def _instruction_abort(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    if syndrome.is_external(esr):
        return _external_abort(running, esr, far)
    ipa = syndrome.faulting_ipa(hpfar)
    empty = translate(running.core, running.realm, ipa).reach is Reach.EMPTY
    if syndrome.is_permission_fault(esr) or empty or ipa >= running.realm.half:
        if running.state.active_plane:
            return _to_p0(running, esr, far, hpfar)
        inject.synchronous_external_abort(running.state, esr, far)
        return True
    hidden = 0 if running.core.quirks.instruction_abort_shows_fnv else syndrome.FNV
    running.exit.esr = esr & syndrome.VISIBLE_NOT_EMULATED & ~hidden
    running.exit.hpfar = hpfar
    plane.show_tree(running)
    return False


def _external_abort(running: RunningRec, esr: int, far: int) -> bool:
    severity = esr >> syndrome.SET_SHIFT & 3
    if severity not in (syndrome.SET_RECOVERABLE, syndrome.SET_RESTARTABLE):
        raise RmmPanicked("uncontainable external abort in a Realm")
    if severity == syndrome.SET_RECOVERABLE:
        inject.synchronous_external_abort(running.state, esr, far)
    running.exit.esr = esr & syndrome.VISIBLE_NOT_EMULATED
    running.state.last_exit = LastExit(esr & ~syndrome.ISV, far, 0)
    return False


def _vector_unit(running: RunningRec, esr: int, far: int, hpfar: int) -> bool:
    # Floating point state is switched on first use; SVE exists only where the Realm asked for it, SME never.
    unit = syndrome.exception_class(esr)
    if running.state.active_plane and running.state.trap_simd:
        return _to_p0(running, esr, far, hpfar)
    if unit == ExceptionClass.SME or (unit == ExceptionClass.SVE and not running.realm.flags & 2):
        inject.undefined(running.state)
    return True


def _serror(running: RunningRec, esr: int) -> bool:
    severity = esr >> syndrome.AET_SHIFT & 7
    if severity == syndrome.AET_UNCONTAINABLE:
        raise RmmPanicked("uncontainable SError in a Realm")
    if severity in (syndrome.AET_UNRECOVERABLE, syndrome.AET_RECOVERABLE):
        running.state.system[SystemRegister.VSESR_EL2] = esr & 0x1FF_FFFF
    running.exit.exit_reason = ExitReason.SERROR
    running.exit.esr = esr & syndrome.VISIBLE_SERROR
    return False


_CLASSES: dict[int, Callable[[RunningRec, int, int, int], bool]] = {
    ExceptionClass.WFX: _wfx,
    ExceptionClass.HVC: _hvc,
    ExceptionClass.SMC: _smc,
    ExceptionClass.SYSTEM_REGISTER: _system_register,
    ExceptionClass.DATA_ABORT: _data_abort,
    ExceptionClass.INSTRUCTION_ABORT: _instruction_abort,
    ExceptionClass.FP: _vector_unit,
    ExceptionClass.SVE: _vector_unit,
    ExceptionClass.SME: _vector_unit,
}
"""Classes that the RMM knows; any other is an exit with a zero syndrome."""
