"""Numbers and layouts against the published tables."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cca_machine.abi.layout import Field, Layout
from cca_machine.abi.lfa import Lfa, LfaStatus
from cca_machine.abi.psci import Psci, is_psci
from cca_machine.abi.rmi import (
    COMMANDS,
    RealmParams,
    RecEnter,
    RecExit,
    RecParams,
    Rmi,
    RmiStatus,
    index_of,
    rmi_result,
    status_name,
    status_of,
)
from cca_machine.abi.rsi import HostCall, Rsi
from cca_machine.abi.smc import MASK64, NOT_SUPPORTED, function_id, registers, signed, unsigned
from cca_machine.abi.spec import EDITIONS


def at(page: bytes, offset: int, code: str) -> int:
    return struct.unpack_from("<" + code, page, offset)[0]


def test_results_pack_status_and_index() -> None:
    assert rmi_result(RmiStatus.ERROR_RTT, 3) == 0x304
    assert rmi_result(RmiStatus.ERROR_RTT, -1) == 0xFF04
    assert rmi_result(RmiStatus.ERROR_REALM, 1) == 0x102
    assert (status_of(0x304), index_of(0x304), index_of(0xFF04)) == (RmiStatus.ERROR_RTT, 3, -1)
    assert (status_name(0x304), status_name(NOT_SUPPORTED), status_of(NOT_SUPPORTED)) == (
        "ERROR_RTT", "NOT_SUPPORTED", None,
    )  # fmt: skip


def test_the_command_numbers_are_the_published_ones() -> None:
    numbers = sorted(fid - 0xC400_0000 for fid in Rmi)
    holes = {0x156, 0x160, 0x163}
    assert numbers == [number for number in range(0x150, 0x16A) if number not in holes]
    assert set(COMMANDS) == set(Rmi)
    assert sorted(fid - 0xC400_0000 for fid in Rsi) == list(range(0x190, 0x19A))
    assert sorted(fid - 0xC400_0000 for fid in Lfa) == list(range(0x2E0, 0x2E7))
    assert sorted(LfaStatus) == list(range(-11, 1))


def test_psci_ids_are_the_first_32_of_both_widths() -> None:
    assert all(is_psci(fid) for fid in Psci)
    assert is_psci(0xC400_001F)
    assert not is_psci(0xC400_0020)
    assert not is_psci(0x8000_0000)


def test_realm_parameters_lie_where_the_table_says() -> None:
    page = RealmParams(
        flags=7, s2sz=41, sve_vl=3, num_bps=5, num_wps=4, pmu_num_ctrs=6, hash_algo=1, rpv=b"R" * 64,
        vmid=0x1234, rtt_base=0x8000_0000, rtt_level_start=-1, rtt_num_start=16,
    ).encode()  # fmt: skip
    assert [at(page, offset, "Q") for offset in (0x0, 0x8, 0x10, 0x18, 0x20, 0x28, 0x30)] == [7, 41, 3, 5, 4, 6, 1]
    assert page[0x400:0x440] == b"R" * 64
    assert (at(page, 0x800, "H"), at(page, 0x808, "Q"), at(page, 0x810, "q"), at(page, 0x818, "I")) == (
        0x1234, 0x8000_0000, -1, 16,
    )  # fmt: skip


def test_rec_parameters_and_run_page_lie_where_the_tables_say() -> None:
    page = RecParams(flags=1, mpidr=2, pc=3, gprs=tuple(range(10, 18)), num_aux=16, aux=tuple(range(20, 36))).encode()
    assert [at(page, offset, "Q") for offset in (0, 0x100, 0x200, 0x300, 0x338, 0x800, 0x808, 0x880)] == [
        1, 2, 3, 10, 17, 16, 20, 35,
    ]  # fmt: skip
    entry = RecEnter(flags=1, gprs=tuple(range(31)), gicv3_hcr=5, gicv3_lrs=tuple(range(16))).encode()
    assert [at(entry, offset, "Q") for offset in (0, 0x200 + 8 * 30, 0x300, 0x308 + 8 * 15)] == [1, 30, 5, 15]
    names = ("esr", "far", "hpfar", "gicv3_hcr", "gicv3_misr", "gicv3_vmcr", "cntp_ctl", "cntp_cval", "cntv_ctl")
    offsets = (0x100, 0x108, 0x110, 0x300, 0x388, 0x390, 0x400, 0x408, 0x410)
    out = RecExit(**{name: index + 1 for index, name in enumerate(names)}, cntv_cval=50, ripas_base=51, ripas_top=52)
    out.ripas_value, out.imm, out.pmu_ovf_status, out.exit_reason = 1, 0xFFFF, 1, 6
    page = out.encode()
    assert [at(page, offset, "Q") for offset in offsets] == list(range(1, 10))
    assert [at(page, offset, "Q") for offset in (0x418, 0x500, 0x508)] == [50, 51, 52]
    assert (page[0], page[0x510], at(page, 0x600, "H"), page[0x700]) == (6, 1, 0xFFFF, 1)
    call = HostCall(imm=9, gprs=tuple(range(31))).encode()
    assert (at(call, 0, "H"), at(call, 8, "Q"), at(call, 8 + 240, "Q")) == (9, 0, 30)


@given(st.binary(min_size=4096, max_size=4096))
def test_any_page_can_be_read_and_what_was_read_is_written_back(page: bytes) -> None:
    for record in (RealmParams, RecParams):
        read = record.decode(page)
        assert record.decode(read.encode()) == read
    assert RecEnter.decode(RecEnter.decode(page[:2048]).encode()) == RecEnter.decode(page[:2048])
    assert RecExit.decode(RecExit.decode(page[2048:]).encode()) == RecExit.decode(page[2048:])


def test_a_layout_with_overlapping_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        Layout("bad", 16, (Field("first", 0, 8), Field("second", 4, 8)))
    with pytest.raises(ValueError, match="leaves the page"):
        Layout("bad", 16, (Field("first", 12, 8),))


@given(st.integers(0, MASK64))
def test_registers_are_unsigned_64_bit_values(value: int) -> None:
    assert unsigned(signed(value)) == value
    assert -(1 << 63) <= signed(value) < 1 << 63
    assert function_id(value) == value & 0xFFFE_FFFF
    assert registers([value, value + (1 << 64)]) == (value, value, 0, 0, 0, 0, 0, 0)


def test_every_edition_names_a_revision() -> None:
    assert all(edition.revision and edition.defines for edition in EDITIONS)
