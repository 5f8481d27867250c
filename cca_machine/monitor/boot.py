"""Measured boot: nothing runs that no accepted signer signed, and everything that runs was measured before.

Source: TF-A chain of trust "cca" and docs/components/measured_boot; RSE measured boot (TF-M).
"""

from __future__ import annotations

from collections.abc import Iterable

from attestation.keys import SigningKey
from cca_machine.monitor.components import COMPONENTS, REQUIRED, RMM, inventory
from cca_machine.monitor.image import AcceptedImage, ImageRefused, accept, mismatch
from cca_machine.monitor.measurement import extend
from cca_machine.monitor.platform_token import platform_token, realm_attestation_key
from cca_machine.monitor.ports import Platform
from cca_machine.monitor.state import (
    EventCause,
    Launch,
    MeasurementEvent,
    MeasurementSlot,
    MonitorPe,
    NonVolatile,
    RunningImage,
    Volatile,
)


class BootRefused(Exception):
    """The machine does not start: an image of its firmware is missing or was refused."""

    def __init__(self, component: str, why: str) -> None:
        super().__init__(f"boot refused: {component}: {why}")
        self.component = component
        self.why = why


class BootReverted(BootRefused):
    """The images that this boot tried are refused or not healthy: the next boot loads those of before."""


def boot_image(platform: Platform, flash: NonVolatile, component: str) -> bytes:
    """The signed image that the next cold boot loads: the last one committed, else the one from the factory."""
    return flash.boot_slots.get(component, platform.firmware[component])


def load_firmware(platform: Platform, flash: NonVolatile) -> tuple[AcceptedImage, ...]:
    """Open and authenticate every image in boot order.

    Raises:
        BootRefused: a required component is missing, or an image is not accepted.
    """
    unknown = sorted(set(platform.firmware) - set(COMPONENTS))
    missing = [name for name in REQUIRED if name not in platform.firmware]
    for name in unknown + missing:
        raise BootRefused(name, "no such component" if name in unknown else "there is no image")
    accepted = []
    for component in inventory(platform.firmware):
        name = component.name
        image = flash.trial.get(name) or boot_image(platform, flash, name)
        try:
            floor = flash.counters.get(name, 0)
            accepted.append(accept(name, image, platform.anchors, platform.firmware_policy, floor))
        except ImageRefused as refusal:
            raise BootRefused(refusal.component, refusal.why) from None
    why = mismatch({each.component: each.image for each in accepted})
    if why:
        raise BootRefused(why.partition(" ")[0], f"the images do not work together: {why}")
    return tuple(accepted)


def _load_healthy(platform: Platform, flash: NonVolatile) -> tuple[AcceptedImage, ...]:
    """What this boot runs; images on trial have this one boot to be accepted and to come up (A/B slots, modelled).

    Raises:
        BootReverted: an image on trial failed, and is forgotten.
        BootRefused: there was nothing on trial, and the machine does not boot.
    """
    try:
        images = load_firmware(platform, flash)
        for image in images:
            if image.fails_to_boot and image.component in flash.trial:
                raise BootRefused(image.component, "it never reported a healthy boot; the watchdog reset the machine")
    except BootRefused as refusal:
        tried, flash.trial = flash.trial, {}
        raise BootReverted(refusal.component, refusal.why) if tried else refusal from None
    flash.boot_slots |= flash.trial
    flash.trial = {}
    return images


def measurement_event(image: AcceptedImage, cause: EventCause) -> MeasurementEvent:
    """The log line of an image that is about to run."""
    return MeasurementEvent(
        cause=cause,
        component=image.component,
        slot=COMPONENTS[image.component].slot,
        digest=image.image.digest,
        signer=image.image.signer,
        version=image.image.version,
        security_version=image.image.security_version,
    )


def first_launch(platform: Platform, boot: int, images: Iterable[AcceptedImage]) -> Launch:
    """Measure the images from empty registers, and derive what vouches for them."""
    running: dict[str, RunningImage] = {}
    slots: dict[int, MeasurementSlot] = {}
    log = []
    for image in images:
        event = measurement_event(image, EventCause.BOOT)
        slots = extend(slots, event)
        log.append(event)
        running[image.component] = image.image
    rak = realm_attestation_key(platform.seed, boot, slots)
    return Launch(
        running=running,
        slots=slots,
        log=tuple(log),
        rak=rak.private_bytes(),
        platform_token=platform_token(platform, rak, slots),
    )


def next_launch(platform: Platform, boot: int, before: Launch, image: AcceptedImage) -> Launch:
    """Measure an image that is activated live on top of what ran before.

    A new RMM gets a new RAK. Under any other component the RMM keeps its key, so the new platform token vouches for
    that one: an RMM that re-reads only the token still holds a matching pair.

    Raises:
        SlotRefused: the component was signed by another signer until now.
    """
    event = measurement_event(image, EventCause.ACTIVATION)
    slots = extend(before.slots, event)
    new_rmm = image.component == RMM
    rak = realm_attestation_key(platform.seed, boot, slots) if new_rmm else SigningKey.from_private_bytes(before.rak)
    return Launch(
        running={**before.running, image.component: image.image},
        slots=slots,
        log=(*before.log, event),
        rak=rak.private_bytes(),
        platform_token=platform_token(platform, rak, slots),
        rmm_sequence=before.rmm_sequence + new_rmm,
    )


def cold_boot(platform: Platform, flash: NonVolatile) -> Volatile:
    """Boot from flash: count the boot, check, measure, and raise the stored counters to what now runs.

    Raises:
        BootReverted: images on trial failed; nothing runs, and the next boot loads what ran before.
        BootRefused: nothing runs; only the boot was counted.
    """
    flash.boots += 1
    images = _load_healthy(platform, flash)
    launch = first_launch(platform, flash.boots, images)
    for name, image in launch.running.items():
        flash.counters[name] = max(flash.counters.get(name, 0), image.security_version)
    return Volatile(launch=launch, pes=[MonitorPe() for _ in range(platform.pes)])
