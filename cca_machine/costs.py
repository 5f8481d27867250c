"""Modelled durations, as one table that the machine reads and the documentation prints.

No timing of CCA on RME silicon is public. Each row says where its figure comes from and how far it can be trusted; a
cluster file scales all of them or overrides single ones by name. Machines charge a row for each call they really make.
Confidence: `measured` on a close Arm core, `published` by vendor or paper, `analogue` on a neighbouring mechanism,
`derived` by arithmetic from other rows, `assumed` where nothing was found.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.abi.rsi import Rsi
from cca_machine.errors import UnknownCost

PPM = 1_000_000


class Confidence(StrEnum):
    """How far a figure can be trusted."""

    MEASURED = "measured"
    PUBLISHED = "published"
    ANALOGUE = "analogue"
    DERIVED = "derived"
    ASSUMED = "assumed"


class Cost(NamedTuple):
    """One modelled duration: `ns` nanoseconds per `per`."""

    name: str
    ns: int
    per: str
    source: str
    confidence: Confidence


_OPS = "operation counts of TF-A 6a164dd and TF-RMM 9a7f8ef times unit costs of a 3 GHz core"
_M, _P, _A, _D, _X = Confidence

COSTS: tuple[Cost, ...] = (
    # -- RMI calls, round trip from the host included
    Cost("rmi.null", 1_000, "call", "two world switches and dispatch", _X),
    Cost("rmi.granule-delegate", 2_900, "granule", _OPS, _D),
    Cost("rmi.granule-undelegate", 3_700, "granule", f"{_OPS}; scrubbing included", _D),
    Cost("rmi.data-create", 6_000, "granule", f"{_OPS}; SHA-256 of content and descriptor", _D),
    Cost("rmi.data-create-unknown", 1_400, "granule", "null, zeroing and stage 2 write", _X),
    Cost("rmi.data-destroy", 1_700, "granule", "null, stage 2 write and share of the TLBI", _X),
    Cost("rmi.rtt-create", 1_500, "call", "null and zeroing", _X),
    Cost("rmi.rtt-destroy", 2_000, "call", "null and TLBI", _X),
    Cost("rmi.rtt-fold", 2_500, "call", "null, 512 entries and TLBI", _X),
    Cost("rmi.rtt-ripas", 1_000, "call", "null", _X),
    Cost("rmi.ripas-entry", 50, "RTT entry", "stage 2 write; measured entries hash a descriptor", _X),
    Cost("rmi.map-unprotected", 1_200, "granule", "null and stage 2 write", _X),
    Cost("rmi.range-delegate", 1_900, "granule", "RMI 2.0: granule-delegate without the round trip", _D),
    Cost("rmi.range-undelegate", 2_700, "granule", "RMI 2.0: granule-undelegate without the round trip", _D),
    Cost("rmi.range-map", 400, "granule", "RMI 2.0: data-create-unknown without the round trip", _D),
    Cost("rmi.range-unmap", 700, "granule", "RMI 2.0: data-destroy without the round trip", _D),
    Cost("rmi.realm-create", 20_000, "call", "null, hash of the parameters, root tables", _X),
    Cost("rmi.realm-activate", 2_000, "call", "null", _X),
    Cost("rmi.realm-destroy", 5_000, "call", "null, root tables and RD wiped", _X),
    Cost("rmi.rec-create", 15_000, "call", "null, hash of the parameters, auxiliary granules", _X),
    Cost("rmi.rec-destroy", 5_000, "call", "null, auxiliary granules wiped", _X),
    Cost("rmi.rec-enter", 2_500, "round trip", "two world switches with EL1 context both ways", _X),
    Cost("host.exit", 1_000, "REC exit", "KVM exit handling; 10 to 30 us if it goes to user space", _A),
    # -- RSI calls, handled inside the RMM
    Cost("rsi.null", 400, "call", "R-EL1 to R-EL2 and back", _X),
    Cost("rsi.measurement-extend", 1_200, "call", "null, hash in the EL0 application", _X),
    Cost("rsi.attestation-token", 3_000_000, "token", "Mbed TLS class P-384 signature and CBOR, sliced", _A),
    # -- the guest
    Cost("guest.boot", 400_000_000, "boot", "minimal image up to its attester; a general one takes 8 s", _X),
    Cost("guest.open-secret", 1_000_000, "secret", "ECDH on P-256, key unwrap, AES-256-GCM", _X),
    # -- confidential pods (no public release runs them on CCA)
    Cost("pod.shim", 150_000_000, "pod", "CRI call, containerd task, Kata shim v2 process and configuration", _X),
    Cost("pod.boot", 2_000_000_000, "boot", "Kata guest kernel and initrd to kata-agent; 1 to 4 s on silicon", _X),
    Cost("pod.dial", 20_000_000, "pod", "vsock connection of the shim to the agent, retries included", _X),
    Cost("pod.sandbox", 5_000_000, "pod", "CreateSandbox; SHA-512 and parsing of init-data", _X),
    Cost("pod.registry", 60_000_000, "request", "HTTPS request to a registry of the same region", _X),
    Cost("pod.signature", 300_000, "image", "P-256 verification and JSON; as crypto.p384-verify", _D),
    Cost("pod.pull-mib", 20_000_000, "MiB", "50 MiB/s; one published guest pull had 3.6 MiB/s (Kata)", _X),
    Cost("pod.decrypt-mib", 2_500_000, "MiB", "AES-256-CTR, HMAC and two SHA-256 with Armv8 instructions", _D),
    Cost("pod.unpack-mib", 10_000_000, "MiB", "tar onto dm-crypt scratch at 100 MiB/s", _X),
    Cost("pod.start", 60_000_000, "container", "CreateContainer and StartContainer of kata-agent", _X),
    # -- the host
    Cost("host.vmm-setup", 30_000_000, "Realm", "VMM process, memory slots, RD and RECs", _X),
    Cost("host.heartbeat", 50_000, "answer", "agent walks its Realms", _X),
    # -- boot
    Cost("boot.post", 240_000_000_000, "power-on", "provisioning guides; memory training", _A),
    Cost("boot.host-os", 60_000_000_000, "boot", "host operating system to schedulable", _A),
    Cost("boot.rmm", 5_000_000, "boot", "RMM image start, as for live activation", _A),
    Cost("boot.platform-token", 50_000_000, "boot or activation", "EL3 or HES signs the platform token", _X),
    # -- live firmware activation
    Cost("lfa.stage", 500_000_000, "image", "control-plane download, fixed part", _X),
    Cost("lfa.stage-mib", 10_000_000, "MiB", "100 MB/s", _X),
    Cost("lfa.prime", 20_000_000, "image", "authenticate, copy and measure, fixed part", _X),
    Cost("lfa.prime-mib", 5_000_000, "MiB", "authenticate, copy and measure", _X),
    Cost("lfa.call", 1_000, "call", "SMC to EL3 and back", _X),
    Cost("lfa.gather", 100_000, "activation", "interrupts-off tail until the last PE calls in", _X),
    Cost("lfa.watchdog", 10_000_000_000, "hang", "budget of LFA_ACTIVATE in the Linux driver, then a watchdog", _A),
    Cost("lfa.activate", 5_000_000, "activation", "new image starts and adopts state while all PEs wait", _A),
    # -- migration (modelled)
    Cost("crypto.p384-sign", 113_000, "signature", "aws-lc pull request 983, Graviton3", _M),
    Cost("crypto.p384-verify", 273_000, "signature", "aws-lc pull request 983, Graviton3", _M),
    Cost("crypto.p384-ecdh", 300_000, "agreement", "aws-lc pull request 983, Graviton3", _M),
    Cost("migration.freeze", 15_000_000, "Realm", "final TLB flush, REC and Realm state", _X),
    Cost("migration.page-export", 1_500, "granule", "AES-256-GCM and a share of the call", _D),
    Cost("migration.page-import", 1_500, "granule", "AES-256-GCM and a share of the call", _D),
    Cost("migration.import-realm", 20_000, "call", "as realm-create", _X),
    Cost("migration.export-rec", 15_000, "call", "as rec-create", _X),
    Cost("migration.import-rec", 15_000, "call", "as rec-create", _X),
)  # fmt: skip

COST_BY_NAME = {cost.name: cost for cost in COSTS}

CALL_COSTS: dict[int, str] = {
    Rmi.VERSION: "rmi.null",
    Rmi.FEATURES: "rmi.null",
    Rmi.GRANULE_DELEGATE: "rmi.granule-delegate",
    Rmi.GRANULE_UNDELEGATE: "rmi.granule-undelegate",
    Rmi.DATA_CREATE: "rmi.data-create",
    Rmi.DATA_CREATE_UNKNOWN: "rmi.data-create-unknown",
    Rmi.DATA_DESTROY: "rmi.data-destroy",
    Rmi.REALM_ACTIVATE: "rmi.realm-activate",
    Rmi.REALM_CREATE: "rmi.realm-create",
    Rmi.REALM_DESTROY: "rmi.realm-destroy",
    Rmi.REC_CREATE: "rmi.rec-create",
    Rmi.REC_DESTROY: "rmi.rec-destroy",
    Rmi.REC_ENTER: "rmi.rec-enter",
    Rmi.REC_AUX_COUNT: "rmi.null",
    Rmi.PSCI_COMPLETE: "rmi.null",
    Rmi.RTT_CREATE: "rmi.rtt-create",
    Rmi.RTT_DESTROY: "rmi.rtt-destroy",
    Rmi.RTT_FOLD: "rmi.rtt-fold",
    Rmi.RTT_READ_ENTRY: "rmi.null",
    Rmi.RTT_INIT_RIPAS: "rmi.rtt-ripas",
    Rmi.RTT_SET_RIPAS: "rmi.rtt-ripas",
    Rmi.RTT_MAP_UNPROTECTED: "rmi.map-unprotected",
    Rmi.RTT_UNMAP_UNPROTECTED: "rmi.map-unprotected",
    Rsi.VERSION: "rsi.null",
    Rsi.FEATURES: "rsi.null",
    Rsi.MEASUREMENT_READ: "rsi.null",
    Rsi.MEASUREMENT_EXTEND: "rsi.measurement-extend",
    Rsi.ATTESTATION_TOKEN_INIT: "rsi.attestation-token",
    Rsi.ATTESTATION_TOKEN_CONTINUE: "rsi.null",
    Rsi.REALM_CONFIG: "rsi.null",
    Rsi.IPA_STATE_SET: "rsi.null",
    Rsi.IPA_STATE_GET: "rsi.null",
    Rsi.HOST_CALL: "rsi.null",
    **dict.fromkeys(Psci, "rsi.null"),
}
"""Name of the cost charged for one call of a function id."""

CALL_COSTS_2_0: dict[int, str] = {
    **{fid: cost for fid, cost in CALL_COSTS.items() if fid not in set(Rmi)},
    **dict.fromkeys(map(int, Rmi2), "rmi.null"),
    Rmi2.RTT_DATA_MAP_INIT: "rmi.data-create",
    Rmi2.REALM_ACTIVATE: "rmi.realm-activate",
    Rmi2.REALM_CREATE: "rmi.realm-create",
    Rmi2.REALM_DESTROY: "rmi.realm-destroy",
    Rmi2.REC_CREATE: "rmi.rec-create",
    Rmi2.REC_DESTROY: "rmi.rec-destroy",
    Rmi2.REC_ENTER: "rmi.rec-enter",
    Rmi2.RTT_CREATE: "rmi.rtt-create",
    Rmi2.RTT_DESTROY: "rmi.rtt-destroy",
    Rmi2.RTT_FOLD: "rmi.rtt-fold",
    Rmi2.RTT_INIT_RIPAS: "rmi.rtt-ripas",
    Rmi2.RTT_SET_RIPAS: "rmi.rtt-ripas",
}
"""The same for RMI 2.0, whose range commands cost a row per granule besides."""

CALL_NAMES: dict[int, str] = {
    **{int(fid): f"RMI_{fid.name}" for fid in Rmi},
    **{int(fid): f"RSI_{fid.name}" for fid in Rsi},
    **{int(fid): f"PSCI_{fid.name}" for fid in Psci},
}
"""Names of calls as the specifications write them."""

CALL_NAMES_2_0: dict[int, str] = {
    **{fid: name for fid, name in CALL_NAMES.items() if not name.startswith("RMI_")},
    **{int(fid): f"RMI_{fid.name}" for fid in Rmi2},
}
"""The same for RMI 2.0, where some function ids mean something else."""


class Calls(NamedTuple):
    """Name and name of the cost of each call, by function id."""

    names: Mapping[int, str]
    costs: Mapping[int, str]


CALLS = {"1.0": Calls(CALL_NAMES, CALL_COSTS), "2.0": Calls(CALL_NAMES_2_0, CALL_COSTS_2_0)}
"""What calls are called and cost, by RMM edition."""


def reference_timing(scale_ppm: int = PPM, overrides: Mapping[str, int] | None = None) -> dict[str, int]:
    """Nanoseconds by cost name: the table scaled by `scale_ppm` (parts per million), overrides taken as they are.

    Raises:
        UnknownCost: an override names no row; the message names the nearest ones.
    """
    timing = {cost.name: cost.ns * scale_ppm // PPM for cost in COSTS}
    for name, ns in (overrides or {}).items():
        if name not in timing:
            near = difflib.get_close_matches(name, timing, n=3)
            hint = f"; did you mean {', '.join(near)}" if near else ""
            raise UnknownCost(f"no modelled cost is called {name!r}{hint}")
        timing[name] = ns
    return timing


class Meter:
    """Adds up what one piece of work costs: `cost_ns`, and `calls` by name.

    `timing` maps cost names to nanoseconds, as `reference_timing` makes them; `calls` are those of an RMM edition.
    """

    def __init__(self, timing: Mapping[str, int], calls: Calls = CALLS["1.0"]) -> None:
        self._timing = timing
        self._names, self._costs = calls
        self.cost_ns = 0
        self.calls: dict[str, int] = {}

    def charge(self, cost: str, times: int = 1) -> None:
        """Add `times` times the cost of that name."""
        self.cost_ns += self._timing[cost] * times

    def wait(self, for_ns: int) -> None:
        """Let time pass that is spent on something outside the machine, such as a link."""
        self.cost_ns += for_ns

    def call(self, fid: int, times: int = 1) -> None:
        """Count and charge `times` calls of a function id that the edition knows."""
        name = self._names[fid]
        self.calls[name] = self.calls.get(name, 0) + times
        self.cost_ns += self._timing[self._costs[fid]] * times
