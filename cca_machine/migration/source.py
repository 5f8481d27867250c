"""The source side of a migration (modelled): pause, seal, send, and wait for the one decision."""

from __future__ import annotations

import msgspec

from cca_machine.commands import DiscardExport, ExportReady, OpenExport, ResumeExport
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.host.door import Refusal
from cca_machine.host.orders import known as hosted_here
from cca_machine.host.orders import remove
from cca_machine.host.states import HostedEvent, HostedState
from cca_machine.layout import plan
from cca_machine.migration import sealing
from cca_machine.migration.content import Content, Memory, Start, encode
from cca_machine.migration.handshake import HelloRefused, check_hello, traffic_key
from cca_machine.migration.session import Session
from cca_machine.migration.side import DESTINATION_ROLE, SOURCE_ROLE, Side
from cca_machine.migration.tables import SOURCE, SourceEffect, SourceInput, SourceState


class Source(Side):
    """The source's work on one order or parcel."""

    def open_export(self, order: OpenExport) -> None:
        """Send the key share; the Realm runs on. Raises Refusal: unknown-realm, not-serving, in-session or known."""
        hosted = hosted_here(self.work, order.realm, order.incarnation)
        if hosted.state not in (HostedState.SERVING, HostedState.SERVING_LAPSED):
            raise Refusal("not-serving", f"the Realm is {hosted.state}")
        if hosted.session:
            raise Refusal("in-session", f"session {hosted.session} holds the Realm")
        session = self.open(
            SOURCE_ROLE,
            Session(
                session=order.session,
                role=SOURCE_ROLE,
                state=SOURCE[SourceState.NEW, SourceInput.OPEN][0].value,
                realm=order.realm,
                incarnation=order.incarnation,
                peer=order.peer,
                peer_rak=order.peer_rak,
            ),
        )
        hosted.session = order.session
        self.step(session, session.state)
        self.greet(session)

    def receive(self, session: Session, payload: bytes) -> None:
        """A parcel from the peer."""
        if _is_bundle(payload):
            self._take(session, SourceInput.BUNDLE, why="the destination sent a bundle")
            return
        self.work.meter.charge("crypto.p384-verify")
        try:
            check_hello(
                payload, session.session, DESTINATION_ROLE, session.realm, session.incarnation, session.peer_rak
            )
        except HelloRefused as refusal:
            self._take(session, SourceInput.HELLO_BAD, why=str(refusal))
            return
        self._take(session, SourceInput.HELLO_GOOD, payload)

    def resume(self, order: ResumeExport) -> None:
        """Let the Realm run here again. Raises Refusal: unknown-session (this is its target), session-closed."""
        session = self.known_or_new(order.session, SOURCE_ROLE, SourceState.NEW)
        hosted = self.hosted(session)
        if hosted is not None and hosted.session == session.session:
            hosted.lease_until_ns = max(hosted.lease_until_ns, order.lease_until_ns)
        self._order(session, SourceInput.RESUME)

    def discard(self, order: DiscardExport) -> None:
        """Destroy the paused copy. Raises Refusal: unknown-session, session-closed."""
        self._order(self.known(order.session, SOURCE_ROLE), SourceInput.DISCARD)

    def realm_stopped(self, session: Session) -> None:
        """The Realm is stopped by an order of its own."""
        self._take(session, SourceInput.STOP, why="the Realm was stopped")

    # -- steps -------------------------------------------------------------------------------------------------------

    def _order(self, session: Session, given: SourceInput) -> None:
        if (SourceState(session.state), given) not in SOURCE:
            raise Refusal("session-closed", f"the source side is {session.state}")
        self._take(session, given)

    def _take(self, session: Session, given: SourceInput, payload: bytes = b"", why: str = "") -> None:
        row = SOURCE.get((SourceState(session.state), given))
        if row is None:
            return
        state, effect = row
        session.state = state.value
        hosted = self.hosted(session)
        if effect in (SourceEffect.RUN_ON, SourceEffect.RUN_AGAIN, SourceEffect.FAIL, SourceEffect.FORGET):
            if hosted is not None:
                hosted.session = ""
            if effect is SourceEffect.RUN_AGAIN and hosted is not None:
                self.work.happen(hosted, HostedEvent.EXPORT_RESUMED, "migration-resumed")
            how = "resumed" if effect in (SourceEffect.RUN_ON, SourceEffect.RUN_AGAIN) else session.state
            self.close(session, how, why, asked=given is not SourceInput.STOP)
        elif effect is SourceEffect.DESTROY:
            if hosted is not None:
                remove(self.work, hosted, "migration")
            self.close(session, "discarded")
        elif effect is SourceEffect.EXPORT:
            self._export(session, payload)

    def _export(self, session: Session, peer_hello: bytes) -> None:
        """From the pause to the start token, at the pace of the costs; nothing of it can be taken back but by order."""
        work, hosted = self.work, hosted_here(self.work, session.realm, session.incarnation)
        session.peer_hello = peer_hello
        self.greet(session)
        work.meter.charge("crypto.p384-ecdh")
        peer = check_hello(
            peer_hello, session.session, DESTINATION_ROLE, session.realm, session.incarnation, session.peer_rak
        )
        session.key = traffic_key(self.share(session), peer, session.own_hello, peer_hello)
        work.happen(hosted, HostedEvent.EXPORT_PAUSED, "migration")
        work.meter.charge("migration.freeze")
        rd, ram = hosted.footprint.rd, plan(hosted.spec)
        self._seal(session, self.calls.immutable(rd))
        self._seal(session, self.calls.memory_map(rd, ram.ram_base, ram.ram_top))
        granules = 0
        for memory in self.calls.memory(rd, ram.ram_base, ram.ram_top):
            work.meter.charge("migration.page-export", memory.granules)
            granules += memory.granules
            self._seal(session, memory)
        self._seal(session, self.calls.mutable(rd, work.site.guests.pack(rd)))
        self._seal(session, Start(session.next_counter, granules, session.transcript))
        session.key = b""
        self.step(session, session.state)
        work.say(ExportReady(session.session, session.sent_bytes))

    def _seal(self, session: Session, content: Content) -> None:
        plain = encode(content)
        session.transcript = sealing.extend(session.transcript, plain)
        sealed = sealing.seal(session.key, session.session, session.next_counter, plain)
        session.next_counter += 1
        pages = 0
        if isinstance(content, Memory):
            real = sum(len(run.pages) for run in content.runs)
            pages = content.granules - real
        self.send(session, sealed, len(sealed) + pages * GRANULE_BYTES)


def _is_bundle(payload: bytes) -> bool:
    try:
        msgspec.msgpack.decode(payload, type=sealing.Bundle)
    except msgspec.MsgspecError:
        return False
    return True
