"""What may be read: status, machines, Realms, rollouts, faults, checkers, and what a cluster file offers."""

from __future__ import annotations

import time
from collections import Counter
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from orchestrator.chaos.catalogue import CATALOGUE
from orchestrator.chaos.checkers import judge
from orchestrator.chaos.verdict import Verdict, facts_of
from orchestrator.serve.chronicle import KEPT_DECISIONS, plain
from orchestrator.serve.context import Context
from orchestrator.serve.problems import unknown
from orchestrator.serve.shown import answers, shown
from orchestrator.serve.views import (
    FaultShown,
    MachineShown,
    RealmShown,
    RolloutShown,
    SessionShown,
    Status,
    status_of,
)

JUDGED_EVERY_S = 5.0
"""Checkers read the whole trace, so their verdict is kept for so long (wall time)."""

RowT = TypeVar("RowT", MachineShown, RealmShown, RolloutShown, FaultShown)


def status(context: Context) -> Status:
    """The fleet in a few numbers."""
    session = context.session
    return status_of(
        context.shot,
        cluster=session.cluster.name,
        seed=session.seed,
        run_dir=session.run_dir,
        fleet=session.fleet_kind,
        stopping=session.stopping,
    )


def routes(context: Context) -> APIRouter:
    """Routes under /api/v1 that change nothing."""
    router = APIRouter(prefix="/api/v1", tags=["read"])
    _fleet(router, context)
    _objects(router, context)
    _broker(router, context)
    _checkers(router, context)
    return router


def _fleet(router: APIRouter, context: Context) -> None:
    @router.get("/status", responses=answers(Status, "The fleet in a few numbers."))
    async def get_status() -> Response:
        """The fleet in a few numbers."""
        return shown(status(context))

    @router.get("/cluster")
    async def get_cluster() -> Response:
        """What the cluster file offers: names that actions may use."""
        return shown(offered(context))

    @router.get("/machines", responses=answers(MachineShown, "Every machine.", many=True))
    async def get_machines(rack: str | None = None, state: str | None = None) -> Response:
        """Every machine, or those of a rack or in a state."""
        rows = [row for row in context.shot.machines if rack in (None, row.rack) and state in (None, row.state)]
        return _items("machines", rows)

    @router.get("/realms", responses=answers(RealmShown, "Every Realm.", many=True))
    async def get_realms(kind: str | None = None, state: str | None = None, machine: str | None = None) -> Response:
        """Every Realm, or those of a kind, in a state, on a machine."""
        rows = [
            row
            for row in context.shot.realms
            if kind in (None, row.kind) and state in (None, row.state) and machine in (None, row.machine)
        ]
        return _items("realms", rows)

    @router.get("/rollouts", responses=answers(RolloutShown, "Every rollout.", many=True))
    async def get_rollouts() -> Response:
        """Every rollout, ended ones too."""
        return _items("rollouts", context.shot.rollouts)

    @router.get("/faults", responses=answers(FaultShown, "Faults.", many=True))
    async def get_faults() -> Response:
        """Faults in force and coming; those that are over stand in the trace."""
        return _items("faults", context.shot.faults)

    @router.get("/sessions", responses=answers(SessionShown, "Open migration sessions.", many=True))
    async def get_sessions() -> Response:
        """Open migration sessions (modelled)."""
        return _items("sessions", context.shot.sessions)


def _objects(router: APIRouter, context: Context) -> None:
    @router.get("/machines/{name}")
    async def get_machine(name: str) -> Response:
        """One machine: what is believed, what is true, who is there, its last appraisal and its last lines."""
        await context.refresh()
        row, chronicle = _named("machine", name, context.shot.machines), context.chronicle
        return shown(
            {
                **msgspec.structs.asdict(row),
                "truth": chronicle.truth.get(name, "up"),
                "residents": [realm.name for realm in context.shot.realms if realm.machine == name],
                "appraisal": plain(chronicle.appraisals.get(name)),
                "history": [plain(told) for told in chronicle.about(name)],
            }
        )

    @router.get("/realms/{name}")
    async def get_realm(name: str) -> Response:
        """One Realm: its state, its last verdict claim by claim, why it is where it is, and its last lines."""
        await context.refresh()
        row, chronicle = _named("Realm", name, context.shot.realms), context.chronicle
        return shown(
            {
                **msgspec.structs.asdict(row),
                "executes": chronicle.executes.get(name, {}),
                "verdict": plain(chronicle.verdicts.get(name)),
                "placement": plain(chronicle.placements.get(name)),
                "move": plain(chronicle.moves.get(name)),
                "history": [plain(told) for told in chronicle.about(name)],
            }
        )

    @router.get("/rollouts/{name}")
    async def get_rollout(name: str) -> Response:
        """One rollout, with the phase of each machine and its last lines."""
        await context.refresh()
        row = _named("rollout", name, context.shot.rollouts)
        return shown(
            {**msgspec.structs.asdict(row), "history": [plain(told) for told in context.chronicle.about(name)]}
        )


def _broker(router: APIRouter, context: Context) -> None:
    @router.get("/broker")
    async def get_broker() -> Response:
        """Where the fleet's key broker and verifier listen, and how often they decided what."""
        broker = context.broker
        counts = Counter(record.event.value for record in broker.audit()) if broker is not None else Counter()
        url = broker.url if broker is not None else None
        return shown({"kind": "broker", "schema_version": 1, "url": url, "decisions": dict(sorted(counts.items()))})

    @router.get("/broker/audit")
    async def get_audit(limit: Annotated[int, Query(ge=1, le=KEPT_DECISIONS)] = 100) -> Response:
        """The last releases and denials with their reasons, newest first.

        `fleet` holds those to Realms of the run (virtual time), `socket` those to clients of the broker (wall time).
        """
        await context.refresh()
        fleet = [plain(told) for told in reversed(context.chronicle.decisions)]
        socket = [] if context.broker is None else context.broker.audit()[::-1]
        return shown({"kind": "broker-audit", "schema_version": 1, "fleet": fleet[:limit], "socket": socket[:limit]})


def _checkers(router: APIRouter, context: Context) -> None:
    judged: list[Verdict] = []
    until_s = 0.0

    @router.get("/checkers")
    async def get_checkers() -> Response:
        """What the checkers say of the trace so far; the word on recovery is only final when the run has ended."""
        nonlocal judged, until_s
        if time.monotonic() >= until_s:
            judged = await run_in_threadpool(_judged, context)
            until_s = time.monotonic() + JUDGED_EVERY_S
        rows = [{"name": v.name, "outcome": v.outcome, "detail": v.detail, "evidence": v.evidence} for v in judged]
        return _items("checkers", rows)

    @router.get("/{rest:path}", include_in_schema=False)
    async def nothing(rest: str, request: Request) -> Response:
        known = [str(route.path) for route in router.routes if hasattr(route, "path")][:-1]
        raise unknown("path", request.url.path, known)


def _judged(context: Context) -> list[Verdict]:
    shot = context.shot
    entries = [line.entry for line in context.session.lines[: shot.lines]]
    return list(judge(entries, facts_of(context.session.cluster, shot.now_ns)))


def _items(kind: str, rows: Any) -> Response:
    return shown({"kind": kind, "schema_version": 1, "items": rows})


def _named(what: str, name: str, rows: tuple[RowT, ...]) -> RowT:
    for row in rows:
        if row.name == name:
            return row
    raise unknown(what, name, [row.name for row in rows])


def offered(context: Context) -> dict[str, Any]:
    """Names that actions may use, and what each kind of fault does."""
    cluster = context.session.cluster
    return {
        "kind": "cluster",
        "schema_version": 1,
        "name": cluster.name,
        "description": cluster.description,
        "seed": context.session.seed,
        "beat_ns": cluster.control.beat,
        "run_dir": context.session.run_dir,
        "racks": list(cluster.racks),
        "kinds": {name: kind.count for name, kind in cluster.realms.items()},
        "releases": {
            name: {part: component.version for part, component in release.components.items()}
            for name, release in cluster.firmware.releases.items()
        },
        "faults": {
            facts.kind: {"does": facts.does, "acts_in": facts.acts_in, "undo": facts.undo}
            for facts in CATALOGUE.values()
        },
    }
