"""Random Hosts of RMI 2.0, some of which lie, against the invariants and a naive model of a dictionary per question."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from naive_2_0 import AUX, DATA, DELEGATED, NS, RTT, Naive
from spec_door import DRAM, OUTSIDE, PAGE, UNKNOWN
from spec_door_2_0 import DONATE, GOES_ON, RECLAIM, SUCCESS, Door2, desc

from cca_machine.abi.guest import Access, Poke, Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi2 import RealmParams2, RecParams2, Rmi2
from cca_machine.abi.rsi import Rsi
from cca_machine.abi.rsi2 import PlaneEnter, Rsi2
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.invariants import regressions, violations
from cca_machine.rmm.measurement import RIM
from cca_machine.rmm.state import RealmState

MARKER = b"plaintext of a Realm"
POOL = [DRAM.base + index * PAGE for index in range(96)]
HOST = [DRAM.base + (200 + index) * PAGE for index in range(6)]
PARAMS, REC_PARAMS, CONTENT, RUN, LIST, OUT = HOST
HALF = 1 << 39
IPAS = [0, PAGE, 2 * PAGE, 511 * PAGE, 1 << 21, 1 << 30, HALF, HALF + PAGE, 1 << 40, 5]
PRIVATE = 1 << 7

granule = st.sampled_from([*POOL, *POOL, *POOL, OUTSIDE, DRAM.base + 8])
ipa = st.sampled_from([*IPAS, 0, PAGE, 2 * PAGE])
level = st.sampled_from([0, 1, 2, 3, 4, UNKNOWN, 2, 3, 2, 3])
pick = st.integers(0, 99)
count = st.integers(1, 4)


class HostAtTheDoor2(RuleBasedStateMachine):
    """Every rule is one call, or a few; `naive` says what must have become of granules, pages, Realms and RECs."""

    @initialize(built=st.integers(0, 6), flags1=st.sampled_from([1, 1, 2]), second=st.booleans())
    def boot(self, built: int, flags1: int, second: bool) -> None:
        self.door = Door2(contexts=5, mec_count=1)
        self.naive = Naive(POOL)
        self.before = copy.deepcopy(self.door.rmm.state)
        if built:
            self.delegate(POOL[0], 96)
            self.build(POOL[0:40], flags1, built)
            if second:
                self.build(POOL[40:80], 2, built)

    def build(self, pool: list[int], flags1: int, built: int) -> None:
        """A Realm with a plane, tables and a REC, from legal calls: where random ones would seldom get."""
        rd = pool[4]
        self.realm_create(rd, pool[0], pool[2], flags1, 0)
        for depth, table in ((2, pool[5]), (3, pool[6])):
            self.rtt_create(rd_pick(self, rd), table, 0, depth, 0)
            if flags1 == 1:
                self.rtt_create(rd_pick(self, rd), table + 2 * PAGE, 0, depth, 1)
        handle = self.begin_rec(rd_pick(self, rd), pool[9], 0, 1)
        self.donate(handle, pool[10], AUX)
        self.carry_on(handle)
        if built > 1:
            self.data_map_init(rd_pick(self, rd), pool[30], PAGE, 1)
        if built > 3:
            self.tables_to(rd_pick(self, rd), HALF, 0)
            for where in (0, PAGE, HALF):
                self.share_with_the_plane(rd_pick(self, rd), where)
        if built % 2:
            self.life(rd_pick(self, rd), Rmi2.REALM_ACTIVATE)

    def realm_of(self, number: int) -> int:
        realms = sorted(self.naive.realms)
        return realms[number % len(realms)] if realms and number % 16 else POOL[number % len(POOL)]

    def rec_of(self, number: int) -> int:
        recs = sorted(self.naive.recs)
        return recs[number % len(recs)] if recs and number % 16 else POOL[number % len(POOL)]

    def call(self, fid: Rmi2, *args: int) -> tuple[int, ...]:
        self.before = copy.deepcopy(self.door.rmm.state)
        digest = self.door.digest()
        x = self.door.call(fid, *args)
        assert x[0] != UNKNOWN
        told_late = fid is Rmi2.OP_CONTINUE and args[0] in self.before.operations
        if x[0] & 0xFF not in (SUCCESS, GOES_ON) and not told_late:
            assert self.door.digest() == digest, fid.name
        return x

    @rule(base=granule, pages=st.integers(0, 96))
    def delegate(self, base: int, pages: int) -> None:
        top = min(base + pages * PAGE, max(base, POOL[-1] + PAGE))
        reach = self.naive.run(base, top, NS)
        x = self.call(Rmi2.GRANULE_RANGE_DELEGATE, base, top)
        assert (x[0] == SUCCESS) == (reach > base)
        if reach > base:
            assert x[1] == reach
            self.naive.become(list(range(base, reach, PAGE)), DELEGATED)

    @rule(base=granule, pages=count)
    def undelegate(self, base: int, pages: int) -> None:
        reach = self.naive.run(base, base + pages * PAGE, DELEGATED)
        x = self.call(Rmi2.GRANULE_RANGE_UNDELEGATE, base, base + pages * PAGE)
        assert (x[0] == SUCCESS) == (reach > base)
        if reach > base:
            assert x[1] == reach
            self.naive.become(list(range(base, reach, PAGE)), NS)

    @rule(rd=granule, base=granule, aux=granule, flags1=st.integers(0, 3), flags=st.sampled_from([0, 0, PRIVATE, 4]))
    def realm_create(self, rd: int, base: int, aux: int, flags1: int, flags: int) -> None:
        params = RealmParams2(
            s2sz=40, rtt_level_start=1, rtt_num_start=2, num_bps=1, num_wps=1, rtt_base=base, flags=flags,
            num_aux_planes=1, flags1=flags1, aux_rtt_base=(aux, 0, 0),
        )  # fmt: skip
        self.door.write(PARAMS, params.encode())
        roots = [base, base + PAGE] + ([aux, aux + PAGE] if flags1 & 1 else [])
        x0 = self.call(Rmi2.REALM_CREATE, rd, PARAMS)[0]
        free = all(self.naive.granules.get(pa) == DELEGATED for pa in (rd, *roots))
        assert not (x0 == SUCCESS and not free)
        if x0 == SUCCESS:
            self.naive.created(rd, roots)

    @rule(number=pick, fid=st.sampled_from([Rmi2.REALM_ACTIVATE, Rmi2.REALM_ACTIVATE, Rmi2.REALM_TERMINATE]))
    def life(self, number: int, fid: Rmi2) -> None:
        rd = self.realm_of(number)
        state = self.naive.realms.get(rd)
        x0 = self.call(fid, rd)[0]
        legal = state is not None if fid is Rmi2.REALM_TERMINATE else state == "NEW"
        assert (x0 == SUCCESS) == legal
        if x0 == SUCCESS:
            self.naive.realms[rd] = "ZOMBIE" if fid is Rmi2.REALM_TERMINATE else "ACTIVE"
            if fid is Rmi2.REALM_ACTIVATE:
                self.naive.rims[rd] = self.door.rmm.state.realms[rd].measurements[RIM]

    @rule(number=pick)
    def realm_destroy(self, number: int) -> None:
        rd = self.realm_of(number)
        if self.call(Rmi2.REALM_DESTROY, rd)[0] == SUCCESS:
            self.naive.destroyed(rd)

    @rule(number=pick, rec=granule, index=st.integers(0, 1), flags=st.integers(0, 1))
    def rec_create(self, number: int, rec: int, index: int, flags: int) -> None:
        self.begin_rec(number, rec, index, flags)

    def begin_rec(self, number: int, rec: int, index: int, flags: int) -> int:
        rd = self.realm_of(number)
        self.door.write(REC_PARAMS, RecParams2(flags=flags, mpidr=index).encode())
        x = self.call(Rmi2.REC_CREATE, rd, rec, REC_PARAMS)
        if x[0] == DONATE:
            assert self.naive.granules[rec] == DELEGATED
            self.naive.rec_began(rec, x[1], rd)
        return x[1]

    @rule(handle=st.integers(0, 5), base=granule, pages=st.integers(0, 17))
    def donate(self, handle: int, base: int, pages: int) -> None:
        self.door.write(LIST, desc(base & ~0xFFF, pages).to_bytes(8, "little"))
        x = self.call(Rmi2.OP_MEM_DONATE, handle, LIST, 1)
        if x[0] in (DONATE, GOES_ON, RECLAIM):
            base &= ~0xFFF
            self.naive.donation(handle, list(range(base, base + pages * PAGE, PAGE)), x)

    @rule(handle=st.integers(0, 5), slots=st.integers(0, 8))
    def reclaim(self, handle: int, slots: int) -> None:
        x = self.call(Rmi2.OP_MEM_RECLAIM, handle, OUT, slots)
        if x[0] & 0xFF == GOES_ON:
            given = self.door.read_list(OUT, x[1])
            pages = [(one & ~0xFFF) + at * PAGE for one in given for at in range(one >> 2 & 0x3FF)]
            self.naive.reclaimed(handle, pages)

    @rule(handle=st.integers(0, 5))
    def carry_on(self, handle: int) -> None:
        operation = self.door.rmm.state.operations.get(handle)
        rd = operation.rd if operation else 0
        x0 = self.call(Rmi2.OP_CONTINUE, handle, 0)[0]
        if handle in self.naive.creating and x0 in (SUCCESS, RECLAIM):
            self.naive.rec_ended(handle, rd, x0)
        elif handle in self.naive.leaving and handle not in self.door.rmm.state.operations:
            self.naive.left(handle)

    @rule(number=pick)
    def rec_destroy(self, number: int) -> None:
        pa = self.rec_of(number)
        x = self.call(Rmi2.REC_DESTROY, pa)
        if x[0] == RECLAIM:
            self.naive.rec_left(pa, x[1])

    @rule(number=pick, pa=granule, where=ipa, depth=level, tree=st.integers(0, 2))
    def rtt_create(self, number: int, pa: int, where: int, depth: int, tree: int) -> None:
        rd = self.realm_of(number)
        args = (rd, pa, where, depth)
        x = self.call(Rmi2.RTT_AUX_CREATE, *args, tree) if tree else self.call(Rmi2.RTT_CREATE, *args)
        if x[0] == SUCCESS:
            assert self.naive.granules[pa] == DELEGATED
            self.naive.become([pa], RTT)

    @rule(number=pick, where=ipa, depth=level, fold=st.booleans(), tree=st.integers(0, 1))
    def rtt_remove(self, number: int, where: int, depth: int, fold: bool, tree: int) -> None:
        names = (Rmi2.RTT_DESTROY, Rmi2.RTT_FOLD, Rmi2.RTT_AUX_DESTROY, Rmi2.RTT_AUX_FOLD)
        args = (self.realm_of(number), where, depth)
        x = self.call(names[2 * tree + fold], *args, *((tree,) if tree else ()))
        if x[0] == SUCCESS:
            assert self.naive.granules[x[1]] == RTT
            self.naive.become([x[1]], DELEGATED)

    @rule(number=pick, pa=granule, where=ipa, flags=st.sampled_from([0, 1, 1, 2]))
    def data_map_init(self, number: int, pa: int, where: int, flags: int) -> None:
        rd = self.realm_of(number)
        if self.call(Rmi2.RTT_DATA_MAP_INIT, rd, pa, where, CONTENT, flags)[0] == SUCCESS:
            assert self.naive.realms[rd] == "NEW"
            self.naive.mapped(rd, where, where + PAGE, pa)

    @rule(number=pick, pa=granule, where=ipa, pages=count)
    def data_map(self, number: int, pa: int, where: int, pages: int) -> None:
        rd, pa = self.realm_of(number), pa & ~0xFFF
        x = self.call(Rmi2.RTT_DATA_MAP, rd, where, where + pages * PAGE, 1, desc(pa, pages))
        if x[0] == SUCCESS:
            self.naive.mapped(rd, where, x[1], pa)

    @rule(number=pick, where=ipa, pages=st.sampled_from([1, 2, 512]), kind=st.integers(0, 1))
    def data_unmap(self, number: int, where: int, pages: int, kind: int) -> None:
        rd = self.realm_of(number)
        x = self.call(Rmi2.RTT_DATA_UNMAP, rd, where, where + pages * PAGE, kind, 0)
        if x[0] == SUCCESS:
            assert x[1] > where
            self.naive.unmapped(rd, where, x[1])

    @rule(number=pick, where=ipa, shown=granule, pages=count, map_it=st.booleans())
    def share(self, number: int, where: int, shown: int, pages: int, map_it: bool) -> None:
        rd, top = self.realm_of(number), where + pages * PAGE
        if map_it:
            self.call(Rmi2.RTT_UNPROT_MAP, rd, where, top, 1 | 3 << 19, desc(shown & ~0xFFF, pages))
        else:
            self.call(Rmi2.RTT_UNPROT_UNMAP, rd, where, top, 0, 0)

    @rule(number=pick, where=ipa, what=st.sampled_from(
        [Rmi2.RTT_AUX_MAP_PROTECTED, Rmi2.RTT_AUX_MAP_PROTECTED, Rmi2.RTT_AUX_UNMAP_PROTECTED,
         Rmi2.RTT_AUX_MAP_UNPROTECTED, Rmi2.RTT_AUX_UNMAP_UNPROTECTED]))  # fmt: skip
    def auxiliary(self, number: int, where: int, what: Rmi2) -> None:
        self.call(what, self.realm_of(number), where, 1)

    @rule(number=pick, base=ipa, pages=st.sampled_from([0, 1, 3, 512]))
    def init_ripas(self, number: int, base: int, pages: int) -> None:
        self.call(Rmi2.RTT_INIT_RIPAS, self.realm_of(number), base, base + pages * PAGE)

    @rule(number=pick, where=st.sampled_from([0, 0, HALF]), tree=st.integers(0, 1))
    def tables_to(self, number: int, where: int, tree: int) -> None:
        """Tables that are missing, from whatever is free."""
        for depth in (2, 3):
            free = [pa for pa in POOL if self.naive.granules[pa] == DELEGATED]
            if free:
                self.rtt_create(number, free[-1], where, depth, tree)

    @rule(number=pick, where=st.sampled_from([0, PAGE, HALF, HALF + PAGE]))
    def share_with_the_plane(self, number: int, where: int) -> None:
        """What the primary tree maps, in the tree of the plane as well."""
        if where < HALF:
            self.data_map(number, self.any(DELEGATED), where, 1)
            self.init_ripas(number, where, 1)
            self.auxiliary(number, where, Rmi2.RTT_AUX_MAP_PROTECTED)
        else:
            self.share(number, where, HOST[0], 1, True)
            self.auxiliary(number, HALF, Rmi2.RTT_AUX_MAP_UNPROTECTED)

    def any(self, state: str) -> int:
        return next((pa for pa in POOL if self.naive.granules[pa] == state), OUTSIDE)

    @rule(number=pick, ripas=st.integers(0, 1), permit=st.integers(0, 1), pages=st.integers(1, 3), of=st.booleans())
    def ask_and_follow(self, number: int, ripas: int, permit: int, pages: int, of: bool) -> None:
        """A Realm asks for a change, and the Host makes part of it."""
        rec = self.rec_of(number)
        self.door.write(RUN, bytes(PAGE))
        asks = (Rsi.IPA_STATE_SET, 0, 3 * PAGE, ripas, permit) if of else (Rsi2.MEM_SET_PERM_INDEX, 0, 3 * PAGE, 3, 0)
        self.door.guest.events = [Smc(tuple(map(int, asks)))]
        if self.call(Rmi2.REC_ENTER, rec, RUN)[0] == SUCCESS:
            fid = Rmi2.RTT_SET_RIPAS if of else Rmi2.RTT_SET_S2AP
            self.call(fid, self.naive.recs[rec][0], rec, 0, pages * PAGE)

    @rule(number=pick, steps=st.integers(1, 12))
    def take_apart(self, number: int, steps: int) -> None:
        """The legal way out, as far as it goes."""
        rd = self.realm_of(number)
        for rec in [rec for rec, (owner, _) in self.naive.recs.items() if owner == rd]:
            x = self.call(Rmi2.REC_DESTROY, rec)
            if x[0] == RECLAIM:
                self.naive.rec_left(rec, x[1])
                self.reclaim(x[1], 8)
                self.reclaim(x[1], steps)
                self.carry_on(x[1])
        if rd not in self.naive.realms:
            return
        chosen = rd_pick(self, rd)
        todo = [
            *((self.auxiliary, (chosen, where, Rmi2.RTT_AUX_UNMAP_PROTECTED)) for where in (0, PAGE, 2 * PAGE)),
            (self.auxiliary, (chosen, HALF, Rmi2.RTT_AUX_UNMAP_UNPROTECTED)),
            (self.data_unmap, (chosen, 0, 512, 0)),
            (self.share, (chosen, HALF, 0, 4, False)),
            *((self.rtt_remove, (chosen, where, depth, False, tree))
              for tree, where in ((1, 0), (0, 0), (0, HALF)) for depth in (3, 2)),
            (self.life, (chosen, Rmi2.REALM_TERMINATE)),
            (self.realm_destroy, (chosen,)),
        ]  # fmt: skip
        for step, args in todo[-steps:] if steps < 6 else todo:
            step(*args)

    @rule(number=pick, fid=st.sampled_from([Rmi2.RTT_SET_RIPAS, Rmi2.RTT_SET_S2AP]), base=ipa, pages=count)
    def follow_a_request(self, number: int, fid: Rmi2, base: int, pages: int) -> None:
        rec = self.rec_of(number)
        rd = self.naive.recs[rec][0] if rec in self.naive.recs else self.realm_of(number)
        self.call(fid, rd, rec, base, base + pages * PAGE)

    @rule(number=pick, flags=st.sampled_from([0, 0, 0, 1, 2, 16, 32, 128]),
          fid=st.sampled_from([*Rsi, *Rsi2, *Psci, Rsi.IPA_STATE_SET, Rsi2.PLANE_ENTER, Rsi2.MEM_SET_PERM_INDEX]),
          args=st.lists(st.sampled_from([0, 1, 2, 3, PAGE, 2 * PAGE, 3 * PAGE, HALF, 1 << 21]), max_size=4),
          where=ipa)  # fmt: skip
    def rec_enter(self, number: int, flags: int, fid: int, args: list[int], where: int) -> None:
        rec = self.rec_of(number)
        self.door.write(RUN, flags.to_bytes(8, "little"))
        poke = [Poke(where, MARKER)] if where < HALF else []
        self.door.guest.events = [*poke, Smc((int(fid), *args)), Access(ipa=where, write=True)]
        x0 = self.call(Rmi2.REC_ENTER, rec, RUN)[0]
        if x0 == SUCCESS:
            assert self.naive.realms[self.naive.recs[rec][0]] == "ACTIVE"

    @rule(number=pick)
    def a_plane_runs(self, number: int) -> None:
        rec = self.rec_of(number)
        self.door.write(RUN, bytes(PAGE))
        page = PlaneEnter(pc=0x1000, pstate=0x3C5).encode()
        self.door.guest.events = [Poke(PAGE, page), Smc((Rsi2.PLANE_ENTER, 1, PAGE)), Poke(PAGE, MARKER)]
        self.call(Rmi2.REC_ENTER, rec, RUN)

    @rule(number=pick, other=pick, status=st.sampled_from([0, 0, -3 & UNKNOWN, 1]))
    def psci_complete(self, number: int, other: int, status: int) -> None:
        self.call(Rmi2.PSCI_COMPLETE, self.rec_of(number), self.rec_of(other), status)

    @invariant()
    def nothing_is_violated(self) -> None:
        if not hasattr(self, "door"):
            return
        state, hardware = self.door.rmm.state, self.door.hardware
        assert violations(state, hardware) == []
        assert regressions(self.before, state) == []
        names = {0: "NS", 1: "DELEGATED", 2: "RD", 3: "REC", 4: "REC_AUX", 5: "DATA", 6: "RTT", 11: "PARTIAL"}
        assert {pa: names[state.granules.get(pa)] for pa in POOL} == self.naive.granules
        alive = {rd: realm.state for rd, realm in state.realms.items()}
        assert alive.keys() == self.naive.realms.keys()
        for rd, is_now in alive.items():
            assert is_now.name == self.naive.realms[rd] or (is_now, self.naive.realms[rd]) == (
                RealmState.SYSTEM_OFF, "ACTIVE",
            )  # fmt: skip
        for (rd, where), pa in self.naive.pages.items():
            found = self.door.rmm.core.walk(state.realms[rd], where, 3)
            assert (found.level, found.entry & (1 << 52) - PAGE) == (3, pa)
        assert len(self.naive.pages) == sum(one == DATA for one in self.naive.granules.values())

    @invariant()
    def a_rim_is_frozen_and_the_host_never_reads_what_a_realm_wrote_for_itself(self) -> None:
        if not hasattr(self, "door"):
            return
        for rd, rim in self.naive.rims.items():
            assert self.door.rmm.state.realms[rd].measurements[RIM] == rim
        for pa in POOL:
            try:
                page = self.door.hardware.memory.read(World.NS, pa, PAGE)
            except GranuleProtectionFault:
                continue
            assert MARKER not in page


def rd_pick(host: HostAtTheDoor2, rd: int) -> int:
    """The number that `realm_of` answers with `rd`."""
    return next(number for number in range(1, 99) if host.realm_of(number) == rd)


TestHostAtTheDoor2 = HostAtTheDoor2.TestCase
TestHostAtTheDoor2.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_more_hosts() -> None:
    run_state_machine_as_test(
        HostAtTheDoor2,
        settings=settings(
            max_examples=600, stateful_step_count=80, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
