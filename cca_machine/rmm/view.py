"""A running REC: what the RMM works on while it runs, and what the guest may see of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cca_machine.abi.guest import SystemRegister
from cca_machine.rmm import realm_memory
from cca_machine.rmm.core import Core
from cca_machine.rmm.state import Realm, Rec


class RunningRec:
    """One REC on PE `pe` between entry and exit; implements `abi.guest.RecView`."""

    def __init__(self, core: Core, rec_pa: int, pe: int) -> None:
        self.core = core
        self.pe = pe
        self.state: Rec = core.state.recs[rec_pa]
        self.realm: Realm = core.state.realms[self.state.rd]
        self.exit = core.exit_type()
        self.on_write: Callable[[int, bytes], None] | None = None
        self._rec_pa = rec_pa

    @property
    def rd(self) -> int:
        """PA of the RD."""
        return self.state.rd

    @property
    def rec(self) -> int:
        """PA of the REC granule."""
        return self._rec_pa

    @property
    def index(self) -> int:
        """REC index."""
        return self.state.index

    @property
    def plane(self) -> int:
        """Plane whose software runs."""
        return self.state.active_plane

    @property
    def gprs(self) -> Sequence[int]:
        """x0..x30."""
        return self.state.gprs

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return self.state.pc

    @property
    def ipa_width(self) -> int:
        """Width of the IPA space in bits."""
        return self.realm.ipa_width

    def system_register(self, register: SystemRegister) -> int:
        """Current value of `register`."""
        return self.state.system.get(register, 0)

    def list_registers(self) -> Sequence[int]:
        """ICH_LR0.. as they stand."""
        return self.state.list_registers

    def read(self, ipa: int, size: int) -> bytes:
        """`size` bytes through stage 2; raises RealmAccessFault."""
        return realm_memory.read(self.core, self.realm, ipa, size, self.state.active_plane)

    def write(self, ipa: int, data: bytes) -> None:
        """Store through stage 2; raises RealmAccessFault. A recorder is told of it through `on_write`."""
        realm_memory.write(self.core, self.realm, ipa, data, self.state.active_plane)
        if self.on_write is not None:
            self.on_write(ipa, data)
