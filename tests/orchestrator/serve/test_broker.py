"""The fleet's key broker on its own socket: clients get what the fleet's policy releases, and all is audited."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestation import token as tokens
from attestation.claim_records import PlatformClaims, RealmClaims, SoftwareComponent
from attestation.errors import Denied
from attestation.keys import derive_key, from_base64url
from cca_machine.monitor.platform_token import CONFIG, platform_identity
from orchestrator.api import Run, open_cluster
from orchestrator.errors import UserMistake
from orchestrator.live import LiveSession
from orchestrator.realms.policy import secrets
from orchestrator.realms.reference import expected_rim, realm_spec, resource_path
from orchestrator.serve.broker import FleetBroker, bind, read_wish
from orchestrator.serve.guard import parse_listen
from orchestrator.serve.kbs_client import fetch
from orchestrator.serve.server import Server
from orchestrator.serve.server import bind as bind_api

FILE = Path(__file__).resolve().parents[3] / "clusters" / "realm-attest.yaml"


class Up:
    """A live run with its broker, and what an attester outside the fleet needs to speak for one of its machines."""

    def __init__(self, run: Run, broker: FleetBroker, api: httpx.Client) -> None:
        self.run, self.broker, self.api = run, broker, api
        self.path = resource_path(run.cluster, "web")
        self.secret = secrets(run.cluster, run.plan.secret)[self.path]

    def token(self, challenge: bytes, **claims: Any) -> bytes:
        """A token as the first machine of the fleet would give for a Realm `web`."""
        [machine] = self.run.plan.machines.values()
        identity = platform_identity(machine.seed)
        [[reference], *_] = self.run.plan.references.records()
        platform = PlatformClaims(
            implementation_id=machine.implementation_id,
            instance_id=identity.instance_id,
            config=CONFIG,
            lifecycle=machine.lifecycle,
            sw_components=tuple(
                SoftwareComponent(
                    measurement_type=part.name, measurement_value=part.measurement_value, version=part.version,
                    signer_id=part.signer_id or b"", description="sha-256",
                )
                for part in reference.components
            ),
        )  # fmt: skip
        rim = expected_rim(realm_spec(self.run.cluster, "web", "web-001", 1))
        realm = RealmClaims(
            **{
                "challenge": challenge,
                "personalization_value": bytes(64),
                "initial_measurement": rim,
                "extensible_measurements": (bytes(32),) * 4,
                **claims,
            }
        )
        return tokens.create(platform, realm, identity.cpak, derive_key(b"test", "rak"))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    wish = read_wish("127.0.0.1:0", None, None)
    assert wish is not None
    with ExitStack() as stack:
        run = stack.enter_context(open_cluster(FILE, out=tmp_path / "run"))
        session = LiveSession(run, 100.0)
        broker = stack.enter_context(FleetBroker(run, wish, bind(wish)))
        server = stack.enter_context(Server(session, bind_api(parse_listen("127.0.0.1:0"), ""), "", broker))
        yield Up(run, broker, stack.enter_context(httpx.Client(base_url=server.url, timeout=20)))


def test_a_client_with_evidence_of_the_fleet_gets_the_fleets_secret(up: Up) -> None:
    assert fetch(up.broker.url, up.path, up.token) == up.secret


def test_evidence_of_another_image_gets_nothing_and_the_api_says_why(up: Up) -> None:
    with pytest.raises(Denied, match="initial-measurement"):
        fetch(up.broker.url, up.path, lambda challenge: up.token(challenge, initial_measurement=bytes(32)))
    audit = up.api.get("/api/v1/broker/audit").json()["socket"]
    assert [(record["event"], record["resource"]) for record in audit] == [("denied", up.path), ("refused", "")]
    assert [record["reason"] for record in audit] == ["session", "policy"]
    assert all("initial-measurement" in record["detail"] for record in audit)
    assert all(record["initial_measurement"] == bytes(32).hex() for record in audit)


def test_every_release_and_denial_is_in_the_api_and_in_the_run_directory(up: Up) -> None:
    fetch(up.broker.url, up.path, up.token)
    with pytest.raises(Denied):
        fetch(up.broker.url, up.path, lambda challenge: up.token(bytes(64)))
    audit = up.api.get("/api/v1/broker/audit").json()["socket"]
    assert [record["event"] for record in reversed(audit)][:2] == ["admitted", "released"]
    assert audit[0]["reason"] == "freshness" or audit[1]["reason"] == "freshness"
    written = [json.loads(line) for line in (up.run.path / "broker-audit.jsonl").read_text("utf-8").splitlines()]
    assert written == audit[::-1]
    told = up.api.get("/api/v1/broker").json()
    assert told["url"] == up.broker.url
    assert sum(told["decisions"].values()) == len(audit)
    assert up.secret.hex() not in json.dumps(audit)


def test_a_veraison_client_gets_a_result_of_the_fleets_reference_values(up: Up) -> None:
    with httpx.Client(base_url=up.broker.url) as client:
        session = client.post("/challenge-response/v1/newSession", params={"nonceSize": "64"})
        nonce = from_base64url(session.json()["nonce"])
        media_type = session.json()["accept"][0]
        where = f"/challenge-response/v1/{session.headers['location']}"
        answer = client.post(where, content=up.token(nonce), headers={"content-type": media_type}).json()
    assert answer["status"] == "complete"
    assert answer["result"].count(".") == 2


def test_releases_of_the_run_itself_stand_beside_them(up: Up) -> None:
    session = LiveSession(up.run, 100_000.0)
    with Server(session, bind_api(parse_listen("127.0.0.1:0"), ""), "", None) as server:
        session.run(20_000_000_000)
        answer = httpx.get(f"{server.url}/api/v1/broker/audit", timeout=20).json()
        assert httpx.get(f"{server.url}/api/v1/broker", timeout=20).json()["url"] is None
    [released] = answer["fleet"]
    assert (released["kind"], released["what"]["realm"]) == ("secret.released", "web-001")
    assert answer["socket"] == []


@pytest.mark.parametrize(("listen", "cert", "key", "told"), [
    ("0.0.0.0:0", False, False, "needs TLS"),
    ("127.0.0.1:0", True, False, "both"),
    ("127.0.0.1:0", False, True, "both"),
    ("nonsense", False, False, "--broker nonsense"),
])  # fmt: skip
def test_a_wish_that_makes_no_sense_is_the_users_mistake(
    tmp_path: Path, listen: str, cert: bool, key: bool, told: str
) -> None:
    file = tmp_path / "x.pem"
    file.write_text("", encoding="utf-8")
    with pytest.raises(UserMistake, match=told):
        read_wish(listen, file if cert else None, file if key else None)


def test_off_means_no_broker() -> None:
    assert read_wish("off", None, None) is None


def test_tls_is_spoken_when_a_certificate_is_given(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    wish = read_wish("127.0.0.1:0", *certificate)
    assert wish is not None
    with open_cluster(FILE, out=tmp_path / "run") as run, FleetBroker(run, wish, bind(wish)) as broker:
        assert broker.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        with httpx.Client(verify=trusting) as client:
            answer = client.get(f"{broker.url}/.well-known/veraison/verification")
        assert answer.status_code == 200


def test_a_certificate_that_is_none_is_told_before_anything_is_served(tmp_path: Path) -> None:
    bad = tmp_path / "x.pem"
    bad.write_text("nothing", encoding="utf-8")
    wish = read_wish("127.0.0.1:0", bad, bad)
    assert wish is not None
    with (
        open_cluster(FILE, out=tmp_path / "run") as run,
        pytest.raises(UserMistake, match="TLS"),
        FleetBroker(run, wish, bind(wish)),
    ):
        pass
