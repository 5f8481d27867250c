"""`realmfleet rim`: Realm initial measurements from the command line, by the model's own RMI."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.errors import ExitCode, UserMistake

rim = typer.Typer(help="Realm initial measurements: computed by the model's own RMI, or a file of them checked.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]


def _file(text: str) -> Any:
    return typer.Option(help=text, metavar="FILE")


@rim.callback(invoke_without_command=True)
def compute(
    context: typer.Context,
    vmm: Annotated[str, typer.Option(help="kvmtool, qemu or cloud-hv.")] = "qemu",
    kernel: Annotated[Path | None, _file("arm64 Linux Image, plain or gzipped.")] = None,
    initrd: Annotated[Path | None, _file("Initial RAM disk.")] = None,
    firmware: Annotated[Path | None, _file("Firmware that the VMM loads.")] = None,
    dtb: Annotated[
        Path | None, _file("Device tree to measure as it is, instead of the one that the VMM writes.")
    ] = None,
    cpus: Annotated[int, typer.Option(help="vCPUs.", min=1)] = 1,
    memory: Annotated[str, typer.Option(help="RAM, like 512M or 1G.")] = "512M",
    cmdline: Annotated[str | None, typer.Option(help="Kernel command line.")] = None,
    hash_name: Annotated[str | None, typer.Option("--hash", help="sha256 or sha512 (default: the VMM's).")] = None,
    vmm_args: Annotated[
        str | None, typer.Option(help="The VMM's own command line, instead of --cpus to --hash.", metavar="WORDS")
    ] = None,
    config: Annotated[list[Path] | None, _file("Host limits (TOML); of several the lower counts.")] = None,
    ipa_bits: Annotated[int | None, typer.Option(help="Host limit: IPA bits.")] = None,
    num_bps: Annotated[int | None, typer.Option(help="Host limit: breakpoints.")] = None,
    num_wps: Annotated[int | None, typer.Option(help="Host limit: watchpoints.")] = None,
    sve_vl: Annotated[int | None, typer.Option(help="Host limit: SVE vector length in bits, 0 without.")] = None,
    pmu_num_ctrs: Annotated[int | None, typer.Option(help="Host limit: PMU counters.")] = None,
    pmu: Annotated[bool | None, typer.Option(help="Host limit: PMU.")] = None,
    lpa2: Annotated[bool | None, typer.Option(help="Host limit: LPA2.")] = None,
    out_dtb: Annotated[Path | None, _file("Write the measured device tree.")] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Print the RIM after every step.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compute the RIM of a Realm as a VMM would build it."""
    if context.invoked_subcommand is not None:
        return
    from cca_machine.vmm.limits import Limits
    from cca_machine.vmm.mistake import VmmMistake
    from orchestrator.rim_request import ARGUMENTS, RimRequest, inputs_of, lay_out, vmm_named

    given = {"kernel": kernel, "initrd": initrd, "firmware": firmware, "dtb": dtb}
    files = {role: path for role, path in given.items() if path is not None}
    inputs = inputs_of(files)
    try:
        vmm_named(vmm)
        limits = Limits(
            ipa_bits=ipa_bits, num_bps=num_bps, num_wps=num_wps, sve_vl=sve_vl, pmu_num_ctrs=pmu_num_ctrs, pmu=pmu,
            lpa2=lpa2,
        )  # fmt: skip
        words = _words(vmm_args) if vmm_args is not None else ARGUMENTS[vmm](cpus, memory, cmdline, hash_name, inputs)
    except VmmMistake as mistake:
        raise UserMistake(mistake.message, mistake.hint) from None
    request = RimRequest(vmm=vmm, words=words, files=files, configs=config or [], limits=limits)
    _answer(lay_out(request, inputs), out_dtb, steps, as_json)


@rim.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="Vectors, in the form of rim-vectors.json.", metavar="FILE")],
    data: Annotated[Path | None, typer.Option(help="Folder of the files named inside (default: FILE's).")] = None,
    as_json: AsJson = False,
) -> None:
    """Build every Realm of a file of vectors, and name the first step that differs; exit 1 if any does."""
    import msgspec

    from orchestrator.rim_vectors import judge, read_vectors

    vectors = read_vectors(file)
    folder = data or file.parent
    if not folder.is_dir():
        raise UserMistake(f"there is no folder {folder}", "--data DIR")
    verdicts = [judge(vector, folder) for vector in vectors]
    good = all(verdict.good for verdict in verdicts)
    if as_json:
        rows = [msgspec.to_builtins(verdict) for verdict in verdicts]
        typer.echo(json.dumps({"kind": "rim-check", "file": str(file), "good": good, "vectors": rows}))
    else:
        for verdict in verdicts:
            typer.echo(f"{'ok     ' if verdict.good else 'DIFFERS'} {verdict.id:<32} {verdict.rim}")
            if verdict.impossible:
                typer.echo(f"        cannot exist on an RMM, compared by arithmetic: {verdict.impossible}")
            if verdict.first is not None:
                step = "" if verdict.first.step is None else f"step {verdict.first.step}, "
                typer.echo(f"        first: {step}{verdict.first.where}: {verdict.first.field}")
                typer.echo(f"          expected {verdict.first.expected}")
                typer.echo(f"          got      {verdict.first.got}")
    raise typer.Exit(ExitCode.GOOD if good else ExitCode.NO)


@rim.command("cluster")
def cluster(
    file: Annotated[Path, typer.Argument(help="Cluster file (YAML).", metavar="FILE")],
    as_json: AsJson = False,
) -> None:
    """Compute the RIM of every kind of Realm in a cluster file: what machines measure and verifiers expect.

    Where machines of several RMM editions measure differently, each edition has its own.
    """
    from cca_machine.errors import ImpossibleRealm
    from orchestrator.cluster.load import load_text
    from orchestrator.rim_request import rims_of

    try:
        loaded = load_text(file.read_bytes(), str(file))
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "check the path") from None
    if loaded.value is None:
        raise UserMistake(loaded.render(), f"realmfleet validate {file}")
    try:
        found = rims_of(loaded.value)
    except ImpossibleRealm as impossible:
        raise UserMistake(str(impossible), "more memory, or a smaller image") from None
    if as_json:
        first = next(iter(found.values()))
        typer.echo(json.dumps({"kind": "rim-cluster", "file": str(file), "rims": first, "editions": found}))
        return
    for edition, rims in found.items():
        for kind, value in rims.items():
            typer.echo(f"{kind:<24} {value}" if len(found) == 1 else f"{kind:<24} {edition:<10} {value}")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserMistake(f"--vmm-args cannot be split into words: {error}", "quote as in a shell") from None


def _answer(layout: Any, out_dtb: Path | None, show_steps: bool, as_json: bool) -> None:
    from cca_machine.vmm.measure import CannotExist, measure
    from cca_machine.vmm.mistake import VmmMistake
    from orchestrator.rim_request import firmware_rems
    from orchestrator.rim_vectors import step_record

    try:
        made = list(measure(layout))
    except CannotExist as reason:
        raise UserMistake(f"no RMM would build this Realm: {reason}", "another memory size or layout") from None
    except VmmMistake as mistake:
        raise UserMistake(mistake.message, mistake.hint) from None
    tree = next((piece.content for piece in layout.pieces if piece.what == "dtb"), b"")
    if out_dtb is not None:
        try:
            out_dtb.write_bytes(tree)
        except OSError as error:
            raise UserMistake(f"cannot write {out_dtb}: {error.strerror}", "name a writable file") from None
    rem, _ = firmware_rems(layout)
    if as_json:
        answer = {
            "kind": "rim", "vmm": layout.vmm, "hash": layout.hash, "rim": made[-1].rim.hex(),
            "firmware_rem0": rem.hex(), "realm_params": layout.limits.known(),
            "dtb_sha256": hashlib.sha256(tree).hexdigest(), "steps": [step_record(step) for step in made],
        }  # fmt: skip
        typer.echo(json.dumps(answer))
        return
    for step in made if show_steps else ():
        record = step_record(step)
        words = [f"{name}={value}" for name, value in record.items() if name not in ("op", "rim")]
        typer.echo(" ".join([record["op"], *words]))
        typer.echo(f"    {record['rim']}")
    typer.echo(f"RIM: {made[-1].rim.hex()}")
    if layout.firmware_measures:
        typer.echo(f"REM0 once the firmware has measured kernel and initrd: {rem.hex()}")
