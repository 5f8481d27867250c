"""The files that bring a Ray cluster up: of the form that Ray and Kubernetes ask for, and one image for all."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "clusters" / "ray"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(FOLDER / name)
    return found


def locked(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_launcher_file_is_one_that_ray_accepts() -> None:
    prepared = prepare_config(read("ray-up.yaml"))
    validate_config(prepared)
    assert prepared["max_workers"] == len(read("ray-up.yaml")["provider"]["worker_ips"])


def test_hosts_are_started_with_options_that_ray_knows() -> None:
    known = subprocess.run(
        [Path(sys.executable).parent / "ray", "start", "--help"], capture_output=True, text=True, check=True
    ).stdout
    file = read("ray-up.yaml")
    commands = [*file["head_start_ray_commands"], *file["worker_start_ray_commands"]]
    options = {word.split("=")[0] for line in commands if "ray start" in line for word in shlex.split(line)}
    options = {word for word in options if word.startswith("--")}
    assert {"--head", "--port", "--address"} <= options
    assert not {option for option in options if option not in known}


def test_the_manifest_is_a_ray_cluster_of_the_locked_version() -> None:
    manifest = read("kuberay.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    assert manifest["spec"]["rayVersion"] == locked("ray")
    groups = [manifest["spec"]["headGroupSpec"], *manifest["spec"]["workerGroupSpecs"]]
    for group in groups:
        [container] = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_head_and_workers_run_one_image_in_both_files() -> None:
    manifest = read("kuberay.yaml")["spec"]
    pods = [manifest["headGroupSpec"], *manifest["workerGroupSpecs"]]
    images = {container["image"] for pod in pods for container in pod["template"]["spec"]["containers"]}
    assert images == {read("ray-up.yaml")["docker"]["image"]}


def test_the_image_holds_every_package_and_the_python_that_the_project_asks_for() -> None:
    recipe = (FOLDER / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = set(re.findall(r"^COPY (\w+) \1$", recipe, re.MULTILINE))
    packages = {name for name in project["tool"]["setuptools"]["packages"]["find"]["include"] if "." not in name}
    assert packages <= copied
    assert "FROM python:3.11-" in recipe
    assert project["project"]["requires-python"] == ">=3.11"


@pytest.mark.parametrize("name", ["ray-up.yaml", "kuberay.yaml", "Dockerfile"])
def test_cluster_files_that_are_named_in_comments_exist(name: str) -> None:
    for path in re.findall(r"clusters/[\w./-]+\w", (FOLDER / name).read_text()):
        assert (ROOT / path).exists(), path
