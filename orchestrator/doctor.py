"""`realmfleet doctor`: what this machine offers a run, each finding with what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable

from msgspec import Struct

NEEDED = ("ray", "pydantic", "cryptography", "cbor2", "pycose", "prometheus-client", "msgspec", "ruamel.yaml", "typer")
SHARED_MEMORY_BYTES = 256 << 20
DISK_BYTES = 1 << 30
OPEN_FILES = 1024


class Finding(Struct, frozen=True):
    """One look at the environment: `good`, what was found, and what would help when it is not good."""

    name: str
    good: bool
    found: str
    remedy: str = ""


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("python", good, platform.python_version(), "" if good else "install Python 3.11 or newer")


def _packages() -> Finding:
    missing = []
    for name in NEEDED:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    found = "all present" if not missing else "missing: " + ", ".join(missing)
    return Finding("packages", not missing, found, "" if not missing else "run `make setup`")


def _ray() -> Finding:
    try:
        return Finding("ray", True, importlib.metadata.version("ray"))
    except importlib.metadata.PackageNotFoundError:
        return Finding("ray", False, "not installed", "run `make setup`, or use --fleet local")


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cores", True, str(cores))


def _shared_memory() -> Finding:
    path = "/dev/shm"
    if not os.path.isdir(path):
        return Finding("shared memory", True, "not a Linux machine; Ray uses files")
    free = shutil.disk_usage(path).free
    good = free >= SHARED_MEMORY_BYTES
    remedy = "" if good else f"give {path} at least {SHARED_MEMORY_BYTES >> 20} MiB (containers: --shm-size)"
    return Finding("shared memory", good, f"{free >> 20} MiB free", remedy)


def _disk() -> Finding:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    good = free >= DISK_BYTES
    return Finding("temporary files", good, f"{free >> 20} MiB free", "" if good else "free 1 GiB or set TMPDIR")


def _open_files() -> Finding:
    try:
        import resource
    except ImportError:
        return Finding("open files", True, "no limit known here")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    good = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES
    return Finding("open files", good, str(soft), "" if good else f"raise it: ulimit -n {OPEN_FILES}")


def _loopback() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("loopback", False, str(error), "a fleet on Ray needs sockets on 127.0.0.1; or use --fleet local")
    return Finding("loopback", True, "a port can be opened on 127.0.0.1")


def _writable() -> Finding:
    here = os.getcwd()
    good = os.access(here, os.W_OK)
    return Finding("run directory", good, f"{here} is {'' if good else 'not '}writable", "" if good else "use --out")


LOOKS: tuple[Callable[[], Finding], ...] = (
    _python, _packages, _ray, _cores, _shared_memory, _disk, _open_files, _loopback, _writable,
)  # fmt: skip


def examine() -> list[Finding]:
    """All findings, in the order of `LOOKS`; nothing is started and nothing is written."""
    return [look() for look in LOOKS]
