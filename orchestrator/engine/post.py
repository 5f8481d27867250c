"""The post: turns messages into deliveries, with the priority of their kind, the fate that links give them, and checks.

Here stands which ends a message has and what follows: a parcel goes from machine to machine, an order from the control
plane to a machine, an answer from a machine home, and services of the control plane talk among themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from orchestrator.engine.agenda import Agenda
from orchestrator.engine.errors import OrderBroken
from orchestrator.engine.ports import APART, Delivery, LinkPort, Message, Priority, Strike, TraceEntry

CHAOS = "chaos"
"""Source of strikes."""
OPERATOR = "operator"
"""Source of external inputs."""


class MessageLost(Struct, frozen=True, tag="message.lost"):
    """A link lost the message with this number of the record's source (the part after `link:`)."""

    target: str
    answers: int


class Post:
    """Carries every message of the run; counts what it delivered and what was lost."""

    def __init__(self, machines: Collection[str], agenda: Agenda, links: LinkPort) -> None:
        self._machines = frozenset(machines)
        self._agenda = agenda
        self._links = links
        self._numbers: dict[str, int] = {}
        self._strikes = 0
        self.delivered = 0
        self.lost = 0

    def send(self, message: Message, boundary_ns: int, horizons: Mapping[tuple[str, str], int]) -> TraceEntry | None:
        """Put `message` on its way; returns the trace record of its loss, if it is lost.

        `boundary_ns` is the end of the beat: a parcel between machines waits for it, unless `horizons` names the pair
        as coupled; then it arrives at its exact instant, which lies at or after the horizon that both were run to.
        """
        self._check_number(message)
        arrives_ns = self._links.arrival_ns(message)
        if arrives_ns is None:
            self.lost += 1
            what = MessageLost(message.target, message.answers)
            return TraceEntry(message.sent_ns, Priority.ENVIRONMENT, f"link:{message.source}", message.number, what)
        self.delivered += 1
        if message.target not in self._machines:
            priority = Priority.MACHINE if message.source in self._machines else Priority.SERVICE
            self._agenda.post_control(Delivery(arrives_ns, priority, message))
            return None
        if message.source not in self._machines:
            self._agenda.post(message.target, Delivery(arrives_ns, Priority.ORDER, message))
            return None
        horizon_ns = horizons.get((message.source, message.target))
        if horizon_ns is None:
            arrives_ns = max(arrives_ns, boundary_ns)
        elif arrives_ns < horizon_ns:
            raise OrderBroken(
                f"link {message.source} to {message.target}", "undercut its own least latency", arrives_ns
            )
        self._agenda.post(message.target, Delivery(arrives_ns, Priority.PARCEL, message))
        return None

    def strike(self, strike: Strike, now_ns: int) -> None:
        """Put a deed of chaos on its machine's agenda; no link carries it."""
        if strike.machine not in self._machines or strike.at_ns < now_ns:
            raise OrderBroken(CHAOS, f"struck {strike.machine} at {strike.at_ns} ns", now_ns)
        self._strikes += 1
        message = Message(CHAOS, self._strikes, strike.machine, strike.at_ns, strike.body)
        self._agenda.post(strike.machine, Delivery(strike.at_ns, Priority.ENVIRONMENT, message))

    def imply(self, count: int) -> None:
        """Count messages that arrive without having been sent one by one."""
        self.delivered += count

    def _check_number(self, message: Message) -> None:
        """Numbers count per source without gaps, or a lost or repeated message would pass unseen."""
        if message.number >= APART:
            return
        last = self._numbers.get(message.source)
        if message.number != (last + 1 if last is not None else message.number) or message.number < 0:
            raise OrderBroken(message.source, f"numbered a message {message.number} after {last}", message.sent_ns)
        self._numbers[message.source] = message.number


def operator_delivery(number: int, at_ns: int, target: str, body: Any) -> Delivery:
    """An external input as the control plane sees it, at the boundary where it is admitted."""
    return Delivery(at_ns, Priority.CONTROL, Message(OPERATOR, number, target, at_ns, body))
