"""A Ray cluster of several raylets on this machine's loopback, for tests: one more process that lives until told.

    python ray_cluster.py RAYLETS CPUS

prints one JSON line with the address and the raylets' process ids (the head's first), then ends everything when its
standard input closes.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

OBJECT_STORE_BYTES = 80 * 2**20


def main(raylets: int, cpus: int) -> None:
    """Bring the cluster up, say where it is, and wait."""
    from ray.cluster_utils import Cluster

    size = {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    nodes = [cluster.head_node, *(cluster.add_node(**size) for _ in range(raylets - 1))]
    pids = [node.all_processes["raylet"][0].process.pid for node in nodes]
    print(json.dumps({"address": cluster.address, "raylets": pids}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
