"""The programs that clusters and tests name."""

from __future__ import annotations

from cca_machine.guest.program import (
    POD,
    Boot,
    CheckVersion,
    Extend,
    ReadConfig,
    Serve,
    ShareMailbox,
    StartCpus,
    Step,
)

_FIRST: tuple[Step, ...] = (CheckVersion(), ReadConfig(), ShareMailbox(), StartCpus())
_START: tuple[Step, ...] = (*_FIRST, Boot())

PROGRAMS: dict[str, tuple[Step, ...]] = {
    "server": (*_START, Extend(1, "server configuration"), Serve()),
    "batch": (*_START, Serve()),
    "database": (*_START, Extend(1, "database configuration"), Extend(2, "database schema"), Serve()),
    POD: (*_FIRST, Boot("pod.boot"), Serve()),
}
"""Steps by program name. REM 1 takes what a program was configured with, REM 2 what it loaded besides."""
