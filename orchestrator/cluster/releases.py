"""Whether firmware can boot, and whether rollouts can do anything.

What a machine could never boot is an error. A rollout that every machine would refuse for its signature or its
live-state format is a legitimate experiment, so it is only warned of.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cluster.diagnostics import Finding, Path, Severity, suggestion
from orchestrator.cluster.facts import Facts, unknown_name
from orchestrator.cluster.quantities import PPM, format_duration, format_size, version_key
from orchestrator.cluster.schema import (
    Cluster,
    Component,
    Endorsing,
    Firmware,
    RevokeEvent,
    RolloutEvent,
    SteerEvent,
    Wave,
)

BOOT_COMPONENTS = ("BL2", "BL31", "RMM")
"""What a machine cannot boot a Realm world without."""


LARGEST_COMPONENT = 64 << 20
"""Bytes of one component; real ones take hundreds of KiB, and every byte of ours is made and hashed."""


def _component_path(release: str, component: str) -> Path:
    return ("firmware", "releases", release, "components", component)


def _unsigned(
    cluster: Cluster, path: Path, name: str, component: Component, severity: Severity, why: str
) -> Iterator[Finding]:
    """Whether machines would take it: signed by signers they know, by enough of them, and not revoked."""
    firmware = cluster.firmware
    policy, listed = firmware.policy, component.signers
    if not listed:
        yield Finding(path, f"signed by nobody, {why}", f"add signed_by: {firmware.signers[0]}", severity, at="key")
        return
    for signer in listed:
        if signer not in firmware.signers:
            message = f"'{signer}' is no signer that the machines accept, {why}"
            hint = suggestion(signer, firmware.signers, "firmware.signers")
            yield Finding((*path, "signed_by"), message, hint, severity)
    if listed[0] in policy.revoked_signers:
        yield Finding((*path, "signed_by"), f"signer '{listed[0]}' is revoked, {why}", "have another sign it", severity)
    if any((each.component, each.version) == (name, component.version) for each in policy.revoked_versions):
        yield Finding((*path, "version"), f"{name} {component.version} is revoked, {why}", "use another", severity)
    counted = [one for one in dict.fromkeys(listed) if one in firmware.signers and one not in policy.revoked_signers]
    rule = policy.rule(name)
    missing = [signer for signer in rule.required if signer not in counted]
    if missing:
        message = f"'{missing[0]}' must sign {name} and did not, {why}"
        yield Finding((*path, "signed_by"), message, f"firmware.policy requires {', '.join(rule.required)}", severity)
    known = all(signer in firmware.signers for signer in listed)
    if known and not missing and len(counted) < rule.threshold:
        message = f"{len(counted)} of {rule.threshold} needed signers stand behind {name}, {why}"
        yield Finding((*path, "signed_by"), message, f"signers are {', '.join(firmware.signers)}", severity)


def policy(facts: Facts) -> Iterator[Finding]:
    """The signing policy names known signers, and not more of them than there are."""
    firmware = facts.cluster.firmware
    path: Path = ("firmware", "policy")
    rules = [(path, firmware.policy), *(((*path, "components", name), rule) for name, rule in _special(firmware))]
    for where, rule in rules:
        for index, signer in enumerate(rule.required):
            if signer not in firmware.signers:
                yield unknown_name((*where, "required", index), "signer", signer, firmware.signers)
        if rule.threshold > len(firmware.signers):
            message = f"{rule.threshold} signatures of {len(firmware.signers)} signers"
            yield Finding((*where, "threshold"), message, "no image could ever be taken; list more signers")
    for index, signer in enumerate(firmware.policy.revoked_signers):
        if signer not in firmware.signers:
            yield unknown_name((*path, "revoked_signers", index), "signer", signer, firmware.signers)


def _special(firmware: Firmware) -> list[tuple[str, Endorsing]]:
    return [(str(name), rule) for name, rule in firmware.policy.components.items()]


def bootable(facts: Facts) -> Iterator[Finding]:
    """A release that a profile boots is complete, signed by an accepted signer and endorsed."""
    cluster = facts.cluster
    users: dict[str, list[str]] = {}
    for name, profile in cluster.profiles.items():
        users.setdefault(profile.firmware, []).append(name)
    for name, profiles in users.items():
        release = cluster.firmware.releases.get(name)
        if release is None:
            continue
        why = f"but profile '{profiles[0]}' boots it"
        missing = [component for component in BOOT_COMPONENTS if component not in release.components]
        if missing:
            message = f"lacks {' and '.join(missing)}, {why}"
            hint = "booting takes BL2, BL31 and RMM"
            yield Finding(("firmware", "releases", name, "components"), message, hint, at="key")
        for part, component in release.components.items():
            yield from _unsigned(cluster, _component_path(name, part), part, component, Severity.ERROR, why)
        if not release.endorsed:
            message = f"no reference values are held for it, {why}"
            path: Path = ("firmware", "releases", name, "endorsed")
            yield Finding(path, message, "no Realm there will get its secret", Severity.WARNING)


def component_sizes(facts: Facts) -> Iterator[Finding]:
    """Firmware images are of a size that can be built and hashed."""
    for name, release in facts.cluster.firmware.releases.items():
        for part, component in release.components.items():
            if component.size > LARGEST_COMPONENT:
                path = (*_component_path(name, part), "size")
                yield Finding(path, f"{format_size(component.size)} are too much for firmware", "at most 64MiB")


def _rollouts(cluster: Cluster) -> list[tuple[int, RolloutEvent]]:
    return [(index, event) for index, event in enumerate(cluster.events) if isinstance(event, RolloutEvent)]


def _booted(facts: Facts, component: str) -> dict[str, Component]:
    """The component that each profile boots with, where its release holds one."""
    releases = facts.cluster.firmware.releases
    return {
        name: releases[profile.firmware].components[component]
        for name, profile in facts.profiles.items()
        if profile.firmware in releases and component in releases[profile.firmware].components
    }


def rollouts(facts: Facts) -> Iterator[Finding]:
    """A rollout names a release that holds its component in a version that raises some machine's."""
    cluster = facts.cluster
    for index, event in _rollouts(cluster):
        path: Path = ("events", index, "release")
        release = cluster.firmware.releases.get(event.release)
        if release is None:
            yield unknown_name(path, "release", event.release, list(cluster.firmware.releases))
            continue
        new = release.components.get(event.component)
        if new is None:
            message = f"release '{event.release}' holds no {event.component}"
            yield Finding(path, message, f"it holds {', '.join(release.components)}")
            continue
        yield from _raises_versions(path, event, new, _booted(facts, event.component))
        yield from _would_be_refused(facts, path, event, new)
        if not release.endorsed:
            message = f"no reference values are held for '{event.release}'"
            yield Finding(path, message, "machines that activate it will fail to attest", Severity.WARNING)


def _raises_versions(path: Path, event: RolloutEvent, new: Component, old: dict[str, Component]) -> Iterator[Finding]:
    behind = [name for name, component in old.items() if version_key(component.version) < version_key(new.version)]
    if old and not behind:
        newest = max((component.version for component in old.values()), key=version_key)
        message = f"{event.component} {new.version} is above no profile's version"
        yield Finding(path, message, f"machines boot {newest}; a live activation must raise it")
    elif len(behind) < len(old):
        ahead = ", ".join(name for name in old if name not in behind)
        message = f"{event.component} {new.version} does not raise the version of {ahead}"
        yield Finding(path, message, "those machines will refuse it", Severity.WARNING)


def _would_be_refused(facts: Facts, path: Path, event: RolloutEvent, new: Component) -> Iterator[Finding]:
    where = _component_path(event.release, event.component)
    why = "so machines will refuse the rollout"
    yield from _unsigned(facts.cluster, where, event.component, new, Severity.WARNING, why)
    for name, old in _booted(facts, event.component).items():
        if new.security_version < old.security_version:
            message = f"security_version {new.security_version} is below the {old.security_version} of profile '{name}'"
            yield Finding((*where, "security_version"), message, "a rollback: refused", Severity.WARNING)
        if new.data_format != old.data_format and event.strategy == "live":
            message = f"data_format {new.data_format} is not the {old.data_format} of profile '{name}'"
            yield Finding((*where, "data_format"), message, "live activation cannot carry state over", Severity.WARNING)


def waves(facts: Facts) -> Iterator[Finding]:
    """Each wave says how many in one way and has machines left to cover; the last one should leave none."""
    for index, event in _rollouts(facts.cluster):
        left = list(facts.machines)
        for number, wave in enumerate(event.waves):
            path: Path = ("events", index, "waves", number)
            yield from _places_known(facts, path, wave)
            if (wave.machines is None) == (wave.share is None):
                yield Finding(path, "give either machines or share", "for example share: 30%")
                break
            for_it = [machine for machine in left if _is_for(facts, wave, machine)]
            covered = _covered(wave, len(for_it))
            if covered == 0:
                some = "it is 0% of the machines left" if for_it else "no machine that is left stands there"
                yield Finding(path, "this wave covers no machine", some if left else "every machine is done before it")
            left = [machine for machine in left if machine not in for_it[:covered]]
        else:
            if left:
                message = f"the waves leave {len(left)} of {len(facts.machines)} machines without the release"
                yield Finding(("events", index, "waves"), message, "end with share: 100%", Severity.WARNING, at="key")


def _is_for(facts: Facts, wave: Wave, machine: str) -> bool:
    """Whether a wave may be for a machine; which Realms it will host is not known here."""
    rack = facts.machines[machine].rack
    if wave.rack is not None and rack != wave.rack:
        return False
    return wave.power is None or facts.cluster.racks[rack].power == wave.power


def _places_known(facts: Facts, path: Path, wave: Wave) -> Iterator[Finding]:
    cluster = facts.cluster
    powers = list(dict.fromkeys(rack.power for rack in cluster.racks.values()))
    known = (("rack", list(cluster.racks)), ("power", powers), ("kind", list(cluster.realms)))
    for key, names in known:
        given = getattr(wave, key)
        if given is not None and given not in names:
            what = "power domain" if key == "power" else key
            yield unknown_name((*path, key), what, given, names)


def skew(facts: Facts) -> Iterator[Finding]:
    """What a profile boots works together, and so does what each rollout leaves behind, one after the other."""
    releases = facts.cluster.firmware.releases
    running: dict[str, dict[str, Component]] = {}
    for name, profile in facts.profiles.items():
        if profile.firmware in releases:
            running[name] = {str(part): one for part, one in releases[profile.firmware].components.items()}
            why = _mismatch(running[name], profile.host)
            if why:
                path: Path = ("firmware", "releases", profile.firmware)
                yield Finding(path, f"{why}; profile '{name}' boots it", "raise one or the other", at="key")
    for index, event in sorted(_rollouts(facts.cluster), key=lambda pair: pair[1].at):
        new = releases[event.release].components.get(event.component) if event.release in releases else None
        for name in running if new is not None else ():
            assert new is not None
            after = {**running[name], event.component: new}
            why = _mismatch(after, facts.profiles[name].host)
            if why:
                hint = "roll that out first, or leave those machines out"
                yield Finding(("events", index, "release"), f"{why}: profile '{name}' would not run it", hint)
            else:
                running[name] = after


def _mismatch(components: dict[str, Component], host: str) -> str:
    versions = {"host": host, **{name: component.version for name, component in components.items()}}
    for name, component in components.items():
        for need, least in component.needs.items():
            if need not in versions or version_key(versions[need]) < version_key(least):
                return f"{name} {component.version} needs {need} {least}, there is {versions.get(need, 'none')}"
    return ""


def steering(facts: Facts) -> Iterator[Finding]:
    """Rollouts wait for, and operators steer, a rollout that there is; gates ask for kinds that there are."""
    placed = sorted(_rollouts(facts.cluster), key=lambda pair: pair[1].at)
    names = [f"rollout-{number}" for number in range(1, len(placed) + 1)]
    for number, (index, event) in enumerate(placed):
        if event.after is not None and event.after not in names[:number]:
            hint = f"earlier ones are {', '.join(names[:number])}" if number else "it is the first by its instant"
            yield Finding(("events", index, "after"), f"no earlier rollout is called '{event.after}'", hint)
        for at, gate in enumerate(event.gates):
            kind = getattr(gate, "kind", None)
            if kind is not None and kind not in facts.cluster.realms:
                yield unknown_name(("events", index, "gates", at, "kind"), "kind", kind, list(facts.cluster.realms))
    for index, steer in enumerate(facts.cluster.events):
        if isinstance(steer, SteerEvent) and steer.rollout not in names:
            yield unknown_name(("events", index, "rollout"), "rollout", steer.rollout, names)


def limits(facts: Facts) -> Iterator[Finding]:
    """A rollout leaves machines for the Realms, and its calendar leaves it a time to begin."""
    for index, event in _rollouts(facts.cluster):
        path: Path = ("events", index)
        down = event.max_unavailable or 1
        if event.strategy != "live" and facts.realms and down >= len(facts.machines):
            message = f"may take down {down} of {len(facts.machines)} machines at once"
            yield Finding((*path, "max_unavailable"), message, "leave some for the Realms", at="key")
        yield from _wider_than_its_radius(facts, path, event)
        for key, windows in (("windows", event.windows), ("freezes", event.freezes)):
            for number, window in enumerate(windows):
                if window.begin >= window.end:
                    yield Finding((*path, key, number), "ends before it begins", "from must be before to")
        if event.windows and all(window.end <= event.at for window in event.windows):
            yield Finding((*path, "windows"), "every window is over when the rollout is due", "open one after at")


def _wider_than_its_radius(facts: Facts, path: Path, event: RolloutEvent) -> Iterator[Finding]:
    """A rollout must not say that it may take down more at once than its blast radius lets it."""
    powers: dict[str, int] = {}
    for rack in facts.cluster.racks.values():
        powers[rack.power] = powers.get(rack.power, 0) + sum(rack.machines.values())
    sizes = {name: sum(rack.machines.values()) for name, rack in facts.cluster.racks.items()}
    for key, places in (("rack", sizes), ("power", powers)):
        limit = getattr(event.blast_radius, key)
        most = sum(min(limit, size) for size in places.values()) if limit is not None else None
        if most is not None and event.max_unavailable is not None and event.max_unavailable > most:
            message = f"may take down {event.max_unavailable} at once, its blast_radius lets it take {most}"
            yield Finding((*path, "max_unavailable"), message, f"at most {most}, or a larger blast_radius.{key}")


def _covered(wave: Wave, left: int) -> int:
    if wave.machines is not None:
        return min(wave.machines, left)
    return -(-left * (wave.share or 0) // PPM)


def revocations(facts: Facts) -> Iterator[Finding]:
    """A revocation names a signer, or a component and a version of it that some release holds."""
    firmware = facts.cluster.firmware
    for index, event in enumerate(facts.cluster.events):
        if not isinstance(event, RevokeEvent):
            continue
        path: Path = ("events", index)
        by_version = event.component is not None and event.version is not None
        if by_version == (event.signer is not None) or (event.component is None) != (event.version is None):
            yield Finding(path, "give component and version, or signer", "for example component: RMM, version: 1.0.0")
        elif event.signer is not None and event.signer not in firmware.signers:
            yield unknown_name((*path, "signer"), "signer", event.signer, firmware.signers)
        elif event.version is not None:
            held = [
                release.components[event.component].version
                for release in firmware.releases.values()
                if event.component in release.components
            ]
            if event.version not in held:
                message = f"no release holds {event.component} {event.version}"
                yield Finding((*path, "version"), message, f"there is {', '.join(dict.fromkeys(held)) or 'none'}")


def firmware_floor(facts: Facts) -> Iterator[Finding]:
    """Some machine has, or will have, an RMM of at least `min_rmm`."""
    booted = [component.version for component in _booted(facts, "RMM").values()]
    later = {event.release: event.at for _, event in reversed(_rollouts(facts.cluster))}
    releases = facts.cluster.firmware.releases
    rolled = {
        releases[name].components["RMM"].version: at
        for name, at in later.items()
        if name in releases and "RMM" in releases[name].components
    }
    for name, kind in facts.cluster.realms.items():
        floor = kind.min_rmm
        if floor is None or not booted or any(version_key(version) >= version_key(floor) for version in booted):
            continue
        path: Path = ("realms", name, "min_rmm")
        helping = [at for version, at in rolled.items() if version_key(version) >= version_key(floor)]
        newest = max([*booted, *rolled], key=version_key)
        if helping:
            message = f"no machine boots RMM {floor}: the kind waits for the rollout at {format_duration(min(helping))}"
            yield Finding(path, message, f"machines boot {max(booted, key=version_key)}", Severity.WARNING)
        else:
            yield Finding(path, f"no machine ever has RMM {floor} or later", f"the newest is {newest}")
