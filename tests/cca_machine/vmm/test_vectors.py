"""Every Realm of the measurement tool's vectors: laid out, built on the model's RMM, and recomputed without it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from cca_machine.vmm.layout import VmmLayout
from cca_machine.vmm.limits import Limits
from cca_machine.vmm.measure import CannotExist, measure, starting_level
from orchestrator.rim_request import RimRequest, firmware_rems, host_words, lay_out, recomputed
from orchestrator.rim_vectors import Vector, judge

RME = ["-M", "confidential-guest-support=rme0", "-object", "rme-guest,id=rme0,measurement-algorithm=sha256", "-cpu",
       "host", "-M", "virt", "-enable-kvm", "-smp", "2", "-m", "1G", "-nographic"]  # fmt: skip
HOST = ["--num-wps", "6", "--num-bps", "6", "--ipa-bits", "52", "--pmu-num-ctrs", "6"]
FILES = ["-f", "fw.bin", "-k", "linux.bin", "-i", "initrd.bin"]

PUBLISHED: dict[str, tuple[str, list[str], list[str], str]] = {
    "qemu-bios-kernel": (
        "qemu", [*HOST, *FILES], [*RME, "-bios", "firmware", "-kernel", "Image"],
        "cbf533a94009dfa6b83016a89b428d1d910fb3593856bb386d7b2bd07a1bc834",
    ),
    "qemu-kernel-initrd": (
        "qemu", [*HOST, *FILES], [*RME, "-kernel", "Image", "-initrd", "initrd"],
        "9af47a8e4d6ac775e05f8a8893f9e383694688719d1bbb4281ed1c25056e0911",
    ),
    "qemu-kernel-initrd-append": (
        "qemu", [*HOST, *FILES], [*RME, "-kernel", "Image", "-initrd", "initrd", "-append", "root=/dev/vda2"],
        "22d398e695e776385bc268454587b418dde16e34bc69d9a24fc96abb3050a24e",
    ),
    "qemu-noargs": (
        "qemu", HOST, [],
        "cf409055d866eea6c8d5e7862b540ff1cac9b11f125d088587d5ae97a0e3341667cf8fb3983e7377bca5c01d037bd97081ebf3b4dcb6"
        "48442149749f4d65eeb0",
    ),
    "qemu-pmu-on": (
        "qemu", HOST, ["-cpu", "pmu=on"],
        "8120ef921a987a3f8b9d4bb5e40f8489e2b4fc69c5e1b17b1a9b040884a1211d99b2bddc3fddcc99ec99f4244743fe3dcd3d9020583b"
        "47f7b66a2ec66bb897b9",
    ),
}  # fmt: skip
"""Realms whose RIMs the measurement tool's own tests assert (veraison/cca-realm-measurements)."""


@pytest.fixture(scope="module")
def realm(vectors: Path) -> Path:
    return vectors / "attestation" / "realm"


@pytest.fixture(scope="module")
def listed(realm: Path) -> list[Vector]:
    found = json.loads((realm / "rim-vectors.json").read_text())["vectors"]
    return msgspec.convert(found, list[Vector])


def layout_of(vmm: str, options: list[str], words: list[str], folder: Path) -> VmmLayout:
    files, configs, limits = host_words(options, folder)
    return lay_out(RimRequest(vmm=vmm, words=words, files=files, configs=configs, limits=limits))


def test_every_vector_agrees_step_by_step(listed: list[Vector], realm: Path) -> None:
    assert len(listed) >= 14
    for vector in listed:
        verdict = judge(vector, realm)
        assert verdict.good, (vector.id, verdict.first)
        assert bool(verdict.impossible) == (vector.id == "kvmtool-sha512-4vcpu-3G")


def test_the_rmm_and_plain_arithmetic_give_the_same_rim_after_every_step(listed: list[Vector], realm: Path) -> None:
    for vector in listed:
        layout = layout_of(vector.vmm, vector.options, vector.vmm_args, realm)
        assert list(measure(layout)) == list(recomputed(layout)), vector.id


def test_the_device_tree_is_the_recorded_one_to_the_byte(listed: list[Vector], realm: Path) -> None:
    for vector in listed:
        layout = layout_of(vector.vmm, vector.options, vector.vmm_args, realm)
        (tree,) = [piece.content for piece in layout.pieces if piece.what == "dtb"]
        assert vector.dtb is not None
        assert tree == (realm / vector.dtb).read_bytes(), vector.id


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_rim_comes_out_with_its_device_tree(name: str, realm: Path) -> None:
    vmm, options, words, expected = PUBLISHED[name]
    layout = layout_of(vmm, options, words, realm)
    assert list(measure(layout))[-1].rim.hex() == expected
    (tree,) = [piece.content for piece in layout.pieces if piece.what == "dtb"]
    assert tree == (realm / "dtb" / f"{name}.dtb").read_bytes()


def test_a_given_device_tree_is_measured_instead_of_the_written_one(realm: Path) -> None:
    options = ["--num-wps", "6", "--num-bps", "6"]
    words = ["--realm", "-c", "1", "-m", "512M"]
    own = list(measure(layout_of("kvmtool", options, words, realm)))
    given = list(measure(layout_of("kvmtool", [*options, "--dtb", "dtb/kvmtool-min.dtb"], words, realm)))
    other = list(measure(layout_of("kvmtool", [*options, "--dtb", "dtb/qemu-kernel.dtb"], words, realm)))
    assert given == own
    assert [step.rim for step in other][:2] == [step.rim for step in own][:2]
    assert other[2].rim != own[2].rim


def test_ram_above_the_protected_half_cannot_exist_on_an_rmm(realm: Path) -> None:
    """`kvmtool-sha512-4vcpu-3G`: 33 bits of IPA, and RAM that ends at 5 GiB."""
    words = ["--realm", "-c", "4", "-m", "3G", "--measurement-algo", "sha512"]
    layout = layout_of("kvmtool", ["--num-wps", "6", "--num-bps", "6"], words, realm)
    (tree,) = [piece.content for piece in layout.pieces if piece.what == "dtb"]
    assert tree == (realm / "dtb" / "kvmtool-sha512-4vcpu-3G.dtb").read_bytes()
    with pytest.raises(CannotExist, match=r"RTT_INIT_RIPAS.*top_bound"):
        list(measure(layout))
    assert list(recomputed(layout))[1].calls == 3 << 30 >> 21


def test_rem0_behind_a_firmware_is_chained_by_an_rmm_and_not_by_the_tool(realm: Path) -> None:
    vmm, options, words, _ = PUBLISHED["qemu-bios-kernel"]
    chained, dropped = firmware_rems(layout_of(vmm, options, words, realm))
    kernel = hashlib.sha256((realm / "linux.bin").read_bytes()).digest()
    assert dropped.hex() == "d6d479e9e9822b527ef3137f42c0102690e362bc6528e025b8ed1ac4859fee78"
    assert chained == hashlib.sha256(bytes(32) + kernel).digest()


@pytest.mark.parametrize(
    ("bits", "level", "roots"), [(33, 2, 8), (34, 2, 16), (35, 1, 1), (41, 1, 4), (43, 1, 16), (44, 0, 1), (52, 0, 16)]
)
def test_the_starting_level_concatenates_up_to_sixteen_tables(bits: int, level: int, roots: int) -> None:
    assert starting_level(bits) == (level, roots)


def test_lower_limits_win_and_the_users_word_beats_both() -> None:
    hardware, rmm = Limits(num_bps=16, pmu=True, sve_vl=512), Limits(num_bps=2, lpa2=False, sve_vl=1024)
    merged = hardware.lowered(rmm)
    assert merged == Limits(num_bps=2, pmu=True, sve_vl=512, lpa2=False)
    assert merged.overridden(Limits(num_bps=6)).num_bps == 6
