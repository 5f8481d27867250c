"""Whether EL3 accepts a signed firmware image: one check for cold boot and for LFA_PRIME.

Source: TF-A drivers/auth (chain of trust, non-volatile counters); that one function serves both moments is modelled,
because public platforms leave the authentication of LFA images open (TF-A plat_lfa_load_auth_image).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from attestation import firmware
from attestation.errors import Refused
from attestation.firmware_policy import SigningPolicy
from attestation.keys import PublicKey
from cca_machine.monitor.state import RunningImage

PANICS_AT_ACTIVATION = b"defect: panics-at-activation\n"
"""How the payload of an image begins that authenticates well and crashes when it is entered live (modelled)."""

PANICS_AT_BOOT = b"defect: panics-at-boot\n"
"""How the payload of an image begins that authenticates well and never reports a healthy cold boot (modelled)."""

FAILS_LATER = re.compile(rb"defect: (panics-later|leaks-memory) after ([0-9]{1,18}) ns\n")
"""How the payload of an image begins whose RMM runs well for a while: then it panics, or has used up the memory that
EL3 reserved for it and panics for want of more (modelled)."""


HOST = "host"
"""Under this name an image says which hypervisor it needs: EL3 knows none, so the host checks it."""


class ImageRefused(Exception):
    """The image is not what an accepted signer signed for this component, or it is too old; `why` is a sentence."""

    def __init__(self, component: str, why: str) -> None:
        super().__init__(f"{component}: {why}")
        self.component = component
        self.why = why


class AcceptedImage(NamedTuple):
    """An image whose signatures, digest and security counter were checked; the rest are its planted defects."""

    component: str
    image: RunningImage
    panics: bool
    fails_to_boot: bool = False


def mismatch(images: Mapping[str, RunningImage]) -> str:
    """Why these images do not work together, in words; empty when they do. What they need of the host, it must know."""
    versions = {name: image.version for name, image in images.items()}
    for name, image in images.items():
        why = firmware.unmet({need: least for need, least in image.needs.items() if need != HOST}, versions)
        if why:
            return f"{name} {image.version} {why}"
    return ""


@lru_cache(maxsize=32)
def image_digest(image: bytes) -> bytes:
    """SHA-256 of the whole signed image; remembered, because a fleet shares its images."""
    return hashlib.sha256(image).digest()


@lru_cache(maxsize=32)
def _open(image: bytes, anchors: tuple[tuple[bytes, bytes], ...], policy: bytes) -> firmware.VerifiedImage:
    """Check once for all machines with the same anchors and policy: the answer depends on nothing else."""
    keys = {signer: PublicKey.from_cose_key(key) for signer, key in anchors}
    return firmware.verify_image(image, keys, msgspec.msgpack.decode(policy, type=SigningPolicy))


def accept(
    component: str, image: bytes, anchors: Mapping[bytes, bytes], policy: SigningPolicy, counter: int
) -> AcceptedImage:
    """Authenticate `image` for `component` against the accepted signers, their policy and the stored counter.

    Raises:
        ImageRefused: malformed, unsigned, signed by a stranger or by too few, revoked, for another component, or below
            the counter.
    """
    try:
        manifest, payload, signers = _open(image, tuple(sorted(anchors.items())), msgspec.msgpack.encode(policy))
    except Refused as refusal:
        raise ImageRefused(component, str(refusal)) from None
    if manifest.component != component:
        raise ImageRefused(component, f"the image is for {manifest.component}")
    if manifest.security_version < counter:
        raise ImageRefused(component, f"security version {manifest.security_version} is below the stored {counter}")
    running = RunningImage(
        version=manifest.version,
        security_version=manifest.security_version,
        data_format=manifest.data_format,
        signer=manifest.signer_id,
        digest=manifest.payload_digest,
        image_digest=image_digest(image),
        countersigners=signers[1:],
        needs=dict(manifest.needs),
        fails_after_ns=int(later[2]) if (later := FAILS_LATER.match(payload)) else None,
    )
    return AcceptedImage(
        component, running, payload.startswith(PANICS_AT_ACTIVATION), payload.startswith(PANICS_AT_BOOT)
    )
