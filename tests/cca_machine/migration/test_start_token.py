"""The start token: nothing may be missing, even if the source itself says so under the right key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from attestation.keys import PublicKey
from cca_machine import commands as c
from cca_machine.migration.content import Content, Memory, Mutable, Start, decode, encode
from cca_machine.migration.handshake import Hello, fresh_share, traffic_key
from cca_machine.migration.sealing import Bundle, open_bundle, seal

S = 1_000_000_000

Lie = Callable[[Content], Content]


def session_key(pair: Any) -> bytes:
    """The traffic key, which only someone with the seeds of the machines can compute."""
    source, target = (
        next(p.payload for p in pair.bodies(c.Parcel, name) if b"hello" in p.payload[:16]) for name in "ab"
    )
    own = fresh_share(pair.machines["a"].spec.seed, 1, "s", "source")
    return traffic_key(own, PublicKey.from_raw(msgpack.decode(target, type=Hello).share), source, target)


def lying_source(pair: Any, lie: Lie) -> Callable[[str, c.Sent], list[c.Parcel]]:
    def carry(name: str, sent: c.Sent) -> list[c.Parcel]:
        parcel: Any = sent.body
        if b"bundle" not in parcel.payload[:16]:
            return [parcel]
        key, bundle = session_key(pair), msgpack.decode(parcel.payload, type=Bundle)
        content = lie(decode(open_bundle(key, "s", bundle)))
        return [c.Parcel("s", seal(key, "s", bundle.counter, encode(content)), parcel.modelled_bytes)]

    return carry


def without_pages(content: Content) -> Content:
    return Memory(()) if isinstance(content, Memory) else content


def without_vcpus(content: Content) -> Content:
    return Memory(()) if isinstance(content, Mutable) else content


def start(**changed: Any) -> Lie:
    return lambda content: replace(content, **changed) if isinstance(content, Start) else content


@pytest.mark.parametrize(
    "lie",
    [without_pages, without_vcpus, start(granules=5), start(bundles=3), start(transcript=bytes(32))],
    ids=["pages missing", "vCPUs missing", "another count of pages", "another count of bundles", "another transcript"],
)
def test_a_start_token_that_counts_what_is_not_there_is_refused(pair: Any, kit: Any, lie: Lie) -> None:
    pair.serve("a")
    pair.carry = lying_source(pair, lie)
    pair.order("b", c.OpenImport("s", kit.realm_spec(), "a", pair.rak("a")))
    pair.order("a", c.OpenExport("s", "r", 1, "b", pair.rak("b")))
    pair.run(5 * S)
    assert pair.bodies(c.ImportReady) == []
    [closed] = pair.bodies(c.SessionClosed, "b")
    assert (closed.how, closed.why) == ("failed", "the start token counts something that is not here")


def test_an_honest_source_is_believed(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.carry = lying_source(pair, lambda content: content)
    pair.order("b", c.OpenImport("s", kit.realm_spec(), "a", pair.rak("a")))
    pair.order("a", c.OpenExport("s", "r", 1, "b", pair.rak("b")))
    pair.run(5 * S)
    assert pair.bodies(c.ImportReady) == [c.ImportReady("s")]


@pytest.mark.parametrize("change", [{"ipa_width": 42}, {"rpv": b"x" * 64}, {"hash_algo": 1}], ids=str)
def test_a_realm_with_other_parameters_than_announced_is_not_taken_in(
    pair: Any, kit: Any, change: dict[str, Any]
) -> None:
    pair.serve("a")
    pair.carry = lying_source(
        pair, lambda content: replace(content, **change) if type(content).__name__ == "Immutable" else content
    )
    pair.order("b", c.OpenImport("s", kit.realm_spec(), "a", pair.rak("a")))
    pair.order("a", c.OpenExport("s", "r", 1, "b", pair.rak("b")))
    pair.run(5 * S)
    assert [closed.why for closed in pair.bodies(c.SessionClosed, "b")] == [
        "the Realm was built here with other parameters"
    ]
