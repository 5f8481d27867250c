"""A finished run as it lies in its directory: opened, checked against itself, and refused by name if it does not hold.

What a report says must be what the run was. So `run.db` keeps, besides the trace, who and what the run was (`Ending`);
the trace must give the digest that stands there, the cluster file its hash, and the manifest must agree.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec
from msgspec import Struct

from orchestrator import rundir
from orchestrator.chaos.verdict import Facts, Verdict
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.errors import StoreUnreadable
from orchestrator.engine.run_store import RunReader
from orchestrator.errors import UserMistake

META: Final = "ending"
"""Key of `run.db`'s facts under which the ending stands."""


class Ending(Struct, frozen=True):
    """Who and what a run was, kept when it ended. `judged` is what checkers were told besides the trace."""

    name: str
    seed: int
    repeat: str
    trace_digest: str
    records: int
    cluster_sha256: str
    interrupted: bool
    versions: dict[str, str]
    judged: Facts
    brought: tuple[Verdict, ...] = ()
    """Verdicts of checkers that the user's own code brought: they cannot be asked again from the directory alone."""
    extensions: tuple[str, ...] = ()
    """What a script put into the run, without which it would have been another."""

    @property
    def end_ns(self) -> int:
        """Virtual instant at which the run ended."""
        return self.judged.end_ns

    def encode(self) -> str:
        """As it stands in the file."""
        return msgspec.json.encode(self, order="sorted").decode()


class StoredRun:
    """A finished run that was found whole; a context manager that closes its file."""

    def __init__(self, path: Path, reader: RunReader, ending: Ending, cluster: Cluster, cluster_text: str) -> None:
        self.path = path
        self.ending = ending
        self.cluster = cluster
        self.cluster_text = cluster_text
        self._reader = reader

    def trace(self) -> Iterator[bytes]:
        """Trace lines in total order, read from the file as they are asked for."""
        return self._reader.trace()

    def __enter__(self) -> StoredRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reader.close()


def open_stored(path: Path) -> StoredRun:
    """Open a finished run; raises `UserMistake` for one that lives, was killed, is damaged, or of another version."""
    manifest = rundir.read_manifest(path)
    status, repeat = manifest.get("status"), str(manifest.get("repeat", ""))
    again = f"run it again: {repeat}" if repeat else "run it again"
    _refuse_other_version(path, manifest.get("versions"), again)
    if status not in ("finished", "interrupted"):
        hint = f"wait for it, or if it was killed: realmfleet resume {path}"
        raise UserMistake(f"{path} has no end yet: its manifest says {status}", hint)
    try:
        reader = RunReader(path / rundir.DATABASE)
    except StoreUnreadable as error:
        raise UserMistake(str(error), again) from error
    try:
        ending = _ending(path, reader, again)
        _agree(path, manifest, ending, again)
        cluster, text = _cluster(path, ending, again)
        _hold_to_digest(path, reader, ending, again)
    except BaseException:
        reader.close()
        raise
    return StoredRun(path, reader, ending, cluster, text)


def _refuse_other_version(path: Path, versions: Any, again: str) -> None:
    ours = version("realmfleet")
    theirs = versions.get("realmfleet") if isinstance(versions, Mapping) else None
    if theirs != ours:
        raise UserMistake(f"{path} was written by version {theirs}, this is {ours}", f"use that version, or {again}")


def _ending(path: Path, reader: RunReader, again: str) -> Ending:
    file = path / rundir.DATABASE
    try:
        reader.check()
        kept = reader.meta().get(META)
    except StoreUnreadable as error:
        raise UserMistake(str(error), again) from error
    if kept is None:
        raise UserMistake(f"{file} does not say how the run ended", again)
    try:
        return msgspec.json.decode(kept, type=Ending)
    except msgspec.DecodeError as error:
        raise UserMistake(
            f"{file} is damaged: what it says of the run's end cannot be read ({error})", again
        ) from error


def _agree(path: Path, manifest: dict[str, Any], ending: Ending, again: str) -> None:
    """The manifest and the run's file say the same, or one of them was changed."""
    said = {
        "name": ending.name,
        "seed": ending.seed,
        "repeat": ending.repeat,
        "trace_digest": ending.trace_digest,
        "cluster_sha256": ending.cluster_sha256,
        "versions": ending.versions,
    }
    for key, value in said.items():
        if manifest.get(key) != value:
            told = f"{manifest.get(key)!r} and {value!r}"
            raise UserMistake(f"{path}: {rundir.MANIFEST} and {rundir.DATABASE} differ in {key}: {told}", again)
    if (manifest.get("status") == "interrupted") is not ending.interrupted:
        raise UserMistake(f"{path}: {rundir.MANIFEST} and {rundir.DATABASE} differ in how the run ended", again)


def _cluster(path: Path, ending: Ending, again: str) -> tuple[Cluster, str]:
    file = path / rundir.CLUSTER
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", again) from error
    if hashlib.sha256(content).hexdigest() != ending.cluster_sha256:
        raise UserMistake(f"{file} is not the file that was run: its SHA-256 differs", "put that file back")
    loaded = load_text(content, str(file))
    if loaded.value is None:
        raise UserMistake(f"{file} cannot be read\n{loaded.render()}", again)
    return loaded.value, content.decode()


def _hold_to_digest(path: Path, reader: RunReader, ending: Ending, again: str) -> None:
    digest, records = hashlib.sha256(), 0
    try:
        for line in reader.trace():
            digest.update(line + b"\n")
            records += 1
    except sqlite3.Error as error:
        raise UserMistake(f"{path / rundir.DATABASE} is damaged ({error})", again) from error
    if records != ending.records:
        told = f"{records} trace records are there, {ending.records} were written"
        raise UserMistake(f"{path / rundir.DATABASE} is cut short: {told}", again)
    if digest.hexdigest() != ending.trace_digest:
        told = f"its trace gives {digest.hexdigest()[:16]}…, the run had {ending.trace_digest[:16]}…"
        raise UserMistake(f"{path / rundir.DATABASE} is damaged: {told}", again)
