"""Which firmware works with which: kept when the file is read, by the rollout, by the host, at PRIME and at boot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attestation import firmware
from attestation.errors import Malformed
from attestation.keys import derive_key
from orchestrator.cluster.load import load_text
from orchestrator.firmware.choice import RolloutChose
from orchestrator.firmware.phases import Phase

GATED = (Path(__file__).resolve().parents[3] / "clusters" / "gated-rollout.yaml").read_text()
NEW_RMM = "        RMM: {version: 1.1.0, signed_by: vendor}"
KEY = derive_key(b"a vendor's seed, 32 bytes of it..", "vendor")


def told(text: str) -> str:
    return load_text(text, "skew.yaml").render()


def test_a_release_whose_needs_an_earlier_rollout_meets_is_good() -> None:
    assert told(GATED.replace(NEW_RMM, NEW_RMM[:-1] + ", needs: {BL31: 1.1.0}}")) == ""


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ("{BL31: 1.2.0}", "RMM 1.1.0 needs BL31 1.2.0, there is 1.1.0"),
        ("{host: 2.0.0}", "RMM 1.1.0 needs host 2.0.0, there is 1.0.0"),
        ("{HES: 1.0.0}", "RMM 1.1.0 needs HES 1.0.0, there is none"),
    ],
)
def test_a_rollout_whose_needs_nobody_meets_is_refused_when_the_file_is_read(needs: str, why: str) -> None:
    assert why in told(GATED.replace(NEW_RMM, f"{NEW_RMM[:-1]}, needs: {needs}}}"))


def test_a_profile_that_boots_what_does_not_work_together_is_refused() -> None:
    base = "        RMM: {version: 1.0.0, signed_by: vendor}"
    assert "profile 'std' boots it" in told(GATED.replace(base, base[:-1] + ", needs: {BL31: 1.0.1}}"))


def test_firmware_in_the_wrong_order_is_refused() -> None:
    text = GATED.replace(NEW_RMM, NEW_RMM[:-1] + ", needs: {BL31: 1.1.0}}")
    text = text.replace("    component: BL31\n", "    component: RMM\n", 1)
    assert "needs BL31 1.1.0, there is 1.0.0" in told(text)


def test_needs_stand_in_the_signed_manifest_and_images_without_keep_their_bytes() -> None:
    plain = firmware.FirmwareManifest(component="RMM", version="1.0.0", security_version=1)
    needing = firmware.FirmwareManifest(component="RMM", version="1.0.0", security_version=1, needs={"BL31": "1.1.0"})
    assert firmware.read_manifest(firmware.build(needing, b"x", KEY))[0].needs == {"BL31": "1.1.0"}
    assert firmware.build(plain, b"x", KEY) != firmware.build(needing, b"x", KEY)
    assert b"BL31" not in firmware.build(plain, b"x", KEY)


def test_needs_that_are_no_texts_are_malformed() -> None:
    wrong: Any = {"BL31": 2}
    manifest = firmware.FirmwareManifest(component="RMM", version="1.0.0", security_version=1, needs=wrong)
    with pytest.raises(Malformed, match="needs is no map of texts"):
        firmware.read_manifest(firmware.build(manifest, b"x", KEY))


@pytest.mark.parametrize(
    ("needs", "versions", "unmet"),
    [
        ({}, {}, ""),
        ({"BL31": "1.10.0"}, {"BL31": "1.9.0"}, "needs BL31 1.10.0, there is 1.9.0"),
        ({"BL31": "1.9.0"}, {"BL31": "1.10.0"}, ""),
        ({"BL31": "1.0"}, {}, "needs BL31 1.0, there is none"),
    ],
)
def test_versions_are_compared_as_numbers(needs: dict[str, str], versions: dict[str, str], unmet: str) -> None:
    assert firmware.unmet(needs, versions) == unmet


def test_the_rollout_fails_a_machine_that_its_release_does_not_work_with_before_anything_is_tried(floor: Any) -> None:
    at = floor(2, waves=[{"share": "100%"}], max_failures=1)
    at.store.machines["m0"].versions["BL31"] = "1.0.0"
    at.store.machines["m1"].versions["BL31"] = "1.1.0"
    components = at.store.cluster.firmware.releases["next"].components
    components["RMM"] = components["RMM"].model_copy(update={"needs": {"BL31": "1.1.0"}})
    at.run(30)
    assert (at.phase("m0"), at.phase("m1")) == (Phase.FAILED, Phase.DONE)
    assert at.rollout.state.updates["m0"].why == "RMM 1.1.0 needs BL31 1.1.0, there is 1.0.0"
    assert {machine for _, machine, _ in at.orders} == {"m1"}


# -- the way of each machine -------------------------------------------------------------------------------------------


def chosen(at: Any) -> dict[str, RolloutChose]:
    return {record.machine: record for record in at.of(RolloutChose)}


def test_left_to_choose_a_machine_is_activated_live_where_that_is_cheapest_and_the_record_says_why(floor: Any) -> None:
    at = floor(2, waves=[{"share": "100%"}], strategy="auto", max_unavailable=2).run(30)
    for machine in ("m0", "m1"):
        record = chosen(at)[machine]
        assert record.strategy == "live"
        assert record.costs_ns["live"] < record.costs_ns["reboot"]
        assert record.activation_failure_ppm == 50_000
        assert "drain" in record.impossible
    assert at.phase("m0") == Phase.DONE


def test_an_image_of_another_format_goes_by_reboot_and_an_empty_machine_costs_nothing(floor: Any) -> None:
    at = floor(2, waves=[{"share": "100%"}], strategy="auto", max_unavailable=2)
    components = at.store.cluster.firmware.releases["next"].components
    components["RMM"] = components["RMM"].model_copy(update={"data_format": 2})
    at.store.unbind(at.store.realms["w1"])
    at.run(5)
    assert {name: record.strategy for name, record in chosen(at).items()} == {"m0": "reboot", "m1": "drain"}
    assert "data_format 2" in chosen(at)["m0"].impossible["live"]
    assert chosen(at)["m1"].costs_ns == {"live": 0, "drain": 0, "reboot": 0}


def test_activations_that_fail_make_the_next_machine_choose_otherwise(floor: Any, refusing: Any) -> None:
    at = floor(6, waves=[{"share": "100%"}], strategy="auto", max_unavailable=1, max_failures=6)
    for machine in at.store.machines:
        at.behaviour[machine] = refusing("activate")
    at.run(120)
    risks = [record.activation_failure_ppm for record in chosen(at).values()]
    assert risks == sorted(risks)
    assert risks[-1] > risks[0]
