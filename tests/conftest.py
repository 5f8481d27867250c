"""Fixtures that every test folder may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of recorded tokens, keys and firmware traces; a clone without it skips what needs it."""
    folder = Path(os.environ.get("REALMFLEET_VECTORS", ROOT / ".." / "shared" / "vectors")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no vectors at {folder}; set REALMFLEET_VECTORS to run against recorded tokens and traces")
    return folder
