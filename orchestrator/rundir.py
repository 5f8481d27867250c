"""The run directory: one folder that holds all a run leaves behind.

    cluster.yaml     the cluster file as it was read
    manifest.json    seed, versions, digests, actor pids, status; written at the start and again at the end
    anchors.json     trust anchors of the verifier, as a ccatoken store
    ray.log          what Ray had to say, in runs on Ray
    metrics.om       OpenMetrics with virtual time stamps; `realmfleet metrics load` back-fills Prometheus with it
    report.html      the run as a page that needs nothing else; `realmfleet report` makes it again
    run.db           journal, trace, tokens (SQLite; `orchestrator.engine.run_store`)

A directory is made only after everything that can be refused has been checked, and `manifest.json` is replaced whole,
so a killed run leaves a readable directory whose status says "running".
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from orchestrator.errors import UserMistake

MANIFEST = "manifest.json"
CLUSTER = "cluster.yaml"
ANCHORS = "anchors.json"
BROKER_AUDIT = "broker-audit.jsonl"
DATABASE = "run.db"
METRICS = "metrics.om"
REPORT = "report.html"
RAY_LOG = "ray.log"


def choose(parent: Path, name: str) -> Path:
    """First free directory `name-001`, `name-002`, ... under `parent`."""
    number = 1
    while (path := parent / f"{name}-{number:03d}").exists():
        number += 1
    return path


def create(path: Path, cluster_text: str, *, replace: bool) -> None:
    """Make the directory; an existing one is refused, or replaced if it is a run directory and the user said so."""
    if path.exists():
        if not replace:
            raise UserMistake(f"{path} exists already", "name another directory with --out, or add --replace")
        if not (path / MANIFEST).is_file():
            raise UserMistake(
                f"{path} is not a run directory, so it is not replaced", "name another directory with --out"
            )
        hold(path).close()  # a run that lives is not replaced under its feet
        shutil.rmtree(path)
    try:
        path.mkdir(parents=True)
        (path / CLUSTER).write_text(cluster_text, encoding="utf-8")
    except OSError as error:
        raise UserMistake(f"cannot write {path}: {error.strerror}", "name a writable directory with --out") from error


class Hold:
    """The exclusive use of a run directory by one head; the kernel takes it back when the head dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Give the directory free; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def hold(path: Path) -> Hold:
    """Take a run directory for this process; one that another living head writes is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserMistake(f"cannot open {path}: {error.strerror}", "give a run directory") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UserMistake(f"{path} is being written by a run that lives", "wait for it, or end it first") from None
    return Hold(descriptor)


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Replace `manifest.json` as a whole."""
    draft = path / f"{MANIFEST}.new"
    draft.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(draft, path / MANIFEST)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run directory; a path that is none is the user's mistake."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserMistake(
            f"{path} is not a run directory", "give the directory that `realmfleet run` printed"
        ) from None
    except (OSError, ValueError) as error:
        raise UserMistake(f"{path / MANIFEST} cannot be read: {error}", "the run directory is damaged") from error
    if not isinstance(manifest, dict):
        raise UserMistake(f"{path / MANIFEST} is not a manifest", "the run directory is damaged")
    return manifest
