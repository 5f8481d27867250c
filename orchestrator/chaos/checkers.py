"""All checkers by name, and judging a trace with them.

A checker is a pure function of the trace and a few facts of its run; it never sees live objects, so a stored run can be
judged again. Each says pass, fail or unknown with a sentence and the lines that show it. What never happened in a run
passes, and the sentence says how often it was judged; unknown is for what the run was too short to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from orchestrator.chaos import check_evidence, check_life, check_platform
from orchestrator.chaos.history import Readable, read
from orchestrator.chaos.verdict import Case, Facts, Outcome, Verdict

CHECKERS: Final[dict[str, Callable[[Case], Verdict]]] = {
    "alive-once": check_life.alive_once,
    "attested-before-serving": check_evidence.attested_before_serving,
    "evidence-genuine": check_evidence.evidence_genuine,
    "no-secret-after-refusal": check_evidence.no_secret_after_refusal,
    "granule-exclusive": check_platform.granule_exclusive,
    "lease-respected": check_life.lease_respected,
    "recovered": check_life.recovered,
    "firmware-monotonic": check_platform.firmware_monotonic,
    "rollout-canary": check_platform.rollout_canary,
}


def judge(lines: Iterable[Readable], facts: Facts, names: Sequence[str] = ()) -> list[Verdict]:
    """Verdicts of the named checkers (all, if none is named) over a trace, in the order of `CHECKERS`.

    Raises:
        KeyError: there is no checker of that name.
    """
    for name in names:
        CHECKERS[name]
    case = Case(read(lines), facts)
    return [checker(case) for name, checker in CHECKERS.items() if not names or name in names]


def worst(verdicts: Iterable[Verdict]) -> Outcome:
    """Fail if any fails, else unknown if any is unknown, else pass."""
    outcomes = {verdict.outcome for verdict in verdicts}
    return next((outcome for outcome in (Outcome.FAIL, Outcome.UNKNOWN) if outcome in outcomes), Outcome.PASS)
