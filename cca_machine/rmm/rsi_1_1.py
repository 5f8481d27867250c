"""What RSI 1.1 adds and answers otherwise: features, configuration, memory permissions (TF-RMM runtime/rsi)."""

from __future__ import annotations

from cca_machine.abi.rmi import ExitReason, HashAlgorithm
from cca_machine.abi.rmi2 import SHA_384, RealmFlags0, RecExit2
from cca_machine.abi.rsi import Rsi, RsiStatus
from cca_machine.abi.rsi2 import FEATURE_DA, RealmConfig2, Rsi2, RsiDevice
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.rmm import plane, rsi
from cca_machine.rmm.measurement import digest_size
from cca_machine.rmm.outcome import Outcome, Service, back, notify
from cca_machine.rmm.permissions import LABELS, OVERLAY_INDICES, label_of, with_label
from cca_machine.rmm.realm_memory import load, store
from cca_machine.rmm.rsi import INPUT, buffer
from cca_machine.rmm.state import PermissionRequest
from cca_machine.rmm.view import RunningRec


def features(running: RunningRec) -> Outcome:
    """RSI_FEATURES: register 0 tells whether the Realm may have devices."""
    devices = running.realm.flags & RealmFlags0.DA and running.state.gprs[1] == 0
    return back(RsiStatus.SUCCESS, FEATURE_DA if devices else 0)


def measurement_read(running: RunningRec) -> Outcome:
    """RSI_MEASUREMENT_READ: as in 1.0, but for registers that the digest does not fill."""
    rec, outcome = running.state, rsi.measurement_read(running)
    words = digest_size(running.realm.hash_algo) // 8
    if outcome == INPUT or not running.core.quirks.measurement_read_keeps:
        return outcome
    kept = outcome.registers[: words + 1] + tuple(rec.gprs[words + 1 : 8]) + outcome.registers[max(words + 1, 8) :]
    return Outcome(kept)


def realm_config(running: RunningRec) -> Outcome:
    """RSI_REALM_CONFIG: as in 1.0, with planes and the virtual GIC's type."""
    realm, core, ipa = running.realm, running.core, running.state.gprs[1]
    if ipa & GRANULE_MASK or ipa >= realm.half:
        return INPUT
    found = buffer(running, ipa)
    if isinstance(found, Outcome):
        return found
    told = realm.hash_algo
    if told == SHA_384 and core.quirks.sha_384_shown_as_512:
        told = HashAlgorithm.SHA_512
    page = RealmConfig2(
        ipa_width=realm.ipa_width,
        hash_algo=told,
        num_aux_planes=realm.planes.aux,
        gicv3_vtr=core.features.gic.ich_vtr & 0xFFFF_FFFF,
        ats_plane=realm.planes.ats_plane,
        rpv=realm.rpv,
    ).encode()
    if core.quirks.realm_config_keeps_page:
        kept = bytearray(load(core, found, len(page)))
        for first, last in ((0x00, 0x09), (0x10, 0x1C), (0x20, 0x28), (0x200, 0x240)):
            kept[first:last] = page[first:last]
        page = bytes(kept)
    store(core, found, page)
    return back(RsiStatus.SUCCESS)


def host_call(running: RunningRec) -> Outcome:
    """RSI_HOST_CALL: as in 1.0, for any plane."""
    plane.show_plane(running)
    return rsi.host_call(running)


def get_permission_value(running: RunningRec) -> Outcome:
    """RSI_MEM_GET_PERM_VALUE: label of an overlay index for a plane."""
    target, index = running.state.gprs[1:3]
    planes = running.realm.planes
    if running.core.quirks.permission_index_truncated:
        index &= 0xFFFF_FFFF
    if target >= planes.count or index >= OVERLAY_INDICES:
        return INPUT
    return back(RsiStatus.SUCCESS, label_of(planes.overlays[planes.context_of(target)], index))


def set_permission_value(running: RunningRec) -> Outcome:
    """RSI_MEM_SET_PERM_VALUE: give an overlay index of a plane other than P0 a label, until the index is in use."""
    target, index, label = running.state.gprs[1:4]
    planes, quirks = running.realm.planes, running.core.quirks
    if quirks.permission_index_truncated:
        index &= 0xFFFF_FFFF
    if not 0 < target < planes.count or index >= OVERLAY_INDICES or planes.locked >> index & 1:
        return INPUT
    if label not in LABELS and not quirks.permission_value_unchecked:
        return INPUT
    context = planes.context_of(target)
    planes.overlays[context] = with_label(planes.overlays[context], index, label)
    return back(RsiStatus.SUCCESS)


def set_permission_index(running: RunningRec) -> Outcome:
    """RSI_MEM_SET_PERM_INDEX: ask the Host to change the overlay index of a range; it answers at the next entry."""
    rec, realm = running.state, running.realm
    base, top, index, cookie = rec.gprs[1:5]
    if running.core.quirks.permission_index_truncated:
        index &= 0xFFFF_FFFF
    if (base | top) & GRANULE_MASK or not base < top <= realm.half or index >= OVERLAY_INDICES:
        return INPUT
    if cookie:
        tree = cookie & GRANULE_MASK
        if not realm.planes.tree_per_plane or cookie - tree != base or tree >= realm.planes.count:
            return INPUT
    elif realm.planes.tree_per_plane:
        cookie = base
    rec.permissions = PermissionRequest(base=base, top=top, index=index, cookie=cookie)
    running.exit.exit_reason = ExitReason.S2AP_CHANGE
    if isinstance(running.exit, RecExit2):
        running.exit.s2ap_base, running.exit.s2ap_top = base, top
    return notify(RsiStatus.SUCCESS)


def no_device(running: RunningRec) -> Outcome:
    """Device commands of a Realm without devices."""
    return INPUT


_ADDED: dict[Rsi2 | Rsi | RsiDevice, Service] = {
    Rsi.FEATURES: features,
    Rsi.MEASUREMENT_READ: measurement_read,
    Rsi.REALM_CONFIG: realm_config,
    Rsi.HOST_CALL: host_call,
    Rsi2.MEM_GET_PERM_VALUE: get_permission_value,
    Rsi2.MEM_SET_PERM_VALUE: set_permission_value,
    Rsi2.MEM_SET_PERM_INDEX: set_permission_index,
    Rsi2.PLANE_ENTER: plane.enter,
    Rsi2.PLANE_SYSREG_READ: plane.register_read,
    Rsi2.PLANE_SYSREG_WRITE: plane.register_write,
    **dict.fromkeys(RsiDevice, no_device),
}

SERVICES_1_1: dict[int, tuple[str, Service]] = {int(fid): (f"RSI_{fid.name}", serve) for fid, serve in _ADDED.items()}
"""Rows for `services.call`, by function id."""
