"""Each kind of trace record as a short sentence: for evidence in reports, and for two traces that part.

The sayings are those of the live page (`serve/page-src/src/sentences.ts`); a kind without one is told by its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from orchestrator.report.page.words import duration, plural, size

Fields = dict[str, Any]


def say(kind: str, source: str, what: Fields) -> str:
    """The record in words; of a kind that is not known, its fields."""
    saying = SAYINGS.get(kind)
    if saying is None:
        return f"{kind}: " + ", ".join(f"{key} {value}" for key, value in what.items())
    return saying(what, source)


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _copy(what: Fields) -> str:
    return f"{what['realm']}#{what['incarnation']}"


def _refused(what: Fields) -> str:
    return ", ".join(f"{count} by {rule}" for rule, count in sorted(what["refused"].items())) or "there is none"


def _struck(what: Fields) -> str:
    peers = f" {'towards' if what['one_way'] else 'and'} {_some(what['peers'])}" if what["peers"] else ""
    return f"{what['kind']} strikes {_some(what['targets'])}{peers}"


def _verdict(what: Fields) -> str:
    told = "is attested" if what["passed"] else f"is refused, {what['reason']}"
    return f"{_copy(what)} on {what['machine']} {told} ({what['why']})"


def _outcome(what: Fields) -> str:
    return f"moved to {what['target']}" if what["outcome"] == "moved" else str(what["outcome"])


def _rolled(what: Fields) -> str:
    return (
        f"{what['held']} is not taken back: {what['refused']}"
        if what["refused"]
        else f"{what['held']} is taken back to {what['release']} by {what['rollout']}"
    )


SAYINGS: Final[dict[str, Callable[[Fields, str], str]]] = {
    "machine.admitted": lambda w, s: (
        f"{w['machine']} is admitted{', its platform token verified' if w['vouched'] else ''}"
    ),
    "machine.distrusted": lambda w, s: f"{w['machine']} is refused by the verifier: {w['reason']}",
    "machine.suspect": lambda w, s: f"{w['machine']} is silent and suspect",
    "machine.down": lambda w, s: (
        f"{w['machine']} is held to be down ({w['why']}), {plural(w['realms'], 'Realm')} to restart"
    ),
    "machine.back": lambda w, s: (
        f"{w['machine']} is back after {duration(w['silent_ns'])}{', booted anew' if w['rebooted'] else ''}"
    ),
    "machine.cordoned": lambda w, s: f"{w['machine']} is cordoned by {w['by']}: {w['why']}",
    "machine.uncordoned": lambda w, s: f"{w['machine']} is uncordoned by {w['by']}",
    "machine.booted": lambda w, s: f"{s} boots, boot {w['boot']}",
    "machine.lost": lambda w, s: (
        f"{s} loses all that is volatile ({w['why']}), {plural(len(w['realms']), 'Realm')} with it"
    ),
    "machine.frozen": lambda w, s: f"{s} freezes with {plural(len(w['realms']), 'Realm')}",
    "machine.thawed": lambda w, s: f"{s} thaws",
    "machine.hung": lambda w, s: f"{s} hangs in the activation of {w['component']}: PE {w['absent']} never came",
    "machine.rebooting": lambda w, s: f"{s} goes down to boot again",
    "rmi.calls": lambda w, s: f"the host of {s} made {plural(sum(w['calls'].values()), 'RMI call')}",
    "realm.wanted": lambda w, s: f"{_copy(w)} is wanted ({w['why']})",
    "realm.placed": lambda w, s: f"{_copy(w)} is placed on {w['machine']}, one of {w['considered']} considered",
    "realm.unplaced": lambda w, s: f"no machine takes {_copy(w)}: {_refused(w)}",
    "realm.state": lambda w, s: f"{_copy(w)} goes from {w['was']} to {w['state']} ({w['why']})",
    "realm.verdict": lambda w, s: _verdict(w),
    "realm.restart": lambda w, s: f"{_copy(w)} is gone with {w['machine']} ({w['why']}); another is wanted",
    "realm.stray": lambda w, s: (
        f"{w['machine']} still hosts {_copy(w)}, believed on {w['believed_machine'] or 'no machine'}"
    ),
    "realm.live": lambda w, s: f"{_copy(w)} executes on {s}{' and serves' if w['serving'] else ''} ({w['why']})",
    "realm.still": lambda w, s: f"{_copy(w)} stands still on {s} ({w['why']}) after {w['served']} requests",
    "realm.built": lambda w, s: f"{_copy(w)} is built on {s}, RIM {w['rim'][:12]}…",
    "realm.destroyed": lambda w, s: f"{_copy(w)} is destroyed on {s}",
    "realm.evidence": lambda w, s: f"{_copy(w)} gives evidence on {s}, token {w['sha256'][:12]}…",
    "secret.released": lambda w, s: f"{w['resource']} is released to {_copy(w)}",
    "secret.withheld": lambda w, s: f"{w['resource']} is withheld from {_copy(w)}: {w['reason']}",
    "order.refused": lambda w, s: f"{w['machine']} refused {w['command']} of {w['subject']}: {w['code']}",
    "command.refused": lambda w, s: f"{s} refuses {w['command']} of {w['subject']}: {w['code']}",
    "migration.declined": lambda w, s: f"{w['realm']} does not move ({w['rule']}): {w['why']}",
    "migration.started": lambda w, s: (
        f"{_copy(w)} leaves {w['source']} for {w['target']} in {w['session']} ({w['why']})"
    ),
    "migration.committed": lambda w, s: f"{w['session']}: {_copy(w)} is committed to {w['target']}",
    "migration.aborted": lambda w, s: f"{w['session']}: the move of {_copy(w)} is aborted, {w['why']}",
    "migration.finished": lambda w, s: f"{w['session']}: {_copy(w)} {_outcome(w)}, {size(w['sent_bytes'])} sent",
    "migration.step": lambda w, s: f"{w['session']}: {s}, its {w['role']}, is {w['state']}",
    "migration.round": lambda w, s: (
        f"{w['session']}: round {w['number']} sent {size(w['sent_bytes'])}, {size(w['dirty_bytes'])} dirty"
    ),
    "migration.paused": lambda w, s: (
        f"{w['session']}: {_copy(w)} is paused after {plural(w['rounds'], 'round')} ({w['why']})"
    ),
    "migration.lineage": lambda w, s: f"{w['session']}: the witness of {w['lineage']} is {w['state']}",
    "migration.waiting": lambda w, s: f"{w['session']}: {_copy(w)} waits in {w['phase']}, {w['party']} does not answer",
    "drain.started": lambda w, s: f"{w['drain']}: {plural(w['realms'], 'Realm')} shall leave {_some(w['machines'])}",
    "drain.planned": lambda w, s: (
        f"{w['drain']}: {w['realm']} {'would go to ' + w['to'] if w['to'] else 'stays: ' + w['why']}"
    ),
    "drain.blocked": lambda w, s: f"{w['drain']}: {w['realm']} stays on {w['machine']} ({w['rule']}): {w['why']}",
    "drain.finished": lambda w, s: f"{w['drain']}: {w['moved']} moved, {w['blocked']} stay",
    "fault.injected": lambda w, s: _struck(w),
    "fault.healed": lambda w, s: f"{w['kind']} is undone on {_some(w['targets'])}",
    "fault.skipped": lambda w, s: f"{w['kind']} strikes nobody: {w['why']}",
    "rollout.started": lambda w, s: (
        f"{w['rollout']} of {w['component']} {w['version']} begins for {plural(w['machines'], 'machine')}"
    ),
    "wave.started": lambda w, s: f"{w['rollout']}: wave {w['wave']} takes {plural(len(w['machines']), 'machine')}",
    "rollout.machine": lambda w, s: f"{w['rollout']}: {w['machine']} goes from {w['was']} to {w['phase']} ({w['why']})",
    "wave.finished": lambda w, s: f"{w['rollout']}: wave {w['wave']} is baked, {w['done']} done, {w['failed']} failed",
    "rollout.held": lambda w, s: f"{w['rollout']} holds in wave {w['wave']}: {w['why']}",
    "rollout.rolled-back": lambda w, s: _rolled(w),
    "rollout.chose": lambda w, s: f"{w['rollout']}: {w['machine']} is updated by {w['strategy']}",
    "rollout.steered": lambda w, s: (
        f"{w['rollout']}: {w['do']}" + (f" is refused, {w['refused']}" if w["refused"] else "")
    ),
    "rollout.promoted": lambda w, s: f"{w['rollout']}: an operator vouches for wave {w['wave']}",
    "rollout.retried": lambda w, s: f"{w['rollout']} takes {_some(w['machines'])} again",
    "gate.judged": lambda w, s: f"{w['rollout']}: gate {w['gate']} of wave {w['wave']} says {w['answer']}: {w['why']}",
    "gate.asked": lambda w, s: f"{w['rollout']}: gate {w['gate']} of wave {w['wave']} is asked outside",
    "rollout.paused": lambda w, s: f"{w['rollout']} is paused in wave {w['wave']}",
    "rollout.resumed": lambda w, s: f"{w['rollout']} goes on in wave {w['wave']}",
    "rollout.aborted": lambda w, s: f"{w['rollout']} is given up in wave {w['wave']}",
    "rollout.waiting": lambda w, s: f"{w['rollout']} waits for {_some(w['absent'])}",
    "rollout.finished": lambda w, s: f"{w['rollout']} ends: {w['done']} done, {w['failed']} failed, {w['left']} left",
    "firmware.activated": lambda w, s: (
        f"{s} activates {w['component']} {w['version']}, {duration(w['pause_ns'])} still"
    ),
    "firmware.booted": lambda w, s: f"{s} came up with {w['component']} {w['version']}",
    "firmware.refused": lambda w, s: f"{s} refuses {w['component']} at {w['step']}: {w['status']}",
    "tcb.revoked": lambda w, s: (
        f"{w['component']} {w['version']} is revoked: {plural(w['realms'], 'Realm')} lose trust"
    ),
    "trust.lost": lambda w, s: f"{_copy(w)} on {w['machine']} is trusted no more: {w['why']}",
    "trust.regained": lambda w, s: f"{_copy(w)} on {w['machine']} is trusted again after {duration(w['after_ns'])}",
    "trust.ended": lambda w, s: f"{w['realm']} is gone before it was trusted again, after {duration(w['after_ns'])}",
    "pod.step": lambda w, s: f"{_copy(w)} is through {w['step']} of its pod in {duration(w['took_ns'])}",
    "pod.refused": lambda w, s: f"the pod of {_copy(w)} ends at {w['step']}, {w['reason']}: {w['why']}",
    "operator.accepted": lambda w, s: f"an operator's {w['asked']}: {w['what']}",
    "operator.refused": lambda w, s: f"an operator's {w['asked']} is refused: {w['why']}",
    "message.lost": lambda w, s: f"a message from {s.removeprefix('link:')} to {w['target']} is lost",
}
