"""Files of Realm measurement vectors: each Realm laid out and built anew, compared step by step.

A vector names a VMM with its words and files, and the RIM after each step. What is compared: merged parameters, device
tree, each step's addresses and RIM, the final RIM, and the REMs (as an RMM or as the measurement tool computes them).
A vector that no RMM would build is said to be impossible with the failing condition, and compared by arithmetic alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cca_machine.vmm.layout import VmmLayout
from cca_machine.vmm.measure import CannotExist, Step, measure
from cca_machine.vmm.mistake import VmmMistake
from orchestrator.errors import UserMistake
from orchestrator.rim_request import RimRequest, firmware_rems, host_words, lay_out, recomputed

FORM = 'JSON in the form of rim-vectors.json: {"vectors": [{"id", "vmm", "options", "vmm_args", "steps", "rim"}]}'


class Vector(msgspec.Struct, kw_only=True):
    """One expected Realm, as the file says it."""

    id: str
    vmm: str
    options: list[str] = []
    vmm_args: list[str] = []
    hash: str | None = None
    realm_params: dict[str, int | bool] | None = None
    steps: list[dict[str, str | int]] = []
    rim: str | None = None
    rem: list[str] | None = None
    dtb: str | None = None
    dtb_sha256: str | None = None


class VectorFile(msgspec.Struct):
    """The file; other fields are for its readers."""

    vectors: list[Vector]


class Difference(msgspec.Struct, frozen=True):
    """The first thing that differs; `step` counts from 0, and is None for what concerns no step."""

    where: str
    field: str
    expected: str
    got: str
    step: int | None = None


class Verdict(msgspec.Struct, omit_defaults=True):
    """One vector: `first` is its first difference, `impossible` why no RMM would build it."""

    id: str
    good: bool
    rim: str
    steps: int
    first: Difference | None = None
    impossible: str = ""


def read_vectors(path: Path) -> list[Vector]:
    """The vectors of a file.

    Raises:
        UserMistake: there is none, or it is none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=VectorFile).vectors
    except FileNotFoundError:
        raise UserMistake(f"there is no file {path}", "check the path") from None
    except OSError as error:
        raise UserMistake(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from None
    except msgspec.MsgspecError as error:
        raise UserMistake(f"{path} holds no Realm measurement vectors: {error}", FORM) from None


def judge(vector: Vector, folder: Path) -> Verdict:
    """Lay out, build and compare one vector.

    Raises:
        UserMistake: a file is missing, or the words make no sense to the VMM.
    """
    try:
        files, configs, limits = host_words(vector.options, folder)
        request = RimRequest(vmm=vector.vmm, words=vector.vmm_args, files=files, configs=configs, limits=limits)
        layout = lay_out(request)
        impossible = ""
        try:
            steps = list(measure(layout))
        except CannotExist as reason:
            impossible = str(reason)
            steps = list(recomputed(layout))
    except VmmMistake as mistake:
        raise UserMistake(f"vector {vector.id}: {mistake.message}", mistake.hint) from None
    except UserMistake as mistake:
        raise UserMistake(f"vector {vector.id}: {mistake.message}", mistake.hint) from None
    names = {role: path.relative_to(folder).as_posix() for role, path in files.items() if role != "dtb"}
    first = _first(vector, layout, steps, names)
    return Verdict(vector.id, first is None, steps[-1].rim.hex(), len(steps), first, impossible)


def step_record(step: Step, names: dict[str, str] | None = None) -> dict[str, Any]:
    """A step as vector files write it; `names` gives the files' names for the roles of contents."""
    record: dict[str, Any] = {}
    for name in step.__struct_fields__:
        value = getattr(step, name)
        if value is None:
            continue
        if name == "content":
            value = (names or {}).get(value, value)
        record[name] = value.hex() if isinstance(value, bytes) else hex(value) if name in _ADDRESSES else value
    return record


_ADDRESSES = ("base", "top", "last", "pc", "x0")


def _first(vector: Vector, layout: VmmLayout, steps: list[Step], names: dict[str, str]) -> Difference | None:
    if vector.hash is not None and vector.hash != layout.hash:
        return Difference("parameters", "hash", vector.hash, layout.hash)
    if vector.realm_params is not None:
        known = layout.limits.known()
        for name in sorted({*vector.realm_params, *known}):
            if vector.realm_params.get(name) != known.get(name):
                return Difference("parameters", name, str(vector.realm_params.get(name)), str(known.get(name)))
    for place, (want, step) in enumerate(zip(vector.steps, steps, strict=False)):
        found = _in_step(place, want, step_record(step, names))
        if found is not None:
            return found
    if len(vector.steps) != len(steps) and vector.steps:
        want_ops, got_ops = [step.get("op") for step in vector.steps], [step.op for step in steps]
        place = min(len(want_ops), len(got_ops))
        return Difference("step", "op", str(want_ops[place:]), str(got_ops[place:]), place)
    return next(_afterwards(vector, layout, steps), None)


def _in_step(place: int, want: dict[str, str | int], got: dict[str, Any]) -> Difference | None:
    # The RIM last: an address that differs is the reason why the RIM does.
    for name in sorted(want, key=lambda name: (name != "op", name == "rim")):
        if not _same(want[name], got.get(name)):
            return Difference(str(want.get("op", "step")), name, str(want[name]), str(got.get(name)), place)
    return None


def _same(want: str | int, got: Any) -> bool:
    if isinstance(want, str) and want.startswith("0x") and isinstance(got, str):
        try:
            return int(want, 16) == int(got, 16)
        except ValueError:
            return False
    return bool(want == got)


def _afterwards(vector: Vector, layout: VmmLayout, steps: list[Step]) -> Iterator[Difference]:
    last = steps[-1].rim.hex()
    if vector.rim is not None and vector.rim != last:
        yield Difference("result", "rim", vector.rim, last)
    tree = next((piece.content for piece in layout.pieces if piece.what == "dtb"), b"")
    digest = hashlib.sha256(tree).hexdigest()
    if vector.dtb_sha256 is not None and vector.dtb_sha256 != digest:
        yield Difference("device tree", "dtb_sha256", vector.dtb_sha256, digest)
    for slot, want in enumerate(vector.rem or ()):
        good = {value.hex() for value in firmware_rems(layout)} if slot == 0 else {"00" * (len(last) // 2)}
        if want not in good:
            yield Difference("result", f"rem[{slot}]", want, " or ".join(sorted(good)))
