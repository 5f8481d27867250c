"""The pytest plug-in, seen from a project that uses it: real tests in a folder of their own, run by pytest itself."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

INSTALLED = any(point.name == "realmfleet" for point in entry_points(group="pytest11"))
"""Whether pytest loads the plug-in by itself; an editable install made before the entry point does not know it."""

PAIR = """
version: 1
name: pair
seed: 5
duration: 2min
profiles: {std: {pes: 8, memory: 2GiB, firmware: fw}}
racks: {r1: {machines: {std: 2}}}
firmware:
  releases:
    fw:
      components:
        BL2: {version: 1.0.0, signed_by: vendor}
        BL31: {version: 1.0.0, signed_by: vendor}
        RMM: {version: 1.0.0, signed_by: vendor}
images: {web-v1: {size: 64KiB}}
realms: {web: {count: 1, image: web-v1, memory: 16MiB}}
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a cluster file, and the plug-in."""
    pytester.makefile(".yaml", pair=PAIR)
    if not INSTALLED:
        pytester.makeconftest('pytest_plugins = ["orchestrator.scripting.pytest_plugin"]')
    return pytester


def test_a_test_gets_the_fleet_that_its_mark_names(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import pytest

        @pytest.mark.cluster("pair.yaml")
        def test_it_serves(fleet, tmp_path):
            fleet.until(lambda fleet: fleet.realms.states == {"serving": 1}, within="1min")
            assert fleet.seed == 5
            assert fleet.run.path.parent == tmp_path
            assert fleet.finish().passed
    """)
    project.runpytest().assert_outcomes(passed=1)


def test_a_spec_and_a_setting_name_one_as_well(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nrealmfleet_cluster = pair.yaml\n")
    project.makepyfile("""
        import pytest
        from orchestrator import Spec

        def lab():
            return Spec("lab", memory="2GiB").rack("r1", 1).realms("web", count=1, memory="16MiB")

        @pytest.mark.cluster(lab())
        def test_of_a_spec(fleet):
            assert fleet.cluster.name == "lab"

        def test_of_the_setting(fleet):
            assert fleet.cluster.name == "pair"

        def test_of_two(fleet_factory):
            one, other = fleet_factory("pair.yaml"), fleet_factory(lab())
            assert one.run.path != other.run.path
    """)
    project.runpytest().assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("mark", "seeds"), [("3", [1, 2, 3]), ("7, 11", [7, 11]), ("0, 18446744073709551615", [0, 2**64 - 1])]
)
def test_the_seeds_mark_runs_a_test_once_a_seed(project: pytest.Pytester, mark: str, seeds: list[int]) -> None:
    project.makepyfile(f"""
        import pytest

        @pytest.mark.seeds({mark})
        def test_of_a_seed(fleet_seed):
            print("seed", fleet_seed)
    """)
    told = project.runpytest("-v")
    told.assert_outcomes(passed=len(seeds))
    told.stdout.fnmatch_lines([f"*test_of_a_seed?seed-{seed}?*PASSED*" for seed in seeds])


def test_the_command_line_names_one_seed_instead(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import pytest

        @pytest.mark.seeds(3)
        @pytest.mark.cluster("pair.yaml")
        def test_marked(fleet):
            assert fleet.seed == 9

        @pytest.mark.cluster("pair.yaml")
        def test_unmarked(fleet):
            assert fleet.seed == 9
    """)
    project.runpytest("--realmfleet-seed", "9").assert_outcomes(passed=2)


FAILING = """
    import pytest

    @pytest.mark.seeds(2)
    @pytest.mark.cluster("pair.yaml")
    def test_that_fails_under_one_seed(fleet):
        fleet.until(lambda fleet: fleet.realms.states == {"serving": 1}, within="1min")
        fleet.realms[0].stop()
        fleet.finish()
        assert fleet.seed != 2
"""


def test_a_failure_shows_the_command_that_repeats_it_and_the_command_works(project: pytest.Pytester) -> None:
    project.makepyfile(test_fails=FAILING)
    told = project.runpytest()
    told.assert_outcomes(passed=1, failed=1)
    told.stdout.fnmatch_lines(
        ["*- realmfleet -*", "pair, seed 2, *", "repeat: pytest *", "without the test: realmfleet replay *"]
    )
    (line,) = [line for line in told.outlines if line.startswith("repeat: pytest ")]
    assert line == "repeat: pytest 'test_fails.py::test_that_fails_under_one_seed[seed-2]' --realmfleet-seed 2"
    project.runpytest(
        "test_fails.py::test_that_fails_under_one_seed[seed-2]", "--realmfleet-seed", "2"
    ).assert_outcomes(failed=1)


def test_checkers_that_did_not_pass_are_named(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import pytest

        @pytest.mark.cluster("pair.yaml")
        def test_that_ends_in_a_fault(fleet):
            fleet.inject("machine.freeze", lasts="1min", machine="r1-std-01")
            assert fleet.finish().passed
    """)
    told = project.runpytest()
    told.stdout.fnmatch_lines(["checker recovered: unknown: a fault is still in force*"])


def test_the_run_of_a_failed_test_can_be_kept_and_replayed(project: pytest.Pytester) -> None:
    from orchestrator.replay import replay_run

    project.makepyfile(test_fails=FAILING)
    project.runpytest("--realmfleet-runs", "kept").assert_outcomes(passed=1, failed=1)
    kept = sorted(path.name for path in Path("kept").iterdir())
    assert kept == [f"test_that_fails_under_one_seed-seed-{seed}-" for seed in (1, 2)]
    assert replay_run(Path("kept") / kept[1] / "run-1").same


def test_junit_xml_carries_seed_and_digest(project: pytest.Pytester) -> None:
    project.makepyfile(test_fails=FAILING)
    project.runpytest("--junit-xml", "out.xml")
    cases = ElementTree.parse("out.xml").getroot().findall(".//testcase")
    told = [{item.get("name"): item.get("value") for item in case.findall(".//property")} for case in cases]
    assert [facts["realmfleet_seed"] for facts in told] == ["1", "2"]
    assert all(len(str(facts["realmfleet_trace_digest"])) == 64 for facts in told)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('@pytest.mark.seeds("7")\ndef test_it(fleet_seed): ...', "names no seeds*seeds(20) for 1..20"),
        ("@pytest.mark.seeds(0)\ndef test_it(fleet_seed): ...", "0 seeds*"),
        ("@pytest.mark.seeds(-1, 2)\ndef test_it(fleet_seed): ...", "names no seeds*"),
        ("@pytest.mark.seeds(2)\ndef test_it(): ...", "seeds are for tests that use fleet or fleet_seed"),
    ],
)
def test_a_mark_that_makes_no_sense_is_refused(project: pytest.Pytester, body: str, words: str) -> None:
    project.makepyfile(f"import pytest\n{body}\n")
    told = project.runpytest()
    assert told.ret != 0
    assert words.partition("*")[0] in told.stdout.str() + told.stderr.str()


def test_a_fleet_without_a_cluster_says_how_to_name_one(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(fleet): ...")
    told = project.runpytest()
    told.assert_outcomes(errors=1)
    told.stdout.fnmatch_lines(["*fleet needs a cluster: @pytest.mark.cluster*realmfleet_cluster*"])


def test_a_seed_that_is_none_is_refused_at_the_start(project: pytest.Pytester) -> None:
    told = project.runpytest("--realmfleet-seed", "-4")
    told.stderr.fnmatch_lines(["*--realmfleet-seed -4 is no seed*"])


def test_the_plug_in_costs_a_project_that_does_not_use_it_next_to_nothing(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import sys

        def test_nothing_was_imported():
            assert not {"polars", "plotly", "pydantic", "msgspec"} & set(sys.modules)
    """)
    project.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:schemathesis").assert_outcomes(passed=1)
