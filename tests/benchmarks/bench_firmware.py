"""Firmware: prime-activate cycles of one machine, and a rollout over a large fleet, in wall seconds on one core.

The fleet has a thousand machines (another number may be given), one Realm per ten machines, 5 s beats, and a canary, a
tenth and the rest; images are of 4 KiB. Run it with `python tests/benchmarks/bench_firmware.py [MACHINES]`.
"""

from __future__ import annotations

import sys
import time

from attestation import firmware
from attestation.keys import derive_key
from cca_machine import commands as c
from cca_machine.costs import reference_timing
from cca_machine.machine import Machine
from orchestrator.cluster.schema import Cluster
from orchestrator.firmware.rehearsal import future

S = 1_000_000_000
CYCLES = 200
KEY = derive_key(b"a vendor's seed, 32 bytes of it..", "vendor")


def image(component: str, version: str) -> bytes:
    """A signed image of 4 KiB."""
    manifest = firmware.FirmwareManifest(component=component, version=version, security_version=1)
    return firmware.build(manifest, version.encode().ljust(4096, b"."), KEY)


def cycles() -> float:
    """Prime-activate cycles per second of wall time, two images taking turns."""
    spec = c.MachineSpec(
        name="m", rack="r", profile="p", seed=bytes(32), pes=8, memory_bytes=1 << 30,
        firmware={name: image(name, "1.0.0") for name in ("BL2", "BL31", "RMM")},
        anchors={firmware.signer_id(KEY.public): KEY.public.cose_key()},
        implementation_id=bytes(32), timing=reference_timing(),
    )  # fmt: skip
    machine, number, now_ns = Machine(spec), 0, S
    machine.run_until(now_ns)
    images = [image("RMM", "1.0.1"), image("RMM", "1.0.2")]
    began = time.perf_counter()
    for cycle in range(CYCLES):
        for order in (c.Prime(images[cycle % 2]), c.Activate("RMM")):
            number += 1
            machine.submit(order, now_ns, 2, c.CONTROL, number)
            now_ns += S
            machine.run_until(now_ns)
    return CYCLES / (time.perf_counter() - began)


def fleet(machines: int) -> Cluster:
    """A fleet whose RMM is exchanged live."""
    part = {"version": "1.0.0", "size": "4KiB", "signed_by": "vendor"}
    return Cluster.model_validate(
        {
            "version": 1,
            "name": "large",
            "duration": "10min",
            "recover_within": "60s",
            "control": {"beat": "5s", "heartbeat": "60s", "suspect_after": "200s", "lease": "300s"},
            "profiles": {"std": {"pes": 8, "memory": "1GiB", "firmware": "base"}},
            "racks": {f"r{rack}": {"machines": {"std": machines // 10}} for rack in range(10)},
            "firmware": {
                "releases": {
                    "base": {"components": {"BL2": part, "BL31": part, "RMM": part}},
                    "fix": {"components": {"RMM": {**part, "version": "1.0.1"}}},
                }
            },
            "images": {"web": {"size": "4KiB"}},
            "realms": {"web": {"image": "web", "count": machines // 10, "memory": "16MiB", "spread": "machine"}},
            "events": [
                {
                    "kind": "rollout",
                    "at": "60s",
                    "release": "fix",
                    "waves": [{"machines": 1}, {"share": "10%"}, {"share": "100%"}],
                }
            ],
        }
    )


def main() -> None:
    """Print both numbers."""
    machines = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"prime-activate cycles of one machine: {cycles():.0f}/s")
    began = time.perf_counter()
    found = future(fleet(machines), 1)
    took = time.perf_counter() - began
    print(f"rollout to {found.updated} of {found.machines} machines, proof included: {took:.1f} s, {found.state}")


if __name__ == "__main__":
    main()
