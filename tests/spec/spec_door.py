"""A Host at the raw door of an RMM, for tests: it knows the specification's structures and nothing of the model."""

from __future__ import annotations

from collections.abc import Iterable

from cca_machine.abi.guest import GuestEvent, RecView, Smc, Yield
from cca_machine.abi.rmi import RealmParams, RecEnter, RecExit, RecParams, Rmi
from cca_machine.hardware.gpt import Gpi, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import GicFeatures, RmmFeatures
from cca_machine.rmm.quirks import SUGGESTED, QuirkSet
from cca_machine.rmm.replay_ports import FixedLengthTokens, ReplayEl3
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import RmmState

PAGE = 4096
DRAM = Bank(0x8000_0000, 64 << 20)
OUTSIDE = 0x4000_0000
"""A well-formed address that is no delegable memory."""
TOKEN_LENGTHS = (2134, 2294)

SUCCESS, INPUT, REALM, REALM_OFF, REC = 0x0, 0x1, 0x2, 0x102, 0x3
UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF


def rtt(level: int) -> int:
    """X0 of ERROR_RTT."""
    return 0x4 | (level & 0xFF) << 8


class Script:
    """A guest that does the given events and then loses the PE."""

    def __init__(self) -> None:
        self.events: list[GuestEvent] = []
        self.gprs: list[list[int]] = []
        self.pcs: list[int] = []
        self.view: RecView | None = None

    def next_event(self, rec: RecView) -> GuestEvent:
        self.gprs.append(list(rec.gprs))
        self.pcs.append(rec.pc)
        self.view = rec
        return self.events.pop(0) if self.events else Yield()


class StubbornEl3(ReplayEl3):
    """EL3 that refuses what it is told to refuse."""

    def __init__(self, hardware: HardwareState) -> None:
        super().__init__(hardware)
        self.refused: set[int] = set()

    def delegate(self, pa: int) -> int:
        return -2 if pa in self.refused else super().delegate(pa)

    def undelegate(self, pa: int) -> int:
        return -3 if pa in self.refused else super().undelegate(pa)

    def undelegate_run(self, pa: int, count: int) -> int:
        first = min((bad - pa) // PAGE for bad in (*self.refused, pa + count * PAGE) if bad >= pa)
        return super().undelegate_run(pa, min(first, count))


class Door:
    """One machine with one RMM; allocates granules upward and never reuses one."""

    def __init__(self, quirks: QuirkSet = SUGGESTED, features: RmmFeatures | None = None) -> None:
        self.hardware = HardwareState.build((DRAM,))
        self.guest = Script()
        self.el3 = StubbornEl3(self.hardware)
        self.features = features or RmmFeatures(
            s2sz=48, lpa2=False, num_bps=5, num_wps=3, pmu_num_ctrs=6, vmid16=False, gic=GicFeatures(num_lrs=4)
        )
        self.rmm = Rmm(
            RmmState.boot((DRAM,)),
            self.hardware,
            self.el3,
            self.guest,
            self.features,
            quirks,
            FixedLengthTokens(TOKEN_LENGTHS),
        )
        self._next = DRAM.base
        self._vmid = 1

    def call(self, command: int, *args: int) -> tuple[int, ...]:
        """One SMC."""
        return self.rmm.smc(int(command), args)

    def ok(self, command: int, *args: int) -> tuple[int, ...]:
        """One SMC that must succeed."""
        x = self.call(command, *args)
        assert x[0] == SUCCESS, f"{Rmi(command).name}{tuple(map(hex, args))} answered {x[0]:#x}"
        return x

    def digest(self) -> bytes:
        """Everything: RMM, protection table and memory."""
        return self.rmm.digest() + self.hardware.digest()

    def granules(self, count: int = 1, align: int = PAGE) -> int:
        """`count` fresh contiguous NS granules."""
        base = -(-self._next // align) * align
        self._next = base + count * PAGE
        assert self._next <= DRAM.top
        return base

    def delegated(self, count: int = 1, align: int = PAGE) -> int:
        """`count` fresh contiguous DELEGATED granules."""
        base = self.granules(count, align)
        for pa in range(base, base + count * PAGE, PAGE):
            self.ok(Rmi.GRANULE_DELEGATE, pa)
        return base

    def host_page(self, content: bytes = b"") -> int:
        """A fresh Host page with `content`."""
        pa = self.granules()
        self.write(pa, content)
        return pa

    def write(self, pa: int, content: bytes) -> None:
        """The Host writes its memory."""
        self.hardware.memory.write(World.NS, pa, content)

    def take_away(self, pa: int) -> None:
        """Another world (Secure) takes an NS granule."""
        self.hardware.gpt.set(pa, Gpi.SECURE)

    def realm_params(self, **fields: int | bytes) -> RealmParams:
        """Parameters that REALM_CREATE accepts; roots are delegated unless given."""
        values: dict[str, int | bytes] = {
            "s2sz": 40, "rtt_level_start": 1, "rtt_num_start": 2, "num_bps": 1, "num_wps": 1, "vmid": self._vmid,
        }  # fmt: skip
        self._vmid += 1
        values.update(fields)
        if "rtt_base" not in fields:
            roots = int(values["rtt_num_start"])
            values["rtt_base"] = self.delegated(roots, roots * PAGE)
        return RealmParams(**values)  # type: ignore[arg-type]

    def realm(self, **fields: int | bytes) -> int:
        """A NEW Realm; its RD."""
        params = self.realm_params(**fields)
        rd = self.delegated()
        self.ok(Rmi.REALM_CREATE, rd, self.host_page(params.encode()))
        return rd

    def tables(self, rd: int, ipa: int, to: int = 3, start: int = 1) -> list[int]:
        """Tables below the starting level down to level `to` around `ipa`."""
        made = []
        for level in range(start + 1, to + 1):
            rtt_pa = self.delegated()
            span = 1 << 39 - 9 * (level - 1)
            self.ok(Rmi.RTT_CREATE, rd, rtt_pa, ipa & -span, level)
            made.append(rtt_pa)
        return made

    def data(self, rd: int, ipa: int, content: bytes = b"x", flags: int = 1) -> int:
        """A created page; the Realm is NEW and has the tables."""
        pa = self.delegated()
        self.ok(Rmi.DATA_CREATE, rd, pa, ipa, self.host_page(content), flags)
        return pa

    def rec_params(self, index: int = 0, **fields: int) -> RecParams:
        """Parameters that REC_CREATE accepts for REC `index`; auxiliary granules are delegated."""
        aux = self.delegated(16)
        values: dict[str, object] = {
            "flags": 1, "mpidr": index & 0xF | index >> 4 << 8, "num_aux": 16,
            "aux": tuple(aux + at * PAGE for at in range(16)),
        }  # fmt: skip
        values.update(fields)
        return RecParams(**values)  # type: ignore[arg-type]

    def rec(self, rd: int, index: int = 0, **fields: int) -> int:
        """A REC of a NEW Realm."""
        rec = self.delegated()
        self.ok(Rmi.REC_CREATE, rd, rec, self.host_page(self.rec_params(index, **fields).encode()))
        return rec

    def running_realm(self, recs: int = 1, ipa: int = 0x1000, **fields: int | bytes) -> tuple[int, list[int]]:
        """An ACTIVE Realm with level 3 tables around `ipa`, a page of RAM there, and `recs` RECs."""
        rd = self.realm(**fields)
        self.tables(rd, ipa)
        self.data(rd, ipa)
        made = [self.rec(rd, index) for index in range(recs)]
        self.ok(Rmi.REALM_ACTIVATE, rd)
        return rd, made

    def enter(
        self, rec: int, events: Iterable[GuestEvent] = (), run: int | None = None, **entry: object
    ) -> tuple[int, RecExit]:
        """REC_ENTER while the Realm does `events`: X0 and the exit."""
        run = self.host_page() if run is None else run
        self.write(run, RecEnter(**entry).encode())  # type: ignore[arg-type]
        self.guest.events = list(events)
        self.guest.gprs, self.guest.pcs = [], []
        x0 = self.call(Rmi.REC_ENTER, rec, run)[0]
        return x0, RecExit.decode(self.hardware.memory.read(World.ROOT, run + 0x800, 0x800))

    def rsi(self, rec: int, *registers: int) -> list[int]:
        """One SMC of the Realm that returns to it: x0..x30 afterwards."""
        x0, _ = self.enter(rec, [Smc(registers)])
        assert x0 == SUCCESS
        return self.guest.gprs[-1]
