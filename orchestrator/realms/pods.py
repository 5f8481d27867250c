"""Confidential pods as the cluster file describes them: the image, and init-data that bind its policy to the Realm."""

from __future__ import annotations

from attestation.container.init_data import write_init_data
from attestation.container.signature import image_policy
from cca_machine.pod import ContainerSpec, PodSpec
from cca_machine.registry import HOST, publisher_key
from orchestrator.cluster.schema import Cluster, PodShape

KBS_URL = "https://kbs.example:8080"
"""What the guest's agent is configured to ask; inside the simulation the control plane is that broker."""


def container_spec(cluster: Cluster, name: str) -> ContainerSpec:
    """A container image of the cluster file."""
    shape = cluster.containers[name]
    return ContainerSpec(
        name=name,
        version=shape.version,
        publisher=shape.publisher,
        layers=shape.layers,
        content_bytes=shape.content,
        size_bytes=shape.size,
    )


def pod_spec(cluster: Cluster, pod: PodShape, realm: str) -> PodSpec:
    """The pod that the Realm `realm` starts."""
    return PodSpec(container_spec(cluster, pod.container), init_data(cluster, pod, realm))


def init_data(cluster: Cluster, pod: PodShape, realm: str) -> bytes:
    """The pod's init-data: its name, the broker to ask, and an image policy for the publishers that are trusted.

    The name makes the digest, and so the personalization value, another for every Realm.
    """
    trusted = pod.trusted or [cluster.containers[pod.container].publisher]
    policy = image_policy({HOST: [publisher_key(publisher) for publisher in trusted]})
    return write_init_data(
        {
            "aa.toml": f'[token_configs.kbs]\nurl = "{KBS_URL}"\n',
            "cdh.toml": f'[kbc]\nname = "cc_kbc"\nurl = "{KBS_URL}"\n\n[image]\n'
            f'image_security_policy = """\n{policy}"""\n',
            "pod.toml": f'name = "{realm}"\n',
        }
    )
