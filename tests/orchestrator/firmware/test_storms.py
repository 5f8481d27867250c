"""Storms of seeds over real machines: whatever the image, the strategy and the faults, these properties hold.

Each seed draws an image (good, bad in one of many ways, or with a defect that shows at once, at boot or later), a
strategy, limits, gates, a rollback and faults, and runs the whole fleet. 100 seeds in every run of the tests, 1 000
under `long`; a seed that fails is repeated by its number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from attestation.verify import verify_platform
from orchestrator.assembly import assemble
from orchestrator.chaos.history import Line, read
from orchestrator.cluster.schema import Cluster, RolloutEvent
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.streams import Stream, run_seed
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.firmware.waves import at_once
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import Plan, plan, trust_anchors
from orchestrator.store import MachineState, Store

S = 1_000_000_000
AT_NS = 20 * S
BAKE_S = 40
BASE = {"version": "1.0.0", "security_version": 1, "size": "4KiB", "signed_by": ["vendor", "auditor"]}
FIX = {**BASE, "version": "1.0.1", "security_version": 2}

IMAGES: dict[str, dict[str, Any]] = {
    "good": {},
    "same-counter": {"security_version": 1},
    "unsigned": {"signed_by": None},
    "under-endorsed": {"signed_by": "vendor"},
    "stranger": {"signed_by": ["vendor", "stranger"]},
    "rolled-back": {"security_version": 0},
    "other-format": {"data_format": 2},
    "panics-at-activation": {"defect": "panics-at-activation"},
    "panics-at-boot": {"defect": "panics-at-boot"},
    "panics-later": {"defect": "panics-later", "defect_after": "20s", "security_version": 1},
    "leaks-memory": {"defect": "leaks-memory", "defect_after": "15s"},
    "unendorsed": {},
}
NEVER_RUNS = ("unsigned", "under-endorsed", "stranger", "rolled-back")
"""Images that no machine's policy accepts."""

SHOWS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*NEVER_RUNS, "panics-later", "leaks-memory", "unendorsed"), ("live", "drain", "reboot")),
    "other-format": ("live",),
    "panics-at-activation": ("live",),
    "panics-at-boot": ("drain", "reboot"),
}
"""Under which strategies the fault of an image shows on its first machine, within the bake."""

FAULTS = (
    {"fault": "machine.power-loss", "for": "15s"},
    {"fault": "machine.freeze", "for": "12s"},
    {"fault": "firmware.activation-failure", "for": "60s"},
    {"fault": "firmware.pe-absent", "for": "60s"},
    {"fault": "rmm.panic", "for": "10s"},
    {"fault": "attest.tampered-token", "for": "40s"},
)


class Storm(NamedTuple):
    """What a seed drew."""

    cluster: Cluster
    image: str
    event: RolloutEvent
    calm: bool


def draw(seed: int) -> Storm:
    stream = Stream.named(run_seed(seed), "tests", "firmware-storm")

    def pick(choices: Sequence[Any]) -> Any:
        return choices[stream.below(len(choices))]

    image = pick(list(IMAGES))
    calm = stream.chance(400_000)
    faults = []
    for _ in range(0 if calm else 1 + stream.below(3)):
        at_s = 5 + stream.below(110)
        faults.append(
            {
                **pick(FAULTS),
                "at": f"{at_s}s",
                "select": {"machine": f"r{1 + stream.below(2)}-std-0{1 + stream.below(2)}"},
            }
        )
    event = {
        "kind": "rollout",
        "at": f"{AT_NS // S}s",
        "release": "fix",
        "bake": f"{BAKE_S}s",
        "strategy": pick(("live", "drain", "reboot")),
        "max_unavailable": pick((1, 2, 3)),
        "waves": [{"machines": 1}, {"share": "100%"}],
        "max_failures": pick((0, 0, 1)) if calm else 0,
        "gates": pick(([], [{"gate": "health"}], [{"gate": "attested"}])),
        "rollback": pick((False, "machine", "wave", "rollout")),
        "blast_radius": pick(({}, {"rack": 1})),
    }
    if event["blast_radius"] and event["max_unavailable"] == 3:
        event["max_unavailable"] = 2
    if image in SHOWS:
        event["max_failures"] = 0
    return Storm(_cluster(image, event, _apart(faults)), image, RolloutEvent.model_validate(event), calm)


def _apart(faults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One fault of a kind per machine: two would undo each other."""
    return list({(fault["fault"], fault["select"]["machine"]): fault for fault in faults}.values())


def _cluster(image: str, event: dict[str, Any], faults: list[dict[str, Any]]) -> Cluster:
    return Cluster.model_validate(
        {
            "version": 1,
            "name": "storm",
            "duration": "6min",
            "recover_within": "60s",
            "control": {
                "beat": "500ms", "heartbeat": "5s", "suspect_after": "12s", "lease": "20s", "order_timeout": "5s",
            },
            "timing": {"override": {"boot.post": "15s", "boot.host-os": "5s"}},
            "profiles": {"std": {"pes": 4, "memory": "1GiB", "firmware": "base"}},
            "racks": {"r1": {"machines": {"std": 2}}, "r2": {"machines": {"std": 2}, "power": "b"}},
            "firmware": {
                "signers": ["vendor", "auditor"],
                "policy": {"threshold": 2},
                "releases": {
                    "base": {"components": {"BL2": BASE, "BL31": BASE, "RMM": BASE}},
                    "fix": {"components": {"RMM": {**FIX, **IMAGES[image]}}, "endorsed": image != "unendorsed"},
                },
            },
            "images": {"web": {"size": "4KiB"}},
            "realms": {"web": {"image": "web", "count": 2, "memory": "32MiB"}},
            "events": [event],
            "faults": faults,
        }
    )  # fmt: skip


class Outcome(NamedTuple):
    """A storm that is over: its trace, the belief at its end, and the machines themselves."""

    lines: list[Line]
    store: Store
    fleet: LocalFleet
    made: Plan


def blow(storm: Storm, seed: int) -> Outcome:
    made = plan(storm.cluster, seed)
    fleet = LocalFleet(list(made.machines.values()))
    sink = MemorySink()
    parts = assemble(made, lambda *token: None)
    witnessed = WitnessedFleet(fleet, witness_of(made.secret))
    engine = Engine(storm.cluster.control.beat, witnessed, parts.control, parts.links, Trace(sink), MemoryJournal())
    engine.run_until(storm.cluster.duration)
    engine.finish()
    return Outcome(list(read(line.entry for line in sink.lines)), parts.control.store, fleet, made)


# -- properties: each yields what breaks it ----------------------------------------------------------------------------


def runs_only_accepted(storm: Storm, found: Outcome) -> Iterator[str]:
    accepted = {
        (component, signed.version)
        for (_, component), signed in found.made.firmware.components.items()
        if signed.accepted
    }
    for line in found.lines:
        if line.kind in ("firmware.activated", "firmware.booted"):
            runs = {line.what["component"]: line.what["version"]}
        elif line.kind == "machine.booted":
            runs = line.what["versions"]
        else:
            continue
        yield from (
            f"{line.source} runs {name} {version}" for name, version in runs.items() if (name, version) not in accepted
        )


def security_never_falls(storm: Storm, found: Outcome) -> Iterator[str]:
    level = {("RMM", "1.0.0"): 1, ("RMM", "1.0.1"): IMAGES[storm.image].get("security_version", 2)}
    highest: dict[str, int] = {}
    for line in found.lines:
        if line.kind in ("firmware.activated", "firmware.booted") and line.what["component"] == "RMM":
            now = line.what["security_version"]
        elif line.kind == "machine.booted":
            now = level["RMM", line.what["versions"]["RMM"]]
        else:
            continue
        if now < highest.get(line.source, 0):
            yield f"{line.source} fell to {now} from {highest[line.source]}"
        highest[line.source] = max(now, highest.get(line.source, 0))


def never_too_many_away(storm: Storm, found: Outcome) -> Iterator[str]:
    under_way: dict[str, None] = {}
    for line in found.lines:
        if line.kind == "rollout.machine" and line.what["rollout"] == "rollout-1":
            if line.what["phase"] in ("queued", "done", "failed", "absent"):
                under_way.pop(line.what["machine"], None)
            else:
                under_way[line.what["machine"]] = None
            if len(under_way) > at_once(storm.event, 4):
                yield f"{list(under_way)} at {line.at_ns}"
            racks = [machine.partition("-")[0] for machine in under_way]
            limit = storm.event.blast_radius.rack
            if limit is not None and max(map(racks.count, racks), default=0) > limit:
                yield f"{list(under_way)} at {line.at_ns}, {limit} in a rack allowed"


def bad_images_end_with_the_canary(storm: Storm, found: Outcome) -> Iterator[str]:
    if storm.event.strategy not in SHOWS.get(storm.image, ()):
        return
    for line in found.lines:
        if (
            line.kind == "wave.started"
            and line.what["rollout"] == "rollout-1"
            and line.what["wave"] > 1
            and not line.what["retry"]
        ):
            before = [old for old in found.lines if old.kind == "rollout.machine" and old.at_ns <= line.at_ns]
            if any(old.what["phase"] == "done" for old in before):
                yield f"wave {line.what['wave']} began although {storm.image} shows within the bake"


def done_machines_attest(storm: Storm, found: Outcome) -> Iterator[str]:
    """What a rollout that is over calls done is vouched for in the version that it says, unless it went down since."""
    last = {line.what["machine"]: line for line in found.lines if line.kind == "rollout.machine"}
    if not any(line.kind == "rollout.finished" for line in found.lines):
        return
    for machine, line in last.items():
        view = found.store.machines[machine]
        if line.what["phase"] != "done" or view.state is not MachineState.ADMITTED:
            continue
        expected = "1.0.1" if line.what["rollout"] == "rollout-1" else "1.0.0"
        if view.versions["RMM"] != expected or not view.platform_token_sha256:
            yield f"{machine} is called done with {view.versions['RMM']}"


def logs_replay_to_tokens(storm: Storm, found: Outcome) -> Iterator[str]:
    anchors = trust_anchors(found.made)
    for name in found.fleet.machines():
        monitor = found.fleet.machine(name)._state.monitor
        if monitor.volatile is None:
            continue
        launch, registers, last = monitor.now.launch, {}, {}
        for event in launch.log:
            registers[event.slot] = hashlib.sha256(registers.get(event.slot, bytes(32)) + event.digest).digest()
            last[event.component] = (event.digest, event.version)
        if registers != {number: slot.register for number, slot in launch.slots.items()}:
            yield f"the log of {name} does not replay to its registers"
        claims = verify_platform(launch.platform_token, anchors).claims
        told = {one.measurement_type: (one.measurement_value, one.version) for one in claims.sw_components}
        if told != last:
            yield f"the token of {name} says something else than its log"


PROPERTIES = (
    runs_only_accepted,
    security_never_falls,
    never_too_many_away,
    bad_images_end_with_the_canary,
    done_machines_attest,
    logs_replay_to_tokens,
)


def violations(seeds: Sequence[int]) -> list[str]:
    found = []
    for seed in seeds:
        storm = draw(seed)
        outcome = blow(storm, seed)
        for holds in PROPERTIES:
            found += [
                f"seed {seed} ({storm.image}, {storm.event.strategy}): {holds.__name__}: {why}"
                for why in holds(storm, outcome)
            ]
        outcome.fleet.close()
    return found


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_the_properties_hold_over_a_hundred_seeds(first: int) -> None:
    assert violations(range(first, first + 10)) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(100, 1100, 100))
def test_the_properties_hold_over_a_thousand_more(first: int) -> None:
    assert violations(range(first, first + 100)) == []


def test_the_seeds_draw_every_image_and_strategy_and_calm_as_well_as_storm() -> None:
    storms = [draw(seed) for seed in range(100)]
    assert {storm.image for storm in storms} == set(IMAGES)
    assert {storm.event.strategy for storm in storms} == {"live", "drain", "reboot"}
    assert {storm.calm for storm in storms} == {True, False}
