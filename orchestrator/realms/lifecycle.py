"""Life of a Realm in the fleet: one table, walked by bring-up, recovery and migration.

What a Realm does inside its machine is the machine's business (`cca_machine.host.states`); this is what the control
plane believes and wants. A Realm that comes back after a loss is a new incarnation and takes the whole way again,
verdict included: nothing here leads to `serving` but a passed verdict and an opened secret.
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.records import RealmChanged
from orchestrator.store import RealmState, RealmView, Store

S = RealmState


class Step(StrEnum):
    """What happened to a Realm, as far as the control plane knows."""

    DUE = "due"
    """Its `start_at` has come."""
    BOUND = "bound"
    """The scheduler chose a machine."""
    ORDERED = "ordered"
    """The order to build it left."""
    EVIDENCE = "evidence"
    """Its machine sent evidence of the new copy."""
    NOT_BUILT = "not-built"
    """Its machine refused to build it, and nothing was changed there."""
    PASSED = "passed"
    """The verifier accepted the evidence, and policy releases the secret."""
    REFUSED = "refused"
    """Evidence was refused, or the Realm could not give any or open its secret."""
    OPENED = "opened"
    """It opened its secret."""
    LEAVES = "leaves"
    """A migration session opened."""
    MOVED = "moved"
    """The session ended with the Realm on its target."""
    STAYED = "stayed"
    """The session ended with the Realm still on its source."""
    LOST = "lost"
    """The copy is gone with its machine: rebooted, or silent past the last lease."""
    GONE = "gone"
    """The machine confirmed that the copy is no more."""
    GONE_SPENT = "gone-spent"
    """The same, and no attempt is left."""
    STOP = "stop"
    """An operator wants it stopped for good."""


class Effect(StrEnum):
    """What follows from a step."""

    NONE = "none"
    PLACE = "place"
    """Have the scheduler look for a machine, for a new incarnation."""
    LAUNCH = "launch"
    VERIFY = "verify"
    RELEASE = "release"
    SERVE = "serve"
    STOP_COPY = "stop-copy"
    FORGET = "forget"
    """The Realm is bound nowhere any more."""


_LOST = {
    (state, Step.LOST): (S.WANTED, Effect.PLACE)
    for state in (S.LAUNCHING, S.VERIFYING, S.RELEASING, S.SERVING, S.MIGRATING, S.REPLACING)
}
_STOP_COPY = {
    (state, Step.STOP): (S.STOPPING, Effect.STOP_COPY)
    for state in (S.LAUNCHING, S.VERIFYING, S.RELEASING, S.SERVING, S.REPLACING)
}
_STOP_NOW = {(state, Step.STOP): (S.STOPPED, Effect.FORGET) for state in (S.AWAITED, S.WANTED, S.PLACED)}
_REFUSED = {
    (state, Step.REFUSED): (S.REPLACING, Effect.STOP_COPY)
    for state in (S.LAUNCHING, S.VERIFYING, S.RELEASING, S.SERVING)
}

TABLE: dict[tuple[RealmState, Step], tuple[RealmState, Effect]] = {
    (S.AWAITED, Step.DUE): (S.WANTED, Effect.PLACE),
    (S.WANTED, Step.BOUND): (S.PLACED, Effect.LAUNCH),
    (S.PLACED, Step.ORDERED): (S.LAUNCHING, Effect.NONE),
    (S.LAUNCHING, Step.EVIDENCE): (S.VERIFYING, Effect.VERIFY),
    (S.LAUNCHING, Step.NOT_BUILT): (S.WANTED, Effect.PLACE),
    (S.VERIFYING, Step.PASSED): (S.RELEASING, Effect.RELEASE),
    (S.RELEASING, Step.OPENED): (S.SERVING, Effect.SERVE),
    (S.SERVING, Step.PASSED): (S.SERVING, Effect.NONE),
    (S.SERVING, Step.LEAVES): (S.MIGRATING, Effect.NONE),
    (S.MIGRATING, Step.MOVED): (S.SERVING, Effect.NONE),
    (S.MIGRATING, Step.STAYED): (S.SERVING, Effect.NONE),
    (S.REPLACING, Step.GONE): (S.WANTED, Effect.PLACE),
    (S.REPLACING, Step.GONE_SPENT): (S.FAILED, Effect.FORGET),
    (S.STOPPING, Step.GONE): (S.STOPPED, Effect.FORGET),
    (S.STOPPING, Step.LOST): (S.STOPPED, Effect.FORGET),
    **_LOST,
    **_REFUSED,
    **_STOP_COPY,
    **_STOP_NOW,
}
"""(state, step) -> (next state, effect). A pair that is absent moves nothing and is listed in `IGNORED`."""

IGNORED: frozenset[tuple[RealmState, Step]] = frozenset(
    (state, step) for state in RealmState for step in Step if (state, step) not in TABLE
)

TERMINAL: frozenset[RealmState] = frozenset({S.STOPPED, S.FAILED})


def move(store: Store, realm: RealmView, step: Step, why: str, at_ns: int = 0) -> Effect | None:
    """Move the Realm along the table and record it; None when the step moves nothing in its state.

    `at_ns` is the exact instant when it is later than the present boundary (virtual ns).
    """
    entry = TABLE.get((realm.state, step))
    if entry is None:
        return None
    state, effect = entry
    if state is not realm.state:
        changed = RealmChanged(realm.name, realm.incarnation, realm.machine, realm.state, state, why)
        store.note(changed, at_ns)
        realm.state = state
        realm.since_ns = max(at_ns, store.now_ns)
    return effect
