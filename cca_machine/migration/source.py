"""The source side of a migration (modelled): rounds while the Realm runs, the pause, the start token, and then to wait.

Each round is a piece of work of its own, so that orders to the Realm go on between rounds and an abort is heard. After
the start token nothing that this machine's host says lets the Realm run here.
"""

from __future__ import annotations

from msgspec.structs import replace

from cca_machine.commands import ExportReady, MigrationPaused, MigrationRound, OpenExport, SettleSession
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.host.door import Refusal
from cca_machine.host.hosted import HostedRealm
from cca_machine.host.orders import known as hosted_here
from cca_machine.host.orders import remove
from cca_machine.host.states import HostedEvent, HostedState
from cca_machine.layout import plan
from cca_machine.migration import bundles, precopy, wire
from cca_machine.migration.bundles import BundleRefused, StreamKeys
from cca_machine.migration.content import Content, Epoch, Failed, Memory, Start, decode
from cca_machine.migration.handshake import HelloRefused, check_hello, session_keys
from cca_machine.migration.rmm_calls import page_digest
from cca_machine.migration.session import Export, Kept, Session
from cca_machine.migration.side import CONTROL_STREAM, DESTINATION_ROLE, MEMORY_STREAMS, SOURCE_ROLE, Side
from cca_machine.migration.tables import CLOSED, EXPORTING, SOURCE, SourceEffect, SourceInput, SourceState
from cca_machine.migration.verdict import Decision, VerdictRefused, check


class Source(Side):
    """The source's work on one order, parcel or tick of its clock."""

    # -- orders --------------------------------------------------------------------------------------------------------

    def open_export(self, order: OpenExport) -> None:
        """Begin the handshake; the Realm runs on. Raises Refusal: unknown-realm, not-serving, in-session or known."""
        if self.is_repeated(order.session, SOURCE_ROLE):
            return
        hosted = hosted_here(self.work, order.realm, order.incarnation)
        if hosted.state not in (HostedState.SERVING, HostedState.SERVING_LAPSED):
            raise Refusal("not-serving", f"the Realm is {hosted.state}")
        if hosted.session:
            raise Refusal("in-session", f"session {hosted.session} holds the Realm")
        session = self.open(
            Session(
                session=order.session,
                role=SOURCE_ROLE,
                state=SourceState.NEW,
                realm=order.realm,
                incarnation=order.incarnation,
                peer=order.peer,
                peer_rak=order.peer_rak,
                witness=order.witness,
                generation=order.generation,
                deadline_ns=order.deadline_ns,
                outgoing=Export(
                    order.terms, precopy.begin(hosted.spec.memory_bytes, order.terms), [0] * (MEMORY_STREAMS + 1)
                ),
            )
        )
        hosted.session = order.session
        self._take(session, SourceInput.OPEN)

    def settle(self, session: Session, order: SettleSession) -> None:
        """Say how it ended, or ask the witness."""
        hosted = self.hosted(session)
        if hosted is not None and session.state in (SourceState.RELINQUISHED, SourceState.ACTIVE):
            hosted.lease_until_ns = max(hosted.lease_until_ns, order.lease_until_ns)
        if session.state in CLOSED:
            self.closed(session)
        else:
            self.tell_witness(session, wire.Query(session.lineage))

    def realm_stopped(self, session: Session) -> None:
        """The Realm is stopped by an order of its own, or shut itself down."""
        self._abort_by_itself(session, SourceInput.STOP, "the Realm was stopped")

    def give_up(self, session: Session, why: str) -> None:
        """End the session by this side's own will, where it has one."""
        self._abort_by_itself(session, SourceInput.GIVE_UP, why)

    # -- parcels -------------------------------------------------------------------------------------------------------

    def receive(self, session: Session, message: wire.Freightage) -> None:
        """What the destination sent; what has no meaning here is dropped."""
        match message:
            case wire.Handshake():
                self._handshake(session, message)
            case wire.Have():
                self._send_again(session, message)
            case wire.Back():
                self._abort_bundle(session, message.bundle)
            case wire.Decided():
                self._decided(session, message.verdict)

    def _handshake(self, session: Session, message: wire.Handshake) -> None:
        if session.state != SourceState.HANDSHAKE:
            return
        self.work.meter.charge("crypto.p384-verify")
        try:
            peer = check_hello(
                message.body, session.session, DESTINATION_ROLE, session.realm, session.incarnation, session.peer_rak
            )
        except HelloRefused as refusal:
            self._abort_by_itself(session, SourceInput.PEER_REFUSED, str(refusal))
            return
        session.peer_hello = message.body
        self.work.meter.charge("crypto.p384-ecdh")
        session.forward, session.backward = session_keys(self.share(session), peer, session.own_hello, message.body)
        self._take(session, SourceInput.KEYS)

    def _send_again(self, session: Session, have: wire.Have) -> None:
        export = session.outgoing
        if export is None:
            return
        arrived = min(max(have.upto - export.first, 0), len(export.kept))
        del export.kept[:arrived]
        export.first += arrived
        early = frozenset(have.early)
        # what is younger than the youngest that arrived may still be on its way
        upto = max(early) if early else export.first + len(export.kept)
        for place, kept in enumerate(export.kept):
            if export.first + place < upto and export.first + place not in early:
                self._post(session, kept)

    def _abort_bundle(self, session: Session, bundle: bytes) -> None:
        """The destination's RMM says under the backward key that it will never run the Realm."""
        if not session.backward:
            return
        try:
            header = bundles.read_header(bundle)
            content = decode(bundles.open_bundle(StreamKeys(session.backward), header, bundle))
        except (BundleRefused, ValueError):
            return
        if header.session == bundles.session_id(session.session) and isinstance(content, Failed):
            self._abort_by_itself(session, SourceInput.ABORT_BUNDLE, f"the destination failed: {content.why}")

    def _decided(self, session: Session, signed: bytes) -> None:
        self.work.meter.charge("crypto.p384-verify")
        try:
            verdict = check(signed, session.witness, session.session, session.lineage)
        except VerdictRefused:
            return
        session.verdict = signed
        given = SourceInput.GRANTED if verdict.decision is Decision.GRANT else SourceInput.ABORTED
        self._take(session, given, "the witness decided")

    # -- the clock -----------------------------------------------------------------------------------------------------

    def tick(self, session: Session) -> None:
        """The session's clock has run down."""
        overdue = self.work.at_ns >= session.deadline_ns
        if overdue and session.state != SourceState.RELINQUISHED:
            self._abort_by_itself(session, SourceInput.GIVE_UP, "deadline")
        elif session.state == SourceState.HANDSHAKE:
            self.greet(session)
            self.nudge(session)
        elif session.state == SourceState.LIVE_EXPORT:
            self._round(session)
        elif session.state == SourceState.PAUSED:
            self._take(session, SourceInput.START)
        elif session.state == SourceState.RELINQUISHED:
            self.tell_witness(session, wire.Query(session.lineage))
            self.nudge(session)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _abort_by_itself(self, session: Session, given: SourceInput, why: str) -> None:
        """End the session here and tell the witness, so that it can never be granted."""
        if (SourceState(session.state), given) in SOURCE:
            self.tell_witness(session, wire.WantAbort(session.lineage, why))
            self._take(session, given, why)

    def _take(self, session: Session, given: SourceInput, why: str = "") -> None:
        row = SOURCE.get((SourceState(session.state), given))
        if row is None:
            return
        state, effect = row
        session.state = state.value
        match effect:
            case SourceEffect.GREET:
                self.step(session)
                self.greet(session)
                self.nudge(session)
            case SourceEffect.BEGIN:
                self.step(session)
                self._begin(session)
            case SourceEffect.PAUSE:
                self._pause(session)
            case SourceEffect.RELINQUISH:
                self._relinquish(session)
            case SourceEffect.RUN_ON | SourceEffect.RUN_AGAIN | SourceEffect.FORGET:
                hosted = self.hosted(session)
                if hosted is not None:
                    hosted.session = ""
                    if effect is SourceEffect.RUN_AGAIN:
                        self.work.happen(hosted, HostedEvent.EXPORT_RESUMED, "migration-resumed")
                self.close(session, why)
            case SourceEffect.SCRUB:
                hosted = self.hosted(session)
                if hosted is not None:
                    remove(self.work, hosted, "migration")
                self.close(session, why)

    def _begin(self, session: Session) -> None:
        """mig_begin: the parameters, then the first round or the pause."""
        hosted = hosted_here(self.work, session.realm, session.incarnation)
        self._seal(session, self.calls.immutable(hosted.footprint.rd))
        export = self._export(session)
        if export.progress.why:
            self._end_rounds(session)
        else:
            self._round(session)

    def _round(self, session: Session) -> None:
        """One round: what is to cross goes onto the link, and the next round follows when it has crossed."""
        work, export = self.work, self._export(session)
        self._tell_round(session, export)
        if export.progress.why:
            self._end_rounds(session)
            return
        hosted = hosted_here(work, session.realm, session.incarnation)
        work.leave_pe()
        export.began_ns = work.at_ns
        load, number = hosted.spec.workload, export.progress.rounds
        shared = replace(export.terms, bytes_per_s=max(export.terms.bytes_per_s // self._exporting(), 1))
        done, export.progress = precopy.advance(export.progress, load.dirty_bytes_per_s, load.working_set_bytes, shared)
        export.under_way = done
        if number == 0:
            self._seal_memory(session, hosted)
        else:
            self._next_epoch(session)
            self._seal_again(session, hosted, done.sent_bytes)
        self.nudge(session, max(done.lasts_ns - (work.at_ns - export.began_ns), 0))

    def _tell_round(self, session: Session, export: Export) -> None:
        done, export.under_way = export.under_way, None
        if done is not None:
            told = (done.sent_bytes, self.work.at_ns - export.began_ns, done.dirty_bytes, done.throttle_ppm)
            number = export.progress.rounds
            self.work.tell(MigrationRound(session.session, session.realm, session.incarnation, number, *told))

    def _end_rounds(self, session: Session) -> None:
        export = self._export(session)
        if export.progress.why == "stalled":
            why = f"pre-copy does not converge: {export.progress.remaining} bytes are dirty every round"
            self._abort_by_itself(session, SourceInput.STALLED, why)
        else:
            self._take(session, SourceInput.CONVERGED)

    def _pause(self, session: Session) -> None:
        """The Realm stands still from here: what is dirty, the map, Realm state and RECs."""
        work, export = self.work, self._export(session)
        hosted = hosted_here(work, session.realm, session.incarnation)
        rd, ram, progress = hosted.footprint.rd, plan(hosted.spec), export.progress
        work.happen(hosted, HostedEvent.EXPORT_PAUSED, "migration")
        self.step(session)
        load = hosted.spec.workload.dirty_bytes_per_s
        rest = (progress.rounds, progress.remaining, load, progress.why)
        work.tell(MigrationPaused(session.session, session.realm, session.incarnation, *rest))
        work.meter.charge("migration.freeze")
        if progress.rounds:
            self._next_epoch(session)
            self._seal_again(session, hosted, progress.remaining)
        else:
            self._seal_memory(session, hosted)
        self._next_epoch(session)
        self._seal(session, self.calls.mutable(rd, work.site.guests.pack(rd)))
        self._seal(session, self.calls.memory_map(rd, ram.ram_base, ram.ram_top))
        for vcpu in self.calls.vcpus(rd):
            work.meter.charge("migration.export-rec")
            self._seal(session, vcpu)
        self.nudge(session, 0)

    def _relinquish(self, session: Session) -> None:
        """Issue the start token, if the RMM's own account finds nothing dirty: it does not take the host's word."""
        work, export = self.work, self._export(session)
        hosted = hosted_here(work, session.realm, session.incarnation)
        rd, ram = hosted.footprint.rd, plan(hosted.spec)
        # a host that let the Realm write between pause and token gains nothing by hiding it
        while self.calls.written_since(rd, ram.ram_base, ram.ram_top, export.crossed).runs:
            self._next_epoch(session)
            self._seal_again(session, hosted, 0)
        recs = len(self.calls.vcpus(rd))
        self._seal(session, Start(export.bundles, export.granules, recs, session.transcript))
        session.forward = b""
        self.step(session)
        work.say(ExportReady(session.session, session.sent_bytes), asked=False)
        self.nudge(session)

    # -- sealing -------------------------------------------------------------------------------------------------------

    def _export(self, session: Session) -> Export:
        assert session.outgoing is not None
        return session.outgoing

    def _exporting(self) -> int:
        """Sessions that use this machine's link now: each gets an equal part of it."""
        return sum(one.role == SOURCE_ROLE and one.state in EXPORTING for one in self.sessions.sessions.values())

    def _next_epoch(self, session: Session) -> None:
        """Close the epoch with its totals; within the next one each page may cross once more."""
        export = self._export(session)
        self._seal(session, Epoch(export.epoch + 1, export.bundles))
        export.epoch += 1

    def _seal_memory(self, session: Session, hosted: HostedRealm) -> None:
        """Every page that backs RAM."""
        export, ram = self._export(session), plan(hosted.spec)
        for memory in self.calls.memory(hosted.footprint.rd, ram.ram_base, ram.ram_top):
            self.work.meter.charge("migration.page-export", memory.granules)
            export.granules += memory.granules
            for run in memory.runs:
                for index, page in run.pages:
                    export.crossed[run.ipa + index * GRANULE_BYTES] = page_digest(page)
            self._seal(session, memory)

    def _seal_again(self, session: Session, hosted: HostedRealm, modelled_bytes: int) -> None:
        """What was written since it crossed, really and as the workload models it."""
        export, ram = self._export(session), plan(hosted.spec)
        written = self.calls.written_since(hosted.footprint.rd, ram.ram_base, ram.ram_top, export.crossed)
        for run in written.runs:
            export.crossed.pop(run.ipa, None)
            for _, page in run.pages:
                export.crossed[run.ipa] = page_digest(page)
        modelled = -(-modelled_bytes // GRANULE_BYTES)
        memory = Memory(written.runs, max(modelled - len(written.runs), 0))
        if memory.granules or memory.runs:
            self.work.meter.charge("migration.page-export", memory.granules)
            self._seal(session, memory)

    def _seal(self, session: Session, content: Content) -> None:
        export = self._export(session)
        stream = CONTROL_STREAM
        if isinstance(content, Memory):
            stream = 1 + export.bundles % MEMORY_STREAMS
        counter = export.counters[stream]
        export.counters[stream] += 1
        bundle = self.sealed(session, session.forward, content, stream, counter, export.epoch)
        session.transcript = bundles.extend(session.transcript, bundle)
        export.bundles += 1
        modelled = content.unwritten * GRANULE_BYTES if isinstance(content, Memory) else 0
        payload = wire.encode(wire.Freight(export.first + len(export.kept), bundle))
        export.kept.append(Kept(payload, len(payload) + modelled + wire.FRAME_BYTES))
        self._post(session, export.kept[-1])

    def _post(self, session: Session, kept: Kept) -> None:
        self.send_payload(session, kept.payload, kept.modelled_bytes)
