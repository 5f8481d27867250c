"""Command lines and files that a VMM would not take are refused with what would be right."""

from __future__ import annotations

import gzip
import struct

import pytest

from cca_machine.vmm import cloud_hypervisor, kvmtool, qemu
from cca_machine.vmm.inputs import Inputs, linux_image, memory_size
from cca_machine.vmm.limits import Limits, from_toml
from cca_machine.vmm.measure import measure
from cca_machine.vmm.mistake import VmmMistake

HOST = Limits(num_bps=6, num_wps=6)
KERNEL = bytearray(256)
struct.pack_into("<QQ", KERNEL, 8, 0x8_0000, 0x20_0000)
KERNEL[56:60] = b"ARM\x64"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-c", "1"], "mem"),
        (["-m", "512M"], "cpus"),
        (["-c", "1", "-m", "511M"], "multiple of 2 MiB"),
        (["-c", "0", "-m", "512M"], "number of vCPUs"),
        (["-c", "1", "-m", "much"], "memory size"),
        (["-c", "1", "-m"], "needs a value"),
        (["-c", "1", "-m", "512M", "--aarch32"], "no option --aarch32"),
        (["-c", "1", "-m", "512M", "--measurement-algo", "md5"], "measurement algorithm"),
        (["-c", "1", "-m", "512M", "--pmu-counters", "32"], "pmu_num_ctrs"),
        (["-c", "1", "-m", "512M", "-k", "Image"], "none is given"),
        (["-c", "1", "-m", "512M", "--realm-pv", "x" * 65], "personalization"),
    ],
)
def test_kvmtool_says_what_it_would_not_take(words: list[str], says: str) -> None:
    with pytest.raises(VmmMistake, match=says):
        kvmtool.lay_out(words, Inputs(), HOST)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-smp", "cpus=2,maxcpus=4"], "plugged"),
        (["-m", "size=1G,maxmem=512M"], "maxmem"),
        (["-M", "q35"], "q35"),
        (["-object", "rme-guest,personalization-value=??"], "base64"),
        (["-object", "rme-guest,colour=red"], "colour"),
        (["-M", "virt,its=maybe"], "switch"),
        (["-append"], "needs a value"),
    ],
)
def test_qemu_says_what_it_would_not_take(words: list[str], says: str) -> None:
    with pytest.raises(VmmMistake, match=says):
        qemu.lay_out(words, Inputs(), HOST)


def test_cloud_hypervisor_says_what_it_would_not_take() -> None:
    with pytest.raises(VmmMistake, match="kernel"):
        cloud_hypervisor.lay_out(["--kernel", "Image"], Inputs(), HOST)
    with pytest.raises(VmmMistake, match="no option"):
        cloud_hypervisor.lay_out(["--gpu"], Inputs(), HOST)


def test_a_kernel_is_inflated_and_loaded_at_its_offset() -> None:
    plain, packed = linux_image(bytes(KERNEL)), linux_image(gzip.compress(bytes(KERNEL)))
    assert plain == packed
    layout = cloud_hypervisor.lay_out(["--kernel", "Image"], Inputs(kernel=bytes(KERNEL)), HOST)
    (kernel,) = [piece for piece in layout.pieces if piece.what == "kernel"]
    assert kernel.base == 0x4040_0000 + 0x8_0000
    with pytest.raises(VmmMistake, match="arm64"):
        linux_image(b"MZ" * 64)


def test_pieces_that_meet_on_a_page_are_refused() -> None:
    big = bytearray(KERNEL) + bytes(0x10_0000)
    struct.pack_into("<Q", big, 8, 0x1000)
    with pytest.raises(VmmMistake, match="overlap"):
        kvmtool.lay_out(["-c", "1", "-m", "2M", "-k", "Image"], Inputs(kernel=bytes(big)), HOST)


def test_a_limit_that_the_realm_needs_must_be_known() -> None:
    layout = qemu.lay_out(["-cpu", "pmu=on"], Inputs(), Limits(num_bps=6))
    with pytest.raises(VmmMistake, match="num_wps and pmu_num_ctrs") as caught:
        next(iter(measure(layout)))
    assert "--num-wps N" in caught.value.hint


@pytest.mark.parametrize("text", ["num_bps = 1", "num_bps = 'six'", "colour = 3", "= 3", "sve_vl = 100"])
def test_a_configuration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(VmmMistake):
        from_toml(text, "host.conf")


def test_sizes_count_mebibytes_unless_they_say_otherwise() -> None:
    assert [memory_size(text) for text in ("1", "512M", "1G", "4096B")] == [1 << 20, 512 << 20, 1 << 30, 4096]
