"""What may be asked for: every action is one input, judged at the next boundary, answered when that has been decided.

A refusal is a problem with the reason (404 unknown, 409 forbidden now, 422 makes no sense), and nothing has changed.
While time is paused, or a beat takes long, the answer is 202: the input is in the queue, and the trace will tell.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from orchestrator import inputs as i
from orchestrator.chaos.catalogue import CATALOGUE
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Selector, Wave, Window
from orchestrator.operator_desk import MOST_AT_ONCE, Answer
from orchestrator.reconcile import Reconciliation, reconcile, sentences
from orchestrator.serve.context import Context
from orchestrator.serve.problems import STATUS_OF_RULE, Problem
from orchestrator.serve.shown import shown

PATIENCE_S = 10.0
"""Wall time that an action waits for its boundary before it is answered with 202."""
LARGEST_FILE = 1 << 20

_FAULT_KINDS: list[JsonValue] = [*sorted(CATALOGUE)]


class Body(BaseModel):
    """What all bodies share: no unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Launch(Body):
    """More Realms of a kind."""

    kind: str
    count: int = Field(1, ge=1, le=MOST_AT_ONCE)


class Migrate(Body):
    """Where to; without it the scheduler chooses."""

    to: str = ""


class Drain(Body):
    """Whether only to plan."""

    dry_run: bool = False


class Rebalance(Body):
    """Even loads or empty machines, with so many moves at most."""

    goal: Literal["spread", "pack"] = "spread"
    budget: int = Field(10, ge=1, le=MOST_AT_ONCE)
    dry_run: bool = False


class Scale(Body):
    """How many Realms of a kind are wanted."""

    kind: str
    count: int = Field(ge=0, le=MOST_AT_ONCE)


class Cordon(Body):
    """Why."""

    why: str = Field("operator", max_length=200)


class Rollout(Body):
    """A rollout as the cluster file writes it, without `kind` and `at`."""

    release: str
    component: str = "RMM"
    waves: list[dict[str, Any]] = Field(
        [{"machines": 1}, {"share": "30%"}, {"share": "100%"}],
        min_length=1,
        max_length=64,
        json_schema_extra={"items": Wave.model_json_schema()},
    )
    strategy: Literal["live", "drain", "reboot", "auto"] = "live"
    max_unavailable: int | None = Field(None, ge=1, le=1_000_000)
    rollback: bool | Literal["machine", "wave", "rollout"] = False
    gates: list[dict[str, Any]] = Field([], max_length=16)
    blast_radius: dict[str, Any] = {}
    bake: str = "10s"
    max_failures: int = Field(0, ge=0, le=1_000_000)
    windows: list[dict[str, str]] = Field([], max_length=64, json_schema_extra={"items": Window.model_json_schema()})
    freezes: list[dict[str, str]] = Field([], max_length=64, json_schema_extra={"items": Window.model_json_schema()})


class Revocation(Body):
    """A component and its version, or a signer, and what becomes of Realms there."""

    component: str | None = None
    version: str | None = None
    signer: str | None = None
    realms: Literal["keep", "reattest"] = "keep"


class Fault(Body):
    """A fault as the cluster file writes it, without `at`: machine faults `select`, link faults stand `between`."""

    fault: str = Field(json_schema_extra={"enum": _FAULT_KINDS})
    during: str = Field("30s", alias="for")
    select: dict[str, Any] | None = Field(
        None, json_schema_extra={"properties": Selector.model_json_schema()["properties"]}
    )
    between: list[dict[str, Any] | Literal["control"]] | None = Field(None, min_length=2, max_length=2)
    one_way: bool | None = None
    loss: str | None = None
    delay: str | None = None


class File(Body):
    """A changed cluster file."""

    text: str = Field(max_length=LARGEST_FILE)
    dry_run: bool = False


class Clock(Body):
    """How time passes on the wall; not an input, because it changes nothing in the run."""

    speed: float | None = Field(None, gt=0, le=100_000)
    paused: bool | None = None


def routes(context: Context) -> APIRouter:
    """Routes under /api/v1 that change something."""
    router = APIRouter(prefix="/api/v1", tags=["act"])
    _realms(router, context)
    _machines(router, context)
    _rollouts(router, context)
    _steering(router, context)
    _revocations(router, context)
    _faults(router, context)
    _clock(router, context)
    return router


def _realms(router: APIRouter, context: Context) -> None:
    @router.post("/realms")
    async def launch(body: Launch) -> Response:
        """Launch more Realms of a kind."""
        return await _ask(context, i.LaunchRealms(body.kind, body.count))

    @router.post("/realms/{name}/stop")
    async def stop(name: str) -> Response:
        """Stop a Realm for good."""
        return await _ask(context, i.StopRealm(name))

    @router.delete("/realms/{name}")
    async def delete(name: str) -> Response:
        """Stop a Realm if it still runs, and show it no more."""
        return await _ask(context, i.DeleteRealm(name))

    @router.post("/realms/{name}/migrate")
    async def migrate(name: str, body: Migrate | None = None) -> Response:
        """Move a serving Realm (modelled)."""
        return await _ask(context, i.MigrateRealm(name, body.to if body else ""))

    @router.post("/sessions/{name}/cancel")
    async def cancel(name: str) -> Response:
        """End an open migration session, if the lineage witness still can (modelled)."""
        return await _ask(context, i.CancelMigration(name))

    @router.post("/rebalance")
    async def rebalance(body: Rebalance | None = None) -> Response:
        """Even out loads, or pack Realms onto fewer machines, by moves (modelled); `dry_run` only plans."""
        given = body or Rebalance()
        return await _ask(context, i.RebalanceFleet(given.goal, given.budget, given.dry_run))

    @router.post("/drains/{name}/end")
    async def end_drain(name: str) -> Response:
        """Give a drain or a rebalancing up; cordons are taken back."""
        return await _ask(context, i.EndDrain(name))

    @router.post("/scale")
    async def scale(body: Scale) -> Response:
        """Launch or stop Realms of a kind until as many are wanted."""
        return await _ask(context, i.ScaleKind(body.kind, body.count))

    @router.post("/apply")
    async def apply(body: File) -> Response:
        """Reconcile with a changed cluster file, all of it or nothing; `dry_run` shows the difference only."""
        asked = _difference(context, body.text)
        if body.dry_run or not asked.changes:
            return shown(_shown_difference(asked))
        if asked.refused:
            raise Problem(HTTPStatus.CONFLICT, "conflict", "; ".join(asked.refused), "nothing was changed")
        return await _ask(context, i.ApplyFile(body.text))


def _machines(router: APIRouter, context: Context) -> None:
    @router.post("/machines/{name}/cordon")
    async def cordon(name: str, body: Cordon | None = None) -> Response:
        """Keep new Realms and migrations away from a machine."""
        return await _ask(context, i.CordonMachine(name, body.why if body else "operator"))

    @router.post("/machines/{name}/uncordon")
    async def uncordon(name: str) -> Response:
        """Take an operator's cordon back."""
        return await _ask(context, i.UncordonMachine(name))

    @router.post("/machines/{name}/drain")
    async def drain(name: str, body: Drain | None = None) -> Response:
        """Empty a machine by moves (modelled); `dry_run` only plans."""
        return await _ask(context, i.DrainMachines(machine=name, dry_run=bool(body and body.dry_run)))

    @router.post("/racks/{name}/evacuate")
    async def evacuate(name: str, body: Drain | None = None) -> Response:
        """Empty all machines of a rack by moves (modelled); `dry_run` only plans."""
        return await _ask(context, i.DrainMachines(rack=name, dry_run=bool(body and body.dry_run)))


def _rollouts(router: APIRouter, context: Context) -> None:
    @router.post("/rollouts")
    async def start(body: Rollout) -> Response:
        """Roll a release out, wave by wave, from now on."""
        return await _ask(context, i.StartRollout(body.model_dump(exclude_none=True)))

    @router.post("/rollouts/{name}/pause")
    async def pause(name: str) -> Response:
        """Start nothing further until it is resumed."""
        return await _ask(context, i.PauseRollout(name))

    @router.post("/rollouts/{name}/resume")
    async def resume(name: str) -> Response:
        """Let a paused rollout go on."""
        return await _ask(context, i.ResumeRollout(name))

    @router.post("/rollouts/{name}/abort")
    async def abort(name: str) -> Response:
        """Give a rollout up; machines under way come to the end of their own table."""
        return await _ask(context, i.AbortRollout(name))


def _steering(router: APIRouter, context: Context) -> None:
    @router.post("/rollouts/{name}/promote")
    async def promote(name: str) -> Response:
        """Go on without further bake and gates, whatever failed so far."""
        return await _ask(context, i.PromoteRollout(name))

    @router.post("/rollouts/{name}/retry")
    async def retry(name: str) -> Response:
        """Take the failed machines of a held rollout again."""
        return await _ask(context, i.RetryRollout(name))


def _revocations(router: APIRouter, context: Context) -> None:
    @router.post("/revocations")
    async def revoke(body: Revocation) -> Response:
        """Revoke a firmware version or a signer from now on."""
        return await _ask(context, i.RevokeFirmware(body.model_dump(exclude_none=True)))


def _faults(router: APIRouter, context: Context) -> None:
    @router.post("/faults")
    async def inject(body: Fault) -> Response:
        """Let a fault strike now; it heals itself after `for`."""
        return await _ask(context, i.InjectFault(body.model_dump(by_alias=True, exclude_none=True)))

    @router.post("/faults/{name}/heal")
    async def heal(name: str) -> Response:
        """Undo a fault before its time."""
        return await _ask(context, i.HealFault(name))


def _clock(router: APIRouter, context: Context) -> None:
    @router.post("/clock")
    async def clock(body: Clock) -> Response:
        """Change the speed, pause, go on; the run is the same whatever the clock does."""
        try:
            context.session.set_pace(body.speed, body.paused)
        except ValueError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", str(error)) from error
        return shown({"kind": "clock", "schema_version": 1, "paused": context.session.paused})


async def _ask(context: Context, body: i.Input) -> Response:
    session = context.session
    if session.stopping:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "ending", "the fleet is being shut down")
    waiting = asyncio.wrap_future(session.ask(body))
    if session.paused:
        return _queued(body, "time is paused")
    try:
        answer = await asyncio.wait_for(asyncio.shield(waiting), PATIENCE_S)
    except TimeoutError:
        return _queued(body, "its boundary has not come yet")
    except asyncio.CancelledError:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "ending", "the fleet was shut down before it answered") from None
    return _answered(answer)


def _queued(body: i.Input, why: str) -> Response:
    queued = {"kind": "answer", "schema_version": 1, "accepted": None, "asked": i.word(body), "what": f"queued: {why}"}
    return shown(queued, HTTPStatus.ACCEPTED)


def _answered(answer: Answer) -> Response:
    if answer.rule:
        raise Problem(STATUS_OF_RULE[answer.rule], answer.rule, answer.what, answer.hint, input=answer.number)
    told = {
        "kind": "answer",
        "schema_version": 1,
        "accepted": True,
        "input": answer.number,
        "asked": answer.asked,
        "subjects": answer.subjects,
        "what": answer.what,
    }
    return shown(told)


def _difference(context: Context, text: str) -> Reconciliation:
    """What a changed file asks for, as the fleet stood when it was last published. Raises for a bad file."""
    loaded = load_text(text, "the file")
    if loaded.value is None:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", loaded.render(), **loaded.as_json())
    running = context.session.cluster
    held = {kind: sum(_wanted(row, kind) for row in context.shot.realms) for kind in running.realms}
    return reconcile(running, loaded.value, held)


def _shown_difference(asked: Reconciliation) -> dict[str, Any]:
    changes = {
        change.path: {"from": change.was, "to": change.to, **({"refused": change.refused} if change.refused else {})}
        for change in asked.changes
    }
    told = list(sentences(asked.changes))
    return {"kind": "difference", "schema_version": 2, "changes": changes, "told": told, "applied": False}


def _wanted(row: Any, kind: str) -> bool:
    return row.kind == kind and row.state not in ("stopped", "stopping", "failed")
