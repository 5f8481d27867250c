"""A real arm64 Linux Image, from Debian's kernel package, measured page by page. Fetched when asked for, never kept."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess

import pytest

from cca_machine.vmm import kvmtool, qemu
from cca_machine.vmm.inputs import Inputs, linux_image
from cca_machine.vmm.limits import Limits
from cca_machine.vmm.measure import measure
from orchestrator.rim_request import recomputed

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

PAGE = 4096
META_PACKAGE = "linux-image-cloud-arm64"
HOST = Limits(num_bps=6, num_wps=6)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The Image out of the package that Debian's arm64 kernel names today; apt works in a folder of its own."""
    if not all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg-deb")):
        pytest.skip("needs apt and dpkg to fetch Debian's arm64 kernel")
    folder = tmp_path_factory.mktemp("apt")
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    options = [
        word
        for option in (
            f"Dir::State={folder}/state", f"Dir::Cache={folder}/cache", "Dir::State::status=/dev/null",
            "APT::Architecture=arm64", "APT::Architectures=arm64", "APT::Sandbox::User=root", "Debug::NoLocking=1",
        )
        for word in ("-o", option)
    ]  # fmt: skip

    def ask(*words: str) -> str:
        done = subprocess.run(
            [*words[:1], *options, *words[1:]], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{' '.join(words)} found nothing: {done.stderr.strip()[-200:]}")
        return done.stdout

    ask("apt-get", "update")
    depends = ask("apt-cache", "depends", META_PACKAGE).split()
    package = next(word for word in depends if word.startswith("linux-image-") and word != META_PACKAGE)
    ask("apt-get", "download", package)
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, folder / "root"], check=True)
    (found,) = (folder / "root" / "boot").glob("vmlinuz-*")
    return found.read_bytes()


def chained_by_hand(rim: bytes, base: int, content: bytes) -> bytes:
    """Every page's descriptor, from the specification's layout: type, length, RIM, IPA, flags, content hash."""
    for at in range(0, len(content), PAGE):
        digest = hashlib.sha256(content[at : at + PAGE].ljust(PAGE, b"\0")).digest()
        descriptor = struct.pack("<QQ64sQQ64s", 0, 0x100, rim, base + at, 1, digest)
        rim = hashlib.sha256(descriptor.ljust(0x100, b"\0")).digest()
    return rim


def test_a_debian_kernel_is_measured_page_by_page_under_kvmtool(image: bytes) -> None:
    kernel = linux_image(image)
    words = ["--realm", "-c", "2", "-m", "512M", "-k", "Image"]
    layout = kvmtool.lay_out(words, Inputs(kernel=image), HOST)
    steps = list(measure(layout))
    (place,) = [at for at, step in enumerate(steps) if step.content == "kernel"]
    assert steps[place].base == kvmtool.RAM_BASE + kernel.text_offset
    assert steps[place].rim == chained_by_hand(steps[place - 1].rim, steps[place].base or 0, kernel.content)
    assert steps == list(recomputed(layout))


def test_a_debian_kernel_moves_qemus_initrd_behind_what_it_asks_for(image: bytes) -> None:
    kernel = linux_image(image)
    words = ["-kernel", "Image", "-initrd", "initrd", "-m", "256M"]
    layout = qemu.lay_out(words, Inputs(kernel=image, initrd=b"initrd"), HOST)
    (initrd,) = [piece for piece in layout.pieces if piece.what == "initrd"]
    assert initrd.base >= qemu.RAM_BASE + kernel.text_offset + kernel.load_bytes
    assert list(measure(layout)) == list(recomputed(layout))
