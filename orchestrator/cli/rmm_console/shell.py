"""The interactive loop: a line in, its answer out; the same from a pipe, where the first mistake ends it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from orchestrator.cli.rmm_console.session import DRAM, Session
from orchestrator.cli.rmm_console.steps import Stopped
from orchestrator.cli.rmm_console.verbs import execute
from orchestrator.errors import ExitCode, UserMistake

PROMPT = "rmm> "
GREETING = (
    "A machine with {mib} MiB at {base:#x} and an RMM that speaks RMI {edition}. "
    "`help` lists the verbs; try: realm, ram 0 2M, page 0 hello, rec, activate, enter, tree, why."
)


def run_lines(session: Session, lines: Iterable[str], say: Callable[[str], None], source: str) -> None:
    """Do every line of a script; raises UserMistake with the line's number at the first that makes no sense."""
    for place, line in enumerate(lines, 1):
        if line.strip() in ("quit", "exit"):
            return
        try:
            answer = execute(session, line)
        except Stopped as stopped:
            answer = stopped.lines
        except UserMistake as mistake:
            raise UserMistake(f"{source}:{place}: {mistake.message}", mistake.hint) from None
        for text in answer:
            say(text)


def interact(session: Session) -> int:
    """Talk to a person until `quit` or the end of input."""
    _enable_line_editing()
    print(GREETING.format(mib=DRAM.size >> 20, base=DRAM.base, edition=session.edition))
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            print()
            return int(ExitCode.GOOD)
        except KeyboardInterrupt:
            print()
            continue
        if line.strip() in ("quit", "exit"):
            return int(ExitCode.GOOD)
        try:
            for text in execute(session, line):
                print(text)
        except Stopped as stopped:
            print("\n".join(stopped.lines))
        except UserMistake as mistake:
            print(f"{mistake.message}\n  {mistake.hint}", file=sys.stderr)


def _enable_line_editing() -> None:
    """History and cursor keys where the platform has them."""
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("tab: complete")
