"""A branch point: where a run stands at one boundary, read out of a run directory or out of a snapshot file.

The snapshot file is `RFSN`, a version, a length and a SHA-256, then msgpack of `Standing`: cluster file, seed, inputs
so far, digest of the trace so far, and the state of every machine as its own versioned snapshot. It holds all that a
branch needs, so it can be sent to someone who has no run directory. The control plane has no snapshot of its own: it
is a function of cluster, seed, inputs and what machines answered, so it is brought there by running again, and the
machines' states say whether it came to the same place.
"""

from __future__ import annotations

import hashlib
import struct
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator import inputs, rundir
from orchestrator.cluster.load import load_text
from orchestrator.cluster.quantities import format_duration
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.instant import beat_ceil
from orchestrator.engine.journal import ExternalInput
from orchestrator.errors import UserMistake
from orchestrator.inspect import open_run

MAGIC = b"RFSN"
VERSION = 1
LARGEST_BYTES = 8 * 2**30
_HEADER = struct.Struct(">4sHQ32s")


class JournaledInput(Struct, frozen=True, array_like=True):
    """An external input as the journal writes it: its body is canonical JSON."""

    number: int
    at_ns: int
    body: bytes


class Standing(Struct, frozen=True, kw_only=True):
    """A run up to the boundary `at_ns` (virtual ns); `machines` is empty when it was read out of a run directory.

    `until_ns` is where the run ends; `trace_digest` is SHA-256 over the `trace_records` records settled before `at_ns`,
    and empty when it is not known.
    """

    program: str
    file: str
    cluster_text: str
    seed: int
    at_ns: int
    until_ns: int
    inputs: list[JournaledInput]
    trace_records: int = 0
    trace_digest: str = ""
    machines: dict[str, bytes] = {}

    def entries(self) -> list[ExternalInput]:
        """The inputs as the engine takes them."""
        return [ExternalInput(entry.number, entry.at_ns, inputs.decode(entry.body)) for entry in self.inputs]


def pack(standing: Standing) -> bytes:
    """The bytes of a snapshot file."""
    payload = msgspec.msgpack.encode(standing)
    return _HEADER.pack(MAGIC, VERSION, len(payload), hashlib.sha256(payload).digest()) + payload


def unpack(content: bytes, name: str) -> Standing:
    """What `pack` wrote; bytes that are anything else are refused by name, never half-read."""
    hint = "give a file that `realmfleet snapshot` wrote, or a run directory"
    if len(content) < _HEADER.size or content[:4] != MAGIC:
        raise UserMistake(f"{name} is not a snapshot of a run", hint)
    _, found, size, digest = _HEADER.unpack_from(content)
    if found != VERSION:
        raise UserMistake(f"{name} is a snapshot of version {found}, this program reads version {VERSION}", hint)
    payload = memoryview(content)[_HEADER.size :]
    if len(payload) != size:
        raise UserMistake(f"{name} holds {len(payload)} of {size} bytes", "it was cut short; take it again")
    if hashlib.sha256(payload).digest() != digest:
        raise UserMistake(f"{name} was changed after it was written", "take it again")
    try:
        standing = msgspec.msgpack.decode(payload, type=Standing)
        standing.entries()
    except (msgspec.MsgspecError, ValueError) as error:
        raise UserMistake(f"{name} is not of this program's form: {error}", "take it again") from None
    return standing


def read_standing(source: Path, at_ns: int | None) -> Standing:
    """Where to branch: a run directory with an instant, or a snapshot file, which has its own.

    Raises:
        UserMistake: neither of the two, another version of this program, or an instant that the run did not reach.
    """
    if source.is_dir():
        if at_ns is None:
            raise UserMistake("a run directory is branched at an instant", "add --at, like --at 12min")
        return _of_run(source, at_ns)
    if at_ns is not None:
        raise UserMistake(f"{source} is a snapshot and has its own instant", "leave --at out, or give a run directory")
    try:
        if source.stat().st_size > LARGEST_BYTES:
            raise UserMistake(f"{source} is larger than any snapshot", "give a file that `realmfleet snapshot` wrote")
        standing = unpack(source.read_bytes(), str(source))
    except OSError as error:
        raise UserMistake(f"cannot read {source}: {error.strerror}", "give a run directory or a snapshot") from error
    _same_program(standing.program, str(source))
    return standing


def _of_run(run_dir: Path, at_ns: int) -> Standing:
    manifest = rundir.read_manifest(run_dir)
    _same_program(str(manifest.get("versions", {}).get("realmfleet")), str(run_dir))
    if manifest.get("staged") and not str(manifest.get("repeat", "")).startswith("realmfleet replay"):
        raise UserMistake(
            f"{run_dir} is a run of an experiment, so its cluster file is not the whole of it",
            f"run the experiment: {manifest.get('repeat', '')}",
        )
    try:
        text = (run_dir / rundir.CLUSTER).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistake(f"cannot read {run_dir / rundir.CLUSTER}: {error}", "the run directory is damaged") from error
    cluster = cluster_of_text(text, str(run_dir / rundir.CLUSTER))
    boundary_ns = beat_ceil(at_ns, cluster.control.beat)
    with open_run(run_dir) as reader:
        reached_ns = max((boundary for boundary, _ in reader.beats()), default=0)
        entries = reader.inputs(lambda body: body)
    until_ns = int(manifest.get("until_ns", cluster.duration))
    end_ns = until_ns if manifest.get("status") == "finished" else reached_ns
    if not 0 <= boundary_ns <= end_ns:
        came = format_duration(end_ns // cluster.control.beat * cluster.control.beat)
        raise UserMistake(f"{run_dir} came to {came}, not to {format_duration(at_ns)}", "choose an earlier instant")
    return Standing(
        program=version("realmfleet"),
        file=str(manifest.get("file", "")),
        cluster_text=text,
        seed=int(manifest["seed"]),
        at_ns=boundary_ns,
        until_ns=until_ns,
        inputs=[
            JournaledInput(entry.number, entry.at_ns, entry.body) for entry in entries if entry.at_ns < boundary_ns
        ],
    )


def cluster_of_text(text: str, name: str) -> Cluster:
    """The cluster that a branch point holds; a damaged one is the user's mistake."""
    loaded = load_text(text, name)
    if loaded.value is None:
        raise UserMistake(f"{name} cannot be run\n{loaded.render()}", "it is damaged")
    return loaded.value


def _same_program(theirs: str, name: str) -> None:
    ours = version("realmfleet")
    if theirs != ours:
        raise UserMistake(f"{name} was written by version {theirs}, this is {ours}", "run it anew with this version")
