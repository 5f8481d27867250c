"""Realms launched and attested per second, against the public-key operations that this takes; and what they weigh.

A fleet in one process launches Realms as fast as it can: scheduled, built by RMI calls, measured, entered, attested
with real signatures, given their secrets. Every public-key operation of the run is counted by kind; each kind's cost is
measured in the same process right after. The floor is count times cost: no fleet with real cryptography can be faster
on one core. Run it with `python tests/benchmarks/bench_fleet.py`.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attestation import keys
from orchestrator.api import Run, RunOptions
from orchestrator.cluster.load import load_text

MACHINES = 10
REALMS = 200
REPEATS = 60

FLEET = """\
version: 1
name: bench
duration: 60s
profiles: {{std: {{pes: 64, memory: 64GiB, firmware: base}}}}
racks: {{r1: {{machines: {{std: {machines}}}}}}}
firmware:
  releases:
    base:
      components:
        BL2: {{version: 1.0.0, signed_by: vendor}}
        BL31: {{version: 1.0.0, signed_by: vendor}}
        RMM: {{version: 1.0.0, signed_by: vendor}}
images: {{web: {{size: 2MiB}}}}
realms: {{web: {{count: {realms}, image: web, vcpus: 1, memory: 512MiB}}}}
"""

CURVES = {keys.Curve.P256: ec.SECP256R1(), keys.Curve.P384: ec.SECP384R1(), keys.Curve.P521: ec.SECP521R1()}
HASHES = {keys.Curve.P256: hashes.SHA256(), keys.Curve.P384: hashes.SHA384(), keys.Curve.P521: hashes.SHA512()}


@contextmanager
def counting() -> Iterator[Counter[tuple[str, keys.Curve]]]:
    """Count every signature, verification, key agreement and key derivation that `attestation.keys` performs."""
    count: Counter[tuple[str, keys.Curve]] = Counter()
    saved = (keys.SigningKey.sign, keys.PublicKey.verify, keys.SigningKey.agree)

    def counted(kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(self: Any, *args: Any) -> Any:
            count[kind, self.curve] += 1
            return method(self, *args)

        return wrapper

    keys.SigningKey.sign = counted("sign", saved[0])  # type: ignore[method-assign]
    keys.PublicKey.verify = counted("verify", saved[1])  # type: ignore[method-assign]
    keys.SigningKey.agree = counted("agree", saved[2])  # type: ignore[method-assign]
    init = keys.SigningKey.__init__

    def made(self: Any, curve: keys.Curve, scalar: int) -> None:
        count["derive", curve] += 1
        init(self, curve, scalar)

    keys.SigningKey.__init__ = made  # type: ignore[method-assign]
    try:
        yield count
    finally:
        keys.SigningKey.sign, keys.PublicKey.verify, keys.SigningKey.agree = saved  # type: ignore[method-assign]
        keys.SigningKey.__init__ = init  # type: ignore[method-assign]


def cost_ns(kind: str, curve: keys.Curve) -> float:
    """What one bare operation of pyca/cryptography costs here and now."""
    key = ec.derive_private_key(0x1234567, CURVES[curve])
    algorithm = ec.ECDSA(HASHES[curve], deterministic_signing=True)
    signature = key.sign(b"m" * 200, algorithm)
    public = key.public_key()
    work: dict[str, Callable[[], Any]] = {
        "sign": lambda: key.sign(b"m" * 200, algorithm),
        "verify": lambda: public.verify(signature, b"m" * 200, ec.ECDSA(HASHES[curve])),
        "agree": lambda: key.exchange(ec.ECDH(), public),
        "derive": lambda: ec.derive_private_key(0x1234567, CURVES[curve]),
    }
    start = perf_counter_ns()
    for _ in range(REPEATS):
        work[kind]()
    return (perf_counter_ns() - start) / REPEATS


def launch(folder: Path, machines: int, realms: int) -> tuple[float, Any]:
    """Wall seconds from the start of the run until every Realm serves, and the finished run's result."""
    text = FLEET.format(machines=machines, realms=realms)
    loaded = load_text(text, "bench.yaml")
    assert loaded.value is not None, loaded.render()
    with Run(loaded.value, text, RunOptions(fleet="local", out=folder)) as run:
        start = perf_counter_ns()
        run.run_until(run.until_ns)
        took = (perf_counter_ns() - start) / 1e9
        return took, run.finish()


def weight(folder: Path, machines: int, realms: int) -> int:
    """Bytes that Python holds for a fleet once all its Realms serve (no processes, no run file)."""
    text = FLEET.format(machines=machines, realms=realms)
    loaded = load_text(text, "bench.yaml")
    assert loaded.value is not None
    gc.collect()
    tracemalloc.start()
    with Run(loaded.value, text, RunOptions(fleet="local", out=folder)) as run:
        run.run_until(run.until_ns)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held


def main() -> None:
    """Print the rates and the weights."""
    with tempfile.TemporaryDirectory() as folder:
        with counting() as count:
            took, result = launch(Path(folder) / "run", MACHINES, REALMS)
        serving, machines = result.summary.realms_running, result.summary.machines
        floor = sum(number * cost_ns(*kind) for kind, number in count.items()) / 1e9
        print(f"{serving} Realms on {machines} machines launched and attested in {took:.2f} s: {serving / took:.0f}/s")
        for (kind, curve), number in sorted(count.items()):
            print(f"    {number:>6} x {kind:<7} {curve.value:<6} at {cost_ns(kind, curve) / 1e3:7.1f} us")
        print(f"floor of these public-key operations: {floor:.2f} s; ratio to the floor's rate: {floor / took:.2f}")
        empty = weight(Path(folder) / "w0", 10, 1)
        wide = weight(Path(folder) / "w1", 60, 1)
        full = weight(Path(folder) / "w2", 10, 101)
        print(f"memory per idle machine of 64 GiB: {(wide - empty) / 50 / 1024:.0f} KiB")
        print(f"memory per serving Realm of 512 MiB: {(full - empty) / 100 / 1024:.0f} KiB, its trace lines included")


if __name__ == "__main__":
    sys.exit(main())
