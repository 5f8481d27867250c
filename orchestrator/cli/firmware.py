"""`realmfleet firmware`: signed firmware images and rollout policies from the command line.

Conventions are those of `orchestrator.cli`. An image that is refused or malformed leaves with exit code 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.errors import ExitCode, UserMistake

if TYPE_CHECKING:
    from attestation.errors import Refused
    from attestation.firmware_policy import SigningPolicy

firmware = typer.Typer(help="Firmware images (a format of ours): build, sign, inspect, verify.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
ImageFile = Annotated[Path, typer.Argument(help="Firmware image.", metavar="IMAGE")]
Out = Annotated[Path, typer.Option("--out", help="File to write.")]
PrivateKey = Annotated[Path, typer.Option("--key", help="Private key in PEM, unencrypted.")]
POLICY_FORM = 'JSON: {"threshold": 2, "required": ["vendor.pem"], "revoked_versions": [["RMM", "1.0.0"]]}'


@firmware.command("build")
def build(
    payload: Annotated[Path, typer.Argument(help="The firmware itself.", metavar="PAYLOAD")],
    component: Annotated[str, typer.Option(help="HES, BL2, BL31, SP1 or RMM.")],
    version: Annotated[str, typer.Option("--firmware-version", help="Three numbers, like 1.0.1.")],
    key: PrivateKey,
    out: Out,
    security_version: Annotated[int, typer.Option(help="Anti-rollback counter.", min=0)] = 1,
    data_format: Annotated[int, typer.Option(help="Version of the state it hands over.", min=0)] = 1,
    needs: Annotated[
        list[str] | None, typer.Option(help="What it works with, at least; repeat it.", metavar="COMPONENT=VERSION")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Wrap a payload into an image and sign it as its vendor."""
    from attestation.firmware import FirmwareManifest
    from attestation.firmware import build as make
    from cca_machine.monitor.components import COMPONENTS
    from orchestrator.cli.key_files import read_file, read_signing_key, write_file

    if component not in COMPONENTS:
        raise UserMistake(f"there is no component {component}", f"one of {', '.join(COMPONENTS)}")
    manifest = FirmwareManifest(
        component=component,
        version=version,
        security_version=security_version,
        data_format=data_format,
        needs=_needs(needs or ()),
    )
    image = make(manifest, read_file(payload), read_signing_key(key))
    write_file(out, image)
    _say(as_json, _description(image), f"wrote {out}: {component} {version}, {len(image)} bytes")


@firmware.command("sign")
def sign(image: ImageFile, key: PrivateKey, out: Out, as_json: AsJson = False) -> None:
    """Add a countersignature: another authority's approval of the same image."""
    from attestation.errors import Refused
    from attestation.firmware import countersign
    from orchestrator.cli.key_files import read_file, read_signing_key, write_file

    signing = read_signing_key(key)
    try:
        signed = countersign(read_file(image), signing)
    except Refused as refusal:
        _refuse(refusal, as_json)
    write_file(out, signed)
    told = _description(signed)
    _say(as_json, told, f"wrote {out}: {len(told['countersigners']) + 1} signatures")


@firmware.command("inspect")
def inspect(image: ImageFile, as_json: AsJson = False) -> None:
    """Say what an image claims to be, without judging it."""
    from attestation.errors import Refused
    from orchestrator.cli.key_files import read_file

    try:
        told = _description(read_file(image))
    except Refused as refusal:
        _refuse(refusal, as_json)
    _say(as_json, told, "\n".join(f"{name:<16} {value}" for name, value in told.items() if name != "kind"))


@firmware.command("verify")
def verify(
    image: ImageFile,
    keys: Annotated[list[Path], typer.Option("--key", help="Public key of an accepted signer; may be repeated.")],
    policy: Annotated[Path | None, typer.Option(help=f"Who must have signed. {POLICY_FORM}")] = None,
    component: Annotated[str | None, typer.Option(help="What the image must be for.")] = None,
    counter: Annotated[int, typer.Option(help="Stored anti-rollback counter.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Judge an image as EL3 does when it boots or primes it; exit 1 when it would be refused."""
    from attestation.errors import RefusalReason, Refused, Untrusted
    from attestation.firmware import signer_id, verify_image
    from attestation.firmware_policy import SigningPolicy
    from orchestrator.cli.key_files import read_file, read_public_key

    public = {str(path): read_public_key(path) for path in keys}
    anchors = {signer_id(key): key for key in public.values()}
    wanted = SigningPolicy()
    if policy is not None:
        wanted = _policy(policy, {name: signer_id(key) for name, key in public.items()})
    try:
        verified = verify_image(read_file(image), anchors, wanted)
        manifest = verified.manifest
        if component is not None and manifest.component != component:
            raise Untrusted(f"the image is for {manifest.component}", reason=RefusalReason.BINDING, label=1)
        if manifest.security_version < counter:
            why = f"security version {manifest.security_version} is below the stored {counter}"
            raise Untrusted(why, reason=RefusalReason.FRESHNESS, label=3)
    except Refused as refusal:
        _refuse(refusal, as_json)
    signers = [signer.hex() for signer in verified.signers]
    told = {"kind": "firmware-image", "verdict": "accepted", "component": manifest.component, "signers": signers}
    _say(as_json, told, f"accepted: {manifest.component} {manifest.version}, {len(signers)} signatures count")


def _policy(file: Path, ids: dict[str, bytes]) -> SigningPolicy:
    """Read a policy; signers in it are the key files named on the command line, or signer ids in hex."""
    from attestation.firmware_policy import Endorsing, SigningPolicy
    from orchestrator.cli.key_files import read_file

    def signer(name: Any) -> bytes:
        for path, found in ids.items():
            if name in (path, Path(path).name):
                return found
        return bytes.fromhex(name)

    def rule(value: dict[str, Any]) -> Endorsing:
        return Endorsing(tuple(signer(name) for name in value.get("required", ())), int(value.get("threshold", 1)))

    try:
        given = json.loads(read_file(file))
        unknown = set(given) - {"required", "threshold", "components", "revoked_signers", "revoked_versions"}
        if unknown:
            raise ValueError(f"{min(unknown)} means nothing here")
        return SigningPolicy(
            general=rule(given),
            components={name: rule(value) for name, value in given.get("components", {}).items()},
            revoked_signers=tuple(signer(name) for name in given.get("revoked_signers", ())),
            revoked_versions=tuple((str(part), str(version)) for part, version in given.get("revoked_versions", ())),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UserMistake(f"{file} is no signing policy: {error}", POLICY_FORM) from None


def _needs(given: Iterable[str]) -> dict[str, str]:
    from cca_machine.monitor.components import COMPONENTS

    found = {}
    for text in given:
        name, equals, version = text.partition("=")
        if name not in (*COMPONENTS, "host") or not equals or not version:
            raise UserMistake(f"--needs {text} is no need", "write it like BL31=1.1.0, or host=2.0.0")
        found[name] = version
    return found


def _description(image: bytes) -> dict[str, Any]:
    from attestation.firmware import parse_image

    manifest, _, countersignatures, payload = parse_image(image)
    return {
        "kind": "firmware-image",
        "component": manifest.component,
        "version": manifest.version,
        "security_version": manifest.security_version,
        "data_format": manifest.data_format,
        "needs": dict(manifest.needs),
        "payload_bytes": len(payload),
        "payload_sha256": manifest.payload_digest.hex(),
        "signer": manifest.signer_id.hex(),
        "countersigners": [each.signer_id.hex() for each in countersignatures],
    }


def _say(as_json: bool, value: dict[str, Any], text: str) -> None:
    typer.echo(json.dumps(value) if as_json else text)


def _refuse(refusal: Refused, as_json: bool) -> NoReturn:
    """Say why not, and leave with 1."""
    if as_json:
        told = {"reason": refusal.reason.value, "message": str(refusal), "part": refusal.part, "label": refusal.label}
        typer.echo(json.dumps({"kind": "firmware-image", "verdict": "refused", "refusal": told}))
    else:
        typer.echo(f"refused ({refusal.reason}): {refusal}", err=True)
    raise typer.Exit(ExitCode.NO)
