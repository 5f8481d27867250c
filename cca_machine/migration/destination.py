"""The destination side of a migration (modelled): build a shell, fill it, and run it only when told to."""

from __future__ import annotations

import msgspec

from cca_machine.abi.rmi import Ripas
from cca_machine.commands import AbortImport, CommitImport, Imported, ImportReady, OpenImport
from cca_machine.hardware.address import GRANULE_BYTES, align_down
from cca_machine.host.door import Refusal, RmiRefusal
from cca_machine.host.hosted import HostedRealm
from cca_machine.host.orders import builder, remove
from cca_machine.host.states import HostedEvent, HostedState
from cca_machine.migration import sealing
from cca_machine.migration.content import Again, Content, Immutable, MapRun, Memory, MemoryMap, Mutable, Start, decode
from cca_machine.migration.handshake import HelloRefused, check_hello, traffic_key
from cca_machine.migration.rmm_calls import ImportRefused
from cca_machine.migration.sealing import Bundle, BundleRefused
from cca_machine.migration.session import Session
from cca_machine.migration.side import DESTINATION_ROLE, SOURCE_ROLE, Side
from cca_machine.migration.tables import DESTINATION, DestinationEffect, DestinationInput, DestinationState

MAX_EARLY = 256
"""Bundles that may wait for one that is missing."""


class Destination(Side):
    """The destination's work on one order or parcel."""

    def open_import(self, order: OpenImport) -> None:
        """Build the shell by RMI, then send the key share. Raises Refusal as a launch does, or session-known."""
        spec = order.realm
        if self.is_repeated(order.session, DESTINATION_ROLE):
            return
        if order.session in self.sessions.sessions:
            raise Refusal("session-known", f"session {order.session} was opened here before")
        build = builder(self.work, spec)
        self.work.meter.charge("host.vmm-setup")
        footprint = build.build_shell()
        self.work.site.state.realms[spec.realm] = HostedRealm(
            spec=spec,
            footprint=footprint,
            lease_until_ns=0,
            state=HostedState.ARRIVING,
            session=order.session,
        )
        session = self.open(
            DESTINATION_ROLE,
            Session(
                session=order.session,
                role=DESTINATION_ROLE,
                state=DESTINATION[DestinationState.NEW, DestinationInput.OPEN][0].value,
                realm=spec.realm,
                incarnation=spec.incarnation,
                peer=order.peer,
                peer_rak=order.peer_rak,
            ),
        )
        self.step(session, session.state)
        self.greet(session)

    def receive(self, session: Session, payload: bytes) -> None:
        """A parcel from the peer: a key share, or a bundle, which waits until its turn."""
        try:
            bundle = msgspec.msgpack.decode(payload, type=Bundle)
        except msgspec.MsgspecError:
            self._receive_hello(session, payload)
            return
        if bundle.counter < session.next_counter:
            self._take(session, DestinationInput.BUNDLE_AGAIN)
        elif bundle.session != session.session or len(session.early) >= MAX_EARLY:
            self._take(session, DestinationInput.BUNDLE_BAD, why="a bundle of another session, or too many at once")
        elif session.state in (DestinationState.HELLO, DestinationState.RECEIVING):
            session.early.setdefault(bundle.counter, bundle.sealed)
            self._work_off(session)
        else:
            self._take(session, DestinationInput.BUNDLE_BAD, why="a bundle after the start token")

    def commit(self, order: CommitImport) -> None:
        """Run the Realm: it is this machine's from now on. Raises Refusal: unknown-session, not-ready."""
        session = self.known(order.session, DESTINATION_ROLE)
        hosted = self.hosted(session)
        if (DestinationState(session.state), DestinationInput.COMMIT) not in DESTINATION:
            raise Refusal("not-ready", f"the destination side is {session.state}")
        if hosted is not None:
            hosted.lease_until_ns = max(hosted.lease_until_ns, order.lease_until_ns)
        self._take(session, DestinationInput.COMMIT)

    def abort(self, order: AbortImport) -> None:
        """Forget the session and its shell. Raises Refusal: unknown-session, committed, session-closed."""
        session = self.known_or_new(order.session, DESTINATION_ROLE, DestinationState.NEW)
        if session.state == DestinationState.LIVE:
            raise Refusal("committed", "the Realm runs here: the decision cannot be undone")
        if (DestinationState(session.state), DestinationInput.ABORT) not in DESTINATION:
            raise Refusal("session-closed", f"the destination side is {session.state}")
        self._take(session, DestinationInput.ABORT)

    def realm_stopped(self, session: Session) -> None:
        """The shell is removed by an order of its own."""
        self._take(session, DestinationInput.STOP, why="the Realm was stopped")

    # -- steps -------------------------------------------------------------------------------------------------------

    def _take(self, session: Session, given: DestinationInput, payload: bytes = b"", why: str = "") -> None:
        row = DESTINATION.get((DestinationState(session.state), given))
        if row is None:
            return
        state, effect = row
        session.state = state.value
        hosted = self.hosted(session)
        if effect is DestinationEffect.AGREE:
            self._agree(session, payload)
        elif effect is DestinationEffect.READY and hosted is not None:
            self.step(session, session.state)
            self.work.built(hosted)
            self.work.say(ImportReady(session.session))
        elif effect is DestinationEffect.RUN and hosted is not None:
            self._run(session, hosted)
        elif effect is DestinationEffect.REPEAT:
            self.work.say(Imported(session.session, session.realm, session.incarnation))
        elif effect in (DestinationEffect.CLEAR, DestinationEffect.FORGET):
            if effect is DestinationEffect.CLEAR and hosted is not None:
                remove(self.work, hosted, "migration")
            self.close(session, session.state, why, asked=given is not DestinationInput.STOP)

    def _receive_hello(self, session: Session, payload: bytes) -> None:
        if payload == session.peer_hello:
            self._take(session, DestinationInput.HELLO_AGAIN)
            return
        self.work.meter.charge("crypto.p384-verify")
        try:
            check_hello(payload, session.session, SOURCE_ROLE, session.realm, session.incarnation, session.peer_rak)
        except HelloRefused as refusal:
            self._take(session, DestinationInput.HELLO_BAD, why=str(refusal))
            return
        self._take(session, DestinationInput.HELLO_GOOD, payload, why="a second key share")

    def _agree(self, session: Session, peer_hello: bytes) -> None:
        session.peer_hello = peer_hello
        self.work.meter.charge("crypto.p384-ecdh")
        peer = check_hello(
            peer_hello, session.session, SOURCE_ROLE, session.realm, session.incarnation, session.peer_rak
        )
        session.key = traffic_key(self.share(session), peer, peer_hello, session.own_hello)
        self.step(session, session.state)
        # if the source opened after our first share was sent, that one was lost on it
        self.greet(session)
        self._work_off(session)

    def _work_off(self, session: Session) -> None:
        """Open the bundles whose turn it is."""
        while session.state == DestinationState.RECEIVING and session.next_counter in session.early:
            bundle = Bundle(session.session, session.next_counter, session.early.pop(session.next_counter))
            try:
                plain = sealing.open_bundle(session.key, session.session, bundle)
                content = decode(plain)
                self._apply(session, content)
            except (BundleRefused, ImportRefused, RmiRefusal, ValueError) as error:
                self._take(session, DestinationInput.BUNDLE_BAD, why=str(error))
                return
            session.transcript = sealing.extend(session.transcript, plain)
            session.next_counter += 1
            self._take(session, DestinationInput.BUNDLE_GOOD)
            if isinstance(content, Start):
                session.key = b""
                self._take(session, DestinationInput.COMPLETE)

    def _apply(self, session: Session, content: Content) -> None:
        hosted = self.hosted(session)
        if hosted is None:
            raise ImportRefused("the shell is gone")
        rd = hosted.footprint.rd
        if session.next_counter == 0 and not isinstance(content, Immutable):
            raise ImportRefused("the first bundle must be the parameters")
        match content:
            case Immutable():
                self.work.meter.charge("migration.import-realm")
                self.calls.check_immutable(rd, content)
            case MemoryMap():
                for run in content.runs:
                    self._apply_map(hosted, run)
            case Memory():
                self.work.meter.charge("migration.page-import", content.granules)
                session.received_granules += content.granules
                self.calls.put_pages(rd, content)
            case Again():
                self.work.meter.charge("migration.page-import", content.granules)
            case Mutable():
                self.work.meter.charge("migration.import-rec", len(content.vcpus))
                self.calls.put_mutable(rd, content)
                self.work.site.guests.unpack(rd, content.program)
                session.complete = True
            case Start():
                whole = content.bundles == session.next_counter and content.transcript == session.transcript
                if not whole or content.granules != session.received_granules or not session.complete:
                    raise ImportRefused("the start token counts something that is not here")

    def _apply_map(self, hosted: HostedRealm, run: MapRun) -> None:
        """Bring one run of the shell (backed, RAM) to what the source says, by real calls where there are any."""
        if run.assigned and run.ripas == Ripas.RAM:
            return
        machine = self.work.machine_of(hosted)
        top = run.ipa + run.count * GRANULE_BYTES
        for block in range(align_down(run.ipa, 2 << 20), top, 2 << 20):
            machine.ensure_pages(max(block, run.ipa))
        if not run.assigned:
            machine.give_up(run.ipa, top, shared=run.ripas == Ripas.EMPTY)
        self.calls.set_ripas(hosted.footprint.rd, run.ipa, run.count, run.ripas)

    def _run(self, session: Session, hosted: HostedRealm) -> None:
        self.work.front.activate(hosted.footprint.rd)
        hosted.session = ""
        self.step(session, session.state)
        self.work.happen(hosted, HostedEvent.IMPORT_COMMITTED, "migration")
        self.work.say(Imported(session.session, session.realm, session.incarnation))
