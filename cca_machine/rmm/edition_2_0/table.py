"""The commands of RMI 2.0: one row each, and the gate before all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cca_machine.abi.rmi2 import COMMANDS_2_0, DEVICE_COMMANDS, Rmi2
from cca_machine.abi.smc import MASK64, NOT_SUPPORTED, Registers
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0 import (
    devices,
    enter,
    granule,
    mapping,
    operations,
    realm,
    rec,
    ripas,
    system,
    tables,
    trees,
    unmapping,
)
from cca_machine.rmm.edition_2_0.answers import GLOBAL, Answer, Handler
from cca_machine.rmm.edition_2_0.bulk import BULK, Bulk
from cca_machine.rmm.features import RmmFeatures

ARGUMENT_REGISTERS = 7
"""x1..x7 reach every command; results that it does not write keep the caller's x4..x7."""


class Row(NamedTuple):
    """One command as the door calls it: with x1..x7 and the PE; `arguments` is how many of them it reads."""

    name: str
    handler: Callable[..., Registers]
    arguments: int


_HANDLERS: dict[Rmi2, Handler] = {
    Rmi2.VERSION: system.version,
    Rmi2.FEATURES: system.features,
    Rmi2.RMM_CONFIG_GET: system.config_get,
    Rmi2.RMM_CONFIG_SET: system.config_set,
    Rmi2.RMM_ACTIVATE: system.activate,
    Rmi2.GRANULE_TRACKING_GET: system.tracking_get,
    Rmi2.GPT_L1_CREATE: system.gpt_l1_create,
    Rmi2.GPT_L1_DESTROY: system.gpt_l1_destroy,
    Rmi2.GRANULE_RANGE_DELEGATE: granule.delegate,
    Rmi2.GRANULE_RANGE_UNDELEGATE: granule.undelegate,
    Rmi2.REALM_CREATE: realm.create,
    Rmi2.REALM_ACTIVATE: realm.activate,
    Rmi2.REALM_TERMINATE: realm.terminate,
    Rmi2.REALM_DESTROY: realm.destroy,
    Rmi2.REC_CREATE: rec.create,
    Rmi2.REC_DESTROY: rec.destroy,
    Rmi2.REC_ENTER: enter.enter,
    Rmi2.PSCI_COMPLETE: rec.psci_complete,
    Rmi2.RTT_CREATE: tables.create,
    Rmi2.RTT_DESTROY: tables.destroy,
    Rmi2.RTT_FOLD: tables.fold,
    Rmi2.RTT_READ_ENTRY: tables.read_entry,
    Rmi2.RTT_INIT_RIPAS: ripas.init_ripas,
    Rmi2.RTT_SET_RIPAS: ripas.set_ripas,
    Rmi2.RTT_SET_S2AP: ripas.set_s2ap,
    Rmi2.RTT_DATA_MAP_INIT: mapping.data_map_init,
    Rmi2.RTT_DATA_MAP: mapping.data_map,
    Rmi2.RTT_DATA_UNMAP: unmapping.data_unmap,
    Rmi2.RTT_UNPROT_MAP: mapping.unprot_map,
    Rmi2.RTT_UNPROT_UNMAP: unmapping.unprot_unmap,
    Rmi2.OP_CONTINUE: operations.carry_on,
    Rmi2.OP_MEM_DONATE: operations.donate,
    Rmi2.OP_MEM_RECLAIM: operations.reclaim,
    Rmi2.OP_CANCEL: operations.cancel,
    Rmi2.RTT_AUX_CREATE: trees.create,
    Rmi2.RTT_AUX_DESTROY: trees.destroy,
    Rmi2.RTT_AUX_FOLD: trees.fold,
    Rmi2.RTT_AUX_MAP_PROTECTED: trees.map_protected,
    Rmi2.RTT_AUX_MAP_UNPROTECTED: trees.map_unprotected,
    Rmi2.RTT_AUX_UNMAP_PROTECTED: trees.unmap_protected,
    Rmi2.RTT_AUX_UNMAP_UNPROTECTED: trees.unmap_unprotected,
}

BEFORE_AND_AFTER = frozenset((Rmi2.VERSION, Rmi2.FEATURES, Rmi2.RMM_CONFIG_GET, Rmi2.GRANULE_TRACKING_GET))
"""Served before RMM_ACTIVATE and after; of the others, these two are served only before, the rest only after."""

BEFORE_ONLY = frozenset((Rmi2.RMM_CONFIG_SET, Rmi2.RMM_ACTIVATE))


def rows(features: RmmFeatures) -> dict[int, Row]:
    """Rows by function id, for a machine with or without device assignment."""
    table = {fid: (handler, len(COMMANDS_2_0[fid].arguments)) for fid, handler in _HANDLERS.items()}
    for fid in DEVICE_COMMANDS:
        table[fid] = devices.HANDLERS.get(fid, (devices.no_object, 1))
        if not features.later.devices and fid not in devices.WITHOUT_SUPPORT:
            table[fid] = (devices.unknown, 0)
    return {int(fid): Row(fid.name, _door(fid, handler, count), count) for fid, (handler, count) in table.items()}


def echoed(result: Answer, x1_to_x7: tuple[int, ...]) -> Registers:
    """x0..x7: what the command wrote, zeros up to x3, and the caller's own registers above (SMCCC, section 2.6)."""
    given = max(len(result), 4)
    return (*result, *(0,) * (given - len(result)), *x1_to_x7[given - 1 :])


def bulk() -> dict[int, Callable[..., tuple[int, Registers]]]:
    """Handlers of runs of commands by function id, behind the same gate and with the same registers as the rows."""
    return {fid: _bulk_door(handler) for fid, handler in BULK.items()}


def _bulk_door(handler: Bulk) -> Callable[..., tuple[int, Registers]]:
    def serve(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
        done, result = handler(core, args, stride, count) if core.state.active else (0, GLOBAL)
        last = [value + (done - 1) * step & MASK64 for value, step in zip(args, stride, strict=False)]
        return done, echoed(result, tuple(last[:ARGUMENT_REGISTERS]))

    return serve


def _door(fid: Rmi2, handler: Handler, count: int) -> Callable[..., Registers]:
    """The handler behind the gate of the RMM's life cycle."""
    always, before = fid in BEFORE_AND_AFTER, fid in BEFORE_ONLY

    def serve(core: Core, *registers: int) -> Registers:
        *x1_to_x7, core.pe = registers
        if fid is Rmi2.GPT_L1_DESTROY and core.quirks.l1_destroy_unknown:
            return echoed((NOT_SUPPORTED,), tuple(x1_to_x7))
        served = always or core.state.active is not before
        result = handler(core, *x1_to_x7[:count]) if served else GLOBAL
        return echoed(result, tuple(x1_to_x7))

    return serve
