"""Memory encryption contexts: which key each granule of the Realm world was written under (DDI0487, FEAT_MEC).

A MECID names a key; refreshing it gives it another one, after which nothing that was written under the old key can be
read again. An access under another key than the one of the writing does not fault: a load returns what decryption makes
of it, a store spoils the rest of the granule. MECID 0 is what everything is under that no Realm owns.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right

import msgspec

from cca_machine.hardware.address import GRANULE_BYTES

FIRST_REFRESHED_KEY = 1 << 16
"""Above every MECID: until its first refresh a MECID is its own key."""

KeyRun = tuple[int, int, int]
"""First granule, end, key."""


class EncryptionContexts(msgspec.Struct, kw_only=True):
    """Keys by MECID where they were refreshed, and runs of granules, ascending, that are not under key 0."""

    keys: dict[int, int] = {}
    refreshes: int = 0
    runs: list[KeyRun] = []

    def key_of(self, mecid: int) -> int:
        """The key that an access with this MECID uses now."""
        return self.keys.get(mecid, mecid)

    def refresh(self, mecid: int) -> None:
        """Give `mecid` a key that was never used."""
        self.keys[mecid] = FIRST_REFRESHED_KEY + self.refreshes
        self.refreshes += 1

    def key_at(self, granule: int) -> int:
        """The key that a granule was last written under."""
        at = bisect_right(self.runs, granule, key=_first) - 1
        return self.runs[at][2] if at >= 0 and granule < self.runs[at][1] else 0

    def put(self, first: int, count: int, key: int) -> None:
        """`count` granules from `first` are under `key` from now on."""
        end = first + count
        low = bisect_left(self.runs, first, key=_end_of)
        high = bisect_right(self.runs, end, key=_first)
        pieces: list[KeyRun] = []
        for start, stop, old in self.runs[low:high]:
            pieces += [piece for piece in ((start, min(stop, first), old), (max(start, end), stop, old)) if _is(piece)]
        if key:
            pieces.append((first, end, key))
        self.runs[low:high] = _joined(sorted(pieces))

    def digest(self) -> bytes:
        """SHA-256 over keys and runs."""
        state = (sorted(self.keys.items()), self.refreshes, self.runs)
        return hashlib.sha256(msgspec.msgpack.encode(state)).digest()


def scrambled(page: bytes, granule: int, written: int, read: int) -> bytes:
    """What a granule written under one key looks like under another: follows from all four, and shows nothing."""
    numbers = b"".join(number.to_bytes(8, "little") for number in (granule, written, read))
    return hashlib.shake_128(b"realmfleet memory encryption" + numbers + page).digest(GRANULE_BYTES)


def _first(run: KeyRun) -> int:
    return run[0]


def _end_of(run: KeyRun) -> int:
    return run[1]


def _is(run: KeyRun) -> bool:
    return run[0] < run[1]


def _joined(runs: list[KeyRun]) -> list[KeyRun]:
    """Neighbours under one key as one run."""
    joined: list[KeyRun] = []
    for run in runs:
        last = joined[-1] if joined else None
        if last is not None and last[1] == run[0] and last[2] == run[2]:
            joined[-1] = (last[0], run[1], run[2])
        else:
            joined.append(run)
    return joined
