"""Live Firmware Activation: function ids, flags and errors (DEN0147 1.0 as TF-A's services/std_svc/lfa speaks it)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from cca_machine.abi.smc import fast64

VERSION_1_0 = 0x1_0000


class Lfa(IntEnum):
    """Function ids."""

    VERSION = fast64(0x2E0)
    FEATURES = fast64(0x2E1)
    GET_INFO = fast64(0x2E2)
    GET_INVENTORY = fast64(0x2E3)
    PRIME = fast64(0x2E4)
    ACTIVATE = fast64(0x2E5)
    CANCEL = fast64(0x2E6)


class LfaStatus(IntEnum):
    """x0 of an LFA call, signed."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    BUSY = -2
    AUTH_ERROR = -3
    NO_MEMORY = -4
    CRITICAL_ERROR = -5
    DEVICE_ERROR = -6
    WRONG_STATE = -7
    INVALID_PARAMETERS = -8
    COMPONENT_WRONG_STATE = -9
    INVALID_ADDRESS = -10
    ACTIVATION_FAILED = -11


class InventoryFlags(IntFlag):
    """x3 of GET_INVENTORY."""

    CAPABLE = 1
    PENDING = 2
    MAY_RESET_CPU = 4
    RENDEZVOUS_OPTIONAL = 8


CALL_AGAIN = 1
"""x1 bit 0 of PRIME and ACTIVATE: not finished, make the same call again."""

SKIP_RENDEZVOUS = 1
"""x2 bit 0 of ACTIVATE."""
