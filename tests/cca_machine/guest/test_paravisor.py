"""A paravisor in P0 that serves a TPM to the guest in P1: what P1 measures, quotes and may not touch."""

from __future__ import annotations

import hashlib
import struct

import msgspec
import pytest
from spec_door import PAGE
from spec_door_2_0 import Door2
from spec_el3 import CPAK, RAK, SigningEl3

from attestation.stores import TrustAnchors
from attestation.verify import verify
from cca_machine.abi.guest import Access, RecView
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import ExitReason
from cca_machine.abi.rmi2 import RecEnterFlags2, RecExit2, Rmi2
from cca_machine.guest.paravisor import KERNEL_PCR, Paravisor, ParavisorLayout, ParavisorState, Stage, parts_of
from cca_machine.guest.tpm import Tpm, TpmCommand, TpmResult
from cca_machine.rmm.state import RealmState
from cca_machine.rmm.token_2_0 import El3TokenMaker2

WHERE = ParavisorLayout(
    run=0x2000, token=0x3000, guest=0x10000, guest_top=0x12000, mailbox=0x20000, mailbox_top=0x22000
)
KERNEL, EVENT, NONCE = b"an unmodified kernel", hashlib.sha256(b"initrd").digest(), bytes(range(32))
SINGLE_TREE, TREE_PER_PLANE = 2, 1


def words(data: bytes) -> tuple[int, ...]:
    return struct.unpack("<4Q", data)


class Host:
    """A Realm with the paravisor, and a Host that does what RMI 2.0 asks of it."""

    def __init__(self, *work: tuple[int, ...], flags1: int = SINGLE_TREE) -> None:
        self.door = Door2()
        self.door.rmm.core.tokens = El3TokenMaker2(SigningEl3(RAK))
        self.rd = self.door.realm(num_aux_planes=1, flags1=flags1)
        self.door.tables(self.rd, 0)
        for ipa in (0x1000, WHERE.run, WHERE.token, WHERE.mailbox, WHERE.mailbox + PAGE, WHERE.guest + PAGE):
            self.door.data(self.rd, ipa, b"\0")
        self.door.data(self.rd, WHERE.guest, KERNEL)
        self.rec = self.door.rec(self.rd)
        self.door.ok(Rmi2.REALM_ACTIVATE, self.rd)
        if flags1 == TREE_PER_PLANE:
            self.door.tables(self.rd, 0, tree=1)
        self.program = Paravisor(ParavisorState(layout=WHERE, work=list(work)))
        self.door.rmm.core.guest = self.program
        self.flags = 0

    @property
    def state(self) -> ParavisorState:
        return self.program.state

    def run(self, exits: int = 200, rejects: bool = False) -> RecExit2:
        """Run until the Realm is off."""
        for _ in range(exits):
            x0, out = self.door.enter(self.rec, flags=self.flags)
            assert x0 == 0
            self.flags = 0
            if out.exit_reason == ExitReason.PSCI:
                return out
            if out.exit_reason == ExitReason.S2AP_CHANGE:
                self.change(out, rejects)
            elif out.exit_reason == ExitReason.SYNC:
                self.fault(out)
        raise AssertionError("the Realm never ends")

    def change(self, out: RecExit2, rejects: bool) -> None:
        if rejects:
            self.flags = RecEnterFlags2.S2AP_RESPONSE
            return
        here = out.s2ap_base
        while here < out.s2ap_top:
            here = self.door.ok(Rmi2.RTT_SET_S2AP, self.rd, self.rec, here, out.s2ap_top)[1]

    def fault(self, out: RecExit2) -> None:
        """With a tree per plane, what the primary tree maps is brought into the other."""
        assert out.rtt_tree
        self.door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, self.rd, out.hpfar << 8, out.rtt_tree)


def expected_pcr(*digests: bytes) -> bytes:
    register = bytes(32)
    for digest in digests:
        register = hashlib.sha256(register + digest).digest()
    return register


KERNEL_DIGEST = hashlib.sha256(KERNEL.ljust(PAGE, b"\0")).digest()


@pytest.mark.parametrize("flags1", [SINGLE_TREE, TREE_PER_PLANE])
def test_a_guest_extends_and_reads_pcrs_and_its_kernel_is_measured_before_it_runs(flags1: int) -> None:
    host = Host(
        (TpmCommand.PCR_EXTEND, 8, *words(EVENT)),
        (TpmCommand.PCR_EXTEND, 8, *words(NONCE)),
        (TpmCommand.PCR_READ, 8),
        (TpmCommand.PCR_READ, KERNEL_PCR),
        flags1=flags1,
    )
    host.run()
    assert host.state.ended == "P1 has switched itself off"
    extended, again, eight, kernel = host.state.answers
    assert (extended, again) == ((0,), (0,))
    assert eight == (0, *words(expected_pcr(EVENT, NONCE)))
    assert kernel == (0, *words(expected_pcr(KERNEL_DIGEST)))
    assert host.door.rmm.state.realms[host.rd].state is RealmState.SYSTEM_OFF


def test_a_quote_comes_with_a_token_whose_challenge_is_its_digest() -> None:
    host = Host((TpmCommand.PCR_EXTEND, 9, *words(EVENT)), (TpmCommand.QUOTE, 1 << 4 | 1 << 9, *words(NONCE)))
    host.run()
    status, size = host.state.answers[1]
    assert status == TpmResult.SUCCESS
    found = b"".join(host.door.rmm.core.memory.page(pa) for pa in mailbox_pages(host))
    quote, token = parts_of(found[:size])
    verified = verify(token, TrustAnchors.any_instance(CPAK.public), hashlib.sha512(quote).digest())
    assert verified.realm.initial_measurement == host.door.rmm.state.realms[host.rd].measurements[0][:32]
    # TPMS_ATTEST, read by hand (TPM 2.0 part 2, 10.12.12)
    assert quote[:6] == bytes.fromhex("ff5443478018")
    assert quote[6:8] == b"\0\0"
    assert (quote[8:10], quote[10:42]) == (b"\x00\x20", NONCE)
    assert quote[67:77] == struct.pack(">IHB", 1, 0x000B, 3) + b"\x10\x02\x00"
    assert quote[77:79] == b"\x00\x20"
    both = expected_pcr(KERNEL_DIGEST) + expected_pcr(EVENT)
    assert quote[79:] == hashlib.sha256(both).digest()


def mailbox_pages(host: Host) -> list[int]:
    realm = host.door.rmm.state.realms[host.rd]
    return [
        host.door.rmm.core.walk(realm, ipa, 3).entry & (1 << 48) - PAGE
        for ipa in range(WHERE.mailbox, WHERE.mailbox_top, PAGE)
    ]


def test_another_nonce_gives_another_quote_and_the_old_token_does_not_fit_it() -> None:
    first, second = Tpm.started().quoted(1, NONCE), Tpm.started().quoted(1, bytes(32))
    assert first != second
    assert Tpm.started().quoted(1, NONCE) == first


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ((TpmCommand.PCR_EXTEND, 24, *words(EVENT)), TpmResult.VALUE),
        ((TpmCommand.PCR_EXTEND, 17, *words(EVENT)), TpmResult.LOCALITY),
        ((TpmCommand.PCR_READ, 1 << 40), TpmResult.VALUE),
        ((0x999, 0), TpmResult.COMMAND_CODE),
    ],
)
def test_what_the_service_does_not_do_is_refused_and_the_guest_goes_on(
    command: tuple[int, ...], answer: TpmResult
) -> None:
    host = Host(command, (TpmCommand.PCR_READ, 0))
    host.run()
    assert host.state.answers == [(answer,), (0, 0, 0, 0, 0)]


class Thief(Paravisor):
    """A guest in P1 that reaches for P0's memory."""

    def _guest(self, rec: RecView) -> Access:
        return Access(ipa=WHERE.token)


def test_a_guest_that_reaches_for_p0s_memory_is_stopped_by_p0() -> None:
    host = Host()
    host.program = Thief(host.state)
    host.door.rmm.core.guest = host.program
    host.run()
    assert host.state.ended == "P1 touched 0x3000, which is not its own"


def test_a_host_that_rejects_the_guests_memory_stops_the_paravisor_and_gains_nothing() -> None:
    host = Host((TpmCommand.PCR_READ, 0))
    out = host.run(rejects=True)
    assert out.gprs[0] == Psci.SYSTEM_OFF
    assert host.state.ended == "the host does not give P1 0x10000"
    assert host.state.answers == []


def test_the_paravisor_goes_on_where_it_was_after_a_snapshot() -> None:
    host = Host((TpmCommand.PCR_EXTEND, 8, *words(EVENT)), (TpmCommand.PCR_READ, 8))
    _, out = host.door.enter(host.rec)
    assert out.exit_reason == ExitReason.S2AP_CHANGE
    host.change(out, False)
    packed = msgspec.msgpack.encode(host.state)
    host.program = Paravisor(msgspec.msgpack.decode(packed, type=ParavisorState))
    host.door.rmm.core.guest = host.program
    host.run()
    assert host.state.stage is Stage.STOPPED
    assert host.state.answers[1] == (0, *words(expected_pcr(EVENT)))


def test_a_mailbox_without_a_quote_is_no_evidence() -> None:
    for message in (b"", b"\xff" * 8, (4).to_bytes(4, "little") + b"abcd"):
        with pytest.raises(ValueError, match="no quote"):
            parts_of(message)
