"""Elliptic-curve keys: derivation from a seed, COSE_Key, JWK, PEM and raw forms, ECDSA and ECDH.

Signatures are deterministic (RFC 6979) so that the same run gives the same tokens. pyca/cryptography does the
arithmetic; each object keeps its pyca key, so that parsing is paid once.
Sources: RFC 9053 sections 2.1 and 7.1 (ECDSA, EC2 keys), RFC 7518 section 6.2 (JWK), FIPS 186-5 A.2.1 (derivation).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from attestation import cbor
from attestation.errors import Malformed, RefusalReason, Untrusted


class Curve(StrEnum):
    """The curves of CCA evidence, by their JWK names."""

    P256 = "P-256"
    P384 = "P-384"
    P521 = "P-521"


class CurveFacts(NamedTuple):
    """What a curve fixes: pyca objects, COSE numbers, coordinate size in bytes, group order."""

    curve: ec.EllipticCurve
    hash: hashes.HashAlgorithm
    cose_curve: int
    cose_algorithm: int
    size: int
    order: int


FACTS: dict[Curve, CurveFacts] = {
    Curve.P256: CurveFacts(
        ec.SECP256R1(), hashes.SHA256(), 1, -7, 32,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ),
    Curve.P384: CurveFacts(
        ec.SECP384R1(), hashes.SHA384(), 2, -35, 48,
        int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16),
    ),
    Curve.P521: CurveFacts(
        ec.SECP521R1(), hashes.SHA512(), 3, -36, 66,
        int(
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa"
            "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16
        ),
    ),
}  # fmt: skip
CURVE_OF_COSE = {facts.cose_curve: curve for curve, facts in FACTS.items()}
CURVE_OF_PYCA = {facts.curve.name: curve for curve, facts in FACTS.items()}
CURVE_OF_SIZE = {facts.size: curve for curve, facts in FACTS.items()}

_MAX_KEY_FILE = 16 * 1024
_P384_X, _P384_Y = bytes.fromhex("a401022002215830"), bytes.fromhex("225830")
"""Heads before the coordinates in the COSE_Key of a P-384 point, members in the order kty, crv, x, y."""

KEPT_KEYS = 1 << 15
"""Keys of a fleet that are kept ready: two for each of ten thousand machines, and those of Realms that come and go."""


def _bad_key(message: str) -> Malformed:
    return Malformed(message, reason=RefusalReason.UNKNOWN_KEY)


class PublicKey:
    """A point on one of the three curves, checked to be on it."""

    __slots__ = ("_ecdsa", "_key", "_raw", "curve")

    def __init__(self, curve: Curve, raw: bytes) -> None:
        facts = FACTS[curve]
        if len(raw) != 1 + 2 * facts.size or raw[0] != 4:
            raise _bad_key(f"not an uncompressed {curve} point of {1 + 2 * facts.size} bytes")
        try:
            self._key = ec.EllipticCurvePublicKey.from_encoded_point(facts.curve, raw)
        except ValueError:
            raise _bad_key(f"point is not on curve {curve}") from None
        self._raw = raw
        self._ecdsa = ec.ECDSA(facts.hash)
        self.curve = curve

    @classmethod
    def from_raw(cls, raw: bytes) -> PublicKey:
        """Read an uncompressed point ``04 || x || y``; the curve follows from the length. Raises Refused."""
        curve = CURVE_OF_SIZE.get((len(raw) - 1) // 2)
        if curve is None or len(raw) % 2 == 0:
            raise _bad_key(f"no curve has points of {len(raw)} bytes")
        return cls(curve, raw)

    @classmethod
    def from_cose_key(cls, data: bytes) -> PublicKey:
        """Read an encoded COSE_Key of type EC2 (RFC 9053 section 7.1.1), tolerating further members. Raises Refused."""
        if len(data) == 107 and data[:8] == _P384_X and data[56:59] == _P384_Y:  # as every RMM writes its RAK
            return cls(Curve.P384, b"\x04" + data[8:56] + data[59:])
        members = cbor.decode(data)
        if not isinstance(members, dict):
            raise _bad_key("COSE_Key is not a map")
        if members.get(1) != 2 or type(members.get(1)) is not int:
            raise Malformed("COSE_Key is not of key type EC2", reason=RefusalReason.UNKNOWN_KEY, label=1)
        curve = CURVE_OF_COSE.get(members[-1]) if type(members.get(-1)) is int else None
        if curve is None:
            raise Malformed("COSE_Key names no known curve", reason=RefusalReason.UNKNOWN_KEY, label=-1)
        size = FACTS[curve].size
        point = b"\x04"
        for label in (-2, -3):
            coordinate = members.get(label)
            if not isinstance(coordinate, bytes) or len(coordinate) != size:
                raise Malformed(
                    f"COSE_Key coordinate is not a byte string of {size} bytes",
                    reason=RefusalReason.UNKNOWN_KEY,
                    label=label,
                )
            point += coordinate
        return cls(curve, point)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> PublicKey:
        """Read an EC JSON Web Key (RFC 7518 section 6.2.1); private members are ignored. Raises Refused."""
        if not isinstance(jwk, Mapping) or jwk.get("kty") != "EC":
            raise _bad_key('JWK is not an object with "kty": "EC"')
        name = jwk.get("crv")
        if name not in tuple(Curve):
            raise _bad_key("JWK names no known curve")
        curve = Curve(str(name))
        size = FACTS[curve].size
        point = b"\x04"
        for member in ("x", "y"):
            coordinate = _from_base64url(jwk.get(member))
            if len(coordinate) != size:
                raise Malformed(f"JWK coordinate is not {size} bytes", reason=RefusalReason.UNKNOWN_KEY, label=member)
            point += coordinate
        return cls(curve, point)

    @classmethod
    def from_pem(cls, pem: bytes | str) -> PublicKey:
        """Read a SubjectPublicKeyInfo in PEM (BEGIN PUBLIC KEY). Raises Refused."""
        data = pem.encode(errors="replace") if isinstance(pem, str) else pem
        if len(data) > _MAX_KEY_FILE:
            raise _bad_key("PEM is too large for a public key")
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _bad_key("not a PEM public key") from None
        return cls._from_pyca(key)

    @classmethod
    def _from_pyca(cls, key: object) -> PublicKey:
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVE_OF_PYCA:
            raise _bad_key("public key is not on P-256, P-384 or P-521")
        raw = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        return cls(CURVE_OF_PYCA[key.curve.name], raw)

    @property
    def algorithm(self) -> int:
        """The COSE algorithm number that fits the curve: -7 ES256, -35 ES384, -36 ES512."""
        return FACTS[self.curve].cose_algorithm

    def raw(self) -> bytes:
        """The uncompressed point ``04 || x || y`` (97 bytes on P-384)."""
        return self._raw

    def coordinates(self) -> tuple[bytes, bytes]:
        """The big-endian coordinates x and y at full width."""
        size = FACTS[self.curve].size
        return self._raw[1 : 1 + size], self._raw[1 + size :]

    def cose_key(self) -> bytes:
        """The COSE_Key as the RMM writes it: kty, crv, x, y in this order (107 bytes on P-384)."""
        x, y = self.coordinates()
        return cbor.encode({1: 2, -1: FACTS[self.curve].cose_curve, -2: x, -3: y})

    def jwk(self) -> dict[str, str]:
        """The public JWK members kty, crv, x, y."""
        x, y = self.coordinates()
        return {"kty": "EC", "crv": str(self.curve), "x": to_base64url(x), "y": to_base64url(y)}

    def pem(self) -> str:
        """The SubjectPublicKeyInfo in PEM."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(serialization.Encoding.PEM, form).decode("ascii")

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a raw ``r || s`` ECDSA signature with the hash that fits the curve. Raises Refused (signature)."""
        size = FACTS[self.curve].size
        if len(signature) != 2 * size:
            raise Untrusted(f"signature is {len(signature)} bytes, {self.curve} needs {2 * size}")
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), message, self._ecdsa)
        except InvalidSignature:
            raise Untrusted("signature does not verify") from None

    @property
    def pyca(self) -> ec.EllipticCurvePublicKey:
        """The key object of pyca/cryptography."""
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other._raw == self._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.curve}, {self._raw[1:9].hex()}...)"

    def __reduce__(self) -> tuple[Any, ...]:
        return PublicKey, (self.curve, self._raw)


class SigningKey:
    """A private key; its representation never shows the secret."""

    __slots__ = ("_ecdsa", "_key", "_public", "_scalar", "curve")

    def __init__(self, curve: Curve, scalar: int) -> None:
        facts = FACTS[curve]
        if not 0 < scalar < facts.order:
            raise ValueError("private scalar is out of range")
        self._key = ec.derive_private_key(scalar, facts.curve)
        self._ecdsa = ec.ECDSA(facts.hash, deterministic_signing=True)
        self._scalar = scalar
        self._public = PublicKey._from_pyca(self._key.public_key())
        self.curve = curve

    @property
    def public(self) -> PublicKey:
        """The public key."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Sign with the hash that fits the curve, deterministically (RFC 6979): raw ``r || s``, fixed width."""
        size = FACTS[self.curve].size
        r, s = decode_dss_signature(self._key.sign(message, self._ecdsa))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def agree(self, peer: PublicKey) -> bytes:
        """ECDH: the shared x coordinate, at full width. Raises Refused when the curves differ."""
        if peer.curve is not self.curve:
            raise _bad_key(f"cannot agree between {self.curve} and {peer.curve}")
        return self._key.exchange(ec.ECDH(), peer.pyca)

    def private_bytes(self) -> bytes:
        """The private scalar, big endian at the curve's width: for snapshots only."""
        return self._scalar.to_bytes(FACTS[self.curve].size, "big")

    @classmethod
    def from_private_bytes(cls, data: bytes) -> SigningKey:
        """Rebuild a key from :meth:`private_bytes`; the curve follows from the length. Raises ValueError."""
        curve = CURVE_OF_SIZE.get(len(data))
        if curve is None:
            raise ValueError(f"no curve has private scalars of {len(data)} bytes")
        return _known_key(curve, int.from_bytes(data, "big"))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Read an unencrypted private key in PEM. Raises Refused."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _bad_key("not an unencrypted PEM private key") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVE_OF_PYCA:
            raise _bad_key("private key is not on P-256, P-384 or P-521")
        return cls(CURVE_OF_PYCA[key.curve.name], key.private_numbers().private_value)

    def __repr__(self) -> str:
        return f"SigningKey({self.public!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return SigningKey, (self.curve, self._scalar)


def derive_key(seed: bytes, purpose: str, curve: Curve = Curve.P384) -> SigningKey:
    """Derive the key that belongs to ``seed`` and ``purpose``: HKDF-SHA-512, then FIPS 186-5 A.2.1 reduction."""
    facts = FACTS[curve]
    info = f"realmfleet key derivation\0{curve}\0{purpose}".encode()
    # 64 bits more than the order make the bias of the modular reduction negligible
    wide = HKDF(algorithm=hashes.SHA512(), length=facts.size + 8, salt=None, info=info).derive(seed)
    return _known_key(curve, int.from_bytes(wide, "big") % (facts.order - 1) + 1)


@lru_cache(maxsize=KEPT_KEYS)
def _known_key(curve: Curve, scalar: int) -> SigningKey:
    """A key is a function of its scalar, and its public half costs a point multiplication: done once per key."""
    return SigningKey(curve, scalar)


def to_base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Read base64url without padding, strictly: alphabet, length and zero trailing bits. Raises Malformed."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("not base64url") from None
    if to_base64url(data) != text:
        raise Malformed("base64url is not in its one valid form")
    return data


def _from_base64url(value: object) -> bytes:
    if not isinstance(value, str):
        raise _bad_key("JWK coordinate is not a string")
    try:
        return from_base64url(value)
    except Malformed:
        raise _bad_key("JWK coordinate is not base64url") from None
