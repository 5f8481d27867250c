"""Live progress of a run on standard error: one moving region on a terminal, a plain line now and then elsewhere.

Progress only shows; what it is told never flows back into the run. Wall time is read here and nowhere in the engine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.engine.instant import format_instant

PLAIN_EVERY_S = 5.0
BAR_EVERY_S = 0.1


class Watch(Protocol):
    """Is told where the run stands every few beats; `status` makes the line, when it is to be shown."""

    def __call__(self, now_ns: int, status: Callable[[], str]) -> None: ...


@contextmanager
def watching(until_ns: int, *, quiet: bool) -> Iterator[Watch]:
    """A watch for a run that ends at `until_ns` (virtual ns); `quiet` shows nothing at all."""
    console = Console(file=sys.stderr)
    if quiet:
        yield lambda now_ns, status: None
    elif console.is_terminal:
        with _bar(console, until_ns) as watch:
            yield watch
    else:
        yield _plain(until_ns)


@contextmanager
def counting() -> Iterator[Callable[[str], None]]:
    """A place for lines like "3/40 what": a bar on a terminal that fills up, the lines themselves elsewhere."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda line: print(line, file=sys.stderr, flush=True)
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=8) as progress:
        task = progress.add_task("starting", total=None)

        def count(line: str) -> None:
            done, slash, rest = line.partition("/")
            if slash and done.isdecimal():
                progress.update(task, completed=int(done), total=int(rest.partition(" ")[0]))
            progress.update(task, description=line)

        yield count


@contextmanager
def _bar(console: Console, until_ns: int) -> Iterator[Watch]:
    columns = (
        TextColumn("[bold]{task.fields[clock]}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=8) as progress:
        task = progress.add_task("starting", total=until_ns, clock=format_instant(0))
        last = 0.0

        def watch(now_ns: int, status: Callable[[], str]) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= BAR_EVERY_S:
                last = now
                progress.update(task, completed=now_ns, description=status(), clock=format_instant(now_ns))

        yield watch


def _plain(until_ns: int) -> Watch:
    last = time.monotonic()

    def watch(now_ns: int, status: Callable[[], str]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_EVERY_S:
            last = now
            print(f"{format_instant(now_ns)} of {format_instant(until_ns)}: {status()}", file=sys.stderr, flush=True)

    return watch
