"""The commands of RMI 1.0: one row each."""

from __future__ import annotations

from typing import NamedTuple

from cca_machine.abi.rmi import COMMANDS, Rmi, RmiStatus
from cca_machine.abi.smc import Registers, fast64
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0 import data, enter, granule, realm, rec, ripas, rtts
from cca_machine.rmm.edition_1_0.answers import INPUT, REC, Handler, answer
from cca_machine.rmm.quirks import QuirkSet
from cca_machine.rmm.versions import negotiate


class Row(NamedTuple):
    """One command: its name, handler, and how many argument registers it reads and result registers it writes."""

    name: str
    handler: Handler
    arguments: int
    results: int


def version(core: Core, req: int) -> Registers:
    """RMI_VERSION: whether a revision is supported, and the nearest ones that are."""
    accepted, lower, higher = negotiate(req, core.features.rmi_versions, core.quirks.version_reports_highest)
    return answer(RmiStatus.SUCCESS if accepted else RmiStatus.ERROR_INPUT, lower, higher)


def features(core: Core, index: int) -> Registers:
    """RMI_FEATURES: register 0; all others are zero."""
    return answer(RmiStatus.SUCCESS, core.features.register_0 if index == 0 else 0)


def validate_mapping(core: Core, rd: int, rec_pa: int, pdev: int, vdev: int, base: int, top: int) -> Registers:
    """VDEV_VALIDATE_MAPPING of RMI 1.1 on a machine without devices: no request can be pending (F1)."""
    found = core.state.recs.get(rec_pa)
    if top <= base or top & GRANULE_MASK or rd not in core.state.realms or found is None:
        return INPUT
    return REC if found.running or found.rd != rd else INPUT


_HANDLERS: dict[Rmi, Handler] = {
    Rmi.VERSION: version,
    Rmi.GRANULE_DELEGATE: granule.delegate,
    Rmi.GRANULE_UNDELEGATE: granule.undelegate,
    Rmi.DATA_CREATE: data.create,
    Rmi.DATA_CREATE_UNKNOWN: data.create_unknown,
    Rmi.DATA_DESTROY: data.destroy,
    Rmi.REALM_ACTIVATE: realm.activate,
    Rmi.REALM_CREATE: realm.create,
    Rmi.REALM_DESTROY: realm.destroy,
    Rmi.REC_CREATE: rec.create,
    Rmi.REC_DESTROY: rec.destroy,
    Rmi.REC_ENTER: enter.enter,
    Rmi.RTT_CREATE: rtts.create,
    Rmi.RTT_DESTROY: rtts.destroy,
    Rmi.RTT_MAP_UNPROTECTED: rtts.map_unprotected,
    Rmi.RTT_READ_ENTRY: rtts.read_entry,
    Rmi.RTT_UNMAP_UNPROTECTED: rtts.unmap_unprotected,
    Rmi.PSCI_COMPLETE: rec.psci_complete,
    Rmi.FEATURES: features,
    Rmi.RTT_FOLD: rtts.fold,
    Rmi.REC_AUX_COUNT: realm.rec_aux_count,
    Rmi.RTT_INIT_RIPAS: ripas.init_ripas,
    Rmi.RTT_SET_RIPAS: ripas.set_ripas,
}

VALIDATE_MAPPING = fast64(0x163)


def rows(quirks: QuirkSet) -> dict[int, Row]:
    """Rows by function id; with quirk F1 also one command that 1.0 does not have."""
    table = {
        int(fid): Row(fid.name, handler, len(COMMANDS[fid].arguments), len(COMMANDS[fid].results))
        for fid, handler in _HANDLERS.items()
    }
    if quirks.validate_mapping_runs:
        table[VALIDATE_MAPPING] = Row("VDEV_VALIDATE_MAPPING", validate_mapping, 6, 1)
    return table
