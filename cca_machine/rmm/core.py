"""What every part of the RMM works on: the state, the hardware, EL3, the guests, and how this machine answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cca_machine.abi.guest import GuestPort
from cca_machine.abi.rmi import RecExit
from cca_machine.abi.rmm_el3 import El3Services
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import RmmFeatures
from cca_machine.rmm.quirks import QuirkSet
from cca_machine.rmm.rtt import Walk, walk
from cca_machine.rmm.state import AttestationOperation, Realm, RmmState
from cca_machine.rmm.tally import Tally


class TokenMaker(Protocol):
    """Whatever makes CCA tokens from captured claims."""

    def make(self, realm: Realm, operation: AttestationOperation) -> bytes:
        """The token's bytes."""
        ...


class RmmPanicked(Exception):
    """EL3 and the RMM disagree about a granule: the RMM stops for good, as TF-RMM panics."""


class Core:
    """The edition-neutral context; `tally` counts what happened and is no state.

    `granules` and `memory` are shortcuts into `state` and `hardware`, which are the same objects for life.
    """

    def __init__(
        self,
        state: RmmState,
        hardware: HardwareState,
        el3: El3Services,
        guest: GuestPort,
        features: RmmFeatures,
        quirks: QuirkSet,
        tokens: TokenMaker,
    ) -> None:
        self.state = state
        self.granules = state.granules
        self.hardware = hardware
        self.memory = hardware.memory
        self.el3 = el3
        self.guest = guest
        self.features = features
        self.quirks = quirks
        self.tokens = tokens
        self.tally = Tally()
        self.services: dict[int, tuple[str, Callable[..., Any]]] = {}
        """Realm services of a later RSI, and those that it answers otherwise than RSI 1.0."""
        self.exit_type: type[RecExit] = RecExit
        self.pe = 0
        """The PE that the present call came from."""

    def walk(self, realm: Realm, ipa: int, level: int) -> Walk:
        """Walk the Realm's tables towards `level` (DEN0137 1.0-rel0, RttWalk)."""
        return walk(self.state.tables, realm.rtt_base, realm.rtt_level_start, ipa, level)

    def walk_tree(self, realm: Realm, tree: int, ipa: int, level: int) -> Walk:
        """The same in tree `tree`: 0 is the primary one, others belong to planes (RMI 2.0)."""
        return walk(self.state.tables, realm.root_of(tree), realm.rtt_level_start, ipa, level)
