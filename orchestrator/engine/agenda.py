"""What is due when: the next event of each machine, and the deliveries on their way to machines and control plane."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import TypeAlias

from orchestrator.engine.ports import Delivery

_Mail: TypeAlias = list[tuple[tuple[int, int, str, int], Delivery]]


def _take(mail: _Mail, before_ns: int) -> list[Delivery]:
    """Remove from the heap `mail` what arrives before `before_ns`, in total order."""
    taken = []
    while mail and mail[0][0][0] < before_ns:
        taken.append(heappop(mail)[1])
    return taken


class Agenda:
    """Answers "who has something to do before this instant" without looking at those who have not."""

    def __init__(self, machines: Iterable[str]) -> None:
        self._due_ns: dict[str, int | None] = {}
        self._boxes: dict[str, _Mail] = {}
        self._control: _Mail = []
        self._heap: list[tuple[int, str]] = []
        for machine in machines:
            self._boxes[machine] = []
            self.set_due(machine, 0)

    def set_due(self, machine: str, due_ns: int | None) -> None:
        """Note when `machine` wants to run again; None: only when something arrives."""
        self._due_ns[machine] = due_ns
        if due_ns is not None:
            heappush(self._heap, (due_ns, machine))

    def due_ns(self, machine: str) -> int | None:
        """When `machine` wants to run again by itself."""
        return self._due_ns[machine]

    def expects(self, machine: str) -> bool:
        """Whether anything is on its way to `machine`."""
        return bool(self._boxes[machine])

    def post(self, target: str, delivery: Delivery) -> None:
        """Put a delivery into the box of machine `target`."""
        heappush(self._boxes[target], (delivery.key, delivery))
        heappush(self._heap, (delivery.arrives_ns, target))

    def post_control(self, delivery: Delivery) -> None:
        """Put a delivery into the control plane's box."""
        heappush(self._control, (delivery.key, delivery))

    def take(self, machine: str, before_ns: int) -> list[Delivery]:
        """Remove and return what reaches `machine` before `before_ns`, in total order."""
        return _take(self._boxes[machine], before_ns)

    def take_control(self, until_ns: int) -> list[Delivery]:
        """Remove and return what reached the control plane up to and including `until_ns`, in total order."""
        return _take(self._control, until_ns + 1)

    def first_ns(self, machine: str) -> int | None:
        """Instant of the first thing that happens at `machine`, by itself or by a delivery."""
        due_ns, box = self._due_ns[machine], self._boxes[machine]
        if not box:
            return due_ns
        return box[0][0][0] if due_ns is None else min(due_ns, box[0][0][0])

    def due_before(self, before_ns: int) -> list[str]:
        """Machines with something to do before `before_ns`, sorted; the caller must run them all up to there."""
        found: dict[str, None] = {}
        while self._heap and self._heap[0][0] < before_ns:
            machine = heappop(self._heap)[1]
            first_ns = self.first_ns(machine)
            if first_ns is not None and first_ns < before_ns:
                found[machine] = None
        return sorted(found)

    def next_machine_ns(self) -> int | None:
        """Instant of the first thing that happens at any machine."""
        while self._heap:
            at_ns, machine = self._heap[0]
            if self.first_ns(machine) == at_ns:
                return at_ns
            heappop(self._heap)  # an older wish of the machine, since replaced
        return None

    def next_control_ns(self) -> int | None:
        """Instant of the first arrival at the control plane."""
        return self._control[0][0][0] if self._control else None
