"""What chaos can do to a machine."""

from __future__ import annotations

from enum import StrEnum


class FaultKind(StrEnum):
    """Deeds of chaos that strike inside a machine. Link faults are rules of the network, not of a machine."""

    POWER_LOSS = "machine.power-loss"
    """All volatile state is gone at once; healing is power coming back, after which the machine boots."""
    FREEZE = "machine.freeze"
    """Nothing executes; healing thaws it with its state as it was."""
    RMM_PANIC = "rmm.panic"
    """The RMM fails: every RMI answers unknown, Realms are lost; healing is a cold reset of the machine."""
    TAMPERED_TOKEN = "attest.tampered-token"
    """The host flips a bit in every token it forwards."""
    STALE_TOKEN = "attest.stale-token"
    """The host answers with the first token it ever saw of the Realm instead of a fresh one."""
    STALE_NONCE = "attest.stale-nonce"
    """The host hands guests the first nonce it ever saw instead of the verifier's fresh one."""
    TAMPERED_IMAGE = "pod.tampered-image"
    """The host flips a bit in every image layer that it fetches for a pod."""
    TAMPERED_INIT_DATA = "pod.tampered-init-data"
    """The host gives pods init-data whose image policy accepts anything."""
    ACTIVATION_FAILURE = "firmware.activation-failure"
    """LFA_ACTIVATE answers ACTIVATION_FAILED before the old image is given up."""
    PE_ABSENT = "firmware.pe-absent"
    """A PE never calls LFA_ACTIVATE: the others hang in EL3 until the watchdog resets the machine."""
