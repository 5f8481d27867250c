"""The loading plan that a VMM's command line comes to, whatever the VMM."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from cca_machine.abi.rmi import PAGE_BYTES, HashAlgorithm, RealmFlags
from cca_machine.vmm.limits import SVE_UNIT, Limits
from cca_machine.vmm.mistake import VmmMistake

HASHES = {"sha256": HashAlgorithm.SHA_256, "sha512": HashAlgorithm.SHA_512}
RPV_BYTES = 64


class Piece(msgspec.Struct, frozen=True):
    """Bytes that are loaded and measured at `base` (an IPA, not always page aligned); `what` is kernel, initrd, .."""

    what: str
    base: int
    content: bytes

    @property
    def first_page(self) -> int:
        """IPA of the first page."""
        return self.base & -PAGE_BYTES

    def pages(self) -> list[bytes]:
        """The pages, zero filled at both ends."""
        padded = bytes(self.base - self.first_page) + self.content
        padded += bytes(-len(padded) % PAGE_BYTES)
        return [padded[at : at + PAGE_BYTES] for at in range(0, len(padded), PAGE_BYTES)]


class VmmLayout(msgspec.Struct, frozen=True, kw_only=True):
    """What a VMM does before it activates a Realm: parameters, RAM, measured pieces, the boot vCPU, unmeasured ranges.

    `firmware_measures` is what firmware, once it runs, measures into REM0 (QEMU's kernel and initrd behind a firmware).
    """

    vmm: str
    hash: str
    limits: Limits
    ram_base: int
    ram_bytes: int
    pieces: tuple[Piece, ...]
    pc: int
    x0: int
    unmeasured: tuple[tuple[int, int], ...] = ()
    rpv: bytes = bytes(RPV_BYTES)
    firmware_measures: tuple[Piece, ...] = ()

    def flags(self) -> RealmFlags:
        """Realm flags of the merged limits."""
        limits = self.limits
        return RealmFlags(
            (RealmFlags.LPA2 if limits.lpa2 else 0)
            | (RealmFlags.SVE if limits.sve_vl else 0)
            | (RealmFlags.PMU if limits.pmu else 0)
        )

    def measured_fields(self) -> dict[str, int]:
        """Fields of RmiRealmParams that the RIM starts from, as encoded.

        Raises:
            VmmMistake: a limit that the Realm needs is not known.
        """
        limits = self.limits
        needed = ["num_bps", "num_wps"] + (["pmu_num_ctrs"] if limits.pmu else [])
        missing = [name for name in needed if getattr(limits, name) is None]
        if missing:
            options = " ".join(f"--{name.replace('_', '-')} N" for name in missing)
            raise VmmMistake(f"the host's {' and '.join(missing)} are not known", f"{options}, or --config FILE")
        return {
            "flags": int(self.flags()),
            "s2sz": limits.ipa_bits or 0,
            "sve_vl": limits.sve_vl // SVE_UNIT - 1 if limits.sve_vl else 0,
            "num_bps": (limits.num_bps or 0) - 1,
            "num_wps": (limits.num_wps or 0) - 1,
            "pmu_num_ctrs": (limits.pmu_num_ctrs or 0) if limits.pmu else 0,
            "hash_algo": int(HASHES[self.hash]),
        }


def ascending(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Pieces in the order in which they are measured: by rising address.

    Raises:
        VmmMistake: two lie on one page.
    """
    ordered = sorted((piece for piece in pieces if piece.content), key=lambda piece: piece.base)
    for below, above in pairwise(ordered):
        if above.first_page < below.base + len(below.content):
            raise VmmMistake(
                f"{below.what} and {above.what} overlap at {above.base:#x}", "more memory, or smaller files"
            )
    return tuple(ordered)


def hash_name(text: str) -> str:
    """ "sha256" or "sha512", however it is written."""
    name = text.lower().replace("-", "")
    if name not in HASHES:
        raise VmmMistake(f"{text!r} is no measurement algorithm of RMM 1.0", "sha256 or sha512")
    return name


def personalization(value: bytes) -> bytes:
    """A Realm personalization value, zero padded to 64 bytes."""
    if len(value) > RPV_BYTES:
        raise VmmMistake(f"the personalization value has {len(value)} bytes", f"at most {RPV_BYTES}")
    return value.ljust(RPV_BYTES, b"\0")
