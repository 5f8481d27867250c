"""Lets the tests of this folder import the toys."""

from __future__ import annotations

import sys
from pathlib import Path

TOYS = Path(__file__).resolve().parents[2] / "toys"
if str(TOYS) not in sys.path:
    sys.path.insert(0, str(TOYS))
