"""The boot manifest: all the topology that the RMM trusts, because EL3 wrote it and the Host cannot.

Layout and checksums of version 0.5 (TF-A docs/components/rmm-el3-comms-spec.rst, "RMM Boot Manifest").
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cca_machine.abi.smc import MASK64
from cca_machine.hardware.granule_map import Bank

MANIFEST_VERSION = 0x0000_0005
"""Minor in bits 15:0, major in bits 30:16."""

SHARED_BUFFER_PA = 0xFFBF_F000
"""Where the buffer that EL3 and the RMM share lies; the lists of the manifest follow its header there (modelled)."""

HEADER_BYTES = 160
LIST_OFFSETS = {"dram": 16, "console": 40, "non_coherent": 64, "coherent": 88, "smmu": 112, "root_complex": 136}
"""Offsets of the (count, pointer, checksum) records in the header."""

_LIST = struct.Struct("<QQQ")
_BANK = struct.Struct("<QQ")


def checksum(words: Sequence[int]) -> int:
    """The word that makes the sum of all words zero modulo 2^64."""
    return -sum(words) & MASK64


def boot_manifest(dram: Sequence[Bank], shared_buffer: int = SHARED_BUFFER_PA) -> bytes:
    """The manifest of a machine with these banks of memory and no devices; pointers are physical addresses."""
    page = bytearray(HEADER_BYTES)
    struct.pack_into("<IIQ", page, 0, MANIFEST_VERSION, 0, 0)
    banks = [word for bank in dram for word in (bank.base, bank.size)]
    pointer = shared_buffer + HEADER_BYTES
    _LIST.pack_into(page, LIST_OFFSETS["dram"], len(dram), pointer, checksum([len(dram), pointer, *banks]))
    for bank in dram:
        page += _BANK.pack(bank.base, bank.size)
    return bytes(page)
