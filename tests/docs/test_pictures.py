"""The pictures of the documentation: one command makes them all, and the pages show no other."""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture(scope="module")
def maker() -> Any:
    """`docs/make_pictures.py` as a module."""
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "docs" / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def size_of(file: Path) -> tuple[int, int]:
    """Width and height out of the PNG's first chunk (RFC 2083, section 4.1.1)."""
    head = file.read_bytes()[:24]
    assert head[:16] == b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_every_picture_that_a_page_shows_is_made_by_the_command_and_is_there(maker: Any) -> None:
    shown = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        shown |= set(re.findall(r"pictures/([\w.-]+\.png)", page.read_text(encoding="utf-8")))
    assert shown <= set(maker.NAMES)
    assert sorted(path.name for path in PICTURES.glob("*.png")) == sorted(maker.NAMES)


@pytest.mark.xdist_group("live")
def test_one_command_makes_them_all(maker: Any, tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no pictures")
    if not any(shutil.which(name) for name in maker.CHROMIUM):
        pytest.skip("no Chromium on this machine: no pictures (apt-get install chromium)")
    command = [sys.executable, str(ROOT / "docs" / "make_pictures.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    for name in maker.NAMES:
        assert size_of(tmp_path / name) == size_of(PICTURES / name)
        assert (tmp_path / name).stat().st_size > 10_000
