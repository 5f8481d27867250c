"""Replay of a recorded RMI 1.0 trace against a fresh RMM: what was answered, against what is answered here.

Takes decoded JSON records (one per line of a trace); opens no file. The format is that of the recorded firmware traces:
a header, then one record per command with what the Host wrote before it and what the Realm did during it. Registers and
exit fields that the format calls incidental are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cca_machine.abi.rmi import (
    REC_EXIT,
    RUN_EXIT_OFFSET,
    VERSION_1_0,
    Rmi,
    RmiStatus,
    RttEntryState,
    status_of,
)
from cca_machine.abi.rmi2 import VERSION_2_0
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import GicFeatures, RmmFeatures
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.measurement import digest_size
from cca_machine.rmm.quirks import QUIRK_SETS, TF_RMM, QuirkSet
from cca_machine.rmm.replay_2_0 import TraceReplay2
from cca_machine.rmm.replay_ports import (
    HCR_TWE,
    HCR_TWI,
    TOKEN_BYTE,
    FixedLengthTokens,
    ReplayEl3,
    ScriptedGuest,
    number,
    set_world,
)
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import RmmState
from cca_machine.rmm.trace_report import CommandReport, TraceReport

Record = Mapping[str, Any]
RESULTS_ON_SUCCESS: dict[str, tuple[int, ...]] = {
    "VERSION": (1, 2),
    "FEATURES": (1,),
    "REC_AUX_COUNT": (1,),
    "DATA_DESTROY": (1, 2),
    "RTT_DESTROY": (1, 2),
    "RTT_FOLD": (1,),
    "RTT_UNMAP_UNPROTECTED": (1,),
    "RTT_INIT_RIPAS": (1,),
    "RTT_SET_RIPAS": (1,),
    "RTT_READ_ENTRY": (1, 2, 3, 4),
}
RESULTS_ON_REFUSAL: dict[str, tuple[int, ...]] = {
    "VERSION": (1, 2),
    "DATA_DESTROY": (2,),
    "RTT_DESTROY": (2,),
    "RTT_UNMAP_UNPROTECTED": (1,),
}
EXIT_FIELDS = ("exit_reason", "esr", "far", "hpfar", "gprs", "ripas_base", "ripas_top", "ripas_value", "imm")


class TraceReplay:
    """One RMM on the machine that a trace's header describes."""

    def __init__(self, header: Record, quirks: QuirkSet | None = None) -> None:
        pieces = header.get("banks", [[header["dram"], header["dram_size"]]])
        banks = tuple(Bank(number(base), number(size)) for base, size in pieces)
        self.hardware = HardwareState.build(banks)
        self.guest = ScriptedGuest(self.hardware)
        self.tokens = FixedLengthTokens(header["token_len"])
        self.rmm = Rmm(
            RmmState.boot(banks),
            self.hardware,
            ReplayEl3(self.hardware),
            self.guest,
            features_of(header),
            quirks or QUIRK_SETS.get(header.get("quirks", TF_RMM.name), TF_RMM),
            self.tokens,
        )
        self.report = TraceReport()

    def feed(self, record: Record) -> None:
        """Replay one record."""
        if "macro" in record:
            self._loop(record)
        elif "end" in record:
            self._note("END", record, _states(record["states"]), _states(final_states(self.rmm.state)))
        elif "fid" in record:
            self._command(record)

    def _command(self, record: Record) -> None:
        for item in record.get("pre", ()):
            self._prepare(item)
        before = self._measurements()
        self.guest.start(record.get("script", ()))
        args = [number(value) for value in record["args"]]
        x = self.rmm.smc(number(record["fid"]), args)
        self.hardware.pes[0].irq_pending = False
        name = str(record["name"])
        expected: dict[str, Any] = {"x": _meaningful(name, [number(value) for value in record["x"]])}
        got: dict[str, Any] = {"x": _meaningful(name, x)}
        changed = {key: value for key, value in self._measurements().items() if before.get(key) != value}
        expected["meas"] = {(number(rd), slot): text for rd, slot, text in record.get("meas", ())}
        got["meas"] = {key: value for key, value in changed.items() if key[0] in {rd for rd, _ in before} or not key[1]}
        if "script_used" in record:
            # A refused entry drops its whole script.
            expected["used"], got["used"] = record["script_used"], self.guest.used
            expected["realm"], got["realm"] = list(map(_comparable, record["realm"])), self.guest.seen
        if name == Rmi.REC_ENTER.name and x[0] == RmiStatus.SUCCESS and record.get("ns"):
            expected["exit"] = _exit_of_words(record["ns"][0][2])
            got["exit"] = self._exit_in_memory(args[1])
            if self.tokens.made:
                _forget_token_bytes(expected["exit"], got["exit"])
        self._note(name, record, expected, got)

    def _loop(self, record: Record) -> None:
        args = [number(value) for value in record["args"]]
        steps = [number(value) for value in record["step"]]
        answers: dict[int, int] = {}
        for turn in range(record["count"]):
            here = [value + turn * step for value, step in zip(args, steps, strict=True)]
            x0 = self.rmm.smc(number(record["fid"]), here)[0]
            answers[x0] = answers.get(x0, 0) + 1
        expected = {number(x0): count for x0, count in record["rets"].items()}
        alike = sum(min(count, answers.get(x0, 0)) for x0, count in expected.items())
        self._note(str(record["name"]), record, {"rets": expected}, {"rets": answers}, record["count"], alike)

    def _prepare(self, item: Sequence[Any]) -> None:
        kind = item[0]
        try:
            if kind == "w":
                self.hardware.memory.write(World.NS, number(item[1]), bytes.fromhex(item[2]))
            elif kind == "fill":
                self.hardware.memory.fill(World.NS, number(item[1]), number(item[2]), number(item[3]))
            elif kind == "gpt":
                set_world(self.hardware, item)
            elif kind == "tokens":
                self.tokens.set_lengths([number(length) for length in item[1:]])
            elif kind == "irq":
                self.hardware.pes[0].irq_pending = number(item[1]) == 0
        except GranuleProtectionFault:
            # The Host is hit by the fault, not the RMM: nothing is written.
            return

    def _measurements(self) -> dict[tuple[int, int], str]:
        return {
            (rd, slot): register[: digest_size(realm.hash_algo)].hex()
            for rd, realm in self.rmm.state.realms.items()
            for slot, register in enumerate(realm.measurements)
        }

    def _exit_in_memory(self, run_ptr: int) -> dict[str, Any]:
        page = self.hardware.memory.read(World.ROOT, run_ptr + RUN_EXIT_OFFSET, REC_EXIT.size)
        fields = REC_EXIT.decode(page)
        return {name: fields[name] for name in EXIT_FIELDS}

    def _note(self, name: str, record: Record, expected: Any, got: Any, calls: int = 1, alike: int = 0) -> None:
        """Count `calls` calls of a record, all of which agree, or `alike` of them."""
        report = self.report.commands.setdefault(name, CommandReport())
        report.calls += calls
        if expected == got:
            report.agreements += calls
            return
        report.agreements += alike
        if report.first is None:
            report.first = {"i": record.get("i"), "expected": expected, "got": got}


def final_states(state: RmmState) -> list[tuple[int, str, int]]:
    """(PA, state, reference count) of every granule that is not NS: a trace's last record.

    References are live entries of a table and RECs of a Realm.
    """
    rows = []
    for base, count, value in state.granules.runs():
        for pa in range(base, base + count * GRANULE_BYTES, GRANULE_BYTES):
            references = 0
            if pa in state.tables:
                references = state.tables[pa].live
            elif pa in state.realms:
                references = state.realms[pa].num_recs
            rows.append((pa, GranuleState(value).name, references))
    return rows


def replay(records: Iterable[Record], quirks: QuirkSet | None = None) -> TraceReport:
    """Replay a whole trace; the quirk set is the header's, else that of the recorded firmware.

    Every header starts a machine of its own: a recording has one for each cold boot.

    Raises:
        ValueError: the first record is not a header of an RMI 1.0 or 2.0 trace.
    """
    total = TraceReport()
    turn: TraceReplay | TraceReplay2 | None = None
    for record in records:
        if "header" in record or turn is None:
            reader = _READERS.get(number(record.get("rmi_version", 0))) if "header" in record else None
            if reader is None:
                raise ValueError("not a trace of RMI 1.0 or 2.0: the first record is no header of these versions")
            if turn is not None:
                total.add(turn.report)
            turn = reader(record, quirks)
        else:
            turn.feed(record)
    if turn is not None:
        total.add(turn.report)
    return total


_READERS: dict[int, type[TraceReplay] | type[TraceReplay2]] = {VERSION_1_0: TraceReplay, VERSION_2_0: TraceReplay2}


def features_of(header: Record) -> RmmFeatures:
    """The machine that a header describes."""
    gic = header["gic"]
    return RmmFeatures.from_register_0(
        number(header["features"][0]),
        gic=GicFeatures(
            num_lrs=gic["num_lrs"],
            pri_res0_mask=gic["pri_res0_mask"],
            max_vintid=gic["max_vintid"],
            extended_ranges=bool(gic["ext_range"]),
            ich_vtr=gic["ich_vtr"],
        ),
        vmid16=header["vmid16"],
        hpmn0=header["hpmn0"],
        max_rec_aux=header["max_rec_aux"],
        token_bound=header["token_bound"],
        pa_width=header.get("pa_width"),
    )


def _meaningful(name: str, x: Sequence[int]) -> tuple[int, ...]:
    status = status_of(x[0])
    if status is RmiStatus.SUCCESS:
        kept = RESULTS_ON_SUCCESS.get(name, ())
        if name == "RTT_READ_ENTRY" and x[2] == RttEntryState.TABLE:
            kept = kept[:3]
    elif status in (RmiStatus.ERROR_INPUT, RmiStatus.ERROR_RTT):
        kept = RESULTS_ON_REFUSAL.get(name, ())
    else:
        kept = ()
    return (x[0], *(x[index] for index in kept))


def _comparable(entry: Record) -> dict[str, Any]:
    kept: dict[str, Any] = {name: number(entry[name]) for name in ("pc", "esr12", "far12", "elr12")}
    return {**kept, "x": [number(value) for value in entry["x"]], "hcr": number(entry["hcr"]) & (HCR_TWI | HCR_TWE)}


def _exit_of_words(words: Mapping[str, Any]) -> dict[str, Any]:
    page = bytearray(REC_EXIT.size)
    for offset, value in words.items():
        page[number(offset) : number(offset) + 8] = number(value).to_bytes(8, "little")
    fields = REC_EXIT.decode(bytes(page))
    return {name: fields[name] for name in EXIT_FIELDS}


def _forget_token_bytes(expected: dict[str, Any], got: dict[str, Any]) -> None:
    def masked(want: int, have: int) -> int:
        pairs = zip(want.to_bytes(8, "little"), have.to_bytes(8, "little"), strict=True)
        return int.from_bytes(bytes(TOKEN_BYTE if mine == TOKEN_BYTE else theirs for theirs, mine in pairs), "little")

    expected["gprs"] = tuple(masked(want, have) for want, have in zip(expected["gprs"], got["gprs"], strict=True))
    expected["imm"] = masked(expected["imm"], got["imm"])


def _states(rows: Iterable[Sequence[Any]]) -> dict[int, tuple[str, int]]:
    return {
        number(row[0]) + 4096 * turn: (row[1], row[2]) for row in rows for turn in range(row[3] if len(row) > 3 else 1)
    }
