"""The commented first cluster file that `realmfleet init` writes."""

from __future__ import annotations

from orchestrator.cluster.quantities import parse_name

_TEXT = """\
# A first Realmfleet cluster: two racks, three machines, four Realms.
#
#   realmfleet validate THIS_FILE     checks it
#   realmfleet run THIS_FILE          runs it
#
# Every key is explained in docs/reference/cluster-file.md. Times, sizes and percentages carry their unit.

version: 1
name: NAME
description: Four Realms on three machines; one machine loses power and comes back.
seed: 1                         # every draw follows from it; --seed on the command line goes before it
duration: 6min                  # virtual time, a multiple of the beat (100ms unless control.beat says otherwise)

# Kinds of servers. Memory is simulated sparsely: what nobody writes costs nothing.
profiles:
  std: {pes: 16, memory: 16GiB, firmware: fw-1.0}

# Machines stand in racks and are named <rack>-<profile>-<nn>: r1-std-01, r1-std-02, r2-std-01.
racks:
  r1: {machines: {std: 2}, power: a}
  r2: {machines: {std: 1}, power: b}

# What the machines boot. A machine refuses a component that none of its signers signed.
firmware:
  signers: [vendor]
  releases:
    fw-1.0:
      components:
        BL2: {version: 1.0.0, signed_by: vendor}
        BL31: {version: 1.0.0, signed_by: vendor}
        RMM: {version: 1.0.0, signed_by: vendor}

# What Realms start from; name and version decide the content, and so the measurement.
images:
  web-v1: {version: 1, size: 512KiB}

# Realms are named <kind>-<nnn>: web-001 to web-004.
realms:
  web:
    count: 4
    image: web-v1
    vcpus: 2
    memory: 128MiB
    program: server
    workload: {requests_per_s: 500, cpu: 20%, dirty: 1MiB, working_set: 32MiB}

# What operators do.
events:
  - {kind: migrate, at: 90s, realm: web-001}

# What goes wrong. Nobody tells the control plane: it finds out by missed heartbeats.
faults:
  - {fault: machine.power-loss, at: 3min, for: 60s, select: {machine: r1-std-01}}
"""


def first_cluster(name: str = "first") -> str:
    """Text of a small valid cluster file called `name`; raises what `parse_name` raises when that is no name."""
    return _TEXT.replace("NAME", parse_name(name), 1)
