"""Records of RMI 2.0 that outlive a command: stateful operations and memory encryption contexts."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Stage(IntEnum):
    """What the operation does when it is called next."""

    DONATE = 0
    CREATE = 1
    RECLAIM = 2
    FINISH = 3


class MapWork(msgspec.Struct, kw_only=True):
    """One block of a DATA_MAP that yielded: `done` bytes of it are DATA; taken back while `rollback`."""

    rd: int
    table_pa: int
    index: int
    level: int
    ipa: int
    pa: int
    first_ipa: int
    done: int = 0
    rollback: bool = False
    error: int = 0


class UnmapWork(msgspec.Struct, kw_only=True):
    """An unmap that yielded: entries of one table are marked, `drained` granules are given back."""

    table_pa: int
    reached: int
    address_type: int
    list_address: int
    protected: bool
    drained: int = 0
    limit: int = 0


class Operation(msgspec.Struct, kw_only=True):
    """A stateful operation: what began it, which command must come next, and how far it is.

    `descriptors` is the address list in flight: the Host's while `output` is False, else entries that the Host has not
    been given yet. `granules` are the donated ones in order of donation; `wanted` and `moved` count granules.
    """

    command: int
    expected: int
    transfer_bytes: int = 0
    can_cancel: bool = False
    descriptors: list[int] = []
    output: bool = False
    slots: int = 0
    stage: Stage = Stage.DONATE
    reclaim_x0: int = 0
    after_reclaim: int = 0
    obj: int = 0
    rd: int = 0
    params: int = 0
    granules: list[int] = []
    wanted: int = 0
    moved: int = 0
    result: int = 0
    mapping: MapWork | None = None
    unmapping: UnmapWork | None = None


class MecState(msgspec.Struct, kw_only=True):
    """Memory encryption contexts in use: Realms in the shared one, and the RD of each private one."""

    shared: int = 0
    private: dict[int, int] = {}
