"""A naive model of RMI 2.0: one dictionary per question, no tables, no order of checks; it knows what must have become.

It is told of each call that was answered, and says what the answer means for granules, pages and Realms. What it can
tell beforehand, it does: delegation, activation, termination, donation.
"""

from __future__ import annotations

from spec_door import PAGE
from spec_door_2_0 import DONATE, GOES_ON, RECLAIM

NS, DELEGATED, RD, REC, REC_AUX, DATA, RTT, PARTIAL = (
    "NS",
    "DELEGATED",
    "RD",
    "REC",
    "REC_AUX",
    "DATA",
    "RTT",
    "PARTIAL",
)
AUX = 16


class Naive:
    """Granules of a pool, Realms, RECs, operations that move memory, and what each Realm has mapped where."""

    def __init__(self, pool: list[int]) -> None:
        self.granules = dict.fromkeys(pool, NS)
        self.realms: dict[int, str] = {}
        self.roots: dict[int, list[int]] = {}
        self.recs: dict[int, tuple[int, list[int]]] = {}
        self.pages: dict[tuple[int, int], int] = {}
        self.rims: dict[int, bytes] = {}
        self.donated: dict[int, list[int]] = {}
        self.creating: dict[int, int] = {}
        self.leaving: dict[int, tuple[int, list[int]]] = {}

    def run(self, base: int, top: int, state: str) -> int:
        """Where a run of granules in `state` from `base` ends."""
        while base < top and self.granules.get(base) == state:
            base += PAGE
        return base

    def become(self, pas: list[int], state: str) -> None:
        """Granules change their state."""
        for pa in pas:
            assert pa in self.granules, hex(pa)
            self.granules[pa] = state

    def created(self, rd: int, roots: list[int]) -> None:
        """REALM_CREATE succeeded."""
        self.become([rd], RD)
        self.become(roots, RTT)
        self.realms[rd], self.roots[rd] = "NEW", roots

    def destroyed(self, rd: int) -> None:
        """REALM_DESTROY succeeded: only a ZOMBIE without RECs and pages can go."""
        assert self.realms.pop(rd) == "ZOMBIE"
        assert not [rec for rec, (owner, _) in self.recs.items() if owner == rd]
        assert not [ipa for owner, ipa in self.pages if owner == rd]
        self.become([rd, *self.roots.pop(rd)], DELEGATED)
        self.rims.pop(rd, None)

    def mapped(self, rd: int, ipa: int, top: int, pa: int) -> None:
        """Memory is at a range now, as far as the call came."""
        while ipa < top:
            known = self.pages.get((rd, ipa))
            assert known in (None, pa), "a page took the place of another"
            if known is None:
                self.become([pa], DATA)
            self.pages[rd, ipa] = pa
            ipa, pa = ipa + PAGE, pa + PAGE

    def unmapped(self, rd: int, ipa: int, top: int) -> None:
        """No memory is at a range any more."""
        for here in [here for owner, here in self.pages if owner == rd and ipa <= here < top]:
            self.become([self.pages.pop((rd, here))], DELEGATED)

    def rec_began(self, rec: int, handle: int, rd: int) -> None:
        """REC_CREATE waits for memory; its Realm is looked at later."""
        self.become([rec], PARTIAL)
        self.creating[handle], self.donated[handle] = rec, []

    def donation(self, handle: int, given: list[int], x: tuple[int, ...]) -> None:
        """OP_MEM_DONATE took the first granules that are DELEGATED."""
        taken = 0
        while taken < len(given) and self.granules.get(given[taken]) == DELEGATED and len(set(given)) == len(given):
            taken += 1
        have = self.donated[handle]
        if taken:
            assert x[1] == taken
            have += given[:taken]
            self.become(given[:taken], REC_AUX)
            assert x[0] == (GOES_ON if len(have) == AUX else DONATE)
        elif given:
            assert x[0] == RECLAIM
            self.leaving[handle] = (self.creating.pop(handle), self.donated.pop(handle))

    def rec_ended(self, handle: int, rd: int, x0: int) -> None:
        """OP_CONTINUE of a REC_CREATE that has its memory: a REC, or all is given back."""
        rec, aux = self.creating.pop(handle), self.donated.pop(handle)
        if x0 == RECLAIM:
            self.leaving[handle] = (rec, aux)
            return
        assert self.realms.get(rd) == "NEW"
        self.become([rec], REC)
        self.recs[rec] = (rd, aux)

    def rec_left(self, rec: int, handle: int) -> None:
        """REC_DESTROY: the REC is gone, its memory comes back."""
        self.become([rec], PARTIAL)
        self.leaving[handle] = (rec, self.recs.pop(rec)[1])

    def reclaimed(self, handle: int, given: list[int]) -> None:
        """OP_MEM_RECLAIM gave granules back, in order."""
        rec, aux = self.leaving[handle]
        assert aux[: len(given)] == given
        self.become(given, DELEGATED)
        self.leaving[handle] = (rec, aux[len(given) :])

    def left(self, handle: int) -> None:
        """OP_CONTINUE ended an operation that gave memory back."""
        rec, aux = self.leaving.pop(handle)
        assert not aux
        self.become([rec], DELEGATED)
