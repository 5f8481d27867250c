"""The application: reads, actions, the event stream, metrics, discovery, health, and the page."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client.exposition import choose_encoder

from orchestrator.serve import actions, problems, reads, stream
from orchestrator.serve.context import Context
from orchestrator.serve.guard import Guard
from orchestrator.serve.shown import described, shown
from orchestrator.serve.views import FaultShown, MachineShown, RealmShown, RolloutShown, SessionShown, Status

PAGE = Path(str(files("orchestrator.serve") / "page"))

_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"


def create_app(context: Context, token: str = "") -> FastAPI:
    """The API over one session; `token`, if not empty, is asked of every request that learns or changes something."""
    app = FastAPI(
        title="Realmfleet",
        summary="A live fleet of simulated Arm CCA servers.",
        version="1",
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    for router in (_machinery(context), stream.routes(context), actions.routes(context), reads.routes(context)):
        app.include_router(router)
    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False), name="page")
    app.add_middleware(Guard, token=token)
    _complete(app)
    return app


def _machinery(context: Context) -> APIRouter:
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(
            PAGE / "index.html", headers={"cache-control": "no-cache", "content-security-policy": _POLICY}
        )

    @router.get("/healthz", tags=["machinery"])
    async def healthz() -> Response:
        """Whether the process answers."""
        return shown({"ok": True})

    @router.get("/readyz", tags=["machinery"])
    async def readyz() -> Response:
        """Whether a fleet is there and not about to end: 200, or 503."""
        ready = not context.session.stopping
        return shown({"ready": ready}, 200 if ready else 503)

    @router.get("/-/sd", tags=["machinery"])
    async def discovery(request: Request) -> Response:
        """Targets for Prometheus (HTTP service discovery)."""
        labels = {"job": "realmfleet", "cluster": context.session.cluster.name}
        return shown([{"targets": [request.headers.get("host") or context.address], "labels": labels}])

    @router.get("/metrics", tags=["machinery"])
    def metrics(request: Request) -> Response:
        """Metrics for Prometheus: text format, or OpenMetrics when the scraper asks for it."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(context.session.metrics.registry), headers={"content-type": media_type})

    return router


def _complete(app: FastAPI) -> None:
    """Add the schemas of our records and the shape of a problem to the OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(described(Status, MachineShown, RealmShown, RolloutShown, FaultShown, SessionShown))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
