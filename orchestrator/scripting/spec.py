"""A cluster in code: the same keys as in a cluster file, checked by the same rules, refused in the same words.

    spec = Spec("lab", pes=16, memory="8GiB").rack("r1", 3).rack("r2", 3, power="b")
    spec.realms("web", count=6, memory="64MiB")
    spec.set("control.lease", "10s")

The text it becomes is written to the run directory as `cluster.yaml`, so such a run is repeated like any other.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.cluster import document
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.errors import UserMistake
from orchestrator.sweep import put

FIRST_RELEASE = "fw-1"
FIRST_IMAGE = "image-v1"


class Spec:
    """A cluster file in the making; methods return it, so that calls can be chained.

    It begins with one profile `std` (`pes` processing elements, `memory`), one signed release that it boots, and one
    Realm image; `data` is the tree of the file, for everything that has no method of its own.
    """

    def __init__(
        self, name: str, *, pes: int = 16, memory: str = "8GiB", duration: str = "10min", seed: int = 0
    ) -> None:
        signed = {"version": "1.0.0", "signed_by": "vendor"}
        self.data: dict[str, Any] = {
            "version": 1,
            "name": name,
            "seed": seed,
            "duration": duration,
            "profiles": {"std": {"pes": pes, "memory": memory, "firmware": FIRST_RELEASE}},
            "racks": {},
            "firmware": {"releases": {FIRST_RELEASE: {"components": {part: dict(signed) for part in _BOOTED}}}},
            "images": {FIRST_IMAGE: {"size": "256KiB"}},
            "realms": {},
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Spec:
        """A spec over a tree that is there already."""
        spec = cls("")
        spec.data = copy.deepcopy(dict(data))
        return spec

    @classmethod
    def from_file(cls, file: str | Path) -> Spec:
        """The spec of a cluster file, to be changed before it is run. Raises `UserMistake`."""
        path = Path(file)
        try:
            tree = document.plain(document.compose(path.read_text(encoding="utf-8")).root)
        except document.DocumentRefused as refused:
            raise UserMistake(f"{path}: {refused}", "`realmfleet validate` tells more") from refused
        except (OSError, UnicodeDecodeError) as error:
            raise UserMistake(f"cannot read {path}: {error}", "check the path") from error
        if not isinstance(tree, dict):
            raise UserMistake(f"{path} holds no keys and values", "`realmfleet init` writes a first cluster file")
        return cls.of(tree)

    def rack(self, name: str, machines: int | Mapping[str, int], *, power: str = "a") -> Spec:
        """A rack with so many machines of profile `std`, or of the profiles named."""
        held = {"std": machines} if isinstance(machines, int) else dict(machines)
        self.data["racks"][name] = {"machines": held, "power": power}
        return self

    def realms(self, kind: str, *, count: int = 1, **keys: Any) -> Spec:
        """A kind of Realms; `keys` are those of the cluster file, the image is the first one unless named."""
        image = next(iter(self.data["images"]), FIRST_IMAGE)
        self.data["realms"][kind] = {"count": count, "image": image, **keys}
        return self

    def release(self, name: str, *, rmm: str, security_version: int = 2, signed_by: str = "vendor") -> Spec:
        """A release that holds an RMM, to be rolled out."""
        component = {"version": rmm, "security_version": security_version, "signed_by": signed_by}
        self.data["firmware"]["releases"][name] = {"components": {"RMM": component}}
        return self

    def set(self, path: str, value: Any) -> Spec:
        """Put a value where a dotted path of the file leads, like `control.lease` or `faults.0.for`."""
        put(self.data, path, value)
        return self

    @property
    def text(self) -> str:
        """The file as text (JSON, which is YAML)."""
        return json.dumps(self.data, indent=1) + "\n"

    def cluster(self) -> Cluster:
        """The checked cluster; raises `UserMistake` with everything that is wrong, by path."""
        name = f"spec {self.data.get('name', '')}".strip()
        loaded = load_text(self.text, name)
        if loaded.value is None:
            told = [
                f"{problem.path or 'the spec'}: {problem.message}{f' ({problem.hint})' if problem.hint else ''}"
                for problem in loaded.problems
            ]
            raise UserMistake("\n".join([f"{name} cannot be run", *told]))
        return loaded.value


_BOOTED = ("BL2", "BL31", "RMM")
