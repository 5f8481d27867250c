"""`realmfleet rim` as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli.rim import rim
from orchestrator.cluster.load import load_text
from orchestrator.errors import UserMistake
from orchestrator.realms.reference import expected_rim, realm_spec

ROOT = Path(__file__).resolve().parents[3]

LIMITS = ("--num-bps", "6", "--num-wps", "6")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(rim, list(map(str, words)))


@pytest.fixture
def folder(vectors: Path) -> Path:
    return vectors / "attestation" / "realm"


def test_the_given_vectors_are_good_and_exit_0(folder: Path) -> None:
    done = run("check", folder / "rim-vectors.json", "--json")
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert answer["good"] is True
    assert all(vector["good"] for vector in answer["vectors"])


@pytest.mark.parametrize(
    ("place", "field", "value", "named"),
    [
        (0, "rim", "00" * 32, "realm_create"),
        (1, "top", "0xa0001000", "init_ripas"),
        (1, "calls", 255, "init_ripas"),
        (2, "content", "fw.bin", "data_create"),
        (3, "pc", "0x80000000", "rec_create"),
        (3, "flags", 0, "rec_create"),
    ],
)
def test_the_first_step_that_differs_is_named(
    folder: Path, tmp_path: Path, place: int, field: str, value: str | int, named: str
) -> None:
    content = json.loads((folder / "rim-vectors.json").read_text())
    content["vectors"] = content["vectors"][:1]
    content["vectors"][0]["steps"][place][field] = value
    for later in content["vectors"][0]["steps"][place + 1 :]:
        later["rim"] = "11" * 32
    (tmp_path / "v.json").write_text(json.dumps(content))
    done = run("check", tmp_path / "v.json", "--data", folder, "--json")
    assert done.exit_code == 1
    (verdict,) = json.loads(done.stdout)["vectors"]
    assert (verdict["first"]["step"], verdict["first"]["where"], verdict["first"]["field"]) == (place, named, field)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rim": "22" * 32}, "rim"),
        ({"dtb_sha256": "22" * 32}, "dtb_sha256"),
        ({"rem": ["22" * 32]}, "rem[0]"),
        ({"hash": "sha512"}, "hash"),
        ({"realm_params": {"ipa_bits": 34, "num_bps": 6, "num_wps": 6}}, "ipa_bits"),
    ],
)
def test_what_is_no_step_is_compared_as_well(
    folder: Path, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    content = json.loads((folder / "rim-vectors.json").read_text())
    content["vectors"] = [{**content["vectors"][0], **change}]
    (tmp_path / "v.json").write_text(json.dumps(content))
    done = run("check", tmp_path / "v.json", "--data", folder)
    assert done.exit_code == 1
    assert f": {field}" in done.stdout


@pytest.mark.parametrize("text", ["", "{", "[]", '{"vectors": [{"id": 3}]}', '{"vectors": [{"id": "x"}]}'])
def test_a_file_of_no_vectors_is_the_users_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    done = run("check", tmp_path / "v.json")
    assert isinstance(done.exception, UserMistake)


@pytest.mark.parametrize(
    "vector",
    [
        {"id": "x", "vmm": "bochs"},
        {"id": "x", "vmm": "qemu", "options": ["--colour", "red"]},
        {"id": "x", "vmm": "qemu", "options": ["-k", "no-such-file"], "vmm_args": ["-kernel", "x"]},
        {"id": "x", "vmm": "qemu", "options": ["--num-bps", "six"]},
    ],
)
def test_a_vector_that_makes_no_sense_names_itself(tmp_path: Path, vector: dict[str, object]) -> None:
    (tmp_path / "v.json").write_text(json.dumps({"vectors": [vector]}))
    done = run("check", tmp_path / "v.json")
    assert isinstance(done.exception, UserMistake)
    assert "vector x" in done.exception.message


def test_a_rim_is_computed_from_a_kernel_and_a_vmm(folder: Path, tmp_path: Path) -> None:
    plain = run("--vmm", "kvmtool", "--kernel", folder / "linux.bin", "--cpus", "1", "--memory", "512M", *LIMITS)
    assert "3167f2eceda372670f7b1167cc288f45c2e4d9a305552d503853dc8c114184d0" in plain.stdout
    words = "--realm -k Image -c 1 -m 512M"
    done = run("--vmm", "kvmtool", "--kernel", folder / "linux.bin", "--vmm-args", words, *LIMITS, "--json",
               "--out-dtb", tmp_path / "tree.dtb")  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["rim"] == "3167f2eceda372670f7b1167cc288f45c2e4d9a305552d503853dc8c114184d0"
    assert [step["op"] for step in answer["steps"]] == [
        "realm_create", "init_ripas", "data_create", "data_create", "rec_create",
    ]  # fmt: skip
    assert (tmp_path / "tree.dtb").read_bytes() == (folder / "dtb" / "kvmtool-kernel.dtb").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--vmm", "bochs"), "bochs"),
        (("--memory", "lots", *LIMITS), "memory size"),
        ((), "num_bps and num_wps"),
        (("--num-bps", "1"), "num_bps = 1"),
        (("--vmm-args", "'unclosed", *LIMITS), "split"),
        (("--vmm", "kvmtool", "--memory", "3G", *LIMITS), "top_bound"),
        (("--kernel", "/no/such/file", *LIMITS), "no file"),
    ],
)
def test_a_request_that_cannot_be_is_the_users_mistake(words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert isinstance(done.exception, UserMistake)
    assert says in done.exception.message


def test_the_realms_of_a_cluster_are_measured_as_the_verifier_expects(tmp_path: Path) -> None:
    file = ROOT / "clusters" / "quickstart.yaml"
    done = run("cluster", file, "--json")
    cluster = load_text(file.read_bytes(), str(file)).value
    assert cluster is not None
    expected = {kind: expected_rim(realm_spec(cluster, kind, "", 0)).hex() for kind in cluster.realms}
    assert json.loads(done.stdout)["rims"] == expected
    assert run("cluster", file).stdout.split()[1] in expected.values()
    (tmp_path / "broken.yaml").write_text("machines: 3\n")
    assert isinstance(run("cluster", tmp_path / "broken.yaml").exception, UserMistake)
    assert isinstance(run("cluster", tmp_path / "missing.yaml").exception, UserMistake)
