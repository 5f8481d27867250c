"""kvmtool (`lkvm run --realm`): where it loads what, and the device tree it writes.

Sources: kvmtool arm/kvm.c and arm/fdt.c through veraison/cca-realm-measurements src/kvmtool.rs.
"""

from __future__ import annotations

import msgspec

from cca_machine.vmm.arguments import last, options, properties
from cca_machine.vmm.blob import (
    EDGE_RISING,
    LEVEL_HIGH,
    LEVEL_LOW,
    PCI_IO,
    PCI_MEMORY,
    SPI,
    TreeBlob,
    machine_nodes,
    pmu_node,
    root_properties,
    timer_node,
)
from cca_machine.vmm.inputs import Inputs, count, linux_image, memory_size
from cca_machine.vmm.layout import Piece, VmmLayout, ascending, hash_name, personalization
from cca_machine.vmm.limits import Limits
from cca_machine.vmm.mistake import VmmMistake

RAM_BASE = 0x8000_0000
TREE_BYTES, TREE_ALIGN = 0x1_0000, 2 << 20
TREE_LIMIT = RAM_BASE + (256 << 20)
LOG_BYTES = 64 << 10
INITRD_ALIGN = 4
COMMAND_LINE = " console=hvc0 root=/dev/vda rw "

_GIC, _ITS = 1, 2
_DISTRIBUTOR, _DISTRIBUTOR_BYTES = 0x3FFF_0000, 0x1_0000
_REDISTRIBUTOR_BYTES, _ITS_BYTES = 0x2_0000, 0x2_0000
_UARTS, _VIRTIO, _RTC = (0x100_0000, 0x100_1000, 0x100_2000, 0x100_3000), 0x300_0000, 0x101_0000
_PCI, _PCI_BYTES = 0x4000_0000, 1 << 28
_VIRTIO_SPI, _PCI_SPI, _PCI_SLOTS = 4, 64, 32

_VALUED = {
    "-c": "cpus", "--cpus": "cpus", "-m": "mem", "--mem": "mem", "-d": "disk", "--disk": "disk", "-k": "kernel",
    "--kernel": "kernel", "-i": "initrd", "--initrd": "initrd", "-p": "params", "--params": "params", "-f": "firmware",
    "--firmware": "firmware", "-n": "network", "--network": "network", "--9p": "9p",
    **{
        f"--{name}": name
        for name in (
            "name", "console", "vsock", "dev", "tty", "hugetlbfs", "virtio-transport", "loglevel", "vfio-pci",
            "debug-iodelay", "measurement-algo", "realm-pv", "sve-max-vl", "pmu-counters", "vcpu-affinity", "irqchip",
            "firmware-address", "dtb",
        )
    },
}  # fmt: skip
_FLAGS = frozenset(
    f"--{name}"
    for name in (
        "balloon", "rng", "nodefaults", "no-dhcp", "debug", "debug-single-step", "debug-ioport", "debug-mmio", "pmu",
        "disable-sve", "realm", "measurement-log", "no-pvtime", "disable-mte", "force-pci", "restricted_mem",
        "restricted-mem",
    )
)  # fmt: skip


class _Machine(msgspec.Struct, frozen=True, kw_only=True):
    cpus: int
    ram_bytes: int
    bootargs: str
    its: bool
    virtio_mmio: int
    pmu: bool
    initrd: tuple[int, int] | None
    log: int | None


def arguments(cpus: int, memory: str, cmdline: str | None, hash_text: str | None, has: Inputs) -> list[str]:
    """A command line for a plain request."""
    words = ["--realm", "-c", str(cpus), "-m", memory]
    words += ["-p", cmdline] if cmdline is not None else []
    words += ["--measurement-algo", hash_text] if hash_text is not None else []
    for name in ("kernel", "initrd", "firmware"):
        words += [f"--{name}", name] if getattr(has, name) is not None else []
    return words


def lay_out(words: list[str], inputs: Inputs, host: Limits) -> VmmLayout:
    """The layout of `lkvm run` with `words`.

    Raises:
        VmmMistake: kvmtool would not take it.
    """
    given = options(words, _VALUED, _FLAGS)
    for name in ("cpus", "mem"):
        if name not in given:
            raise VmmMistake(f"kvmtool picks its {name} from the host when none is given", f"--{name} N")
    ram_bytes = memory_size((last(given, "mem") or "").partition("@")[0])
    if ram_bytes % TREE_ALIGN:
        raise VmmMistake("kvmtool's memory is a multiple of 2 MiB", "-m 512M")
    limits = _limits(given, host, RAM_BASE + ram_bytes - 1)
    tree_base = min(RAM_BASE + ram_bytes, TREE_LIMIT)
    log = None
    if "--measurement-log" in given:
        tree_base -= LOG_BYTES
        log = tree_base
    tree_base = -(-(tree_base - TREE_ALIGN - TREE_BYTES) // TREE_ALIGN) * TREE_ALIGN
    pieces, pc, initrd = _pieces(given, inputs, tree_base)
    machine = _Machine(
        cpus=count(last(given, "cpus") or "", "vCPUs"),
        ram_bytes=ram_bytes,
        bootargs=COMMAND_LINE + (f" {params}" if (params := last(given, "params")) else ""),
        its=last(given, "irqchip") != "gicv3",
        virtio_mmio=_devices(given) if last(given, "virtio-transport") == "mmio" else 0,
        pmu=bool(limits.pmu),
        initrd=initrd,
        log=log,
    )
    tree = inputs.dtb if inputs.dtb is not None else device_tree(machine)
    return VmmLayout(
        vmm="kvmtool",
        hash=hash_name(last(given, "measurement-algo") or "sha256"),
        limits=limits,
        ram_base=RAM_BASE,
        ram_bytes=ram_bytes,
        pieces=ascending([*pieces, Piece("dtb", tree_base, tree)]),
        pc=pc,
        x0=tree_base,
        unmeasured=((log, LOG_BYTES),) if log is not None else (),
        rpv=personalization((last(given, "realm-pv") or "").encode()),
    )


def _limits(given: dict[str, list[str]], host: Limits, last_byte: int) -> Limits:
    wanted = Limits(ipa_bits=max(last_byte.bit_length() - 1, 32) + 1)
    if "--pmu" in given:
        wanted = wanted.lowered(Limits(pmu=True))
    counters = last(given, "pmu-counters")
    if counters is not None:
        wanted = wanted.lowered(Limits(pmu_num_ctrs=int(counters) if counters.isdecimal() else -1))
    if "--disable-sve" in given:
        wanted = wanted.lowered(Limits(sve_vl=0))
    elif (vl := last(given, "sve-max-vl")) is not None:
        wanted = wanted.lowered(Limits(sve_vl=int(vl) if vl.isdecimal() else -1))
    return host.lowered(wanted)


def _pieces(
    given: dict[str, list[str]], inputs: Inputs, tree_base: int
) -> tuple[list[Piece], int, tuple[int, int] | None]:
    pieces, pc, initrd = [], 0, None
    if "kernel" in given:
        kernel = linux_image(inputs.need("kernel"))
        pieces.append(Piece("kernel", RAM_BASE + kernel.text_offset, kernel.content))
        pc = RAM_BASE
    if "initrd" in given:
        content = inputs.need("initrd")
        base = -(-(tree_base - len(content) - INITRD_ALIGN) // INITRD_ALIGN) * INITRD_ALIGN
        pieces.append(Piece("initrd", base, content))
        initrd = base, base + len(content)
    if "firmware" in given:
        pc = _address(last(given, "firmware-address"))
        pieces.append(Piece("firmware", pc, inputs.need("firmware")))
    return pieces, pc, initrd


def _address(text: str | None) -> int:
    try:
        return RAM_BASE if text is None else int(text, 0) & 0xFFFF_FFFF_FFFF_FFFF
    except ValueError:
        raise VmmMistake(f"{text!r} is no address", "--firmware-address 0x80000000") from None


def _devices(given: dict[str, list[str]]) -> int:
    """Virtio devices; one network device is there unless it is turned off."""
    network = 1
    for text in given.get("network", []):
        for name, value in properties(text, "--network"):
            if name == "mode":
                network = 0 if value == "none" else network + 1
    counted = sum(len(given.get(name, [])) for name in ("disk", "9p", "--balloon", "--rng"))
    return counted + network + ("vsock" in given) + (last(given, "console") == "virtio")


def device_tree(machine: _Machine) -> bytes:
    """The device tree, padded to the 64 KiB that kvmtool reserves for it."""
    tree = TreeBlob()
    with tree.node(""):
        root_properties(tree, _GIC)
        machine_nodes(tree, (RAM_BASE, machine.ram_bytes), machine.cpus, machine.bootargs, machine.initrd)
        _interrupts(tree, machine)
        if machine.log is not None:
            _log_node(tree, machine.log)
        timer_node(tree, LEVEL_LOW)
        if machine.pmu:
            pmu_node(tree)
        for spi, base in enumerate(_UARTS):
            with tree.node("U6_16550A", base):
                tree.text("compatible", "ns16550a")
                tree.addresses("reg", base, 8)
                tree.cells("interrupts", SPI, spi, LEVEL_HIGH)
                tree.cells("clock-frequency", 1_843_200)
        for index in range(machine.virtio_mmio):
            base = _VIRTIO + index * 0x200
            with tree.node("virtio", base):
                tree.text("compatible", "virtio,mmio")
                tree.addresses("reg", base, 0x200)
                tree.empty("dma-coherent")
                tree.cells("interrupts", SPI, _VIRTIO_SPI + index, EDGE_RISING)
        with tree.node("rtc", _RTC):
            tree.text("compatible", "motorola,mc146818")
            tree.addresses("reg", _RTC, 2)
        _pci(tree, machine)
    blob = tree.finish()
    if len(blob) > TREE_BYTES:
        raise VmmMistake(f"the device tree has {len(blob)} bytes", f"kvmtool has room for {TREE_BYTES}: fewer vCPUs")
    return blob.ljust(TREE_BYTES, b"\0")


def _interrupts(tree: TreeBlob, machine: _Machine) -> None:
    size = machine.cpus * _REDISTRIBUTOR_BYTES
    base = _DISTRIBUTOR - size
    with tree.node("intc"):
        tree.text("compatible", "arm,gic-v3")
        tree.cells("#interrupt-cells", 3)
        tree.empty("interrupt-controller")
        tree.addresses("reg", _DISTRIBUTOR, _DISTRIBUTOR_BYTES, base, size)
        tree.cells("phandle", _GIC)
        tree.cells("#address-cells", 2)
        tree.cells("#size-cells", 2)
        tree.empty("ranges")
        if machine.its:
            with tree.node("msic"):
                tree.text("compatible", "arm,gic-v3-its")
                tree.empty("msi-controller")
                tree.cells("phandle", _ITS)
                tree.addresses("reg", base - _ITS_BYTES, _ITS_BYTES)


def _log_node(tree: TreeBlob, log: int) -> None:
    with tree.node("reserved-memory"):
        tree.cells("#address-cells", 2)
        tree.cells("#size-cells", 2)
        tree.empty("ranges")
        with tree.node("event-log", log):
            tree.text("compatible", "cc-event-log")
            tree.addresses("reg", log, LOG_BYTES)


def _pci(tree: TreeBlob, machine: _Machine) -> None:
    window = _PCI + _PCI_BYTES
    with tree.node("pci", _PCI):
        tree.text("device_type", "pci")
        tree.cells("#address-cells", 3)
        tree.cells("#size-cells", 2)
        tree.empty("dma-coherent")
        tree.cells("bus-range", 0, 0)
        tree.text("compatible", "pci-host-ecam-generic")
        tree.addresses("reg", _PCI, _PCI_BYTES)
        tree.cells(
            "ranges", PCI_IO, 0, 0, 0, 0, 0, 0x1_0000, PCI_MEMORY, 0, window, 0, window, 0, RAM_BASE - window
        )  # fmt: skip
        lines = [(slot << 11, 0, 0, 1, _GIC, 0, 0, SPI, _PCI_SPI + slot, LEVEL_HIGH) for slot in range(_PCI_SLOTS)]
        tree.cells("interrupt-map", *(cell for line in lines for cell in line))
        tree.cells("interrupt-map-mask", 0x1F << 11, 0, 0, 7)
        tree.cells("#interrupt-cells", 1)
        if machine.its:
            tree.cells("msi-map", 0, _ITS, 0, 0x1_0000)
