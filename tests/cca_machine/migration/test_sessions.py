"""A Realm moves: what both machines do, whatever happens to parcels and in whatever order things come."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from attestation.kbs.messages import Attestation
from attestation.token import decode
from cca_machine import commands as c
from cca_machine.abi.rmi import Ripas
from cca_machine.invariants import violations
from cca_machine.layout import MAILBOX_BYTES, plan
from cca_machine.migration.sealing import Bundle

S = 1_000_000_000


def open_session(pair: Any, kit: Any, session: str = "s", import_first: bool = True, **fields: Any) -> None:
    realm = kit.realm_spec(**fields)
    orders = [
        ("b", c.OpenImport(session, realm, "a", pair.rak("a"))),
        ("a", c.OpenExport(session, "r", 1, "b", pair.rak("b"))),
    ]
    for machine, order in orders if import_first else reversed(orders):
        pair.order(machine, order)
        pair.run(S)
    pair.run(3 * S)


def running(pair: Any, machine: str) -> Any:
    return pair.machines[machine]._state.running


def steps(pair: Any, machine: str) -> list[str]:
    return [step.state for _, step in pair.told(c.SessionStep, machine)]


def position(parcel: c.Parcel) -> int | None:
    """Counter of a bundle; None for a key share."""
    try:
        return msgspec.msgpack.decode(parcel.payload, type=Bundle).counter
    except msgspec.MsgspecError:
        return None


def bundles(pair: Any) -> list[c.Parcel]:
    return [parcel for parcel in pair.bodies(c.Parcel, "a") if b"bundle" in parcel.payload[:16]]


@pytest.mark.parametrize("import_first", [True, False])
def test_a_realm_moves_with_all_it_is_and_runs_only_after_the_decision(pair: Any, kit: Any, import_first: bool) -> None:
    served = pair.serve("a")
    assert served == c.Serving("r", 1)
    before = pair.do("a", c.Attest("r", 1, kit.NONCE))
    open_session(pair, kit, import_first=import_first)
    assert isinstance(pair.bodies(c.ExportReady)[0], c.ExportReady)
    assert pair.bodies(c.ImportReady) == [c.ImportReady("s")]
    assert [name for *_, name, _, until in pair.lives() if until is None] == []
    pair.run(20 * S)
    assert pair.told(c.RealmLive, "b") == []

    assert pair.do("b", c.CommitImport("s", pair.now_ns + 99 * S)) == c.Imported("s", "r", 1)
    assert pair.do("a", c.DiscardExport("s")) == c.SessionClosed("s", "discarded")
    after = pair.do("b", c.Attest("r", 1, kit.NONCE))
    old, new = (decode(Attestation(one.evidence).token).realm.claims for one in (before, after))
    assert new.initial_measurement == old.initial_measurement
    assert new.extensible_measurements == old.extensible_measurements
    assert new.personalization_value == old.personalization_value
    assert new.challenge == old.challenge, "the guest kept its key-broker key"
    assert new.public_key == pair.rak("b") != old.public_key
    assert steps(pair, "a") == ["hello", "relinquished", "discarded"]
    assert steps(pair, "b") == ["hello", "receiving", "ready", "live"]
    for machine in ("a", "b"):
        assert violations(running(pair, machine).rmm, running(pair, machine).hardware) == []
    assert running(pair, "a").hardware.memory.contents == {}
    lives = sorted((begin, until) for *_, begin, until in pair.lives())
    assert all(until is not None and until <= begin for (_, until), (begin, _) in pairwise(lives))


def test_every_page_and_register_arrives_as_it_was(pair: Any, kit: Any) -> None:
    pair.serve("a")
    layout = plan(kit.realm_spec())
    source = pair.machines["a"]._on().migration._calls
    rd = next(iter(running(pair, "a").rmm.realms))
    memory = list(source.memory(rd, layout.ram_base, layout.ram_top))
    ripas = source.memory_map(rd, layout.ram_base, layout.ram_top)
    mutable = source.mutable(rd, b"")
    open_session(pair, kit)
    target = pair.machines["b"]._on().migration._calls
    rd = next(iter(running(pair, "b").rmm.realms))
    assert list(target.memory(rd, layout.ram_base, layout.ram_top)) == memory
    assert target.memory_map(rd, layout.ram_base, layout.ram_top) == ripas
    assert target.mutable(rd, b"") == mutable
    assert [(run.ripas, run.assigned) for run in ripas.runs] == [
        (Ripas.RAM, True), (Ripas.EMPTY, False), (Ripas.RAM, True)
    ]  # fmt: skip


def test_no_page_of_the_realm_crosses_in_the_clear(pair: Any, kit: Any) -> None:
    pair.serve("a")
    page = plan(kit.realm_spec()).loads()[0][1][3]
    open_session(pair, kit)
    crossed = b"".join(parcel.payload for parcel in pair.bodies(c.Parcel))
    assert len(crossed) > 256 << 10
    assert all(page[at : at + 16] not in crossed for at in range(0, 4096, 16))


def test_a_session_charges_the_link_for_all_memory_in_tens_of_parcels(pair: Any, kit: Any) -> None:
    pair.serve("a", kit.realm_spec(memory_bytes=512 << 20))
    open_session(pair, kit, memory_bytes=512 << 20)
    ready = pair.bodies(c.ExportReady)[0]
    assert (512 << 20) - MAILBOX_BYTES <= ready.sent_bytes < (512 << 20) * 1.01
    assert sum(parcel.modelled_bytes for parcel in pair.bodies(c.Parcel, "a")) == ready.sent_bytes
    assert len(pair.bodies(c.Parcel)) < 40


def test_requests_are_counted_where_they_were_served(pair: Any, kit: Any) -> None:
    pair.serve("a")
    open_session(pair, kit)
    pair.do("b", c.CommitImport("s", pair.now_ns + 99 * S))
    pair.do("b", c.Stop("r", 1))
    [(paused, left)], [(stopped, right)] = pair.told(c.RealmStill, "a"), pair.told(c.RealmStill, "b")
    began = next(at for at, record in pair.told(c.RealmLive, "a") if record.serving)
    came = pair.told(c.RealmLive, "b")[0][0]
    assert left.served == 1000 * (paused - began) // S
    assert right.served == 1000 * (stopped - came) // S


def test_a_source_that_is_told_to_resume_runs_again_and_the_target_forgets(pair: Any, kit: Any) -> None:
    pair.serve("a")
    free = running(pair, "b").host.pool.free
    open_session(pair, kit)
    assert pair.do("b", c.AbortImport("s")) == c.SessionClosed("s", "aborted")
    assert pair.do("a", c.ResumeExport("s", pair.now_ns + 99 * S)) == c.SessionClosed("s", "resumed")
    live = pair.told(c.RealmLive, "a")[-1][1]
    assert (live.serving, live.why) == (True, "migration-resumed")
    assert isinstance(pair.do("a", c.Attest("r", 1, kit.NONCE)), c.Attested)
    assert running(pair, "b").host.pool.free == free
    assert running(pair, "b").rmm.realms == {}
    open_session(pair, kit, "again")
    assert isinstance(pair.do("b", c.CommitImport("again", pair.now_ns + 99 * S)), c.Imported)


def test_a_realm_whose_session_never_got_going_just_runs_on(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.do("a", c.OpenExport("s", "r", 1, "b", pair.rak("b")))
    assert pair.do("a", c.DiscardExport("s")).code == "session-closed"
    assert pair.do("a", c.ResumeExport("s", pair.now_ns + 99 * S)) == c.SessionClosed("s", "resumed")
    assert pair.told(c.RealmStill, "a") == []


def test_a_decision_is_taken_once_and_repeated_on_request(pair: Any, kit: Any) -> None:
    pair.serve("a")
    open_session(pair, kit)
    for _ in range(2):
        assert pair.do("b", c.CommitImport("s", pair.now_ns + 99 * S)) == c.Imported("s", "r", 1)
    assert len(pair.told(c.RealmLive, "b")) == 1
    assert pair.do("b", c.AbortImport("s")).code == "committed"


def test_nothing_runs_before_everything_is_there(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.carry = lambda name, sent: [sent.body] if position(sent.body) != 2 else []
    open_session(pair, kit)
    assert pair.do("b", c.CommitImport("s", pair.now_ns + 99 * S)).code == "not-ready"
    assert pair.told(c.RealmLive, "b") == []
    pair.do("b", c.AbortImport("s"))
    pair.do("a", c.ResumeExport("s", pair.now_ns + 99 * S))
    assert [name for _, _, name, _, until in pair.lives() if until is None] == ["a"]


def test_a_lapsed_lease_does_not_keep_a_realm_from_moving_nor_let_it_run_without_one(pair: Any, kit: Any) -> None:
    pair.serve("a", lease_ns=5 * S)
    pair.run(9 * S)
    open_session(pair, kit)
    pair.do("b", c.CommitImport("s", pair.now_ns - 1))
    assert pair.told(c.RealmLive, "b") == []
    pair.do("b", c.RenewLeases((("r", 1),), pair.now_ns + 9 * S))
    assert [record.serving for _, record in pair.told(c.RealmLive, "b")] == [True]


def altered(change: Callable[[Bundle], Bundle]) -> Callable[[str, c.Sent], list[c.Parcel]]:
    """Carry everything as it is, but bundles 1 and 2 changed."""

    def carry(name: str, sent: c.Sent) -> list[c.Parcel]:
        parcel: Any = sent.body
        try:
            bundle = msgspec.msgpack.decode(parcel.payload, type=Bundle)
        except msgspec.MsgspecError:
            return [parcel]
        changed = change(bundle) if bundle.counter in (1, 2) else bundle
        return [c.Parcel(parcel.session, msgspec.msgpack.encode(changed), parcel.modelled_bytes)]

    return carry


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: Bundle(bundle.session, bundle.counter, bundle.sealed[:-1] + bytes([bundle.sealed[-1] ^ 1])),
        lambda bundle: Bundle(bundle.session, bundle.counter, bundle.sealed[:20]),
        lambda bundle: Bundle("another session", bundle.counter, bundle.sealed),
        lambda bundle: Bundle(bundle.session, 3 - bundle.counter, bundle.sealed),
    ],
    ids=["a bit flipped", "cut short", "of another session", "in another place"],
)
def test_a_bundle_that_is_not_what_was_sealed_ends_the_session(pair: Any, kit: Any, change: Any) -> None:
    pair.serve("a")
    free = running(pair, "b").host.pool.free
    pair.carry = altered(change)
    open_session(pair, kit)
    assert pair.bodies(c.ImportReady) == []
    assert [closed.how for closed in pair.bodies(c.SessionClosed, "b")] == ["failed"]
    assert pair.do("b", c.CommitImport("s", pair.now_ns + 99 * S)).code == "not-ready"
    assert running(pair, "b").host.pool.free == free
    pair.do("a", c.ResumeExport("s", pair.now_ns + 99 * S))
    assert pair.told(c.RealmLive, "a")[-1][1].why == "migration-resumed"


def test_bundles_of_an_older_session_open_in_no_other(pair: Any, kit: Any) -> None:
    pair.serve("a")
    open_session(pair, kit, "old")
    old = bundles(pair)
    pair.do("b", c.AbortImport("old"))
    pair.do("a", c.ResumeExport("old", pair.now_ns + 99 * S))

    def replay(name: str, sent: c.Sent) -> list[c.Parcel]:
        parcel: Any = sent.body
        if b"bundle" not in parcel.payload[:16]:
            return [parcel]
        bundle = msgspec.msgpack.decode(parcel.payload, type=Bundle)
        older = msgspec.msgpack.decode(old[bundle.counter].payload, type=Bundle)
        forged = Bundle("new", bundle.counter, older.sealed)
        return [c.Parcel("new", msgspec.msgpack.encode(forged), parcel.modelled_bytes)]

    pair.carry = replay
    open_session(pair, kit, "new")
    assert pair.bodies(c.ImportReady) == [c.ImportReady("old")]
    assert pair.bodies(c.SessionClosed, "b")[-1].how == "failed"


def test_a_key_share_signed_by_another_rak_is_refused_by_both_sides(pair: Any, kit: Any) -> None:
    pair.serve("a")
    realm = kit.realm_spec()
    stranger = kit.World("c").rak("c")
    pair.order("b", c.OpenImport("s", realm, "a", stranger))
    pair.order("a", c.OpenExport("s", "r", 1, "b", stranger))
    pair.run(5 * S)
    assert [(closed.how, "RAK" in closed.why) for closed in pair.bodies(c.SessionClosed)] == [("failed", True)] * 2
    assert pair.told(c.RealmStill, "a") == []
    assert running(pair, "b").rmm.realms == {}


def test_parcels_of_a_third_machine_are_not_even_looked_at(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.order("b", c.OpenImport("s", kit.realm_spec(), "a", pair.rak("a")))
    pair.run(S)
    pair.machines["b"].submit(c.Parcel("s", b"noise", 9), pair.now_ns, 1, "c", 1)
    pair.run(S)
    pair.order("a", c.OpenExport("s", "r", 1, "b", pair.rak("b")))
    pair.run(3 * S)
    assert pair.bodies(c.ImportReady) == [c.ImportReady("s")]


def test_a_parcel_that_comes_twice_or_early_changes_nothing(pair: Any, kit: Any) -> None:
    pair.serve("a")
    kept: list[c.Parcel] = []

    def shuffle(name: str, sent: c.Sent) -> list[c.Parcel]:
        parcel: Any = sent.body
        if name == "a" and b"bundle" in parcel.payload[:16]:
            kept.append(parcel)
            return []
        return [parcel]

    pair.carry = shuffle
    open_session(pair, kit)
    for number, parcel in enumerate([*reversed(kept), *kept]):
        pair.machines["b"].submit(parcel, pair.now_ns + number, 1, "a", 1000 + number)
    pair.run(3 * S)
    assert pair.bodies(c.ImportReady) == [c.ImportReady("s")]


def test_a_target_that_loses_power_forgets_and_the_source_can_resume(pair: Any, kit: Any) -> None:
    pair.serve("a")
    open_session(pair, kit)
    pair.order("b", c.Inject(c.FaultKind.POWER_LOSS))
    pair.order("b", c.Heal(c.FaultKind.POWER_LOSS), pair.now_ns + S)
    pair.run(600 * S)
    assert pair.do("b", c.CommitImport("s", pair.now_ns + 99 * S)).code == "unknown-session"
    pair.do("a", c.ResumeExport("s", pair.now_ns + 99 * S))
    assert pair.told(c.RealmLive)[-1][1].why == "migration-resumed"


def test_a_stopped_realm_closes_its_session(pair: Any, kit: Any) -> None:
    pair.serve("a")
    open_session(pair, kit)
    assert pair.do("a", c.Stop("r", 1)) == c.Stopped("r", 1)
    assert [closed.how for closed in pair.bodies(c.SessionClosed, "a")] == ["discarded"]
    assert pair.do("a", c.ResumeExport("s", pair.now_ns + 99 * S)).code == "session-closed"


def test_a_session_survives_a_restore_of_both_sides_in_its_middle(pair: Any, kit: Any) -> None:
    pair.serve("a")
    realm = kit.realm_spec()
    pair.order("b", c.OpenImport("s", realm, "a", pair.rak("a")))
    pair.order("a", c.OpenExport("s", "r", 1, "b", pair.rak("b")))
    for _ in range(40):
        pair.run(5_000_000)
        for name, machine in pair.machines.items():
            other = type(machine)(machine.spec)
            other.restore(machine.snapshot())
            pair.machines[name] = other
    pair.run(3 * S)
    assert pair.bodies(c.ImportReady) == [c.ImportReady("s")]
    assert pair.do("b", c.CommitImport("s", pair.now_ns + 99 * S)) == c.Imported("s", "r", 1)


def test_answers_name_the_order_they_answer_and_nothing_else(pair: Any, kit: Any) -> None:
    pair.serve("a")
    open_session(pair, kit)
    unasked = (c.ExportReady, c.ImportReady)
    assert [sent.answers for _, sent in pair.sent if isinstance(sent.body, unasked)] == [0, 0]


def test_an_end_that_overtakes_its_opening_keeps_the_session_from_ever_being_opened(pair: Any, kit: Any) -> None:
    pair.serve("a")
    free = running(pair, "b").host.pool.free
    assert pair.do("a", c.ResumeExport("s", pair.now_ns + 99 * S)) == c.SessionClosed("s", "resumed")
    assert pair.do("b", c.AbortImport("s")) == c.SessionClosed("s", "aborted")
    assert pair.do("a", c.OpenExport("s", "r", 1, "b", pair.rak("b"))).code == "session-known"
    assert pair.do("b", c.OpenImport("s", kit.realm_spec(), "a", pair.rak("a"))).code == "session-known"
    assert running(pair, "b").host.pool.free == free
    assert pair.told(c.RealmStill, "a") == []
    open_session(pair, kit, "later")
    assert isinstance(pair.do("b", c.CommitImport("later", pair.now_ns + 99 * S)), c.Imported)
