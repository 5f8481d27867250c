"""Pages of the reference that are built from the tests themselves: conditions, deviations, compliance scenarios.

`PAGES` maps a page of docs/reference to the function that writes it. A condition counts as tested when pytest collects
a case of its name, a scenario when a test of its name stands in `acs/`: take one away and the page is another one.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SPEC = Path(__file__).resolve().parent
sys.path.insert(0, str(SPEC))

from spec_coverage import UNTESTED, conditions_page, conditions_page_2_0  # noqa: E402 - the path above comes first

from cca_machine.rmm import quirks  # noqa: E402


def deviations_page() -> str:
    """Where an RMM of RMI 1.0 may answer in two ways, by divergence number, and what each quirk set chooses."""
    head = [
        "# Deviations of the RMM",
        "",
        "Generated from `cca_machine/rmm/quirks.py`; do not edit. A machine's profile names a quirk set. D numbers",
        "are rows of the list of divergences between the text (DEN0137) and Arm's firmware (TF-RMM), F numbers rows",
        "of the table that comes with the recorded firmware traces; what has neither names its source. *yes*: that set",
        "departs from the default answer as the row says. `realmfleet rmm replay` takes the set that fits a trace.",
        "This page is about RMI 1.0; [the other one](rmm-deviations-2.0.md) is about RMI 2.0.",
    ]
    tail = [
        "Divergences without a flag: D9 is a matter of the edition, D12 cannot be seen where commands are atomic,",
        "and D18 is answered as the text has it, because the firmware has no defined answer.",
    ]
    return _deviations(head, quirks.QUIRK_SETS, _flags_of_2_0_alone(), tail)


def deviations_page_2_0() -> str:
    """The same for RMI 2.0."""
    head = [
        "# Deviations of the RMM under RMI 2.0",
        "",
        "Generated from `cca_machine/rmm/quirks.py`; do not edit. As [the page for RMI 1.0](rmm-deviations.md), for",
        "machines of edition 2.0; G numbers are rows of the list of faults and choices that comes with the traces of",
        "TF-RMM's main branch. With the set `tf-rmm` every recorded call of the kinds that need no device agrees.",
    ]
    tail = [
        "Faults of that firmware that no set repeats, because it has no defined answer there (the recorded traces",
        "avoid them): G1, a live entry whose address has bit 32 set taken for a drain marker; G2, a crash on a level",
        "above the starting one, answered ERROR_INPUT here; G3, a lock taken twice when the data granule is the",
        "target table, answered as for any granule that is not DELEGATED; G4, a lock kept by RTT_DESTROY of a table",
        "that auxiliary trees share. G5 is about devices. Of G8, that OP_CANCEL never succeeds, that GPT_L1_CREATE",
        "always finds its table, and that RTT_INIT_RIPAS is not measured are the default answers too.",
    ]
    return _deviations(head, quirks.QUIRK_SETS_2_0, _flags_of_1_0_alone(), tail)


def _deviations(head: list[str], sets: Mapping[str, quirks.QuirkSet], left_out: frozenset[str], tail: list[str]) -> str:
    titles = " | ".join(sets)
    lines = [*head, "", f"| Flag | Divergence | {titles} |", "|---|---|" + "---|" * len(sets)]
    for name, says in quirk_texts().items():
        if name not in left_out:
            marks = " | ".join("yes" if getattr(one, name) else "" for one in sets.values())
            lines.append(f"| `{name}` | {says} | {marks} |")
    return "\n".join([*lines, "", *tail]) + "\n"


def _flags_of_1_0_alone() -> frozenset[str]:
    """Flags that nothing but the front end of RMI 1.0 looks at."""
    rmm = Path(quirks.__file__).parent
    elsewhere = [path for path in rmm.rglob("*.py") if path.parent.name != "edition_1_0"]
    others = "".join(path.read_text(encoding="utf-8") for path in elsewhere if path.parents[1].name != "edition_1_0")
    return frozenset(name for name in quirk_texts() if f"quirks.{name}" not in others)


def _flags_of_2_0_alone() -> frozenset[str]:
    """Flags from the first one that says that it is for 2.0."""
    names = list(quirk_texts())
    return frozenset(names[names.index("rim_hashes_params") :])


def quirk_texts() -> dict[str, str]:
    """What each flag of a quirk set says, from the source: a name and the text below it."""
    source = Path(quirks.__file__).read_text(encoding="utf-8")
    (record,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "QuirkSet"]
    texts: dict[str, str] = {}
    for field, below in zip(record.body, record.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id != "name":
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            texts[field.target.id] = " ".join(str(below.value.value).split()) if is_text else UNTESTED  # type: ignore[attr-defined]  # checked above
    return texts


def scenarios_page() -> str:
    """Every scenario of the compliance suite, and its test or why there is none."""
    listed = tomllib.loads((SPEC / "acs" / "scenarios.toml").read_text(encoding="utf-8"))
    reasons = {name: entry["reason"] for entry in listed["out"] for name in entry["scenarios"]}
    tests = scenario_tests()
    total = [name for document in listed["document"] for name in document["scenarios"]]
    lines = [
        "# Compliance scenarios",
        "",
        "Generated from `tests/spec/acs` by `tests/spec/spec_pages.py`; do not edit. The scenarios are those of the",
        "RMM Architecture Compliance Suite (ARM-software/cca-rmm-acs, revision 5d83304d); each test here is written",
        "from the scenario's document and has its name.",
        "",
        f"{sum(name in tests for name in total)} of {len(total)} scenarios are tested, "
        f"{sum(name in reasons for name in total)} are out of the model, "
        f"{sum(name not in tests and name not in reasons for name in total)} are neither.",
        "",
    ]
    for document in listed["document"]:
        lines += [f"## {document['title']}", "", f"`docs/{document['file']}`", "", "| Scenario | Status |", "|---|---|"]
        for name in document["scenarios"]:
            status = (
                f"tested: `{tests[name]}`"
                if name in tests
                else f"out: {reasons[name]}"
                if name in reasons
                else UNTESTED
            )
            lines.append(f"| {name} | {status} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def scenario_tests() -> dict[str, str]:
    """File of each test in `acs/`, by the scenario that it is named after."""
    found: dict[str, str] = {}
    for path in sorted((SPEC / "acs").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name.removeprefix("test_")] = f"acs/{path.name}"
    return found


def listed_scenarios() -> dict[str, Any]:
    """The list of scenarios as it stands in the file."""
    return tomllib.loads((SPEC / "acs" / "scenarios.toml").read_text(encoding="utf-8"))


PAGES: Mapping[str, Callable[[], str]] = {
    "rmm-conditions.md": conditions_page,
    "rmm-conditions-2.0.md": conditions_page_2_0,
    "rmm-deviations.md": deviations_page,
    "rmm-deviations-2.0.md": deviations_page_2_0,
    "acs.md": scenarios_page,
}
