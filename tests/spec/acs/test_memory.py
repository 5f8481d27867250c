"""Memory management scenarios of the compliance suite; a test has the name of its scenario.

Written from the suite's scenario document (ARM-software/cca-rmm-acs docs/memory_management_scenarios.md); what a Realm
sees of its accesses is beside the other exceptions in `test_exceptions`.
"""

from __future__ import annotations

import pytest
from acs_stage import BLOCK, HALF, NO_TABLE, Stage
from spec_door import INPUT, PAGE, SUCCESS, Door, rtt

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi import Ripas, Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.rmm.features import RmmFeatures

PAGES = 512
UNASSIGNED, ASSIGNED, TABLE = 0, 1, 2


@pytest.fixture
def stage() -> Stage:
    return Stage()


def three_pages(stage: Stage) -> tuple[int, int]:
    """An ACTIVE Realm whose first 12 KiB are RAM, and its REC."""
    rd = stage.realm()
    stage.tables(rd, 0)
    stage.ok(Rmi.RTT_INIT_RIPAS, rd, 0, 3 * PAGE)
    rec = stage.rec(rd)
    stage.ok(Rmi.REALM_ACTIVATE, rd)
    return rd, rec


def asks_for_empty(stage: Stage, rec: int) -> None:
    stage.runs(rec, Smc((Rsi.IPA_STATE_SET, 0, 3 * PAGE, Ripas.EMPTY, 0)))


def test_mm_ripas_change(stage: Stage) -> None:
    rd, rec = three_pages(stage)
    asks_for_empty(stage, rec)
    assert stage.ok(Rmi.RTT_SET_RIPAS, rd, rec, 0, 3 * PAGE)[1] == 3 * PAGE
    stage.runs(rec)
    assert stage.guest.gprs[0][:2] == [0, 3 * PAGE]
    assert [stage.entry(rd, ipa)[3] for ipa in (0, PAGE, 2 * PAGE)] == [Ripas.EMPTY] * 3


def test_mm_ripas_change_partial(stage: Stage) -> None:
    rd, rec = three_pages(stage)
    asks_for_empty(stage, rec)
    stage.ok(Rmi.RTT_SET_RIPAS, rd, rec, 0, PAGE)
    stage.runs(rec)
    assert stage.guest.gprs[0][:2] == [0, PAGE]
    assert [stage.entry(rd, ipa)[3] for ipa in (0, PAGE)] == [Ripas.EMPTY, Ripas.RAM]


def test_mm_ripas_change_reject(stage: Stage) -> None:
    rd, rec = three_pages(stage)
    asks_for_empty(stage, rec)
    stage.runs(rec)
    assert stage.guest.gprs[0][:2] == [0, 0]
    assert stage.entry(rd, 0)[3] == Ripas.RAM


def test_mm_rtt_translation_table(stage: Stage) -> None:
    rd = stage.realm()
    stage.tables(rd, 0)
    assert stage.entry(rd, BLOCK)[:2] == (2, UNASSIGNED)
    assert stage.entry(rd, PAGE)[:2] == (3, UNASSIGNED)


@pytest.mark.parametrize(("width", "level", "roots"), [(32, 2, 4), (34, 2, 16), (40, 1, 2), (42, 1, 8), (52, 0, 16)])
def test_mm_rtt_level_start(width: int, level: int, roots: int) -> None:
    features = RmmFeatures(s2sz=52, lpa2=True, pa_width=52, num_bps=3, num_wps=3)
    door = Door(features=features)
    flags = 1 if width > 48 else 0
    rd = door.realm(s2sz=width, rtt_level_start=level, rtt_num_start=roots, flags=flags)
    door.tables(rd, 0, start=level)
    door.data(rd, 0)
    rec = door.rec(rd)
    door.ok(Rmi.REALM_ACTIVATE, rd)
    assert door.enter(rec)[0] == SUCCESS
    wrong = door.realm_params(
        s2sz=width, rtt_level_start=level, rtt_num_start=roots * 2 if roots < 16 else 1, flags=flags
    )
    assert door.call(Rmi.REALM_CREATE, door.delegated(), door.host_page(wrong.encode()))[0] == INPUT


def _folds(stage: Stage, rd: int, ipa: int, state: int, ripas: int) -> None:
    """Fold the level 3 table at `ipa`, look at the parent, unfold, look at the children; then break homogeneity."""
    first = stage.entry(rd, ipa)[2]
    unprotected = ipa >= HALF
    table = stage.ok(Rmi.RTT_FOLD, rd, ipa, 3)[1]
    assert stage.entry(rd, ipa, 3)[:2] == (2, state)
    assert stage.entry(rd, ipa, 2) == (2, state, first, ripas)
    assert stage.call(Rmi.RTT_FOLD, rd, ipa, 3)[0] == rtt(2)
    stage.ok(Rmi.RTT_CREATE, rd, table, ipa, 3)
    attributes = first & 0xFFF
    for page in (0, 1, PAGES - 1):
        address = (first & ~0xFFF) + page * PAGE | attributes if state == ASSIGNED else 0
        assert stage.entry(rd, ipa + page * PAGE) == (3, state, address, ripas)
    if unprotected:
        if state == ASSIGNED:
            stage.ok(Rmi.RTT_UNMAP_UNPROTECTED, rd, ipa, 3)
        else:
            stage.ok(Rmi.RTT_MAP_UNPROTECTED, rd, ipa, 3, stage.host_page())
    elif state == ASSIGNED:
        stage.ok(Rmi.DATA_DESTROY, rd, ipa)
    else:
        stage.ok(Rmi.DATA_CREATE_UNKNOWN, rd, stage.delegated(), ipa)
    before = stage.digest()
    assert stage.call(Rmi.RTT_FOLD, rd, ipa, 3)[0] == rtt(3)
    assert stage.digest() == before


@pytest.mark.parametrize("ripas", [Ripas.EMPTY, Ripas.RAM, Ripas.DESTROYED])
def test_mm_rtt_fold_unassigned(stage: Stage, ripas: Ripas) -> None:
    rd = stage.realm()
    if ripas == Ripas.DESTROYED:
        stage.tables(rd, 0)
        stage.ok(Rmi.RTT_DESTROY, rd, 0, 3)
        stage.ok(Rmi.RTT_CREATE, rd, stage.delegated(), 0, 3)
    else:
        stage.tables(rd, 0)
    if ripas == Ripas.RAM:
        stage.ok(Rmi.RTT_INIT_RIPAS, rd, 0, BLOCK)
    _folds(stage, rd, 0, UNASSIGNED, ripas)


@pytest.mark.parametrize("ripas", [Ripas.EMPTY, Ripas.RAM])
def test_mm_rtt_fold_assigned(stage: Stage, ripas: Ripas) -> None:
    rd = stage.realm()
    stage.tables(rd, 0)
    if ripas == Ripas.RAM:
        stage.ok(Rmi.RTT_INIT_RIPAS, rd, 0, BLOCK)
    base = stage.delegated(PAGES, BLOCK)
    for page in range(PAGES):
        stage.ok(Rmi.DATA_CREATE_UNKNOWN, rd, base + page * PAGE, page * PAGE)
    _folds(stage, rd, 0, ASSIGNED, ripas)


def test_mm_rtt_fold_unassigned_ns(stage: Stage) -> None:
    rd = stage.realm()
    stage.tables(rd, HALF)
    _folds(stage, rd, HALF, UNASSIGNED, 0)


def test_mm_rtt_fold_assigned_ns(stage: Stage) -> None:
    rd = stage.realm()
    stage.tables(rd, HALF + NO_TABLE)
    base = stage.granules(PAGES, BLOCK)
    for page in range(PAGES):
        desc = base + page * PAGE | 3 << 6 | 1 << 2
        stage.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF + NO_TABLE + page * PAGE, 3, desc)
    _folds(stage, rd, HALF + NO_TABLE, ASSIGNED, 0)
