"""Steady work of serving Realms as a fluid: whole requests from integer rates, exact however often one looks.

A serving Realm does `requests_per_s` scaled by its CPU share. When the vCPUs that run ask for more than the PEs give,
every Realm gets the same share of its demand. Remainders are carried: counting at more instants changes nothing.
"""

from __future__ import annotations

from cca_machine.costs import PPM
from cca_machine.host.hosted import HostedRealm, HostState
from cca_machine.host.states import HostedState

CONTROL_PES = 2
"""PEs on which the host does its own work; Realms share the others."""

_UNIT = 1_000_000_000 * PPM


def capacity_ppm(pes: int) -> int:
    """What Realms can use, in parts per million of a PE; a machine of two PEs or fewer shares them all."""
    return (pes - CONTROL_PES if pes > CONTROL_PES else pes) * PPM


def serves(hosted: HostedRealm) -> bool:
    """Whether the Realm does its work at this moment."""
    return hosted.running and hosted.state is HostedState.SERVING


def share_ppm(state: HostState, pes: int) -> int:
    """CPU share of each serving Realm in parts per million of its demand."""
    demand = sum(h.spec.vcpus * h.spec.workload.demand_ppm for h in state.realms.values() if serves(h))
    capacity = capacity_ppm(pes)
    return PPM if demand <= capacity else capacity * PPM // demand


def accrue(state: HostState, now_ns: int, pes: int) -> None:
    """Count what was served since the last call, at the share that held since then (virtual ns)."""
    elapsed_ns = now_ns - state.accrued_ns
    state.accrued_ns = now_ns
    share = share_ppm(state, pes)
    for hosted in state.realms.values():
        if serves(hosted):
            whole, hosted.rest = divmod(hosted.rest + hosted.spec.workload.requests_per_s * elapsed_ns * share, _UNIT)
            hosted.served += whole
