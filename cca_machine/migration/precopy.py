"""Pre-copy as integers (modelled): rounds of pages while the Realm runs, until what is left fits into the downtime.

Round after round is sent at the bandwidth; what was dirtied meanwhile is the next round. The Realm is paused when the
rest would cross within the downtime target, at the round limit, or where the rounds stop shrinking. How much is dirty
after a time has two forms: `linear` is min(rate x time, working set) as QEMU's estimate (the reference);
`saturating` is W (1 - exp(-rate x time / W)), in which pages that are dirtied twice count once.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from cca_machine.hardware.address import GRANULE_BYTES

S = 1_000_000_000
PPM = 1_000_000
STALL_PPM = 960_000
"""A round that is not at least 4 % smaller than the one before makes no headway (KubeVirt's stall margin)."""
STALLED_ROUNDS = 3
"""So many of them in a row are a stall."""
THROTTLE_FIRST_PPM, THROTTLE_STEP_PPM, THROTTLE_MOST_PPM = 200_000, 100_000, 990_000
"""QEMU's auto-converge: the vCPUs lose 20 % of their time, then 10 % more at each trigger, 99 % at most."""

_ONE = 1 << 64
_LN2 = 12786308645202655660
"""ln 2 in units of 2^-64."""

Formula = Literal["linear", "saturating"]


class Terms(Struct, frozen=True):
    """What an operator allows: `on_stall` is stop (pause and send the rest) or give-up (the Realm runs on).

    With `most_rounds` 0 nothing crosses before the pause (stop-copy).
    """

    bytes_per_s: int
    downtime_ns: int = 300_000_000
    most_rounds: int = 30
    formula: Formula = "linear"
    auto_converge: bool = False
    on_stall: Literal["stop", "give-up"] = "stop"


class Round(Struct, frozen=True):
    """One round while the Realm runs: what crossed, for how long, and what was dirty at its end."""

    sent_bytes: int
    lasts_ns: int
    dirty_bytes: int
    throttle_ppm: int = 0


class Course(Struct, frozen=True):
    """How a pre-copy goes: `rest_bytes` cross while the Realm is paused; `why` is target, rounds or stalled."""

    rounds: tuple[Round, ...]
    rest_bytes: int
    why: str

    @property
    def running_ns(self) -> int:
        """How long the Realm runs on while rounds cross."""
        return sum(one.lasts_ns for one in self.rounds)

    @property
    def sent_bytes(self) -> int:
        """All that crosses, the rest included."""
        return sum(one.sent_bytes for one in self.rounds) + self.rest_bytes


class Progress(Struct, frozen=True):
    """Where a pre-copy stands before its next round: what is to cross, and what the rounds so far have shown."""

    remaining: int
    rounds: int = 0
    throttle_ppm: int = 0
    stalled: int = 0
    why: str = ""
    """Why no further round is to follow: target, rounds or stalled; empty while one is."""


def begin(memory_bytes: int, terms: Terms) -> Progress:
    """A pre-copy before its first round; with no rounds allowed everything crosses while the Realm is paused."""
    return Progress(memory_bytes, why="" if terms.most_rounds else "rounds")


def advance(progress: Progress, rate: int, working_set: int, terms: Terms) -> tuple[Round, Progress]:
    """One round of a Realm that dirties `rate` bytes per second of a working set (bytes), and where it leads."""
    sent, throttle = progress.remaining, progress.throttle_ppm
    lasts_ns = transfer_ns(sent, terms.bytes_per_s)
    dirty = dirty_bytes(rate * (PPM - throttle) // PPM, working_set, lasts_ns, terms.formula)
    done = Round(sent, lasts_ns, dirty, throttle)
    stalled = progress.stalled + 1 if dirty * PPM > sent * STALL_PPM else 0
    if terms.auto_converge and dirty * 2 > sent:
        throttle = min(throttle + THROTTLE_STEP_PPM, THROTTLE_MOST_PPM) if throttle else THROTTLE_FIRST_PPM
    may_slow = terms.auto_converge and throttle < THROTTLE_MOST_PPM
    why = ""
    if dirty <= terms.bytes_per_s * terms.downtime_ns // S:
        why = "target"
    elif progress.rounds + 1 >= terms.most_rounds:
        why = "rounds"
    elif stalled >= STALLED_ROUNDS and terms.on_stall == "give-up" and not may_slow:
        why = "stalled"
    return done, Progress(dirty, progress.rounds + 1, throttle, stalled, why)


def course(memory_bytes: int, rate: int, working_set: int, terms: Terms) -> Course:
    """All rounds of a pre-copy that has the link to itself."""
    rounds: list[Round] = []
    progress = begin(memory_bytes, terms)
    while not progress.why:
        done, progress = advance(progress, rate, working_set, terms)
        rounds.append(done)
    return Course(tuple(rounds), progress.remaining, progress.why)


def transfer_ns(size_bytes: int, bytes_per_s: int) -> int:
    """Time on the wire, rounded up."""
    return -(-size_bytes * S // bytes_per_s)


def dirty_bytes(rate: int, working_set: int, elapsed_ns: int, formula: Formula) -> int:
    """Bytes dirty after a time, in whole granules, at most the working set."""
    written = rate * elapsed_ns // S
    if not written or not working_set:
        return 0
    dirty = written
    if formula == "saturating":
        dirty = working_set * (_ONE - _exp_minus(written, working_set)) // _ONE
    return min(-(-dirty // GRANULE_BYTES) * GRANULE_BYTES, working_set)


def _exp_minus(numerator: int, denominator: int) -> int:
    """exp(-numerator / denominator) in units of 2^-64, in integers: libm differs between hosts."""
    halvings, rest = divmod(numerator * _ONE // denominator, _LN2)
    term = total = _ONE
    for index in range(1, 40):
        term = -term * rest // _ONE // index
        total += term
        if -1 <= term <= 0:
            break
    return total >> min(halvings, 128)
