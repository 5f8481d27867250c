"""The device tree of QEMU's virt machine for a Realm (QEMU hw/arm/virt.c, as of 9.1)."""

from __future__ import annotations

import msgspec

from cca_machine.vmm.blob import (
    EDGE_RISING,
    LEVEL_HIGH,
    PCI_IO,
    PCI_MEMORY,
    PCI_MEMORY_64,
    SPI,
    TreeBlob,
    clock_node,
    gic_node,
    halves,
    machine_nodes,
    pmu_node,
    root_properties,
    rtc_node,
    timer_node,
)

_PHANDLES = 0x8000
_DISTRIBUTOR, _ITS, _REDISTRIBUTORS = (0x800_0000, 0x1_0000), (0x808_0000, 0x2_0000), (0x80A_0000, 0xF6_0000)
_REDISTRIBUTOR_BYTES = 0x2_0000
_UART, _RTC, _FW_CFG, _VIRTIO, _BUS = 0x900_0000, 0x901_0000, 0x902_0000, 0xA00_0000, 0xC00_0000
_BUS_BYTES, _VIRTIO_BYTES, _VIRTIO_SLOTS = 0x200_0000, 0x200, 32
_PCI, _PCI_BYTES, _PCI_PORTS = 0x1000_0000, 0x2EFF_0000, 0x3EFF_0000
_UART_SPI, _RTC_SPI, _PCI_SPI, _VIRTIO_SPI = 1, 2, 3, 16


class HighRegions(msgspec.Struct, frozen=True, kw_only=True):
    """(base, bytes) of what floats above RAM."""

    redistributors: tuple[int, int]
    config: tuple[int, int]
    window: tuple[int, int]


class TreeInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What the tree varies with; `ram` and `log` are (base, bytes), `initrd` (first address, address behind it)."""

    cpus: int
    ram: tuple[int, int]
    bootargs: str | None
    initrd: tuple[int, int] | None
    log: tuple[int, int] | None
    pmu: bool
    its: bool
    high: HighRegions

    @property
    def gic(self) -> int:
        """Phandle of the interrupt controller: behind those of clock and vCPUs."""
        return _PHANDLES + self.cpus + 1


def device_tree(given: TreeInputs) -> bytes:
    """The device tree."""
    tree = TreeBlob()
    with tree.node(""):
        root_properties(tree, given.gic)
        machine_nodes(tree, given.ram, given.cpus, given.bootargs, given.initrd)
        with tree.node("platform-bus", _BUS):
            tree.cells("interrupt-parent", given.gic)
            tree.cells("ranges", 0, 0, _BUS, _BUS_BYTES)
            tree.cells("#address-cells", 1)
            tree.cells("#size-cells", 1)
            tree.text("compatible", "qemu,platform", "simple-bus")
        if given.log is not None:
            _log_node(tree, given.log)
        with tree.node("fw-cfg", _FW_CFG):
            tree.empty("dma-coherent")
            tree.addresses("reg", _FW_CFG, 0x18)
            tree.text("compatible", "qemu,fw-cfg-mmio")
        for slot in range(_VIRTIO_SLOTS):
            with tree.node("virtio_mmio", _VIRTIO + slot * _VIRTIO_BYTES):
                tree.empty("dma-coherent")
                tree.cells("interrupts", SPI, _VIRTIO_SPI + slot, EDGE_RISING)
                tree.addresses("reg", _VIRTIO + slot * _VIRTIO_BYTES, _VIRTIO_BYTES)
                tree.text("compatible", "virtio,mmio")
        _pcie(tree, given)
        rtc_node(tree, _RTC, 0x1000, _PHANDLES, _RTC_SPI)
        with tree.node("pl011", _UART):
            tree.text("clock-names", "uartclk", "apb_pclk")
            tree.addresses("reg", _UART, 0x1000)
            tree.cells("clocks", _PHANDLES, _PHANDLES)
            tree.cells("interrupts", SPI, _UART_SPI, LEVEL_HIGH)
            tree.text("compatible", "arm,pl011", "arm,primecell")
        if given.pmu:
            pmu_node(tree)
        regions = [*_DISTRIBUTOR, *_REDISTRIBUTORS]
        if given.cpus > _REDISTRIBUTORS[1] // _REDISTRIBUTOR_BYTES:
            regions += given.high.redistributors
        gic_node(tree, regions, given.gic, _ITS if given.its else None, given.gic + 1)
        timer_node(tree, LEVEL_HIGH)
        clock_node(tree, _PHANDLES)
    return tree.finish()


def _log_node(tree: TreeBlob, log: tuple[int, int]) -> None:
    with tree.node("reserved-memory"):
        tree.empty("ranges")
        tree.cells("#size-cells", 2)
        tree.cells("#address-cells", 2)
        with tree.node("event-log", log[0]):
            tree.addresses("reg", *log)
            tree.text("compatible", "cc-event-log")


def _pcie(tree: TreeBlob, given: TreeInputs) -> None:
    pins = [
        (device << 11, 0, 0, pin + 1, given.gic, 0, 0, SPI, _PCI_SPI + (pin + device) % 4, LEVEL_HIGH)
        for device in range(4)
        for pin in range(4)
    ]
    base, size = given.high.window
    with tree.node("pcie", _PCI):
        tree.cells("interrupt-map", *(cell for pin in pins for cell in pin))
        tree.cells("interrupt-map-mask", 3 << 11, 0, 0, 7)
        tree.cells("#interrupt-cells", 1)
        ports = (PCI_IO, 0, 0, 0, _PCI_PORTS, 0, 0x1_0000)
        window = (PCI_MEMORY, 0, _PCI, 0, _PCI, 0, _PCI_BYTES)
        tree.cells("ranges", *ports, *window, PCI_MEMORY_64, *halves(base), *halves(base), *halves(size))
        tree.addresses("reg", *given.high.config)
        if given.its:
            tree.cells("msi-map", 0, given.gic + 1, 0, 0x1_0000)
        tree.empty("dma-coherent")
        tree.cells("bus-range", 0, 0xFF)
        tree.cells("linux,pci-domain", 0)
        tree.cells("#size-cells", 2)
        tree.cells("#address-cells", 3)
        tree.text("device_type", "pci")
        tree.text("compatible", "pci-host-ecam-generic")
