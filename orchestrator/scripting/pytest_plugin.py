"""The pytest plug-in: fleets as fixtures, seeds as a mark, and on failure the command that repeats it.

    @pytest.mark.cluster("clusters/small.yaml")
    @pytest.mark.seeds(3)
    def test_a_power_loss_is_survived(fleet):
        fleet.until(lambda fleet: fleet.realms.states == {"serving": 9})
        with fleet.fault("machine.power-loss", count=1):
            fleet.advance("30s")
        assert fleet.finish(after="5min").passed

pytest loads it by itself once Realmfleet is installed (entry point `realmfleet`). Nothing but pytest is imported until
a test asks for a fleet.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from orchestrator.scripting.fleet import Fleet
    from orchestrator.scripting.spec import Spec

MOST_SEEDS = 10_000
_LARGEST_SEED = 2**64 - 1
_FLEETS = pytest.StashKey[list[Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and settings of the plug-in."""
    group = parser.getgroup("realmfleet")
    group.addoption("--realmfleet-seed", type=int, metavar="N", help="Seed of every fleet, instead of marks and files.")
    group.addoption("--realmfleet-runs", metavar="DIR", help="Keep run directories here, not in temporary folders.")
    parser.addini("realmfleet_cluster", "Cluster file of the fleet fixture for tests without a cluster mark.")


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marks; refuse a seed that is none."""
    config.addinivalue_line("markers", "cluster(file_or_spec): what the fleet fixture opens.")
    config.addinivalue_line("markers", "seeds(n, ...): run once a seed: one number means 1..n, several are the seeds.")
    seed = config.getoption("--realmfleet-seed")
    if seed is not None and not 0 <= seed <= _LARGEST_SEED:
        raise pytest.UsageError(f"--realmfleet-seed {seed} is no seed: a number from 0 to 2^64 - 1")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a seed of the mark, or the one seed of the command line."""
    mark = metafunc.definition.get_closest_marker("seeds")
    if mark is None:
        return
    if "fleet_seed" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: seeds are for tests that use fleet or fleet_seed")
    chosen = metafunc.config.getoption("--realmfleet-seed")
    seeds = _seeds(metafunc.definition.nodeid, mark) if chosen is None else [chosen]
    metafunc.parametrize("fleet_seed", seeds, ids=[f"seed-{seed}" for seed in seeds])


def _seeds(where: str, mark: pytest.Mark) -> list[int]:
    given = list(mark.args)
    if not given or mark.kwargs or not all(type(seed) is int and 0 <= seed <= _LARGEST_SEED for seed in given):
        raise pytest.UsageError(f"{where}: seeds{mark.args} names no seeds: seeds(20) for 1..20, or seeds(3, 7, 11)")
    seeds = given if len(given) > 1 else list(range(1, given[0] + 1))
    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise pytest.UsageError(f"{where}: {len(seeds)} seeds; a mark names 1 to {MOST_SEEDS}")
    return seeds


@pytest.fixture
def fleet_seed(request: pytest.FixtureRequest) -> int | None:
    """The seed of this test: of its mark, or of the command line; None leaves it to the cluster file."""
    seed: int | None = request.config.getoption("--realmfleet-seed")
    return seed


@pytest.fixture
def fleet_factory(
    request: pytest.FixtureRequest, tmp_path: Path, fleet_seed: int | None
) -> Iterator[Callable[..., Fleet]]:
    """Opens fleets as `orchestrator.open_fleet` does, under the seed of this test, and closes them behind it."""
    from orchestrator.scripting.fleet import open_fleet

    opened: list[Fleet] = []
    request.node.stash[_FLEETS] = opened
    runs = _runs(request, tmp_path)

    def build(what: str | Path | Spec, **how: Any) -> Fleet:
        how.setdefault("seed", fleet_seed)
        how.setdefault("out", runs / f"run-{len(opened) + 1}")
        opened.append(open_fleet(_found(request, what), **how))
        return opened[-1]

    yield build
    for fleet in opened:
        fleet.run.close()


@pytest.fixture
def fleet(request: pytest.FixtureRequest, fleet_factory: Callable[..., Fleet]) -> Fleet:
    """A fleet of the cluster that the mark `cluster` or the setting `realmfleet_cluster` names."""
    mark = request.node.get_closest_marker("cluster")
    what = mark.args[0] if mark is not None and mark.args else request.config.getini("realmfleet_cluster")
    if not what:
        raise pytest.UsageError(
            'fleet needs a cluster: @pytest.mark.cluster("file.yaml"), or the setting realmfleet_cluster'
        )
    return fleet_factory(what)


def _runs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    kept = request.config.getoption("--realmfleet-runs")
    if kept is None:
        return tmp_path
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in request.node.name)
    return Path(kept) / name


def _found(request: pytest.FixtureRequest, what: Any) -> Any:
    """A relative path is looked for beside the test first, then in the root directory."""
    if not isinstance(what, str | Path) or Path(what).is_absolute():
        return what
    beside = request.path.parent / what
    return beside if beside.exists() else request.config.rootpath / what


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Give a failed test's report the seeds, verdicts and commands of its fleets; JUnit XML gets them as properties."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends the result in
    if report.when == "call":
        for fleet in item.stash.get(_FLEETS, []):
            item.user_properties.append(("realmfleet_seed", fleet.seed))
            if fleet.finished:
                item.user_properties.append(("realmfleet_trace_digest", fleet.finish().trace_digest))
        if report.failed and item.stash.get(_FLEETS, []):
            told = [line for fleet in item.stash[_FLEETS] for line in _told(item, fleet)]
            report.sections.append(("realmfleet", "\n".join(told)))
    return report  # type: ignore[return-value]  # what a wrapper returns is the result


def _told(item: pytest.Item, fleet: Fleet) -> Iterator[str]:
    yield repr(fleet)
    if fleet.finished:
        for verdict in fleet.finish().verdicts.values():
            if verdict.outcome != "pass":
                yield f"checker {verdict.name}: {verdict.outcome.value}: {verdict.detail}"
    yield f"repeat: {shlex.join(['pytest', item.nodeid, '--realmfleet-seed', str(fleet.seed)])}"
    yield f"without the test: {fleet.run.repeat}"
