"""Grafana and Prometheus are pointed at files that exist, on loopback only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parents[2] / "dashboards"


def load(path: str) -> Any:
    return YAML(typ="safe").load((FOLDER / path).read_text("utf-8"))


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """Folders of this tree by where a container sees them."""
    pairs = [volume.split(":") for volume in service["volumes"] if volume.startswith("./")]
    return {pair[1]: FOLDER / pair[0] for pair in pairs}


def test_every_mounted_folder_exists() -> None:
    services = load("compose.yaml")["services"]
    assert all(path.is_dir() for service in services.values() for path in mounts(service).values())


def test_prometheus_finds_its_configuration_and_rules() -> None:
    prometheus = load("compose.yaml")["services"]["prometheus"]
    (config,) = [flag.partition("=")[2] for flag in prometheus["command"] if flag.startswith("--config.file=")]
    folder = mounts(prometheus)[str(Path(config).parent)]
    rules = YAML(typ="safe").load((folder / Path(config).name).read_text("utf-8"))["rule_files"]
    assert [path.name for pattern in rules for path in folder.glob(pattern)] == ["realmfleet.rules.yml"]


def test_grafana_finds_dashboards_and_home() -> None:
    grafana = load("compose.yaml")["services"]["grafana"]
    (provider,) = load("grafana/provisioning/dashboards/realmfleet.yml")["providers"]
    folder = mounts(grafana)[provider["options"]["path"]]
    assert len(list(folder.glob("*.json"))) == 7
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (
        json.loads((mounts(grafana)[str(home.parent)] / home.name).read_text("utf-8"))["title"] == "Realmfleet / Fleet"
    )


def test_everything_listens_and_scrapes_on_loopback_only() -> None:
    services = load("compose.yaml")["services"]
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    (source,) = load("grafana/provisioning/datasources/realmfleet.yml")["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    (job,) = load("prometheus/prometheus.yml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]


def test_the_interval_of_scrapes_is_that_of_samples_and_of_the_data_source() -> None:
    (source,) = load("grafana/provisioning/datasources/realmfleet.yml")["datasources"]
    interval = load("prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert interval == source["jsonData"]["timeInterval"] == "15s"


def test_images_are_pinned_to_a_version() -> None:
    images = [service["image"] for service in load("compose.yaml")["services"].values()]
    assert all(re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", image) for image in images)
