"""What belongs together in a profile: RMM edition, tokens, encryption contexts; and which Realms need which edition.

RMM 1.0 puts the 2023 profiles into tag 399, RMM 2.0 later ones into tag 907 (why 1.0 is the
default: docs/decisions).
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cluster.diagnostics import Finding
from orchestrator.cluster.facts import Facts
from orchestrator.cluster.schema import Profile, RealmKind

TOKEN_PROFILES: dict[str, tuple[str, ...]] = {"1.0": ("2023",), "2.0": ("2024", "2026")}
"""Token profiles that an edition's RMM can fill, the usual one first."""

MECIDS = {"1.0": 0, "2.0": 254}
"""Private memory encryption contexts unless the profile says otherwise: MECIDs of eight bits, the system's own and the
shared one taken off (TF-RMM lib/mec)."""

_WHY = {
    "1.0": "RMM 1.0 knows no instance identity and no MEC policy, which later profiles demand",
    "2.0": "RMM 2.0 puts instance identity and MEC policy into the token, which the profiles of 2023 do not know",
}


def token_profile(profile: Profile) -> str:
    """The year of a profile's token profiles."""
    return profile.token_profile or TOKEN_PROFILES[profile.edition][0]


def mecids(profile: Profile) -> int:
    """Private memory encryption contexts of a machine."""
    return MECIDS[profile.edition] if profile.mecids is None else profile.mecids


def why_not(kind: RealmKind, profile: Profile) -> str:
    """What a Realm of this kind needs and machines of the profile can never offer; empty when they can."""
    later = profile.edition == "2.0"
    if kind.hash == "sha-384" and not later:
        return f"RMM {profile.edition} does not measure with sha-384; edition 2.0 does"
    if kind.lfa == "disallow" and not later:
        return f"RMM {profile.edition} has no LFA policy; edition 2.0 has"
    if kind.mec != "private":
        return ""
    if not later:
        return f"RMM {profile.edition} has no memory encryption contexts; edition 2.0 has"
    return "" if mecids(profile) else "the machine has no memory encryption contexts (mecids: 0)"


def combinations(facts: Facts) -> Iterator[Finding]:
    """No profile asks its RMM for what the edition does not have."""
    for name, profile in facts.cluster.profiles.items():
        choices = TOKEN_PROFILES[profile.edition]
        if profile.token_profile is not None and profile.token_profile not in choices:
            wanted = " or ".join(f'"{year}"' for year in choices)
            message = f"profiles of {profile.token_profile} do not go with edition {profile.edition}: "
            message += _WHY[profile.edition]
            yield Finding(("profiles", name, "token_profile"), message, f"write {wanted}, or remove the key")
        if profile.mecids is not None and profile.edition == "1.0":
            message = "RMM 1.0 has no memory encryption contexts"
            yield Finding(("profiles", name, "mecids"), message, 'remove the key, or write edition: "2.0"', at="key")


def kinds_have_a_home(facts: Facts) -> Iterator[Finding]:
    """Every kind that only edition 2.0 can run finds such machines; private contexts of all machines are enough."""
    if not facts.profiles:
        return
    for name, kind in facts.cluster.realms.items():
        reasons = [why_not(kind, profile) for profile in facts.profiles.values()]
        if all(reasons):
            key = "hash" if kind.hash == "sha-384" else "lfa" if kind.lfa == "disallow" else "mec"
            yield Finding(
                ("realms", name, key), f"no machine can run it: {reasons[0]}", 'add an edition: "2.0" profile'
            )
    placed = [facts.profiles[place.profile] for place in facts.machines.values() if place.profile in facts.profiles]
    contexts = sum(mecids(profile) for profile in placed)
    private = sum(kind.count for kind in facts.cluster.realms.values() if kind.mec == "private")
    if private > contexts > 0:
        message = f"{private} Realms want an encryption context each, all machines have {contexts}"
        yield Finding(("realms",), message, "raise mecids, or write mec: shared", at="key")
