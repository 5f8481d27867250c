"""OCI images: descriptors, manifests and layers, read strictly because a registry is a stranger.

Sources: OCI image specification 1.1 (manifest.md, config.md, descriptor.md), containers/ocicrypt (the `+encrypted`
suffix of media types).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from attestation.errors import Malformed, RefusalReason, Untrusted
from attestation.stores import read_json

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
ENCRYPTED_LAYER_TYPE = LAYER_TYPE + "+encrypted"
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_LAYERS = 64
MAX_BLOB_BYTES = 16 * 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Descriptor(Struct, frozen=True):
    """What a document says of a blob: media type, digest (`sha256:` and hex), size in bytes, annotations."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """As it stands in a document."""
        told = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**told, "annotations": self.annotations} if self.annotations else told

    def check(self, blob: bytes) -> None:
        """Whether the bytes are the blob. Raises Untrusted (binding)."""
        if len(blob) != self.size:
            message = f"blob {self.digest[:23]} has {len(blob)} bytes, its descriptor says {self.size}"
            raise Untrusted(message, reason=RefusalReason.BINDING, label="size")
        if digest(blob) != self.digest:
            message = f"blob is {digest(blob)[:23]}..., its descriptor says {self.digest[:23]}..."
            raise Untrusted(message, reason=RefusalReason.BINDING, label="digest")


class Manifest(Struct, frozen=True):
    """One image: configuration and layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    def encode(self) -> bytes:
        """The manifest as a registry keeps it."""
        body = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.config.plain(),
            "layers": [layer.plain() for layer in self.layers],
        }
        return document(body)


def digest(blob: bytes) -> str:
    """The name of a blob: `sha256:` and its SHA-256 in hexadecimal."""
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def document(body: Any) -> bytes:
    """JSON without blanks, members in the order given."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def describe(blob: bytes, media_type: str, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """The descriptor of a blob."""
    return Descriptor(media_type, digest(blob), len(blob), dict(annotations or {}))


def read_manifest(data: bytes) -> Manifest:
    """Parse an image manifest. Raises Malformed."""
    body = _object(data, "manifest")
    if body.get("schemaVersion") != 2 or body.get("mediaType", MANIFEST_TYPE) != MANIFEST_TYPE:
        raise Malformed("not an OCI image manifest", label="mediaType")
    layers = body.get("layers")
    if not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
        raise Malformed(f"manifest does not list 1 to {MAX_LAYERS} layers", label="layers")
    return Manifest(_descriptor(body.get("config")), tuple(_descriptor(layer) for layer in layers))


def read_diff_ids(config: bytes) -> tuple[str, ...]:
    """The digests of the layers' plain tar streams, from an image configuration. Raises Malformed."""
    rootfs = _object(config, "image configuration").get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(ids, list) or not all(isinstance(one, str) and _DIGEST.fullmatch(one) for one in ids):
        raise Malformed("image configuration has no list of layer digests", label="diff_ids")
    return tuple(ids)


def _object(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise Malformed(f"{what} is larger than {MAX_DOCUMENT_BYTES} bytes")
    body = read_json(data, what)
    if not isinstance(body, dict):
        raise Malformed(f"{what} is not a JSON object")
    return body


def _descriptor(body: Any) -> Descriptor:
    if not isinstance(body, dict):
        raise Malformed("a descriptor is not an object")
    media_type, name, size = body.get("mediaType"), body.get("digest"), body.get("size")
    if not isinstance(media_type, str):
        raise Malformed("a descriptor has no media type", label="mediaType")
    if not isinstance(name, str) or not _DIGEST.fullmatch(name):
        raise Malformed("a descriptor has no sha256 digest", label="digest")
    if type(size) is not int or not 0 <= size <= MAX_BLOB_BYTES:
        raise Malformed(f"a descriptor's size is not from 0 to {MAX_BLOB_BYTES}", label="size")
    annotations = body.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise Malformed("annotations are not a map of texts", label="annotations")
    return Descriptor(media_type, name, size, annotations)


def pack_layer(files: Mapping[str, bytes]) -> bytes:
    """A layer as a tar stream (POSIX ustar), the same bytes for the same files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o755
            archive.addfile(entry, io.BytesIO(files[name]))
    return stream.getvalue()


def unpack_layer(tar: bytes) -> dict[str, bytes]:
    """Regular files of a layer by path. Raises Malformed: no tar, or a path that leaves the root file system."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            for entry in archive:
                parts = entry.name.split("/")
                if entry.name.startswith("/") or ".." in parts:
                    raise Malformed(f"layer entry {entry.name!r:.80} leaves the root file system")
                content = archive.extractfile(entry) if entry.isreg() else None
                if content is not None:
                    found[entry.name] = content.read()
    except (tarfile.TarError, ValueError, OverflowError, EOFError):
        raise Malformed("layer is not a tar stream") from None
    return found
