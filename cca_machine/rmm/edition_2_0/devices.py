"""Device commands on a machine without devices: no object they could name exists (TF-RMM pdev.c, vdev.c, psmmu.c)."""

from __future__ import annotations

from cca_machine.abi.rmi2 import Rmi2, Rmi2Status
from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import INPUT, REC, Answer, Handler
from cca_machine.rmm.edition_2_0.checks import host_page

UNSUPPORTED: Answer = (int(Rmi2Status.ERROR_NOT_SUPPORTED),)
_STREAM_TYPE = slice(0x8, 0x9)
_STREAM_NON_COHERENT = 1


def dev_validate(core: Core, rd: int, rec_pa: int, base: int, top: int) -> Answer:
    """RTT_DEV_VALIDATE: no Realm can have asked for it."""
    rec = core.state.recs.get(rec_pa)
    if top <= base or top & GRANULE_MASK or rd not in core.state.realms or rec is None:
        return INPUT
    return REC if rec.running or rec.rd != rd else INPUT


def stream_connect(core: Core, params_ptr: int) -> Answer:
    """PDEV_STREAM_CONNECT: the kind of stream is looked at before its devices."""
    page = host_page(core, params_ptr)
    if page is None:
        return INPUT
    return INPUT if page[_STREAM_TYPE][0] == _STREAM_NON_COHERENT else UNSUPPORTED


def key_purge(core: Core) -> Answer:
    """PDEV_STREAM_KEY_PURGE: not implemented by TF-RMM either."""
    return UNSUPPORTED


def no_object(core: Core, *args: int) -> Answer:
    """The object named does not exist."""
    return INPUT


def unknown(core: Core, *args: int) -> Answer:
    """Devices are not supported at all: the command is no command."""
    return (NOT_SUPPORTED,)


HANDLERS: dict[Rmi2, tuple[Handler, int]] = {
    Rmi2.RTT_DEV_VALIDATE: (dev_validate, 4),
    Rmi2.PDEV_STREAM_CONNECT: (stream_connect, 1),
    Rmi2.PDEV_STREAM_KEY_PURGE: (key_purge, 0),
}
"""Handler and number of arguments of those that do not just answer ERROR_INPUT."""

WITHOUT_SUPPORT = frozenset((Rmi2.RTT_DEV_VALIDATE, Rmi2.RTT_DEV_MAP, Rmi2.RTT_DEV_UNMAP))
"""Commands that stay commands when feature register 2 shows no device assignment."""
