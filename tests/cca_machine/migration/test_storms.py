"""Storms of migrations between two machines: lossy links, crashes, aborts, in any order; properties judged at the end.

P1 nothing runs twice; P2 nothing older runs after something newer; P3 a Realm is lost only with its holder; P7 both
machines and the witness agree; P8 every session ends. P4 is held by the leak check beside it.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest

from cca_machine import commands as c
from cca_machine.host.states import HostedState
from cca_machine.migration.precopy import Terms
from cca_machine.migration.tables import CLOSED

MS, S = 1_000_000, 1_000_000_000
OTHER = {"a": "b", "b": "a"}


class Storm:
    """Moves one Realm to and fro under faults drawn from a seed; `killed` are the machines that lost power."""

    def __init__(self, kit: Any, seed: int) -> None:
        self.random = Random(seed)
        self.world = kit.World("a", "b", memory_bytes=256 << 20)
        work = c.Workload(dirty_bytes_per_s=self.random.choice([0, 8 << 20]), working_set_bytes=8 << 20)
        self.spec = kit.realm_spec(memory_bytes=16 << 20, workload=work)
        self.kit, self.killed = kit, []
        self.loss, self.late = 0.0, 0.0
        self.world.serve("a", self.spec, lease_ns=100_000 * S)
        self.world.carry = self.carry

    def carry(self, name: str, sent: c.Sent) -> list[c.Parcel]:
        if self.random.random() < self.loss:
            return []
        again = self.random.random() < self.loss / 2
        return [sent.body] * (2 if again else 1)  # type: ignore[list-item]

    def move(self, number: int) -> None:
        held = self.world.machines["witness"].ledger.lineages.get("r/1")
        source = held.holder if held else "a"
        self.loss = self.random.choice([0.0, 0.0, 0.05, 0.3])
        terms = Terms(bytes_per_s=16 << 20, downtime_ns=50 * MS, most_rounds=self.random.choice([0, 3]))
        self.world.open_session(
            f"s{number}", self.spec, source=source, target=OTHER[source],
            generation=held.generation if held else 0, deadline_ns=self.random.choice([2, 30]) * S, terms=terms,
            lease_ns=100_000 * S,
        )  # fmt: skip
        for _ in range(self.random.randint(0, 3)):
            self.world.run(self.random.choice([MS, 30 * MS, 300 * MS, 2 * S]))
            self.deed(number)
        self.loss = 0.0
        self.world.run(60 * S)

    def deed(self, number: int) -> None:
        kind = self.random.randint(0, 5)
        if kind == 0 and not self.killed:
            machine = self.random.choice(["a", "b"])
            self.killed.append(machine)
            self.world.order(machine, c.Inject(c.FaultKind.POWER_LOSS))
        elif kind == 1:
            self.world.order("witness", c.EndSession(f"s{number}", "r/1", "storm"))
        elif kind == 2:
            self.world.order(self.random.choice(["a", "b"]), c.SettleSession(f"s{number}", 0))
        elif kind == 3:
            self.loss = 1.0
            self.world.run(self.random.choice([10 * MS, S, 5 * S]))
            self.loss = 0.0
        elif kind == 4:
            self.world.order(self.random.choice(["a", "b"]), c.Attest("r", 1, self.kit.NONCE))

    def judge(self) -> None:
        world = self.world
        lives = sorted((begin, until or world.now_ns) for *_, begin, until in world.lives())
        assert all(until <= begin for (_, until), (begin, _) in pairwise(lives)), "P1"
        ledger = world.machines["witness"].ledger
        holder = ledger.lineages["r/1"].holder
        granted = [record.holder for _, record in world.told(c.LineageStep) if record.decision == "grant"]
        order = ["a", *granted]
        ran = [name for _, _, name, _, _ in sorted(world.lives(), key=lambda life: life[3])]
        place = 0
        for name in ran:
            while order[place] != name:
                place += 1
                assert place < len(order), "P2: it ran where it was never granted"
        for name in ("a", "b"):
            running = world.machines[name]._state.running
            if running is not None:
                closed = CLOSED | {"unknown", "lost"}
                assert {one.state for one in running.sessions.sessions.values()} <= closed, "P8"
                states = {hosted.state for hosted in running.host.realms.values()}
                assert states <= ({HostedState.SERVING} if name == holder else set()), "P7"
        live = [name for _, _, name, _, until in world.lives() if until is None]
        assert live == [holder] or holder in self.killed, "P3"


@pytest.mark.parametrize("seed", range(40))
def test_a_storm_of_migrations_neither_forks_nor_loses_nor_hangs(kit: Any, seed: int) -> None:
    for case in range(5):
        storm = Storm(kit, seed * 5 + case)
        for number in range(3):
            storm.move(number)
        storm.world.run(200 * S)
        storm.judge()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 700))
def test_a_storm_of_migrations_neither_forks_nor_loses_nor_hangs_in_the_long_run(kit: Any, seed: int) -> None:
    test_a_storm_of_migrations_neither_forks_nor_loses_nor_hangs(kit, seed)
