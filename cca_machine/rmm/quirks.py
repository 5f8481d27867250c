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

    rim_hashes_params: bool = False
    """D9, for 2.0: the initial RIM is the hash of the Realm parameters, instead of zero."""
    one_granule_per_call: bool = False
    """G8: GRANULE_RANGE_DELEGATE and UNDELEGATE do one granule per call."""
    unknown_feature_zero: bool = False
    """G8: FEATURES of a register that does not exist succeeds with 0."""
    l1_destroy_unknown: bool = False
    """G8: GPT_L1_DESTROY is not implemented, and so no command."""
    tracking_end_echoed: bool = False
    """GRANULE_TRACKING_GET returns the end that it was asked for, wherever the memory ends (TF-RMM granule.c)."""
    pmu_flag_unchecked: bool = False
    """A Realm may ask for a PMU although register 0 shows none (TF-RMM realm.c)."""
    permission_value_unchecked: bool = False
    """G6: RSI_MEM_SET_PERM_VALUE takes any value; one above 15 spills into the next index."""
    permission_index_truncated: bool = False
    """Overlay indices are read as 32 bits (TF-RMM runtime/rsi/memory.c)."""
    sha_384_unadvertised: bool = False
    """G7: SHA-384 is accepted though feature register 1 does not show it."""
    sha_384_shown_as_512: bool = False
    """G7: RSI_REALM_CONFIG tells a Realm with SHA-384 that it has SHA-512."""
    aux_mapping_wins: bool = False
    """RTT_SET_RIPAS fails at a page that an auxiliary tree maps even after it changed others (TF-RMM rtt.c)."""
    aux_destroyed_reports_entry: bool = False
    """RTT_AUX_MAP_PROTECTED names the index of a destroyed entry where the tree belongs (TF-RMM rtt.c)."""
    aux_block_base: bool = False
    """RTT_AUX_MAP_PROTECTED below a block of the primary tree maps the start of that block (TF-RMM realign_pa)."""
    aux_share_counts_again: bool = False
    """RTT_AUX_MAP_UNPROTECTED of a range that is shared already takes another reference on the table (TF-RMM rtt.c)."""
    init_ripas_forgets_holder: bool = False
    """RTT_INIT_RIPAS makes RAM of an entry that a stateful operation holds, whose table keeps a reference for good."""
    measurement_read_keeps: bool = False
    """RSI_MEASUREMENT_READ leaves x5 to x7 as they were where the digest does not reach (TF-RMM realm_attest.c)."""
    reclaim_before_write: bool = False
    """OP_MEM_RECLAIM gives granules back before it finds that the Host's list cannot be written (TF-RMM sro.c)."""
    forced_p0_fails: bool = False
    """Forcing P0 whose run page is missing is ERROR_INPUT, instead of an exit that asks for the page (TF-RMM run.c)."""
    s2ap_overrun_fails: bool = False
    """RTT_SET_S2AP fails when an entry crosses the top, even after it changed others (TF-RMM rtt.c)."""
    forced_p0_is_sync: bool = False
    """A plane that the Host forces out is told to P0 as SYNC, instead of HOST (TF-RMM run.c)."""
    plane_interrupts_unchecked: bool = False
    """List registers that P0 gives a plane may name any interrupt, with any priority (TF-RMM lib/gic)."""
    plane_wait_to_p0: bool = False
    """Any trapped WFI or WFE of a plane goes to P0, whether P0 or the Host asked for the trap (TF-RMM exit.c)."""


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

TF_RMM_2_0 = QuirkSet(
    name="tf-rmm",
    denied_completes=True,
    full_level_1_reports_parent=True,
    empty_over_destroyed=True,
    version_reports_highest=True,
    realm_config_keeps_page=True,
    bare_wfx=True,
    psci_version_unlisted=True,
    scan_whole_lowest_level=True,
    ripas_truncated=True,
    destroyed_flag_exact=True,
    host_call_imm_32=True,
    host_call_lost_keeps_x0=True,
    instruction_abort_shows_fnv=True,
    cpu_on_keeps_registers=True,
    hint_reaches_psci=True,
    rim_hashes_params=True,
    one_granule_per_call=True,
    unknown_feature_zero=True,
    l1_destroy_unknown=True,
    tracking_end_echoed=True,
    pmu_flag_unchecked=True,
    permission_value_unchecked=True,
    permission_index_truncated=True,
    sha_384_unadvertised=True,
    sha_384_shown_as_512=True,
    aux_mapping_wins=True,
    aux_destroyed_reports_entry=True,
    aux_block_base=True,
    reclaim_before_write=True,
    forced_p0_fails=True,
    s2ap_overrun_fails=True,
    aux_share_counts_again=True,
    init_ripas_forgets_holder=True,
    measurement_read_keeps=True,
    forced_p0_is_sync=True,
    plane_interrupts_unchecked=True,
    plane_wait_to_p0=True,
)
"""The answers of TF-RMM's main branch; G numbers are rows of the list of deviations that comes with its traces."""

QUIRK_SETS: dict[str, QuirkSet] = {quirks.name: quirks for quirks in (SUGGESTED, TEXT, TF_RMM)}
"""Sets by the name that a machine profile gives."""

QUIRK_SETS_2_0: dict[str, QuirkSet] = {quirks.name: quirks for quirks in (SUGGESTED, TEXT, TF_RMM_2_0)}
"""The same for machines that speak RMI 2.0."""

EDITION_QUIRKS: dict[str, dict[str, QuirkSet]] = {"1.0": QUIRK_SETS, "2.0": QUIRK_SETS_2_0}
"""Sets by edition and name."""
