"""What the corpus generator can make, each with the verdict it must get: one row a recipe.

Verdicts are those of the texts (draft-ffm-rats-cca-token, RFC 8949, RFC 9052), stated here by hand and never asked of
our verifier. ``reason`` is the failure class, ``label`` the claim or header at fault; a token that verifies has none,
and instead the status that each half gets from Veraison's appraisal with the references of the corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestation import cbor, cose
from attestation.claim_records import PlatformProfile, RealmProfile
from attestation.claims import encode_platform_claims, encode_realm_claims
from attestation.errors import RefusalReason as Why
from attestation.forge_bench import MISSING, Bench, token_of, with_profiles
from attestation.keys import FACTS, Curve, SigningKey, derive_key
from attestation.token import Wrapper, bind
from attestation.trust import Tier


class Kind(StrEnum):
    """What is forged."""

    GOOD = "good"
    WRAPPER = "wrapper"
    CBOR = "cbor"
    COSE = "cose"
    CLAIM = "claim"
    KEY = "key"
    SIGNATURE = "signature"
    BINDING = "binding"
    REPLAY = "replay"
    SUBSTITUTION = "substitution"
    STATE = "state"
    ROLLBACK = "rollback"


Make = Callable[[Bench], bytes]


class Recipe(NamedTuple):
    """How to make one kind of token, and the verdict it must get."""

    kind: Kind
    name: str
    make: Make
    reason: Why | None = None
    label: int | str | None = None
    platform: Tier = Tier.AFFIRMING
    realm: Tier = Tier.AFFIRMING


# -- good tokens ------------------------------------------------------------------------------------------------------

_PROFILES = (
    ("2023", PlatformProfile.V2023_1_0, RealmProfile.V2023_1_0),
    ("legacy", PlatformProfile.LEGACY, RealmProfile.LEGACY),
    ("legacy platform, realm 2023", PlatformProfile.LEGACY, RealmProfile.V2023_1_0),
    ("2024", PlatformProfile.V2024_2_0, RealmProfile.V2024_2_0),
    ("2026", PlatformProfile.V2026_2_0, RealmProfile.V2026_2_0),
)


def _profiled(platform: PlatformProfile, realm: RealmProfile, wrapper: Wrapper) -> Make:
    return lambda bench: token_of(with_profiles(bench.machine, platform, realm), wrapper)


def _realm_with(**changes: Any) -> Make:
    """A token whose Realm claims differ, bound and signed as a machine would."""

    def make(bench: Bench) -> bytes:
        realm = msgspec.structs.replace(bench.machine.realm, **changes)
        platform, realm = bind(bench.machine.platform, realm, bench.machine.rak.public)
        return token_of(bench.machine._replace(platform=platform, realm=realm))

    return make


def _platform_with(**changes: Any) -> Make:
    """A token whose platform claims differ."""
    return lambda bench: token_of(
        bench.machine._replace(platform=msgspec.structs.replace(bench.machine.platform, **changes))
    )


def _rak_on(curve: Curve) -> Make:
    def make(bench: Bench) -> bytes:
        rak = derive_key(bench.draw.bytes(32), "RAK", curve)
        return bench.with_rak(rak.public.cose_key(), rak)

    return make


def _malleated(bench: Bench) -> bytes:
    """(r, n - s) is as good a signature as (r, s): bytes of a token do not identify it."""
    token, size, order = bench.platform_token, 48, FACTS[Curve.P384].order
    s = int.from_bytes(token[-size:], "big")
    return bench.wrap(token[:-size] + (order - s).to_bytes(size, "big"))


def _long_form(bench: Bench) -> bytes:
    """A claim number in eight bytes where two would do; readers must tolerate it."""
    payload = bench.platform_payload({})
    short, long = b"\x19" + (2395).to_bytes(2, "big"), b"\x1b" + (2395).to_bytes(8, "big")
    return bench.wrap(cose.sign(payload.replace(short, long, 1), bench.machine.cpak))


def _realm_first(bench: Bench) -> bytes:
    return cbor.encode(cbor.tagged(399, {44241: bench.realm_token, 44234: bench.platform_token}))


GOOD = (
    *(
        Recipe(Kind.GOOD, f"profile {name} in {wrapper}", _profiled(platform, realm, wrapper))
        for name, platform, realm in _PROFILES
        for wrapper in Wrapper
    ),
    Recipe(Kind.GOOD, "realm key on P-256", _rak_on(Curve.P256)),
    Recipe(Kind.GOOD, "realm key on P-521", _rak_on(Curve.P521)),
    Recipe(Kind.GOOD, "binding by sha-512", _realm_with(public_key_hash_algo_id="sha-512")),
    Recipe(Kind.GOOD, "no service indicator", _platform_with(service_indicator=None)),
    Recipe(Kind.GOOD, "realm before platform", _realm_first),
    Recipe(Kind.GOOD, "long-form claim number", _long_form),
    Recipe(Kind.GOOD, "malleated signature", _malleated),
    Recipe(Kind.GOOD, "unknown numeric claim", lambda b: b.wrap(b.platform({70000: b"x"}), b.realm({70000: 1}))),
    Recipe(Kind.GOOD, "unknown textual claim", lambda b: b.wrap(b.platform({"mine": {1: []}}))),
    Recipe(Kind.GOOD, "unknown component member", lambda b: b.component(0, {99: "x"})),
    Recipe(Kind.GOOD, "unknown entry under 907", lambda b: _collection(b, 907, 44300, [263, b"x"])),
)

# -- wrapper and CBOR -------------------------------------------------------------------------------------------------


def _collection(bench: Bench, tag: int | None, label: int | None = None, entry: Any = None, form: int = 263) -> bytes:
    """A collection under any tag, optionally with one more entry."""
    entries: dict[int, Any] = {44234: bench.platform_token, 44241: bench.realm_token}
    if tag == 907:
        entries = {key: [form, token] for key, token in entries.items()}
    if label is not None:
        entries[label] = entry
    return cbor.encode(entries if tag is None else cbor.tagged(tag, entries))


def _alone(label: int) -> Make:
    return lambda bench: cbor.encode(
        cbor.tagged(399, {label: bench.platform_token if label == 44234 else bench.realm_token})
    )


def _indefinite_wrapper(bench: Bench) -> bytes:
    return b"\xd9\x01\x8f\xbf" + bench.wrap()[4:] + b"\xff"


def _indefinite_claims(bench: Bench) -> bytes:
    return bench.wrap(cose.sign(b"\xbf" + bench.platform_payload({})[1:] + b"\xff", bench.machine.cpak))


def _duplicate(part: str) -> Make:
    def make(bench: Bench) -> bytes:
        payload = bench.platform_payload({}) if part == "platform" else bench.realm_payload({})
        value = 2395 if part == "platform" else 44236
        again = cbor.encode({value: 0x3000 if part == "platform" else "sha-256"})[1:]
        doubled = bytes([payload[0] + 1]) + payload[1:] + again
        if part == "platform":
            return bench.wrap(cose.sign(doubled, bench.machine.cpak))
        return bench.wrap(None, cose.sign(doubled, bench.machine.rak))

    return make


def _with_raw_claim(value: bytes) -> Make:
    """A platform token with one unknown claim whose encoded value is given, however wrong."""

    def make(bench: Bench) -> bytes:
        payload = bench.platform_payload({})
        return bench.wrap(
            cose.sign(bytes([payload[0] + 1]) + payload[1:] + b"\x1a\x00\x01\x11\x70" + value, bench.machine.cpak)
        )

    return make


def _cut(bench: Bench) -> bytes:
    token = bench.wrap()
    return token[: 1 + bench.draw.below(len(token) - 1)]


SHAPE = (
    Recipe(Kind.WRAPPER, "tag 398", lambda b: _collection(b, 398), Why.MALFORMED),
    Recipe(Kind.WRAPPER, "no tag", lambda b: _collection(b, None), Why.MALFORMED),
    Recipe(Kind.WRAPPER, "bare platform token", lambda b: b.platform_token, Why.MALFORMED),
    Recipe(Kind.WRAPPER, "bare bytes under 907", lambda b: b"\xd9\x03\x8b" + b.wrap()[3:], Why.MALFORMED, 44234),
    Recipe(
        Kind.WRAPPER, "arrays under 399",
        lambda b: b"\xd9\x01\x8f" + b.wrap(wrapper=Wrapper.CMW_907)[3:], Why.MALFORMED, 44234,
    ),
    Recipe(
        Kind.WRAPPER, "another content format under 907", lambda b: _collection(b, 907, form=264), Why.MALFORMED, 44234
    ),
    Recipe(Kind.WRAPPER, "no platform token", _alone(44241), Why.MALFORMED, 44234),
    Recipe(Kind.WRAPPER, "no realm token", _alone(44234), Why.MALFORMED, 44241),
    Recipe(Kind.WRAPPER, "unknown entry under 399", lambda b: _collection(b, 399, 44300, b"x"), Why.MALFORMED, 44300),
    Recipe(Kind.CBOR, "nothing", lambda b: b"", Why.MALFORMED),
    Recipe(Kind.CBOR, "cut short", _cut, Why.MALFORMED),
    Recipe(Kind.CBOR, "a byte too many", lambda b: b.wrap() + b"\0", Why.MALFORMED),
    Recipe(Kind.CBOR, "indefinite wrapper", _indefinite_wrapper, Why.MALFORMED),
    Recipe(Kind.CBOR, "indefinite claims", _indefinite_claims, Why.MALFORMED),
    Recipe(Kind.CBOR, "duplicate platform claim", _duplicate("platform"), Why.MALFORMED, 2395),
    Recipe(Kind.CBOR, "duplicate realm claim", _duplicate("realm"), Why.MALFORMED, 44236),
    Recipe(Kind.CBOR, "nesting bomb", _with_raw_claim(b"\x81" * 1000 + b"\x01"), Why.MALFORMED),
    Recipe(Kind.CBOR, "tag bomb", _with_raw_claim(b"\xc1" * 1000 + b"\x01"), Why.MALFORMED),
    Recipe(Kind.CBOR, "endless array", _with_raw_claim(b"\x9b" + b"\xff" * 8), Why.MALFORMED),
    Recipe(Kind.CBOR, "endless string", _with_raw_claim(b"\x5b\x7f" + b"\xff" * 7), Why.MALFORMED),
    Recipe(Kind.CBOR, "text that is not UTF-8", _with_raw_claim(b"\x62\xc3\x28"), Why.MALFORMED),
    Recipe(Kind.CBOR, "an array as map key", _with_raw_claim(b"\xa1\x80\x01"), Why.MALFORMED),
    Recipe(Kind.CBOR, "reserved head", _with_raw_claim(b"\x1c"), Why.MALFORMED),
)  # fmt: skip

# -- COSE -------------------------------------------------------------------------------------------------------------


def _sign1(bench: Bench, part: str, change: Callable[[list[Any]], Any]) -> bytes:
    """A token in which the four members of one COSE_Sign1 were changed after signing."""
    tag = cbor.decode(bench.platform_token if part == "platform" else bench.realm_token)
    members = list(tag.value)
    changed = change(members)
    inner = cbor.encode(cbor.tagged(18, members if changed is None else changed))
    return bench.wrap(inner) if part == "platform" else bench.wrap(None, inner)


def _replace(index: int, value: Any) -> Callable[[list[Any]], None]:
    def change(members: list[Any]) -> None:
        members[index] = value

    return change


def _header(header: dict[Any, Any], unprotected: dict[Any, Any] | None = None) -> Make:
    """A platform token signed over another protected header, so that only the header can be wrong."""

    def make(bench: Bench) -> bytes:
        protected, payload = cbor.encode(header), bench.platform_payload({})
        signature = bench.machine.cpak.sign(cose.to_be_signed(protected, payload))
        return bench.wrap(cbor.encode(cbor.tagged(18, [protected, unprotected or {}, payload, signature])))

    return make


COSE = (
    Recipe(Kind.COSE, "platform token without tag 18", lambda b: b.wrap(b.platform_token[1:]), Why.MALFORMED),
    Recipe(Kind.COSE, "realm token without tag 18", lambda b: b.wrap(None, b.realm_token[1:]), Why.MALFORMED),
    Recipe(Kind.COSE, "realm token as COSE_Mac0", lambda b: b.wrap(None, b"\xd1" + b.realm_token[1:]), Why.MALFORMED),
    Recipe(Kind.COSE, "three members", lambda b: _sign1(b, "platform", lambda m: m[:3]), Why.MALFORMED),
    Recipe(Kind.COSE, "detached payload", lambda b: _sign1(b, "platform", _replace(2, None)), Why.MALFORMED),
    Recipe(Kind.COSE, "textual signature", lambda b: _sign1(b, "realm", _replace(3, "x")), Why.MALFORMED),
    Recipe(Kind.COSE, "empty payload", lambda b: b.wrap(cose.sign(b"", b.machine.cpak)), Why.MALFORMED),
    Recipe(Kind.COSE, "algorithm not protected", _header({}, {1: -35}), Why.MALFORMED, 1),
    Recipe(Kind.COSE, "no algorithm", _header({}), Why.MALFORMED, 1),
    Recipe(Kind.COSE, "algorithm EdDSA", _header({1: -8}), Why.MALFORMED, 1),
    Recipe(Kind.COSE, "algorithm in words", _header({1: "ES384"}), Why.MALFORMED, 1),
    Recipe(Kind.COSE, "critical header", _header({1: -35, 2: [99], 99: 1}), Why.MALFORMED, 2),
    Recipe(Kind.COSE, "algorithm twice", _header({1: -35}, {1: -35}), Why.MALFORMED, "1"),
    Recipe(Kind.COSE, "ES256 with a P-384 key", _header({1: -7}), Why.SIGNATURE, 1),
    Recipe(Kind.COSE, "ES512 with a P-384 key", _header({1: -36}), Why.SIGNATURE, 1),
)

# -- claims -----------------------------------------------------------------------------------------------------------

_PLATFORM_CLAIMS = (10, 2396, 256, 2401, 2395, 2402, 2399)
_REALM_CLAIMS = (10, 44235, 44236, 44237, 44238, 44239, 44240)
_WRONG_PLATFORM: tuple[tuple[int, str, Any], ...] = (
    (10, "of 31 bytes", bytes(31)), (10, "of 65 bytes", bytes(65)), (10, "as array", [bytes(32)]),
    (2396, "of 31 bytes", bytes(31)), (2396, "of 33 bytes", bytes(33)), (2396, "as text", "a" * 32),
    (256, "of 32 bytes", b"\x01" + bytes(31)), (256, "of 34 bytes", b"\x01" + bytes(33)),
    (256, "of another type", b"\x02" + bytes(32)),
    (2401, "as number", 7),
    (2395, "one past secured", 0x3100), (2395, "beyond decommissioned", 0x7000), (2395, "negative", -1),
    (2395, "as text", "secured"), (2395, "as float", 12288.0),
    (2402, "unknown", "sha-1"), (2402, "in capitals", "SHA-256"),
    (2399, "empty", []), (2399, "as map", {1: {}}), (2399, "of numbers", [1, 2]),
    (2400, "empty", ""), (2400, "as bytes", b"https://verifier.example/"),
)  # fmt: skip
_WRONG_REALM: tuple[tuple[int, str, Any], ...] = (
    (10, "of 63 bytes", bytes(63)), (10, "of 32 bytes", bytes(32)), (10, "as array", [bytes(64)]),
    (44235, "of 63 bytes", bytes(63)), (44235, "of 32 bytes", bytes(32)),
    (44236, "unknown", "md5"), (44240, "unknown", "sha-224"), (44240, "as number", 1),
    (44238, "of 31 bytes", bytes(31)), (44238, "of 65 bytes", bytes(65)),
    (44239, "of three", [bytes(32)] * 3), (44239, "of five", [bytes(32)] * 5), (44239, "empty", []),
    (44239, "with one of 31 bytes", [bytes(32)] * 3 + [bytes(31)]), (44239, "as bytes", bytes(128)),
)  # fmt: skip
_WRONG_COMPONENT: tuple[tuple[str, dict[int, Any]], ...] = (
    ("without measurement", {2: MISSING}), ("with a measurement of 31 bytes", {2: bytes(31)}),
    ("without signer", {5: MISSING}), ("with a signer of 31 bytes", {5: bytes(31)}),
    ("with a numeric version", {4: 1}), ("with a type in bytes", {1: b"RMM"}),
)  # fmt: skip


def _platform_claim(label: int, value: Any) -> Make:
    return lambda bench: bench.wrap(bench.platform({label: value}))


def _realm_claim(label: int, value: Any) -> Make:
    return lambda bench: bench.wrap(None, bench.realm({label: value}))


def _component(changes: dict[int, Any]) -> Make:
    return lambda bench: bench.component(bench.draw.below(3), changes)


CLAIMS = (
    *(
        Recipe(Kind.CLAIM, f"platform {c} missing", _platform_claim(c, MISSING), Why.CLAIMS, c)
        for c in _PLATFORM_CLAIMS
    ),
    *(Recipe(Kind.CLAIM, f"platform {c} null", _platform_claim(c, None), Why.CLAIMS, c) for c in _PLATFORM_CLAIMS),
    *(Recipe(Kind.CLAIM, f"platform {c} {how}", _platform_claim(c, v), Why.CLAIMS, c) for c, how, v in _WRONG_PLATFORM),
    *(Recipe(Kind.CLAIM, f"realm {c} missing", _realm_claim(c, MISSING), Why.CLAIMS, c) for c in _REALM_CLAIMS),
    *(Recipe(Kind.CLAIM, f"realm {c} null", _realm_claim(c, None), Why.CLAIMS, c) for c in _REALM_CLAIMS),
    *(Recipe(Kind.CLAIM, f"realm {c} {how}", _realm_claim(c, v), Why.CLAIMS, c) for c, how, v in _WRONG_REALM),
    *(Recipe(Kind.CLAIM, f"component {how}", _component(v), Why.CLAIMS, 2399) for how, v in _WRONG_COMPONENT),
    Recipe(Kind.CLAIM, "platform profile missing", _platform_claim(265, MISSING), Why.CLAIMS, 265),
    Recipe(Kind.CLAIM, "platform profile unknown", _platform_claim(265, "tag:arm.com,2023:x"), Why.PROFILE, 265),
    Recipe(
        Kind.CLAIM, "platform profile of a realm", _platform_claim(265, RealmProfile.V2023_1_0.value), Why.PROFILE, 265
    ),
    Recipe(Kind.CLAIM, "platform profile in bytes", _platform_claim(265, b"x"), Why.PROFILE, 265),
    Recipe(Kind.CLAIM, "realm profile unknown", _realm_claim(265, "tag:arm.com,2023:x"), Why.PROFILE, 265),
    Recipe(Kind.CLAIM, "realm profile empty", _realm_claim(265, ""), Why.CLAIMS, 265),
    Recipe(
        Kind.CLAIM,
        "platform claims as array",
        lambda b: b.wrap(cose.sign(cbor.encode([1]), b.machine.cpak)),
        Why.CLAIMS,
    ),
    Recipe(
        Kind.CLAIM,
        "realm claims as text",
        lambda b: b.wrap(None, cose.sign(cbor.encode("x"), b.machine.rak)),
        Why.CLAIMS,
    ),
)

# -- keys -------------------------------------------------------------------------------------------------------------


def _rak(change: Callable[[dict[int, Any]], Any], **realm_changes: Any) -> Make:
    """A token whose RAK was changed as COSE_Key, then bound and signed by the true key."""

    def make(bench: Bench) -> bytes:
        members = cbor.decode(bench.machine.rak.public.cose_key())
        changed = change(members)
        return bench.with_rak(changed if isinstance(changed, bytes) else cbor.encode(members), **realm_changes)

    return make


def _off_curve(bench: Bench) -> bytes:
    key = bytearray(bench.machine.rak.public.cose_key())
    key[-1 - bench.draw.below(48)] ^= 1 << bench.draw.below(8)
    return bench.with_rak(bytes(key))


KEYS = (
    Recipe(Kind.KEY, "point off the curve", _off_curve, Why.UNKNOWN_KEY, 44237),
    Recipe(Kind.KEY, "point at zero", _rak(lambda m: m.update({-2: bytes(48), -3: bytes(48)})), Why.UNKNOWN_KEY, 44237),
    Recipe(Kind.KEY, "unknown curve", _rak(lambda m: m.update({-1: 8})), Why.UNKNOWN_KEY, 44237),
    Recipe(Kind.KEY, "P-384 point said to be on P-256", _rak(lambda m: m.update({-1: 1})), Why.UNKNOWN_KEY, 44237),
    Recipe(Kind.KEY, "short coordinate", _rak(lambda m: m.update({-2: m[-2][1:]})), Why.UNKNOWN_KEY, 44237),
    Recipe(Kind.KEY, "compressed point", _rak(lambda m: m.update({-3: True})), Why.CLAIMS, 44237),
    Recipe(Kind.KEY, "key type OKP", _rak(lambda m: m.update({1: 1})), Why.CLAIMS, 44237),
    Recipe(Kind.KEY, "byte after the key", _rak(lambda m: cbor.encode(m) + b"\0"), Why.CLAIMS, 44237),
    Recipe(Kind.KEY, "member twice", _rak(lambda m: b"\xa5" + cbor.encode(m)[1:] + b"\x01\x02"), Why.CLAIMS, 44237),
    Recipe(
        Kind.KEY, "raw point under a 2023 profile", lambda b: b.with_rak(b.machine.rak.public.raw()), Why.CLAIMS, 44237
    ),
    Recipe(Kind.KEY, "COSE_Key without profile", _rak(lambda m: None, c265=MISSING), Why.CLAIMS, 44237),
)

# -- signatures, binding, replay, substitution ------------------------------------------------------------------------


def _signature(part: str, change: Callable[[bytes], bytes]) -> Make:
    def make(bench: Bench) -> bytes:
        return _sign1(bench, part, lambda members: [*members[:3], change(members[3])])

    return make


def _der(signature: bytes) -> bytes:
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def _flip_signature(part: str) -> Make:
    def make(bench: Bench) -> bytes:
        token = bench.platform_token if part == "platform" else bench.realm_token
        return bench.flipped(token[-96:])

    return make


def _flip_component(bench: Bench) -> bytes:
    components = bench.machine.platform.sw_components
    return bench.flipped(components[bench.draw.below(len(components))].measurement_value)


def _swapped(bench: Bench) -> bytes:
    """Each half under the signature of the other."""
    platform, realm = bench.platform_token, bench.realm_token
    return bench.wrap(platform[:-96] + realm[-96:], realm[:-96] + platform[-96:])


def _signed_by(part: str, key: Callable[[Bench], SigningKey]) -> Make:
    if part == "platform":
        return lambda bench: bench.wrap(bench.platform({}, key(bench)))
    return lambda bench: bench.wrap(None, bench.realm({}, key(bench)))


SIGNATURES = (
    *(
        Recipe(Kind.SIGNATURE, f"{part} signature {how}", make, Why.SIGNATURE)
        for part in ("platform", "realm")
        for how, make in (
            ("with a bit turned over", _flip_signature(part)),
            ("in DER", _signature(part, _der)),
            ("a byte short", _signature(part, lambda signature: signature[1:])),
            ("empty", _signature(part, lambda signature: b"")),
            ("of zeros", _signature(part, lambda signature: bytes(len(signature)))),
            ("halves exchanged", _signature(part, lambda signature: signature[48:] + signature[:48])),
        )
    ),
    *(
        Recipe(Kind.SIGNATURE, how, make, Why.SIGNATURE)
        for how, make in (
            ("signatures exchanged", _swapped),
            ("platform signed by another machine", _signed_by("platform", lambda b: b.neighbour.cpak)),
            ("platform signed by the realm key", _signed_by("platform", lambda b: b.machine.rak)),
            ("realm signed by the platform key", _signed_by("realm", lambda b: b.machine.cpak)),
            ("realm signed by another realm key", _signed_by("realm", lambda b: b.neighbour.rak)),
            ("component changed after signing", _flip_component),
            ("binding changed after signing", lambda b: b.flipped(b.machine.platform.binding or b"")),
            ("RIM changed after signing", lambda b: b.flipped(b.machine.realm.initial_measurement)),
            ("RPV changed after signing", lambda b: b.flipped(b.machine.realm.personalization_value)),
            ("challenge changed after signing", lambda b: b.flipped(b.nonce)),
        )
    ),
)  # fmt: skip


def _neighbours_realm(bench: Bench) -> bytes:
    return bench.wrap(None, cose.sign(encode_realm_claims(bench.neighbour.realm), bench.neighbour.rak))


def _neighbours_platform(bench: Bench) -> bytes:
    return bench.wrap(cose.sign(encode_platform_claims(bench.neighbour.platform), bench.neighbour.cpak))


def _bound_to(value: Callable[[Bench], bytes]) -> Make:
    return lambda bench: bench.wrap(bench.platform({10: value(bench)}))


BINDINGS = (
    Recipe(Kind.BINDING, "bound to nothing", _bound_to(lambda b: b.draw.bytes(32)), Why.BINDING, 10),
    Recipe(
        Kind.BINDING, "hash over the claim with its head",
        _bound_to(lambda b: hashlib.sha256(b"\x58\x6b" + b.machine.realm.public_key).digest()), Why.BINDING, 10,
    ),
    Recipe(
        Kind.BINDING, "hash over the raw point",
        _bound_to(lambda b: hashlib.sha256(b.machine.rak.public.raw()).digest()), Why.BINDING, 10,
    ),
    Recipe(
        Kind.BINDING, "hash under another algorithm",
        _bound_to(lambda b: hashlib.sha512(b.machine.realm.public_key).digest()), Why.BINDING, 10,
    ),
    Recipe(
        Kind.BINDING, "another algorithm named",
        lambda b: b.wrap(None, b.realm({44240: "sha-512"})), Why.BINDING, 10,
    ),
    Recipe(
        Kind.REPLAY, "answers an older challenge", lambda b: b.wrap(None, b.realm({10: b.old_nonce})), Why.FRESHNESS, 10
    ),
    Recipe(
        Kind.REPLAY, "answers half the challenge",
        lambda b: b.wrap(None, b.realm({10: b.nonce[:32] + bytes(32)})), Why.FRESHNESS, 10,
    ),
    Recipe(
        Kind.REPLAY, "answers an empty challenge", lambda b: b.wrap(None, b.realm({10: bytes(64)})), Why.FRESHNESS, 10
    ),
    Recipe(Kind.SUBSTITUTION, "realm token of another machine", _neighbours_realm, Why.BINDING, 10),
    Recipe(Kind.SUBSTITUTION, "platform token of another machine", _neighbours_platform, Why.BINDING, 10),
    Recipe(
        Kind.SUBSTITUTION, "identity of another machine",
        lambda b: b.wrap(
            b.platform({256: b.neighbour.platform.instance_id, 2396: b.neighbour.platform.implementation_id})
        ),
        Why.SIGNATURE,
    ),
    Recipe(
        Kind.SUBSTITUTION, "identity of no machine",
        lambda b: b.wrap(b.platform({256: b"\x01" + b.draw.bytes(32)})), Why.UNKNOWN_INSTANCE, 256,
    ),
    Recipe(
        Kind.SUBSTITUTION, "identity with a bit turned over",
        lambda b: b.flipped(b.machine.platform.instance_id, after=1), Why.UNKNOWN_INSTANCE, 256,
    ),
    Recipe(
        Kind.SUBSTITUTION, "implementation of another machine",
        lambda b: b.wrap(b.platform({2396: b.neighbour.platform.implementation_id})), Why.UNKNOWN_INSTANCE, 2396,
    ),
)  # fmt: skip

# -- verifies, and appraises otherwise --------------------------------------------------------------------------------


def _older(index: int) -> Make:
    """A component as it was before: another digest, an older version."""
    return lambda bench: bench.component(index, {2: bench.draw.bytes(32), 4: "0.1"})


STATES = (
    *(
        Recipe(Kind.STATE, f"lifecycle {name}", _platform_with(lifecycle=value), platform=tier)
        for name, value, tier in (
            ("unknown", 0x0000, Tier.CONTRAINDICATED), ("assembly and test", 0x1001, Tier.CONTRAINDICATED),
            ("provisioning", 0x20FF, Tier.CONTRAINDICATED), ("secured", 0x30FF, Tier.AFFIRMING),
            ("realm debug", 0x4000, Tier.AFFIRMING), ("root debug", 0x5000, Tier.CONTRAINDICATED),
            ("decommissioned", 0x6000, Tier.CONTRAINDICATED),
        )
    ),
    Recipe(Kind.STATE, "another configuration", _platform_with(config=b"\0\0\0\1"), platform=Tier.WARNING),
    Recipe(Kind.STATE, "another realm image", _realm_with(initial_measurement=bytes(32)), realm=Tier.WARNING),
    Recipe(Kind.STATE, "another run-time measurement", _realm_with(extensible_measurements=(bytes(32),) * 4)),
    *(
        Recipe(Kind.ROLLBACK, f"older {name}", _older(index), platform=Tier.WARNING)
        for index, name in enumerate(("RSE_BL2", "AP_BL31", "RMM"))
    ),
    Recipe(Kind.ROLLBACK, "older version claimed", lambda b: b.component(2, {4: "0.1"}), platform=Tier.WARNING),
    Recipe(Kind.ROLLBACK, "digest of another type", lambda b: b.component(2, {1: "AP_BL31"}), platform=Tier.WARNING),
)  # fmt: skip

RECIPES: tuple[Recipe, ...] = (
    *GOOD, *SHAPE, *COSE, *CLAIMS, *KEYS, *SIGNATURES, *BINDINGS, *STATES,
)  # fmt: skip
"""Every recipe; one round of the corpus makes each once."""
