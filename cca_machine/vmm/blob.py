"""Flattened device trees as VMMs write them for Realms: the format, and the nodes that all of them share.

Format: Devicetree Specification 0.4, chapter 5: version 17 compatible with 16, one empty memory reservation entry,
structure block, then the names of properties in order of first use; integers big endian, no padding at the end.
Nodes: QEMU hw/arm/virt.c, kvmtool arm/fdt.c, and what veraison/cca-realm-measurements measures for each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

PPI, SPI = 1, 0
EDGE_RISING, LEVEL_HIGH, LEVEL_LOW = 1, 4, 8
PCI_IO, PCI_MEMORY, PCI_MEMORY_64 = 0x0100_0000, 0x0200_0000, 0x0300_0000

_MAGIC, _VERSION, _COMPATIBLE = 0xD00D_FEED, 17, 16
_BEGIN_NODE, _END_NODE, _PROPERTY, _END = 1, 2, 3, 9
_HEADER_BYTES, _RESERVATION_BYTES = 40, 16

TIMER_PPIS = (13, 14, 11)
PMU_PPI = 7


class TreeBlob:
    """A tree being written."""

    def __init__(self) -> None:
        self._structure = bytearray()
        self._strings = bytearray()
        self._offsets: dict[str, int] = {}

    @contextmanager
    def node(self, name: str, address: int | None = None) -> Iterator[None]:
        """A node; with `address` the name gets it as unit address."""
        full = name if address is None else f"{name}@{address:x}"
        self._structure += struct.pack(">I", _BEGIN_NODE) + _padded(full.encode() + b"\0")
        yield
        self._structure += struct.pack(">I", _END_NODE)

    def empty(self, name: str) -> None:
        """A property that is there or not."""
        self._property(name, b"")

    def cells(self, name: str, *values: int) -> None:
        """32-bit cells."""
        self._property(name, struct.pack(f">{len(values)}I", *values))

    def addresses(self, name: str, *values: int) -> None:
        """64-bit values: two cells each."""
        self._property(name, struct.pack(f">{len(values)}Q", *values))

    def text(self, name: str, *values: str) -> None:
        """Strings."""
        self._property(name, b"".join(value.encode() + b"\0" for value in values))

    def finish(self) -> bytes:
        """The blob."""
        structure = bytes(self._structure) + struct.pack(">I", _END)
        at = _HEADER_BYTES + _RESERVATION_BYTES
        strings_at = at + len(structure)
        header = struct.pack(
            ">10I", _MAGIC, strings_at + len(self._strings), at, strings_at, _HEADER_BYTES, _VERSION, _COMPATIBLE, 0,
            len(self._strings), len(structure),
        )  # fmt: skip
        return header + bytes(_RESERVATION_BYTES) + structure + bytes(self._strings)

    def _property(self, name: str, value: bytes) -> None:
        if name not in self._offsets:
            self._offsets[name] = len(self._strings)
            self._strings += name.encode() + b"\0"
        self._structure += struct.pack(">III", _PROPERTY, len(value), self._offsets[name]) + _padded(value)


def halves(value: int) -> tuple[int, int]:
    """A 64-bit value as two cells."""
    return value >> 32, value & 0xFFFF_FFFF


def root_properties(tree: TreeBlob, interrupt_parent: int) -> None:
    """What every Realm's tree begins with."""
    tree.text("compatible", "linux,dummy-virt")
    tree.text("model", "linux,dummy-virt-realm")
    tree.cells("#address-cells", 2)
    tree.cells("#size-cells", 2)
    tree.cells("interrupt-parent", interrupt_parent)


def machine_nodes(
    tree: TreeBlob, ram: tuple[int, int], cpus: int, bootargs: str | None, initrd: tuple[int, int] | None
) -> None:
    """chosen, memory, cpus and psci; `ram` is (base, bytes), `initrd` (first address, address behind it)."""
    with tree.node("chosen"):
        if bootargs is not None:
            tree.text("bootargs", bootargs)
        if initrd is not None:
            tree.addresses("linux,initrd-start", initrd[0])
            tree.addresses("linux,initrd-end", initrd[1])
    with tree.node("memory", ram[0]):
        tree.text("device_type", "memory")
        tree.addresses("reg", *ram)
    with tree.node("cpus"):
        tree.cells("#size-cells", 0)
        tree.cells("#address-cells", 1)
        for index in range(cpus):
            with tree.node(f"cpu@{index}"):
                tree.cells("reg", index)
                tree.text("enable-method", "psci")
                tree.text("compatible", "arm,armv8")
                tree.text("device_type", "cpu")
    with tree.node("psci"):
        tree.cells("cpu_on", 0xC400_0003)
        tree.cells("cpu_off", 0x8400_0002)
        tree.text("method", "smc")
        tree.text("compatible", "arm,psci-1.0", "arm,psci-0.2", "arm,psci")


def gic_node(
    tree: TreeBlob, regions: Sequence[int], phandle: int, its: tuple[int, int] | None, its_phandle: int
) -> None:
    """A GICv3 with `regions` (base and size of distributor and redistributors), and its ITS."""
    with tree.node("intc", regions[0]):
        tree.cells("phandle", phandle)
        tree.addresses("reg", *regions)
        tree.cells("#redistributor-regions", len(regions) // 2 - 1)
        tree.text("compatible", "arm,gic-v3")
        tree.empty("ranges")
        tree.cells("#size-cells", 2)
        tree.cells("#address-cells", 2)
        tree.empty("interrupt-controller")
        tree.cells("#interrupt-cells", 3)
        if its is not None:
            with tree.node("its", its[0]):
                tree.cells("phandle", its_phandle)
                tree.addresses("reg", *its)
                tree.cells("#msi-cells", 1)
                tree.empty("msi-controller")
                tree.text("compatible", "arm,gic-v3-its")


def timer_node(tree: TreeBlob, trigger: int) -> None:
    """The architected timer."""
    with tree.node("timer"):
        tree.cells("interrupts", *(cell for ppi in TIMER_PPIS for cell in (PPI, ppi, trigger)))
        tree.empty("always-on")
        tree.text("compatible", "arm,armv8-timer", "arm,armv7-timer")


def pmu_node(tree: TreeBlob) -> None:
    """The PMU's interrupt."""
    with tree.node("pmu"):
        tree.cells("interrupts", PPI, PMU_PPI, LEVEL_HIGH)
        tree.text("compatible", "arm,armv8-pmuv3")


def clock_node(tree: TreeBlob, phandle: int) -> None:
    """The 24 MHz clock of the PrimeCell devices."""
    with tree.node("apb-pclk"):
        tree.cells("phandle", phandle)
        tree.text("clock-output-names", "clk24mhz")
        tree.cells("clock-frequency", 24_000_000)
        tree.cells("#clock-cells", 0)
        tree.text("compatible", "fixed-clock")


def rtc_node(tree: TreeBlob, base: int, size: int, clock: int, spi: int) -> None:
    """A PL031 real-time clock."""
    with tree.node("pl031", base):
        tree.text("clock-names", "apb_pclk")
        tree.addresses("reg", base, size)
        tree.cells("clocks", clock)
        tree.cells("interrupts", SPI, spi, LEVEL_HIGH)
        tree.text("compatible", "arm,pl031", "arm,primecell")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
