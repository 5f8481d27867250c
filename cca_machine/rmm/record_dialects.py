"""What a recording of the door must know of each RMI edition: names, pages that go in and out, what a header holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cca_machine.abi.rmi import COMMANDS, REC_ENTER, REC_EXIT, RUN_EXIT_OFFSET, Rmi, status_name
from cca_machine.abi.rmi2 import COMMANDS_2_0, REC_EXIT_2_0, RMM_CONFIG, Rmi2
from cca_machine.abi.rmi2 import status_name as status_name_2_0
from cca_machine.abi.smc import Registers
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm.features import EDITION_1_0, EDITION_2_0
from cca_machine.rmm.measurement import ALGORITHMS
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.view import RunningRec

Page = tuple[int, int]
"""Address and bytes of Host memory."""
LIST_BYTES = 8


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One edition. `names` by function id; `arguments` names the registers of a command.

    `reads` maps commands to the argument that points to a Host page; `shows` are those whose answers depend on what a
    Realm holds. `answer_registers` is how many of them a record holds, `loops` whether runs of calls may be one record.
    `also_reads` and `writes` are pages of Host memory that a call reads besides, or has written. `hashes` are those
    that a header gives a token's length for.
    """

    names: Mapping[int, str]
    arguments: Mapping[int, tuple[str, ...]]
    reads: Mapping[int, str]
    shows: frozenset[int]
    status_name: Callable[[int], str]
    answer_registers: int
    loops: bool
    delegates: int
    also_reads: Callable[[Rmm, int, Sequence[int]], list[Page]]
    writes: Callable[[int, Sequence[int], Registers], list[Page]]
    seen: Callable[[RunningRec, dict[str, Any]], dict[str, Any]]
    header: Callable[[Rmm], dict[str, Any]]
    hashes: tuple[int, ...]


def _writes_1_0(command: int, args: Sequence[int], x: Registers) -> list[Page]:
    return [(args[1] + RUN_EXIT_OFFSET, REC_EXIT.size)] if command == Rmi.REC_ENTER and not x[0] else []


def _writes_2_0(command: int, args: Sequence[int], x: Registers) -> list[Page]:
    if command == Rmi2.REC_ENTER and not x[0]:
        return [(args[1] + RUN_EXIT_OFFSET, REC_EXIT_2_0.size)]
    if command == Rmi2.RMM_CONFIG_GET and not x[0]:
        return [(args[0], RMM_CONFIG.size)]
    if command == Rmi2.OP_MEM_RECLAIM and x[1]:
        return [(args[1], x[1] * LIST_BYTES)]
    return []


def _operation_reads(rmm: Rmm, command: int, args: Sequence[int]) -> list[Page]:
    """REC_CREATE looks at its parameters when it goes on, long after it was called."""
    operation = rmm.state.operations.get(args[0]) if command == Rmi2.OP_CONTINUE and args else None
    return [] if operation is None or not operation.params else [(operation.params, GRANULE_BYTES)]


def _seen_2_0(rec: RunningRec, entry: dict[str, Any]) -> dict[str, Any]:
    return {"plane": rec.state.active_plane, "pc": entry["pc"], "x": entry["x"]}


def _header_1_0(rmm: Rmm) -> dict[str, Any]:
    return {"features": [hex(rmm.features.register_0), "0x0", "0x0"]}


def _header_2_0(rmm: Rmm) -> dict[str, Any]:
    features = rmm.features
    registers = features.later.registers(features.register_0, features.max_recs_order)
    return {
        "features": [hex(register) for register in registers],
        "activated": int(rmm.state.active),
        "sysreg_128": int(features.later.sysreg_128),
        "yields": int(features.later.yields),
    }


DIALECTS: dict[str, Dialect] = {
    EDITION_1_0: Dialect(
        names={int(command): command.name for command in Rmi},
        arguments={int(command): shape.arguments for command, shape in COMMANDS.items()},
        reads={
            Rmi.DATA_CREATE: "src", Rmi.REALM_CREATE: "params_ptr", Rmi.REC_CREATE: "params_ptr",
            Rmi.REC_ENTER: "run_ptr",
        },
        shows=frozenset({Rmi.REC_ENTER, Rmi.PSCI_COMPLETE, Rmi.RTT_SET_RIPAS, Rmi.RTT_READ_ENTRY}),
        status_name=status_name,
        answer_registers=5,
        loops=True,
        delegates=Rmi.GRANULE_DELEGATE,
        also_reads=lambda rmm, command, args: [],
        writes=_writes_1_0,
        seen=lambda rec, entry: entry,
        header=_header_1_0,
        hashes=ALGORITHMS[:2],
    ),
    EDITION_2_0: Dialect(
        names={int(command): command.name for command in Rmi2},
        arguments={int(command): shape.arguments for command, shape in COMMANDS_2_0.items()},
        reads={
            Rmi2.RTT_DATA_MAP_INIT: "src", Rmi2.REALM_CREATE: "params_ptr", Rmi2.REC_CREATE: "params_ptr",
            Rmi2.REC_ENTER: "run_ptr", Rmi2.RMM_CONFIG_SET: "config_ptr", Rmi2.OP_MEM_DONATE: "list",
        },
        shows=frozenset({Rmi2.REC_ENTER, Rmi2.PSCI_COMPLETE, Rmi2.RTT_SET_RIPAS, Rmi2.RTT_READ_ENTRY}),
        status_name=status_name_2_0,
        answer_registers=8,
        loops=False,
        delegates=Rmi2.GRANULE_RANGE_DELEGATE,
        also_reads=_operation_reads,
        writes=_writes_2_0,
        seen=_seen_2_0,
        header=_header_2_0,
        hashes=ALGORITHMS,
    ),
}  # fmt: skip
"""By RMM edition."""

ENTRY_BYTES = REC_ENTER.size
"""What an RMM reads of a run page, in either edition."""
