"""The catalogue keeps the rules that queries rely on, and knows every value its sources can produce."""

from __future__ import annotations

import ast
import re
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest

import orchestrator.migration.admission
from attestation.errors import RefusalReason
from cca_machine.commands import FaultKind
from cca_machine.costs import CALL_NAMES
from orchestrator.chaos.catalogue import LinkKind
from orchestrator.cluster.schema import Component, LinkFaultKind, MachineFaultKind, Release
from orchestrator.metrics import labels
from orchestrator.metrics.catalogue import BY_NAME, CATALOGUE, Kind, Metric, Origin, Unit, metric
from orchestrator.metrics.metric import BOUNDS_NS, OTHER
from orchestrator.records import ControlRecord

FORBIDDEN = {"realm", "session", "fault", "nonce", "digest", "token", "path", "pid", "incarnation", "why", "detail"}


def every(metrics: tuple[Metric, ...] = CATALOGUE) -> list[str]:
    return [entry.name for entry in metrics]


def test_no_name_occurs_twice() -> None:
    assert len(BY_NAME) == len(CATALOGUE)


@pytest.mark.parametrize("name", every())
def test_a_name_says_type_and_unit_as_prometheus_wants_it(name: str) -> None:
    entry = BY_NAME[name]
    assert re.fullmatch(r"realmfleet_[a-z0-9]+(_[a-z0-9]+)*", name)
    assert name.endswith("_total") == (entry.kind is Kind.COUNTER)
    if entry.unit is not Unit.NONE:
        assert entry.family.endswith(f"_{entry.unit}")
    assert not re.search(r"_(ms|us|ns|percent|mb|kb|minutes|hours|count|bucket|sum|gauge|counter|info_total)$", name)
    assert (entry.ladder is not None) == (entry.kind is Kind.HISTOGRAM)
    assert entry.help.endswith(".")


@pytest.mark.parametrize("name", every())
def test_labels_are_few_bounded_and_never_name_single_things(name: str) -> None:
    entry = BY_NAME[name]
    names = [label.name for label in entry.labels]
    assert len(names) == len(set(names)) <= 4
    assert not FORBIDDEN & set(names)
    assert all(label.values or label.bound for label in entry.labels)
    if entry.per_machine:
        assert {"command", "status", "result"}.isdisjoint(names)


@pytest.mark.parametrize("name", every())
def test_every_metric_belongs_to_a_dashboard(name: str) -> None:
    assert BY_NAME[name].boards


def test_series_names_of_different_metrics_never_collide() -> None:
    names = list(chain.from_iterable(entry.sample_names for entry in CATALOGUE))
    assert len(names) == len(set(names))


def test_ladders_rise_and_have_the_agreed_lengths() -> None:
    assert {ladder.value: len(bounds) for ladder, bounds in BOUNDS_NS.items()} == {"fast": 16, "mid": 14, "long": 14}
    assert all(list(bounds) == sorted(set(bounds)) for bounds in BOUNDS_NS.values())


def test_an_unknown_value_of_a_closed_label_counts_as_other() -> None:
    assert labels.FAULT_KIND.admit("machine.meteorite") == OTHER
    assert labels.FAULT_KIND.admit("machine.freeze") == "machine.freeze"
    assert labels.MACHINE.admit("whatever-01") == "whatever-01"


def test_every_fault_a_user_may_write_is_a_value() -> None:
    written = {*get_args(MachineFaultKind), *get_args(LinkFaultKind)}
    assert written == {*FaultKind, *LinkKind} <= set(labels.FAULT_KIND.values)


def test_every_component_a_release_may_have_is_a_value() -> None:
    keys = get_args(Release.model_fields["components"].annotation)
    assert set(get_args(keys[0])) <= set(labels.COMPONENT.values)
    assert keys[1] is Component


def test_every_refusal_reason_and_rmi_call_is_a_value() -> None:
    assert set(RefusalReason) <= set(labels.ATTESTATION_RESULT.values)
    assert {name for name in CALL_NAMES.values() if name.startswith("RMI_")} <= set(labels.RMI_COMMAND.values)


def test_every_rule_that_declines_a_migration_is_a_value() -> None:
    tree = ast.parse(Path(orchestrator.migration.admission.__file__).read_text("utf-8"))
    rules = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Declined"
        and isinstance(node.args[0], ast.Constant)
    }  # fmt: skip
    assert rules
    assert rules <= set(labels.MIGRATION_RULE.values)


def test_every_kind_of_control_record_is_a_value() -> None:
    assert {member.__struct_config__.tag for member in get_args(ControlRecord)} <= set(labels.RECORD_KIND.values)


def test_facts_about_one_execution_are_apart() -> None:
    apart = {entry.name for entry in CATALOGUE if entry.origin is Origin.PROCESS}
    assert {"realmfleet_build_info", "realmfleet_actor_restarts_total"} <= apart
    assert "realmfleet_run_info" not in apart


def test_asking_for_a_metric_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        metric("unicorns_total")
