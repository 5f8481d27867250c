from __future__ import annotations

import struct

from cca_machine.hardware.granule_map import Bank
from cca_machine.monitor.manifest import LIST_OFFSETS, SHARED_BUFFER_PA, boot_manifest

BANKS = (Bank(0x8000_0000, 0x4000_0000), Bank(0x88_0000_0000, 1 << 40))


def words(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def test_the_header_is_160_bytes_of_version_0_5():
    manifest = boot_manifest(())
    assert len(manifest) == 160
    assert struct.unpack_from("<I", manifest) == (5,)


def test_the_memory_banks_follow_the_header_where_the_pointer_says():
    manifest = boot_manifest(BANKS)
    count, pointer, _ = words(manifest[16:40])
    assert (count, pointer) == (2, SHARED_BUFFER_PA + 160)
    assert words(manifest[160:]) == [0x8000_0000, 0x4000_0000, 0x88_0000_0000, 1 << 40]


def test_the_words_of_every_list_add_up_to_zero():
    manifest = boot_manifest(BANKS)
    for name, offset in LIST_OFFSETS.items():
        record = words(manifest[offset : offset + 24])
        array = words(manifest[160 : 160 + 16 * record[0]])
        assert sum(record + array) % (1 << 64) == 0, name


def test_the_rmm_boots_with_the_memory_of_the_machine(rig):
    assert words(rig.rmm.manifest[160:]) == [0x8000_0000, 64 << 20]
