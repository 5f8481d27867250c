"""The source side of a migration (modelled): pause, seal, send, and wait for the one decision."""

from __future__ import annotations

import msgspec

from cca_machine.commands import DiscardExport, ExportReady, MigrationPaused, MigrationRound, OpenExport, ResumeExport
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.host.door import Refusal
from cca_machine.host.hosted import HostedRealm
from cca_machine.host.orders import known as hosted_here
from cca_machine.host.orders import remove
from cca_machine.host.states import HostedEvent, HostedState
from cca_machine.layout import plan
from cca_machine.migration import sealing
from cca_machine.migration.content import Again, Content, Memory, Start, encode
from cca_machine.migration.handshake import HelloRefused, check_hello, traffic_key
from cca_machine.migration.precopy import Course, course
from cca_machine.migration.session import Session
from cca_machine.migration.side import DESTINATION_ROLE, SOURCE_ROLE, Side
from cca_machine.migration.tables import SOURCE, SourceEffect, SourceInput, SourceState


class Source(Side):
    """The source's work on one order or parcel."""

    def open_export(self, order: OpenExport) -> None:
        """Send the key share; the Realm runs on. Raises Refusal: unknown-realm, not-serving, in-session or known."""
        if self.is_repeated(order.session, SOURCE_ROLE):
            return
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
                terms=order.precopy,
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
        planned = self._course(session) if session.state == SourceState.HELLO else None
        if planned is not None and planned.why == "stalled":
            self._give_up(session, payload, planned)
        else:
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

    def _agree(self, session: Session, peer_hello: bytes) -> None:
        session.peer_hello = peer_hello
        self.greet(session)
        self.work.meter.charge("crypto.p384-ecdh")
        peer = check_hello(
            peer_hello, session.session, DESTINATION_ROLE, session.realm, session.incarnation, session.peer_rak
        )
        session.key = traffic_key(self.share(session), peer, session.own_hello, peer_hello)

    def _course(self, session: Session) -> Course | None:
        """How the pre-copy of this session goes; None when its terms ask for none."""
        hosted = self.hosted(session)
        if session.terms is None or hosted is None:
            return None
        spec = hosted.spec
        return course(
            spec.memory_bytes, spec.workload.dirty_bytes_per_s, spec.workload.working_set_bytes, session.terms
        )

    def _rounds(self, session: Session, planned: Course) -> None:
        """Send memory while the Realm runs, each round for as long as its bytes take on the link.

        What the Realm dirties is modelled by its workload. What its program writes for real cannot change here: every
        order to the Realm waits until this work is done.
        """
        work, realm = self.work, hosted_here(self.work, session.realm, session.incarnation)
        work.leave_pe()
        for number, one in enumerate(planned.rounds):
            began_ns = work.at_ns
            if number == 0:
                self._seal_memory(session, realm)
            else:
                self._seal_again(session, number, one.sent_bytes)
            work.meter.wait(max(one.lasts_ns - (work.at_ns - began_ns), 0))
            told = (one.sent_bytes, work.at_ns - began_ns, one.dirty_bytes, one.throttle_ppm)
            work.tell(MigrationRound(session.session, session.realm, session.incarnation, number + 1, *told))
        rate = realm.spec.workload.dirty_bytes_per_s
        told_end = (len(planned.rounds), planned.rest_bytes, rate, planned.why)
        work.tell(MigrationPaused(session.session, session.realm, session.incarnation, *told_end))

    def _give_up(self, session: Session, peer_hello: bytes, planned: Course) -> None:
        self._agree(session, peer_hello)
        self._rounds(session, planned)
        rate = planned.rounds[-1].dirty_bytes
        self._take(session, SourceInput.STALLED, why=f"pre-copy does not converge: {rate} bytes are dirty every round")

    def _export(self, session: Session, peer_hello: bytes) -> None:
        """From the key to the start token, at the pace of the costs; nothing of it can be taken back but by order."""
        work, hosted = self.work, hosted_here(self.work, session.realm, session.incarnation)
        self._agree(session, peer_hello)
        planned = self._course(session)
        if planned is not None:
            self._rounds(session, planned)
        work.happen(hosted, HostedEvent.EXPORT_PAUSED, "migration")
        work.meter.charge("migration.freeze")
        if planned is None:
            self._seal_memory(session, hosted)
        elif planned.rest_bytes:
            self._seal_again(session, len(planned.rounds), planned.rest_bytes)
        rd, ram = hosted.footprint.rd, plan(hosted.spec)
        granules = sum(memory.granules for memory in self.calls.memory(rd, ram.ram_base, ram.ram_top))
        self._seal(session, self.calls.mutable(rd, work.site.guests.pack(rd)))
        self._seal(session, Start(session.next_counter, granules, session.transcript))
        session.key = b""
        self.step(session, session.state)
        work.say(ExportReady(session.session, session.sent_bytes))

    def _seal_memory(self, session: Session, hosted: HostedRealm) -> None:
        """Parameters, map, and every page."""
        rd, ram = hosted.footprint.rd, plan(hosted.spec)
        self._seal(session, self.calls.immutable(rd))
        self._seal(session, self.calls.memory_map(rd, ram.ram_base, ram.ram_top))
        for memory in self.calls.memory(rd, ram.ram_base, ram.ram_top):
            self.work.meter.charge("migration.page-export", memory.granules)
            self._seal(session, memory)

    def _seal_again(self, session: Session, number: int, size_bytes: int) -> None:
        granules = -(-size_bytes // GRANULE_BYTES)
        self.work.meter.charge("migration.page-export", granules)
        self._seal(session, Again(number, granules))

    def _seal(self, session: Session, content: Content) -> None:
        plain = encode(content)
        session.transcript = sealing.extend(session.transcript, plain)
        sealed = sealing.seal(session.key, session.session, session.next_counter, plain)
        session.next_counter += 1
        pages = 0
        if isinstance(content, Memory):
            real = sum(len(run.pages) for run in content.runs)
            pages = content.granules - real
        elif isinstance(content, Again):
            pages = content.granules
        self.send(session, sealed, len(sealed) + pages * GRANULE_BYTES)


def _is_bundle(payload: bytes) -> bool:
    try:
        msgspec.msgpack.decode(payload, type=sealing.Bundle)
    except msgspec.MsgspecError:
        return False
    return True
