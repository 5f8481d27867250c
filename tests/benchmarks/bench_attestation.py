"""Attestation on one core, each figure against its floor measured in the same run.

Verifications and creations are held to the bare ECDSA operations that each needs (pyca/cryptography, keys loaded,
nothing parsed), decoding to bare `cbor2.loads` of the same nested bytes. Tokens are of the default form with thirteen
components, all different, so nothing is recognised from before. Ratios near 1 mean that the signatures are all the
work. The broker answers whole exchanges (request, challenge, evidence, resource) over loopback from a process of its
own. Run it with `python tests/benchmarks/bench_attestation.py`.
"""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns, thread_time_ns

import cbor2
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attestation import token as tokens
from attestation.appraise import Scheme, appraise
from attestation.claim_records import PlatformClaims, RealmClaims, SoftwareComponent
from attestation.keys import SigningKey, derive_key
from attestation.stores import (
    ComponentReference,
    PlatformReference,
    RealmReference,
    ReferenceValues,
    TrustAnchor,
    TrustAnchors,
)
from attestation.verify import PlatformCache, Verified, verify

TOKENS = 300
ROUNDS = 5
COMPONENTS = 13
EXCHANGES = 40


class Material:
    """Distinct tokens with their keys, and what a verifier needs to judge them."""

    def __init__(self, count: int) -> None:
        self.cpaks = [derive_key(b"bench", f"cpak {index}") for index in range(count)]
        self.raks = [derive_key(b"bench", f"rak {index}") for index in range(count)]
        self.claims = [self._claims(index) for index in range(count)]
        self.tokens = [self.create(index) for index in range(count)]
        self.anchors = TrustAnchors(
            TrustAnchor(claims[0].instance_id, claims[0].implementation_id, key.public)
            for claims, key in zip(self.claims, self.cpaks, strict=True)
        )
        self.references = _references(self.claims[0][0], self.claims[0][1])

    @staticmethod
    def _claims(index: int) -> tuple[PlatformClaims, RealmClaims]:
        number = index.to_bytes(4, "big")
        components = tuple(
            SoftwareComponent(
                measurement_type=f"FW_{place}",
                measurement_value=hashlib.sha256(bytes([place])).digest(),
                version="1.0.0",
                signer_id=hashlib.sha256(b"signer").digest(),
                description="sha-256",
            )
            for place in range(COMPONENTS)
        )
        platform = PlatformClaims(
            implementation_id=bytes(32),
            instance_id=b"\x01" + hashlib.sha256(number).digest(),
            config=b"\xcf" * 4,
            lifecycle=0x3000,
            sw_components=components,
        )
        realm = RealmClaims(
            challenge=hashlib.sha512(number).digest(),
            personalization_value=hashlib.sha512(b"rpv" + number).digest(),
            initial_measurement=hashlib.sha256(b"rim").digest(),
            extensible_measurements=(bytes(32),) * 4,
        )
        return platform, realm

    def create(self, index: int) -> bytes:
        platform, realm = self.claims[index]
        return tokens.create(platform, realm, self.cpaks[index], self.raks[index])

    def verify(self, index: int) -> Verified:
        return verify(self.tokens[index], self.anchors, self.claims[index][1].challenge)


def _references(platform: PlatformClaims, realm: RealmClaims) -> ReferenceValues:
    components = tuple(
        ComponentReference(
            name=part.measurement_type or "", measurement_value=part.measurement_value, signer_id=part.signer_id
        )
        for part in platform.sw_components
    )
    return ReferenceValues(
        [
            PlatformReference(
                implementation_id=platform.implementation_id, components=components, config=platform.config
            )
        ],
        [RealmReference(initial_measurement=realm.initial_measurement, class_id=realm.initial_measurement)],
    )


def cpu_us(works: Sequence[Callable[[int], object]], count: int) -> list[float]:
    """Processor microseconds of one piece of each sort of work: the best round of some over `count` different pieces.

    Each round does all sorts one after the other, so that what disturbs the machine disturbs both sides of a ratio.
    """
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for place, work in enumerate(works):
            gc.collect()
            start = thread_time_ns()
            for index in range(count):
                work(index)
            best[place] = min(best[place], (thread_time_ns() - start) / count / 1000)
    return best


def wall_us(work: Callable[[int], object], count: int) -> float:
    """Wall microseconds of one piece of work: the best round of some."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = perf_counter_ns()
        for index in range(count):
            work(index)
        best = min(best, (perf_counter_ns() - start) / count / 1000)
    return best


class Bare:
    """The operations that a token needs, with pyca/cryptography alone: other keys and messages each time, as tokens."""

    def __init__(self, material: Material) -> None:
        self.verifying = ec.ECDSA(hashes.SHA384())
        self.signing = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)
        self.keys = [(_pyca(cpak), _pyca(rak)) for cpak, rak in zip(material.cpaks, material.raks, strict=True)]
        self.public = [(cpak.public_key(), rak.public_key()) for cpak, rak in self.keys]
        self.points = [key.public.raw() for key in material.raks]
        self.message = bytes(600)
        self.signatures = [(cpak.sign(self.message, self.signing), rak.sign(self.message, self.signing))
                           for cpak, rak in self.keys]  # fmt: skip

    def verify(self, index: int) -> None:
        """Two verifications with keys that are loaded."""
        for key, signature in zip(self.public[index], self.signatures[index], strict=True):
            key.verify(signature, self.message, self.verifying)

    def verify_loading(self, index: int) -> None:
        """The same, the RAK loaded from its point, as it stands in every token."""
        self.public[index][0].verify(self.signatures[index][0], self.message, self.verifying)
        rak = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), self.points[index])
        rak.verify(self.signatures[index][1], self.message, self.verifying)

    def verify_one(self, index: int) -> None:
        """One verification with a key that is loaded."""
        self.public[index][1].verify(self.signatures[index][1], self.message, self.verifying)

    def sign(self, index: int) -> None:
        """Two signatures by RFC 6979."""
        for key in self.keys[index]:
            key.sign(self.message, self.signing)


def _pyca(key: SigningKey) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(key.private_bytes(), "big"), ec.SECP384R1())


def bare_loads(token: bytes) -> None:
    """Decode the same five layers with cbor2 alone: collection, two COSE_Sign1, two claim sets, nothing judged."""
    collection = cbor2.loads(token).value
    for label in (44234, 44241):
        sign1 = cbor2.loads(collection[label]).value
        cbor2.loads(sign1[0])
        cbor2.loads(sign1[2])


def main() -> None:
    """Print one line per figure: a second on one core, the time of one, and the ratio to its floor."""
    material = Material(TOKENS)
    bare = Bare(material)
    verified, floor, loading, one = cpu_us([material.verify, bare.verify, bare.verify_loading, bare.verify_one], TOKENS)
    _line("verify", verified, floor, "two ES384 verifications")
    _line("  the RAK loaded too", verified, loading, "the same with one key loaded from its point")
    created, signing = cpu_us([material.create, bare.sign], TOKENS)
    _line("create", created, signing, "two deterministic ES384 signatures")
    decoded, loads = cpu_us(
        [lambda index: tokens.decode(material.tokens[index]), lambda index: bare_loads(material.tokens[index])], TOKENS
    )
    _line("decode, validate", decoded, loads, "bare cbor2.loads of the five layers")
    judged = [material.verify(index) for index in range(TOKENS)]
    (appraised,) = cpu_us([lambda index: appraise(judged[index], material.references, Scheme.VERAISON)], TOKENS)
    _line("appraise, explained", appraised)
    cache = PlatformCache()

    def recognised(index: int) -> None:
        verify(material.tokens[index], material.anchors, material.claims[index][1].challenge, trusted_platforms=cache)

    (again,) = cpu_us([recognised], TOKENS)
    _line("verify, platform known", again, one, "one ES384 verification")
    _broker(material)


def _line(name: str, spent_us: float, floor_us: float | None = None, floor_name: str = "") -> None:
    ratio = f"{floor_us / spent_us:6.2f} of the floor: {floor_name} ({floor_us:.0f} us)" if floor_us else ""
    print(f"{name:<22}{1e6 / spent_us:9.0f} /s   {spent_us:9.1f} us   {ratio}")


def _broker(material: Material) -> None:
    """Whole exchanges over loopback with a broker in a process of its own, one client, one connection a request."""
    from orchestrator.serve.kbs_client import fetch

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "secrets" / "a" / "b").mkdir(parents=True)
        (Path(folder) / "secrets" / "a" / "b" / "c").write_bytes(b"secret")
        platform, realm = material.claims[0]
        cpak, rak = material.cpaks[0], material.raks[0]
        (Path(folder) / "key.pem").write_text(cpak.public.pem(), encoding="utf-8")
        store = Path(folder) / "store.json"
        store.write_text(_store(platform, realm), encoding="utf-8")
        words = ["kbs", "serve", "--resources", f"{folder}/secrets", "--key", f"{folder}/key.pem", "--port", "0"]
        command = [sys.executable, "-m", "orchestrator.cli", *words, "--store", str(store)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as serving:
            assert serving.stdout is not None
            url = serving.stdout.readline().strip().rpartition(" ")[2]
            try:

                def exchange(_: int) -> None:
                    fetch(url, "a/b/c", lambda challenge: _token(platform, realm, cpak, rak, challenge))

                exchange(0)
                _line("broker exchange", wall_us(exchange, EXCHANGES))
            finally:
                serving.terminate()


def _token(platform: PlatformClaims, realm: RealmClaims, cpak: SigningKey, rak: SigningKey, challenge: bytes) -> bytes:
    return tokens.create(platform, msgspec.structs.replace(realm, challenge=challenge), cpak, rak)


def _store(platform: PlatformClaims, realm: RealmClaims) -> str:
    from attestation.stores import write_reference_store

    return write_reference_store(_references(platform, realm))


if __name__ == "__main__":
    main()
