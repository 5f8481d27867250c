"""What host, RMM and VMM allow a Realm; of several the lower wins (veraison/cca-realm-measurements configs)."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec

from cca_machine.vmm.mistake import VmmMistake

_RANGES = {"ipa_bits": (32, 52), "num_bps": (2, 64), "num_wps": (2, 64), "pmu_num_ctrs": (0, 31)}
SVE_UNIT = 128
MAX_SVE = 2048


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Capabilities as a host's configuration file names them; None is no opinion.

    Breakpoints and watchpoints are counts (not minus one), `sve_vl` is in bits and 0 without SVE.
    """

    ipa_bits: int | None = None
    num_bps: int | None = None
    num_wps: int | None = None
    sve_vl: int | None = None
    pmu_num_ctrs: int | None = None
    pmu: bool | None = None
    lpa2: bool | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise VmmMistake(f"{name} = {value} is out of range", f"{low} to {high}")
        vl = self.sve_vl
        if vl and (vl > MAX_SVE or vl % SVE_UNIT):
            raise VmmMistake(f"sve_vl = {vl} is no SVE vector length", "0, or a multiple of 128 up to 2048")

    def lowered(self, other: Limits) -> Limits:
        """The lower of both opinions, field by field."""
        return self._merged(other, min)

    def overridden(self, other: Limits) -> Limits:
        """`other` where it has an opinion: what a user says on the command line."""
        return self._merged(other, lambda _, theirs: theirs)

    def known(self) -> dict[str, Any]:
        """The fields with an opinion."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}

    def _merged(self, other: Limits, choose: Any) -> Limits:
        mine = self.known()
        for name, theirs in other.known().items():
            mine[name] = choose(mine[name], theirs) if name in mine else theirs
        return Limits(**mine)


def from_toml(text: str, name: str) -> Limits:
    """A configuration file.

    Raises:
        VmmMistake: it is no TOML, or says something else than limits.
    """
    try:
        return msgspec.convert(tomllib.loads(text), Limits)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        known = ", ".join(Limits.__struct_fields__)
        raise VmmMistake(f"{name} holds no host limits: {error}", f"TOML with some of {known}") from None
