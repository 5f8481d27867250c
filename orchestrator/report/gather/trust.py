"""TCB recovery: firmware that was revoked, how many Realms nobody could rely on, and when each could be again."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.report.gather.bounded import Histogram, Some, Steps

MOST: Final = 40


class Revocation(Struct, frozen=True):
    """One revocation: what, which images it hits, and how much of the fleet ran them then."""

    at_ns: int
    component: str
    version: str
    signer: str
    images: tuple[str, ...]
    machines: int
    realms: int


class Trust(Struct):
    """Realms without trust over time, and how those fared that lost it."""

    revocations: Some[Revocation]
    without: Steps
    regained: Histogram
    lost: int = 0
    ended: int = 0
    untrusted_ns: int = 0
    """Realm-time without trust, to the nanosecond of each reply; the records themselves stand at beats."""
    since_ns: dict[str, int] = {}
    """Realms that have none now."""

    @classmethod
    def new(cls) -> Trust:
        """Nothing revoked yet."""
        return cls(Some(MOST), Steps(), Histogram())

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        what = line.what
        match line.kind:
            case "tcb.revoked":
                images, machines = tuple(what["images"]), len(what["machines"])
                found = (what["component"], what["version"], what["signer"], images, machines, what["realms"])
                self.revocations.add(Revocation(line.at_ns, *found))
            case "trust.lost":
                self.lost += 1
                self.since_ns[what["realm"]] = line.at_ns
                self.without.add(line.at_ns, 1)
            case "trust.regained":
                self.regained.add(what["after_ns"])
                self._over(line)
            case "trust.ended":
                self.ended += 1
                self._over(line)

    def close(self, end_ns: int) -> None:
        """The run ends: whoever has no trust had none until now."""
        self.untrusted_ns += sum(end_ns - since_ns for since_ns in self.since_ns.values())

    def _over(self, line: Line) -> None:
        self.untrusted_ns += line.what["after_ns"]
        self.since_ns.pop(line.what["realm"], None)
        self.without.add(line.at_ns, -1)


KINDS: Final = ("tcb.revoked", "trust.lost", "trust.regained", "trust.ended")
