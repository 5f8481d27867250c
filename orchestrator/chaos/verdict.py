"""What a checker says and what it is told besides the trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property

from msgspec import Struct

from orchestrator.chaos.history import Life, Line, lives
from orchestrator.cluster.schema import Cluster

SAMPLES = 4
"""Lines that a verdict quotes at most: a reader wants the first case, not all of them."""

REATTEST_WITHIN_NS = 30_000_000_000
"""Time within which a migrated Realm must have attested on its new machine (assumed: one lease)."""


class Outcome(StrEnum):
    """Three values: unknown counts neither as pass nor as fail."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Verdict(Struct, frozen=True):
    """What a checker found: `detail` is a sentence, `evidence` the few lines of the trace that show it."""

    name: str
    outcome: Outcome
    detail: str
    evidence: tuple[Line, ...] = ()


class Facts(Struct, frozen=True):
    """What checkers must know of the run besides its trace; instants and durations in virtual ns.

    `end_ns` is where the run ended. `signers` are the accepted firmware signers in hexadecimal; empty: not known, and
    then any signature that the machine names is taken for good.
    """

    end_ns: int
    lease_ns: int
    leases: bool
    recover_within_ns: int
    reattest_within_ns: int = REATTEST_WITHIN_NS
    signers: tuple[str, ...] = ()


def facts_of(cluster: Cluster, end_ns: int, signers: Iterable[bytes] = ()) -> Facts:
    """The facts of a run of this cluster that ended at `end_ns`; `signers` are accepted signer ids."""
    control = cluster.control
    return Facts(
        end_ns=end_ns,
        lease_ns=control.lease,
        leases=control.leases,
        recover_within_ns=cluster.recover_within,
        signers=tuple(sorted(signer.hex() for signer in signers)),
    )


class Case:
    """A trace with the facts of its run; what several checkers need of it is computed once."""

    def __init__(self, lines: Sequence[Line], facts: Facts) -> None:
        self.lines = lines
        self.facts = facts

    @cached_property
    def lives(self) -> list[Life]:
        """Every stretch in which a Realm executed somewhere, by beginning."""
        return lives(self.lines)

    @cached_property
    def _healed(self) -> dict[str, int]:
        return {line.what["fault"]: line.at_ns for line in self.of("fault.healed")}

    def undone_ns(self, injected: Line) -> int:
        """When an injected fault ends: where it was healed, which may be early; else where its lease ends."""
        until_ns: int = injected.what["until_ns"]
        return self._healed.get(injected.what["fault"], until_ns)

    def of(self, *kinds: str) -> list[Line]:
        """Lines of these kinds, in order."""
        return [line for line in self.lines if line.kind in kinds]


class Violations:
    """Collects what is wrong while a checker walks: counts all, keeps the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""
        self.lines: list[Line] = []

    def add(self, what: str, *lines: Line | None) -> None:
        """One more violation, shown by these lines."""
        if not self.count:
            self.first = what
        self.count += 1
        shown = [line for line in lines if line is not None and line not in self.lines]
        self.lines += shown[: max(SAMPLES - len(self.lines), 0)]

    def verdict(self, name: str, good: str) -> Verdict:
        """Fail with the first violation if there is one, else pass saying `good`."""
        if not self.count:
            return Verdict(name, Outcome.PASS, good)
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        return Verdict(name, Outcome.FAIL, self.first + more, tuple(self.lines))
