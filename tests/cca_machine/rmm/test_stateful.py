"""Random Hosts, some of which lie, against the invariants and a naive model of one dictionary per question."""

from __future__ import annotations

import copy

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from spec_door import DRAM, OUTSIDE, PAGE, SUCCESS, UNKNOWN, Door

from cca_machine.abi.guest import Poke, SetSystemRegister, Smc, SystemRegister
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import RealmParams, RecParams, Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.invariants import regressions, violations
from cca_machine.rmm.features import RmmFeatures
from cca_machine.rmm.quirks import SUGGESTED, TEXT, TF_RMM, QuirkSet
from cca_machine.rmm.replay_ports import FixedLengthTokens
from cca_machine.rmm.rmm import Rmm

MARKER = b"plaintext of a Realm"
POOL = [DRAM.base + index * PAGE for index in range(48)]
HOST_PAGES = [DRAM.base + (100 + index) * PAGE for index in range(4)]
IPAS = [0, PAGE, 2 * PAGE, 511 * PAGE, 1 << 21, 1 << 30, 1 << 39, (1 << 39) + PAGE, 1 << 40, 5]
LEVELS = [0, 1, 2, 3, 4, 0xFFFF_FFFF_FFFF_FFFF]
NUM_AUX = 2
FEATURES = RmmFeatures(num_bps=3, num_wps=3, max_rec_aux=NUM_AUX)

granule = st.sampled_from([*POOL, *POOL, *POOL, OUTSIDE, DRAM.base + 8])
ipa = st.sampled_from([*IPAS, 0, PAGE, 2 * PAGE])
level = st.sampled_from([*LEVELS, 2, 3, 2, 3])


class HostAtTheDoor(RuleBasedStateMachine):
    """Every rule is one call; `expected` is what a dictionary says about granules."""

    @initialize(quirks=st.sampled_from([SUGGESTED, TEXT, TF_RMM]), built=st.integers(0, 3), second=st.booleans())
    def boot(self, quirks: QuirkSet, built: int, second: bool) -> None:
        self.door = Door(quirks, FEATURES)
        self.expected: dict[int, str] = dict.fromkeys(POOL, "NS")
        self.before = copy.deepcopy(self.door.rmm.state)
        if built:
            self.delegate_all()
            self.build(POOL[0:12], 1, built)
            if second:
                self.build(POOL[12:24], 2, built)

    def build(self, pool: list[int], vmid: int, built: int) -> None:
        """A Realm with tables around IPA 0 and two RECs, from legal calls: where random ones would seldom get."""
        self.realm_create(pool[2], pool[0], vmid, 0, 1)
        self.door.ok(Rmi.RTT_CREATE, pool[2], pool[3], 0, 2)
        self.door.ok(Rmi.RTT_CREATE, pool[2], pool[4], 0, 3)
        self.expected.update(dict.fromkeys(pool[3:5], "RTT"))
        for index in range(2):
            rec, *aux = pool[5 + 3 * index : 8 + 3 * index]
            page = RecParams(flags=1 - index, mpidr=index, num_aux=NUM_AUX, aux=tuple(aux)).encode()
            self.door.write(HOST_PAGES[1], page)
            self.door.ok(Rmi.REC_CREATE, pool[2], rec, HOST_PAGES[1])
            self.expected.update({rec: "REC", **dict.fromkeys(aux, "REC_AUX")})
        if built > 1:
            self.door.ok(Rmi.DATA_CREATE, pool[2], pool[11], PAGE, HOST_PAGES[2], 1)
            self.expected[pool[11]] = "DATA"
        if built > 2:
            self.door.ok(Rmi.REALM_ACTIVATE, pool[2])
        self.before = copy.deepcopy(self.door.rmm.state)

    def realm_or_any(self, pick: int) -> int:
        realms = sorted(self.door.rmm.state.realms)
        return realms[pick % len(realms)] if realms and pick % 16 else POOL[pick % len(POOL)]

    def rec_or_any(self, pick: int) -> int:
        recs = sorted(self.door.rmm.state.recs)
        return recs[pick % len(recs)] if recs and pick % 16 else POOL[pick % len(POOL)]

    def call(self, fid: Rmi, *args: int) -> tuple[int, ...]:
        self.before = copy.deepcopy(self.door.rmm.state)
        digest = self.door.digest()
        x = self.door.call(fid, *args)
        assert x[0] != UNKNOWN
        denied_completed = fid is Rmi.PSCI_COMPLETE and self.door.rmm.quirks.denied_completes
        if x[0] != SUCCESS and not denied_completed:
            assert self.door.digest() == digest, fid.name
        return x

    @rule(pa=granule)
    def delegate(self, pa: int) -> None:
        x0 = self.call(Rmi.GRANULE_DELEGATE, pa)[0]
        assert (x0 == SUCCESS) == (self.expected.get(pa) == "NS")
        if x0 == SUCCESS:
            self.expected[pa] = "DELEGATED"

    @rule()
    def delegate_all(self) -> None:
        for pa in POOL:
            if self.expected[pa] == "NS":
                self.door.ok(Rmi.GRANULE_DELEGATE, pa)
                self.expected[pa] = "DELEGATED"
        self.before = copy.deepcopy(self.door.rmm.state)

    @rule(pa=granule)
    def undelegate(self, pa: int) -> None:
        x0 = self.call(Rmi.GRANULE_UNDELEGATE, pa)[0]
        assert (x0 == SUCCESS) == (self.expected.get(pa) == "DELEGATED")
        if x0 == SUCCESS:
            self.expected[pa] = "NS"

    @rule(
        rd=granule, base=granule, vmid=st.integers(0, 3), hash_algo=st.integers(0, 2), start=st.sampled_from([1, 1, 2])
    )
    def realm_create(self, rd: int, base: int, vmid: int, hash_algo: int, start: int) -> None:
        params = RealmParams(
            s2sz=40 if start == 1 else 32, rtt_level_start=start, rtt_num_start=2 if start == 1 else 4,
            num_bps=1, num_wps=1, vmid=vmid, rtt_base=base, hash_algo=hash_algo,
        )  # fmt: skip
        self.door.write(HOST_PAGES[0], params.encode())
        if self.call(Rmi.REALM_CREATE, rd, HOST_PAGES[0])[0] == SUCCESS:
            self.expected[rd] = "RD"
            for index in range(params.rtt_num_start):
                self.expected[base + index * PAGE] = "RTT"

    @rule(pick=st.integers(0, 99))
    def realm_destroy(self, pick: int) -> None:
        rd = self.realm_or_any(pick)
        realm = self.door.rmm.state.realms.get(rd)
        if self.call(Rmi.REALM_DESTROY, rd)[0] == SUCCESS:
            assert realm is not None
            for index in range(realm.rtt_num_start):
                self.expected[realm.rtt_base + index * PAGE] = "DELEGATED"
            self.expected[rd] = "DELEGATED"

    @rule(pick=st.integers(0, 99))
    def realm_activate(self, pick: int) -> None:
        self.call(Rmi.REALM_ACTIVATE, self.realm_or_any(pick))

    @rule(
        pick=st.integers(0, 99), rec=granule, first=st.integers(0, 40), index=st.integers(0, 2), flags=st.integers(0, 1)
    )
    def rec_create(self, pick: int, rec: int, first: int, index: int, flags: int) -> None:
        free = [pa for pa in POOL if self.expected[pa] == "DELEGATED" and pa != rec]
        aux = tuple((free + POOL)[first % 4 : first % 4 + NUM_AUX])
        self.door.write(HOST_PAGES[1], RecParams(flags=flags, mpidr=index, num_aux=NUM_AUX, aux=aux).encode())
        if self.call(Rmi.REC_CREATE, self.realm_or_any(pick), rec, HOST_PAGES[1])[0] == SUCCESS:
            self.expected[rec] = "REC"
            self.expected.update(dict.fromkeys(aux, "REC_AUX"))

    @rule(pick=st.integers(0, 99))
    def rec_destroy(self, pick: int) -> None:
        pa = self.rec_or_any(pick)
        rec = self.door.rmm.state.recs.get(pa)
        if self.call(Rmi.REC_DESTROY, pa)[0] == SUCCESS:
            assert rec is not None
            self.expected.update(dict.fromkeys([pa, *rec.aux], "DELEGATED"))

    @rule(pick=st.integers(0, 99), pa=granule, where=ipa, depth=level)
    def rtt_create(self, pick: int, pa: int, where: int, depth: int) -> None:
        if self.call(Rmi.RTT_CREATE, self.realm_or_any(pick), pa, where, depth)[0] == SUCCESS:
            self.expected[pa] = "RTT"

    @rule(pick=st.integers(0, 99))
    def tables_to_zero(self, pick: int) -> None:
        for depth in (2, 3):
            free = [pa for pa in POOL if self.expected[pa] == "DELEGATED"]
            if free:
                self.rtt_create(pick, free[-1], 0, depth)

    @rule(pick=st.integers(0, 99), where=ipa, depth=level, fold=st.booleans())
    def rtt_remove(self, pick: int, where: int, depth: int, fold: bool) -> None:
        x = self.call(Rmi.RTT_FOLD if fold else Rmi.RTT_DESTROY, self.realm_or_any(pick), where, depth)
        if x[0] == SUCCESS:
            self.expected[x[1]] = "DELEGATED"

    @rule(pick=st.integers(0, 99), pa=granule, where=ipa, measured=st.sampled_from([None, 0, 1, 2]))
    def data_create(self, pick: int, pa: int, where: int, measured: int | None) -> None:
        rd = self.realm_or_any(pick)
        if measured is None:
            x0 = self.call(Rmi.DATA_CREATE_UNKNOWN, rd, pa, where)[0]
        else:
            x0 = self.call(Rmi.DATA_CREATE, rd, pa, where, HOST_PAGES[2], measured)[0]
        if x0 == SUCCESS:
            self.expected[pa] = "DATA"

    @rule(pick=st.integers(0, 99), where=ipa)
    def data_destroy(self, pick: int, where: int) -> None:
        x = self.call(Rmi.DATA_DESTROY, self.realm_or_any(pick), where)
        if x[0] == SUCCESS:
            assert x[2] > where
            self.expected[x[1]] = "DELEGATED"

    @rule(pick=st.integers(0, 99), where=ipa, depth=level, shown=granule, map_it=st.booleans())
    def share(self, pick: int, where: int, depth: int, shown: int, map_it: bool) -> None:
        rd = self.realm_or_any(pick)
        if map_it:
            self.call(Rmi.RTT_MAP_UNPROTECTED, rd, where, depth, shown & ~0xFFF | 3 << 6)
        else:
            self.call(Rmi.RTT_UNMAP_UNPROTECTED, rd, where, depth)

    @rule(pick=st.integers(0, 99), base=ipa, size=st.sampled_from([0, PAGE, 3 * PAGE, 1 << 21, 1 << 30]))
    def init_ripas(self, pick: int, base: int, size: int) -> None:
        self.call(Rmi.RTT_INIT_RIPAS, self.realm_or_any(pick), base, base + size)

    @rule(pick=st.integers(0, 99), of=st.integers(0, 99), size=st.sampled_from([PAGE, 2 * PAGE, 1 << 21]))
    def set_ripas(self, pick: int, of: int, size: int) -> None:
        rec = self.rec_or_any(of)
        waiting = self.door.rmm.state.recs.get(rec)
        base = waiting.ripas.address if waiting and waiting.ripas else 0
        rd = waiting.rd if waiting and pick % 4 else self.realm_or_any(pick)
        self.call(Rmi.RTT_SET_RIPAS, rd, rec, base, base + size)

    @rule(pick=st.integers(0, 99), ripas=st.integers(0, 1), permit=st.integers(0, 1), pages=st.integers(1, 3))
    def realm_asks_for_ripas(self, pick: int, ripas: int, permit: int, pages: int) -> None:
        rec = self.rec_or_any(pick)
        self.door.write(HOST_PAGES[3], bytes(PAGE))
        self.door.guest.events = [Smc((Rsi.IPA_STATE_SET, 0, 4 * PAGE, ripas, permit))]
        if self.call(Rmi.REC_ENTER, rec, HOST_PAGES[3])[0] == SUCCESS:
            self.set_ripas(1, pick, pages * PAGE)

    @rule(pick=st.integers(0, 99), index=st.integers(0, 1), fid=st.sampled_from([Psci.CPU_ON, Psci.AFFINITY_INFO]))
    def realm_asks_for_another_rec(self, pick: int, index: int, fid: int) -> None:
        rec = self.rec_or_any(pick)
        self.door.write(HOST_PAGES[3], bytes(PAGE))
        self.door.guest.events = [Smc((int(fid), index, 0, 7))]
        self.call(Rmi.REC_ENTER, rec, HOST_PAGES[3])

    @rule(pick=st.integers(0, 99), other=st.integers(0, 99), status=st.sampled_from([0, 0, -3 & UNKNOWN, 1]))
    def psci_complete(self, pick: int, other: int, status: int) -> None:
        self.call(Rmi.PSCI_COMPLETE, self.rec_or_any(pick), self.rec_or_any(other), status)

    @rule(
        pick=st.integers(0, 99),
        flags=st.sampled_from([0, 0, 0, 1, 2, 16]),
        fid=st.sampled_from([*Rsi, *Psci]),
        args=st.lists(st.sampled_from([0, 1, 2, 64, PAGE, 2 * PAGE, 3 * PAGE, 1 << 39, 1 << 21]), max_size=4),
        where=ipa,
    )
    def rec_enter(self, pick: int, flags: int, fid: int, args: list[int], where: int) -> None:
        rec = self.rec_or_any(pick)
        self.door.write(HOST_PAGES[3], flags.to_bytes(8, "little"))
        half = 1 << 39 if len(args) % 2 else 1 << 31
        poke = [Poke(where, MARKER)] if where < half else []
        self.door.guest.events = [*poke, Smc((int(fid), *args)), SetSystemRegister(SystemRegister.CNTV_CTL, 0)]
        self.call(Rmi.REC_ENTER, rec, HOST_PAGES[3])

    @rule()
    def activate_another_image(self) -> None:
        old = self.door.rmm
        digest = old.digest()
        self.door.rmm = Rmm(
            old.state, self.door.hardware, self.door.el3, self.door.guest, old.features, old.quirks,
            FixedLengthTokens((100, 100)),
        )  # fmt: skip
        assert self.door.rmm.digest() == digest

    @invariant()
    def nothing_is_violated(self) -> None:
        if not hasattr(self, "door"):
            return
        state, hardware = self.door.rmm.state, self.door.hardware
        assert violations(state, hardware) == []
        assert regressions(self.before, state) == []
        names = {0: "NS", 1: "DELEGATED", 2: "RD", 3: "REC", 4: "REC_AUX", 5: "DATA", 6: "RTT"}
        assert {pa: names[state.granules.get(pa)] for pa in POOL} == self.expected

    @invariant()
    def the_host_never_reads_what_a_realm_wrote_for_itself(self) -> None:
        if not hasattr(self, "door"):
            return
        for pa in POOL:
            try:
                page = self.door.hardware.memory.read(World.NS, pa, PAGE)
            except GranuleProtectionFault:
                continue
            assert MARKER not in page


TestHostAtTheDoor = HostAtTheDoor.TestCase
TestHostAtTheDoor.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
