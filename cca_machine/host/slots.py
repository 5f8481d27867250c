"""The host's part in firmware that waits for the next boot: images go into the other slot of A/B (modelled).

Source: PSA Firmware Update 1.0 (write, finish, install, reboot, accept); which check an image passes is EL3's.
"""

from __future__ import annotations

from attestation.errors import Refused as RefusedBytes
from attestation.firmware import read_manifest
from cca_machine.commands import FirmwareRefused, Staged, StageFirmware, UnstageFirmware
from cca_machine.host.door import Refusal
from cca_machine.host.lfa import MIB, check_host
from cca_machine.host.work import Work


def stage(work: Work, order: StageFirmware) -> None:
    """Fetch an image and put it into the other slot. Raises Refusal: malformed-image, or AUTH_ERROR of the slot."""
    try:
        manifest, _, payload = read_manifest(order.image)
    except RefusedBytes as refusal:
        work.tell(FirmwareRefused("", "stage", "malformed-image", str(refusal)))
        raise Refusal("malformed-image", str(refusal)) from None
    check_host(work, manifest)
    work.meter.charge("lfa.stage")
    work.meter.charge("lfa.stage-mib", -(-len(payload) // MIB))
    why = work.site.firmware.stage_for_boot(manifest.component, order.image)
    if why:
        work.tell(FirmwareRefused(manifest.component, "stage", "AUTH_ERROR", why))
        raise Refusal("stage: AUTH_ERROR", why)
    work.say(Staged(manifest.component, manifest.version))


def unstage(work: Work, order: UnstageFirmware) -> None:
    """Empty the slot; there is no answer to it."""
    work.meter.charge("lfa.call")
    work.site.firmware.unstage_for_boot(order.component)
