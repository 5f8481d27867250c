"""Cloud Hypervisor: where it loads what, and the device tree it writes.

Source: veraison/cca-realm-measurements src/cloud_hypervisor.rs and what it measures.
"""

from __future__ import annotations

import base64
import binascii

from cca_machine.abi.rmi import PAGE_BYTES
from cca_machine.vmm.arguments import last, options, properties
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
from cca_machine.vmm.inputs import Inputs, count, linux_image, memory_size
from cca_machine.vmm.layout import Piece, VmmLayout, ascending, hash_name, personalization
from cca_machine.vmm.limits import Limits
from cca_machine.vmm.mistake import VmmMistake

RAM_BASE = 0x4000_0000
KERNEL_BASE = RAM_BASE + (4 << 20)
IPA_BITS = 48
DEFAULT_RAM = 512 << 20

_GIC, _ITS, _CLOCK = 1, 2, 3
_DISTRIBUTOR, _DISTRIBUTOR_BYTES = 0x8FF_0000, 0x1_0000
_REDISTRIBUTOR_BYTES, _ITS_BYTES = 0x2_0000, 0x2_0000
_UART, _RTC = 0x900_0000, 0x901_0000
_RTC_SPI, _UART_SPI = 8, 11
_PCI, _PCI_BYTES = 0x3000_0000, 0x10_0000
_PCI_PORTS, _PCI_WINDOW, _PCI_WINDOW_BYTES = 0x905_0000, 0x1000_0000, 0x2000_0000
_PCI_HIGH, _PCI_HIGH_END = 0x2_0000_0000, 0x3FFF_0000_0000

_VALUED = {
    f"--{name}": name
    for name in (
        "cpus", "platform", "memory", "memory-zone", "firmware", "kernel", "initramfs", "cmdline", "rate-limit-group",
        "disk", "net", "rng", "balloon", "fs", "pmem", "serial", "console", "device", "user-device", "vdpa", "vsock",
        "numa", "pci-segment", "log-file", "api-socket", "event-monitor", "restore", "seccomp", "tpm", "dtb",
    )
}  # fmt: skip
_FLAGS = frozenset(("--pvpanic", "--watchdog", "-v", "-vv", "-vvv"))


def arguments(cpus: int, memory: str, cmdline: str | None, hash_text: str | None, has: Inputs) -> list[str]:
    """A command line for a plain request."""
    if has.firmware is not None:
        raise VmmMistake("Cloud Hypervisor's Realms boot a kernel", "--kernel instead of --firmware")
    words = ["--cpus", f"boot={cpus}", "--memory", f"size={memory}"]
    words += ["--cmdline", cmdline] if cmdline is not None else []
    words += ["--platform", f"measurement_algo={hash_text}"] if hash_text is not None else []
    words += ["--kernel", "kernel"] if has.kernel is not None else []
    return words + (["--initramfs", "initrd"] if has.initrd is not None else [])


def lay_out(words: list[str], inputs: Inputs, host: Limits) -> VmmLayout:
    """The layout of `cloud-hypervisor` with `words`.

    Raises:
        VmmMistake: it would not take that.
    """
    given = options(words, _VALUED, _FLAGS)
    cpus, ram_bytes = 1, DEFAULT_RAM
    for name, value in properties(last(given, "cpus") or "boot=1", "--cpus"):
        cpus = count(value, "vCPUs") if name == "boot" else cpus
    for name, value in properties(last(given, "memory") or "size=512M", "--memory"):
        ram_bytes = memory_size(value) if name == "size" else ram_bytes
    algorithm, rpv = "sha512", b""
    for name, value in properties(last(given, "platform") or "=", "--platform") if "platform" in given else ():
        algorithm = hash_name(value) if name == "measurement_algo" else algorithm
        rpv = base64_value(value) if name == "personalization_value" else rpv
    pieces, initrd = [], None
    if "kernel" in given:
        kernel = linux_image(inputs.need("kernel"))
        pieces.append(Piece("kernel", KERNEL_BASE + kernel.text_offset, kernel.content))
    if "initramfs" in given:
        content = inputs.need("initrd")
        base = RAM_BASE + ram_bytes - -(-len(content) // PAGE_BYTES) * PAGE_BYTES
        pieces.append(Piece("initrd", base, content))
        initrd = base, base + len(content)
    tree = inputs.dtb
    if tree is None:
        tree = device_tree(cpus, ram_bytes, last(given, "cmdline"), initrd, last(given, "serial") != "off")
    return VmmLayout(
        vmm="cloud-hv",
        hash=algorithm,
        limits=host.lowered(Limits(ipa_bits=IPA_BITS)),
        ram_base=RAM_BASE,
        ram_bytes=ram_bytes,
        pieces=ascending([*pieces, Piece("dtb", RAM_BASE, tree)]),
        pc=KERNEL_BASE,
        x0=RAM_BASE,
        rpv=personalization(rpv),
    )


def base64_value(text: str) -> bytes:
    """A value given as base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise VmmMistake(f"{text!r} is no base64", "a personalization value in base64") from None


def device_tree(cpus: int, ram_bytes: int, cmdline: str | None, initrd: tuple[int, int] | None, serial: bool) -> bytes:
    """The device tree."""
    tree = TreeBlob()
    size = cpus * _REDISTRIBUTOR_BYTES
    base = _DISTRIBUTOR - size
    with tree.node(""):
        root_properties(tree, _GIC)
        machine_nodes(tree, (RAM_BASE, ram_bytes), cpus, cmdline, initrd)
        regions = (_DISTRIBUTOR, _DISTRIBUTOR_BYTES, base, size)
        gic_node(tree, regions, _GIC, (base - _ITS_BYTES, _ITS_BYTES), _ITS)
        timer_node(tree, LEVEL_HIGH)
        pmu_node(tree)
        clock_node(tree, _CLOCK)
        rtc_node(tree, _RTC, 0x1000, _CLOCK, _RTC_SPI)
        if serial:
            with tree.node("pl011", _UART):
                tree.text("clock-names", "apb_pclk")
                tree.addresses("reg", _UART, 0x1000)
                tree.cells("clocks", _CLOCK)
                tree.cells("interrupts", SPI, _UART_SPI, EDGE_RISING)
                tree.text("compatible", "arm,pl011", "arm,primecell")
        _pcie(tree)
    return tree.finish()


def _pcie(tree: TreeBlob) -> None:
    ports = (PCI_IO, 0, 0, 0, _PCI_PORTS, 0, 0x1_0000)
    window = (PCI_MEMORY, 0, _PCI_WINDOW, 0, _PCI_WINDOW, 0, _PCI_WINDOW_BYTES)
    high = (PCI_MEMORY_64, *halves(_PCI_HIGH), *halves(_PCI_HIGH), *halves(_PCI_HIGH_END - _PCI_HIGH))
    with tree.node("pcie", _PCI):
        tree.cells("ranges", *ports, *window, *high)
        tree.addresses("reg", _PCI, _PCI_BYTES)
        tree.cells("msi-map", 0, _ITS, 0, 0x100)
        tree.empty("dma-coherent")
        tree.cells("bus-range", 0, 0)
        tree.cells("linux,pci-domain", 0)
        tree.cells("#size-cells", 2)
        tree.cells("#address-cells", 3)
        tree.text("device_type", "pci")
        tree.text("compatible", "pci-host-ecam-generic")
