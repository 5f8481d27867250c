"""Signatures over images, and the policy that says whose a guest asks for.

The signature is cosign's: ECDSA with SHA-256 over a simple-signing payload that names the manifest, kept in the
registry as a manifest of its own under the tag `sha256-<digest>.sig`. The policy is containers/image's `policy.json`.
Sources: sigstore/cosign specs/SIGNATURE_SPEC.md, containers/image docs/containers-policy.json.5.md, and
confidential-containers/guest-components image-rs/docs/ccv1_image_security_design.md.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestation.container.oci import CONFIG_TYPE, Descriptor, Manifest, describe, document
from attestation.errors import Denied, Malformed, RefusalReason, Untrusted
from attestation.keys import FACTS, PublicKey, SigningKey
from attestation.stores import read_json

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
_KIND = "cosign container image signature"


def signature_tag(manifest_digest: str) -> str:
    """The tag under which a registry keeps the signatures of a manifest."""
    return manifest_digest.replace(":", "-") + ".sig"


def payload(repository: str, manifest_digest: str) -> bytes:
    """What is signed: where the image is published, and the digest of its manifest."""
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": manifest_digest},
        "type": _KIND,
    }
    return document({"critical": critical, "optional": None})


def sign(repository: str, manifest_digest: str, key: SigningKey) -> tuple[bytes, dict[str, bytes]]:
    """The signature manifest, and the blobs that it names by digest."""
    body = payload(repository, manifest_digest)
    raw = key.sign(body)
    size = FACTS[key.curve].size
    der = encode_dss_signature(int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big"))
    layer = describe(body, PAYLOAD_TYPE, {SIGNATURE_ANNOTATION: base64.b64encode(der).decode("ascii")})
    config = document({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}})
    described = describe(config, CONFIG_TYPE)
    return Manifest(described, (layer,)).encode(), {layer.digest: body, described.digest: config}


def verify(layer: Descriptor, body: bytes, repository: str, manifest_digest: str, keys: Sequence[PublicKey]) -> None:
    """Hold one signature to an image: some key signed the payload, and the payload names image and place.

    Raises:
        Malformed: no signature of this kind.
        Untrusted: none of the keys signed it (signature), or it is about another image (binding).
    """
    if layer.media_type != PAYLOAD_TYPE:
        raise Malformed("not a simple-signing payload", label="mediaType")
    layer.check(body)
    try:
        der = base64.b64decode(layer.annotations.get(SIGNATURE_ANNOTATION, ""), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("signature is not base64", label=SIGNATURE_ANNOTATION) from None
    if not any(_signed(key, der, body) for key in keys):
        raise Untrusted("no key of the image policy signed this image")
    critical = _critical(body)
    image, identity = critical.get("image"), critical.get("identity")
    named = image.get("docker-manifest-digest") if isinstance(image, dict) else None
    place = identity.get("docker-reference") if isinstance(identity, dict) else None
    if critical.get("type") != _KIND or named != manifest_digest:
        raise Untrusted("the signature is about another image", reason=RefusalReason.BINDING)
    if place != repository:
        raise Untrusted("the signature is about an image of another repository", reason=RefusalReason.BINDING)


def _signed(key: PublicKey, der: bytes, body: bytes) -> bool:
    try:
        key.pyca.verify(der, body, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _critical(body: bytes) -> dict[str, Any]:
    told = read_json(body, "simple-signing payload")
    critical = told.get("critical") if isinstance(told, dict) else None
    if not isinstance(critical, dict):
        raise Malformed("simple-signing payload has no critical part", label="critical")
    return critical


# -- policy.json -------------------------------------------------------------------------------------------------------


def image_policy(scopes: dict[str, Sequence[PublicKey]]) -> str:
    """A policy that asks for a signature in each scope (registry, repository or image) and rejects all else."""
    docker = {
        scope: [
            {"type": "sigstoreSigned", "keyData": base64.b64encode(key.pem().encode()).decode("ascii")} for key in keys
        ]
        for scope, keys in scopes.items()
    }
    return document({"default": [{"type": "reject"}], "transports": {"docker": docker}}).decode()


def keys_for(policy: str, reference: str) -> tuple[PublicKey, ...]:
    """The keys of which one must have signed an image; empty when the policy asks for none.

    The longest scope that holds the reference decides, then the default.

    Raises:
        Denied: the policy rejects the image.
        Malformed: the policy is none, or asks for something else than signatures of this kind.
    """
    body = read_json(policy, "image policy")
    if not isinstance(body, dict):
        raise Malformed("image policy is not a JSON object")
    transports = body.get("transports", {})
    docker = transports.get("docker", {}) if isinstance(transports, dict) else None
    if not isinstance(docker, dict):
        raise Malformed("image policy has no map of scopes", label="docker")
    fitting = [scope for scope in docker if _within(reference, scope)]
    wanted = docker[max(fitting, key=len)] if fitting else body.get("default")
    if not isinstance(wanted, list) or not wanted or not all(isinstance(one, dict) for one in wanted):
        raise Malformed("image policy says nothing about this image", label="default")
    kinds = {one.get("type") for one in wanted}
    if "reject" in kinds:
        raise Denied(f"the image policy rejects {reference}")
    if kinds == {"insecureAcceptAnything"}:
        return ()
    if kinds != {"sigstoreSigned"}:
        raise Malformed("image policy asks for something else than sigstore signatures", label="type")
    return tuple(_key(one) for one in wanted)


def _within(reference: str, scope: str) -> bool:
    return reference == scope or reference.startswith((scope + "/", scope + ":", scope + "@"))


def _key(wanted: dict[str, Any]) -> PublicKey:
    try:
        return PublicKey.from_pem(base64.b64decode(str(wanted.get("keyData", "")), validate=True))
    except (binascii.Error, ValueError):
        raise Malformed("image policy holds no key", label="keyData") from None
