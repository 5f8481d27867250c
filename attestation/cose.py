"""COSE_Sign1 as CCA uses it: tag 18, alg in the protected header, ECDSA with r || s.

Source: RFC 9052 sections 3 and 4.2, RFC 9053 section 2.1; draft-ffm-rats-cca-token on the header contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attestation import cbor
from attestation.errors import Malformed, Untrusted
from attestation.keys import PublicKey, SigningKey

TAG_SIGN1 = 18
ALG, CRIT, CONTENT_TYPE, KID = 1, 2, 3, 4
ALGORITHM_NAMES = {-7: "ES256", -35: "ES384", -36: "ES512"}

_PROTECTED = {alg: cbor.encode({ALG: alg}) for alg in ALGORITHM_NAMES}


class Sign1(NamedTuple):
    """A parsed COSE_Sign1; protected header and payload are kept as received: the signature is over those bytes."""

    protected: bytes
    algorithm: int
    headers: dict[Any, Any]
    unprotected: dict[Any, Any]
    payload: bytes
    signature: bytes

    def to_be_signed(self) -> bytes:
        """The Sig_structure (RFC 9052 section 4.4)."""
        return to_be_signed(self.protected, self.payload)

    def verify(self, key: PublicKey) -> None:
        """Check the signature; alg must be the one that fits the key. Raises Refused (signature)."""
        if self.algorithm != key.algorithm:
            raise Untrusted(
                f"{ALGORITHM_NAMES[self.algorithm]} in the header does not fit a key on {key.curve}", label=ALG
            )
        key.verify(self.to_be_signed(), self.signature)


def _byte_string(data: bytes) -> bytes:
    """Head and content of a byte string in shortest form."""
    size = len(data)
    if size < 24:
        return bytes((0x40 | size,)) + data
    if size < 0x100:
        return bytes((0x58, size)) + data
    if size < 0x10000:
        return b"\x59" + size.to_bytes(2, "big") + data
    return b"\x5a" + size.to_bytes(4, "big") + data


def to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """The CBOR array ["Signature1", protected, h'', payload]."""
    return b"\x84\x6aSignature1" + _byte_string(protected) + b"\x40" + _byte_string(payload)


def sign(payload: bytes, key: SigningKey, *, protected: Mapping[int, Any] | None = None) -> bytes:
    """Sign ``payload``: a tagged COSE_Sign1; alg and what ``protected`` adds are protected, nothing is unprotected."""
    alg = key.public.algorithm
    header = cbor.encode({ALG: alg, **protected}) if protected else _PROTECTED[alg]
    signature = key.sign(to_be_signed(header, payload))
    return b"\xd2\x84" + _byte_string(header) + b"\xa0" + _byte_string(payload) + _byte_string(signature)


def parse(data: bytes, limits: cbor.Limits = cbor.TOKEN_LIMITS) -> Sign1:
    """Parse a tagged COSE_Sign1 strictly. Raises Malformed with label and offset; judges no signature."""
    return from_value(cbor.decode(data, limits), data)


def from_value(value: Any, data: bytes) -> Sign1:
    """Read a COSE_Sign1 from its decoded ``value``; ``data`` are the bytes it came from."""
    if not isinstance(value, cbor.Tag) or value.number != TAG_SIGN1:
        raise Malformed("not a COSE_Sign1: tag 18 is missing", offset=0)
    if not isinstance(value.value, list) or len(value.value) != 4:
        raise Malformed("COSE_Sign1 is not an array of four", offset=1)
    protected, unprotected, payload, signature = value.value
    if not isinstance(protected, bytes):
        raise Malformed("protected header is not a byte string", offset=cbor.locate(data, (0,)))
    if not isinstance(unprotected, dict):
        raise Malformed("unprotected header is not a map", offset=cbor.locate(data, (1,)))
    if not isinstance(payload, bytes):
        what = "detached (nil) payload" if payload is None else "payload that is not a byte string"
        raise Malformed(what, offset=cbor.locate(data, (2,)))
    if not isinstance(signature, bytes):
        raise Malformed("signature is not a byte string", offset=cbor.locate(data, (3,)))
    algorithm, headers = _protected_header(protected, unprotected, data)
    return Sign1(protected, algorithm, headers, unprotected, payload, signature)


_KNOWN_HEADERS: dict[bytes, tuple[int, dict[Any, Any]]] = {
    protected: (alg, {ALG: alg}) for alg, protected in _PROTECTED.items()
}


def _protected_header(protected: bytes, unprotected: dict[Any, Any], data: bytes) -> tuple[int, dict[Any, Any]]:
    known = _KNOWN_HEADERS.get(protected)
    if known is not None and not unprotected:
        return known
    base = cbor.locate(data, (0,), content=True)
    try:
        headers = cbor.decode(protected) if protected else {}
    except Malformed as refusal:
        raise refusal.located(part="protected header", base=base) from None
    if not isinstance(headers, dict):
        raise Malformed("protected header is not a map", offset=base)
    if ALG not in headers:
        where = "only in the unprotected header" if ALG in unprotected else "missing"
        raise Malformed(f"algorithm is {where}: it must be protected", label=ALG, offset=base)
    twice = sorted(str(label) for label in headers.keys() & unprotected.keys())
    if twice:
        raise Malformed("header label is both protected and unprotected", label=twice[0], offset=base)
    if CRIT in headers or CRIT in unprotected:
        raise Malformed("critical headers are not understood", label=CRIT, offset=base)
    algorithm = headers[ALG]
    if type(algorithm) is not int or algorithm not in ALGORITHM_NAMES:
        raise Malformed("algorithm is none of ES256, ES384, ES512", label=ALG, offset=base)
    return algorithm, headers
