"""What an RMM that can migrate would offer, worked directly on the state of the RMM (modelled: no public ABI exists).

Export reads a Realm that its host does not enter. Import fills a Realm that the host built by real RMI calls and that
is still NEW, so that nothing of it can run before RMI_REALM_ACTIVATE. The RIM is set, never extended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from msgspec import structs

from attestation.keys import SigningKey
from cca_machine.abi.rmi import Ripas
from cca_machine.abi.rmm_el3 import El3Services
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_SHIFT
from cca_machine.migration.content import (
    Immutable,
    MapRun,
    Memory,
    MemoryMap,
    Mutable,
    PageOp,
    PageRun,
    VcpuState,
)
from cca_machine.rmm.core import Core
from cca_machine.rmm.rtt import (
    ASSIGNED,
    ENTRIES,
    KIND_MASK,
    PAGE_LEVEL,
    address_of,
    assigned,
    ripas_of,
    size,
    unassigned,
)
from cca_machine.rmm.state import Realm, RealmState

BUNDLE_PAGES = 512
"""Pages with contents in one bundle: 2 MiB."""

BUNDLE_GRANULES = 16384
"""Pages that one bundle stands for: 64 MiB, or more where that would take too many bundles."""

BUNDLES = 24
"""Memory bundles of pages without contents that a session should not exceed by much."""


class ImportRefused(Exception):
    """What arrived cannot be the state of the Realm that was built for it."""


class MigrationCalls:
    """The modelled calls of one RMM."""

    def __init__(self, core: Core, el3: El3Services) -> None:
        self._core = core
        self._el3 = el3

    def rak(self) -> SigningKey:
        """The Realm attestation key, for use inside the RMM."""
        return SigningKey.from_private_bytes(self._el3.realm_key())

    # -- export ------------------------------------------------------------------------------------------------------

    def immutable(self, rd: int) -> Immutable:
        """Creation parameters."""
        return self._immutable(self._core.state.realms[rd])

    def memory_map(self, rd: int, base: int, top: int) -> MemoryMap:
        """RIPAS and backing over [base, top), as maximal runs."""
        runs: list[MapRun] = []
        for ipa, count, entry in self._leaves(rd, base, top):
            run = MapRun(ipa, count, ripas_of(entry), entry & KIND_MASK == ASSIGNED)
            last = runs[-1] if runs else None
            if last is not None and (last.ripas, last.assigned) == (run.ripas, run.assigned):
                runs[-1] = MapRun(last.ipa, last.count + count, run.ripas, run.assigned)
            else:
                runs.append(run)
        return MemoryMap(tuple(runs))

    def memory(self, rd: int, base: int, top: int) -> Iterator[Memory]:
        """All backed RAM in bundles; contents of pages that something was written to, counts of the others."""
        leaves = [leaf for leaf in self._leaves(rd, base, top) if leaf[2] & KIND_MASK == ASSIGNED]
        leaves = [leaf for leaf in leaves if ripas_of(leaf[2]) == Ripas.RAM]
        limit = max(BUNDLE_GRANULES, -(-sum(count for _, count, _ in leaves) // BUNDLES))
        bundle: list[PageRun] = []
        granules = pages = 0
        for ipa, count, entry in leaves:
            for run in self._page_runs(ipa, count, address_of(entry), limit):
                if bundle and (granules + run.count > limit or pages + len(run.pages) > BUNDLE_PAGES):
                    yield Memory(tuple(bundle))
                    bundle, granules, pages = [], 0, 0
                bundle.append(run)
                granules += run.count
                pages += len(run.pages)
        if bundle:
            yield Memory(tuple(bundle))

    def written_since(self, rd: int, base: int, top: int, crossed: dict[int, bytes]) -> Memory:
        """Pages with contents that are not as they `crossed` (IPA -> digest), and those that are RAM no more.

        This is the RMM's own account of what is dirty: it does not ask the host.
        """
        runs: list[PageRun] = []
        left = dict(crossed)
        for memory in self.memory(rd, base, top):
            for run in memory.runs:
                for index, page in run.pages:
                    ipa = run.ipa + index * GRANULE_BYTES
                    if left.pop(ipa, b"") != page_digest(page):
                        runs.append(PageRun(ipa, 1, PageOp.AGAIN, ((0, page),)))
        runs += [PageRun(ipa, 1, PageOp.CANCEL, ()) for ipa in sorted(left)]
        return Memory(tuple(sorted(runs, key=lambda run: run.ipa)))

    def mutable(self, rd: int, program: bytes) -> Mutable:
        """Measurements as they are now."""
        return Mutable(tuple(self._core.state.realms[rd].measurements), program)

    def vcpus(self, rd: int) -> tuple[VcpuState, ...]:
        """The RECs as they are now, by index; a token in the making is not carried."""
        state = self._core.state
        recs = sorted((rec for rec in state.recs.values() if rec.rd == rd), key=lambda rec: rec.index)
        return tuple(
            VcpuState(
                index=rec.index,
                runnable=rec.runnable,
                gprs=tuple(rec.gprs),
                pc=rec.pc,
                pstate=rec.pstate,
                psci_pending=rec.psci_pending,
                host_call_ipa=rec.host_call_ipa,
                system=tuple(sorted(rec.system.items())),
            )
            for rec in recs
        )

    # -- import ------------------------------------------------------------------------------------------------------

    def take_immutable(self, rd: int, wanted: Immutable) -> None:
        """Check that the shell is built as the Realm was, and give it the Realm's identity. Raises ImportRefused."""
        realm = self._new(rd)
        here = self._core.features.edition
        if wanted.edition != here:
            raise ImportRefused(f"the Realm was built under RMM edition {wanted.edition}, this machine runs {here}")
        if structs.replace(self._immutable(realm), instance_id=wanted.instance_id) != wanted:
            raise ImportRefused("the Realm was built here with other parameters")
        realm.instance_id = wanted.instance_id

    def set_ripas(self, rd: int, ipa: int, count: int, ripas: int) -> None:
        """Give pages the RIPAS they had, at level 3. Raises ImportRefused."""
        realm = self._new(rd)
        while count:
            found = self._core.walk(realm, ipa, PAGE_LEVEL)
            if found.level != PAGE_LEVEL:
                raise ImportRefused(f"IPA {ipa:#x} has no table of pages")
            span = min(count, ENTRIES - found.index)
            for first, end, entry in list(found.table.runs(found.index, found.index + span)):
                backed = entry & KIND_MASK == ASSIGNED
                found.table.set_range(first, end, assigned(address_of(entry), ripas) if backed else unassigned(ripas))
            ipa += span * GRANULE_BYTES
            count -= span

    def put_pages(self, rd: int, memory: Memory) -> None:
        """Write contents into backed RAM. Raises ImportRefused."""
        realm = self._new(rd)
        for run in memory.runs:
            if run.op is PageOp.CANCEL:
                found = self._core.walk(realm, run.ipa, PAGE_LEVEL)
                if found.entry & KIND_MASK == ASSIGNED:
                    self._core.memory.scrub(address_of(found.entry) + (run.ipa & size(found.level) - 1))
            for index, page in run.pages:
                ipa = run.ipa + index * GRANULE_BYTES
                found = self._core.walk(realm, ipa, PAGE_LEVEL)
                if found.entry & KIND_MASK != ASSIGNED or not 0 <= index < run.count or len(page) != GRANULE_BYTES:
                    raise ImportRefused(f"IPA {ipa:#x} takes no page")
                self._core.memory.put_page(address_of(found.entry) + (ipa & size(found.level) - 1), page)

    def put_mutable(self, rd: int, mutable: Mutable) -> None:
        """Set the measurements; the RIM is set, never extended. Raises ImportRefused."""
        realm = self._new(rd)
        if len(mutable.measurements) != 5:
            raise ImportRefused("the Realm that comes has other measurements")
        realm.measurements = list(mutable.measurements)

    def put_vcpu(self, rd: int, vcpu: VcpuState) -> None:
        """Set one REC. Raises ImportRefused."""
        self._new(rd)
        rec = next((rec for rec in self._core.state.recs.values() if (rec.rd, rec.index) == (rd, vcpu.index)), None)
        if rec is None:
            raise ImportRefused(f"the Realm was built here without REC {vcpu.index}")
        rec.runnable, rec.gprs, rec.pc, rec.pstate = vcpu.runnable, list(vcpu.gprs), vcpu.pc, vcpu.pstate
        rec.psci_pending, rec.host_call_ipa = vcpu.psci_pending, vcpu.host_call_ipa
        rec.system = dict(vcpu.system)
        rec.attestation = None

    def _immutable(self, realm: Realm) -> Immutable:
        return Immutable(
            edition=self._core.features.edition,
            flags=realm.flags,
            ipa_width=realm.ipa_width,
            sve_vl=realm.sve_vl,
            num_bps=realm.num_bps,
            num_wps=realm.num_wps,
            pmu_num_ctrs=realm.pmu_num_ctrs,
            hash_algo=realm.hash_algo,
            rpv=realm.rpv,
            instance_id=realm.instance_id,
        )

    # -- walking -----------------------------------------------------------------------------------------------------

    def _new(self, rd: int) -> Realm:
        realm = self._core.state.realms.get(rd)
        if realm is None or realm.state is not RealmState.NEW:
            raise ImportRefused("there is no new Realm to fill")
        return realm

    def _leaves(self, rd: int, base: int, top: int) -> Iterator[tuple[int, int, int]]:
        """(IPA, granules, first entry) of each run of leaf entries over [base, top)."""
        realm = self._core.state.realms[rd]
        ipa = base
        while ipa < top:
            found = self._core.walk(realm, ipa, PAGE_LEVEL)
            _, end, entry = next(found.table.runs(found.index, ENTRIES))
            reach = size(found.level)
            start = ipa & -reach
            if entry & KIND_MASK == ASSIGNED:
                entry += ipa - start
            stop = min(start + (end - found.index) * reach, top)
            yield ipa, stop - ipa >> GRANULE_SHIFT, entry
            ipa = stop

    def _page_runs(self, ipa: int, count: int, pa: int, limit: int) -> Iterator[PageRun]:
        first = pa >> GRANULE_SHIFT
        contents = self._core.memory.contents
        if len(contents) < count:
            written = sorted(granule - first for granule in contents if first <= granule < first + count)
        else:
            written = [index for index in range(count) if first + index in contents]
        done = at = 0
        while done < count:
            take = min(count - done, limit)
            here = [index for index in written[at : at + BUNDLE_PAGES] if index < done + take]
            if len(here) == BUNDLE_PAGES:
                take = here[-1] + 1 - done
            pages = tuple((index - done, contents[first + index]) for index in here)
            yield PageRun(ipa + done * GRANULE_BYTES, take, PageOp.NEW, pages)
            done += take
            at += len(here)


def page_digest(page: bytes) -> bytes:
    """What an RMM remembers of a page that crossed, to know whether it was written since."""
    return hashlib.blake2b(page, digest_size=16).digest()
