"""Fixtures that every test folder may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes says something about the host, not about the code
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of recorded tokens, keys and firmware traces; a clone without it skips what needs it."""
    folder = Path(os.environ.get("REALMFLEET_VECTORS", ROOT / ".." / "shared" / "vectors")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no vectors at {folder}; set REALMFLEET_VECTORS to run against recorded tokens and traces")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many random calls the fuzz targets made, by edition of the RMI, and how many changed inputs were refused."""
    made: dict[str, int] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name.startswith("fuzz_inputs_") and report.when == "call":
                    terminalreporter.write_line(
                        f"fuzz: {int(value):,} changed inputs refused, none accepted or crashed"
                    )
                if name.startswith("fuzz_calls_") and report.when == "call":
                    made[name] = made.get(name, 0) + int(value)
    for name, calls in sorted(made.items()):
        edition = name.removeprefix("fuzz_calls_").replace("_", ".")
        terminalreporter.write_line(f"fuzz: {calls:,} random calls to an RMM of RMI {edition}")
