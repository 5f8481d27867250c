"""Keeps the terminal ours: what Ray's own threads print goes to a log file, everything else passes.

Ray prints notices about lost workers to standard output from a listener thread, whatever its log settings say, and
would break `--json`. Its threads have names that start with `ray_`. What it still holds back when it is shut down it
prints from the thread that shuts it down: `ray_speaks` is for that.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

_THREAD_PREFIX = "ray_"


class _SplitStream:
    """Behaves as `own`, except that writes by Ray's threads go to `log`."""

    def __init__(self, own: TextIO, log: TextIO) -> None:
        self._own = own
        self._log = log
        self.all_is_rays = False

    def write(self, text: str) -> int:
        return self._side().write(text)

    def flush(self) -> None:
        self._side().flush()

    def writelines(self, lines: list[str]) -> None:
        self._side().writelines(lines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def _side(self) -> TextIO:
        ours = not self.all_is_rays and not threading.current_thread().name.startswith(_THREAD_PREFIX)
        return self._own if ours else self._log


class Chatter:
    """While open, standard output and error belong to the program, and `path` holds what Ray had to say."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.log = path.open("a", encoding="utf-8", buffering=1)
        self._saved = (sys.stdout, sys.stderr)
        self._split = tuple(_SplitStream(own, self.log) for own in self._saved)
        sys.stdout, sys.stderr = (cast(TextIO, split) for split in self._split)

    @contextmanager
    def ray_speaks(self) -> Iterator[None]:
        """Meanwhile all that any thread prints is taken for Ray's."""
        for split in self._split:
            split.all_is_rays = True
        try:
            yield
        finally:
            for split in self._split:
                split.all_is_rays = False

    def close(self) -> None:
        """Give the streams back, unless someone else has replaced them since."""
        if cast(object, sys.stdout) is self._split[0]:
            sys.stdout = self._saved[0]
        if cast(object, sys.stderr) is self._split[1]:
            sys.stderr = self._saved[1]
        self.log.close()

    def __enter__(self) -> Chatter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
