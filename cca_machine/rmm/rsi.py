"""RSI commands that a Realm calls, attestation excepted (DEN0137 1.0-rel0, section B5.3; TF-RMM runtime/rsi)."""

from __future__ import annotations

import struct

from cca_machine.abi.rmi import NUM_GPRS, ExitReason, Ripas
from cca_machine.abi.rsi import (
    HOST_CALL,
    HOST_CALL_ALIGNMENT,
    IPA_STATE_CHANGE_DESTROYED,
    MAX_EXTEND_BYTES,
    MEASUREMENT_REGISTERS,
    RealmConfig,
    RsiStatus,
)
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.rmm import measurement
from cca_machine.rmm.outcome import FORWARDED, Outcome, back, notify
from cca_machine.rmm.realm_memory import Reach, Translation, load, store, translate
from cca_machine.rmm.rtt import ENTRIES, LOWEST_LEVEL_ENTRIES, MIN_LEVEL, PAGE_LEVEL, TABLE, ripas_of, size
from cca_machine.rmm.state import Realm, RipasRequest
from cca_machine.rmm.versions import negotiate
from cca_machine.rmm.view import RunningRec

INPUT = back(RsiStatus.ERROR_INPUT)


def version(running: RunningRec) -> Outcome:
    """RSI_VERSION: whether a revision is supported, and the nearest ones that are."""
    core = running.core
    accepted, lower, higher = negotiate(
        running.state.gprs[1], core.features.rsi_versions, core.quirks.version_reports_highest
    )
    return back(RsiStatus.SUCCESS if accepted else RsiStatus.ERROR_INPUT, lower, higher)


def features(running: RunningRec) -> Outcome:
    """RSI_FEATURES: all registers of 1.0 are zero."""
    return back(RsiStatus.SUCCESS)


def measurement_read(running: RunningRec) -> Outcome:
    """RSI_MEASUREMENT_READ: RIM or REM in x1..x8."""
    index = running.state.gprs[1]
    if index >= MEASUREMENT_REGISTERS:
        return INPUT
    return Outcome((RsiStatus.SUCCESS, *struct.unpack("<8Q", running.realm.measurements[index])))


def measurement_extend(running: RunningRec) -> Outcome:
    """RSI_MEASUREMENT_EXTEND: a REM takes up to 64 bytes from x3..x10."""
    realm, gprs = running.realm, running.state.gprs
    index, count = gprs[1], gprs[2]
    if not 1 <= index < MEASUREMENT_REGISTERS or count > MAX_EXTEND_BYTES:
        return INPUT
    value = struct.pack("<8Q", *gprs[3:11])
    realm.measurements[index] = measurement.extend_rem(
        realm.hash_algo, realm.measurements[index], value, count, padded=running.core.quirks.rem_spec
    )
    return back(RsiStatus.SUCCESS)


def realm_config(running: RunningRec) -> Outcome:
    """RSI_REALM_CONFIG: IPA width, hash and personalization value into a page of the Realm."""
    realm, ipa = running.realm, running.state.gprs[1]
    if ipa & GRANULE_MASK or ipa >= realm.half:
        return INPUT
    found = buffer(running, ipa)
    if isinstance(found, Outcome):
        return found
    page = RealmConfig(ipa_width=realm.ipa_width, hash_algo=realm.hash_algo, rpv=realm.rpv).encode()
    if running.core.quirks.realm_config_keeps_page:
        kept = bytearray(load(running.core, found, len(page)))
        kept[0x00:0x09] = page[0x00:0x09]
        struct.pack_into("<Q", kept, 0x10, 0)
        struct.pack_into("<I", kept, 0x18, running.core.features.gic.ich_vtr & 0xFFFF_FFFF)
        struct.pack_into("<Q", kept, 0x20, 0)
        kept[0x200:0x240] = realm.rpv
        page = bytes(kept)
    store(running.core, found, page)
    return back(RsiStatus.SUCCESS)


def ipa_state_get(running: RunningRec) -> Outcome:
    """RSI_IPA_STATE_GET: RIPAS at `base`, and how far it holds within the table that covers it."""
    realm = running.realm
    base, top = running.state.gprs[1:3]
    if not _is_protected_range(realm, base, top):
        return INPUT
    found = running.core.walk(realm, base, PAGE_LEVEL)
    ripas = ripas_of(found.entry)
    last = ENTRIES if found.level > MIN_LEVEL else LOWEST_LEVEL_ENTRIES
    end = found.index
    for _, stop, value in found.table.runs(found.index, last):
        if value & 7 == TABLE or ripas_of(value) != ripas:
            break
        end = stop
    reached = (base // size(found.level) - found.index + end) * size(found.level)
    return back(RsiStatus.SUCCESS, min(reached, top), ripas)


def ipa_state_set(running: RunningRec) -> Outcome:
    """RSI_IPA_STATE_SET: ask the Host to change RIPAS of a range; it answers at the next entry."""
    rec, quirks = running.state, running.core.quirks
    base, top, ripas, flags = rec.gprs[1:5]
    if quirks.ripas_truncated:
        ripas &= 0xFFFF_FFFF
    if ripas not in (Ripas.EMPTY, Ripas.RAM) or not _is_protected_range(running.realm, base, top):
        return INPUT
    permitted = bool(flags & IPA_STATE_CHANGE_DESTROYED)
    if quirks.destroyed_flag_exact:
        permitted = flags & 0xFFFF_FFFF == IPA_STATE_CHANGE_DESTROYED
    rec.ripas = RipasRequest(base=base, top=top, address=base, ripas=ripas, change_destroyed=permitted)
    running.exit.exit_reason = ExitReason.RIPAS_CHANGE
    running.exit.ripas_base, running.exit.ripas_top, running.exit.ripas_value = base, top, ripas
    return notify(RsiStatus.SUCCESS, top)


def host_call(running: RunningRec) -> Outcome:
    """RSI_HOST_CALL: an immediate and 31 registers go to the Host, which answers at the next entry."""
    ipa = running.state.gprs[1]
    if ipa % HOST_CALL_ALIGNMENT or ipa >= running.realm.half:
        return INPUT
    found = buffer(running, ipa)
    if isinstance(found, Outcome):
        return found
    structure = load(running.core, found, HOST_CALL.size)
    width = 4 if running.core.quirks.host_call_imm_32 else 2
    running.exit.exit_reason = ExitReason.HOST_CALL
    running.exit.imm = int.from_bytes(structure[:width], "little")
    running.exit.gprs = struct.unpack_from(f"<{NUM_GPRS}Q", structure, HOST_CALL.offset("gprs"))
    running.state.host_call_ipa = ipa
    return FORWARDED


def buffer(running: RunningRec, ipa: int) -> Translation | Outcome:
    """Where the Realm's buffer at a protected `ipa` lies, or what to do instead: refuse, or ask the Host for it."""
    found = translate(running.core, running.realm, ipa)
    if found.reach is Reach.PROTECTED:
        return found
    return INPUT if found.reach is Reach.EMPTY else Outcome(leaves=True, abort_level=found.level)


def _is_protected_range(realm: Realm, base: int, top: int) -> bool:
    return not (base | top) & GRANULE_MASK and base < top <= realm.half
