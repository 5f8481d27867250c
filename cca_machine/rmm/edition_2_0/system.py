"""The RMM as a whole: versions, features, configuration, activation, tracking (DEN0137 2.0-bet0; TF-RMM granule.c)."""

from __future__ import annotations

from cca_machine.abi.rmi2 import RMM_CONFIG, MemoryCategory, Rmi2Status, Tracking
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import L0_REGION_BYTES, GranuleProtectionFault, World
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import GLOBAL, GPT, INPUT, SUCCESS, Answer, success
from cca_machine.rmm.edition_2_0.checks import host_page
from cca_machine.rmm.versions import negotiate

TRACKING_REGION_1_GIB = 0
GRANULE_4_KIB = 0


def version(core: Core, req: int) -> Answer:
    """RMI_VERSION: whether a revision is supported, and the nearest ones that are."""
    accepted, lower, higher = negotiate(req, core.features.rmi_versions, core.quirks.version_reports_highest)
    return (int(Rmi2Status.SUCCESS if accepted else Rmi2Status.ERROR_INPUT), lower, higher)


def features(core: Core, index: int) -> Answer:
    """RMI_FEATURES: one of five registers."""
    registers = core.features.later.registers(core.features.register_0, core.features.max_recs_order)
    if index < len(registers):
        return success(registers[index])
    return success(0) if core.quirks.unknown_feature_zero else INPUT


def config_get(core: Core, config_ptr: int) -> Answer:
    """RMM_CONFIG_GET: the one configuration there is, 4 KiB granules and 1 GiB tracking regions."""
    if not config_ptr or host_page(core, config_ptr) is None:
        return INPUT
    try:
        core.memory.write(World.NS, config_ptr, bytes(RMM_CONFIG.size))
    except GranuleProtectionFault:
        return INPUT
    return SUCCESS


def config_set(core: Core, config_ptr: int) -> Answer:
    """RMM_CONFIG_SET before activation: only the values in force are accepted."""
    page = host_page(core, config_ptr) if config_ptr else None
    if page is None:
        return INPUT
    asked = RMM_CONFIG.decode(page)
    wanted = {"tracking_region_size": TRACKING_REGION_1_GIB, "granule_size": GRANULE_4_KIB}
    return SUCCESS if asked == wanted else INPUT


def activate(core: Core) -> Answer:
    """RMM_ACTIVATE: completes at once; all other commands are served from now on."""
    core.state.active = True
    return SUCCESS


def tracking_get(core: Core, start: int, end: int) -> Answer:
    """GRANULE_TRACKING_GET: category and state of memory from `start`, and how far they hold."""
    if (start | end) >> core.features.pa_width or (start | end) & GRANULE_MASK or end < start + GRANULE_BYTES:
        return INPUT
    devices = core.state.device_granules
    known = [(bank, MemoryCategory.CONVENTIONAL) for bank in core.granules.banks]
    known += [(bank, MemoryCategory.DEVICE_NON_COHERENT) for bank in devices.banks] if devices else []
    category, state, reach = MemoryCategory.CONVENTIONAL, Tracking.NONE, end
    for bank, kind in known:
        if bank.base <= start < bank.top:
            category, state, reach = kind, Tracking.FINE, bank.top
    if state is Tracking.NONE:
        reach = min((bank.base for bank, _ in known if bank.base > start), default=end)
    return success(category, state, end if core.quirks.tracking_end_echoed else min(reach, end))


def gpt_l1_destroy(core: Core, addr: int) -> Answer:
    """GPT_L1_DESTROY: the L1 tables are the platform's, which a Host cannot take away."""
    if addr >> core.features.pa_width or addr % L0_REGION_BYTES:
        return INPUT
    return GLOBAL


def gpt_l1_create(core: Core, addr: int) -> Answer:
    """GPT_L1_CREATE: EL3 made all L1 tables at boot."""
    return INPUT if addr % L0_REGION_BYTES else GPT
