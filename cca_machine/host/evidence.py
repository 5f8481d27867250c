"""Evidence on its way through the host: forwarded as it is, unless chaos has made the host a liar."""

from __future__ import annotations

from typing import Any

import msgspec

from cca_machine.commands import FaultKind
from cca_machine.host.hosted import HostState


def nonce_for(state: HostState, nonce: str, faults: frozenset[str]) -> str:
    """The nonce that the host hands to a guest: the one it was given, or with stale nonces the first it ever saw."""
    state.first_nonce = state.first_nonce or nonce
    return state.first_nonce if FaultKind.STALE_NONCE in faults else nonce


def forward(state: HostState, realm: str, body: bytes, faults: frozenset[str]) -> bytes:
    """The attestation body that leaves the machine for the one that left the Realm.

    A tampering host flips one bit in the middle of the token; a replaying host puts the first token it ever saw of the
    Realm in its place. Everything else in the body stays.
    """
    message = msgspec.json.decode(body)
    evidence: dict[str, Any] = message["tee-evidence"]["primary_evidence"]
    token = bytes(evidence["token"])
    state.remember_token(realm, token)
    sent = token
    if FaultKind.STALE_TOKEN in faults:
        sent = state.first_tokens[realm]
    if FaultKind.TAMPERED_TOKEN in faults:
        middle = len(sent) // 2
        sent = sent[:middle] + bytes([sent[middle] ^ 1]) + sent[middle + 1 :]
    if sent == token:
        return body
    evidence["token"] = list(sent)
    return msgspec.json.encode(message)
