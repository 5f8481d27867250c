"""An EL3 with real keys, for tests of the tokens that the RMM makes."""

from __future__ import annotations

import hashlib

from attestation.claims import PlatformClaims, SoftwareComponent
from attestation.keys import Curve, SigningKey, derive_key
from attestation.token import encode_platform

CPAK = derive_key(b"test", "cpak", Curve.P384)
RAK = derive_key(b"test", "rak", Curve.P384)


class SigningEl3:
    """What EL3 gives the RMM at boot."""

    def __init__(self, rak: SigningKey) -> None:
        self.fetched = 0
        self._rak = rak

    def realm_key(self) -> bytes:
        self.fetched += 1
        return self._rak.private_bytes()

    def platform_token(self) -> bytes:
        return encode_platform(
            PlatformClaims(
                challenge=hashlib.sha256(self._rak.public.cose_key()).digest(),
                implementation_id=bytes(32),
                instance_id=b"\1" + bytes(32),
                config=b"\0",
                lifecycle=0x3000,
                sw_components=(SoftwareComponent(measurement_value=bytes(32), signer_id=bytes(32)),),
            ),
            CPAK,
        )
