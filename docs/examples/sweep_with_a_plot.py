"""How long a lease should be: two values, three seeds, one table and a plot.

    python docs/examples/sweep_with_a_plot.py

A machine of the seed's choice loses power. Its Realms may run elsewhere only when their leases are over, so a short
lease gives them back sooner; what it costs is seen under a partition, not here.
"""

import polars as pl

from orchestrator import Spec, run_sweep

spec = Spec.from_file("clusters/small.yaml").set("events", []).set("duration", "4min")
spec.set("faults", [{"fault": "machine.power-loss", "at": "30s", "for": "20s", "select": {"count": 1}}])

if __name__ == "__main__":
    swept = run_sweep(spec, {"control.lease": ["10s", "30s"]}, seeds=range(1, 4), out="runs/leases", jobs=1)
    table = swept.table.group_by("control.lease").agg(pl.mean("downtime_p99_ms", "realm_restarts"))
    print(table.sort("control.lease"))
    shorter, longer = swept.summary.variants
    print(f"30s against 10s, seed by seed: {longer.against_first['downtime_p99_ms'].mean / 1000:.1f} s more at the p99")
    swept.plot("downtime_p99_ms").write_html("runs/leases/plot.html")
