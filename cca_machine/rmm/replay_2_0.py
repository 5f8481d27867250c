"""Replay of a recorded RMI 2.0 trace against a fresh RMM.

The format is that of the recorded firmware traces: like RMI 1.0, with eight registers per answer, planes in what the
Realm saw, and every range of Host memory that the RMM wrote. Device messages are random: of those commands only
registers are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cca_machine.abi.guest import RecView
from cca_machine.abi.rmi2 import VERSION_2_0, Rmi2
from cca_machine.abi.rsi import VERSION_1_0 as RSI_1_0
from cca_machine.abi.rsi2 import VERSION_1_1 as RSI_1_1
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.hardware.granule_map import Bank, GranuleMap
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import EDITION_2_0, GicFeatures, RmmFeatures
from cca_machine.rmm.features_2_0 import LaterFeatures
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.measurement import digest_size
from cca_machine.rmm.quirks import QUIRK_SETS_2_0, TF_RMM_2_0, QuirkSet
from cca_machine.rmm.replay_ports import FixedLengthTokens, ReplayEl3, ScriptedGuest, number, set_world
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import AttestationOperation, Realm, RmmState
from cca_machine.rmm.trace_report import CommandReport, TraceReport
from cca_machine.rmm.view import RunningRec

Record = Mapping[str, Any]

TOKEN_BYTE = 0xA5
SEEN_REGISTERS = 12
_EL0T = 0
_YIELDING_BUILD = "build-yield"
DOOR = "door"
"""Kind of the recordings made here, which say more of their machine than those of the firmware."""
TOKEN_BOUND = RmmFeatures().token_bound


class PlainTokens:
    """Tokens of the length that the recorded firmware's had: five registers of the digest's size, and what is fixed."""

    FIXED_BYTES = 2014

    def __init__(self) -> None:
        self.made = 0

    def make(self, realm: Realm, operation: AttestationOperation) -> bytes:
        """A stand-in token."""
        self.made += 1
        return bytes((TOKEN_BYTE,)) * (self.FIXED_BYTES + 5 * digest_size(realm.hash_algo))


class PlaneGuest(ScriptedGuest):
    """A Realm that follows a script; the recorder shows its planes, and PSTATE always as EL0 in its native build."""

    def next_event(self, rec: RecView) -> Any:
        """The next item of the script."""
        assert isinstance(rec, RunningRec)
        rec.state.pstate = _EL0T
        entered = self._resumed
        event = super().next_event(rec)
        if entered:
            self.seen[-1] = _seen(rec, self.seen[-1])
        return event


class DoorGuest(ScriptedGuest):
    """A Realm that follows a script recorded here: its PSTATE is the real one."""

    def next_event(self, rec: RecView) -> Any:
        """The next item of the script."""
        assert isinstance(rec, RunningRec)
        entered = self._resumed
        event = super().next_event(rec)
        if entered:
            self.seen[-1] = _seen(rec, self.seen[-1])
        return event


class TraceReplay2:
    """One RMM on the machine that a trace's header describes."""

    def __init__(self, header: Record, quirks: QuirkSet | None = None) -> None:
        dram = Bank(number(header["dram"]), number(header["dram_size"]))
        state = RmmState.boot((dram,))
        banks: tuple[Bank, ...] = (dram,)
        if "dev" in header:
            devices = Bank(number(header["dev"]), number(header["dev_size"]))
            state.device_granules = GranuleMap(banks=(devices,), default=int(GranuleState.UNDELEGATED))
            banks = (dram, devices)
        self.hardware = HardwareState.build(banks)
        own = header.get("meta", {}).get("kind") == DOOR
        self.guest: ScriptedGuest = DoorGuest(self.hardware) if own else PlaneGuest(self.hardware)
        self.tokens: PlainTokens | FixedLengthTokens = FixedLengthTokens(header["token_len"]) if own else PlainTokens()
        state.active = bool(header["activated"])
        self.rmm = Rmm(
            state,
            self.hardware,
            ReplayEl3(self.hardware),
            self.guest,
            features_of(header),
            quirks or QUIRK_SETS_2_0[header.get("quirks", TF_RMM_2_0.name)],
            self.tokens,
        )
        self.report = TraceReport()

    def feed(self, record: Record) -> None:
        """Replay one record."""
        if "macro" in record:
            self._loop(record)
        elif "end" in record:
            expected = {number(row[0]) + GRANULE_BYTES * turn: (row[1], row[2]) for row in record["states"]
                        for turn in range(row[3] if len(row) > 3 else 1)}  # fmt: skip
            self._note("END", record, expected, final_states(self.rmm.state))
        elif "fid" in record:
            self._command(record)

    def _command(self, record: Record) -> None:
        for item in record.get("pre", ()):
            self._prepare(item)
        before = self._measurements()
        self.guest.start(record.get("script", ()))
        x = self.rmm.smc(number(record["fid"]), [number(value) for value in record["args"]])
        expected: dict[str, Any] = {"x": tuple(number(value) for value in record["x"])}
        got: dict[str, Any] = {"x": x}
        changed = {key: value for key, value in self._measurements().items() if before.get(key) != value}
        expected["meas"] = {(number(rd), slot): text for rd, slot, text in record.get("meas", ())}
        got["meas"] = {key: value for key, value in changed.items() if key[0] in {rd for rd, _ in before} or not key[1]}
        if "script_used" in record:
            expected["used"], got["used"] = record["script_used"], self.guest.used
            expected["realm"], got["realm"] = list(map(_comparable, record["realm"])), self.guest.seen
        expected["ns"] = {number(pa): _words(words) for pa, _, words in record.get("ns", ())}
        got["ns"] = {number(pa): self._host_words(number(pa), size) for pa, size, _ in record.get("ns", ())}
        if self.tokens.made:
            _forget_token_words(expected["ns"], got["ns"])
        self._note(str(record["name"]), record, expected, got)

    def _loop(self, record: Record) -> None:
        base, count, fid = number(record["base"]), record["count"], Rmi2.GRANULE_RANGE_DELEGATE
        top = base + count * GRANULE_BYTES
        answers = [self.rmm.smc(fid, (here, top))[0] for here in range(base, top, GRANULE_BYTES)]
        self._note("GRANULE_RANGE_DELEGATE", record, {"ok": record["ok"]}, {"ok": answers.count(0)})

    def _prepare(self, item: Sequence[Any]) -> None:
        kind = item[0]
        try:
            if kind == "w":
                self.hardware.memory.write(World.NS, number(item[1]), bytes.fromhex(item[2]))
            elif kind == "fill":
                self.hardware.memory.fill(World.NS, number(item[1]), number(item[2]), number(item[3]))
            elif kind == "irq":
                self.hardware.pes[0].irq_after = number(item[1])
            elif kind == "gpt":
                set_world(self.hardware, item)
            elif kind == "tokens" and isinstance(self.tokens, FixedLengthTokens):
                self.tokens.set_lengths([number(length) for length in item[1:]])
        except GranuleProtectionFault:
            # The Host is hit by the fault, not the RMM: nothing is written.
            return

    def _measurements(self) -> dict[tuple[int, int], str]:
        return {
            (rd, slot): register[: digest_size(realm.hash_algo)].hex()
            for rd, realm in self.rmm.state.realms.items()
            for slot, register in enumerate(realm.measurements)
        }

    def _host_words(self, pa: int, size: int) -> dict[int, int]:
        first, last = pa & ~GRANULE_MASK, pa + size - 1 & ~GRANULE_MASK
        pages = b"".join(self.hardware.memory.page(here) for here in range(first, last + 1, GRANULE_BYTES))
        data = pages[pa - first : pa - first + size]
        words = ((at, int.from_bytes(data[at : at + 8], "little")) for at in range(0, size, 8))
        return {at: word for at, word in words if word}

    def _note(self, name: str, record: Record, expected: Any, got: Any) -> None:
        report = self.report.commands.setdefault(name, CommandReport())
        report.calls += 1
        if expected == got:
            report.agreements += 1
        elif report.first is None:
            report.first = {"i": record.get("i"), "expected": expected, "got": got}


def final_states(state: RmmState) -> dict[int, tuple[str, int]]:
    """State and reference count of every granule that is not NS, devices included: a trace's last record."""
    rows: dict[int, tuple[str, int]] = {}
    for base, count, value in state.granules.runs():
        for pa in range(base, base + count * GRANULE_BYTES, GRANULE_BYTES):
            references = state.references.get(pa, 0)
            if pa in state.tables:
                references = state.tables[pa].live
            elif pa in state.realms:
                references = state.realms[pa].num_recs
            rows[pa] = GranuleState(value).name, references
    if state.device_granules is not None:
        for base, count, value in state.device_granules.runs():
            for pa in range(base, base + count * GRANULE_BYTES, GRANULE_BYTES):
                rows[pa] = f"DEV_{GranuleState(value).name}", 0
    return rows


def features_of(header: Record) -> RmmFeatures:
    """The machine that a header describes."""
    registers = [number(value) for value in header["features"]]
    first = registers[0]
    return RmmFeatures(
        edition=EDITION_2_0,
        s2sz=first & 0xFF,
        lpa2=bool(first >> 8 & 1),
        sve_vl=first >> 10 & 0xF if first >> 9 & 1 else None,
        num_bps=first >> 14 & 0x3F,
        num_wps=first >> 20 & 0x3F,
        pmu_num_ctrs=first >> 27 & 0x1F,
        max_recs_order=registers[1] >> 6 & 0xF,
        pa_width=header.get("pa_width") or first & 0xFF,
        token_bound=header.get("token_bound", TOKEN_BOUND),
        vmid16=bool(header.get("vmid16", False)),
        gic=gic_of(header),
        rmi_versions=(VERSION_2_0,),
        rsi_versions=(RSI_1_0, RSI_1_1),
        later=LaterFeatures.from_registers(
            registers,
            yields=bool(header.get("yields", header.get("meta", {}).get("build") == _YIELDING_BUILD)),
            sysreg_128=bool(header.get("sysreg_128", True)),
        ),
    )


def gic_of(header: Record) -> GicFeatures:
    """The virtual GIC that a header describes; the recorded firmware of 2.0 had one list register and told no more."""
    gic = header.get("gic")
    if gic is None or header.get("meta", {}).get("kind") != DOOR:
        return GicFeatures(num_lrs=1)
    return GicFeatures(
        num_lrs=gic["num_lrs"],
        pri_res0_mask=gic["pri_res0_mask"],
        max_vintid=gic["max_vintid"],
        extended_ranges=bool(gic["ext_range"]),
        ich_vtr=gic["ich_vtr"],
    )


def _seen(rec: RunningRec, entry: Record) -> dict[str, Any]:
    return {"plane": rec.state.active_plane, "pc": entry["pc"], "x": list(entry["x"][:SEEN_REGISTERS])}


def _comparable(entry: Record) -> dict[str, Any]:
    return {"plane": number(entry["plane"]), "pc": number(entry["pc"]), "x": [number(value) for value in entry["x"]]}


def _words(words: Mapping[str, Any]) -> dict[int, int]:
    return {number(offset): number(value) for offset, value in words.items()}


def _forget_token_words(expected: dict[int, dict[int, int]], got: dict[int, dict[int, int]]) -> None:
    """Where a stand-in token shows up, the recorded bytes are not reproducible."""
    for pa, words in got.items():
        for offset, word in words.items():
            have, want = word.to_bytes(8, "little"), expected[pa].get(offset, 0).to_bytes(8, "little")
            kept = bytes(mine if mine == TOKEN_BYTE else theirs for theirs, mine in zip(want, have, strict=True))
            if TOKEN_BYTE in have:
                expected[pa][offset] = int.from_bytes(kept, "little")
