"""Pages of the reference that are built from the tests themselves: conditions, deviations, compliance scenarios.

`PAGES` maps a page of docs/reference to the function that writes it. A condition counts as tested when
`test_conditions` has a case for it, a scenario when a test of its name stands in `acs/`: take one away and the page is
another one.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

SPEC = Path(__file__).resolve().parent
sys.path.insert(0, str(SPEC))

import test_conditions as inventory  # noqa: E402 - the path above comes first
import test_services  # noqa: E402
from spec_rows import Command  # noqa: E402

from cca_machine.abi.rmi import Rmi  # noqa: E402
from cca_machine.rmm import quirks  # noqa: E402
from cca_machine.rmm.edition_1_0.conditions import TABLES  # noqa: E402

SINGLE_TEST = "tests/spec/test_conditions.py::test_a_condition_gives_its_status_and_changes_nothing"
PAIR_TEST = "tests/spec/test_conditions.py::test_of_two_conditions_the_earlier_one_decides"
SERVICE_TEST = "tests/spec/test_services.py::test_a_bad_argument_of_rsi_returns_error_input_to_the_realm"
UNTESTED = "**UNTESTED**"

STATUSES = {0x1: "ERROR_INPUT", 0x2: "ERROR_REALM", 0x102: "ERROR_REALM(1)", 0x3: "ERROR_REC"}


def conditions_page() -> str:
    """Every failure condition and ordering pair of RMI 1.0 and RSI 1.0, and the test that covers it."""
    elsewhere = inventory.LISTED["out_of_model"]
    singles = {(row.fid, name) for row, name in inventory.SINGLE}
    pairs = [(row.fid, first, later) for row, first, later in inventory.PAIRS]
    if not all(hasattr(inventory, test.partition("::")[2]) for test in (SINGLE_TEST, PAIR_TEST)):
        singles, pairs = set(), []
    rows = [line for fid in TABLES for line in _command(fid, singles, pairs, elsewhere)]
    open_ones = sum(UNTESTED in line for line in rows)
    head = [
        "# Failure conditions of the RMM",
        "",
        "Generated from `tests/spec` by `tests/spec/spec_pages.py`; do not edit. Source: DEN0137 1.0-rel0,",
        "sections B4.3 and B5.3. A row is tested in two ways: alone it gives its status and changes nothing",
        f"(`{SINGLE_TEST}`), and together with any later condition it",
        f"decides (`{PAIR_TEST}`);",
        "*wins over* names those later ones. Pairs that are missing cannot hold together, or have no order.",
        "",
        f"{len(singles)} conditions and {len(pairs)} ordering pairs have a test of their own;",
        f"{open_ones} conditions have neither test nor reason.",
        "",
    ]
    return "\n".join([*head, *rows, *_services()]).rstrip() + "\n"


def _command(
    fid: Rmi, singles: set[tuple[Rmi, str]], pairs: list[tuple[Rmi, str, str]], elsewhere: Mapping[str, str]
) -> Iterator[str]:
    yield f"## RMI_{fid.name}"
    yield ""
    yield "| Condition | Fails when | Answer | Wins over | Test |"
    yield "|---|---|---|---|---|"
    row: Command | None = inventory.ROWS.get(fid)
    said: dict[str, str] = {}
    for check in TABLES[fid]:
        said[check.name] = f"{said[check.name]}; {check.says}" if check.name in said else check.says
    names = [*(row.conditions if row is not None else ()), *said]
    for name in dict.fromkeys(names):
        answer, beaten = "", ""
        if row is not None and name in row.conditions:
            answer = _status(row.conditions[name].x0)
            beaten = ", ".join(later for owner, first, later in pairs if (owner, first) == (fid, name))
        if (fid, name) in singles:
            test = f"`[{fid.name}-{name}]`"
        else:
            test = elsewhere.get(f"{fid.name}.{name}", UNTESTED)
        yield f"| {name} | {said.get(name, '')} | {answer} | {beaten} | {test} |"
    yield ""


def _status(x0: int) -> str:
    return STATUSES.get(x0) or f"ERROR_RTT({x0 >> 8})"


def _services() -> Iterator[str]:
    yield "## RSI"
    yield ""
    yield f"All of these answer ERROR_INPUT and change nothing (`{SERVICE_TEST}`);"
    yield "no order among them is defined. PSCI and the flows that cross the Host are in `tests/spec/test_services.py`."
    yield ""
    yield "| Command | Condition | Test |"
    yield "|---|---|---|"
    for name, _ in test_services.BAD_ARGUMENTS:
        command, _, condition = name.partition(".")
        yield f"| RSI_{command} | {condition} | `[{name}]` |"
    yield ""


def deviations_page() -> str:
    """Where the RMM may answer in two ways, by divergence number, and what each quirk set chooses."""
    sets = list(quirks.QUIRK_SETS.values())
    header = " | ".join(one.name for one in sets)
    lines = [
        "# Deviations of the RMM",
        "",
        "Generated from `cca_machine/rmm/quirks.py`; do not edit. A machine's profile names a quirk set. D numbers",
        "are rows of the list of divergences between the text (DEN0137) and Arm's firmware (TF-RMM), F numbers rows",
        "of the table that comes with the recorded firmware traces; what has neither names its source. *yes*: that set",
        "departs from the default answer as the row says. `realmfleet rmm replay` takes the set that fits a trace.",
        "",
        f"| Flag | Divergence | {header} |",
        "|---|---|" + "---|" * len(sets),
    ]
    for name, says in quirk_texts().items():
        marks = " | ".join("yes" if getattr(one, name) else "" for one in sets)
        lines.append(f"| `{name}` | {says} | {marks} |")
    lines += [
        "",
        "Divergences without a flag: D9 is a matter of the edition, D12 cannot be seen where commands are atomic,",
        "and D18 is answered as the text has it, because the firmware has no defined answer.",
    ]
    return "\n".join(lines) + "\n"


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
    "rmm-deviations.md": deviations_page,
    "acs.md": scenarios_page,
}
