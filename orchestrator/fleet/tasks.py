"""Work that is not a machine's, spread over Ray: one function over many arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from node.actor import RayHost

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


class CarryOut(Protocol):
    """Calls `work` for every argument, `side_by_side` at once, and gives place and answer as each is done."""

    def __call__(
        self, work: Callable[[Argument], Answer], arguments: Sequence[Argument], side_by_side: int | None
    ) -> Iterator[tuple[int, Answer]]: ...


@contextmanager
def ray_tasks(address: str | None, log_path: Path) -> Iterator[CarryOut]:
    """A Ray to carry work out on, started here or joined; raises `node.errors.RayUnavailable`."""
    host = RayHost.open(address, log_path)

    def carry_out(work: Any, arguments: Any, side_by_side: int | None) -> Any:
        return host.carry_out(work, arguments, side_by_side or host.cores())

    try:
        yield carry_out
    finally:
        host.stop()
