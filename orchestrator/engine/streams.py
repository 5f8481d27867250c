"""Named random streams: integers that depend on nothing but the run seed, a name and a running number.

A draw is BLAKE2b keyed by (seed, name...) over a counter, so a new consumer never shifts the draws of another, and two
processes that draw the same name get the same numbers. There are no floats: distributions come from integer tables,
because the mathematical libraries of two hosts may differ in the last bit.

Nothing here is secret. What is served to strangers uses the operating system's generator, outside the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias, TypeVar

from msgspec import Struct

Part: TypeAlias = str | int | bytes
"""One part of a stream's name."""

T = TypeVar("T")

PPM = 1_000_000
"""The whole, in parts per million."""

_DRAW_BITS = 128
_CELLS = 1024
_NAT_BITS = 32
"""Fraction bits of the exponential table: its entries are natural-logarithm units times 2**32."""


def run_seed(seed: int) -> bytes:
    """The 32 bytes that all streams of the run with this seed number derive from."""
    return derive(b"realmfleet/run", seed)


def derive(seed: bytes, *name: Part) -> bytes:
    """32 bytes for `name` under `seed`; different names, or the same parts split differently, never collide."""
    digest = blake2b(key=seed[:64], digest_size=32, person=b"realmfleet/name")
    for part in name:
        digest.update(_framed(part))
    return digest.digest()


def draw_below(bound: int, seed: bytes, *name: Part) -> int:
    """One integer in [0, bound) that depends only on `seed` and `name`: a stream of length one."""
    digest = blake2b(key=seed[:64], digest_size=_DRAW_BITS // 8, person=b"realmfleet/one")
    for part in name:
        digest.update(_framed(part))
    return int.from_bytes(digest.digest(), "big") * bound >> _DRAW_BITS


def _framed(part: Part) -> bytes:
    """Bytes of one part of a name, with kind and length in front so that the whole is read in one way only."""
    if isinstance(part, str):
        body, kind = part.encode(), b"s"
    elif isinstance(part, int):
        body, kind = part.to_bytes((part.bit_length() + 8) // 8, "big", signed=True), b"i"
    else:
        body, kind = part, b"b"
    return kind + len(body).to_bytes(4, "big") + body


def _quantiles() -> tuple[int, ...]:
    """-ln(1 - i/1024) for i in 0..1023, by summing ln(k/(k-1)) = 2 artanh(1/(2k-1)) in 128-bit fixed point."""
    fine_bits = 128
    table, total = [0], 0
    for k in range(_CELLS, 1, -1):
        denominator = 2 * k - 1
        term, power = (1 << fine_bits) // denominator, 1
        square = denominator * denominator
        while term:
            total += 2 * (term // power)
            term, power = term // square, power + 2
        table.append(total >> (fine_bits - _NAT_BITS))
    return tuple(table)


_QUANTILES = _quantiles()


class Stream(Struct):
    """A sequence of draws under one name. Two fields are its whole state, so a snapshot may hold it."""

    key: bytes
    drawn: int = 0

    @classmethod
    def named(cls, seed: bytes, *name: Part) -> Stream:
        """The stream of `name` under `seed`, at its first draw."""
        return cls(derive(seed, *name))

    def bits(self) -> int:
        """The next 128 bits, as an integer."""
        digest = blake2b(self.drawn.to_bytes(8, "big"), key=self.key, digest_size=_DRAW_BITS // 8)
        self.drawn += 1
        return int.from_bytes(digest.digest(), "big")

    def below(self, bound: int) -> int:
        """An integer in [0, bound), uniform up to bound / 2**128."""
        if bound < 1:
            raise ValueError(f"nothing can be drawn below {bound}")
        return self.bits() * bound >> _DRAW_BITS

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, ppm: int) -> bool:
        """True with probability `ppm` in a million."""
        return self.below(PPM) < ppm

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`, which must be in a repeatable order."""
        return items[self.below(len(items))]

    def weighted(self, weights: Sequence[int]) -> int:
        """Index into `weights`, drawn in proportion to them."""
        mark = self.below(sum(weights))
        for index, weight in enumerate(weights):
            mark -= weight
            if mark < 0:
                return index
        raise ValueError("weights must be non-negative and not all zero")

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different members of `items` in the order of the draw; all of them, shuffled, if count is large."""
        pool = list(items)
        drawn = min(count, len(pool))
        for place in range(drawn):
            other = place + self.below(len(pool) - place)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:drawn]

    def exponential(self, mean: int) -> int:
        """A waiting time with the given mean, in its unit; the quantile function is linear between 1024 points.

        The last cell has no upper end: there the distribution forgets its past, so the draw starts again from it.
        """
        nats = 0
        while True:
            mark = self.bits()
            cell = mark * _CELLS >> _DRAW_BITS
            if cell < _CELLS - 1:
                break
            nats += _QUANTILES[-1]
        place = (mark * _CELLS >> (_DRAW_BITS - _NAT_BITS)) & ((1 << _NAT_BITS) - 1)
        low, high = _QUANTILES[cell], _QUANTILES[cell + 1]
        nats += low + ((high - low) * place >> _NAT_BITS)
        return nats * mean >> _NAT_BITS

    def octets(self, count: int) -> bytes:
        """`count` bytes, for identities and contents of the model; not for secrets."""
        whole = b"".join(self.bits().to_bytes(16, "big") for _ in range(-(-count // 16)))
        return whole[:count]
