"""Recorded sources of tokens and endorsements that are no CBOR yet: what other tools make of them is what we read.

JSON templates of CoMIDs (services integration tests) and examples in diagnostic notation (draft-cca-rats-endorsements)
are encoded here, by the key numbers of the CoRIM draft and without our writer; YAML sources of the TF-M token compiler
are held to the tokens that it made of them.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from ruamel.yaml import YAML

from attestation import corim
from attestation.appraise import Scheme, appraise
from attestation.errors import Malformed, Refused
from attestation.keys import PublicKey
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.token import decode, decode_platform_token
from attestation.trust import Tier
from attestation.verify import verify

TAGS = {"bytes": 560, "ueid": 550, "pkix-base64-key": 554}
MVAL = {"version": 0, "digests": 2, "raw-value": 4, "raw-value-mask": 5, "name": 11, "cryptokeys": 13}


def octets(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def typed(value: dict[str, str]) -> Any:
    """A tagged choice of a template; a key is text, everything else bytes."""
    if value["type"] == "string":
        return value["value"]
    return cbor2.CBORTag(
        TAGS[value["type"]], value["value"] if value["type"].startswith("pkix") else octets(value["value"])
    )


def mval(values: dict[str, Any]) -> dict[int, Any]:
    made: dict[int, Any] = {}
    for name, value in values.items():
        if name == "digests":
            made[MVAL[name]] = [[algorithm, octets(text)] for algorithm, text in value]
        elif name == "version":
            made[MVAL[name]] = {0: value["value"], 1: value["scheme"]}
        elif name == "cryptokeys":
            made[MVAL[name]] = [typed(key) for key in value]
        elif name == "raw-value":
            made[MVAL[name]] = typed(value)
        elif name == "raw-value-mask":
            made[MVAL[name]] = octets(value)
        else:
            made[MVAL[name]] = value
    return made


def environment(values: dict[str, Any]) -> dict[int, Any]:
    made: dict[int, Any] = {0: {0: typed(values["class"]["id"])}}
    if "instance" in values:
        made[1] = typed(values["instance"])
    return made


def comid(template: dict[str, Any]) -> dict[int, Any]:
    triples: dict[int, Any] = {}
    for triple in template["triples"].get("reference-values", []):
        measured = [{0: typed(one["key"]), 1: mval(one["value"])} for one in triple["measurements"]]
        triples.setdefault(0, []).append([environment(triple["environment"]), measured])
    for triple in template["triples"].get("attester-verification-keys", []):
        keys = [typed(key) for key in triple["verification-keys"]]
        triples.setdefault(3, []).append([environment(triple["environment"]), keys])
    identity = template["tag-identity"]
    return {1: {0: uuid.UUID(identity["id"]).bytes, 1: identity["version"]}, 4: triples}


def wrap(comids: list[Any], profile: str) -> bytes:
    tags = [cbor2.CBORTag(506, cbor2.dumps(one)) for one in comids]
    return cbor2.dumps(cbor2.CBORTag(501, {0: "test", 1: tags, 3: cbor2.CBORTag(32, profile)}))


def from_templates(vectors: Path, corim_name: str, *names: str) -> corim.Corim:
    folder = vectors / "attestation/corim/integration"
    profile = json.loads((folder / corim_name).read_bytes())["profile"]["value"]
    return corim.read(wrap([comid(json.loads((folder / name).read_bytes())) for name in names], profile))


# -- services integration tests ----------------------------------------------------------------------------------------


def test_the_platform_templates_endorse_what_they_say(vectors: Path) -> None:
    names = ("comid-cca-platform-ta.json", "comid-cca-platform-refval.json")
    read = from_templates(vectors, "corim-cca-platform-full.json", *names)
    [anchor], [platform] = read.anchors, read.platform
    jwk = json.loads((vectors / "attestation/keys/integ-ec.p256.jwk").read_bytes())
    assert anchor.public_key == PublicKey.from_jwk(jwk)
    assert anchor.instance_id == b"\x01" + b"\x02" * 32
    assert (anchor.implementation_id, platform.implementation_id) == (bytes(32), bytes(32))
    template = json.loads((vectors / "attestation/corim/integration" / names[1]).read_bytes())
    measured = template["triples"]["reference-values"][0]["measurements"]
    parts = [one["value"] for one in measured if one["key"]["value"] == "cca.software-component"]
    assert [(part.name, part.measurement_value) for part in platform.components] == [
        (part["name"], octets(part["digests"][0][1])) for part in parts
    ]


def test_the_realm_template_endorses_what_it_says(vectors: Path) -> None:
    [realm] = from_templates(vectors, "corim-cca-realm-full.json", "comid-cca-realm-refval.json").realm
    assert realm.initial_measurement == realm.class_id == b"C" * 64
    assert all(rem == b"C" * 64 for rem in realm.extensible_measurements)


def test_the_older_reference_template_has_a_version_scheme_and_is_refused(vectors: Path) -> None:
    with pytest.raises(Refused, match="version-scheme field MUST NOT be present"):
        from_templates(vectors, "corim-cca-full.json", "comid-cca-refval.json")


def test_the_older_anchor_template_is_the_newer_one(vectors: Path) -> None:
    old = from_templates(vectors, "corim-cca-full.json", "comid-cca-ta.json")
    assert old.anchors == from_templates(vectors, "corim-cca-platform-full.json", "comid-cca-platform-ta.json").anchors


def test_the_token_of_the_integration_tests_is_affirmed_by_their_endorsements(vectors: Path) -> None:
    names = ("comid-cca-platform-ta.json", "comid-cca-platform-refval.json")
    platform = from_templates(vectors, "corim-cca-platform-full.json", *names)
    realm = from_templates(vectors, "corim-cca-realm-full.json", "comid-cca-realm-refval.json")
    token = (vectors / "attestation/tokens/services-cca-good.cbor").read_bytes()
    verified = verify(token, TrustAnchors(platform.anchors), None)
    judged = appraise(verified, ReferenceValues(platform.platform, realm.realm), Scheme.VERAISON)
    expected = json.loads((vectors / "attestation/veraison/cca.good.json").read_bytes())
    status = {name: submod["ear.status"] for name, submod in _submods(expected).items()}
    assert status == {"CCA_SSD_PLATFORM": judged.platform.status.text, "CCA_REALM": judged.realm.status.text}
    assert judged.platform.status is Tier.AFFIRMING


def _submods(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document.get("submods", document)
    return found


# -- examples of the endorsement draft ---------------------------------------------------------------------------------

_DIAG = re.compile(
    r"""(?P<space>\s+|/[^/]*/) | h'(?P<bytes>[^']*)' | "(?P<text>(?:[^"\\]|\\.)*)" | (?P<number>-?\d+)
      | (?P<mark>\.\.\.|[][{}(),:])""",
    re.VERBOSE,
)


def words(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _DIAG.match(text, at)
        assert found, text[at : at + 40]
        kind = str(found.lastgroup)
        if kind != "space":
            yield kind, found[kind]
        at = found.end()


def diagnostic(text: str) -> Any:
    """A value in diagnostic notation (RFC 8949 section 8), as far as the examples use it."""
    queue = list(words(text))

    def take(mark: str) -> None:
        kind, found = queue.pop(0)
        assert (kind, found) == ("mark", mark), (kind, found)

    def several(end: str, one: Any) -> list[Any]:
        items = []
        while queue[0] != ("mark", end):
            items.append(one())
            if queue[0] == ("mark", ","):
                queue.pop(0)
        take(end)
        return items

    def pair() -> tuple[Any, Any]:
        if queue[0] == ("mark", "..."):
            queue.pop(0)
            return ("...", None)
        key = value()
        take(":")
        return key, value()

    def value() -> Any:
        kind, found = queue.pop(0)
        if kind == "bytes":
            return bytes.fromhex(re.sub(r"\s", "", found))
        if kind == "text":
            return json.loads(f'"{found}"')
        if kind == "number":
            if queue and queue[0] == ("mark", "("):
                take("(")
                inner = value()
                take(")")
                return cbor2.CBORTag(int(found), inner)
            return int(found)
        return dict(several("}", pair)) if found == "{" else several("]", value)

    made = value()
    assert not queue
    return made


def example(vectors: Path, name: str) -> Any:
    text = (vectors / "attestation/corim/endorsement-draft" / name).read_text("utf-8")
    # two slips of the draft: a comment that is left open, and braces around a lone value
    text = text.replace("(implementation id) 0 :", "(implementation id) / 0 :")
    return diagnostic(re.sub(r"\{\s*(/ tagged-bytes / 560\([^)]*\))\s*\}", r"\1", text))


PLATFORM, REALM = "tag:arm.com,2025:cca_platform#1.0.0", "tag:arm.com,2025:cca_realm#1.0.0"


def test_the_drafts_attestation_key_is_an_anchor(vectors: Path) -> None:
    [anchor] = corim.read(wrap([example(vectors, "platform-iak.diag")], PLATFORM)).anchors
    assert anchor.implementation_id == b"acme-implementation-id-000000001"
    assert anchor.public_key is not None
    assert (anchor.instance_id[0], anchor.public_key.curve) == (1, "P-384")


def test_the_drafts_profiles_are_those_of_the_service(vectors: Path) -> None:
    assert example(vectors, "platform-profile.diag")[3].value == corim.CorimProfile.PLATFORM
    assert example(vectors, "realm-profile.diag")[3].value == corim.CorimProfile.REALM


def test_the_drafts_platform_is_identified_as_the_anchor_is(vectors: Path) -> None:
    [triple] = example(vectors, "platform-iak.diag")[4][3]
    assert example(vectors, "platform-identification.diag") == triple[0]


@pytest.mark.parametrize(("name", "profile", "told"), [
    ("platform-refval-cfg.diag", PLATFORM, "mkey"),
    ("platform-refval-meas.diag", PLATFORM, "digest"),
    ("realm-refval.diag", REALM, "digest"),
])  # fmt: skip
def test_examples_in_a_form_that_the_service_does_not_take_are_refused_by_name(
    vectors: Path, name: str, profile: str, told: str
) -> None:
    # a typed mkey (tag 602), and digests as one flat pair with the algorithm's name: neither decodes in the service
    with pytest.raises(Malformed, match=told):
        corim.read(wrap([example(vectors, name)], profile))


def test_the_drafts_realm_may_be_named_by_a_uuid_which_the_service_refuses(vectors: Path) -> None:
    named = example(vectors, "realm-identification.diag")
    measured = [{0: "cca.rim", 1: {2: [[1, bytes(32)]]}}]
    one = {1: {0: bytes(16)}, 4: {0: [[named, measured]]}}
    with pytest.raises(Malformed, match="RIM must be of type 'bytes', got 'uuid'"):
        corim.read(wrap([one], REALM))


# -- TF-M token compiler -----------------------------------------------------------------------------------------------


def source(path: Path) -> Any:
    """A source file with what it includes; the collection keeps included files under a prefix."""
    yaml = YAML(typ="safe", pure=True)
    yaml.constructor.add_constructor("!inc", lambda _, node: source(path.parent / f"iat-{node.value}"))
    return yaml.load(path)


def platform_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document.get("cca_platform_token", document)
    return found


@pytest.mark.parametrize("name", [
    "iat-cca_example_token", "iat-cca_example_token_legacy", "iat-cca_example_platform_token",
    "iat-cca_example_platform_token_legacy", "iat-cca_platform_token",
])  # fmt: skip
def test_a_token_carries_the_platform_claims_of_its_source(vectors: Path, name: str) -> None:
    said = platform_of(source(vectors / f"attestation/claims/{name}.yaml"))
    data = (vectors / f"attestation/tokens/{name}.cbor").read_bytes()
    claims = (decode_platform_token(data) if "platform" in name else decode(data).platform).claims
    assert claims.profile == said["cca_attestation_profile"]
    assert claims.challenge == said["cca_platform_challenge"]
    assert claims.implementation_id == said["cca_platform_implementation_id"]
    assert claims.instance_id == said["cca_platform_instance_id"]
    assert claims.config == said["cca_platform_config"]
    assert claims.lifecycle == int(said["cca_platform_lifecycle"].rsplit("_", 1)[1], 16)
    assert claims.service_indicator == said.get("cca_platform_verification_service")
    told = [
        (part["sw_component_type"], part["measurement_value"], part["signer_id"], part.get("sw_component_version"))
        for part in said["cca_platform_sw_components"]
    ]
    read = [(p.measurement_type, p.measurement_value, p.signer_id, p.version) for p in claims.sw_components]
    assert read == told


@pytest.mark.parametrize("name", ["iat-cca_example_token", "iat-cca_example_token_legacy"])
def test_a_token_carries_the_realm_claims_of_its_source(vectors: Path, name: str) -> None:
    said = source(vectors / f"attestation/claims/{name}.yaml")["cca_realm_delegated_token"]
    claims = decode((vectors / f"attestation/tokens/{name}.cbor").read_bytes()).realm.claims
    assert claims.challenge == said["cca_realm_challenge"]
    assert claims.personalization_value == said["cca_realm_personalization_value"]
    assert claims.initial_measurement == said["cca_realm_initial_measurement"]
    assert list(claims.extensible_measurements) == said["cca_realm_extensible_measurements"]
    assert claims.public_key == said["cca_realm_pub_key"]
    assert claims.hash_algo_id == said["cca_realm_hash_algm_id"]
