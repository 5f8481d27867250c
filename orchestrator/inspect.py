"""`realmfleet inspect RUN`: the manifest, the trace, tokens and trust anchors of a run directory, unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.engine.errors import StoreUnreadable
from orchestrator.engine.instant import format_instant
from orchestrator.engine.run_store import RunReader, StoredToken
from orchestrator.errors import UserMistake
from orchestrator.rundir import ANCHORS, DATABASE, read_manifest


def open_run(run_dir: Path) -> RunReader:
    """The run's database; a directory that holds none is the user's mistake."""
    read_manifest(run_dir)
    try:
        return RunReader(run_dir / DATABASE)
    except StoreUnreadable as error:
        raise UserMistake(str(error), "give the directory that `realmfleet run` printed") from error


def manifest(run_dir: Path) -> dict[str, Any]:
    """Seed, versions, digests, pids and status of the run."""
    return {"kind": "manifest", **read_manifest(run_dir)}


def trace_lines(reader: RunReader, as_json: bool) -> Iterator[str]:
    """The trace: canonical JSON lines (their SHA-256, line feeds included, is the digest), or lines for people."""
    for line in reader.trace():
        if as_json:
            yield line.decode()
            continue
        record = json.loads(line)
        what = json.dumps(record["what"], separators=(",", ":"))
        yield f"{format_instant(record['at_ns'])}  {record['source']:<14} {record['kind']:<22} {what}"


def last_token(reader: RunReader, realm: str) -> StoredToken:
    """The last token of a Realm that reached the control plane."""
    found = max(reader.tokens(realm), key=lambda token: token.at_ns, default=None)
    if found is None:
        names = sorted({token.realm for token in reader.tokens()})
        some = f"; there are tokens of {', '.join(names[:4])}" if names else ""
        raise UserMistake(f"no token of {realm} in this run", f"name a Realm that attested{some}")
    return found


def token_json(stored: StoredToken) -> dict[str, Any]:
    """A stored token as plain data, its bytes in hex."""
    return {
        "kind": "stored-token",
        "realm": stored.realm,
        "incarnation": stored.incarnation,
        "machine": stored.machine,
        "at_ns": stored.at_ns,
        "token": stored.token.hex(),
    }


def anchors(run_dir: Path) -> Any:
    """Trust anchors of all machines of the run, as a ccatoken store."""
    read_manifest(run_dir)
    try:
        return json.loads((run_dir / ANCHORS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserMistake(f"{run_dir / ANCHORS} cannot be read: {error}", "the run directory is damaged") from error
