"""Faults and rollouts that operators ask for while a fleet runs, held to the rules of the cluster file.

A deed is what the file would say under `faults` or `events`, without its instant: the present boundary is filled in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from orchestrator.cluster import releases, translate
from orchestrator.cluster.diagnostics import Finding
from orchestrator.cluster.facts import Facts, gather
from orchestrator.cluster.schema import Fault, Record, RevokeEvent, RolloutEvent
from orchestrator.store import Store

DEFAULT_LASTS = "30s"

RecordT = TypeVar("RecordT", bound=Record)


class _Shell(Record):
    """Holds a fault of either sort; its kind tells which."""

    fault: Annotated[Fault, Field(discriminator="fault", description="The fault, without its instant.")]


def read_fault(deed: dict[str, Any], at: str) -> Fault | list[Finding]:
    """The fault that begins at `at` (a duration), or everything that is wrong with it; it lasts 30s unless told."""
    read = _read(_Shell, {"fault": {"for": DEFAULT_LASTS, **deed, "at": at}})
    if isinstance(read, list):
        return [replace(finding, path=finding.path[1:]) for finding in read]
    return read.fault


def read_rollout(deed: dict[str, Any], at: str) -> RolloutEvent | list[Finding]:
    """The rollout that begins at `at` (a duration), or everything that is wrong with it."""
    return _read(RolloutEvent, {"component": "RMM", **deed, "kind": "rollout", "at": at})


def read_revocation(deed: dict[str, Any], at: str) -> RevokeEvent | list[Finding]:
    """The revocation that takes effect at `at` (a duration), or everything that is wrong with it."""
    return _read(RevokeEvent, {**deed, "kind": "revoke", "at": at})


def wrong_revocation(store: Store, event: RevokeEvent) -> Iterator[Finding]:
    """What the cluster file's own checks say of a revocation."""
    yield from releases.revocations(gather(store.cluster.model_copy(update={"events": [event]})))


def _read(record: type[RecordT], written: dict[str, Any]) -> RecordT | list[Finding]:
    try:
        return record.model_validate(written)
    except ValidationError as errors:
        return translate.findings(record, errors)


def standing(store: Store, fault: Fault) -> Facts:
    """What the checks of the cluster file know, as the fleet stands: its Realms, and an end that is far away."""
    far_ns = fault.at + fault.during + 2 * store.cluster.recover_within + 1
    cluster = store.cluster.model_copy(update={"duration": far_ns})
    return replace(gather(cluster), realms={name: realm.kind for name, realm in store.realms.items()})


def wrong_rollout(store: Store, event: RolloutEvent) -> Iterator[Finding]:
    """What the cluster file's own checks say of a rollout."""
    facts = gather(store.cluster.model_copy(update={"events": [event]}))
    yield from releases.rollouts(facts)
    yield from releases.waves(facts)
