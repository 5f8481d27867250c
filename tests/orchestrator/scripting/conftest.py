"""Small fleets for scripts, and one run that is finished and only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Fleet, Results, Spec, open_fleet

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "clusters" / "small.yaml"


def pair() -> Spec:
    """Four machines in two racks with two Realms; nothing happens by itself."""
    spec = Spec("pair", memory="2GiB", seed=3, duration="5min").rack("r1", 2).rack("r2", 2, power="b")
    spec.release("rmm-1.0.1", rmm="1.0.1")
    return spec.realms("web", count=2, memory="16MiB", workload={"requests_per_s": 100})


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Opens fleets in directories of their own, and closes them."""
    fleets: list[Fleet] = []

    def build(what: Any = None, **how: Any) -> Fleet:
        how.setdefault("out", tmp_path / f"run-{len(fleets)}")
        fleets.append(open_fleet(pair() if what is None else what, **how))
        return fleets[-1]

    yield build
    for fleet in fleets:
        fleet.run.close()


@pytest.fixture
def fleet(opened: Callable[..., Fleet]) -> Fleet:
    """The small fleet with everything serving."""
    made = opened()
    made.until(lambda fleet: fleet.realms.states == {"serving": 2}, within="30s")
    return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run of clusters/small.yaml with a migration, a partition, a power loss and a rollout."""
    out = tmp_path_factory.mktemp("scripting") / "run"
    with open_fleet(SMALL, seed=7, out=out) as fleet:
        fleet.until(lambda fleet: len(fleet.realms.where(state="serving")) == 9)
        fleet.migrate("web-001", "r2-std-02")
        with fleet.fault("network.partition", between=("rack:r3", "control")):
            fleet.advance("45s")
        fleet.inject("machine.power-loss", lasts="20s", machine="r1-std-01")
        fleet.rollout("rmm-1.0.1", waves=[1, "100%"], max_failures=1)
        return fleet.finish(after="4min")
