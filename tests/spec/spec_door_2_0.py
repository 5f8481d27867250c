"""A Host at the raw door of an RMM that speaks RMI 2.0, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from spec_door import DRAM, PAGE, Script, StubbornEl3

from cca_machine.abi.guest import GuestEvent, Smc
from cca_machine.abi.rmi2 import VERSION_2_0, RealmParams2, RecEnter2, RecExit2, RecParams2, Rmi2
from cca_machine.abi.rsi import VERSION_1_0
from cca_machine.abi.rsi2 import VERSION_1_1
from cca_machine.hardware.gpt import Gpi, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import EDITION_2_0, GicFeatures, RmmFeatures
from cca_machine.rmm.features_2_0 import LaterFeatures
from cca_machine.rmm.measurement import digest_size
from cca_machine.rmm.quirks import SUGGESTED, QuirkSet
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import AttestationOperation, Realm, RmmState

SUCCESS, INPUT, REALM, REC, BUSY, GLOBAL, BLOCKED, GPT = 0, 1, 2, 3, 10, 11, 14, 15
DONATE, RECLAIM, GOES_ON = 0x10D, 0x20D, 0x00D
"""X0 of an operation that wants memory, gives memory back, or wants to be continued."""

LINK = 1 << 63


def rtt(level: int) -> int:
    """X0 of ERROR_RTT."""
    return 0x4 | (level & 0xFF) << 8


def rtt_aux(level: int) -> int:
    """X0 of ERROR_RTT_AUX."""
    return 0x7 | (level & 0xFF) << 8


def desc(pa: int, count: int = 1, level: int = 3, undelegated: bool = False) -> int:
    """An address range descriptor."""
    return pa | count << 2 | 3 - level | (LINK if undelegated else 0)


class ShortTokens:
    """Tokens of a fixed length."""

    def make(self, realm: Realm, operation: AttestationOperation) -> bytes:
        """A stand-in token."""
        return bytes((0xA5,)) * (2000 + digest_size(realm.hash_algo))


class Door2:
    """One machine with one RMM of edition 2.0; allocates granules upward and never reuses one."""

    def __init__(
        self, quirks: QuirkSet = SUGGESTED, *, activated: bool = True, banks: tuple[Bank, ...] = (DRAM,),
        machine: Mapping[str, object] = {}, **later: object,
    ) -> None:  # fmt: skip
        self.hardware = HardwareState.build(banks)
        self.guest = Script()
        self.el3 = StubbornEl3(self.hardware)
        self.features = RmmFeatures(
            edition=EDITION_2_0, s2sz=48, lpa2=False, num_bps=5, num_wps=3, vmid16=False, gic=GicFeatures(num_lrs=4),
            rmi_versions=(VERSION_2_0,), rsi_versions=(VERSION_1_0, VERSION_1_1),
            later=LaterFeatures(**later),  # type: ignore[arg-type]
        )  # fmt: skip
        self.features = msgspec.structs.replace(self.features, **machine)
        state = RmmState.boot(banks)
        self.rmm = Rmm(state, self.hardware, self.el3, self.guest, self.features, quirks, ShortTokens())
        self._next = DRAM.base + 16 * PAGE
        if activated:
            self.ok(Rmi2.RMM_ACTIVATE)

    def call(self, command: int, *args: int) -> tuple[int, ...]:
        """One SMC."""
        return self.rmm.smc(int(command), args)

    def ok(self, command: int, *args: int) -> tuple[int, ...]:
        """One SMC that must succeed."""
        x = self.call(command, *args)
        assert x[0] == SUCCESS, f"{Rmi2(command).name}{tuple(map(hex, args))} answered {x[0]:#x}"
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
        while base < self._next:
            base = self.ok(Rmi2.GRANULE_RANGE_DELEGATE, base, self._next)[1]
        return base - count * PAGE

    def host_page(self, content: bytes = b"") -> int:
        """A fresh Host page with `content`."""
        pa = self.granules()
        self.write(pa, content)
        return pa

    def host_list(self, *descriptors: int) -> int:
        """A fresh Host page that begins with address descriptors."""
        return self.host_page(b"".join(value.to_bytes(8, "little") for value in descriptors))

    def read_list(self, pa: int, count: int) -> list[int]:
        """Address descriptors in Host memory."""
        raw = self.hardware.memory.read(World.NS, pa, 8 * count)
        return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, 8 * count, 8)]

    def write(self, pa: int, content: bytes) -> None:
        """The Host writes its memory."""
        self.hardware.memory.write(World.NS, pa, content)

    def take_away(self, pa: int) -> None:
        """Another world (Secure) takes an NS granule."""
        self.hardware.gpt.set(pa, Gpi.SECURE)

    def params(self, **fields: object) -> RealmParams2:
        """Parameters that REALM_CREATE accepts; roots are delegated unless given."""
        values: dict[str, object] = {"s2sz": 40, "rtt_level_start": 1, "rtt_num_start": 2, "num_bps": 1, "num_wps": 1}
        values.update(fields)
        trees = 1 + (int(values.get("num_aux_planes", 0)) if int(values.get("flags1", 0)) & 1 else 0)  # type: ignore[call-overload]
        bases = [self.delegated(2, 2 * PAGE) for _ in range(trees)]
        values.setdefault("rtt_base", bases[0])
        values.setdefault("aux_rtt_base", tuple(bases[1:]))
        return RealmParams2(**values)  # type: ignore[arg-type]

    def realm(self, **fields: object) -> int:
        """A NEW Realm; its RD."""
        params = self.params(**fields)
        rd = self.delegated()
        self.ok(Rmi2.REALM_CREATE, rd, self.host_page(params.encode()))
        return rd

    def tables(self, rd: int, ipa: int, to: int = 3, tree: int = 0) -> list[int]:
        """Tables below the starting level 1 down to level `to` around `ipa`, in a tree."""
        made = []
        for level in range(2, to + 1):
            rtt_pa, base = self.delegated(), ipa & -(1 << 39 - 9 * (level - 1))
            if tree:
                self.ok(Rmi2.RTT_AUX_CREATE, rd, rtt_pa, base, level, tree)
            else:
                self.ok(Rmi2.RTT_CREATE, rd, rtt_pa, base, level)
            made.append(rtt_pa)
        return made

    def data(self, rd: int, ipa: int, content: bytes = b"x", flags: int = 1) -> int:
        """A page with content; the Realm is NEW and has the tables."""
        pa = self.delegated()
        self.ok(Rmi2.RTT_DATA_MAP_INIT, rd, pa, ipa, self.host_page(content), flags)
        return pa

    def begin_rec(self, rd: int, index: int = 0, **fields: object) -> tuple[int, int]:
        """REC_CREATE up to its request for memory: REC and handle."""
        rec = self.delegated()
        values: dict[str, object] = {"flags": 1, "mpidr": index & 0xF | index >> 4 << 8, **fields}
        params = RecParams2(**values)  # type: ignore[arg-type]
        x = self.call(Rmi2.REC_CREATE, rd, rec, self.host_page(params.encode()))
        assert x[0] == DONATE
        return rec, x[1]

    def rec(self, rd: int, index: int = 0, **fields: object) -> int:
        """A REC of a NEW Realm."""
        rec, handle = self.begin_rec(rd, index, **fields)
        x = self.call(Rmi2.OP_MEM_DONATE, handle, self.host_list(desc(self.delegated(16), 16)), 1)
        assert x[:2] == (GOES_ON, 16)
        self.ok(Rmi2.OP_CONTINUE, handle)
        return rec

    def running_realm(self, recs: int = 1, ipa: int = 0x1000, **fields: object) -> tuple[int, list[int]]:
        """An ACTIVE Realm with level 3 tables around `ipa`, a page of RAM there, and `recs` RECs."""
        rd = self.realm(**fields)
        self.tables(rd, ipa)
        self.data(rd, ipa)
        made = [self.rec(rd, index) for index in range(recs)]
        self.ok(Rmi2.REALM_ACTIVATE, rd)
        return rd, made

    def enter(self, rec: int, events: Iterable[GuestEvent] = (), **entry: object) -> tuple[int, RecExit2]:
        """REC_ENTER while the Realm does `events`: X0 and the exit."""
        run = self.host_page()
        self.write(run, RecEnter2(**entry).encode())  # type: ignore[arg-type]
        self.guest.events = list(events)
        self.guest.gprs, self.guest.pcs = [], []
        x0 = self.call(Rmi2.REC_ENTER, rec, run)[0]
        return x0, RecExit2.decode(self.hardware.memory.read(World.ROOT, run + 0x800, 0x800))

    def rsi(self, rec: int, *registers: int) -> list[int]:
        """One SMC of the Realm that returns to it: x0..x30 afterwards."""
        x0, _ = self.enter(rec, [Smc(registers)])
        assert x0 == SUCCESS
        return self.guest.gprs[-1]
