"""Failure conditions as predicates over one call and the state that it met, and those that many commands share.

Ids are those of DEN0137 1.0-rel0, section B4.3. Both editions name their conditions with these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cca_machine.abi.psci import Psci, PsciStatus
from cca_machine.abi.smc import function_id, signed
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import World
from cca_machine.hardware.granule_map import OUTSIDE
from cca_machine.rmm import psci
from cca_machine.rmm.core import Core
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    KIND_MASK,
    PAGE_LEVEL,
    Walk,
)
from cca_machine.rmm.state import Realm, RealmState, Rec


class Look:
    """One call, and the state that it met."""

    def __init__(self, core: Core, args: dict[str, int]) -> None:
        self.core = core
        self.args = args

    def __getitem__(self, name: str) -> int:
        return self.args[name]

    @property
    def realm(self) -> Realm:
        """The Realm of `rd`."""
        return self.core.state.realms[self["rd"]]

    def rec(self, name: str = "rec") -> Rec:
        """The REC that an argument names."""
        return self.core.state.recs[self[name]]

    @property
    def level(self) -> int:
        """The level argument."""
        return signed(self["level"])

    def walk(self, level: int, ipa: str = "ipa") -> Walk:
        """Walk towards `level`."""
        return self.core.walk(self.realm, self[ipa], level)

    def state(self, address: int) -> int:
        """Granule state, OUTSIDE for memory that is not delegable."""
        return self.core.granules.get(address & -GRANULE_BYTES)

    def page(self, name: str) -> bytes:
        """The Host page that an argument names."""
        return self.core.memory.page(self[name])

    @property
    def owner(self) -> Realm:
        """The Realm of the REC that is entered."""
        return self.core.state.realms[self.rec().rd]


class Check(NamedTuple):
    """One condition; `standalone` ones can be asked whatever holds above them."""

    name: str
    says: str
    holds: Callable[[Look], bool]
    standalone: bool = False


def _aligned(name: str) -> Check:
    return Check(f"{name}_align", f"{name} is not aligned to 4 KiB", lambda c: bool(c[name] & GRANULE_MASK), True)


def granule(name: str, state: GranuleState, suffix: str = "state") -> tuple[Check, ...]:
    """The group of three checks on a granule's address."""
    return (
        _aligned(name),
        Check(f"{name}_bound", f"{name} is no delegable memory", lambda c: c.state(c[name]) == OUTSIDE, True),
        Check(f"{name}_{suffix}", f"the granule is not {state.name}", lambda c: c.state(c[name]) != state, True),
    )


def accessible(name: str, label: str) -> Check:
    """The fourth check on a Host buffer: the NS world may read it."""
    return Check(
        f"{label}_pas", f"the Host page at {name} belongs to another world",
        lambda c: not c.core.memory.gpt.allows(World.NS, c[name]),
    )  # fmt: skip


RD = granule("rd", GranuleState.RD)
REC = granule("rec", GranuleState.REC, "gran_state")
REALM_IS_NEW = Check("realm_state", "the Realm is no longer NEW", lambda c: c.realm.state is not RealmState.NEW)


def protected_page() -> tuple[Check, ...]:
    return (
        Check("ipa_bound", "ipa is not in the protected half", lambda c: c["ipa"] >= c.realm.half),
        Check("ipa_align", "ipa is not aligned to 4 KiB", lambda c: bool(c["ipa"] & GRANULE_MASK)),
    )


def wide(name: str) -> Check:
    return Check(
        f"{name}_bound2", f"{name} is at or above 2^48 and the Realm has no LPA2",
        lambda c: bool(c[name] >> 48) and not c.realm.lpa2,
    )  # fmt: skip


def reaches(level: Callable[[Look], int], says: str) -> Check:
    return Check("rtt_walk", says, lambda c: c.walk(level(c)).level < level(c))


def kind(level: Callable[[Look], int], wanted: int, says: str) -> Check:
    return Check("rtte_state", says, lambda c: c.walk(level(c)).entry & KIND_MASK != wanted)


def page_level(_: Look) -> int:
    return PAGE_LEVEL


def parent(look: Look) -> int:
    return look.level - 1


def _wrong_status(look: Look) -> bool:
    calling, target, status = look.rec("calling_rec"), look.rec("target_rec"), signed(look["status"])
    if status == PsciStatus.SUCCESS:
        return False
    is_on = function_id(calling.gprs[0]) in (Psci.CPU_ON, Psci.CPU_ON_32)
    return not (status == PsciStatus.DENIED and is_on and not target.runnable)


PSCI_COMPLETE = (
    Check("alias", "a REC cannot be its own target", lambda c: c["calling_rec"] == c["target_rec"]),
    *granule("calling_rec", GranuleState.REC, "gran_state"),
    *granule("target_rec", GranuleState.REC, "gran_state"),
    Check("pending", "the calling REC has no PSCI request", lambda c: not c.rec("calling_rec").psci_pending),
    Check("owner", "the RECs belong to different Realms", lambda c: c.rec("calling_rec").rd != c.rec("target_rec").rd),
    Check(
        "target", "the request names another REC",
        lambda c: psci.target_index(c.rec("calling_rec").gprs[1], c.core.quirks) != c.rec("target_rec").index,
    ),
    Check("status", "the Host may not answer that", _wrong_status),
)  # fmt: skip
"""PSCI_COMPLETE is the same command in both editions."""
