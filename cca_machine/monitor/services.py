"""What EL3 does for the RMM: granule transitions and attestation material (TF-A rmm-el3-comms-spec)."""

from __future__ import annotations

from cca_machine.abi.rmm_el3 import El3Status
from cca_machine.hardware.state import HardwareState
from cca_machine.monitor.state import MonitorState
from cca_machine.monitor.transition import Transition, move, move_run


class RmmServices:
    """Implements `cca_machine.abi.rmm_el3.El3Services` over the state of the monitor.

    Made before the RMM, which is made before the `Monitor`; all three share the state records.
    """

    def __init__(self, state: MonitorState, hardware: HardwareState) -> None:
        self._state = state
        self._gpt = hardware.gpt
        self._memory = hardware.memory

    def delegate(self, pa: int) -> int:
        """GTSI_DELEGATE: one granule from Non-secure to Realm; an `El3Status`."""
        return move(self._gpt, Transition.DELEGATE, pa)

    def undelegate(self, pa: int) -> int:
        """GTSI_UNDELEGATE: one granule from Realm to Non-secure; an `El3Status`."""
        return move(self._gpt, Transition.UNDELEGATE, pa)

    def delegate_run(self, pa: int, count: int) -> int:
        """`count` calls of `delegate` from `pa` upward, up to the first refusal; how many succeeded."""
        return move_run(self._gpt, Transition.DELEGATE, pa, count)

    def undelegate_run(self, pa: int, count: int) -> int:
        """`count` calls of `undelegate` from `pa` upward, up to the first refusal; how many succeeded."""
        return move_run(self._gpt, Transition.UNDELEGATE, pa, count)

    def mec_refresh(self, mecid: int, destroyed: bool) -> int:
        """RMM_MEC_REFRESH: a new key for `mecid`, at the birth or after the end of what it serves; an `El3Status`."""
        self._memory.refresh(mecid)
        return El3Status.OK

    def realm_key(self) -> bytes:
        """ATTEST_GET_REALM_KEY: the private P-384 scalar of the RAK, 48 bytes, big-endian."""
        return self._state.now.launch.rak

    def platform_token(self) -> bytes:
        """ATTEST_GET_PLAT_TOKEN: the platform token that vouches for that key."""
        return self._state.now.launch.platform_token
