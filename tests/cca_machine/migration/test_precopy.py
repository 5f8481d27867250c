"""Pre-copy against the reference table of the migration notes, and what makes it converge, stall and stop."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cca_machine import commands as c
from cca_machine.migration.precopy import Terms, course, dirty_bytes, transfer_ns

GIB, MB, GB, S, GBIT = 1 << 30, 10**6, 10**9, 10**9, 10**9

REFERENCE = [
    # memory, line rate, dirty rate, working set; rounds, total s, downtime ms, GiB sent
    (4 * GIB, 10 * GBIT, 50 * MB, GIB, 1, 4.0, 170, 4.2),
    (16 * GIB, 25 * GBIT, 200 * MB, 4 * GIB, 2, 6.6, 31, 17.2),
    (64 * GIB, 25 * GBIT, GB, 16 * GIB, 4, 33.8, 275, 88.4),
    (64 * GIB, 25 * GBIT, 2500 * MB, 16 * GIB, 27, 77.1, 286, 202),
    (64 * GIB, 25 * GBIT, 4 * GB, 32 * GIB, 30, 391, 12_200, 1024),
]


def terms(line: int, **fields: object) -> Terms:
    return Terms(bytes_per_s=line * 9 // 80, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: f"{row[0] // GIB}GiB at {row[2] // MB}MB/s")
def test_the_reference_table_is_reproduced_within_a_tenth(
    row: tuple[int, int, int, int, int, float, int, float],
) -> None:
    memory, line, rate, working_set, rounds, total_s, downtime_ms, sent_gib = row
    given_terms = terms(line)
    gone = course(memory, rate, working_set, given_terms)
    downtime_ns = transfer_ns(gone.rest_bytes, given_terms.bytes_per_s)
    assert len(gone.rounds) == rounds
    assert (gone.running_ns + downtime_ns) / S == pytest.approx(total_s, rel=0.1)
    assert downtime_ns / 1e6 == pytest.approx(downtime_ms, rel=0.1)
    assert gone.sent_bytes / GIB == pytest.approx(sent_gib, rel=0.1)


def test_a_realm_that_converges_stops_at_its_target_and_one_that_does_not_at_the_limit() -> None:
    assert course(*REFERENCE[0][:1], *REFERENCE[0][2:4], terms(REFERENCE[0][1])).why == "target"
    assert course(*REFERENCE[4][:1], *REFERENCE[4][2:4], terms(REFERENCE[4][1])).why == "rounds"


def test_two_hundred_megabytes_in_a_loop_never_converge_under_a_cap_of_64_mib() -> None:
    """KubeVirt issue 3504."""
    cap = Terms(bytes_per_s=64 << 20)
    assert course(GIB, 400 * MB, 200 * MB, cap).why == "rounds"
    given_up = course(GIB, 400 * MB, 200 * MB, Terms(bytes_per_s=64 << 20, on_stall="give-up"))
    assert given_up.why == "stalled"
    assert len(given_up.rounds) < 10


def test_auto_converge_brings_a_hot_realm_to_its_target_by_slowing_it() -> None:
    hot = (64 * GIB, 4 * GB, 32 * GIB)
    gone = course(*hot, terms(25 * GBIT, auto_converge=True, on_stall="give-up"))
    assert gone.why == "target"
    throttles = [one.throttle_ppm for one in gone.rounds]
    assert throttles[0] == 0
    assert throttles == sorted(throttles)
    assert max(throttles) <= 990_000


@given(st.integers(1, 10 * GB), st.integers(4096, 64 * GIB), st.integers(0, 100 * S))
def test_saturating_dirt_follows_the_exponential_and_never_exceeds_the_linear_estimate(
    rate: int, working_set: int, elapsed_ns: int
) -> None:
    written = rate * elapsed_ns // S
    saturating = dirty_bytes(rate, working_set, elapsed_ns, "saturating")
    assert saturating <= dirty_bytes(rate, working_set, elapsed_ns, "linear") + 4096
    expected = working_set * -math.expm1(-written / working_set)
    assert abs(saturating - expected) <= 4096 + expected * 1e-9


def busy(kit: Any) -> Any:
    work = c.Workload(requests_per_s=1000, dirty_bytes_per_s=50 * MB, working_set_bytes=32 << 20)
    return kit.realm_spec(memory_bytes=256 << 20, workload=work)


def move(pair: Any, kit: Any, agreed: Terms) -> None:
    pair.serve("a", busy(kit))
    pair.open_session(realm=busy(kit), terms=agreed, deadline_ns=1000 * S)
    pair.run(60 * S)


def downtime_ns(pair: Any) -> int:
    [(still, _)], [(ready, _)] = pair.told(c.RealmStill, "a"), [
        (at, step) for at, step in pair.told(c.SessionStep, "b") if step.state == "ready"
    ]  # fmt: skip
    return int(ready - still)


def test_a_pre_copied_realm_serves_through_the_rounds_and_stands_still_for_the_rest_only(pair: Any, kit: Any) -> None:
    agreed = Terms(bytes_per_s=GBIT, downtime_ns=20_000_000)
    move(pair, kit, agreed)
    rounds = [what for _, what in pair.told(c.MigrationRound)]
    planned = course(256 << 20, 50 * MB, 32 << 20, agreed)
    assert [one.sent_bytes for one in rounds] == [one.sent_bytes for one in planned.rounds]
    [(_, paused)] = pair.told(c.MigrationPaused)
    assert (paused.why, paused.rest_bytes) == ("target", planned.rest_bytes)
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]
    [ready] = pair.bodies(c.ExportReady, "a")
    shared_and_framing = 1 << 16  # the mailbox is no Realm memory; headers and real pages add a little
    assert abs(ready.sent_bytes - planned.sent_bytes) < shared_and_framing
    crossed_ns = planned.rest_bytes * 8 // 10
    assert crossed_ns < downtime_ns(pair) < crossed_ns + 60_000_000


def test_a_pre_copy_stands_still_for_less_than_a_stop_and_copy(kit: Any) -> None:
    stopped, rolled = kit.World("a", "b"), kit.World("a", "b")
    move(stopped, kit, Terms(bytes_per_s=GBIT, most_rounds=0))
    move(rolled, kit, Terms(bytes_per_s=GBIT))
    assert downtime_ns(rolled) * 3 < downtime_ns(stopped)


def test_a_pre_copy_that_stalls_and_may_give_up_leaves_the_realm_running_where_it_was(pair: Any, kit: Any) -> None:
    move(pair, kit, Terms(bytes_per_s=20 * MB, downtime_ns=1_000_000, on_stall="give-up"))
    assert pair.told(c.RealmStill) == []
    [closed] = pair.bodies(c.SessionClosed, "a")
    assert (closed.how, "does not converge" in closed.why) == ("active", True)
    assert [one.how for one in pair.bodies(c.SessionClosed, "b")] == ["failed"]
    assert isinstance(pair.do("a", c.Attest("r", 1, kit.NONCE)), c.Attested)
