"""Interface revisions (DEN0137 1.0-rel0, RmiInterfaceVersion and RMI_VERSION)."""

from __future__ import annotations


def negotiate(requested: int, supported: tuple[int, ...], report_highest: bool = False) -> tuple[bool, int, int]:
    """(accepted, lower, higher) for a `requested` revision against the ascending list of `supported` ones.

    A refused request is told the highest supported revision below it, or the highest of all if there is none or with
    `report_highest` (D14).
    """
    highest = supported[-1]
    if requested in supported:
        return True, requested, highest
    below = [revision for revision in supported if revision < requested]
    return False, highest if report_highest or not below else below[-1], highest
