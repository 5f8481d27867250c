"""A scraper of a live run sees what was published last, through the library exactly as through our own text."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from orchestrator.engine.trace import Trace, encode_line
from orchestrator.metrics.collect import Collector
from orchestrator.metrics.export import exposition
from orchestrator.metrics.live import LiveMetrics
from orchestrator.metrics.process import Process

S = 1_000_000_000
PROCESS = Process(
    version="1.2", python="3.11", ray="2.60", actors=4, actor_restarts=1, beats=7, fleet_calls=9, wall_ns=1_250_000_000
)


def live(story, facts) -> LiveMetrics:
    metrics = LiveMetrics(facts)
    trace = Trace(metrics)
    trace.admit(story.entries)
    trace.close()
    return metrics


def families(parsed: Iterable[Family]) -> dict[str, tuple[str, str, str, list[object]]]:
    return {
        family.name: (
            family.type,
            family.unit,
            family.documentation,
            sorted((sample.name, tuple(sorted(sample.labels.items())), sample.value) for sample in family.samples),
        )
        for family in parsed
    }


def test_the_library_prints_what_we_print(day, facts) -> None:
    metrics = live(day, facts)
    metrics.publish(60 * S, delivered=12, process=PROCESS)
    theirs = families(text_string_to_metric_families(generate_openmetrics(metrics.registry).decode()))
    ours = families(text_string_to_metric_families("".join(exposition(metrics.shown))))
    assert theirs == ours
    assert "realmfleet_build_info" in ours


def test_a_scrape_sees_the_last_publication_not_what_came_after(day, facts) -> None:
    metrics = live(day, facts)
    assert metrics.registry.get_sample_value("realmfleet_realms", {"state": "serving"}) == 0
    metrics.publish(60 * S)
    assert metrics.registry.get_sample_value("realmfleet_realms", {"state": "serving"}) == 1


def test_a_live_run_and_the_finished_trace_agree(day, facts) -> None:
    metrics = live(day, facts)
    metrics.publish(day.end_ns)
    samples = day.samples()
    finished = {key: list(samples.points(key))[-1][1] for key in samples.changes}
    assert metrics.shown == finished


def test_what_is_told_of_time_already_shown_never_makes_a_counter_fall(story, facts) -> None:
    """Records settle up to a beat behind the instant that is shown."""
    story.wanted("web-001", 0).serves("m1", "web-001", 0)
    metrics = live(story, facts)
    metrics.publish(10 * S)
    late = type(story)().still("m1", "web-001", 9.9, "lease")
    metrics.write([encode_line(entry) for entry in late.entries])
    metrics.publish(10 * S)
    assert metrics.registry.get_sample_value("realmfleet_realm_serving_seconds_total") == 10
    metrics.publish(12 * S)
    assert metrics.registry.get_sample_value("realmfleet_realm_serving_seconds_total") == 10
    assert metrics.registry.get_sample_value("realmfleet_realm_unavailable_seconds_total", {"cause": "lease"}) == 2


def test_wall_clock_facts_are_exported_in_seconds(facts) -> None:
    metrics = LiveMetrics(facts)
    metrics.publish(0, process=PROCESS)
    assert metrics.registry.get_sample_value("realmfleet_run_wall_seconds") == 1.25
    assert metrics.registry.get_sample_value("realmfleet_actor_restarts_total") == 1


def test_two_runs_fit_into_one_process_and_nothing_is_global(day, facts) -> None:
    one, two = live(day, facts), LiveMetrics(facts)
    one.publish(60 * S)
    assert two.registry.get_sample_value("realmfleet_realms", {"state": "serving"}) == 0
    assert b"realmfleet" not in generate_latest(REGISTRY)


def test_a_fresh_collector_already_shows_every_state(facts) -> None:
    shown = {key.name for key in LiveMetrics(facts).shown}
    assert {"realmfleet_realms", "realmfleet_machines", "realmfleet_faults_active"} <= shown
    assert Collector(facts).tally.number("realms", "awaited") == len(facts.realms)


def test_promtool_finds_no_fault_with_the_names(day, facts, promtool: str) -> None:
    metrics = live(day, facts)
    metrics.publish(60 * S, process=PROCESS)
    text = generate_latest(metrics.registry)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
