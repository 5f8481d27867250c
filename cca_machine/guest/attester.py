"""All guests of a machine behind the port that the RMM asks: who runs on a REC, and what it does next."""

from __future__ import annotations

import hashlib

import msgspec

from cca_machine.abi.guest import ExceptionKind, GuestEvent, RecView, Smc, Yield
from cca_machine.costs import CALL_COSTS, Meter
from cca_machine.guest.catalogue import PROGRAMS
from cca_machine.guest.program import GuestState, advance, begin
from cca_machine.layout import LoadPlan


class GuestsState(msgspec.Struct):
    """Guests by the PA of their Realm's RD."""

    guests: dict[int, GuestState] = {}


class Guests:
    """Implements `abi.guest.GuestPort` over `state`; `meter` takes what the guests' calls and computing cost.

    `seed` is the machine's; entropy of guests derives from it.
    """

    def __init__(self, state: GuestsState, seed: bytes, meter: Meter) -> None:
        self.state = state
        self.seed = seed
        self.meter = meter

    def next_event(self, rec: RecView) -> GuestEvent:
        """What the Realm does next; a Realm without a program (the raw firmware door makes such) yields at once."""
        guest = self.state.guests.get(rec.rd)
        if guest is None:
            return Yield(ExceptionKind.FIQ)
        event = advance(guest, PROGRAMS[guest.program], rec, self.meter)
        if type(event) is Smc and event.registers[0] in CALL_COSTS:
            self.meter.call(event.registers[0])
        return event

    def start(self, rd: int, plan: LoadPlan, program: str, realm: str, incarnation: int) -> None:
        """Put a program into the Realm at `rd`; its entropy follows from machine, Realm, incarnation."""
        self.state.guests[rd] = begin(plan, program, guest_key_seed(self.seed, realm, incarnation))

    def stop(self, rd: int) -> None:
        """Forget the program of a Realm that is gone."""
        self.state.guests.pop(rd, None)

    def last_token(self, rd: int) -> tuple[str, int]:
        """SHA-256 (hex) and size of the last token that the Realm made, as it made it."""
        token = self.state.guests[rd].token
        return hashlib.sha256(token).hexdigest(), len(token)

    def pack(self, rd: int) -> bytes:
        """The record of the program, for a migration: it stands for what the Realm's memory would hold."""
        return msgspec.msgpack.encode(self.state.guests[rd])

    def unpack(self, rd: int, packed: bytes) -> None:
        """Let a packed program go on in the Realm at `rd`. ValueError when it was not packed by `pack`."""
        self.state.guests[rd] = msgspec.msgpack.decode(packed, type=GuestState)


def guest_key_seed(machine_seed: bytes, realm: str, incarnation: int) -> bytes:
    """The entropy that a Realm finds on this machine: 32 bytes by machine, Realm and incarnation."""
    name = f"realmfleet guest entropy\0{realm}\0{incarnation}".encode()
    return hashlib.sha256(machine_seed + name).digest()
