"""What the host wants of an RMM, step by step, whatever edition of the RMI it speaks.

The host knows what it does to a Realm and in which order; a `Front` knows by which calls that is said. What a step
could not do comes back as `Reached`, because the host has an answer to some of it: a table that is missing is made.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cca_machine.abi.rmi import RecExit
from cca_machine.commands import RealmSpec
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door, RmiRefusal
from cca_machine.host.footprint import Footprint, Span
from cca_machine.layout import LoadPlan


class Reached(NamedTuple):
    """How far a step over many granules came, and what stopped it.

    `missing` is the level at which a walk ended, where a table one level below would help.
    """

    done: int
    missing: int | None = None
    refusal: RmiRefusal | None = None

    def whole(self) -> None:
        """Raises RmiRefusal unless everything was done."""
        if self.refusal is not None:
            raise self.refusal


class Progress(NamedTuple):
    """How far an RIPAS change came: first IPA not done, and the level at which a walk ended if a table is missing."""

    top: int
    missing: int | None = None


class Hands(Protocol):
    """What a front asks of the builder it works for: granules, tables, and the account of both."""

    footprint: Footprint
    plan: LoadPlan

    @property
    def free(self) -> int:
        """Granules that may be had."""
        ...

    def take(self, count: int) -> int:
        """A run of delegated granules, entered in the account. Raises Refusal."""
        ...

    def give_back(self, base: int, count: int) -> None:
        """Undelegate and return a run. Raises RmiRefusal."""
        ...

    def create_table(self, ipa: int, level: int) -> None:
        """A table with a spare granule. Raises Refusal."""
        ...

    def assigned(self, span: Span, first: int, count: int) -> None:
        """Enter pages of `span` as assigned."""
        ...


class Front(Protocol):
    """One edition of the RMI as the host speaks it. Every method raises RmiRefusal unless it says otherwise."""

    door: Door
    reserved_vmids: int
    """VMIDs of the machine that no Realm gets."""

    def boot(self) -> int:
        """Make a freshly booted RMM ready; how many memory encryption contexts it has for one Realm each."""
        ...

    def lacks(self, realm: RealmSpec) -> str:
        """What the Realm asks for and this edition does not have, as a sentence; empty when there is nothing."""
        ...

    def vmid(self, used: set[int], bits: int) -> int | None:
        """The VMID for a new Realm, 0 where the RMM chooses it; None when all are used."""
        ...

    # -- granules and tables

    def delegate(self, base: int, count: int) -> Reached:
        """Give a run of granules to the Realm world. Raises nothing."""
        ...

    def undelegate(self, base: int, count: int) -> Reached:
        """Take a run of granules back. Raises nothing."""
        ...

    def walk_level(self, rd: int, ipa: int) -> int:
        """The level at which a walk to the page at `ipa` ends."""
        ...

    def create_table(self, rd: int, granule: int, ipa: int, level: int) -> None:
        """A translation table below the entry at `ipa`."""
        ...

    def destroy_table(self, rd: int, ipa: int, level: int) -> int:
        """Take a translation table away; its granule."""
        ...

    def fold(self, rd: int, ipa: int, level: int) -> int:
        """Replace a table by one entry; its granule."""
        ...

    # -- a Realm's birth

    def create_realm(self, plan: LoadPlan, footprint: Footprint) -> None:
        """The Realm at the footprint's RD and root tables."""
        ...

    def init_ripas(self, rd: int, base: int, top: int) -> Progress:
        """Make memory of a new Realm RAM, from `base` on."""
        ...

    def load(self, rd: int, pa: int, ipa: int, source: int, count: int) -> Reached:
        """Measured pages from normal-world memory. Raises nothing."""
        ...

    def back_page(self, rd: int, pa: int, ipa: int, count: int) -> Reached:
        """Zeroed pages behind RAM, in one table. Raises nothing."""
        ...

    def back_blocks(self, hands: Hands, span: Span) -> None:
        """Zeroed memory behind whole blocks of RAM. Raises Refusal."""
        ...

    def create_recs(self, hands: Hands) -> None:
        """One REC per vCPU of the plan, entered in the account. Raises Refusal."""
        ...

    def activate(self, rd: int) -> None:
        """The measurement is final, RECs may run."""
        ...

    # -- its life

    def enter(self, rec: int, reply: tuple[int, ...]) -> RecExit:
        """Run a REC until it exits; `reply` are the first general registers it is given."""
        ...

    def complete_psci(self, rec: int, target: int, status: int) -> None:
        """Name the REC that a PSCI request is about."""
        ...

    def set_ripas(self, rd: int, rec: int, base: int, top: int) -> Progress:
        """Do the next part of a change that the Realm asked for; no progress when it is refused. Raises nothing."""
        ...

    def take_pages(self, rd: int, ipa: int, count: int) -> None:
        """Take pages that are mapped one by one out of the Realm; they stay delegated."""
        ...

    def share(self, rd: int, ipa: int, pa: int, count: int) -> Reached:
        """Map pages of the host at an unprotected IPA. Raises nothing."""
        ...

    # -- its end

    def stop(self, rd: int) -> None:
        """Say that no REC of the Realm will run again."""
        ...

    def take_memory(self, pool: GranulePool, footprint: Footprint) -> None:
        """Take everything that is assigned out of the Realm, blocks or pages; it stays delegated. Raises Refusal."""
        ...

    def destroy_rec(self, rec: int) -> None:
        """Take a REC apart; its granules are delegated and free."""
        ...

    def destroy_realm(self, rd: int) -> None:
        """The end of a Realm that holds nothing any more."""
        ...
