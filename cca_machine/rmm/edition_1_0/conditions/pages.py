"""Pages of the Host that conditions of RMI 1.0 look into."""

from __future__ import annotations

from cca_machine.abi.rmi import REC_ENTER, RealmParams, RecEnter, RecParams
from cca_machine.rmm.conditions import Look
from cca_machine.rmm.edition_1_0 import params


def realm_params(look: Look) -> RealmParams:
    """Parameters of REALM_CREATE."""
    page = look.page("params_ptr")
    return params.realm_params(look.core, page) or RealmParams.decode(page)


def rec_params(look: Look) -> RecParams:
    """Parameters of REC_CREATE."""
    return RecParams.decode(look.page("params_ptr"))


def entry(look: Look) -> RecEnter:
    """What the Host gives at REC_ENTER."""
    return RecEnter.decode(look.page("run_ptr")[: REC_ENTER.size])
