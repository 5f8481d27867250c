"""Checks one by one, where the broken files do not already tell: limits from both sides, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.cluster.capacity import realm_granules

Data = dict[str, Any]
Say = Callable[[Data], list[str]]


def test_the_sound_cluster_has_no_finding(sound: Data, findings_of: Say) -> None:
    assert findings_of(sound) == []


def test_a_realm_counts_its_pages_tables_descriptor_and_recs() -> None:
    # 512 MiB: 131072 pages, 256 level-3 tables, one level-2, one level-1, the RD, two RECs with 16 auxiliary granules
    assert realm_granules(512 << 20, 2) == 131_072 + 256 + 1 + 1 + 1 + 2 * 17


def test_a_realm_that_fills_the_machine_to_the_last_granule_fits(sound: Data, findings_of: Say) -> None:
    sound["realms"] = {"web": {"image": "web", "memory": "64MiB"}}
    granules = realm_granules(64 << 20, 1)
    sound["profiles"]["std"]["memory"] = granules * 4096
    assert findings_of(sound) == []
    sound["profiles"]["std"]["memory"] = (granules - 1) * 4096
    (told,) = findings_of(sound)
    assert told.startswith("realms.web.memory: larger than any machine")


def test_memory_must_lie_in_the_protected_half_of_the_ipa_space(sound: Data, findings_of: Say) -> None:
    sound["profiles"]["std"] |= {"memory": "16GiB", "ipa_bits": 32}
    sound["realms"]["web"]["memory"] = "2GiB"
    assert findings_of(sound) == []
    sound["realms"]["web"]["memory"] = 2**31 + 4096
    assert [told.split(":")[0] for told in findings_of(sound)] == ["realms.web.memory"]


def test_as_many_vcpus_as_pes_are_allowed_and_one_more_is_not(sound: Data, findings_of: Say) -> None:
    sound["realms"]["web"]["vcpus"] = 8
    assert findings_of(sound) == []
    sound["realms"]["web"]["vcpus"] = 9
    assert findings_of(sound) == ["realms.web.vcpus: 9 vCPUs are more than any machine has PEs"]


def test_cpu_demand_of_all_realms_must_fit_all_pes(sound: Data, findings_of: Say) -> None:
    sound["realms"]["web"] |= {"count": 32, "vcpus": 2, "workload": {"cpu": "50%"}}
    assert findings_of(sound) == []
    sound["realms"]["web"]["count"] = 33
    assert findings_of(sound) == ["realms: all Realms demand 33 PEs, all machines have 32"]


def test_a_machine_has_room_for_as_many_realms_as_its_vmid_has_values(sound: Data, findings_of: Say) -> None:
    sound["realms"]["web"] |= {"count": 1024, "memory": "2MiB", "workload": {"cpu": "1%"}}
    assert findings_of(sound) == []
    sound["realms"]["web"]["count"] = 1025
    assert findings_of(sound) == ["realms: 1025 Realms need as many VMIDs, all machines have 1024"]
    sound["profiles"]["std"]["vmid_bits"] = 16
    assert findings_of(sound) == []


@pytest.mark.parametrize(("spread", "most"), [("machine", 4), ("rack", 2)])
def test_spread_realms_need_a_machine_or_rack_each(sound: Data, findings_of: Say, spread: str, most: int) -> None:
    sound["realms"]["web"] |= {"spread": spread, "count": most}
    assert findings_of(sound) == []
    sound["realms"]["web"]["count"] = most + 1
    assert findings_of(sound) == [f"realms.web.spread: {most + 1} Realms cannot each have a {spread} of their own"]


def test_two_racks_whose_machines_would_have_the_same_names_are_refused(sound: Data, findings_of: Say) -> None:
    profile = sound["profiles"]["std"]
    sound["profiles"] = {"b-c": profile, "c": profile}
    sound["racks"] = {"a": {"machines": {"b-c": 1}}, "a-b": {"machines": {"c": 1}}}
    assert findings_of(sound) == ["racks.a-b.machines.c: its machine 'a-b-c-01' has the name of a machine in rack 'a'"]


def test_leases_may_be_short_when_they_are_turned_off(sound: Data, findings_of: Say) -> None:
    sound["control"] = {"lease": "3999ms"}
    assert findings_of(sound) == ["control.lease: shorter than two heartbeats of 2s"]
    sound["control"] = {"lease": "4s"}
    assert findings_of(sound) == []
    sound["control"] = {"lease": "1s", "leases": False}
    assert findings_of(sound) == []


def test_a_release_that_nobody_boots_may_be_unsigned_and_partial(sound: Data, findings_of: Say) -> None:
    sound["firmware"]["releases"]["spare"] = {"components": {"RMM": {"version": "2.0.0"}}}
    assert findings_of(sound) == []


def test_booting_a_release_without_reference_values_is_warned_of(sound: Data, findings_of: Say) -> None:
    sound["firmware"]["releases"]["fw"]["endorsed"] = False
    assert findings_of(sound) == [
        "firmware.releases.fw.endorsed: no reference values are held for it, but profile 'std' boots it"
    ]


def test_versions_compare_by_number_and_not_by_text(sound: Data, findings_of: Say) -> None:
    sound["firmware"]["releases"]["fw"]["components"]["RMM"]["version"] = "1.9.0"
    sound["firmware"]["releases"]["next"] = {"components": {"RMM": {"version": "1.10.0", "signed_by": "vendor"}}}
    sound["events"] = [{"kind": "rollout", "at": "1min", "release": "next", "waves": [{"share": "100%"}]}]
    assert findings_of(sound) == []


def test_a_rollout_that_some_profile_does_not_need_is_warned_of(sound: Data, findings_of: Say) -> None:
    releases = sound["firmware"]["releases"]
    newer = {**releases["fw"]["components"], "RMM": {"version": "1.5.0", "signed_by": "vendor"}}
    releases["newer"] = {"components": newer}
    releases["middle"] = {"components": {"RMM": {"version": "1.2.0", "signed_by": "vendor"}}}
    sound["profiles"]["fresh"] = {**sound["profiles"]["std"], "firmware": "newer"}
    sound["racks"]["r2"]["machines"]["fresh"] = 1
    sound["events"] = [{"kind": "rollout", "at": "1min", "release": "middle", "waves": [{"share": "100%"}]}]
    assert findings_of(sound) == ["events[0].release: RMM 1.2.0 does not raise the version of fresh"]


def test_a_share_of_the_machines_left_is_rounded_up(sound: Data, findings_of: Say) -> None:
    sound["firmware"]["releases"]["next"] = {"components": {"RMM": {"version": "1.0.1", "signed_by": "vendor"}}}
    waves = [{"share": "1%"}, {"share": "34%"}, {"share": "50%"}, {"machines": 9}]
    sound["events"] = [{"kind": "rollout", "at": "1min", "release": "next", "waves": waves}]
    # four machines: 1, then 2 of 3, then 1 of 1; the last wave has nothing left
    assert findings_of(sound) == ["events[0].waves[3]: this wave covers no machine"]


def test_faults_of_one_kind_may_follow_each_other_without_a_gap(sound: Data, findings_of: Say) -> None:
    fault = {"fault": "machine.freeze", "for": "10s", "select": {"machine": "r1-std-01"}}
    sound["faults"] = [{**fault, "at": "1min"}, {**fault, "at": "70s"}]
    assert findings_of(sound) == []
    sound["faults"][1]["at"] = "69s"
    assert findings_of(sound) == ["faults[1].at: machine.freeze is still on there until 70s"]


def test_different_faults_may_strike_the_same_machine_at_once(sound: Data, findings_of: Say) -> None:
    common = {"at": "1min", "for": "10s", "select": {"machine": "r1-std-01"}}
    sound["faults"] = [{"fault": "machine.freeze", **common}, {"fault": "attest.stale-token", **common}]
    assert findings_of(sound) == []


def test_one_way_cuts_in_opposite_directions_do_not_overlap(sound: Data, findings_of: Say) -> None:
    fault = {"fault": "network.partition", "at": "1min", "for": "10s", "one_way": True}
    ends = [{"rack": "r1"}, "control"]
    sound["faults"] = [{**fault, "between": ends}, {**fault, "between": ends[::-1]}]
    assert findings_of(sound) == []


def test_recovery_that_cannot_be_judged_is_warned_of(sound: Data, findings_of: Say) -> None:
    fault = {"fault": "machine.freeze", "for": "10s", "select": {"count": 1}}
    sound["faults"] = [{**fault, "at": "500s"}]  # healed at 510s, 90s before the end: exactly recover_within
    assert findings_of(sound) == []
    sound["faults"] = [{**fault, "at": "501s"}]
    assert findings_of(sound) == ["faults[0].for: healed at 511s, less than recover_within (90s) before the end"]
