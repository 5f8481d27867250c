"""What our own faults look like.

A refusal by firmware is a value (`Refused` outcome, RMI status). The exceptions here stop the run: somebody broke a
contract of the machine, or the machine broke a promise of its own.

    MachineError            a machine cannot go on as asked
    ├── ImpossibleRealm     a Realm that no layout can hold; a user's mistake
    ├── UnknownCost         an override names no modelled cost; a user's mistake
    ├── LateInput           an input for an instant that the machine has already passed
    ├── SnapshotRefused     bytes that are not a whole snapshot of this version
    └── BrokenPromise       firmware or host did what they must never do
"""

from __future__ import annotations


class MachineError(Exception):
    """A machine cannot go on as asked."""


class ImpossibleRealm(MachineError):
    """A Realm that no layout can hold: image, tables and working pages do not fit its memory."""


class UnknownCost(MachineError):
    """An override names no modelled cost."""


class LateInput(MachineError):
    """An input for an instant that the machine has already passed."""


class SnapshotRefused(MachineError):
    """Bytes that are not a whole snapshot of this version."""


class BrokenPromise(MachineError):
    """Firmware or host did what they must never do; carries what was seen."""
