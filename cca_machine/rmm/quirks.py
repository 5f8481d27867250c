"""Where text and firmware diverge: one flag per divergence, and the named sets a machine may choose.

D numbers are rows of the divergence list in docs/explanation (text of DEN0137 1.0-rel0 against TF-RMM); F numbers are
rows of the table of deviations that comes with the recorded firmware traces. The default set takes for each divergence
the answer that a careful implementer would ship.
"""

from __future__ import annotations

import msgspec


class QuirkSet(msgspec.Struct, frozen=True, kw_only=True):
    """Each flag says which of two answers the RMM gives; a flag that is set departs from the default answer."""

    name: str = "suggested"

    rem_spec: bool = False
    """D1: REM extension hashes 128 padded bytes, old register and value, instead of the trimmed ones."""
    mmio_any_isv: bool = False
    """D2: emulated MMIO is accepted after any data abort whose syndrome was valid, even at a protected IPA."""
    rtt_base_page_aligned: bool = False
    """D3: concatenated root tables need no alignment to their number."""
    inject_sea_ignored: bool = False
    """D4: injecting an abort after anything but an unprotected data abort has no effect, instead of ERROR_REC."""
    init_ripas_rtt_on_unaligned_base: bool = False
    """D5: a base of INIT_RIPAS that is not granule aligned is an RTT error, instead of ERROR_INPUT."""
    set_ripas_top_unchecked: bool = False
    """D5: the top of SET_RIPAS need not be granule aligned."""
    denied_completes: bool = False
    """D6: PSCI_COMPLETE(DENIED) for a target that is on fails, yet completes the request with ALREADY_ON."""
    full_level_1_reports_parent: bool = False
    """D7: folding a fully mapped level 1 table reports level 0, instead of 1."""
    init_ripas_passes_mapped: bool = False
    """D8: INIT_RIPAS stops only at tables and the top, and sets RAM over mapped and destroyed entries."""
    psci_aff3_low: bool = False
    """D10: Aff3 of a PSCI target stands in bits 31:24, instead of MPIDR_EL1's 39:32."""
    destroyed_address_hidden: bool = False
    """D11: RTT_READ_ENTRY shows no address for ASSIGNED, DESTROYED."""
    empty_over_destroyed: bool = False
    """D13: a request for EMPTY passes over DESTROYED pages without permission."""
    version_reports_highest: bool = False
    """D14: a version that is not supported is always answered with the highest one that is."""
    realm_config_keeps_page: bool = False
    """D15, F12: RSI_REALM_CONFIG writes its fields and later ones (planes, ICH_VTR, ATS), and leaves the rest."""
    bare_wfx: bool = False
    """D16, F16: exits by WFIT and WFET look like WFI and WFE and carry no timeout; no IL bit is added to aborts."""
    set_ripas_block_already_set: bool = False
    """D17: SET_RIPAS with a base inside a block that already has the requested RIPAS is no alignment error."""
    psci_version_unlisted: bool = False
    """D20: PSCI_FEATURES(PSCI_VERSION) is NOT_SUPPORTED."""
    validate_mapping_runs: bool = False
    """F1: function id 0xC4000163 of RMI 1.1 is decoded."""
    num_aux_truncated: bool = False
    """F3: the number of auxiliary granules is read as 32 bits."""
    later_params_read: bool = False
    """F4: parameters of RMI 1.1 in a 1.0 page are read, and refused; widths of the others are 32 bits."""
    scan_whole_lowest_level: bool = False
    """F5: scans for the next live entry at level -1 pass over 512 entries, instead of 16."""
    ripas_truncated: bool = False
    """F8: RSI_IPA_STATE_SET reads the RIPAS as 32 bits."""
    destroyed_flag_exact: bool = False
    """F9: RSI_IPA_STATE_SET permits changes from DESTROYED only when the flags register is exactly 1."""
    host_call_imm_32: bool = False
    """F10: the immediate of a host call is 32 bits wide."""
    no_isv_still_emulatable: bool = False
    """F11: an unprotected data abort without a valid syndrome is shown like an emulatable one."""
    host_call_lost_keeps_x0: bool = False
    """F13: a host call whose page became EMPTY leaves X0 of the Realm as it was."""
    instruction_abort_shows_fnv: bool = False
    """FnV is shown to the Host after an instruction abort: TF-RMM runtime/core/exit.c uses one mask for both aborts."""
    cpu_on_keeps_registers: bool = False
    """CPU_ON leaves x1 to x30 of the target as they were created (the text clears them)."""
    hint_reaches_psci: bool = False
    """A PSCI function id with the SVE hint set is NOT_SUPPORTED (TF-RMM runtime/rsi/psci.c decodes the raw X0)."""
    reserved_flags_ignored: bool = False
    """Reserved bits of DATA_CREATE flags and of a REC's MPIDR are ignored, as SBZ fields are in the text."""


SUGGESTED = QuirkSet()

TEXT = QuirkSet(
    name="text",
    rem_spec=True,
    inject_sea_ignored=True,
    init_ripas_rtt_on_unaligned_base=True,
    init_ripas_passes_mapped=True,
    psci_aff3_low=True,
    set_ripas_block_already_set=True,
    reserved_flags_ignored=True,
)

TF_RMM = QuirkSet(
    name="tf-rmm",
    denied_completes=True,
    full_level_1_reports_parent=True,
    empty_over_destroyed=True,
    version_reports_highest=True,
    realm_config_keeps_page=True,
    bare_wfx=True,
    psci_version_unlisted=True,
    validate_mapping_runs=True,
    num_aux_truncated=True,
    later_params_read=True,
    scan_whole_lowest_level=True,
    ripas_truncated=True,
    destroyed_flag_exact=True,
    host_call_imm_32=True,
    no_isv_still_emulatable=True,
    host_call_lost_keeps_x0=True,
    instruction_abort_shows_fnv=True,
    cpu_on_keeps_registers=True,
    hint_reaches_psci=True,
)

QUIRK_SETS: dict[str, QuirkSet] = {quirks.name: quirks for quirks in (SUGGESTED, TEXT, TF_RMM)}
"""Sets by the name that a machine profile gives."""
