"""The two sides of a migration session as tables (modelled: no Arm ABI for it is public).

First form: stop, move encrypted, resume. The control plane is the witness: it orders exactly one of commit and resume.
The Realm executes on the source up to HELLO; on the destination only in LIVE. Sources: the shapes follow Intel TDX
module 1.5 (import and export sessions with a start token), with a third party's decision in place of its two-party one.
"""

from __future__ import annotations

from enum import StrEnum


class SourceState(StrEnum):
    """Where the source side stands."""

    NEW = "new"
    """Nothing of the session is known here."""
    HELLO = "hello"
    """The key share is sent; the Realm runs on."""
    RELINQUISHED = "relinquished"
    """The Realm is paused and everything is sealed and on its way; only an order ends this."""
    RESUMED = "resumed"
    DISCARDED = "discarded"
    FAILED = "failed"


class DestinationState(StrEnum):
    """Where the destination side stands."""

    NEW = "new"
    """Nothing of the session is known here."""
    HELLO = "hello"
    """The shell is built, the key share is sent."""
    RECEIVING = "receiving"
    """Keys are agreed; bundles arrive."""
    READY = "ready"
    """Everything arrived and was opened; nothing of the Realm has run here."""
    LIVE = "live"
    """The decision fell for this side: the Realm runs here."""
    ABORTED = "aborted"
    FAILED = "failed"


class SourceInput(StrEnum):
    """What can happen to the source side."""

    OPEN = "open"
    HELLO_GOOD = "hello-good"
    HELLO_BAD = "hello-bad"
    BUNDLE = "bundle"
    """A sealed bundle: the source expects none."""
    STALLED = "stalled"
    """The rounds of a pre-copy stopped shrinking, and its terms say to give up."""
    RESUME = "resume"
    DISCARD = "discard"
    STOP = "stop"
    """The Realm was stopped by order, or is lost."""


class DestinationInput(StrEnum):
    """What can happen to the destination side."""

    OPEN = "open"
    HELLO_GOOD = "hello-good"
    HELLO_AGAIN = "hello-again"
    """The very key share that was accepted before."""
    HELLO_BAD = "hello-bad"
    BUNDLE_GOOD = "bundle-good"
    BUNDLE_AGAIN = "bundle-again"
    """Its counter was used before: a repetition, which is not looked at."""
    BUNDLE_BAD = "bundle-bad"
    """It does not open, or says what cannot be."""
    COMPLETE = "complete"
    """The start token was opened and everything it counts is here."""
    COMMIT = "commit"
    ABORT = "abort"
    STOP = "stop"


class SourceEffect(StrEnum):
    """What a source does on a step."""

    GREET = "greet"
    """Send the key share; the Realm runs on."""
    EXPORT = "export"
    """Pause the Realm, seal and send everything."""
    RUN_ON = "run-on"
    """Close the session; the Realm never stopped."""
    RUN_AGAIN = "run-again"
    """Close the session; the Realm runs on from where it was paused."""
    DESTROY = "destroy"
    FAIL = "fail"
    """Close the session as failed; the Realm stays as it is."""
    FORGET = "forget"
    IGNORE = "ignore"


class DestinationEffect(StrEnum):
    """What a destination does on a step."""

    BUILD = "build"
    """Build the shell and send the key share."""
    AGREE = "agree"
    """Derive the keys, answer with the own share again, and look at what arrived early."""
    APPLY = "apply"
    READY = "ready"
    RUN = "run"
    REPEAT = "repeat"
    """Say again that it runs."""
    CLEAR = "clear"
    """Destroy the shell and close the session."""
    FORGET = "forget"
    IGNORE = "ignore"


_S, _SI, _SE = SourceState, SourceInput, SourceEffect
_D, _DI, _DE = DestinationState, DestinationInput, DestinationEffect

SOURCE: dict[tuple[SourceState, SourceInput], tuple[SourceState, SourceEffect]] = {
    (_S.NEW, _SI.OPEN): (_S.HELLO, _SE.GREET),
    # a resume that overtakes its opening is remembered, or the opening would hold the Realm in a session that is over
    (_S.NEW, _SI.RESUME): (_S.RESUMED, _SE.RUN_ON),
    (_S.HELLO, _SI.HELLO_GOOD): (_S.RELINQUISHED, _SE.EXPORT),
    (_S.HELLO, _SI.HELLO_BAD): (_S.FAILED, _SE.FAIL),
    (_S.HELLO, _SI.BUNDLE): (_S.FAILED, _SE.FAIL),
    (_S.HELLO, _SI.STALLED): (_S.FAILED, _SE.FAIL),
    (_S.HELLO, _SI.RESUME): (_S.RESUMED, _SE.RUN_ON),
    (_S.HELLO, _SI.STOP): (_S.FAILED, _SE.FORGET),
    # the peer repeats its share when ours came first; after that, nothing it sends can change what was sent
    (_S.RELINQUISHED, _SI.HELLO_GOOD): (_S.RELINQUISHED, _SE.IGNORE),
    (_S.RELINQUISHED, _SI.HELLO_BAD): (_S.RELINQUISHED, _SE.IGNORE),
    (_S.RELINQUISHED, _SI.BUNDLE): (_S.RELINQUISHED, _SE.IGNORE),
    (_S.RELINQUISHED, _SI.RESUME): (_S.RESUMED, _SE.RUN_AGAIN),
    (_S.RELINQUISHED, _SI.DISCARD): (_S.DISCARDED, _SE.DESTROY),
    (_S.RELINQUISHED, _SI.STOP): (_S.DISCARDED, _SE.FORGET),
}
"""(state, input) -> (next state, effect). An order without a row is refused; a parcel without one is dropped."""

DESTINATION: dict[tuple[DestinationState, DestinationInput], tuple[DestinationState, DestinationEffect]] = {
    (_D.NEW, _DI.OPEN): (_D.HELLO, _DE.BUILD),
    (_D.NEW, _DI.ABORT): (_D.ABORTED, _DE.CLEAR),
    (_D.HELLO, _DI.HELLO_GOOD): (_D.RECEIVING, _DE.AGREE),
    (_D.HELLO, _DI.HELLO_BAD): (_D.FAILED, _DE.CLEAR),
    (_D.RECEIVING, _DI.HELLO_AGAIN): (_D.RECEIVING, _DE.IGNORE),
    (_D.RECEIVING, _DI.HELLO_GOOD): (_D.FAILED, _DE.CLEAR),
    (_D.RECEIVING, _DI.HELLO_BAD): (_D.FAILED, _DE.CLEAR),
    (_D.RECEIVING, _DI.BUNDLE_GOOD): (_D.RECEIVING, _DE.APPLY),
    (_D.RECEIVING, _DI.BUNDLE_AGAIN): (_D.RECEIVING, _DE.IGNORE),
    (_D.RECEIVING, _DI.BUNDLE_BAD): (_D.FAILED, _DE.CLEAR),
    (_D.RECEIVING, _DI.COMPLETE): (_D.READY, _DE.READY),
    # complete is complete: what comes later cannot take it back, or a stray parcel could lose the Realm
    (_D.READY, _DI.HELLO_AGAIN): (_D.READY, _DE.IGNORE),
    (_D.READY, _DI.HELLO_GOOD): (_D.READY, _DE.IGNORE),
    (_D.READY, _DI.HELLO_BAD): (_D.READY, _DE.IGNORE),
    (_D.READY, _DI.BUNDLE_AGAIN): (_D.READY, _DE.IGNORE),
    (_D.READY, _DI.BUNDLE_BAD): (_D.READY, _DE.IGNORE),
    (_D.READY, _DI.COMMIT): (_D.LIVE, _DE.RUN),
    (_D.LIVE, _DI.COMMIT): (_D.LIVE, _DE.REPEAT),
    **{(state, _DI.ABORT): (_D.ABORTED, _DE.CLEAR) for state in (_D.HELLO, _D.RECEIVING, _D.READY)},
    **{(state, _DI.STOP): (_D.ABORTED, _DE.FORGET) for state in (_D.HELLO, _D.RECEIVING, _D.READY)},
}
"""As `SOURCE`. Abort has no row after a commit: that decision is never undone."""

CLOSED = frozenset(
    {_S.RESUMED, _S.DISCARDED, _S.FAILED, _D.LIVE, _D.ABORTED, _D.FAILED}
)  # fmt: skip
"""States in which a session is only remembered, to answer repeated orders."""
