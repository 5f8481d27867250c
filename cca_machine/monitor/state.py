"""Everything of EL3 that a snapshot holds: what survives the loss of power, and what does not.

No private key is stored twice: `rak` is there because it belongs to one boot, all else derives from the seed.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

MONITOR_STATE_VERSION = 1
ZERO_REGISTER = bytes(32)


class EventCause(StrEnum):
    """Why a measurement register was extended."""

    BOOT = "boot"
    ACTIVATION = "activation"


class MeasurementEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the event log: an image of `component` was about to run. `digest` is SHA-256 of its payload."""

    cause: EventCause
    component: str
    slot: int
    digest: bytes
    signer: bytes
    version: str
    security_version: int


class MeasurementSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A register that only ever extends, and the last event that did so."""

    register: bytes
    last: MeasurementEvent


class RunningImage(msgspec.Struct, frozen=True, kw_only=True):
    """The image of a component that runs now; `image_digest` is SHA-256 of the whole signed image."""

    version: str
    security_version: int
    data_format: int
    signer: bytes
    digest: bytes
    image_digest: bytes
    countersigners: tuple[bytes, ...] = ()
    """Signer ids of the countersignatures that were verified and counted."""
    needs: dict[str, str] = {}
    """Lowest versions of other components, and of the host, that it works with."""
    fails_after_ns: int | None = None
    """How long an image with a late defect runs before its RMM panics (virtual ns)."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What runs and what vouches for it; replaced as a whole, so that a failed activation leaves nothing behind.

    `rak` is the private scalar (48 bytes) of the Realm attestation key, `platform_token` the COSE_Sign1 whose challenge
    is the hash of its public key, `rmm_sequence` the number of RMM images since the cold boot.
    """

    running: dict[str, RunningImage]
    slots: dict[int, MeasurementSlot]
    log: tuple[MeasurementEvent, ...]
    rak: bytes
    platform_token: bytes
    rmm_sequence: int = 1


class LfaState(StrEnum):
    """Where the one activation that a machine can have stands (TF-A services/std_svc/lfa/lfa_main.c)."""

    IDLE = "idle"
    """No component is primed."""
    STARTED = "started"
    """A component is being loaded, or its load failed: then only CANCEL or another try helps."""
    COMPLETE = "complete"
    """The staged image is loaded, authenticated and bound by its hash; it waits for ACTIVATE."""
    ACTIVATING = "activating"
    """PEs gather in the pen; nothing has been given up yet."""
    LOCKED = "locked"
    """The point of no return is passed: the activator has run, or runs between two rounds of a rendezvous."""
    SKIPPING = "skipping"
    """An activation without rendezvous is under way on one PE."""


class Activation(msgspec.Struct, kw_only=True):
    """The agent's record. `bound_digest` is SHA-256 of the staged image that PRIME loads or has loaded."""

    state: LfaState = LfaState.IDLE
    component: str = ""
    bound_digest: bytes = b""
    loaded_bytes: int = 0
    steps_done: int = 0
    pen: list[int] = []


class MonitorPe(msgspec.Struct, kw_only=True):
    """A PE as EL3 knows it; `rmm_sequence` is the RMM image whose entry point it went through last."""

    on: bool = True
    rmm_sequence: int = 1


class Volatile(msgspec.Struct, kw_only=True):
    """What is lost with power. `pending` is the agent's view of each component, re-read only by GET_INVENTORY.

    `released` holds the answers of PEs that left the pen and were not collected yet; `uncommitted` the images that run
    but are not in the boot slot. `broken` says that EL3 itself is not to be trusted any more.
    """

    launch: Launch
    pes: list[MonitorPe]
    rmm_alive: bool = True
    broken: bool = False
    activation: Activation = msgspec.field(default_factory=Activation)
    pending: dict[str, bool] = {}
    released: dict[int, tuple[int, ...]] = {}
    uncommitted: dict[str, bytes] = {}


class NonVolatile(msgspec.Struct, kw_only=True):
    """Flash and one-time memory.

    `boots` counts cold boots. `counters` are the stored security counters by component; they never decrease.
    `boot_slots` holds the committed image of each component that ever was activated live; the others boot the image
    they left the factory with. `staged` is what the update agent put into flash.
    """

    boots: int = 0
    counters: dict[str, int] = {}
    boot_slots: dict[str, bytes] = {}
    staged: dict[str, bytes] = {}
    trial: dict[str, bytes] = {}
    """The other slot of A/B: images that the next cold boot tries, once; committed when that boot is healthy."""


class MonitorState(msgspec.Struct, kw_only=True):
    """The root. `volatile` is absent exactly while the machine is off.

    The last two fields are chaos's: `fail_next_activation` makes the next ACTIVATE answer ACTIVATION_FAILED before the
    old image is given up; `hold_commits` keeps activated images out of the boot slot, so that a power cut undoes them.
    """

    nonvolatile: NonVolatile = msgspec.field(default_factory=NonVolatile)
    volatile: Volatile | None = None
    fail_next_activation: bool = False
    hold_commits: bool = False
    version: int = MONITOR_STATE_VERSION

    @property
    def now(self) -> Volatile:
        """The state of a machine that is on.

        Raises:
            PoweredOff: it is not.
        """
        if self.volatile is None:
            raise PoweredOff("the machine is off: nothing executes at EL3")
        return self.volatile

    def power_loss(self) -> None:
        """Forget everything that is not in flash, at once."""
        self.volatile = None


class PoweredOff(Exception):
    """Something was asked of a machine that is off: a fault of the caller."""
