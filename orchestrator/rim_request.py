"""A request for a Realm's initial measurement: files and words in, a VMM's layout out; and the layout recomputed.

`recomputed` is arithmetic on the layout with `attestation.rim`, which knows no RMM: a second opinion for every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from attestation import rim
from attestation.rim import RimRule
from cca_machine import image as images
from cca_machine.abi.rmi import PAGE_BYTES, REC_FLAG_RUNNABLE
from cca_machine.layout import LoadPlan, plan
from cca_machine.vmm import cloud_hypervisor, kvmtool, qemu
from cca_machine.vmm.arguments import options
from cca_machine.vmm.inputs import Inputs
from cca_machine.vmm.layout import HASHES, Piece, VmmLayout
from cca_machine.vmm.limits import Limits, from_toml
from cca_machine.vmm.measure import Step, measure
from cca_machine.vmm.measure_plan import measure_plan
from cca_machine.vmm.mistake import VmmMistake
from orchestrator.cluster.editions import why_not
from orchestrator.cluster.schema import Cluster, Profile
from orchestrator.errors import UserMistake
from orchestrator.realms.reference import realm_spec, rim_rule

_LIMIT_FIELDS = Limits.__struct_fields__

LayOut = Callable[[list[str], Inputs, Limits], VmmLayout]

VMMS: Mapping[str, LayOut] = {
    "kvmtool": kvmtool.lay_out,
    "qemu": qemu.lay_out,
    "cloud-hv": cloud_hypervisor.lay_out,
}

ARGUMENTS: Mapping[str, Callable[[int, str, str | None, str | None, Inputs], list[str]]] = {
    "kvmtool": kvmtool.arguments,
    "qemu": qemu.arguments,
    "cloud-hv": cloud_hypervisor.arguments,
}


class RimRequest(msgspec.Struct, kw_only=True):
    """What a user asks for: the VMM with its own words, files to load, and what the host allows."""

    vmm: str
    words: list[str]
    files: dict[str, Path] = {}
    """By role: kernel, initrd, firmware, dtb."""
    configs: list[Path] = []
    limits: Limits = Limits()
    """Beats the configurations."""


def inputs_of(files: Mapping[str, Path]) -> Inputs:
    """The bytes of the files."""
    return Inputs(**{role: _bytes(path) for role, path in files.items()})


def lay_out(request: RimRequest, inputs: Inputs | None = None) -> VmmLayout:
    """The layout that the VMM would make.

    Raises:
        UserMistake: a file is missing, or the VMM would not take the request.
    """
    host = Limits()
    try:
        for path in request.configs:
            host = host.lowered(from_toml(_bytes(path).decode("utf-8", "replace"), str(path)))
        given = inputs or inputs_of(request.files)
        return vmm_named(request.vmm)(request.words, given, host.overridden(request.limits))
    except VmmMistake as mistake:
        raise UserMistake(mistake.message, mistake.hint) from None


def rims_of(cluster: Cluster) -> dict[str, dict[str, str]]:
    """RIM (hex) by kind of Realm, by the RMM edition of the cluster's machines; kinds that it cannot run are left out.

    Quirk sets under which an edition measures otherwise are named behind it. Raises ImpossibleRealm.
    """
    used = dict.fromkeys(name for rack in cluster.racks.values() for name in rack.machines)
    found: dict[str, dict[str, str]] = {}
    for name in sorted(used, key=lambda name: cluster.profiles[name].edition):
        profile = cluster.profiles[name]
        suffix = " tf-rmm" if rim_rule(profile.edition, profile.quirks) is RimRule.RMM_2_0 else ""
        rims = found.setdefault(profile.edition + suffix, {})
        for kind, wanted in cluster.realms.items():
            if kind not in rims and not why_not(wanted, profile):
                laid_out = plan(realm_spec(cluster, kind, "", 0))
                rims[kind] = _rim_under(laid_out, profile).hex()
    return found


def _rim_under(laid_out: LoadPlan, profile: Profile) -> bytes:
    if profile.edition == "1.0":
        return list(measure(layout_of(laid_out)))[-1].rim
    return measure_plan(laid_out, profile.edition, profile.quirks)


def layout_of(plan: LoadPlan) -> VmmLayout:
    """The loading plan of a Realm of this testbed, as a VMM's layout."""
    (boot,) = [rec for rec in plan.recs if rec.runnable]
    return VmmLayout(
        vmm="realmfleet",
        hash=next(name for name, algorithm in HASHES.items() if algorithm == plan.hash_algo),
        limits=Limits(ipa_bits=plan.ipa_width, num_bps=plan.num_bps + 1, num_wps=plan.num_wps + 1),
        ram_base=plan.ram_base,
        ram_bytes=plan.ram_bytes,
        pieces=(
            Piece("image", plan.image_base, b"".join(images.pages(plan.image))),
            Piece("dtb", plan.tree_base, plan.tree),
        ),
        pc=boot.pc,
        x0=boot.gprs[0],
        rpv=plan.rpv,
    )


def vmm_named(name: str) -> LayOut:
    """The VMM's function; raises VmmMistake for a name that is none."""
    if name not in VMMS:
        raise VmmMistake(f"there is no VMM called {name}", " or ".join(VMMS))
    return VMMS[name]


def recomputed(layout: VmmLayout) -> Iterator[Step]:
    """The RIM after every step by arithmetic alone, whether an RMM would build the Realm or not."""
    algorithm = rim.HashAlgorithm(HASHES[layout.hash])
    fields = layout.measured_fields()
    value = rim.create(rim.RealmCreate(**fields))
    yield Step(op="realm_create", rim=value)
    base, top = layout.ram_base, layout.ram_base + layout.ram_bytes
    calls = 0
    for block in rim.ripas_blocks(base, top, fields["s2sz"]):
        value = rim.extend_ripas(value, block.base, block.top, algorithm)
        calls += 1
    yield Step(op="init_ripas", rim=value, base=base, top=top, calls=calls)
    digests = rim.PageDigests(algorithm)
    for piece in layout.pieces:
        last = piece.first_page
        for event in digests.data_events(piece.content, piece.base):
            value = rim.extend_data(value, event.ipa, event.flags, event.content_digest, algorithm)
            last = event.ipa + PAGE_BYTES - 1
        yield Step(op="data_create", rim=value, base=piece.first_page, last=last, content=piece.what)
    value = rim.extend_rec(value, REC_FLAG_RUNNABLE, layout.pc, (layout.x0, *(0,) * 7), algorithm)
    yield Step(op="rec_create", rim=value, flags=REC_FLAG_RUNNABLE, pc=layout.pc, x0=layout.x0)
    for base, count in layout.unmeasured:
        for ipa in range(base, base + count, PAGE_BYTES):
            value = rim.extend_data(value, ipa, 0, b"", algorithm)
        yield Step(op="data_create_unmeasured", rim=value, base=base, last=base + count - 1)


def firmware_rems(layout: VmmLayout) -> tuple[bytes, bytes]:
    """REM0 after firmware has measured what it loads: as an RMM extends it, and as the measurement tool computes it.

    The tool (veraison/cca-realm-measurements) hashes the padded value and drops the old register.
    """
    algorithm = rim.HashAlgorithm(HASHES[layout.hash])
    chained = dropped = rim.zero_rem(algorithm)
    for piece in layout.firmware_measures:
        digest = algorithm.hash_name.digest(piece.content)
        chained = rim.extend_rem(chained, digest, algorithm)
        dropped = algorithm.hash_name.digest(digest.ljust(rim.REGISTER, b"\0"))
    return chained, dropped


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserMistake(f"there is no file {path}", "check the path, or --data DIR") from None
    except OSError as error:
        raise UserMistake(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from None


def host_words(words: Sequence[str], folder: Path) -> tuple[dict[str, Path], list[Path], Limits]:
    """Files, configurations and limits out of the measurement tool's own options, paths relative to `folder`.

    Raises:
        VmmMistake: an option that the tool does not have.
    """
    short = {"-k": "kernel", "-i": "initrd", "-f": "firmware", "-c": "config"}
    named = ("kernel", "initrd", "firmware", "dtb", "config", *(field.replace("_", "-") for field in _LIMIT_FIELDS))
    found = options(words, {**short, **{f"--{name}": name for name in named}}, frozenset())
    files: dict[str, Path] = {
        role: folder / found[role][-1] for role in ("kernel", "initrd", "firmware", "dtb") if role in found
    }
    limits = {name: found[name.replace("_", "-")][-1] for name in _LIMIT_FIELDS if name.replace("_", "-") in found}
    try:
        return files, [folder / name for name in found.get("config", [])], msgspec.convert(limits, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise VmmMistake(f"a host limit is malformed: {error}", "numbers, true or false") from None
