"""The keeper of outside gates: asks the user's function, or Prometheus, and journals what it said.

It stands at the edge: rollouts leave their questions, the keeper answers after the beat in which they were asked, and
the answer is an input like any other, which takes effect at the next boundary. While recorded inputs are being replayed
it is silent: the journal holds what was said then. A function that raises, or Prometheus that does not answer within
`TIMEOUT_S`, is inconclusive; a live fleet waits that long, at most, on the wall.
"""

from __future__ import annotations

import importlib.util
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from orchestrator.cluster.schema import PromqlGate, PythonGate
from orchestrator.errors import UserMistake
from orchestrator.firmware.gates import Answer, Question, Verdict
from orchestrator.inputs import AnswerGate

TIMEOUT_S = 2.0
LONGEST_WHY = 300

GateFunction: TypeAlias = Callable[[Question], Any]
"""Given the question; says True, False or None (inconclusive), or a pair of that and a sentence."""


class Asking(Protocol):
    """Where questions come from."""

    def take_questions(self) -> list[Question]: ...


class Admitting(Protocol):
    """Where answers go."""

    @property
    def replaying(self) -> bool: ...
    def admit(self, body: Any) -> int: ...


class Given(Protocol):
    """What the user gave for it."""

    @property
    def gates(self) -> Mapping[str, GateFunction]: ...
    @property
    def prometheus(self) -> str: ...


class GateKeeper:
    """One per run."""

    def __init__(self, rollouts: Asking, engine: Admitting, given: Given) -> None:
        self._rollouts = rollouts
        self._engine = engine
        self._given = given

    def answer(self) -> None:
        """Answer what was asked in the beat that is over."""
        asked = self._rollouts.take_questions()
        if not asked or self._engine.replaying:
            return
        for question in asked:
            verdict = self._verdict(question)
            where = (question.rollout, question.gate, question.number)
            self._engine.admit(AnswerGate(*where, verdict.answer.value, verdict.why[:LONGEST_WHY]))

    def _verdict(self, question: Question) -> Verdict:
        if isinstance(question.asks, PythonGate):
            return _python(self._given.gates.get(question.asks.name), question)
        return _promql(self._given.prometheus, question.asks)


def _python(function: GateFunction | None, question: Question) -> Verdict:
    if function is None:
        return Verdict(Answer.INCONCLUSIVE, "no function is given for it: add --gate NAME=FILE:FUNCTION")
    try:
        said = function(question)
    except Exception as error:
        return Verdict(Answer.INCONCLUSIVE, f"it raised {type(error).__name__}: {error}")
    answer, why = said if isinstance(said, tuple) and len(said) == 2 else (said, "")
    if answer is None:
        return Verdict(Answer.INCONCLUSIVE, str(why))
    if not isinstance(answer, bool):
        return Verdict(Answer.INCONCLUSIVE, f"it said {answer!r}, which is neither True, False nor None")
    return Verdict(Answer.PASS if answer else Answer.FAIL, str(why))


def _promql(base: str, gate: PromqlGate) -> Verdict:
    """Ask the instant-query API. A result of numbers above 0 passes, an empty one or one with a 0 fails."""
    if not base:
        return Verdict(Answer.INCONCLUSIVE, "no Prometheus is given: add --prometheus URL")
    url = f"{base.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': gate.query})}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            told = json.loads(answer.read(1 << 20))
        values = _values(told["data"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return Verdict(Answer.INCONCLUSIVE, f"Prometheus gave no answer: {error}")
    if not values:
        return Verdict(Answer.FAIL, "the result is empty")
    bad = [value for value in values if not value > 0]
    return Verdict(Answer.FAIL if bad else Answer.PASS, f"{len(values)} values, lowest {min(values):g}")


def _values(data: dict[str, Any]) -> list[float]:
    result = data["result"]
    if data["resultType"] == "scalar":
        return [float(result[1])]
    return [float(sample["value"][1]) for sample in result]


def read_gates(given: Iterable[str]) -> dict[str, GateFunction]:
    """Functions named as NAME=FILE:FUNCTION. Raises `UserMistake`."""
    found: dict[str, GateFunction] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        file, colon, function = rest.rpartition(":")
        if not (name and equals and colon and file and function):
            raise UserMistake(f"--gate {text} names no function", "write it like enough=gates.py:enough")
        found[name] = _load(Path(file), function)
    return found


def _load(file: Path, name: str) -> GateFunction:
    spec = importlib.util.spec_from_file_location(f"realmfleet_gate_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise UserMistake(f"--gate: {file} is no Python file", "check the path")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserMistake(f"--gate: {file} cannot be read: {type(error).__name__}: {error}") from error
    function: GateFunction | None = getattr(module, name, None)
    if function is None or not callable(function):
        raise UserMistake(f"--gate: {file} has no function {name}", "name one at the top level of the file")
    return function
