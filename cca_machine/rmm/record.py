"""A recording of the RMM's door in the format of the firmware traces: a run can be replayed against the RMM alone.

`RecordedDoor` stands where the `Rmm` stood. It notes each call with the Host memory that the RMM could read in it, what
the Realm did and saw, and what was answered. What a Realm does after a modelled import is left out, and a note says so:
an import sets its state behind the door, where a replay cannot follow. Kinds of script items that firmware traces do
not have (`store`, `access`, `sys`, `lr`) are listed in `replay_ports`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cca_machine.abi.guest import (
    Access,
    Exception_,
    ExceptionKind,
    GuestEvent,
    GuestPort,
    Poke,
    RecView,
    SetListRegister,
    SetRegister,
    SetSystemRegister,
    Smc,
    Yield,
)
from cca_machine.abi.rmi import UNKNOWN_CALL, RmiStatus
from cca_machine.abi.smc import MASK64, Registers, function_id
from cca_machine.hardware.address import GRANULE_BYTES, is_granule_aligned
from cca_machine.hardware.gpt import Gpi
from cca_machine.rmm.measurement import ZERO_MEASUREMENT, digest_size
from cca_machine.rmm.realm_memory import granules, translate
from cca_machine.rmm.record_dialects import DIALECTS, ENTRY_BYTES, Dialect
from cca_machine.rmm.replay import final_states
from cca_machine.rmm.replay_ports import ENTERING, seen_by
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import AttestationOperation, Realm, RealmState
from cca_machine.rmm.view import RunningRec

Record = dict[str, Any]

_ENTERS = "REC_ENTER"


class RecordingGuest:
    """Passes every event through, and notes it as a script item with what the Realm saw at its entries."""

    def __init__(self, inner: GuestPort, dialect: Dialect) -> None:
        self.inner = inner
        self._dialect = dialect
        self.script: list[list[Any]] = []
        self.seen: list[Record] = []
        self._resumed = True

    def restart(self) -> None:
        """Forget the last REC_ENTER."""
        self.script, self.seen, self._resumed = [], [], True

    def next_event(self, rec: RecView) -> GuestEvent:
        """The inner guest's event."""
        assert isinstance(rec, RunningRec)
        if self._resumed:
            self.seen.append(_hexadecimal(self._dialect.seen(rec, seen_by(rec))))
            self._resumed = False
        rec.on_write = lambda ipa, data: self._wrote(rec, ipa, data)
        event = self.inner.next_event(rec)
        item = _item(event)
        if item is not None:
            self.script.append(item)
            self._resumed = item[0] in ENTERING
        return event

    def _wrote(self, rec: RunningRec, ipa: int, data: bytes) -> None:
        for here, span in granules(ipa, len(data)):
            pa = translate(rec.core, rec.realm, here).pa
            self.script.append(["poke", hex(pa), data[here - ipa : here - ipa + span].hex(), hex(here)])


class RecordedDoor:
    """The door of `rmm`, recording; every record goes to `sink`, the header first.

    Raises:
        ValueError: the RMM already has Realms or delegated granules, which a replay from boot could not know.
    """

    def __init__(self, rmm: Rmm, sink: Callable[[Record], None]) -> None:
        if rmm.state.realms or any(True for _ in rmm.state.granules.runs()):
            raise ValueError("recording starts with an RMM on which nothing has happened yet")
        self._rmm = rmm
        self._sink = sink
        self._dialect = DIALECTS[rmm.features.edition]
        self._guest = RecordingGuest(rmm.guest, self._dialect)
        self._pages: dict[int, bytes] = {}
        self._foreign: dict[int, bool] = {}
        self._tokens = rmm.core.tokens
        self._count = 0
        self._left: dict[tuple[int, int], str] = {}
        self._imported: set[int] = set()
        rmm.guest = self._guest
        sink(header_of(rmm))

    def smc(self, fid: int, args: Sequence[int], pe: int = 0) -> Registers:
        """`Rmm.smc`, recorded."""
        measured = self._measurements()
        self._find_imports(measured)
        if self._shows_imported(fid, args):
            self._guest.restart()
            x = self._rmm.smc(fid, args, pe)
            self._left = self._measurements()
            return x
        before = self._before(fid, args, pe)
        self._guest.restart()
        x = self._rmm.smc(fid, args, pe)
        self._sink(self._record(fid, args, before, measured, x))
        self._left = self._measurements()
        self._count += 1
        return x

    def _find_imports(self, measured: dict[tuple[int, int], str]) -> None:
        """Note Realms whose measurements changed without a call: only a modelled import does that."""
        behind = sorted({rd for (rd, slot), text in measured.items() if self._left.get((rd, slot), text) != text})
        for rd in behind:
            self._imported.add(rd)
            self._sink({"note": f"the Realm at {rd:#x} was imported (modelled); what shows its contents is left out"})
        self._imported &= set(self._rmm.state.realms)

    def _shows_imported(self, fid: int, args: Sequence[int]) -> bool:
        if function_id(fid) not in self._dialect.shows or not args:
            return False
        named = args[0]
        rec = self._rmm.state.recs.get(named)
        return (named if rec is None else rec.rd) in self._imported

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int = 0
    ) -> tuple[int, Registers]:
        """`Rmm.smc_run`, recorded: as one loop where no Host memory is read, else call by call."""
        command, dialect = function_id(fid), self._dialect
        if not dialect.loops or command in dialect.reads or command not in dialect.names:
            return self._one_by_one(fid, args, stride, count, pe)
        done, last = self._rmm.smc_run(fid, args, stride, count, pe)
        calls = min(done + 1, count)
        if command == dialect.delegates:
            self._forget(args[0], args[0] + calls * GRANULE_BYTES)
        if calls:
            answers = {hex(int(RmiStatus.SUCCESS)): done} if done else {}
            if done < calls:
                answers[hex(last[0])] = 1
            steps = (*stride, *(0,) * len(args))[: len(args)]
            self._sink(
                {
                    "macro": "LOOP",
                    "name": dialect.names[command],
                    "fid": hex(fid),
                    "args": [hex(value) for value in args],
                    "step": [hex(value) for value in steps],
                    "count": calls,
                    "rets": answers,
                }
            )
        return done, last

    def close(self) -> None:
        """Write the last record: every granule that is not NS."""
        rows = [[hex(pa), name, references] for pa, name, references in final_states(self._rmm.state)]
        self._sink({"end": 1, "states": rows})
        self._rmm.guest = self._guest.inner

    def _one_by_one(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        last: Registers = (0,) * 8
        steps = (*stride, *(0,) * len(args))[: len(args)]
        for turn in range(count):
            last = self.smc(fid, [value + turn * step & MASK64 for value, step in zip(args, steps, strict=True)], pe)
            if last[0] != RmiStatus.SUCCESS:
                return turn, last
        return count, last

    def _before(self, fid: int, args: Sequence[int], pe: int) -> list[list[Any]]:
        """What a replay must do first for the RMM to read what it reads here."""
        hardware = self._rmm.core.hardware
        items: list[list[Any]] = [["irq", 0]] if hardware.irq_pending(pe) else []
        if self._rmm.core.tokens is not self._tokens:
            self._tokens = self._rmm.core.tokens
            items.append(["tokens", *token_lengths(self._rmm)])
        for value in args:
            pa = value & -GRANULE_BYTES
            gpi = hardware.gpt.gpi(pa)
            foreign = gpi not in (Gpi.NON_SECURE, Gpi.REALM) and hardware.gpt.granules.contains(pa)
            if foreign != self._foreign.get(pa, False):
                self._foreign[pa] = foreign
                items.append(["gpt", hex(pa), int(foreign)])
        command, dialect = function_id(fid), self._dialect
        name = dialect.reads.get(command)
        if name is not None:
            position = dialect.arguments[command].index(name)
            if position < len(args) and is_granule_aligned(args[position]):
                items[:0] = self._page_items(args[position], ENTRY_BYTES if name == "run_ptr" else GRANULE_BYTES)
        for pa, size in dialect.also_reads(self._rmm, command, args):
            items[:0] = self._page_items(pa, size)
        return items

    def _page_items(self, pa: int, size: int) -> list[list[Any]]:
        if self._rmm.core.hardware.gpt.gpi(pa) is not Gpi.NON_SECURE:
            return []
        page = self._rmm.core.memory.page(pa)[:size]
        if self._pages.get(pa) == page:
            return []
        self._pages[pa] = page
        first = len(page) - len(page.lstrip(b"\0"))
        content = page.strip(b"\0")
        return [["fill", hex(pa), size, 0], *([["w", hex(pa + first), content.hex()]] if content else [])]

    def _record(
        self, fid: int, args: Sequence[int], before: list[list[Any]], measured: dict[tuple[int, int], str], x: Registers
    ) -> Record:
        command, dialect = function_id(fid), self._dialect
        known = x[0] & MASK64 != MASK64 and command in dialect.names
        name = dialect.names[command] if known else "UNKNOWN"
        record: Record = {"i": self._count, "fid": hex(fid), "name": name, "args": [hex(value) for value in args]}
        if before:
            record["pre"] = before
        record["x"] = [hex(value) for value in x[: dialect.answer_registers]]
        record["status"] = dialect.status_name(x[0]) if known else UNKNOWN_CALL
        changed = [
            [hex(rd), slot, text]
            for (rd, slot), text in self._measurements().items()
            if measured.get((rd, slot)) != text and not (slot and (rd, slot) not in measured)
        ]
        if changed:
            record["meas"] = changed
        if known and command == dialect.delegates and args:
            self._forget(args[0], x[1] if len(args) > 1 and not x[0] else args[0] + GRANULE_BYTES)
        if name == _ENTERS:
            record["script"], record["realm"] = self._guest.script, self._guest.seen
            record["script_used"] = len(self._guest.script)
        written = dialect.writes(command, args, x) if known else []
        if written:
            record["ns"] = [self._words(pa, size) for pa, size in written]
        for pa, _ in written:
            if name != _ENTERS:
                self._pages.pop(pa & -GRANULE_BYTES, None)
        return record

    def _forget(self, base: int, top: int) -> None:
        """Host pages that left the Host's hands."""
        self._pages = {pa: page for pa, page in self._pages.items() if not base <= pa < top}

    def _words(self, pa: int, size: int) -> list[Any]:
        """What the RMM wrote: address, size, and the words that are not zero."""
        first = pa & GRANULE_BYTES - 1
        data = self._rmm.core.memory.page(pa & -GRANULE_BYTES)[first : first + size]
        words = {
            hex(offset): hex(word)
            for offset in range(0, size, 8)
            if (word := int.from_bytes(data[offset : offset + 8], "little"))
        }
        return [hex(pa), size, words]

    def _measurements(self) -> dict[tuple[int, int], str]:
        return {
            (rd, slot): register[: digest_size(realm.hash_algo)].hex()
            for rd, realm in self._rmm.state.realms.items()
            for slot, register in enumerate(realm.measurements)
        }


def header_of(rmm: Rmm) -> Record:
    """The first record: machine, features and quirk set."""
    features = rmm.features
    banks = [[hex(bank.base), hex(bank.size)] for bank in rmm.state.granules.banks]
    return {
        "header": 1,
        "format": 1,
        "meta": {"kind": "door"},
        "dram": banks[0][0],
        "dram_size": banks[0][1],
        "banks": banks,
        **DIALECTS[features.edition].header(rmm),
        "pa_width": features.pa_width,
        "rmi_version": hex(features.rmi_versions[-1]),
        "rsi_version": hex(features.rsi_versions[-1]),
        "max_rec_aux": features.max_rec_aux,
        "vmid16": features.vmid16,
        "hpmn0": features.hpmn0,
        "token_len": token_lengths(rmm),
        "token_bound": features.token_bound,
        "quirks": rmm.quirks.name,
        "gic": {
            "num_lrs": features.gic.num_lrs,
            "pri_res0_mask": features.gic.pri_res0_mask,
            "max_vintid": features.gic.max_vintid,
            "ext_range": int(features.gic.extended_ranges),
            "ich_vtr": features.gic.ich_vtr,
        },
    }


def token_lengths(rmm: Rmm) -> list[int]:
    """Bytes of a CCA token per hash algorithm, as this image makes it."""
    return [_token_length(rmm, algorithm) for algorithm in DIALECTS[rmm.features.edition].hashes]


def _token_length(rmm: Rmm, algorithm: int) -> int:
    registers = [ZERO_MEASUREMENT] * 5
    realm = Realm(
        state=RealmState.ACTIVE, flags=0, ipa_width=0, sve_vl=0, num_bps=0, num_wps=0, pmu_num_ctrs=0,
        hash_algo=algorithm, rpv=bytes(64), vmid=0, rtt_base=0, rtt_level_start=0, rtt_num_start=0, num_aux=0,
        measurements=registers, instance_id=b"\x01" + bytes(32),
    )  # fmt: skip
    return len(rmm.core.tokens.make(realm, AttestationOperation(challenge=bytes(64), measurements=registers)))


def _item(event: GuestEvent) -> list[Any] | None:
    match event:
        case Smc(registers=registers):
            return ["rsi", *map(hex, registers)]
        case Exception_(kind=kind, esr=esr, far=far, hpfar=hpfar):
            return ["exc", int(kind), hex(esr), hex(far), hex(hpfar)]
        case SetRegister(index=index, value=value):
            return ["reg", index, hex(value)]
        case SetSystemRegister(register=register, value=value):
            return ["sys", str(register), hex(value)]
        case SetListRegister(index=index, value=value):
            return ["lr", index, hex(value)]
        case Poke(ipa=ipa, data=data):
            return ["store", hex(ipa), data.hex()]
        case Access():
            flags = (event.write, event.size, event.register, event.sign_extend, event.sixty_four, event.instruction)
            return ["access", hex(event.ipa), *map(int, flags)]
        case Yield(kind=ExceptionKind.IRQ):
            return ["exc", int(ExceptionKind.IRQ), "0x0", "0x0", "0x0"]
        case _:
            return None


def _hexadecimal(seen: Record) -> Record:
    return {
        name: [hex(item) for item in value] if isinstance(value, list) else hex(value) for name, value in seen.items()
    }
