"""Orders, parcels and faults at random: whatever comes, a machine stays a machine."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from cca_machine import commands as c
from cca_machine.host.states import EXECUTING
from cca_machine.invariants import violations

MS, S = 1_000_000, 1_000_000_000
REALMS = "xyz"


class Storm:
    """Sixty random deeds on two machines whose control plane has lost its mind; `leases` are what it ever granted."""

    def __init__(self, kit: Any, seed: int) -> None:
        self.kit, self.random = kit, Random(seed)
        self.world = kit.World("a", "b", memory_bytes=256 << 20)
        self.leases: dict[tuple[str, str, int], int] = {}
        self.sessions = 0
        self.images = [kit.firmware_image("RMM", f"1.{n}.0", security_version=n) for n in (1, 2, 3)]
        self.images += [kit.firmware_image("BL31", "2.0.0"), kit.firmware_image("HES", "2.0.0"), b"noise"]
        if self.random.random() < 0.3:
            self.world.carry = self.lose

    def lose(self, name: str, sent: Any) -> list[c.Parcel]:
        draw, parcel = self.random.random(), sent.body
        if draw < 0.1:
            return []
        return [c.Parcel(parcel.session, parcel.payload[:-1] + b"!", 64)] if draw < 0.15 else [parcel]

    def realm(self) -> c.RealmSpec:
        choose = self.random.choice
        spec: c.RealmSpec = self.kit.realm_spec(
            choose(REALMS), incarnation=choose([1, 1, 1, 2]), vcpus=choose([1, 2, 3]),
            memory_bytes=choose([16 << 20, 24 << 20, (20 << 20) + 0x3000, 300 << 20]),
            image=c.ImageSpec("tiny", 1, 30_000), program=choose(["server", "batch", "database"]),
        )  # fmt: skip
        return spec

    def grant(self, machine: str, realm: str, incarnation: int, until_ns: int) -> None:
        key = (machine, realm, incarnation)
        self.leases[key] = max(self.leases.get(key, 0), until_ns)

    def deed(self) -> None:
        choose, world = self.random.choice, self.world
        machine = choose("ab")
        kind = choose(
            [self.launch] * 3 + [self.secret] * 2 + [self.move] * 2
            + [self.attest, self.stop, self.renew, self.decide, self.firmware, self.strike, self.restore]
        )  # fmt: skip
        kind(machine, world.now_ns)
        world.run(700 * S if self.random.random() < 0.05 else choose([1, MS, 50 * MS, S, 3 * S, 10 * S]))

    def launch(self, machine: str, now_ns: int) -> None:
        spec, until_ns = self.realm(), now_ns + self.random.choice([1, 5, 60]) * S
        self.grant(machine, spec.realm, spec.incarnation, until_ns)
        self.world.order(machine, c.Launch(spec, self.kit.NONCE, until_ns))

    def attest(self, machine: str, now_ns: int) -> None:
        self.world.order(machine, c.Attest(self.random.choice(REALMS), 1, self.kit.NONCE))

    def stop(self, machine: str, now_ns: int) -> None:
        self.world.order(machine, c.Stop(self.random.choice(REALMS), 1))

    def secret(self, machine: str, now_ns: int) -> None:
        launched = self.world.bodies(c.Launched)
        if launched:
            one = self.random.choice(launched)
            self.world.order(machine, c.DeliverSecret(one.realm, one.incarnation, self.kit.sealed(one.evidence)))

    def renew(self, machine: str, now_ns: int) -> None:
        until_ns = now_ns + self.random.choice([1, 30]) * S
        for realm in REALMS:
            self.grant(machine, realm, 1, until_ns)
        self.world.order(machine, c.RenewLeases(tuple((realm, 1) for realm in REALMS), until_ns))

    def move(self, machine: str, now_ns: int) -> None:
        other = "b" if machine == "a" else "a"
        running = self.world.machines[machine]._state.running
        hosted = [one for one in running.host.hosted() if one.state in EXECUTING] if running else []
        if hosted:
            spec, self.sessions = hosted[0].spec, self.sessions + 1
            session = f"s{self.sessions}"
            self.grant(other, spec.realm, spec.incarnation, now_ns + 1000 * S)
            held = self.world.machines["witness"].ledger.lineages.get(f"{spec.realm}/{spec.incarnation}")
            self.world.open_session(
                session,
                spec,
                source=machine,
                target=other,
                generation=held.generation if held else 0,
                deadline_ns=self.random.choice([1, 60]) * S,
                lease_ns=900 * S,
            )
            self.world.run(self.random.choice([1, 3 * S]))

    def decide(self, machine: str, now_ns: int) -> None:
        session, until_ns = f"s{self.random.randint(0, self.sessions)}", now_ns + 60 * S
        for realm in REALMS:
            for incarnation in (1, 2):
                self.grant(machine, realm, incarnation, until_ns)
        if self.random.random() < 0.5:
            self.world.order(machine, c.SettleSession(session, until_ns))
        else:
            realm, incarnation = self.random.choice(REALMS), self.random.choice([1, 2])
            ended = c.EndSession(session, f"{realm}/{incarnation}", "storm", self.random.random() < 0.2)
            self.world.order("witness", ended)

    def firmware(self, machine: str, now_ns: int) -> None:
        orders = [c.Prime(self.random.choice(self.images)), c.Activate("RMM"), c.Activate("BL31"), c.Cancel("RMM")]
        self.world.order(machine, self.random.choice(orders))

    def strike(self, machine: str, now_ns: int) -> None:
        kind = self.random.choice(list(c.FaultKind))
        self.world.order(machine, c.Inject(kind))
        self.world.order(machine, c.Heal(kind), now_ns + self.random.choice([MS, S, 5 * S, 400 * S]))

    def restore(self, machine: str, now_ns: int) -> None:
        old = self.world.machines[machine]
        new = self.world.machines[machine] = type(old)(old.spec)
        new.restore(old.snapshot())
        assert new.snapshot() == old.snapshot()
        assert new.digest() == old.digest()

    def check(self) -> None:
        for name in ("a", "b"):
            state = self.world.machines[name]._state
            if state.running is None or not state.monitor.now.rmm_alive:
                continue
            assert violations(state.running.rmm, state.running.hardware) == []
            host = state.running.host
            lent = {
                page for one in host.hosted() for base, count in one.footprint.delegated.runs
                for page in range(base, base + count * 4096, 4096)
            }  # fmt: skip
            delegated = {
                page for base, count, _ in state.running.rmm.granules.runs()
                for page in range(base, base + count * 4096, 4096)
            }  # fmt: skip
            assert lent == delegated, "the host's account is the RMM's"
            assert {one.footprint.rd for one in host.hosted() if one.footprint.created} == set(state.running.rmm.realms)
        for realm, incarnation, machine_name, _, until_ns in self.world.lives():
            lease_ns = self.leases[machine_name, realm, incarnation]
            assert (self.world.now_ns if until_ns is None else until_ns) <= lease_ns or until_ns is None
            if until_ns is None and FROZEN not in self.world.machines[machine_name]._state.faults:
                assert self.world.now_ns <= lease_ns


FROZEN = c.FaultKind.FREEZE


@pytest.mark.parametrize("seed", range(8))
def test_no_order_parcel_or_fault_breaks_a_machine(kit: Any, seed: int) -> None:
    storm = Storm(kit, seed)
    for _ in range(60):
        storm.deed()
        storm.check()
    storm.world.run(1500 * S)
    storm.check()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 300))
def test_no_order_parcel_or_fault_breaks_a_machine_in_the_long_run(kit: Any, seed: int) -> None:
    test_no_order_parcel_or_fault_breaks_a_machine(kit, seed)
