"""Which authorities must stand behind a firmware image, as data: m of n signers, some of them by name, some revoked.

One function, :func:`judge`, decides for EL3 (cold boot, LFA_PRIME, staging for the next boot) and for the control plane
alike. Modelled: DEN0137 2.0 knows a primary signer and countersigners, and leaves to the platform how many it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from attestation.errors import RefusalReason, Untrusted


class Endorsing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one component asks for: all of `required` (signer ids) and at least `threshold` trusted signers in all."""

    required: tuple[bytes, ...] = ()
    threshold: int = 1


class SigningPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule for every component, those that differ, and what was revoked.

    A revoked signer counts nowhere; an image whose vendor signature is a revoked one is refused whatever else it
    carries. `revoked_versions` are (component, version).
    """

    general: Endorsing = Endorsing()
    components: Mapping[str, Endorsing] = {}
    revoked_signers: tuple[bytes, ...] = ()
    revoked_versions: tuple[tuple[str, str], ...] = ()

    def rule(self, component: str) -> Endorsing:
        """What this component asks for."""
        return self.components.get(component, self.general)


def judge(policy: SigningPolicy, component: str, version: str, signers: Iterable[bytes]) -> tuple[bytes, ...]:
    """The signers that count, the vendor first; `signers` are those whose signature was checked, in that order.

    Raises:
        Untrusted: (policy) the version or the vendor's key is revoked, a required signer is missing, or too few signed.
    """
    checked = list(signers)
    if (component, version) in policy.revoked_versions:
        raise _refused(f"{component} {version} is revoked", label=2)
    if checked and checked[0] in policy.revoked_signers:
        raise _refused(f"firmware signer {checked[0].hex()} is revoked", label=7)
    counted = [signer for signer in checked if signer not in policy.revoked_signers]
    rule = policy.rule(component)
    missing = [signer.hex() for signer in rule.required if signer not in counted]
    if missing:
        raise _refused(f"{component} lacks the signature of {', '.join(missing)}", label=8)
    if len(counted) < rule.threshold:
        raise _refused(f"{component} is signed by {len(counted)} trusted signers, {rule.threshold} are needed", label=8)
    return tuple(counted)


def _refused(message: str, label: int) -> Untrusted:
    return Untrusted(message, reason=RefusalReason.POLICY, label=label, part="policy")
