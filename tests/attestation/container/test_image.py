"""Container images as a guest takes them: real manifests, ciphertext and signatures, and everything but those."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import tarfile
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from attestation.container import encryption, oci, signature
from attestation.container.encryption import decrypt_layer, encrypt_layer, key_id_of
from attestation.container.init_data import image_policy_of, init_data_digest, read_init_data, write_init_data
from attestation.container.publish import Encryption, publish, repository_of
from attestation.errors import Denied, Malformed, RefusalReason, Refused, Untrusted
from attestation.keys import Curve, PublicKey, derive_key

REFERENCE = "registry.example/acme/ledger:v3"
REPOSITORY = "registry.example/acme/ledger"
KEY = bytes(range(32))
SIGNER = derive_key(b"publisher", "images", Curve.P256)
OTHER = derive_key(b"somebody else", "images", Curve.P256)
FILES = [{"etc/config": b"a" * 700, "app": b"binary"}, {"data": bytes(5000)}]


@pytest.fixture(scope="module")
def registry() -> dict[str, bytes]:
    entropy = [hashlib.shake_128(bytes([index])).digest(60) for index in range(len(FILES))]
    return publish(REFERENCE, FILES, SIGNER, Encryption(KEY, "kbs:///realmfleet/image-key/ledger", entropy), 2 << 20)


def parsed(registry: dict[str, bytes]) -> oci.Manifest:
    return oci.read_manifest(registry[f"manifests/{REFERENCE}"])


def signed(registry: dict[str, bytes]) -> tuple[oci.Descriptor, bytes, str]:
    digest = oci.digest(registry[f"manifests/{REFERENCE}"])
    manifest = oci.read_manifest(registry[f"manifests/{REPOSITORY}:{signature.signature_tag(digest)}"])
    return manifest.layers[0], registry[f"blobs/{manifest.layers[0].digest}"], digest


# -- the image ---------------------------------------------------------------------------------------------------------


def test_every_blob_is_stored_under_its_own_digest(registry: dict[str, bytes]) -> None:
    blobs = {name.removeprefix("blobs/"): blob for name, blob in registry.items() if name.startswith("blobs/")}
    assert all(name == "sha256:" + hashlib.sha256(blob).hexdigest() for name, blob in blobs.items())
    named = {parsed(registry).config.digest, *(layer.digest for layer in parsed(registry).layers)}
    assert named <= set(blobs)


def test_a_manifest_read_by_plain_json_is_an_oci_image_manifest(registry: dict[str, bytes]) -> None:
    body = json.loads(registry[f"manifests/{REFERENCE}"])
    assert (body["schemaVersion"], body["mediaType"]) == (2, "application/vnd.oci.image.manifest.v1+json")
    assert {layer["mediaType"] for layer in body["layers"]} == {"application/vnd.oci.image.layer.v1.tar+encrypted"}


def test_a_layer_decrypts_by_the_steps_of_ocicrypt_done_by_hand(registry: dict[str, bytes]) -> None:
    layer = json.loads(registry[f"manifests/{REFERENCE}"])["layers"][0]
    told = layer["annotations"]
    packet = json.loads(base64.b64decode(told["org.opencontainers.image.enc.keys.provider.attestation-agent"]))
    public = json.loads(base64.b64decode(told["org.opencontainers.image.enc.pubopts"]))
    iv, wrapped = base64.b64decode(packet["iv"]), base64.b64decode(packet["wrapped_data"])
    private = json.loads(AESGCM(KEY).decrypt(iv, wrapped, None))
    key, nonce = base64.b64decode(private["symkey"]), base64.b64decode(private["cipheroptions"]["nonce"])
    ciphertext = registry[f"blobs/{layer['digest']}"]
    assert public["cipher"] == "AES_256_CTR_HMAC_SHA256"
    assert hmac.new(key, ciphertext, hashlib.sha256).digest() == base64.b64decode(public["hmac"])
    plain = Cipher(algorithms.AES(key), modes.CTR(nonce)).decryptor().update(ciphertext)
    assert private["digest"] == "sha256:" + hashlib.sha256(plain).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert sorted(archive.getnames()) == ["app", "etc/config"]
    assert b"a" * 64 not in ciphertext
    assert plain == decrypt_layer(parsed(registry).layers[0], ciphertext, KEY)


def test_a_layer_names_the_key_that_a_guest_must_ask_for(registry: dict[str, bytes]) -> None:
    assert {key_id_of(layer) for layer in parsed(registry).layers} == {"kbs:///realmfleet/image-key/ledger"}


def test_decrypted_layers_are_those_of_the_configuration(registry: dict[str, bytes]) -> None:
    manifest = parsed(registry)
    ids = oci.read_diff_ids(registry[f"blobs/{manifest.config.digest}"])
    plain = [decrypt_layer(layer, registry[f"blobs/{layer.digest}"], KEY) for layer in manifest.layers]
    assert ids == tuple("sha256:" + hashlib.sha256(tar).hexdigest() for tar in plain)
    assert [oci.unpack_layer(tar) for tar in plain] == FILES


@pytest.mark.parametrize(("change", "reason"), [
    (lambda blob: blob[:-1], RefusalReason.BINDING),
    (lambda blob: blob + b"\0", RefusalReason.BINDING),
    (lambda blob: bytes([blob[0] ^ 1]) + blob[1:], RefusalReason.BINDING),
])  # fmt: skip
def test_a_blob_that_is_not_what_its_descriptor_says_is_refused(registry: Any, change: Any, reason: Any) -> None:
    layer = parsed(registry).layers[0]
    with pytest.raises(Untrusted) as refused:
        layer.check(change(registry[f"blobs/{layer.digest}"]))
    assert refused.value.reason is reason


def test_a_layer_whose_digest_was_mended_fails_its_hmac(registry: dict[str, bytes]) -> None:
    layer = parsed(registry).layers[0]
    blob = registry[f"blobs/{layer.digest}"]
    changed = blob[:100] + bytes([blob[100] ^ 1]) + blob[101:]
    mended = msgspec.structs.replace(layer, digest=oci.digest(changed))
    mended.check(changed)
    with pytest.raises(Untrusted, match="HMAC"):
        decrypt_layer(mended, changed, KEY)


def test_another_key_does_not_open_a_layer_and_the_refusal_holds_no_secret(registry: dict[str, bytes]) -> None:
    layer = parsed(registry).layers[0]
    with pytest.raises(Untrusted) as refused:
        decrypt_layer(layer, registry[f"blobs/{layer.digest}"], bytes(32))
    assert refused.value.reason is RefusalReason.UNKNOWN_KEY
    assert KEY.hex() not in str(refused.value)


def test_an_inner_digest_that_lies_is_found() -> None:
    layer, blob = encrypt_layer(b"layer", KEY, "kbs:///a/b/c", bytes(60), {})
    packet = json.loads(base64.b64decode(layer.annotations[encryption.KEYS_ANNOTATION]))
    private = json.loads(AESGCM(KEY).decrypt(bytes(12), base64.b64decode(packet["wrapped_data"]), None))
    private["digest"] = "sha256:" + 64 * "0"
    packet["wrapped_data"] = base64.b64encode(AESGCM(KEY).encrypt(bytes(12), oci.document(private), None)).decode()
    told = {**layer.annotations, encryption.KEYS_ANNOTATION: base64.b64encode(oci.document(packet)).decode()}
    with pytest.raises(Untrusted, match="another digest"):
        decrypt_layer(msgspec.structs.replace(layer, annotations=told), blob, KEY)


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b"{" * 5000, b'{"schemaVersion":2,"layers":[],"config":{}}',
    b'{"schemaVersion":1,"layers":[{}],"config":{}}', b'{"schemaVersion":2,"schemaVersion":2}',
    b" " * (oci.MAX_DOCUMENT_BYTES + 1),
])  # fmt: skip
def test_what_is_no_manifest_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(Malformed):
        oci.read_manifest(body)


@pytest.mark.parametrize("size", [-1, True, 1.5, "5", oci.MAX_BLOB_BYTES + 1])
def test_a_descriptor_with_a_size_that_is_none_is_refused(registry: dict[str, bytes], size: Any) -> None:
    body = json.loads(registry[f"manifests/{REFERENCE}"])
    body["layers"][0]["size"] = size
    with pytest.raises(Malformed, match="size"):
        oci.read_manifest(json.dumps(body).encode())


@pytest.mark.parametrize("name", ["../evil", "/etc/shadow", "a/../../b"])
def test_a_layer_cannot_write_outside_the_root_file_system(name: str) -> None:
    with pytest.raises(Malformed, match="leaves"):
        oci.unpack_layer(oci.pack_layer({name: b""}))


@given(data=st.binary(max_size=300), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bytes_from_a_registry_get_past_the_readers_as_anything_but_a_refusal(
    data: bytes, at: int, bit: int
) -> None:
    layer, blob = encrypt_layer(b"layer" * 50, KEY, "kbs:///a/b/c", bytes(60), {})
    whole = bytearray(oci.Manifest(layer, (layer,)).encode())
    whole[at % len(whole)] ^= 1 << bit
    for reader in (oci.read_manifest, oci.read_diff_ids, oci.unpack_layer):
        for given_bytes in (data, bytes(whole)):
            try:
                reader(given_bytes)
            except Refused:
                continue
    flipped = bytes([blob[at % len(blob)] ^ 1 << bit])
    changed = blob[: at % len(blob)] + flipped + blob[at % len(blob) + 1 :]
    with pytest.raises(Refused):
        decrypt_layer(layer, changed, KEY)


# -- its signature -----------------------------------------------------------------------------------------------------


def test_the_signature_is_ecdsa_over_the_payload_as_another_library_checks_it(registry: dict[str, bytes]) -> None:
    layer, body, digest = signed(registry)
    key = serialization.load_pem_public_key(SIGNER.public.pem().encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    told = base64.b64decode(layer.annotations["dev.cosignproject.cosign/signature"])
    key.verify(told, body, ec.ECDSA(hashes.SHA256()))
    assert json.loads(body)["critical"] == {
        "identity": {"docker-reference": REPOSITORY},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }


def test_a_signature_by_one_of_the_trusted_keys_is_enough(registry: dict[str, bytes]) -> None:
    signature.verify(*signed(registry)[:2], REPOSITORY, signed(registry)[2], [OTHER.public, SIGNER.public])


@pytest.mark.parametrize(("keys", "repository", "digest", "reason"), [
    ([OTHER.public], REPOSITORY, "", RefusalReason.SIGNATURE),
    ([], REPOSITORY, "", RefusalReason.SIGNATURE),
    ([SIGNER.public], "registry.example/acme/other", "", RefusalReason.BINDING),
    ([SIGNER.public], REPOSITORY, "sha256:" + 64 * "0", RefusalReason.BINDING),
])  # fmt: skip
def test_a_signature_of_somebody_else_or_about_something_else_is_refused(
    registry: dict[str, bytes], keys: list[PublicKey], repository: str, digest: str, reason: RefusalReason
) -> None:
    layer, body, own = signed(registry)
    with pytest.raises(Untrusted) as refused:
        signature.verify(layer, body, repository, digest or own, keys)
    assert refused.value.reason is reason


def test_the_longest_scope_of_the_policy_decides() -> None:
    policy = signature.image_policy({"registry.example": [OTHER.public], REPOSITORY: [SIGNER.public]})
    assert signature.keys_for(policy, REFERENCE) == (SIGNER.public,)
    assert signature.keys_for(policy, "registry.example/x:1") == (OTHER.public,)
    for foreign in ("registry.example.evil/acme/ledger:v3", "elsewhere/x:1", ""):
        with pytest.raises(Denied):
            signature.keys_for(policy, foreign)


def test_a_policy_may_accept_anything_only_when_it_says_so() -> None:
    assert signature.keys_for('{"default":[{"type":"insecureAcceptAnything"}]}', REFERENCE) == ()
    for policy in ("{}", "[]", "", '{"default":[]}', '{"default":[{"type":"signedBy"}]}', '{"default":"x"}'):
        with pytest.raises(Malformed):
            signature.keys_for(policy, REFERENCE)


def test_a_reference_without_a_tag_is_its_own_repository() -> None:
    assert repository_of(REFERENCE) == REPOSITORY
    assert repository_of("localhost:5000/x") == "localhost:5000/x"


# -- init-data ---------------------------------------------------------------------------------------------------------


def test_init_data_are_believed_when_the_rpv_is_their_sha_512() -> None:
    policy = signature.image_policy({REPOSITORY: [SIGNER.public]})
    data = write_init_data({"cdh.toml": f'[image]\nimage_security_policy = """\n{policy}"""\n'})
    assert init_data_digest(data) == hashlib.sha512(data).digest()
    assert image_policy_of(read_init_data(data, hashlib.sha512(data).digest())) == policy
    with pytest.raises(Untrusted) as refused:
        read_init_data(data.replace(b"reject", b"accept"), hashlib.sha512(data).digest())
    assert refused.value.reason is RefusalReason.BINDING


@pytest.mark.parametrize("text", [b"", b"\xff", b"[data]", b'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n'])
def test_what_is_no_init_data_is_refused_even_when_the_realm_was_made_for_it(text: bytes) -> None:
    with pytest.raises(Malformed):
        read_init_data(text, hashlib.sha512(text).digest())


def test_init_data_without_an_image_policy_start_nothing() -> None:
    for files in ({}, {"cdh.toml": ""}, {"cdh.toml": "[image]\n"}, {"cdh.toml": "= ="}):
        with pytest.raises(Malformed):
            image_policy_of(files)
