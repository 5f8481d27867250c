"""The two sides of a migration session and the lineage witness as tables (modelled: no Arm ABI for it is public).

The shapes follow Intel TDX module 1.5 (export and import sessions, epochs, a start token after which the source never
runs by itself), with one addition: a witness that takes one decision per session, grant or abort, so that a dead
destination does not strand a healthy source. The Realm executes on the source up to LIVE_EXPORT and on the destination
in LIVE; nowhere in between. An order without a row is refused; a parcel without one is dropped.
"""

from __future__ import annotations

from enum import StrEnum


class SourceState(StrEnum):
    """Where the source side stands."""

    NEW = "new"
    """Nothing of the session is known here."""
    HANDSHAKE = "handshake"
    """The two ends agree on keys; the RMM has no state of the session, the Realm runs."""
    LIVE_EXPORT = "live-export"
    """Rounds of pages cross while the Realm runs."""
    PAUSED = "paused"
    """The Realm stands still; the rest, RECs and Realm state are sealed."""
    RELINQUISHED = "relinquished"
    """The start token is issued: only the witness, or proof that the destination failed, lets the Realm run here."""
    ACTIVE = "active"
    """The session is over and the Realm is this machine's as before."""
    SCRUBBED = "scrubbed"
    """The Realm is the destination's; the copy here was wiped."""
    GONE = "gone"
    """The Realm was stopped here."""


class SourceInput(StrEnum):
    """What can happen to the source side."""

    OPEN = "open"
    KEYS = "keys"
    """Both ends confirmed the keys."""
    PEER_REFUSED = "peer-refused"
    """The peer is not whom the Realm's policy admits, or its handshake is malformed."""
    CONVERGED = "converged"
    """The rest fits into the downtime, or the rounds are used up."""
    STALLED = "stalled"
    """The rounds stopped shrinking, and the terms say to give up."""
    START = "start"
    """No page is dirty, every REC and the Realm state are exported: the start token may be issued."""
    GIVE_UP = "give-up"
    """The deadline has passed."""
    ABORT_BUNDLE = "abort-bundle"
    """The destination's RMM proves that it failed."""
    GRANTED = "granted"
    ABORTED = "aborted"
    STOP = "stop"
    """The Realm is stopped by order, or shut itself down."""


class SourceEffect(StrEnum):
    """What a source does on a step."""

    GREET = "greet"
    BEGIN = "begin"
    """mig_begin: the first round."""
    PAUSE = "pause"
    RELINQUISH = "relinquish"
    """Issue the start token."""
    RUN_ON = "run-on"
    """Close the session; the Realm never stopped."""
    RUN_AGAIN = "run-again"
    """Close the session; the Realm runs on from where it was paused."""
    SCRUB = "scrub"
    FORGET = "forget"


class DestinationState(StrEnum):
    """Where the destination side stands."""

    NEW = "new"
    SHELL = "shell"
    """Built by RMI, empty; the ends agree on keys."""
    MEM_IMPORT = "mem-import"
    STATE_IMPORT = "state-import"
    READY = "ready"
    """Everything is here and nothing of it has run; only the witness ends this, or a reset of the machine."""
    LIVE = "live"
    FAILED = "failed"


class DestinationInput(StrEnum):
    """What can happen to the destination side."""

    OPEN = "open"
    PEER_REFUSED = "peer-refused"
    IMMUTABLE = "immutable"
    """The first bundle: creation parameters that equal those of the shell."""
    BUNDLE = "bundle"
    """A bundle in its place that changes nothing but what it carries."""
    REALM_MUTABLE = "realm-mutable"
    """Measurements and the state of the Realm: from here on RECs and the final map."""
    COMPLETE = "complete"
    """The start token: its totals hold, every REC and the whole map are here."""
    BAD = "bad"
    """A bundle that does not open, is out of place, or says what cannot be."""
    GIVE_UP = "give-up"
    GRANTED = "granted"
    ABORTED = "aborted"
    STOP = "stop"


class DestinationEffect(StrEnum):
    """What a destination does on a step."""

    BUILD = "build"
    APPLY = "apply"
    REGISTER = "register"
    """Tell the witness that everything is here."""
    RUN = "run"
    FAIL = "fail"
    """Wipe the shell, seal an abort bundle for the source, tell the witness."""
    CLEAR = "clear"
    """Wipe the shell: the witness has decided."""
    FORGET = "forget"


class WitnessState(StrEnum):
    """What the witness holds about a lineage."""

    HELD = "held"
    """One machine holds the Realm; no session."""
    OFFERED = "offered"
    """A session may take it from its holder."""
    REGISTERED = "registered"
    """The destination said that it has everything; it was asked to confirm."""


class WitnessInput(StrEnum):
    """What a witness is told; everything but OPEN is about the session that is on."""

    OPEN = "open"
    READY = "ready"
    CONFIRM = "confirm"
    """The destination answers the challenge: proof that it lives now."""
    ABORT = "abort"
    """Source, destination or control plane want an end, or the deadline has passed."""
    FENCED = "fenced"
    """The destination's machine was reset or powered off, confirmed."""
    UNREACHABLE = "unreachable"
    """The destination registered and has been silent for the stated time since."""


class WitnessEffect(StrEnum):
    """What a witness does on a step."""

    OFFER = "offer"
    CHALLENGE = "challenge"
    GRANT = "grant"
    ABORT = "abort"
    WAIT = "wait"


_S, _SI, _SE = SourceState, SourceInput, SourceEffect
_D, _DI, _DE = DestinationState, DestinationInput, DestinationEffect
_W, _WI, _WE = WitnessState, WitnessInput, WitnessEffect

SOURCE: dict[tuple[SourceState, SourceInput], tuple[SourceState, SourceEffect]] = {
    (_S.NEW, _SI.OPEN): (_S.HANDSHAKE, _SE.GREET),
    # an end that overtakes the opening is remembered, or the opening would hold the Realm in a session that is over
    (_S.NEW, _SI.ABORTED): (_S.ACTIVE, _SE.FORGET),
    (_S.HANDSHAKE, _SI.KEYS): (_S.LIVE_EXPORT, _SE.BEGIN),
    (_S.HANDSHAKE, _SI.PEER_REFUSED): (_S.ACTIVE, _SE.RUN_ON),
    (_S.LIVE_EXPORT, _SI.CONVERGED): (_S.PAUSED, _SE.PAUSE),
    (_S.LIVE_EXPORT, _SI.STALLED): (_S.ACTIVE, _SE.RUN_ON),
    (_S.PAUSED, _SI.START): (_S.RELINQUISHED, _SE.RELINQUISH),
    **{
        (state, given): (_S.ACTIVE, _SE.RUN_ON)
        for state in (_S.HANDSHAKE, _S.LIVE_EXPORT)
        for given in (_SI.GIVE_UP, _SI.ABORT_BUNDLE, _SI.ABORTED)
    },
    **{(_S.PAUSED, given): (_S.ACTIVE, _SE.RUN_AGAIN) for given in (_SI.GIVE_UP, _SI.ABORT_BUNDLE, _SI.ABORTED)},
    # from here the source decides nothing: no deadline, no order of its host
    (_S.RELINQUISHED, _SI.GRANTED): (_S.SCRUBBED, _SE.SCRUB),
    (_S.RELINQUISHED, _SI.ABORTED): (_S.ACTIVE, _SE.RUN_AGAIN),
    (_S.RELINQUISHED, _SI.ABORT_BUNDLE): (_S.ACTIVE, _SE.RUN_AGAIN),
    **{
        (state, _SI.STOP): (_S.GONE, _SE.FORGET) for state in (_S.HANDSHAKE, _S.LIVE_EXPORT, _S.PAUSED, _S.RELINQUISHED)
    },
}
"""(state, input) -> (next state, effect)."""

DESTINATION: dict[tuple[DestinationState, DestinationInput], tuple[DestinationState, DestinationEffect]] = {
    (_D.NEW, _DI.OPEN): (_D.SHELL, _DE.BUILD),
    (_D.NEW, _DI.ABORTED): (_D.FAILED, _DE.FORGET),
    (_D.SHELL, _DI.PEER_REFUSED): (_D.FAILED, _DE.FAIL),
    (_D.SHELL, _DI.IMMUTABLE): (_D.MEM_IMPORT, _DE.APPLY),
    (_D.MEM_IMPORT, _DI.BUNDLE): (_D.MEM_IMPORT, _DE.APPLY),
    (_D.MEM_IMPORT, _DI.REALM_MUTABLE): (_D.STATE_IMPORT, _DE.APPLY),
    (_D.STATE_IMPORT, _DI.BUNDLE): (_D.STATE_IMPORT, _DE.APPLY),
    (_D.STATE_IMPORT, _DI.COMPLETE): (_D.READY, _DE.REGISTER),
    **{
        (state, given): (_D.FAILED, _DE.FAIL)
        for state in (_D.SHELL, _D.MEM_IMPORT, _D.STATE_IMPORT)
        for given in (_DI.BAD, _DI.GIVE_UP)
    },
    **{(state, _DI.ABORTED): (_D.FAILED, _DE.CLEAR) for state in (_D.SHELL, _D.MEM_IMPORT, _D.STATE_IMPORT)},
    **{(state, _DI.STOP): (_D.FAILED, _DE.FORGET) for state in (_D.SHELL, _D.MEM_IMPORT, _D.STATE_IMPORT)},
    # ready is not the host's to end: a destination that gave up by itself could be granted the Realm all the same
    (_D.READY, _DI.GRANTED): (_D.LIVE, _DE.RUN),
    (_D.READY, _DI.ABORTED): (_D.FAILED, _DE.CLEAR),
}
"""As `SOURCE`."""

WITNESS: dict[tuple[WitnessState, WitnessInput], tuple[WitnessState, WitnessEffect]] = {
    (_W.HELD, _WI.OPEN): (_W.OFFERED, _WE.OFFER),
    (_W.OFFERED, _WI.OPEN): (_W.OFFERED, _WE.OFFER),
    (_W.OFFERED, _WI.READY): (_W.REGISTERED, _WE.CHALLENGE),
    (_W.OFFERED, _WI.ABORT): (_W.HELD, _WE.ABORT),
    (_W.OFFERED, _WI.FENCED): (_W.HELD, _WE.ABORT),
    (_W.REGISTERED, _WI.READY): (_W.REGISTERED, _WE.CHALLENGE),
    (_W.REGISTERED, _WI.CONFIRM): (_W.HELD, _WE.GRANT),
    # a live destination is about to confirm: only its end, or its silence, is reason enough
    (_W.REGISTERED, _WI.ABORT): (_W.REGISTERED, _WE.WAIT),
    (_W.REGISTERED, _WI.FENCED): (_W.HELD, _WE.ABORT),
    (_W.REGISTERED, _WI.UNREACHABLE): (_W.HELD, _WE.ABORT),
}
"""As `SOURCE`. A decision leaves the session for good, so that the other one can never follow."""

CLOSED = frozenset({_S.ACTIVE, _S.SCRUBBED, _S.GONE, _D.LIVE, _D.FAILED})
"""States in which a session is only remembered, to answer repeated orders."""

HELD_FAST = frozenset({_S.PAUSED, _S.RELINQUISHED, _D.STATE_IMPORT, _D.READY})
"""States in which neither live activation nor a reboot by order may take the RMM away (migration reference, 13.7)."""

EXPORTING = frozenset({_S.LIVE_EXPORT, _S.PAUSED})
"""States in which a source uses the link."""
