"""Init-data: what a pod's owner configures its guest with, bound to the Realm by a digest in the RPV.

The host hands the text over, so the guest believes it only when its digest is the Realm personalization value.
Sources: kata-containers docs/how-to/how-to-use-init-data (TOML with version, algorithm and data), and
confidential-containers/trustee (digest compared with the whole 64-byte RPV).
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Mapping
from typing import Any

from attestation.errors import Malformed, RefusalReason, Untrusted

ALGORITHM = "sha512"
VERSION = "0.1.0"
MAX_BYTES = 16 * 1024


def write_init_data(files: Mapping[str, str]) -> bytes:
    """Init-data with these files. ValueError when a text cannot stand in a TOML literal string."""
    lines = [f'version = "{VERSION}"', f'algorithm = "{ALGORITHM}"', "", "[data]"]
    for name, text in files.items():
        if "'''" in text or text.endswith("'"):
            raise ValueError(f"{name} cannot be written as a TOML literal string")
        lines.append(f"\"{name}\" = '''\n{text}'''")
    return ("\n".join(lines) + "\n").encode()


def init_data_digest(data: bytes) -> bytes:
    """The 64 bytes that the RPV must be: SHA-512 of the text as it stands."""
    return hashlib.sha512(data).digest()


def read_init_data(data: bytes, rpv: bytes) -> dict[str, str]:
    """The files of init-data that the Realm was made for.

    Raises:
        Untrusted: the digest is not the personalization value (binding).
        Malformed: not init-data.
    """
    if len(data) > MAX_BYTES:
        raise Malformed(f"init-data are larger than {MAX_BYTES} bytes")
    if not hmac.compare_digest(init_data_digest(data), rpv):
        message = "digest of the init-data is not the Realm personalization value"
        raise Untrusted(message, reason=RefusalReason.BINDING, label="init-data")
    body = _toml(data, "init-data")
    files = body.get("data")
    if body.get("version") != VERSION or body.get("algorithm") != ALGORITHM or not isinstance(files, dict):
        raise Malformed(f"init-data are not of version {VERSION} with {ALGORITHM}", label="init-data")
    if not all(isinstance(text, str) for text in files.values()):
        raise Malformed("init-data hold something else than texts", label="data")
    return files


def image_policy_of(files: Mapping[str, str]) -> str:
    """The image policy in the configuration of the confidential data hub. Raises Malformed."""
    image = _toml(files.get("cdh.toml", "").encode(), "cdh.toml").get("image")
    policy = image.get("image_security_policy") if isinstance(image, dict) else None
    if not isinstance(policy, str):
        raise Malformed("init-data set no image policy", label="image_security_policy")
    return policy


def _toml(data: bytes, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        raise Malformed(f"{what} are not TOML" if what == "init-data" else f"{what} is not TOML") from None
