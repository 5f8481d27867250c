"""The flattened device tree that the VMM hands to a guest: memory, vCPUs, PSCI and the mailbox shared with the host.

Format: Devicetree Specification 0.4, chapter 5 (version 17, compatible with 16): header, one empty memory reservation
entry, structure block, strings block; integers big endian. Nodes follow the order of QEMU's virt machine.
"""

from __future__ import annotations

import struct

_MAGIC = 0xD00DFEED
_VERSION, _COMPATIBLE = 17, 16
_BEGIN_NODE, _END_NODE, _PROPERTY, _END = 1, 2, 3, 9
_HEADER_BYTES = 40
_RESERVATION_BYTES = 16

PSCI_CPU_ON = 0xC4000003
PSCI_CPU_OFF = 0x84000002


class _Tree:
    """A tree being written; strings are shared in order of first use."""

    def __init__(self) -> None:
        self.structure = bytearray()
        self.strings = bytearray()
        self._offsets: dict[str, int] = {}

    def begin(self, name: str) -> None:
        self.structure += struct.pack(">I", _BEGIN_NODE) + _padded(name.encode() + b"\0")

    def end(self) -> None:
        self.structure += struct.pack(">I", _END_NODE)

    def words(self, name: str, *values: int) -> None:
        self.property(name, struct.pack(f">{len(values)}I", *values))

    def longs(self, name: str, *values: int) -> None:
        self.property(name, struct.pack(f">{len(values)}Q", *values))

    def text(self, name: str, *values: str) -> None:
        self.property(name, b"".join(value.encode() + b"\0" for value in values))

    def property(self, name: str, value: bytes) -> None:
        if name not in self._offsets:
            self._offsets[name] = len(self.strings)
            self.strings += name.encode() + b"\0"
        self.structure += struct.pack(">III", _PROPERTY, len(value), self._offsets[name]) + _padded(value)

    def finish(self) -> bytes:
        self.structure += struct.pack(">I", _END)
        at = _HEADER_BYTES + _RESERVATION_BYTES
        strings_at = at + len(self.structure)
        header = struct.pack(
            ">10I", _MAGIC, strings_at + len(self.strings), at, strings_at, _HEADER_BYTES, _VERSION, _COMPATIBLE, 0,
            len(self.strings), len(self.structure),
        )  # fmt: skip
        return header + bytes(_RESERVATION_BYTES) + bytes(self.structure) + bytes(self.strings)


def device_tree(ram_base: int, ram_bytes: int, mpidrs: tuple[int, ...], mailbox: int, mailbox_bytes: int) -> bytes:
    """The blob for a guest with RAM at `ram_base`, one cpu node per entry of `mpidrs`, and the mailbox at `mailbox`."""
    tree = _Tree()
    tree.begin("")
    tree.text("compatible", "linux,dummy-virt")
    tree.text("model", "linux,dummy-virt-realm")
    tree.words("#address-cells", 2)
    tree.words("#size-cells", 2)
    tree.begin("chosen")
    tree.text("bootargs", "console=hvc0")
    tree.end()
    tree.begin(f"memory@{ram_base:x}")
    tree.text("device_type", "memory")
    tree.longs("reg", ram_base, ram_bytes)
    tree.end()
    _cpus(tree, mpidrs)
    tree.begin("psci")
    tree.words("cpu_on", PSCI_CPU_ON)
    tree.words("cpu_off", PSCI_CPU_OFF)
    tree.text("method", "smc")
    tree.text("compatible", "arm,psci-1.0", "arm,psci-0.2", "arm,psci")
    tree.end()
    tree.begin(f"mailbox@{mailbox:x}")
    tree.text("compatible", "realmfleet,mailbox")
    tree.longs("reg", mailbox, mailbox_bytes)
    tree.end()
    tree.end()
    return tree.finish()


def _cpus(tree: _Tree, mpidrs: tuple[int, ...]) -> None:
    tree.begin("cpus")
    tree.words("#address-cells", 1)
    tree.words("#size-cells", 0)
    for mpidr in mpidrs:
        tree.begin(f"cpu@{mpidr:x}")
        tree.words("reg", mpidr)
        tree.text("enable-method", "psci")
        tree.text("compatible", "arm,armv8")
        tree.text("device_type", "cpu")
        tree.end()
    tree.end()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
