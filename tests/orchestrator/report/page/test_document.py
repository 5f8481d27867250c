"""The page as a file: the same bytes, nothing fetched, its figures those of the run, hostile text harmless."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import msgspec
import pytest

from cca_machine.costs import COSTS, reference_timing
from orchestrator.report.gather.gathering import gather
from orchestrator.report.page.document import document
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.sections.assumptions import exact
from orchestrator.report.stored import open_stored
from orchestrator.report.writing import rebuild

HOSTILE = "</script><script>alert(1)</script><img src=//x.example/y onerror=alert(2)>\"'&"


def facts_of(ran: Any) -> ReportFacts:
    with open_stored(ran.path) as stored:
        return ReportFacts(stored.ending, stored.cluster, ran.result.summary, ran.result.verdicts)


def words(page: str) -> str:
    """What a reader sees, without the elements."""
    body = page.partition("<body>")[2].partition("<script>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


@pytest.fixture(params=["quickstart", "drained", "leaseless"])
def ran(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_it_is_made_again_with_the_same_bytes(ran: Any, tmp_path: Any) -> None:
    again = rebuild(ran.path, tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == ran.page


def test_the_verdict_of_a_users_own_checker_stands_there_also_when_it_is_made_again(small: Any, tmp_path: Any) -> None:
    assert small.result.verdicts[-1].name == "never-content"
    assert "never-content" in words(small.page)
    assert rebuild(small.path, tmp_path / "again.html").read_text(encoding="utf-8") == small.page


def test_it_fetches_nothing_and_lets_nothing_else_run(quickstart: Any) -> None:
    assert not re.search(r"""(?:src|href)=["'](?!#)""", quickstart.page)
    assert "url(" not in quickstart.page
    assert "@import" not in quickstart.page
    (script,) = re.findall(r"<script>(.*?)</script>", quickstart.page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in quickstart.page
    assert "default-src &#39;none&#39;" in quickstart.page


def test_every_checker_stands_there_with_its_sentence(ran: Any) -> None:
    seen = words(ran.page).replace("&#39;", "'")
    for verdict in ran.result.verdicts:
        assert f"{verdict.outcome.value} {verdict.name} {verdict.detail}" in re.sub(r"\s+", " ", seen)


def test_what_a_failed_checker_saw_is_told_in_words(leaseless: Any) -> None:
    (failed,) = [verdict for verdict in leaseless.result.verdicts if verdict.name == "alive-once"]
    for line in failed.evidence:
        assert f"{line.source}: {line.what['realm']}#{line.what['incarnation']}" in words(leaseless.page)


def test_it_says_where_the_run_comes_from(quickstart: Any) -> None:
    seen = words(quickstart.page)
    for told in (quickstart.result.trace_digest, "seed 1", quickstart.result.repeat, "cryptography", "realmfleet 0.1"):
        assert told in seen


def test_every_modelled_duration_stands_there_with_its_confidence_and_source(quickstart: Any) -> None:
    values, seen = reference_timing(), words(quickstart.page).replace("&#39;", "'")
    for cost in COSTS:
        row = f"{cost.name} {exact(values[cost.name])} per {cost.per} {cost.confidence.value} {cost.source}"
        assert row in re.sub(r"\s+", " ", seen), cost.name


def test_a_run_without_firmware_and_moves_does_not_claim_their_durations(drained: Any, quickstart: Any) -> None:
    used, rest = re.split(r"that this run did not need", words(drained.page))
    assert "migration.page-export" in used
    assert "lfa.activate" not in used
    assert "lfa.activate" in rest
    assert "lfa.activate" in words(quickstart.page)


def test_each_session_has_its_part_with_rounds_bytes_rate_downtime_and_reason(drained: Any) -> None:
    for line in drained.of("migration.started"):
        part = re.search(rf'<details[^>]* id="session-{line.what["session"]}".*?</details>', drained.page, re.S)
        assert part is not None
        seen = words(f"<body>{part[0]}<script>")
        for told in (line.what["realm"], line.what["source"], line.what["target"], "Dirty rate", "downtime", "Rounds"):
            assert told in seen
    assert "modelled" in words(drained.page)


def test_hostile_text_stays_text(quickstart: Any) -> None:
    facts = facts_of(quickstart)
    cluster = facts.cluster.model_copy(update={"description": HOSTILE})
    facts = msgspec.structs.replace(
        facts, cluster=cluster, ending=msgspec.structs.replace(facts.ending, repeat=HOSTILE)
    )
    lines = [
        msgspec.structs.replace(
            line, what={**line.what, **dict.fromkeys({"realm", "why", "machine"} & set(line.what), HOSTILE)}
        )
        for line in quickstart.lines
    ]
    page = document(gather(lines, quickstart.end_ns), facts)
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "&lt;img src=//x.example/y onerror=alert(2)&gt;" in page


def test_a_run_in_which_nothing_happened_has_a_page(quickstart: Any) -> None:
    page = document(gather([], quickstart.end_ns), facts_of(quickstart))
    assert "No Realm was wanted in this run." in page
    assert "Nothing was attested." in page


def test_a_page_with_very_much_to_show_stays_small_and_says_what_it_left_out(script: Any, quickstart: Any) -> None:
    for number in range(300):
        script.wanted(f"web-{number:03d}", 0)
        for turn in range(20):
            script.serves("m1", f"web-{number:03d}", 1 + 4 * turn, turn).still(
                "m1", f"web-{number:03d}", 3 + 4 * turn, "lease", 0, turn
            )
    page = document(gather(script.read(), 100 * 10**9), facts_of(quickstart))
    assert "80 of 300 Realms are shown" in words(page)
    assert len(page) < 200_000
