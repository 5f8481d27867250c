"""The network between endpoints: how long a message takes, what it waits for, and which rule loses or delays it.

An endpoint with a rack is a machine; any other endpoint is a service of the control plane. The shape of a link follows
from where its ends stand; a single link can be given its own. A `Rule` is a verdict on messages of some sources to
some targets, sent in [from_ns, until_ns). Rules in force together add up, whatever their order: what one loses is lost,
and of several delays the longest counts. So a partition is a partition, also on a link that was slow before.

Everything is a function of the message, the rules, and what left the same source before it: never of call order among
sources. Draws are keyed by (seed, source, target, number).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.engine.errors import OrderBroken
from orchestrator.engine.instant import US, S
from orchestrator.engine.ports import Message
from orchestrator.engine.streams import PPM, derive, draw_below

ANYONE = ("*",)
"""Matches every endpoint in a rule."""

LATENCY_FLOOR_NS = US
"""No link is faster than this, or coupled machines could not be advanced in windows."""


class LinkShape(Struct, frozen=True):
    """One kind of link: one-way latency, jitter drawn in [0, jitter_ns], bits per second (0: never a bottleneck)."""

    latency_ns: int
    jitter_ns: int = 0
    bits_per_s: int = 0


class Topology(Struct, frozen=True):
    """Where endpoints stand, and the shape of each kind of link.

    `racks` maps machines to racks; `single` overrides the shape of one direction of one link, by (source, target).
    """

    racks: Mapping[str, str]
    same_rack: LinkShape
    between_racks: LinkShape
    to_control: LinkShape
    single: Mapping[tuple[str, str], LinkShape] = {}

    def shape(self, source: str, target: str) -> LinkShape:
        """Shape of the link from `source` to `target`."""
        own = self.single.get((source, target))
        if own is not None:
            return own
        source_rack, target_rack = self.racks.get(source), self.racks.get(target)
        if source_rack is None or target_rack is None:
            return self.to_control
        return self.same_rack if source_rack == target_rack else self.between_racks


class Drop(Struct, frozen=True, tag="drop"):
    """The message is lost."""


class Delay(Struct, frozen=True, tag="delay"):
    """The message arrives `delay_ns` later than it would have."""

    delay_ns: int

    def __post_init__(self) -> None:
        if self.delay_ns < 0:
            raise ValueError(f"a rule cannot make a link faster: delay_ns is {self.delay_ns}")


class Lose(Struct, frozen=True, tag="lose"):
    """`ppm` of the messages are lost; on the others the rule has no opinion."""

    ppm: int


Verdict: TypeAlias = Drop | Delay | Lose


class Rule(Struct, frozen=True):
    """A verdict on what `sources` send to `targets` (one way; sorted names, or `ANYONE`) in [from_ns, until_ns)."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    from_ns: int
    until_ns: int
    verdict: Verdict

    def __post_init__(self) -> None:
        for names in (self.sources, self.targets):
            if list(names) != sorted(set(names)):
                raise ValueError(f"rule {self.name}: endpoints must be sorted and named once, not {names}")


def partition(name: str, left: tuple[str, ...], right: tuple[str, ...], from_ns: int, until_ns: int) -> list[Rule]:
    """Two rules, one per direction, that cut all links between `left` and `right`; members talk among themselves."""
    return [
        Rule(f"{name}/out", left, right, from_ns, until_ns, Drop()),
        Rule(f"{name}/in", right, left, from_ns, until_ns, Drop()),
    ]


class _Port(Struct):
    """Where messages leave an endpoint, one by one: free again at `free_ns`, last used by one sent at `last_ns`."""

    free_ns: int = 0
    last_ns: int = 0


class Links:
    """The links of a run: a `LinkPort` over a topology and the rules in force."""

    def __init__(self, seed: bytes, topology: Topology) -> None:
        self._seed = derive(seed, "links")
        self._topology = topology
        self._rules: list[Rule] = []
        self._ports: dict[str, _Port] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Rules that may still speak, in the order in which they were imposed."""
        return tuple(self._rules)

    def impose(self, rule: Rule, now_ns: int) -> None:
        """Add a rule behind those in force; rules that ended by `now_ns` are forgotten, for nothing sent is older."""
        self._rules = [old for old in self._rules if old.until_ns > now_ns]
        self._rules.append(rule)

    def lift(self, name: str, at_ns: int) -> None:
        """End the rules called `name`, or `name/...`, at `at_ns`; what was sent before stays as it was decided."""
        self._rules = [
            replace(rule, until_ns=min(rule.until_ns, at_ns))
            if rule.name == name or rule.name.startswith(name + "/")
            else rule
            for rule in self._rules
        ]

    def latency_min_ns(self, source: str, target: str) -> int:
        """Lower bound of the latency from `source` to `target`, in nanoseconds; at least a microsecond."""
        return max(self._topology.shape(source, target).latency_ns, LATENCY_FLOOR_NS)

    def arrival_ns(self, message: Message) -> int | None:
        """Instant of arrival, or None when a rule loses the message; call once per message, in its source's order."""
        delay_ns = self._opinion_ns(message)
        if delay_ns is None:
            return None
        shape = self._topology.shape(message.source, message.target)
        jitter_ns = self._draw_below(shape.jitter_ns + 1, "jitter", message) if shape.jitter_ns else 0
        latency_ns = self.latency_min_ns(message.source, message.target) + jitter_ns + delay_ns
        return self._left_ns(message, shape) + latency_ns

    def spoken_about(self, endpoint: str, from_ns: int, until_ns: int) -> frozenset[str] | None:
        """Endpoints whose messages to or from `endpoint` some rule judges in [from_ns, until_ns); None: all of them."""
        found: set[str] = set()
        for rule in self._rules:
            if rule.until_ns <= from_ns or rule.from_ns >= until_ns:
                continue
            for near, far in ((rule.sources, rule.targets), (rule.targets, rule.sources)):
                if _named(endpoint, near):
                    if far == ANYONE:
                        return None
                    found.update(far)
        return frozenset(found)

    def _opinion_ns(self, message: Message) -> int | None:
        """Extra delay by the rules in force, the worst of them; None: lost."""
        delay_ns = 0
        for rule in self._rules:
            if not _covers(rule, message):
                continue
            verdict = rule.verdict
            if isinstance(verdict, Drop):
                return None
            if isinstance(verdict, Delay):
                delay_ns = max(delay_ns, verdict.delay_ns)
            elif self._draw_below(PPM, "loss", message) < verdict.ppm:
                return None
        return delay_ns

    def _left_ns(self, message: Message, shape: LinkShape) -> int:
        """Instant at which the last bit leaves the source: its port sends one message at a time.

        A service may name instants ahead of the boundary; a message that is older than the last one waits for nothing.
        """
        if message.sent_ns < 0:
            raise OrderBroken(message.source, "sent a message before the run began", message.sent_ns)
        if shape.bits_per_s == 0 or message.size_bytes == 0:
            return message.sent_ns
        wire_ns = -(-message.size_bytes * 8 * S // shape.bits_per_s)
        port = self._ports.setdefault(message.source, _Port())
        if message.sent_ns < port.last_ns:
            return message.sent_ns + wire_ns
        port.last_ns = message.sent_ns
        port.free_ns = max(port.free_ns, message.sent_ns) + wire_ns
        return port.free_ns

    def _draw_below(self, bound: int, purpose: str, message: Message) -> int:
        return draw_below(bound, self._seed, purpose, message.source, message.target, message.number)


def _covers(rule: Rule, message: Message) -> bool:
    """Whether `rule` speaks about messages of this source, target and instant."""
    return (
        rule.from_ns <= message.sent_ns < rule.until_ns
        and _named(message.source, rule.sources)
        and _named(message.target, rule.targets)
    )


def _named(endpoint: str, names: tuple[str, ...]) -> bool:
    """Whether the sorted `names` hold `endpoint`; a partition may name thousands."""
    if names == ANYONE:
        return True
    place = bisect_left(names, endpoint)
    return place < len(names) and names[place] == endpoint
