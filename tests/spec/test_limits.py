"""Conditions that need a machine of their own or a REC that runs elsewhere."""

from __future__ import annotations

import msgspec
from spec_door import INPUT, REALM, REC, Door

from cca_machine.abi.rmi import Rmi


def test_num_recs_is_a_realm_error_at_the_limit_of_live_recs_not_of_created_ones() -> None:
    small = Door()
    door = Door(features=msgspec.structs.replace(small.features, max_recs_order=2))
    rd = door.realm()
    recs = [door.rec(rd, index) for index in range(3)]
    page = door.host_page(door.rec_params(3).encode())
    assert door.call(Rmi.REC_CREATE, rd, door.delegated(), page)[0] == REALM
    door.ok(Rmi.REC_DESTROY, recs[0])
    door.ok(Rmi.REC_CREATE, rd, door.delegated(), page)


def test_a_rec_that_runs_on_another_pe_is_left_alone() -> None:
    door = Door()
    rd, (rec, other) = door.running_realm(recs=2)
    door.rmm.state.recs[rec].running = True
    before = door.digest()
    assert door.call(Rmi.REC_ENTER, rec, door.granules())[0] == REC
    assert door.call(Rmi.REC_DESTROY, rec)[0] == REC
    assert door.call(Rmi.RTT_SET_RIPAS, rd, rec, 0, 4096)[0] == REC
    assert door.call(Rmi.PSCI_COMPLETE, rec, other, 0)[0] == INPUT
    assert door.digest() == before
