"""What a small TPM 2.0 service knows: a bank of PCRs and the structure that it quotes (TCG TPM 2.0 Library, part 2).

Only what a measured boot needs: PCR_Extend, PCR_Read and Quote over the SHA-256 bank. A quote has no signature of its
own: whoever serves it binds its digest to other evidence.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum

import msgspec

PCRS, DIGEST_BYTES = 24, 32
LOCALITY_PCRS = range(17, 23)
"""PCRs of a dynamic root of trust: start as ones, and are not extended from locality 0."""


class TpmCommand(IntEnum):
    """TPM_CC of the commands that are served."""

    QUOTE = 0x158
    PCR_READ = 0x17E
    PCR_EXTEND = 0x182


class TpmResult(IntEnum):
    """TPM_RC."""

    SUCCESS = 0x000
    VALUE = 0x084
    COMMAND_CODE = 0x143
    LOCALITY = 0x907


GENERATED_VALUE = 0xFF54_4347
"""TPM_GENERATED: what no external data may begin with."""
ST_ATTEST_QUOTE, ALG_SHA256 = 0x8018, 0x000B


class Tpm(msgspec.Struct):
    """The SHA-256 bank, and how often it was reset since the Realm was made."""

    pcrs: list[bytes]
    resets: int = 0

    @classmethod
    def started(cls) -> Tpm:
        """After TPM2_Startup(CLEAR)."""
        ones, zeros = b"\xff" * DIGEST_BYTES, bytes(DIGEST_BYTES)
        return cls([ones if index in LOCALITY_PCRS else zeros for index in range(PCRS)])

    def extend(self, index: int, digest: bytes) -> TpmResult:
        """TPM2_PCR_Extend from locality 0."""
        if index >= PCRS:
            return TpmResult.VALUE
        if index in LOCALITY_PCRS:
            return TpmResult.LOCALITY
        self.pcrs[index] = hashlib.sha256(self.pcrs[index] + digest).digest()
        return TpmResult.SUCCESS

    def quoted(self, selection: int, nonce: bytes) -> bytes:
        """TPMS_ATTEST of TPM2_Quote: bits of `selection` choose PCRs, `nonce` is the qualifying data."""
        chosen = [index for index in range(PCRS) if selection >> index & 1]
        digest = hashlib.sha256(b"".join(self.pcrs[index] for index in chosen)).digest()
        clock = struct.pack(">QIIB", 0, self.resets, 0, 1)
        select = (selection & (1 << PCRS) - 1).to_bytes(3, "little")
        return b"".join((
            struct.pack(">IH", GENERATED_VALUE, ST_ATTEST_QUOTE), _sized(b""), _sized(nonce), clock, bytes(8),
            struct.pack(">IHB", 1, ALG_SHA256, len(select)), select, _sized(digest),
        ))  # fmt: skip


def _sized(data: bytes) -> bytes:
    """A TPM2B: two bytes of length, and the data."""
    return len(data).to_bytes(2, "big") + data
