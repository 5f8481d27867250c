"""Firmware of a cluster as signed images: what machines boot, what a rollout activates, what a verifier compares with.

Payloads are pseudo-random bytes that follow from component and version; the format is `attestation.firmware`. Signer
keys derive from the run seed, so the same run signs the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from attestation import firmware
from attestation.errors import Refused
from attestation.firmware_policy import Endorsing, SigningPolicy
from attestation.keys import PublicKey, SigningKey, derive_key
from attestation.stores import ComponentReference, PlatformReference
from orchestrator.cluster import schema
from orchestrator.cluster.schema import Cluster, Component, RevokeEvent
from orchestrator.engine.streams import run_seed
from orchestrator.firmware.tcb import RevokedImage


class SignedComponent(Struct, frozen=True):
    """One signed image and what is true of it; `measurement` is what measured boot records, `accepted` by machines."""

    release: str
    component: str
    version: str
    security_version: int
    measurement: bytes
    signer_id: bytes
    accepted: bool
    endorsed: bool
    image: bytes


class FirmwareSet(Struct, frozen=True):
    """All images of a cluster by (release, component), accepted signers (signer id to COSE_Key bytes), their policy."""

    components: Mapping[tuple[str, str], SignedComponent]
    anchors: Mapping[bytes, bytes]
    policy: SigningPolicy = SigningPolicy()

    def image(self, release: str, component: str) -> bytes:
        """The signed image; KeyError when the release does not hold the component."""
        return self.components[release, component].image

    def boot_images(self, release: str) -> dict[str, bytes]:
        """Signed images of a release by component: what a machine of this release holds in flash."""
        return {name: signed.image for (of, name), signed in self.components.items() if of == release}

    def reference_values(self, implementation_id: bytes, config: bytes | None = None) -> PlatformReference:
        """What the verifier is told about an implementation: the components of endorsed releases, nothing else.

        `config` is the endorsed platform configuration (claim 2401); None leaves it without a reference.
        """
        references = {
            signed.measurement: ComponentReference(
                measurement_value=signed.measurement,
                signer_id=signed.signer_id,
                name=signed.component,
                version=signed.version,
                security_version=signed.security_version,
                source=f"release {signed.release}",
            )
            for signed in self.components.values()
            if signed.endorsed and signed.accepted
        }
        return PlatformReference(
            implementation_id=implementation_id,
            components=tuple(references.values()),
            config=config,
            source="cluster file",
        )


def build_images(cluster: Cluster, seed: int) -> FirmwareSet:
    """Build and sign every component of every release of the cluster; equal inputs give equal bytes.

    A component without `signed_by`, or with a signer that the cluster does not list, carries a well-formed signature of
    a key that no machine accepts: LFA_PRIME and cold boot refuse it.
    """
    secret = run_seed(seed)
    keys = {name: _signer(secret, name) for name in cluster.firmware.signers}
    anchors = {firmware.signer_id(key.public): key.public for key in keys.values()}
    policy = signing_policy(cluster, {name: firmware.signer_id(key.public) for name, key in keys.items()})
    components: dict[tuple[str, str], SignedComponent] = {}
    for release, spec in sorted(cluster.firmware.releases.items()):
        for name, component in sorted(spec.components.items()):
            image = _sign(name, component, keys=keys, secret=secret)
            components[release, name] = _described(release, image, anchors, policy, endorsed=spec.endorsed)
    return FirmwareSet(components, {signer: key.cose_key() for signer, key in sorted(anchors.items())}, policy)


def signing_policy(cluster: Cluster, ids: Mapping[str, bytes]) -> SigningPolicy:
    """The policy of the cluster file with signer ids for names."""
    given = cluster.firmware.policy

    def rule(endorsing: schema.Endorsing) -> Endorsing:
        return Endorsing(tuple(ids[name] for name in endorsing.required), endorsing.threshold)

    return SigningPolicy(
        general=rule(given),
        components={str(name): rule(endorsing) for name, endorsing in sorted(given.components.items())},
        revoked_signers=tuple(ids[name] for name in given.revoked_signers),
        revoked_versions=tuple((str(each.component), each.version) for each in given.revoked_versions),
    )


def revoked_by(
    firmware_set: FirmwareSet, cluster: Cluster, seed: int, events: Sequence[RevokeEvent]
) -> list[RevokedImage]:
    """The images that nobody should trust under these revocations; whether signatures suffice is EL3's own question."""
    keys = {name: _signer(run_seed(seed), name).public for name in cluster.firmware.signers}
    anchors = {firmware.signer_id(key): key for key in keys.values()}
    policy = firmware_set.policy
    signers = [firmware.signer_id(keys[event.signer]) for event in events if event.signer is not None]
    versions = [(event.component, event.version) for event in events if event.component and event.version]
    after = msgspec.structs.replace(
        policy,
        revoked_signers=(*policy.revoked_signers, *signers),
        revoked_versions=(*policy.revoked_versions, *versions),
    )
    found = []
    for (release, name), signed in sorted(firmware_set.components.items()):
        try:
            firmware.verify_image(signed.image, anchors, after)
        except Refused:
            if signed.accepted:
                found.append(RevokedImage(release, name, signed.version, signed.measurement))
    return found


def payload(name: str, component: Component) -> bytes:
    """The firmware itself: `size` bytes that begin with the planted defect, if there is one, and go on as SHAKE-128.

    A machine finds a defect by reading the payload, as a real one finds it by running it; the signature is good.
    """
    head = b"" if component.defect == "none" else f"defect: {component.defect}{_after(component)}\n".encode()
    rest = max(component.size - len(head), 0)
    return head + hashlib.shake_128(f"realmfleet firmware\0{name}\0{component.version}".encode()).digest(rest)


def _after(component: Component) -> str:
    later = component.defect in ("panics-later", "leaks-memory")
    return f" after {component.defect_after} ns" if later else ""


def _signer(secret: bytes, name: str) -> SigningKey:
    return derive_key(secret, f"firmware-signer/{name}")


def _sign(name: str, component: Component, *, keys: Mapping[str, SigningKey], secret: bytes) -> bytes:
    """The image with everybody's signature; who is no signer of the cluster signs with a key that no machine knows."""
    used = [keys.get(by) or derive_key(secret, f"firmware-stranger/{by}") for by in component.signers]
    vendor, *also = used or [derive_key(secret, "firmware-self-made")]
    manifest = firmware.FirmwareManifest(
        component=name,
        version=component.version,
        security_version=component.security_version,
        data_format=component.data_format,
        needs={str(name): version for name, version in sorted(component.needs.items())},
    )
    return firmware.build(manifest, payload(name, component), vendor, also)


def _described(
    release: str, image: bytes, anchors: Mapping[bytes, PublicKey], policy: SigningPolicy, *, endorsed: bool
) -> SignedComponent:
    """What is true of an image; `accepted` is what EL3 will find, because it asks the same function."""
    manifest, _, content = firmware.read_manifest(image)
    try:
        firmware.verify_image(image, anchors, policy)
        accepted = True
    except Refused:
        accepted = False
    return SignedComponent(
        release=release,
        component=manifest.component,
        version=manifest.version,
        security_version=manifest.security_version,
        measurement=firmware.measurement(content),
        signer_id=manifest.signer_id,
        accepted=accepted,
        endorsed=endorsed,
        image=image,
    )
