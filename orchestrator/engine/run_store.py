"""The run's file `run.db`: journal, beats, trace, tokens and samples in one SQLite database (WAL).

This is the engine's only module with effects. A process killed at any moment leaves a readable file: external inputs
are committed before they take effect, everything else together every few beats. There is no wall clock in it.

A run that was interrupted is run again from its start with the journal's inputs: `RunStore.resume` compares what is
already in the file, line by line, and appends what is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from orchestrator.engine.errors import NondeterminismFound, StoreUnreadable, StoreUnwritable
from orchestrator.engine.journal import ExternalInput
from orchestrator.engine.trace import TraceLine

FORMAT = "1"
"""Version of the tables below."""

BEATS_PER_COMMIT = 32
"""Beats that a killed process may lose."""

_JOURNAL_MODE = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE journal (number INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE beats (boundary_ns INTEGER PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE trace (
    line_number INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL,
    line TEXT NOT NULL
);
CREATE TABLE tokens (
    realm TEXT NOT NULL, incarnation INTEGER NOT NULL, at_ns INTEGER NOT NULL, machine TEXT NOT NULL,
    token BLOB NOT NULL, PRIMARY KEY (realm, incarnation, at_ns, machine)
) WITHOUT ROWID;
CREATE TABLE samples (
    at_ns INTEGER NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (at_ns, name, labels)
) WITHOUT ROWID;
"""

T = TypeVar("T")


class StoredToken(Struct, frozen=True):
    """One token as it reached the control plane."""

    realm: str
    incarnation: int
    at_ns: int
    machine: str
    token: bytes


class Sample(Struct, frozen=True):
    """One value of one series at a virtual instant; `labels` is canonical JSON, `value` in the metric's unit."""

    at_ns: int
    name: str
    labels: str
    value: int


class RunStore:
    """The writing side: a trace sink, a journal, and a place for tokens and samples. One thread only.

    Whatever writes raises `StoreUnwritable` when the disk is full or gone.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._uncommitted = 0
        self._lines = 0
        self._stored_lines = _count(connection, "trace")
        self._stored_boundary_ns = _last(connection, "SELECT max(boundary_ns) FROM beats")

    @classmethod
    def create(cls, path: Path) -> RunStore:
        """A new file at `path`; raises `FileExistsError` if there is one, and `StoreUnreadable` if none can be made."""
        if path.exists():
            raise FileExistsError(str(path))
        store = cls(_connect(path, _JOURNAL_MODE + _TABLES), path)
        store.set_meta("format", FORMAT)
        return store

    @classmethod
    def resume(cls, path: Path) -> RunStore:
        """The file of an interrupted run, written again from the start: old lines are checked, new ones added.

        Raises `StoreUnreadable` for a file that is damaged or of another format.
        """
        with RunReader(path) as reader:
            reader.check()
        return cls(_connect(path, _JOURNAL_MODE), path)

    @property
    def missing(self) -> int:
        """Lines that an interrupted run left in the file and that this one has not written again, so far."""
        return max(self._stored_lines - self._lines, 0)

    def set_meta(self, key: str, value: str) -> None:
        """Keep a fact about the run, such as its seed or its versions; durable at once."""
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        self.commit()

    def admitted(self, entry: ExternalInput) -> None:
        """Journal an external input; durable at once."""
        body = msgspec.json.encode(entry.body, order="sorted").decode()
        row = (entry.number, entry.at_ns, "input", body)
        with self._writing():
            self._connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?)", row)
        self.commit()

    def beat(self, boundary_ns: int, digest: str) -> None:
        """Note a boundary and the digest settled by then; committed with everything else every few beats."""
        if boundary_ns <= self._stored_boundary_ns:
            self._check_beat(boundary_ns, digest)
            return
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO beats VALUES (?, ?)", (boundary_ns, digest))
        self._uncommitted += 1
        if self._uncommitted >= BEATS_PER_COMMIT:
            self.commit()

    def write(self, lines: Sequence[TraceLine]) -> None:
        """Append settled lines, or compare them with what an interrupted run left; raises `NondeterminismFound`."""
        known = max(0, min(len(lines), self._stored_lines - self._lines))
        if known:
            self._check_lines(lines[:known])
        first = self._lines + known
        rows = (
            (first + place, line.entry.at_ns, line.kind, line.entry.source, line.line.decode())
            for place, line in enumerate(lines[known:])
        )
        with self._writing():
            self._connection.executemany("INSERT INTO trace VALUES (?, ?, ?, ?, ?)", rows)
        self._lines += len(lines)

    def keep_token(self, token: StoredToken) -> None:
        """Keep a token for later inspection."""
        row = (token.realm, token.incarnation, token.at_ns, token.machine, token.token)
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?)", row)

    def keep_samples(self, samples: Sequence[Sample]) -> None:
        """Keep metric samples."""
        rows = ((sample.at_ns, sample.name, sample.labels, sample.value) for sample in samples)
        with self._writing():
            self._connection.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", rows)

    def commit(self) -> None:
        """Make everything written so far durable."""
        with self._writing():
            self._connection.commit()
        self._uncommitted = 0

    def close(self) -> None:
        """Commit, fold the write-ahead log into the one file, and close it."""
        try:
            self.commit()
            with self._writing():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreUnwritable(str(self._path), str(error)) from error

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_lines(self, lines: Sequence[TraceLine]) -> None:
        stored = self._connection.execute(
            "SELECT line FROM trace WHERE line_number >= ? ORDER BY line_number LIMIT ?", (self._lines, len(lines))
        )
        for (before,), now in zip(stored.fetchall(), lines, strict=True):
            if before != now.line.decode():
                what = f"the interrupted run has {before[:200]}, this one {now.line.decode()[:200]}"
                raise NondeterminismFound(now.entry.source, what, now.entry.at_ns)

    def _check_beat(self, boundary_ns: int, digest: str) -> None:
        row = self._connection.execute("SELECT digest FROM beats WHERE boundary_ns = ?", (boundary_ns,)).fetchone()
        if row is not None and row[0] != digest:
            raise NondeterminismFound("run", f"digest was {row[0]}, is {digest}", boundary_ns)


class RunReader:
    """The reading side; works while the run is still being written, and after it was killed."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StoreUnreadable(str(path), "there is no such file")
        self._path = path
        self._connection = _connect(path, "PRAGMA query_only=1;")
        try:
            found = self.meta().get("format")
        except sqlite3.Error as error:
            raise StoreUnreadable(str(path), f"not a run of this program ({error})") from error
        if found != FORMAT:
            raise StoreUnreadable(str(path), f"format {found}, this version reads {FORMAT}")

    def check(self) -> None:
        """Read the whole file once; raises `StoreUnreadable` if a page is damaged or trace lines are missing."""
        try:
            found = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            rows = self._connection.execute("SELECT count(*), max(line_number) FROM trace").fetchone()
        except sqlite3.Error as error:
            raise StoreUnreadable(str(self._path), f"damaged ({error})") from error
        if found != "ok":
            raise StoreUnreadable(str(self._path), f"damaged ({found})")
        if rows[0] != (rows[1] + 1 if rows[1] is not None else 0):
            raise StoreUnreadable(str(self._path), f"of {rows[1] + 1} trace lines {rows[0]} are there")

    def meta(self) -> dict[str, str]:
        """Facts kept about the run."""
        return dict(self._connection.execute("SELECT key, value FROM meta ORDER BY key").fetchall())

    def trace(self, kind: str | None = None, source: str | None = None) -> Iterator[bytes]:
        """Trace lines in total order, all or those of one kind or source; without the newline."""
        rows = self._connection.execute(
            "SELECT line FROM trace WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR source = ?2) "
            "ORDER BY line_number",
            (kind, source),
        )
        for (line,) in rows:
            yield line.encode()

    def inputs(self, decode: Callable[[bytes], T]) -> list[ExternalInput]:
        """Journaled external inputs, their bodies decoded from JSON by `decode`."""
        rows = self._connection.execute("SELECT number, at_ns, body FROM journal WHERE kind = 'input' ORDER BY number")
        return [ExternalInput(number, at_ns, decode(body.encode())) for number, at_ns, body in rows]

    def beats(self) -> Iterator[tuple[int, str]]:
        """Boundaries that the run visited, and the digest settled by each."""
        yield from self._connection.execute("SELECT boundary_ns, digest FROM beats ORDER BY boundary_ns")

    def tokens(self, realm: str | None = None) -> Iterator[StoredToken]:
        """Tokens in the order realm, incarnation, instant."""
        rows = self._connection.execute(
            "SELECT realm, incarnation, at_ns, machine, token FROM tokens WHERE ?1 IS NULL OR realm = ?1 "
            "ORDER BY realm, incarnation, at_ns, machine",
            (realm,),
        )
        for row in rows:
            yield StoredToken(*row)

    def samples(self, name: str | None = None) -> Iterator[Sample]:
        """Samples by instant, name and labels."""
        rows = self._connection.execute(
            "SELECT at_ns, name, labels, value FROM samples WHERE ?1 IS NULL OR name = ?1 ORDER BY at_ns, name, labels",
            (name,),
        )
        for row in rows:
            yield Sample(*row)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> RunReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _connect(path: Path, script: str) -> sqlite3.Connection:
    """Open `path` and run `script`; raises `StoreUnreadable`."""
    try:
        connection = sqlite3.connect(path)
        connection.executescript(script)
    except sqlite3.Error as error:
        raise StoreUnreadable(str(path), str(error)) from error
    return connection


def _count(connection: sqlite3.Connection, table: str) -> int:
    return _last(connection, f"SELECT count(*) FROM {table}")


def _last(connection: sqlite3.Connection, query: str) -> int:
    """The one integer that `query` gives; -1 if there is none."""
    row: tuple[Any, ...] = connection.execute(query).fetchone()
    return -1 if row[0] is None else int(row[0])
