"""The commands of attestation engineers: `token`, `corim`, `ear` and `kbs`; arguments in, one call, results out.

Conventions are those of `orchestrator.cli`: what is refused or malformed leaves with 1, wrong arguments with 2.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.errors import ExitCode, UserMistake

if TYPE_CHECKING:
    from attestation.errors import Refused
    from attestation.keys import SigningKey
    from attestation.stores import ReferenceValues, TrustAnchors
    from orchestrator.tokens import Answer, Explanation

token = typer.Typer(help="CCA attestation tokens, from here or from real hardware.", no_args_is_help=True)
corim = typer.Typer(help="CoRIM: trust anchors and reference values as endorsers publish them.", no_args_is_help=True)
ear = typer.Typer(help="EAR: signed attestation results.", no_args_is_help=True)
kbs = typer.Typer(help="The key broker: secrets for Realms that prove themselves.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
TokenFile = Annotated[Path, typer.Argument(help="Token file: CBOR, or hex or base64 text.", metavar="TOKEN")]
KeyFile = Annotated[Path, typer.Option("--key", help="Platform key: PEM, JWK, JWK set or ccatoken store.")]
MaybeKey = Annotated[
    Path | None, typer.Option("--key", help="Platform key: PEM, JWK, JWK set or ccatoken store; or a CoRIM's own.")
]
Nonce = Annotated[str | None, typer.Option("--nonce", help="Challenge that the token must answer, in hex.")]
Corims = Annotated[list[Path] | None, typer.Option("--corim", help="CoRIM with reference values; may be repeated.")]
Store = Annotated[Path | None, typer.Option("--store", help="Reference values as a ccatoken golden store.")]
Out = Annotated[Path, typer.Option("--out", help="File to write.")]
PublicKeyFile = Annotated[Path, typer.Option("--key", help="Public key of the signer: PEM, or a JWK.")]
PrivateKeyFile = Annotated[Path, typer.Option("--key", help="Private key in PEM, unencrypted.")]
Cpak = Annotated[Path | None, typer.Option(help="Private platform key (PEM).")]
Rak = Annotated[Path | None, typer.Option(help="Private realm key (PEM).")]


class SchemeName(StrEnum):
    """Whose appraisal rules apply."""

    VERAISON = "veraison"
    CCATOKEN = "ccatoken"


# -- tokens -----------------------------------------------------------------------------------------------------------


@token.command("decode")
def token_decode(
    file: TokenFile,
    diag: Annotated[bool, typer.Option("--diag", help="Print CBOR diagnostic notation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a token apart without judging it."""
    from attestation.diagnostic import diagnose
    from attestation.errors import Refused
    from orchestrator import tokens
    from orchestrator.cli.key_files import read_file, read_token

    data = read_file(file)
    if not diag:
        _answer(tokens.decode(data), as_json)
    try:
        text = diagnose(read_token(data))
    except Refused as refusal:
        _refuse(refusal, "diagnostic-notation", as_json)
    if as_json:
        _print_json({"kind": "diagnostic-notation", "verdict": "accepted", "text": text})
    else:
        typer.echo(text)


@token.command("verify")
def token_verify(file: TokenFile, key: KeyFile, nonce: Nonce = None, as_json: AsJson = False) -> None:
    """Verify a token: signatures, binding of realm to platform, freshness."""
    from orchestrator import tokens
    from orchestrator.cli.key_files import read_file, read_keys, read_nonce

    anchors = read_keys(read_file(key), str(key))
    _answer(tokens.verify(read_file(file), anchors, read_nonce(nonce)), as_json)


@token.command("appraise")
def token_appraise(
    file: TokenFile,
    key: MaybeKey = None,
    nonce: Nonce = None,
    corims: Corims = None,
    store: Store = None,
    scheme: Annotated[SchemeName, typer.Option(help="Whose rules.")] = SchemeName.VERAISON,
    as_json: AsJson = False,
) -> None:
    """Verify a token, and appraise its claims against reference values; good means that both halves are affirming."""
    from attestation.appraise import Scheme
    from orchestrator import tokens
    from orchestrator.cli.key_files import read_file, read_nonce

    references, anchors = _judges(key, corims, store)
    answer = tokens.appraise(read_file(file), anchors, read_nonce(nonce), references, Scheme(scheme.value))
    _answer(answer, as_json)


@token.command("explain")
def token_explain(
    file: TokenFile,
    key: MaybeKey = None,
    nonce: Nonce = None,
    corims: Corims = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Go through verification and appraisal step by step, past what fails, and say what each step finds."""
    from orchestrator import tokens
    from orchestrator.cli.key_files import read_endorsements, read_file, read_keys, read_nonce

    references, endorsed = read_endorsements(corims or (), store)
    given = read_keys(read_file(key), str(key)) if key is not None else None
    anchors = given if given is not None else endorsed if len(endorsed) else None
    judged = references if corims or store else None
    _answer(tokens.explain(read_file(file), anchors, read_nonce(nonce), judged), as_json)


@token.command("create")
def token_create(
    claims: Annotated[Path, typer.Option(help="Both claim sets as JSON, in the form of evcli.")],
    out: Out,
    cpak: Cpak = None,
    rak: Rak = None,
    seed: Annotated[str | None, typer.Option(help="Derive both keys from this text instead.")] = None,
    nonce: Nonce = None,
    wrapper: Annotated[int, typer.Option(help="Outer tag: 399 or 907.")] = 399,
    anchors: Annotated[Path | None, typer.Option(help="Also write the trust anchor (ccatoken store).")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token: claims from a file, bound and signed."""
    from attestation import claims_json
    from attestation.errors import Refused
    from attestation.stores import TrustAnchor, write_anchor_store
    from attestation.token import create
    from orchestrator.cli.key_files import read_file, read_nonce, write_file

    platform_key, realm_key = _evidence_keys(cpak, rak, seed)
    try:
        platform, realm = claims_json.read_claims_file(read_file(claims))
        content = create(platform, _answering(realm, read_nonce(nonce)), platform_key, realm_key, _wrapper(wrapper))
    except Refused as refusal:
        _refuse(refusal, "created-token", as_json)
    write_file(out, content)
    if anchors is not None:
        anchor = TrustAnchor(platform.instance_id, platform.implementation_id, platform_key.public)
        write_file(anchors, write_anchor_store([anchor]).encode())
    _say(as_json, {"kind": "created-token", "file": str(out), "bytes": len(content)}, f"wrote {out}")


@token.command("forge")
def token_forge(
    out: Annotated[Path, typer.Option(help="Directory to write; it must not exist.")],
    seed: Annotated[str, typer.Option(help="The same seed gives the same bytes.")] = "1",
    count: Annotated[int | None, typer.Option(help="How many tokens; default: each recipe once.", min=1)] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a corpus: good tokens and forged ones of every kind, each with the verdict it must get."""
    from attestation.forge import MAX_CASES, forge
    from attestation.forge_recipes import Kind
    from attestation.stores import write_anchor_store, write_reference_store
    from orchestrator.cli.key_files import write_file

    unknown = sorted(set(kinds or ()) - set(Kind))
    if unknown:
        raise UserMistake(f"there is no kind called {unknown[0]}", f"one of {', '.join(Kind)}")
    if count is not None and count > MAX_CASES:
        raise UserMistake(f"--count {count} is too many", f"at most {MAX_CASES}")
    if out.exists():
        raise UserMistake(f"{out} exists already", "name another directory")
    corpus = forge(seed.encode(), count, [Kind(kind) for kind in kinds] if kinds else tuple(Kind))
    for case in corpus.cases:
        write_file(out / case.file, case.token)
    write_file(out / "cases.json", (json.dumps(corpus.manifest(), indent=1) + "\n").encode())
    write_file(out / "anchors.json", write_anchor_store(corpus.anchors()).encode())
    write_file(out / "references.json", write_reference_store(corpus.references()).encode())
    refused = sum(not case.accepted for case in corpus.cases)
    told = {"kind": "corpus", "directory": str(out), "cases": len(corpus.cases), "to_be_refused": refused}
    _say(as_json, told, f"wrote {len(corpus.cases)} tokens to {out}, {refused} of them to be refused; see cases.json")


# -- CoRIM ------------------------------------------------------------------------------------------------------------

CorimFile = Annotated[Path, typer.Argument(help="CoRIM file.", metavar="CORIM")]


@corim.command("inspect")
def corim_inspect(file: CorimFile, as_json: AsJson = False) -> None:
    """Say what an unsigned CoRIM endorses."""
    from attestation.corim import read
    from attestation.errors import Refused
    from orchestrator.cli.key_files import read_file
    from orchestrator.endorsements import describe, plain

    try:
        found = read(read_file(file))
    except Refused as refusal:
        _refuse(refusal, "corim", as_json)
    _say(as_json, {"kind": "corim", "verdict": "accepted", **plain(found)}, "\n".join(describe(found)))


@corim.command("create")
def corim_create(
    out: Out,
    profile: Annotated[str, typer.Option(help="platform or realm.")],
    store: Store = None,
    anchors: Annotated[Path | None, typer.Option(help="Trust anchors (ccatoken store), for a platform CoRIM.")] = None,
    corim_id: Annotated[str, typer.Option("--id", help="CoRIM id.")] = "realmfleet",
    as_json: AsJson = False,
) -> None:
    """Write a CoRIM from ccatoken stores, in the form that the Veraison library accepts."""
    from attestation.corim_write import write_platform, write_realm
    from orchestrator.cli.key_files import read_endorsements, read_file, read_keys, write_file

    if profile not in ("platform", "realm"):
        raise UserMistake(f"there is no CoRIM profile called {profile}", "--profile platform or --profile realm")
    references, _ = read_endorsements((), store)
    platform, realm = references.records()
    trusted = list(read_keys(read_file(anchors), str(anchors))) if anchors is not None else []
    if not (platform or trusted) if profile == "platform" else not realm:
        raise UserMistake(
            f"there is nothing to endorse for a {profile}", "give --store with values for it, or --anchors"
        )
    content = b"".join(str(entry).encode() for entry in (platform, realm, trusted))
    tag_id = hashlib.sha256(content).digest()[:16]
    made = (
        write_platform(corim_id, tag_id, platform, trusted)
        if profile == "platform"
        else write_realm(corim_id, tag_id, realm)
    )
    write_file(out, made)
    _say(as_json, {"kind": "created-corim", "file": str(out), "bytes": len(made)}, f"wrote {out}")


@corim.command("export")
def corim_export(
    file: Annotated[Path, typer.Argument(help="Cluster file, or the directory of a run.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", help="Directory to write into.")],
    seed: Annotated[int | None, typer.Option(help="Instead of the file's or the run's seed.", min=0)] = None,
    as_json: AsJson = False,
) -> None:
    """Write what a fleet's verifier trusts: platform and realm CoRIM, and both as ccatoken stores.

    Give the CoRIMs to a Veraison service, or to `kbs serve`, and name it as `attestation.verifier` of the same file.
    """
    from orchestrator.endorsements import export

    files = export(file, out, seed)
    _say(as_json, {"kind": "exported-corim", "files": files}, "\n".join(f"wrote {name}" for name in files))


@corim.command("sign")
def corim_sign(file: CorimFile, key: PrivateKeyFile, out: Out, as_json: AsJson = False) -> None:
    """Sign an unsigned CoRIM as it is."""
    from attestation.corim import read
    from attestation.corim_write import sign
    from attestation.errors import Refused
    from orchestrator.cli.key_files import read_file, read_signing_key, write_file

    content, signer = read_file(file), read_signing_key(key)
    try:
        read(content)
    except Refused as refusal:
        _refuse(refusal, "signed-corim", as_json)
    write_file(out, sign(content, signer))
    _say(as_json, {"kind": "signed-corim", "verdict": "accepted", "file": str(out)}, f"wrote {out}")


@corim.command("verify")
def corim_verify(file: CorimFile, key: PublicKeyFile, as_json: AsJson = False) -> None:
    """Verify a signed CoRIM, and say what it endorses."""
    from attestation.corim import read_signed
    from attestation.errors import Refused
    from orchestrator.cli.key_files import read_file, read_public_key
    from orchestrator.endorsements import describe, plain

    signer = read_public_key(key)
    try:
        found = read_signed(read_file(file), signer)
    except Refused as refusal:
        _refuse(refusal, "corim", as_json)
    _say(
        as_json, {"kind": "corim", "verdict": "accepted", **plain(found)},
        "\n".join(("accepted: signature", *describe(found))),
    )  # fmt: skip


# -- EAR --------------------------------------------------------------------------------------------------------------


@ear.command("verify")
def ear_verify(
    file: Annotated[Path, typer.Argument(help="Attestation result: JWT text or CWT bytes.", metavar="EAR")],
    key: PublicKeyFile,
    nonce: Annotated[str | None, typer.Option(help="Nonce that the result must carry, as it is written there.")] = None,
    at: Annotated[
        int | None, typer.Option(help="Judge as of this instant, in s since the epoch; default: now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an attestation result; good means that the signature holds and every submod is affirming."""
    from attestation import ear as results
    from attestation.errors import Refused
    from orchestrator.cli.key_files import read_file, read_public_key
    from orchestrator.endorsements import describe_result

    signer, data = read_public_key(key), read_file(file)
    now_s = int(time.time()) if at is None else at
    try:
        if data[:1] in (b"\xd2", b"\xd8"):
            result = results.verify_cwt(data, signer, now_s=now_s, nonce=nonce)
        else:
            result = results.verify_jwt(data.strip(), signer, now_s=now_s, nonce=nonce)
    except Refused as refusal:
        _refuse(refusal, "attestation-result", as_json)
    document = results.json_claims(result)
    verdict = "accepted" if result.affirming else "refused"
    _say(
        as_json, {"kind": "attestation-result", "verdict": verdict, "result": document},
        "\n".join(describe_result(result)),
    )  # fmt: skip
    raise typer.Exit(ExitCode.GOOD if result.affirming else ExitCode.NO)


# -- key broker -------------------------------------------------------------------------------------------------------


@kbs.command("serve")
def kbs_serve(
    resources: Annotated[Path, typer.Option(help="Directory of secrets: REPOSITORY/TYPE/TAG files.")],
    key: MaybeKey = None,
    corims: Corims = None,
    store: Store = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    signing_key: Annotated[
        Path | None, typer.Option(help="P-256 key (PEM) that signs results; default: a new one.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="TLS private key (PEM).")] = None,
) -> None:
    """Serve Trustee's key broker and Veraison's verification sessions until interrupted."""
    from orchestrator.cli.key_files import read_signing_key
    from orchestrator.serve import kbs as service

    references, anchors = _judges(key, corims, store)
    signer = read_signing_key(signing_key) if signing_key is not None else None
    secrets = service.read_resources(resources)
    if (tls_cert is None) != (tls_key is None):
        raise UserMistake("TLS needs both --tls-cert and --tls-key", "give both or neither")
    for file in (tls_cert, tls_key):
        if file is not None and not file.is_file():
            raise UserMistake(f"there is no file {file}", "check the path")
    app = service.create_app(service.room(secrets, anchors, references, signer))
    service.run(app, host, port, tls_cert, tls_key)


@kbs.command("get")
def kbs_get(
    resource: Annotated[str, typer.Argument(help="REPOSITORY/TYPE/TAG", metavar="RESOURCE")],
    claims: Annotated[Path, typer.Option(help="Claim sets (JSON) of the Realm that asks, in the form of evcli.")],
    url: Annotated[str, typer.Option(help="Address of the broker.")] = "http://127.0.0.1:8080",
    cpak: Cpak = None,
    rak: Rak = None,
    seed: Annotated[str | None, typer.Option(help="Derive both keys from this text instead.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
    as_json: AsJson = False,
) -> None:
    """Play a Realm: attest with claims and keys of your own, and fetch a secret from any KBS."""
    import base64

    from attestation import claims_json
    from attestation.errors import Refused
    from attestation.token import create
    from orchestrator.cli.key_files import read_file, write_file
    from orchestrator.serve.kbs_client import fetch

    platform_key, realm_key = _evidence_keys(cpak, rak, seed)
    try:
        platform, realm = claims_json.read_claims_file(read_file(claims))
        secret = fetch(
            url, resource, lambda challenge: create(platform, _answering(realm, challenge), platform_key, realm_key)
        )
    except Refused as refusal:
        _refuse(refusal, "secret", as_json)
    if out is not None:
        write_file(out, secret)
    if as_json:
        _print_json(
            {"kind": "secret", "verdict": "accepted", "resource": resource, "base64": base64.b64encode(secret).decode()}
        )
    elif out is not None:
        typer.echo(f"wrote {out} ({len(secret)} bytes)")
    else:
        sys.stdout.buffer.write(secret)


# -- arguments and answers --------------------------------------------------------------------------------------------


def _judges(key: Path | None, corims: list[Path] | None, store: Path | None) -> tuple[ReferenceValues, TrustAnchors]:
    """What to compare with and whom to trust; a key given by itself outranks the anchors of the CoRIMs."""
    from orchestrator.cli.key_files import read_endorsements, read_file, read_keys

    references, anchors = read_endorsements(corims or (), store)
    if key is not None:
        anchors = read_keys(read_file(key), str(key))
    elif not len(anchors):
        raise UserMistake("no key to trust", "give --key, or --corim with a CoRIM that endorses platform keys")
    return references, anchors


def _evidence_keys(cpak: Path | None, rak: Path | None, seed: str | None) -> tuple[SigningKey, SigningKey]:
    from attestation.keys import derive_key
    from orchestrator.cli.key_files import read_signing_key

    if seed is not None and cpak is None and rak is None:
        return derive_key(seed.encode(), "CPAK"), derive_key(seed.encode(), "RAK")
    if seed is not None or cpak is None or rak is None:
        raise UserMistake("evidence is signed by two keys", "give --cpak and --rak, or --seed alone")
    return read_signing_key(cpak), read_signing_key(rak)


def _answering(realm: Any, nonce: bytes | None) -> Any:
    import msgspec

    from attestation.token import pad_nonce

    return realm if nonce is None else msgspec.structs.replace(realm, challenge=pad_nonce(nonce))


def _wrapper(tag: int) -> Any:
    from attestation.token import Wrapper

    try:
        return Wrapper(tag)
    except ValueError:
        raise UserMistake(f"--wrapper {tag} is not a token's outer tag", "399 or 907") from None


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def _say(as_json: bool, value: Any, text: str) -> None:
    if as_json:
        _print_json(value)
    else:
        typer.echo(text)


def _answer(answer: Answer | Explanation, as_json: bool) -> NoReturn:
    """Print an answer and leave: 0 when it is good, 1 when it is not."""
    if as_json:
        _print_json(answer.as_json())
    else:
        from rich.console import Console

        # claims are long: lines are left as they are, so that output can be searched and copied
        Console(stderr=not answer.good, soft_wrap=True, highlight=False, emoji=False).print(answer.text(), end="")
        typer.echo("", err=not answer.good)
    raise typer.Exit(ExitCode.GOOD if answer.good else ExitCode.NO)


def _refuse(refusal: Refused, kind: str, as_json: bool) -> NoReturn:
    """Say why not, and leave with 1."""
    if as_json:
        told = {"reason": refusal.reason.value, "message": str(refusal), "part": refusal.part, "label": refusal.label}
        _print_json({"kind": kind, "verdict": "refused", "refusal": {**told, "offset": refusal.offset}})
    else:
        typer.echo(f"refused ({refusal.reason}): {refusal}", err=True)
    raise typer.Exit(ExitCode.NO)
