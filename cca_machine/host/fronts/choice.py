"""Which front a machine's host speaks with."""

from __future__ import annotations

from cca_machine.host.fronts.edition_1_0 import Front10
from cca_machine.host.fronts.edition_2_0 import Front20

FRONTS: dict[str, type[Front10] | type[Front20]] = {"1.0": Front10, "2.0": Front20}
"""Fronts by RMM edition, as a machine's specification names it."""
