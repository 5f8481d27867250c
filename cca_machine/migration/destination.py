"""The destination side of a migration (modelled): build a shell, fill it, run it once the witness grants it."""

from __future__ import annotations

import hashlib

from cca_machine.abi.rmi import Ripas
from cca_machine.commands import Imported, OpenImport, SettleSession
from cca_machine.hardware.address import GRANULE_BYTES, align_down
from cca_machine.host.door import Refusal, RmiRefusal
from cca_machine.host.hosted import HostedRealm
from cca_machine.host.orders import builder, remove
from cca_machine.host.states import HostedEvent, HostedState
from cca_machine.layout import plan
from cca_machine.migration import bundles, wire
from cca_machine.migration.bundles import BundleRefused, BundleType, Header, StreamKeys
from cca_machine.migration.content import (
    TYPES,
    Content,
    Epoch,
    Failed,
    Immutable,
    MapRun,
    Memory,
    MemoryMap,
    Mutable,
    PageOp,
    Start,
    VcpuState,
    decode,
)
from cca_machine.migration.handshake import HelloRefused, check_hello, session_keys
from cca_machine.migration.rmm_calls import ImportRefused
from cca_machine.migration.session import Import, Session
from cca_machine.migration.side import (
    CONTROL_STREAM,
    DESTINATION_ROLE,
    GAP_NS,
    MEMORY_STREAMS,
    PATIENCE_NS,
    SOURCE_ROLE,
    Side,
)
from cca_machine.migration.tables import (
    CLOSED,
    DESTINATION,
    DestinationEffect,
    DestinationInput,
    DestinationState,
)
from cca_machine.migration.verdict import Decision, VerdictRefused, check

MAX_EARLY = 256
"""Parcels that may wait for one that is missing; more are dropped, and asked for again."""

_IMPORTING = (DestinationState.SHELL, DestinationState.MEM_IMPORT, DestinationState.STATE_IMPORT)


class Destination(Side):
    """The destination's work on one order, parcel or tick of its clock."""

    # -- orders --------------------------------------------------------------------------------------------------------

    def open_import(self, order: OpenImport) -> None:
        """Build the shell by RMI. Raises Refusal as a launch does, or session-known."""
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
            lease_until_ns=order.lease_until_ns,
            state=HostedState.ARRIVING,
            session=order.session,
        )
        session = self.open(
            Session(
                session=order.session,
                role=DESTINATION_ROLE,
                state=DestinationState.NEW,
                realm=spec.realm,
                incarnation=spec.incarnation,
                peer=order.peer,
                peer_rak=order.peer_rak,
                witness=order.witness,
                generation=order.generation,
                deadline_ns=order.deadline_ns,
                incoming=Import([0] * (MEMORY_STREAMS + 1)),
            )
        )
        self._take(session, DestinationInput.OPEN)

    def settle(self, session: Session, order: SettleSession) -> None:
        """Say how it ended, or ask the witness."""
        hosted = self.hosted(session)
        if hosted is not None:
            hosted.lease_until_ns = max(hosted.lease_until_ns, order.lease_until_ns)
        if session.state == DestinationState.LIVE:
            self.work.say(Imported(session.session, session.realm, session.incarnation))
        elif session.state in CLOSED:
            self.closed(session)
        else:
            self.tell_witness(session, wire.Query(session.lineage))

    def realm_stopped(self, session: Session) -> None:
        """The shell is to go by an order of its own. Raises Refusal: what is ready is not the host's to end."""
        if session.state == DestinationState.READY:
            raise Refusal("realm-busy", "everything has arrived: only the lineage witness ends this session")
        self._take(session, DestinationInput.STOP, "the Realm was stopped")

    def give_up(self, session: Session, why: str) -> None:
        """End the session by this side's own will, where it has one."""
        self._take(session, DestinationInput.GIVE_UP, why)

    # -- parcels -------------------------------------------------------------------------------------------------------

    def receive(self, session: Session, message: wire.Freightage) -> None:
        """What the source or the witness sent; what has no meaning here is dropped."""
        match message:
            case wire.Handshake():
                self._handshake(session, message)
            case wire.Freight():
                self._freight(session, message)
            case wire.Challenge():
                if session.state == DestinationState.READY:
                    digest = self._digest(session)
                    self.tell_witness(session, wire.Confirm(session.lineage, digest, self.boot, message.nonce))
            case wire.Decided():
                self._decided(session, message.verdict)

    def _handshake(self, session: Session, message: wire.Handshake) -> None:
        if session.state != DestinationState.SHELL:
            return
        if message.body == session.peer_hello:
            self.greet(session)  # the source did not hear us
            return
        if session.peer_hello:
            return
        self.work.meter.charge("crypto.p384-verify")
        try:
            peer = check_hello(
                message.body, session.session, SOURCE_ROLE, session.realm, session.incarnation, session.peer_rak
            )
        except HelloRefused as refusal:
            self._take(session, DestinationInput.PEER_REFUSED, str(refusal))
            return
        session.peer_hello = message.body
        self.greet(session)
        self.work.meter.charge("crypto.p384-ecdh")
        session.forward, session.backward = session_keys(self.share(session), peer, message.body, session.own_hello)
        self._work_off(session)

    def _freight(self, session: Session, freight: wire.Freight) -> None:
        """Bundles go to the RMM in the order in which they were sent; what came early waits."""
        if session.state == DestinationState.FAILED and session.abort_bundle:
            self.send(session, wire.Back(session.abort_bundle))
        incoming = session.incoming
        if incoming is None or session.state not in _IMPORTING or freight.sequence < incoming.upto:
            return
        whole = not incoming.early
        if len(incoming.early) < MAX_EARLY:
            incoming.early.setdefault(freight.sequence, freight.bundle)
        self._work_off(session)
        if whole and incoming.early and session.forward:
            incoming.asked_upto = incoming.upto
            self.nudge(session, GAP_NS)

    def _decided(self, session: Session, signed: bytes) -> None:
        self.work.meter.charge("crypto.p384-verify")
        try:
            verdict = check(signed, session.witness, session.session, session.lineage)
        except VerdictRefused:
            return
        if verdict.decision is Decision.ABORT:
            session.verdict = signed
            self._take(session, DestinationInput.ABORTED, "the witness decided")
        elif (verdict.holder, verdict.boot) == (self.work.site.spec.name, self.boot):
            session.verdict, session.generation = signed, verdict.generation
            self._take(session, DestinationInput.GRANTED)

    # -- the clock -----------------------------------------------------------------------------------------------------

    def tick(self, session: Session) -> None:
        """The session's clock has run down."""
        incoming = session.incoming
        if session.state == DestinationState.READY:
            self.tell_witness(session, wire.Ready(session.lineage, self._digest(session), self.boot))
        elif self.work.at_ns >= session.deadline_ns:
            self._take(session, DestinationInput.GIVE_UP, "deadline")
            return
        elif incoming is not None and session.forward:
            if incoming.asked_upto == incoming.upto:
                # nothing came since the last look: something may be lost
                self.send(session, wire.Have(incoming.upto, tuple(sorted(incoming.early))))
            incoming.asked_upto = incoming.upto
        self.nudge(session, GAP_NS if incoming is not None and incoming.early else PATIENCE_NS)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _take(self, session: Session, given: DestinationInput, why: str = "") -> None:
        row = DESTINATION.get((DestinationState(session.state), given))
        if row is None:
            return
        was, (state, effect) = session.state, row
        session.state = state.value
        hosted = self.hosted(session)
        match effect:
            case DestinationEffect.BUILD:
                self.step(session)
                self.nudge(session)
            case DestinationEffect.APPLY:
                if session.state != was:
                    self.step(session)
            case DestinationEffect.REGISTER if hosted is not None:
                session.forward = b""
                self.step(session)
                self.work.built(hosted)
                self.tell_witness(session, wire.Ready(session.lineage, self._digest(session), self.boot))
                self.nudge(session)
            case DestinationEffect.RUN if hosted is not None:
                self._run(session, hosted)
            case DestinationEffect.FAIL:
                self._fail(session, hosted, why)
            case DestinationEffect.CLEAR:
                if hosted is not None:
                    remove(self.work, hosted, "migration")
                self.close(session, why)
            case DestinationEffect.FORGET:
                self.tell_witness(session, wire.WantAbort(session.lineage, why))
                self.close(session, why)

    def _fail(self, session: Session, hosted: HostedRealm | None, why: str) -> None:
        if session.backward:
            session.abort_bundle = self.sealed(session, session.backward, Failed(why), CONTROL_STREAM, 0, 0)
            self.send(session, wire.Back(session.abort_bundle))
        self.tell_witness(session, wire.WantAbort(session.lineage, why))
        if hosted is not None:
            remove(self.work, hosted, "migration")
        self.close(session, why)

    def _run(self, session: Session, hosted: HostedRealm) -> None:
        self.work.front.activate(hosted.footprint.rd)
        hosted.session = ""
        self.step(session)
        self.work.happen(hosted, HostedEvent.IMPORT_COMMITTED, "migration")
        session.forward = session.backward = b""
        session.incoming = None
        session.tick += 1
        self.work.say(Imported(session.session, session.realm, session.incarnation), asked=False)

    def _digest(self, session: Session) -> bytes:
        return hashlib.sha384(b"READY" + session.session.encode() + session.transcript).digest()

    # -- import --------------------------------------------------------------------------------------------------------

    def _work_off(self, session: Session) -> None:
        """Open the bundles whose turn it is."""
        while session.state in _IMPORTING and session.forward:
            incoming = session.incoming
            assert incoming is not None
            bundle = incoming.early.pop(incoming.upto, None)
            if bundle is None:
                return
            incoming.upto += 1
            try:
                given = self._open(session, incoming, bundle)
            except (BundleRefused, ImportRefused, RmiRefusal, ValueError) as error:
                self._take(session, DestinationInput.BAD, str(error))
                return
            if (DestinationState(session.state), given) not in DESTINATION:
                self._take(session, DestinationInput.BAD, f"{given} in state {session.state}")
                return
            session.transcript = bundles.extend(session.transcript, bundle)
            incoming.bundles += 1
            self._take(session, given)

    def _open(self, session: Session, incoming: Import, bundle: bytes) -> DestinationInput:
        """What the RMM does with a bundle: its place, its seal, its content. Raises what `_work_off` catches."""
        header = bundles.read_header(bundle)
        self._check_place(session, incoming, header)
        content = decode(bundles.open_bundle(StreamKeys(session.forward), header, bundle))
        if header.type is not TYPES[type(content)]:
            raise ImportRefused(f"a bundle of type {header.type.name} holds something else")
        incoming.counters[header.stream] += 1
        hosted = self.hosted(session)
        if hosted is None:
            raise ImportRefused("the shell is gone")
        return self._apply(session, incoming, hosted, content)

    def _check_place(self, session: Session, incoming: Import, header: Header) -> None:
        right = (bundles.session_id(session.session), bundles.lineage_id(session.lineage), session.generation)
        if (header.session, header.lineage, header.generation) != right:
            raise BundleRefused("a bundle of another session, Realm or generation")
        if (header.type is BundleType.MEM) == (header.stream == CONTROL_STREAM) or header.stream > MEMORY_STREAMS:
            raise BundleRefused(f"{header.type.name} on stream {header.stream}")
        if (header.counter, header.epoch) != (incoming.counters[header.stream], incoming.epoch):
            raise BundleRefused(
                f"bundle {header.counter} of stream {header.stream} in epoch {header.epoch}, expected "
                f"{incoming.counters[header.stream]} in epoch {incoming.epoch}"
            )

    def _apply(self, session: Session, incoming: Import, hosted: HostedRealm, content: Content) -> DestinationInput:
        rd, meter = hosted.footprint.rd, self.work.meter
        match content:
            case Immutable():
                meter.charge("migration.import-realm")
                self.calls.take_immutable(rd, content)
                return DestinationInput.IMMUTABLE
            case Memory():
                meter.charge("migration.page-import", content.granules)
                self._once_an_epoch(incoming, content)
                self.calls.put_pages(rd, content)
            case Epoch():
                if content.number != incoming.epoch + 1 or content.bundles != incoming.bundles:
                    raise ImportRefused(
                        f"epoch {content.number} counts {content.bundles} bundles, {incoming.bundles} came in "
                        f"epoch {incoming.epoch}"
                    )
                incoming.epoch, incoming.spans = content.number, []
            case Mutable():
                self.calls.put_mutable(rd, content)
                self.work.site.guests.unpack(rd, content.program)
                return DestinationInput.REALM_MUTABLE
            case VcpuState():
                meter.charge("migration.import-rec")
                if content.index in incoming.recs:
                    raise ImportRefused(f"REC {content.index} came twice")
                self.calls.put_vcpu(rd, content)
                incoming.recs.append(content.index)
            case MemoryMap():
                self._apply_map(incoming, hosted, content)
            case Start():
                self._check_start(session, incoming, content)
                return DestinationInput.COMPLETE
            case Failed():
                raise ImportRefused("an abort token does not travel forward")
        return DestinationInput.BUNDLE

    def _once_an_epoch(self, incoming: Import, memory: Memory) -> None:
        """A page crosses once an epoch at most, so that an older version never overwrites a newer one."""
        for run in memory.runs:
            top = run.ipa + run.count * GRANULE_BYTES
            if any(run.ipa < end and begin < top for begin, end in incoming.spans):
                raise ImportRefused(f"IPA {run.ipa:#x} came twice in epoch {incoming.epoch}")
            incoming.spans.append((run.ipa, top))
            if run.op is PageOp.NEW:
                incoming.granules += run.count

    def _check_start(self, session: Session, incoming: Import, start: Start) -> None:
        whole = (start.bundles, start.transcript) == (incoming.bundles, session.transcript)
        if not whole or start.granules != incoming.granules:
            raise ImportRefused("the start token counts something that is not here")
        hosted = self.hosted(session)
        if hosted is None or len(incoming.recs) != start.recs or start.recs != hosted.spec.vcpus:
            raise ImportRefused(f"{len(incoming.recs)} of {start.recs} RECs are here")
        if not incoming.has_map:
            raise ImportRefused("the map of RIPAS values is not here")

    def _apply_map(self, incoming: Import, hosted: HostedRealm, memory_map: MemoryMap) -> None:
        """The final word on RIPAS and backing: it must cover all RAM, once."""
        ram = plan(hosted.spec)
        at = ram.ram_base
        for run in memory_map.runs:
            if run.ipa != at or run.count < 1:
                raise ImportRefused(f"the map of RIPAS values does not go on at {at:#x}")
            at += run.count * GRANULE_BYTES
        if at != ram.ram_top or incoming.has_map:
            raise ImportRefused("the map of RIPAS values does not cover RAM once")
        incoming.has_map = True
        for run in memory_map.runs:
            self._apply_run(hosted, run)

    def _apply_run(self, hosted: HostedRealm, run: MapRun) -> None:
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
