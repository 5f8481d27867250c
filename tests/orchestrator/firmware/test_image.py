"""Signed firmware: repeatable, refused where nobody accepted signed it, endorsed only where the release is."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from attestation import firmware
from attestation.errors import Refused
from attestation.keys import PublicKey
from orchestrator.cluster.schema import Cluster
from orchestrator.firmware.image import FirmwareSet, build_images


def cluster(**releases: dict[str, Any]) -> Cluster:
    return Cluster.model_validate(
        {
            "version": 1,
            "name": "images",
            "profiles": {"std": {"pes": 4, "memory": "1GiB", "firmware": "base"}},
            "racks": {"r1": {"machines": {"std": 1}}},
            "firmware": {"signers": ["vendor", "second"], "releases": releases},
            "images": {"web": {}},
        }
    )


BASE = {
    "components": {
        "BL31": {"version": "2.12.0", "signed_by": "vendor", "size": "4KiB"},
        "RMM": {"version": "1.0.0", "signed_by": "second", "size": "8KiB", "security_version": 3, "data_format": 2},
    }
}


def open_with_anchors(images: FirmwareSet, image: bytes) -> tuple[firmware.FirmwareManifest, bytes]:
    return firmware.open_image(image, {name: PublicKey.from_cose_key(key) for name, key in images.anchors.items()})


def test_an_image_opens_under_the_anchors_and_says_what_the_cluster_file_says() -> None:
    images = build_images(cluster(base=BASE), 7)
    manifest, payload = open_with_anchors(images, images.image("base", "RMM"))
    assert (manifest.component, manifest.version) == ("RMM", "1.0.0")
    assert (manifest.security_version, manifest.data_format, len(payload)) == (3, 2, 8192)
    assert manifest.payload_digest == hashlib.sha256(payload).digest()


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_signatures_over_the_same_payload() -> None:
    first, again, other = (build_images(cluster(base=BASE), seed) for seed in (1, 1, 2))
    assert first.image("base", "BL31") == again.image("base", "BL31")
    assert first.image("base", "BL31") != other.image("base", "BL31")
    assert first.components["base", "BL31"].measurement == other.components["base", "BL31"].measurement
    assert not set(first.anchors) & set(other.anchors)


def test_what_nobody_signed_opens_under_no_anchor() -> None:
    unsigned = {"components": {"RMM": {"version": "1.1.0", "size": "4KiB"}}}
    images = build_images(cluster(base=BASE, forged=unsigned), 7)
    with pytest.raises(Refused):
        open_with_anchors(images, images.image("forged", "RMM"))
    assert not images.components["forged", "RMM"].accepted


def test_a_planted_defect_stands_at_the_start_of_the_payload_and_keeps_the_size() -> None:
    bad = {"components": {"RMM": {**BASE["components"]["RMM"], "defect": "panics-at-activation"}}}
    images = build_images(cluster(base=BASE, bad=bad), 7)
    _, payload = open_with_anchors(images, images.image("bad", "RMM"))
    assert payload.startswith(b"defect: panics-at-activation\n")
    assert len(payload) == 8192


def test_reference_values_name_endorsed_releases_only() -> None:
    beta = {"endorsed": False, "components": {"RMM": {**BASE["components"]["RMM"], "version": "2.0.0"}}}
    unsigned = {"components": {"RMM": {"version": "1.1.0", "size": "4KiB"}}}
    images = build_images(cluster(base=BASE, beta=beta, forged=unsigned), 7)
    reference = images.reference_values(bytes(32), config=b"\xcf")
    assert [(c.name, c.version) for c in reference.components] == [("BL31", "2.12.0"), ("RMM", "1.0.0")]
    _, payload = open_with_anchors(images, images.image("base", "RMM"))
    assert reference.components[1].measurement_value == hashlib.sha256(payload).digest()
    assert reference.components[1].signer_id in images.anchors
    assert reference.config == b"\xcf"


def test_boot_images_are_those_of_the_release() -> None:
    newer = {"components": {"RMM": {**BASE["components"]["RMM"], "version": "2.0.0"}}}
    images = build_images(cluster(base=BASE, newer=newer), 7)
    assert sorted(images.boot_images("base")) == ["BL31", "RMM"]
    assert list(images.boot_images("newer")) == ["RMM"]
