"""Ray hosts with addresses of their own, one per network namespace of this machine, for tests run as root.

`Hosts` makes a bridge and a namespace per host, starts Ray's head in the first and a raylet in each of the others, can
cut one off by taking its cable down, and takes everything away again. What it makes carries the name it was given.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).parent / "ray"
PORT = 6391
NETWORK = "10.213.77"
OBJECT_STORE_BYTES = 80 * 2**20
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's head would ask for a token if one lies in the home directory, and its raylets would not bring it
    "RAY_AUTH_MODE": "disabled",
    # a host that is cut off counts as dead after about three seconds instead of half a minute
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
}


def missing() -> str:
    """Why namespaces cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"rfp{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"no ip command: {error}"
    if made.returncode:
        return f"no namespace can be made: {made.stderr.strip()}"
    try:
        link = ["ip", "-n", probe, "link", "add", "v0", "type", "veth", "peer", "name", "v1"]
        cable = subprocess.run(link, capture_output=True, text=True, check=False)
        return f"no virtual cable can be made: {cable.stderr.strip()}" if cable.returncode else ""
    finally:
        _run("ip", "netns", "del", probe)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


class Hosts:
    """`count` hosts; number 0 is the head's, and the place to run a driver."""

    def __init__(self, name: str, count: int, cpus: int) -> None:
        self.address = f"{NETWORK}.1:{PORT}"
        self._name = name
        self._hosts = [f"{name}{number}" for number in range(count)]
        self._cpus = cpus

    def __enter__(self) -> Hosts:
        try:
            self._build()
        except BaseException:
            self._take_away()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._take_away()

    def _build(self) -> None:
        # a namespace of its own holds the bridge, so that the machine's own network sees nothing of this
        _run("ip", "netns", "add", self._switch)
        _run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", "br0", "up")
        for number, host in enumerate(self._hosts):
            self._cable(number, host)
        head = ("--head", f"--port={PORT}", "--include-dashboard=false")
        for number, host in enumerate(self._hosts):
            where = head if number == 0 else (f"--address={self.address}",)
            self._ray(host, "start", *where, f"--node-ip-address={NETWORK}.{number + 1}", f"--num-cpus={self._cpus}",
                      f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats")  # fmt: skip

    def _take_away(self) -> None:
        for host in (*self._hosts, self._switch):
            found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=False)
            for pid in found.stdout.split():
                subprocess.run(["kill", "-9", pid], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)

    @property
    def _switch(self) -> str:
        return f"{self._name}-switch"

    def inside(self, number: int) -> tuple[str, ...]:
        """What goes before a command that is to run on a host."""
        return ("ip", "netns", "exec", self._hosts[number])

    def cut_off(self, number: int) -> None:
        """Take a host's cable down: it runs on, and nobody hears it."""
        _run("ip", "-n", self._switch, "link", "set", f"p{number}", "down")

    def _cable(self, number: int, host: str) -> None:
        _run("ip", "netns", "add", host)
        _run(
            "ip", "-n", self._switch, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", host
        )
        _run("ip", "-n", self._switch, "link", "set", f"p{number}", "master", "br0", "up")
        _run("ip", "-n", host, "address", "add", f"{NETWORK}.{number + 1}/24", "dev", "eth0")
        _run("ip", "-n", host, "link", "set", "eth0", "up")
        _run("ip", "-n", host, "link", "set", "lo", "up")

    def _ray(self, host: str, *words: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        begun = time.monotonic()
        done = subprocess.run(
            ["ip", "netns", "exec", host, str(RAY), *words],
            env={**ours, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=90,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{time.monotonic() - begun:.0f} s: {done.stdout}{done.stderr}"
