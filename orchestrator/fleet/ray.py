"""A fleet on Ray actors: `SeatedFleet` over a `RayHost` that it opens and stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from cca_machine.commands import MachineSpec
from node.actor import RayHost
from node.protocol import DEFAULT_FACTORY
from orchestrator.fleet.seats import SNAPSHOT_EVERY, SeatedFleet


class RayFleet(SeatedFleet):
    """All machines on Ray actors, started here or on the cluster at `address` ("host:port" or "auto").

    `actors` is a number, or "auto": one actor per machine up to four per core, beyond that one per core. What Ray has
    to say goes to `log_path`. Raises `node.errors.RayUnavailable`.
    """

    def __init__(
        self,
        specs: Sequence[MachineSpec],
        actors: int | str = "auto",
        address: str | None = None,
        *,
        log_path: Path,
        factory: str = DEFAULT_FACTORY,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        host = RayHost.open(address, log_path)
        try:
            super().__init__(specs, host, actors, factory, snapshot_every)
        except BaseException:
            host.stop()
            raise

    def __enter__(self) -> RayFleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
