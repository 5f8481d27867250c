"""The registry that hosts pull from: container images of publishers outside the fleet, with real bytes.

As for Realm images (`cca_machine.image`), content follows from what the image is called, and so do its publisher's
signing key and its encryption key: publishers are outside parties whose images are the same for every run. The host
asks for documents and blobs; the encryption key is only asked for by whoever fills the key broker.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from attestation.container.publish import Encryption, publish
from attestation.keys import Curve, PublicKey, SigningKey, derive_key
from cca_machine.pod import ContainerSpec

KEY_REPOSITORY, KEY_TYPE = "realmfleet", "image-key"
HOST = "registry.example"
_ENTROPY_BYTES = 60


def reference_of(container: ContainerSpec) -> str:
    """Where the image is published: registry/publisher/name:version."""
    return f"{HOST}/{container.publisher}/{container.name}:v{container.version}"


def key_path(container: str) -> str:
    """The key broker's path (repository/type/tag) of the key that an image is encrypted under."""
    return f"{KEY_REPOSITORY}/{KEY_TYPE}/{container}"


def image_key(container: str) -> bytes:
    """The 32-byte key under which the layer keys of an image are wrapped; the publisher gives it to the broker."""
    return hashlib.sha256(b"realmfleet image key\0" + container.encode()).digest()


def publisher_key(publisher: str) -> PublicKey:
    """The public key of a publisher, for image policies."""
    return _signer(publisher).public


@lru_cache(maxsize=64)
def _signer(publisher: str) -> SigningKey:
    return derive_key(hashlib.sha256(b"realmfleet publisher\0" + publisher.encode()).digest(), "images", Curve.P256)


@lru_cache(maxsize=32)
def published(container: ContainerSpec) -> dict[str, bytes]:
    """Everything that the registry serves of an image, by `manifests/...` and `blobs/sha256:...`."""
    each = -(-container.content_bytes // container.layers)
    layers = [{f"layer-{index}/data": _content(container, index, each)} for index in range(container.layers)]
    layers[-1]["app"] = b"#!realmfleet " + container.name.encode()
    entropy = [_draw(container, b"entropy", index, _ENTROPY_BYTES) for index in range(container.layers)]
    encryption = Encryption(image_key(container.name), f"kbs:///{key_path(container.name)}", entropy)
    signer = _signer(container.publisher)
    return publish(reference_of(container), layers, signer, encryption, container.size_bytes)


def _content(container: ContainerSpec, index: int, size: int) -> bytes:
    return _draw(container, b"content", index, size)


def _draw(container: ContainerSpec, what: bytes, index: int, size: int) -> bytes:
    name = b"\0".join((b"realmfleet container", what, container.name.encode(), str(container.version).encode()))
    return hashlib.shake_128(name + b"\0" + str(index).encode()).digest(size)
