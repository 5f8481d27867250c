"""A chaos experiment as JUnit XML, for continuous integration: a suite a seed, a case a question.

What failed is a failure; what could not be told is skipped, because it counts neither way. Each suite carries the trace
digest and the command that repeats it. Format: the Jenkins xUnit schema as pytest writes it (`junit_family=xunit2`).
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from orchestrator.chaos.experiment import ExperimentResult, Finding, SeedResult
from orchestrator.chaos.verdict import Outcome
from orchestrator.errors import UserMistake

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(file: Path, result: ExperimentResult) -> None:
    """Write the result of an experiment to `file`; raises `UserMistake` when it cannot be written."""
    try:
        file.write_bytes(junit(result))
    except OSError as error:
        raise UserMistake(f"cannot write {file}: {error.strerror}", "name a writable file with --junit") from error


def junit(result: ExperimentResult) -> bytes:
    """The document, in UTF-8; equal results give equal bytes."""
    root = ElementTree.Element("testsuites", {"name": _text(result.name), **_counts(result.seeds)})
    for seed in result.seeds:
        root.append(_suite(result.name, seed))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(name: str, seed: SeedResult) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": _text(f"{name} seed {seed.seed}"), **_counts([seed])})
    told = ElementTree.SubElement(suite, "properties")
    facts = {"seed": seed.seed, "faults": seed.faults, "trace_digest": seed.trace_digest, "repeat": seed.repeat}
    for key, value in facts.items():
        ElementTree.SubElement(told, "property", {"name": key, "value": _text(str(value))})
    for finding in seed.findings:
        suite.append(_case(name, seed, finding))
    return suite


def _case(name: str, seed: SeedResult, finding: Finding) -> ElementTree.Element:
    where = {"classname": _text(f"{name}.seed-{seed.seed}"), "name": _text(f"{finding.kind} {finding.name}")}
    case = ElementTree.Element("testcase", where)
    if finding.outcome is Outcome.FAIL:
        failure = ElementTree.SubElement(case, "failure", {"message": _text(finding.detail)})
        failure.text = _text(f"{finding.detail}\nrepeat: {seed.repeat}\nrun: {seed.run_dir}")
    elif finding.outcome is Outcome.UNKNOWN:
        ElementTree.SubElement(case, "skipped", {"message": _text(f"unknown: {finding.detail}")})
    return case


def _counts(seeds: tuple[SeedResult, ...] | list[SeedResult]) -> dict[str, str]:
    outcomes = [finding.outcome for seed in seeds for finding in seed.findings]
    return {
        "tests": str(len(outcomes)),
        "failures": str(outcomes.count(Outcome.FAIL)),
        "errors": "0",
        "skipped": str(outcomes.count(Outcome.UNKNOWN)),
    }


def _text(text: str) -> str:
    """Text without the characters that XML 1.0 cannot hold."""
    return _NOT_XML.sub("�", text)
