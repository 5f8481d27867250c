"""QEMU's virt machine with an rme-guest: where it loads what.

Sources: QEMU hw/arm/virt.c and hw/arm/boot.c through veraison/cca-realm-measurements src/qemu.rs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cca_machine.vmm.arguments import properties, switch
from cca_machine.vmm.cloud_hypervisor import base64_value
from cca_machine.vmm.inputs import Inputs, count, linux_image, memory_size
from cca_machine.vmm.layout import Piece, VmmLayout, ascending, hash_name, personalization
from cca_machine.vmm.limits import Limits
from cca_machine.vmm.mistake import VmmMistake
from cca_machine.vmm.qemu_tree import HighRegions, TreeInputs, device_tree

RAM_BASE = 0x4000_0000
DEFAULT_RAM = 128 << 20
TREE_ROOM = 1 << 20
LOG_BYTES = 64 << 10
TREE_ALIGN = 2 << 20

_GIB = 1 << 30
_HIGH_BASE = 0x40_0000_0000
_HIGH_REDISTRIBUTORS, _HIGH_PCI_CONFIG, _HIGH_PCI_WINDOW = 64 << 20, 256 << 20, 512 << 30


class _Machine(msgspec.Struct):
    """What the command line says, as it is read."""

    limits: Limits
    ram_bytes: int = DEFAULT_RAM
    max_ram_bytes: int | None = None
    slots: int = 0
    topology: dict[str, int] = {}
    hash: str = "sha512"
    rpv: bytes = b""
    bootargs: str | None = None
    its: bool = True
    log: bool = False
    loads: set[str] = set()


def arguments(cpus: int, memory: str, cmdline: str | None, hash_text: str | None, has: Inputs) -> list[str]:
    """A command line for a plain request."""
    words = ["-M", "virt", "-smp", str(cpus), "-m", memory]
    words += ["-append", cmdline] if cmdline is not None else []
    words += ["-object", f"rme-guest,id=rme0,measurement-algorithm={hash_text}"] if hash_text is not None else []
    for name, option in (("kernel", "-kernel"), ("initrd", "-initrd"), ("firmware", "-bios")):
        words += [option, name] if getattr(has, name) is not None else []
    return words


def lay_out(words: list[str], inputs: Inputs, host: Limits) -> VmmLayout:
    """The layout of `qemu-system-aarch64 -M virt` with `words`; options that cannot change the RIM are passed over.

    Raises:
        VmmMistake: QEMU would not take it.
    """
    machine = _Machine(limits=host)
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        read = _READERS.get(name)
        if read is None:
            continue
        if not equals:
            if not rest:
                raise VmmMistake(f"{name} needs a value", f"{name} VALUE")
            value = rest.pop(0)
        read(machine, value)
    high, top = _high_regions(machine)
    limits = machine.limits.lowered(Limits(ipa_bits=min(top.bit_length() + 1, 52)))
    return _load(machine, inputs, limits, high)


def _load(machine: _Machine, inputs: Inputs, limits: Limits, high: HighRegions) -> VmmLayout:
    firmware = "firmware" in machine.loads
    tree_base, initrd = RAM_BASE, None
    pieces: list[Piece] = []
    if "kernel" in machine.loads:
        kernel = linux_image(inputs.need("kernel"))
        base = RAM_BASE + kernel.text_offset
        pieces.append(Piece("kernel", base, kernel.content))
        end = max(RAM_BASE + min(machine.ram_bytes // 2, 128 << 20), base + kernel.load_bytes)
        end = -(-end // 4096) * 4096
        if "initrd" in machine.loads:
            content = inputs.need("initrd")
            pieces.append(Piece("initrd", end, content))
            initrd = end, end + len(content)
            end += len(content)
        tree_base = -(-end // TREE_ALIGN) * TREE_ALIGN
    behind_firmware: tuple[Piece, ...] = ()
    if firmware:
        # The firmware takes kernel and initrd over fw_cfg and measures them itself.
        behind_firmware, pieces = tuple(pieces), [Piece("firmware", 0, inputs.need("firmware"))]
        tree_base = RAM_BASE
    log = tree_base + TREE_ROOM if machine.log else None
    tree = inputs.dtb
    if tree is None:
        tree = device_tree(
            TreeInputs(
                cpus=_cpus(machine.topology), ram=(RAM_BASE, machine.ram_bytes), bootargs=machine.bootargs,
                initrd=initrd, log=(log, LOG_BYTES) if log is not None else None, pmu=bool(limits.pmu),
                its=machine.its, high=high,
            )
        )  # fmt: skip
    return VmmLayout(
        vmm="qemu",
        hash=machine.hash,
        limits=limits,
        ram_base=RAM_BASE,
        ram_bytes=machine.ram_bytes,
        pieces=ascending([*pieces, Piece("dtb", tree_base, tree)]),
        pc=0 if firmware else RAM_BASE,
        x0=0 if firmware else tree_base,
        unmeasured=((log, LOG_BYTES),) if log is not None else (),
        rpv=personalization(machine.rpv),
        firmware_measures=behind_firmware,
    )


def _high_regions(machine: _Machine) -> tuple[HighRegions, int]:
    """Redistributors and PCIe windows above RAM, and the first address above them all."""
    most = machine.max_ram_bytes or machine.ram_bytes
    if most < machine.ram_bytes:
        raise VmmMistake("-m maxmem is below the size", "-m size=1G,maxmem=2G")
    hotplug = _up(RAM_BASE + machine.ram_bytes, _GIB)
    at = max(hotplug + _up(most - machine.ram_bytes + machine.slots * _GIB, _GIB), _HIGH_BASE)
    redistributors = _up(at, _HIGH_REDISTRIBUTORS)
    at += _HIGH_REDISTRIBUTORS
    config = _up(at, _HIGH_PCI_CONFIG)
    at += _HIGH_PCI_CONFIG
    window = _up(at, _HIGH_PCI_WINDOW)
    at += _HIGH_PCI_WINDOW
    regions = HighRegions(
        redistributors=(redistributors, _HIGH_REDISTRIBUTORS),
        config=(config, _HIGH_PCI_CONFIG),
        window=(window, _HIGH_PCI_WINDOW),
    )
    return regions, at


def _up(value: int, align: int) -> int:
    return -(-value // align) * align


def _cpus(given: dict[str, int]) -> int:
    """vCPUs of a -smp topology; what is missing of it is cores before sockets before threads."""
    parts = {name: given.get(name, 1) for name in ("sockets", "clusters", "cores", "threads")}
    wanted = given.get("maxcpus", given.get("cpus", 0))
    if "maxcpus" in given and given.get("cpus", wanted) != wanted:
        raise VmmMistake("vCPUs cannot be plugged into a Realm", "-smp with cpus equal to maxcpus")
    if wanted:
        for name in ("cores", "sockets", "threads"):
            if name not in given:
                others = parts["sockets"] * parts["clusters"] * parts["cores"] * parts["threads"] // parts[name]
                parts[name] = wanted // others
    total = parts["sockets"] * parts["clusters"] * parts["cores"] * parts["threads"]
    if not total:
        raise VmmMistake("-smp names no vCPU", "-smp 2")
    return total


def _memory(machine: _Machine, text: str) -> None:
    for name, value in properties(text, "-m"):
        if name in ("", "size"):
            machine.ram_bytes = memory_size(value)
        elif name == "maxmem":
            machine.max_ram_bytes = memory_size(value)
        elif name == "slots":
            machine.slots = count(value, "slots")
        else:
            raise VmmMistake(f"-m has no property {name}", "size, maxmem or slots")


def _smp(machine: _Machine, text: str) -> None:
    for name, value in properties(text, "-smp"):
        machine.topology[name or "cpus"] = count(value, name or "vCPUs")


def _object(machine: _Machine, text: str) -> None:
    kind, _, rest = text.partition(",")
    if kind != "rme-guest" or not rest:
        return
    for name, value in properties(rest, "-object"):
        if name == "measurement-algorithm":
            machine.hash = hash_name(value)
        elif name == "personalization-value":
            machine.rpv = base64_value(value)
        elif name == "measurement-log":
            machine.log = bool(switch(value, name))
        elif name != "id":
            raise VmmMistake(f"rme-guest has no property {name}", "id, measurement-algorithm, personalization-value")


def _board(machine: _Machine, text: str) -> None:
    for name, value in properties(text, "-machine"):
        if not name and value != "virt":
            raise VmmMistake(f"machine {value} cannot run Realms", "-M virt")
        if name == "its":
            its = switch(value, name)
            machine.its = machine.its if its is None else its
        elif name == "gic-version" and value not in ("3", "host", "max"):
            raise VmmMistake(f"gic-version={value} cannot serve Realms", "gic-version=3")


def _cpu(machine: _Machine, text: str) -> None:
    limits, sve = machine.limits, machine.limits.sve_vl
    for name, value in properties(text, "-cpu"):
        counted = {"num-breakpoints": "num_bps", "num-watchpoints": "num_wps", "num-pmu-counters": "pmu_num_ctrs"}
        if name in counted:
            most: dict[str, Any] = {counted[name]: int(value) if value.isdecimal() else -1}
            limits = limits.lowered(Limits(**most))
        elif name == "pmu":
            pmu = switch(value, name)
            limits = limits.lowered(Limits(pmu=bool(limits.pmu) if pmu is None else pmu))
        elif name == "sve":
            sve = 0 if switch(value, name) is False else sve
        elif name.startswith("sve") and name[3:].isdecimal():
            sve = _sve(sve, int(name[3:]), switch(value, name))
    machine.limits = limits if sve is None else limits.lowered(Limits(sve_vl=sve))


def _sve(current: int | None, length: int, on: bool | None) -> int | None:
    """Turning one vector length off leaves the next lower one."""
    if on is False and (current or 0) >= length:
        return length // 2
    return length if on and (current or 0) < length else current


def _append(machine: _Machine, text: str) -> None:
    machine.bootargs = text


def _loads(name: str) -> Callable[[_Machine, str], None]:
    def note(machine: _Machine, _: str) -> None:
        machine.loads.add(name)

    return note


def _nothing(machine: _Machine, _: str) -> None:
    """An option whose value cannot change the RIM."""


_READERS: dict[str, Callable[[_Machine, str], None]] = {
    "-m": _memory,
    "-smp": _smp,
    "-object": _object,
    "-append": _append,
    "-machine": _board,
    "-M": _board,
    "-cpu": _cpu,
    "-kernel": _loads("kernel"),
    "-initrd": _loads("initrd"),
    "-bios": _loads("firmware"),
    **dict.fromkeys(("-device", "-drive", "-fsdev", "-chardev", "-netdev", "-mon", "-dtb"), _nothing),
}
