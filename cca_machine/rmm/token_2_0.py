"""The CCA token in the form of RMM 2.0: tag 907, instance identity and MEC policy (cca-1.1 token profiles)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attestation.claim_records import RealmProfile
from attestation.claims import RealmClaims
from attestation.keys import SigningKey
from attestation.token import Wrapper, encode_collection, encode_realm
from cca_machine.abi.rmi2 import MEC_POLICY_MASK, MEC_POLICY_SHIFT, MEC_PRIVATE
from cca_machine.abi.rmm_el3 import El3Services
from cca_machine.rmm import measurement
from cca_machine.rmm.core import TokenMaker
from cca_machine.rmm.mecid import SYSTEM
from cca_machine.rmm.state import AttestationOperation, Realm
from cca_machine.rmm.token import RAK_HASH, El3TokenMaker


class El3TokenMaker2:
    """Signs with the Realm attestation key of EL3; key and platform token are fetched once per boot of an RMM image."""

    def __init__(self, el3: El3Services, profile: str = RealmProfile.V2024_2_0) -> None:
        self._el3 = el3
        self._profile = profile
        self._key: SigningKey | None = None
        self._platform_token = b""

    def make(self, realm: Realm, operation: AttestationOperation) -> bytes:
        """The token; without memory encryption contexts the policy is told as shared, whatever the Host asked for."""
        if self._key is None:
            self._key = SigningKey.from_private_bytes(self._el3.realm_key())
            self._platform_token = self._el3.platform_token()
        length = measurement.digest_size(realm.hash_algo)
        rim, *rems = (register[:length] for register in operation.measurements)
        private = realm.flags >> MEC_POLICY_SHIFT & MEC_POLICY_MASK == MEC_PRIVATE and realm.mecid != SYSTEM
        claims = RealmClaims(
            profile=self._profile,
            challenge=operation.challenge,
            personalization_value=realm.rpv,
            hash_algo_id=measurement.algorithm_name(realm.hash_algo),
            public_key=self._key.public.cose_key(),
            initial_measurement=rim,
            extensible_measurements=tuple(rems),
            public_key_hash_algo_id=RAK_HASH,
            mec_policy="private" if private else "shared",
            instance_id=realm.instance_id,
        )
        return encode_collection(self._platform_token, encode_realm(claims, self._key), Wrapper.CMW_907)


TOKEN_MAKERS: Mapping[str, Callable[[El3Services], TokenMaker]] = {
    "2023": El3TokenMaker,
    "2024": El3TokenMaker2,
    "2026": lambda el3: El3TokenMaker2(el3, RealmProfile.V2026_2_0),
}
"""Who makes the tokens of a machine, by the year of their profiles."""
