"""What the key broker holds and under which conditions it lets go: secrets, and the policy that guards them."""

from __future__ import annotations

from attestation.policy import (
    FRESH,
    PLATFORM_AFFIRMING,
    PLATFORM_STATUS,
    REALM_KNOWN,
    SECURED,
    Condition,
    Operator,
    Policy,
    Rule,
)
from cca_machine.registry import image_key
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.streams import derive
from orchestrator.realms.reference import expected_rim, realm_spec, resource_path, rim_rules

SECRET_BYTES = 32


def secrets(cluster: Cluster, seed: bytes) -> dict[str, bytes]:
    """The broker's resources by repository/type/tag; their bytes follow from the run's seed.

    The key of a container image is its publisher's.
    """
    kinds = {resource_path(cluster, name): kind for name, kind in cluster.realms.items()}
    return {
        path: derive(seed, "broker/secret", kind.secret)[:SECRET_BYTES]
        if kind.pod is None
        else image_key(kind.pod.container)
        for path, kind in kinds.items()
    }


def release_policy(cluster: Cluster) -> Policy:
    """One rule per secret: fresh evidence of a Realm meant to have it, on an affirming platform new enough."""
    measurements: dict[str, dict[str, None]] = {}
    for kind in cluster.realms:
        spec = realm_spec(cluster, kind, "", 0)
        values = dict.fromkeys(expected_rim(spec, rule).hex() for rule in rim_rules(cluster))
        measurements.setdefault(resource_path(cluster, kind), {}).update(values)
    floor = cluster.attestation.required_security_version
    firmware = (Condition("firmware.RMM.security-version", Operator.AT_LEAST, (floor,)),) if floor else ()
    return Policy(
        name=f"secrets-of-{cluster.name}",
        version="1",
        rules=tuple(
            Rule(
                name=f"release-{path.rpartition('/')[2]}",
                resource=path,
                conditions=(
                    FRESH,
                    SECURED,
                    PLATFORM_AFFIRMING,
                    PLATFORM_STATUS,
                    REALM_KNOWN,
                    Condition("realm.initial-measurement", Operator.ONE_OF, tuple(values)),
                    *firmware,
                ),
            )
            for path, values in measurements.items()
        ),
    )
