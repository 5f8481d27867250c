"""What the RMM costs: calls a second through the raw door, Realms built, memory held, against floors of the same run.

Floors: a plain Python loop of as many dictionary updates, and SHA-256 of as many bytes where something is measured.
Fixed addresses and a fixed shuffle; run it with `python tests/benchmarks/bench_rmm.py [--quick]`.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "spec"))

from spec_door import Script

from cca_machine.abi.rmi import RealmParams, RecParams, Rmi
from cca_machine.hardware.gpt import World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm import measurement
from cca_machine.rmm.features import RmmFeatures
from cca_machine.rmm.replay_ports import FixedLengthTokens, ReplayEl3
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import RmmState

PAGE, BLOCK, GIB = 4096, 2 << 20, 1 << 30
BASE = 0x8_8000_0000
REALM_PAGES = 1000
HOLES = 100_000
NATIVE_MS = "136 to 232"


class Machine:
    """One machine with one RMM, and granules handed out upward."""

    def __init__(self, memory_bytes: int) -> None:
        bank = Bank(BASE, memory_bytes)
        self.hardware = HardwareState.build((bank,))
        self.rmm = Rmm(
            RmmState.boot((bank,)), self.hardware, ReplayEl3(self.hardware), Script(), RmmFeatures(),
            tokens=FixedLengthTokens((0, 0)),
        )  # fmt: skip
        self.next = BASE

    def take(self, count: int = 1, align: int = 1) -> int:
        """Fresh contiguous granules."""
        base = -(-self.next // (align * PAGE)) * align * PAGE
        self.next = base + count * PAGE
        return base

    def delegated(self, count: int = 1, align: int = 1) -> int:
        """Fresh DELEGATED granules."""
        base = self.take(count, align)
        self.run(Rmi.GRANULE_DELEGATE, (base,), (PAGE,), count)
        return base

    def ok(self, fid: Rmi, *args: int) -> tuple[int, ...]:
        """One call that must succeed."""
        x = self.rmm.smc(fid, args)
        assert not x[0], (fid.name, hex(x[0]))
        return x

    def run(self, fid: Rmi, args: tuple[int, ...], stride: tuple[int, ...], count: int) -> None:
        """A run of calls that must all succeed."""
        done, last = self.rmm.smc_run(fid, args, stride, count)
        assert done == count, (fid.name, done, hex(last[0]))

    def page(self, content: bytes) -> int:
        """A Host page."""
        pa = self.take()
        self.hardware.memory.write(World.NS, pa, content)
        return pa

    def realm(self, vmid: int = 1) -> int:
        """A NEW Realm of 40 bits."""
        roots, rd = self.delegated(2, 2), self.delegated()
        params = RealmParams(
            s2sz=40, rtt_level_start=1, rtt_num_start=2, num_bps=1, num_wps=1, vmid=vmid, rtt_base=roots
        )
        self.ok(Rmi.REALM_CREATE, rd, self.page(params.encode()))
        return rd


def seconds(work: Callable[[], object]) -> float:
    """CPU time of `work`: the cores may be busy with something else."""
    start = process_time_ns()
    work()
    return (process_time_ns() - start) / 1e9


def dictionary_loop(count: int) -> float:
    """The floor of a state change: a plain loop of dictionary updates, in seconds."""
    states: dict[int, int] = {}

    def loop() -> None:
        for pa in range(BASE, BASE + count * PAGE, PAGE):
            states[pa] = 1

    return seconds(loop)


def report(name: str, value: str, floor: str) -> None:
    """One line."""
    print(f"{name:<44} {value:>24}   {floor}")


def delegation(count: int) -> None:
    """Delegate and undelegate, one call each, in order and shuffled over holes."""
    machine = Machine(8 * GIB)
    smc, delegate, undelegate = machine.rmm.smc, int(Rmi.GRANULE_DELEGATE), int(Rmi.GRANULE_UNDELEGATE)

    def through(addresses: list[int]) -> Callable[[], None]:
        def calls() -> None:
            for pa in addresses:
                smc(delegate, (pa,))
            for pa in addresses:
                smc(undelegate, (pa,))

        return calls

    in_order = [BASE + index * PAGE for index in range(count)]
    floor = dictionary_loop(2 * count)
    spent = seconds(through(in_order))
    report(
        "delegate, undelegate in address order",
        f"{2 * count / spent:,.0f} calls/s",
        f"{spent / floor:.1f} x a dictionary loop",
    )
    holes = min(HOLES, count)
    scattered = [BASE + index * 2 * PAGE for index in range(holes)]
    random.Random(1).shuffle(scattered)
    spent = seconds(through(scattered))
    floor = dictionary_loop(2 * holes)
    report(
        f"the same shuffled over {holes:,} holes",
        f"{2 * holes / spent:,.0f} calls/s",
        f"{spent / floor:.1f} x a dictionary loop",
    )
    spent = seconds(lambda: machine.run(Rmi.GRANULE_DELEGATE, (BASE,), (PAGE,), count))
    report("delegate as one smc_run", f"{count / spent:,.0f} calls/s", f"{spent * 2 / floor:.4f} x a dictionary loop")


def measured_realm(repeats: int) -> None:
    """Create to destroy of a Realm with 1 000 measured pages, page by page."""
    machine = Machine(GIB)
    pages = [index.to_bytes(4, "little") * (PAGE // 4) for index in range(REALM_PAGES)]
    floor = seconds(lambda: [hashlib.sha256(page).digest() for page in pages])
    sources = [machine.page(page) for page in pages]

    def life() -> None:
        measurement.page_digest.cache_clear()
        machine.next = max(machine.next, sources[-1] + PAGE)
        kept = machine.next
        rd = machine.realm()
        tables = machine.delegated(3)
        machine.ok(Rmi.RTT_CREATE, rd, tables, 0, 2)
        for index in range(2):
            machine.ok(Rmi.RTT_CREATE, rd, tables + (1 + index) * PAGE, index * BLOCK, 3)
        data = [machine.take() for _ in pages]
        for index, (pa, source) in enumerate(zip(data, sources, strict=True)):
            machine.ok(Rmi.GRANULE_DELEGATE, pa)
            machine.ok(Rmi.DATA_CREATE, rd, pa, index * PAGE, source, 1)
        for index, pa in enumerate(data):
            machine.ok(Rmi.DATA_DESTROY, rd, index * PAGE)
            machine.ok(Rmi.GRANULE_UNDELEGATE, pa)
        for index in range(2):
            machine.ok(Rmi.RTT_DESTROY, rd, index * BLOCK, 3)
        machine.ok(Rmi.RTT_DESTROY, rd, 0, 2)
        machine.ok(Rmi.REALM_DESTROY, rd)
        for pa in (*range(tables, tables + 3 * PAGE, PAGE), rd, *range(kept // PAGE * PAGE, rd, PAGE)):
            machine.rmm.smc(Rmi.GRANULE_UNDELEGATE, (pa,))
        machine.next = kept

    spent = min(seconds(life) for _ in range(repeats))
    report(
        f"create to destroy, {REALM_PAGES:,} measured pages", f"{spent * 1e3:.1f} ms (aim 40)",
        f"{spent / floor:.1f} x bare SHA-256; native firmware {NATIVE_MS} ms",
    )  # fmt: skip


def backed_realm(machine: Machine, gib: int, vmid: int, data: int) -> int:
    """A Realm whose whole RAM is backed in 2 MiB blocks by runs of calls, as a Host with `smc_run` does it."""
    rd = machine.realm(vmid)
    blocks = gib * GIB // BLOCK
    upper = machine.delegated(max(blocks // 512, 1))
    machine.run(Rmi.RTT_CREATE, (rd, upper, 0, 2), (0, PAGE, GIB, 0), max(blocks // 512, 1))
    tables = machine.delegated(blocks)
    machine.run(Rmi.RTT_CREATE, (rd, tables, 0, 3), (0, PAGE, BLOCK, 0), blocks)
    machine.run(Rmi.DATA_CREATE_UNKNOWN, (rd, data, 0), (0, PAGE, PAGE), blocks * 512)
    machine.run(Rmi.RTT_FOLD, (rd, 0, 3), (0, BLOCK, 0), blocks)
    aux = machine.delegated(16)
    params = RecParams(flags=1, num_aux=16, aux=tuple(aux + at * PAGE for at in range(16)))
    machine.ok(Rmi.REC_CREATE, rd, machine.delegated(), machine.page(params.encode()))
    machine.ok(Rmi.REALM_ACTIVATE, rd)
    return rd


def bulk_build(builds: int) -> None:
    """A 2 GiB Realm through smc_run: its memory delegated, and the rest."""
    machine = Machine(512 * GIB)
    pages = 2 * GIB // PAGE
    floor_ms = dictionary_loop(1000) * 1e3
    memory: list[int] = []
    spent_ms = seconds(lambda: memory.extend(machine.delegated(pages, 512) for _ in range(builds))) * 1e3 / builds
    report(
        "2 GiB delegated as one smc_run", f"{spent_ms:.3f} ms", f"{spent_ms / floor_ms:.1f} x 1,000 dictionary updates"
    )
    realms = [lambda at=at: backed_realm(machine, 2, at, memory[at]) for at in range(builds)]
    spent_ms = seconds(lambda: [build() for build in realms]) * 1e3 / builds
    report(
        "a 2 GiB Realm on it through smc_run",
        f"{spent_ms:.3f} ms",
        f"{spent_ms / floor_ms:.1f} x 1,000 dictionary updates",
    )


def image_builds() -> None:
    """The measured part of a Realm with a 64 MiB image: first, and with every page digest remembered."""
    from cca_machine.commands import ImageSpec
    from cca_machine.image import pages

    content = pages(ImageSpec("bench", 1, 64 << 20))
    joined = b"".join(content)
    floor = seconds(lambda: hashlib.sha256(joined).digest())
    machine = Machine(8 * GIB)

    def build(vmid: int) -> None:
        rd = machine.realm(vmid)
        count = len(content)
        upper = machine.delegated()
        machine.ok(Rmi.RTT_CREATE, rd, upper, 0, 2)
        tables = machine.delegated(count // 512)
        machine.run(Rmi.RTT_CREATE, (rd, tables, 0, 3), (0, PAGE, BLOCK, 0), count // 512)
        data = machine.delegated(count)
        source = sources
        machine.run(Rmi.DATA_CREATE, (rd, data, 0, source, 1), (0, PAGE, PAGE, PAGE, 0), count)

    sources = machine.take(len(content))
    for index, page in enumerate(content):
        machine.hardware.memory.write(World.NS, sources + index * PAGE, page)
    measurement.page_digest.cache_clear()
    first = seconds(lambda: build(1))
    again = seconds(lambda: build(2))
    report(
        "a Realm with a 64 MiB image, first",
        f"{1 / first:.1f} builds/s",
        f"{first / floor:.2f} x bare SHA-256 of the image",
    )
    report("the same image again", f"{1 / again:.1f} builds/s", f"{again / floor:.2f} x bare SHA-256 of the image")


def memory() -> None:
    """Memory held by an idle machine of 512 GiB, and by Realms of three sizes."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    machine = Machine(1024 * GIB)
    idle = tracemalloc.get_traced_memory()[0] - before
    report("an idle machine of 1 TiB", f"{idle / 1024:.1f} KiB", "(aim 32 KiB)")
    for vmid, gib in enumerate((2, 64, 512)):
        before = tracemalloc.get_traced_memory()[0]
        backed_realm(machine, gib, vmid, machine.delegated(gib * GIB // PAGE, 512))
        held = tracemalloc.get_traced_memory()[0] - before
        report(
            f"a backed Realm of {gib} GiB", f"{held / 1024:.1f} KiB", f"{held / (gib * GIB / PAGE):.4f} bytes a page"
        )
    tracemalloc.stop()


def main(arguments: list[str]) -> None:
    """Print one line per measurement: name, value, ratio to its floor."""
    quick = "--quick" in arguments
    print(f"RMM 1.0 through its raw door, {os.cpu_count()} cores")
    delegation(20_000 if quick else 300_000)
    measured_realm(1 if quick else 5)
    bulk_build(2 if quick else 20)
    if not quick:
        image_builds()
    memory()


if __name__ == "__main__":
    main(sys.argv[1:])
