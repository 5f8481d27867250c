"""The publisher's side: an image encrypted, signed and laid out as a registry serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attestation.container.encryption import encrypt_layer
from attestation.container.oci import (
    CONFIG_TYPE,
    LAYER_TYPE,
    Descriptor,
    Manifest,
    describe,
    digest,
    document,
    pack_layer,
)
from attestation.container.signature import sign, signature_tag
from attestation.keys import SigningKey

SIZE_ANNOTATION = "realmfleet.modelled-size"
"""Bytes for which pulling and decrypting a layer are charged: real content is small, so that runs stay quick."""


class Encryption:
    """How layers are encrypted: under which key of which name, with 60 bytes of entropy a layer."""

    def __init__(self, wrapping_key: bytes, key_id: str, entropy: Sequence[bytes]) -> None:
        self.wrapping_key = wrapping_key
        self.key_id = key_id
        self.entropy = entropy


def publish(
    reference: str,
    layers: Sequence[Mapping[str, bytes]],
    signer: SigningKey,
    encryption: Encryption | None = None,
    modelled_bytes: int = 0,
) -> dict[str, bytes]:
    """What a registry serves for `reference` (registry/repository:tag): `manifests/...` and `blobs/sha256:...`.

    The encrypted image is what is signed. `modelled_bytes` are written into the annotations, shared among the layers.
    """
    repository = repository_of(reference)
    blobs: dict[str, bytes] = {}
    described: list[Descriptor] = []
    plain = [pack_layer(files) for files in layers]
    for index, tar in enumerate(plain):
        told = {SIZE_ANNOTATION: str(modelled_bytes // len(plain))} if modelled_bytes else {}
        if encryption is None:
            layer, blob = describe(tar, LAYER_TYPE, told), tar
        else:
            entropy = encryption.entropy[index]
            layer, blob = encrypt_layer(tar, encryption.wrapping_key, encryption.key_id, entropy, told)
        blobs[layer.digest] = blob
        described.append(layer)
    rootfs = {"type": "layers", "diff_ids": [digest(tar) for tar in plain]}
    config = document({"architecture": "arm64", "os": "linux", "config": {"Entrypoint": ["/app"]}, "rootfs": rootfs})
    about = describe(config, CONFIG_TYPE)
    manifest = Manifest(about, tuple(described)).encode()
    signature, signed = sign(repository, digest(manifest), signer)
    blobs |= {about.digest: config, **signed}
    return {
        f"manifests/{reference}": manifest,
        f"manifests/{repository}:{signature_tag(digest(manifest))}": signature,
        **{f"blobs/{name}": blob for name, blob in blobs.items()},
    }


def repository_of(reference: str) -> str:
    """The reference without its tag."""
    repository, colon, tag = reference.rpartition(":")
    return repository if colon and "/" not in tag else reference
