"""The RMM behind its door: SMCs from the Host in, registers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cca_machine.abi.guest import GuestPort
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rmi2 import LFA_ALLOW, LFA_POLICY_MASK, LFA_POLICY_SHIFT, RecExit2, status_name
from cca_machine.abi.rmm_el3 import El3Services
from cca_machine.abi.smc import MASK64, NOT_SUPPORTED, RESULT_REGISTERS, SVE_HINT, Registers
from cca_machine.hardware.gpt import GranuleProtectionFault
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.core import Core, RmmPanicked, TokenMaker
from cca_machine.rmm.edition_1_0.answers import answer
from cca_machine.rmm.edition_1_0.bulk import BULK
from cca_machine.rmm.edition_1_0.table import rows
from cca_machine.rmm.edition_2_0 import table as edition_2_0
from cca_machine.rmm.features import EDITION_2_0, RmmFeatures
from cca_machine.rmm.quirks import SUGGESTED, QuirkSet
from cca_machine.rmm.rsi_1_1 import SERVICES_1_1
from cca_machine.rmm.state import RmmState
from cca_machine.rmm.token import El3TokenMaker
from cca_machine.rmm.token_2_0 import El3TokenMaker2

_UNKNOWN: Registers = answer(NOT_SUPPORTED)
_FID_MASK = 0xFFFF_FFFF & ~SVE_HINT
_NOTHING: Registers = (0,) * RESULT_REGISTERS


class Rmm:
    """One booted RMM image, speaking RMI 1.0 or 2.0 as its features say.

    All that survives it is `state`: a live activation builds a new `Rmm` around the same state, and keys and platform
    token are fetched again from EL3. After a panic (`fail`) every call answers -1 until the machine is reset.
    """

    def __init__(
        self,
        state: RmmState,
        hardware: HardwareState,
        el3: El3Services,
        guest: GuestPort,
        features: RmmFeatures | None = None,
        quirks: QuirkSet = SUGGESTED,
        tokens: TokenMaker | None = None,
        maker: Callable[[El3Services], TokenMaker] | None = None,
    ) -> None:
        self.state = state
        later = features is not None and features.edition == EDITION_2_0
        self._maker = maker or (El3TokenMaker2 if later else El3TokenMaker)
        self.core = Core(state, hardware, el3, guest, features or RmmFeatures(), quirks, tokens or self._maker(el3))
        self._later = later
        if self._later:
            self.core.services, self.core.exit_type = SERVICES_1_1, RecExit2
            self.core.tally.status_name = status_name
        served = edition_2_0.rows(self.core.features) if self._later else rows(quirks)
        taken = edition_2_0.ARGUMENT_REGISTERS if self._later else None
        self._rows: dict[int, tuple[Callable[..., Registers], int, bool, dict[int, int]]] = {
            fid: (
                row.handler,
                row.arguments if taken is None else taken,
                self._later or fid == Rmi.REC_ENTER,
                self.core.tally.rmi.setdefault(row.name, {}),
            )
            for fid, row in served.items()
        }
        self._bulk = edition_2_0.bulk() if self._later else BULK
        self._unknown_calls = self.core.tally.rmi.setdefault("UNKNOWN", {})

    @property
    def features(self) -> RmmFeatures:
        """What this RMM reports and checks against."""
        return self.core.features

    @property
    def quirks(self) -> QuirkSet:
        """How it answers where text and firmware diverge."""
        return self.core.quirks

    @property
    def guest(self) -> GuestPort:
        """What decides what Realms do; may be replaced between calls."""
        return self.core.guest

    @guest.setter
    def guest(self, guest: GuestPort) -> None:
        self.core.guest = guest

    @property
    def panicked(self) -> bool:
        """Whether the RMM has failed: every call answers -1."""
        return self.state.failed

    @property
    def counters(self) -> dict[tuple[str, str], int]:
        """Calls per (command, status), services per (service, status), exits per ("REC_EXIT", reason); not state."""
        return self.core.tally.commands()

    def fail(self) -> None:
        """Stop for good: an image failed to boot, or EL3 and the RMM disagree; calls are unknown SMCs from now on."""
        self.state.failed = True

    def take_over(self, el3: El3Services) -> None:
        """Go on as a new image around the same state: key and token are fetched again when the next token is made.

        What the image keeps for itself is new, the attestation application among it: a token that was being made or
        handed out is gone, and its Realm's next RSI_ATTESTATION_TOKEN_CONTINUE answers RSI_ERROR_STATE, so that no
        token of the old key leaves the new image. Granules, Realms, RECs, tables and stateful operations are handed
        over. (TF-RMM lib/glob_data, app/attestation; that a token is dropped rather than finished is modelled.)
        """
        for rec in self.state.recs.values():
            rec.attestation = None
        self.core.tokens = self._maker(el3)

    @property
    def lfa_disallowing(self) -> int:
        """Realms whose LFA policy (flags0[6:5], DEN0137 2.0 A3.14) is to disallow; RMI 1.0 has no such policy."""
        if not self._later:
            return 0
        realms = self.state.realms.values()
        return sum(realm.flags >> LFA_POLICY_SHIFT & LFA_POLICY_MASK != LFA_ALLOW for realm in realms)

    def smc(self, fid: int, args: Sequence[int], pe: int = 0) -> Registers:
        """One SMC from the Host on PE `pe`: x0..x7, outputs that a command does not specify being zero.

        `args` are x1.. as unsigned 64-bit values, missing ones zero. Never raises: whatever the registers, the memory
        or the guest hold, there is an answer; an unknown function id answers -1.
        """
        row = self._rows.get(fid & _FID_MASK)
        if row is None or self.state.failed:
            self._unknown_calls[NOT_SUPPORTED] = self._unknown_calls.get(NOT_SUPPORTED, 0) + 1
            if self._later:
                return edition_2_0.echoed((NOT_SUPPORTED,), (*args, *_NOTHING)[: edition_2_0.ARGUMENT_REGISTERS])
            return _UNKNOWN
        handler, count, with_pe, answers = row
        if len(args) != count:
            args = (*args, *_NOTHING)[:count]
        try:
            result = handler(self.core, *args, pe) if with_pe else handler(self.core, *args)
        except (RmmPanicked, GranuleProtectionFault):
            # Handlers answer the faults that Hosts and Realms can cause; one that is left hit the RMM's own memory.
            self.fail()
            result = _UNKNOWN
        x0 = result[0]
        answers[x0] = answers.get(x0, 0) + 1
        return result

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int = 0
    ) -> tuple[int, Registers]:
        """`count` calls of `smc(fid, args + i * stride)` for i = 0, 1, .., stopping at the first that is not SUCCESS.

        Returns how many succeeded and the last answer (the refusal, if there was one; all zero if `count` is 0). State
        and counters are those of the single calls; contiguous runs cost by run.
        """
        masked = fid & _FID_MASK
        bulk = self._bulk.get(masked) if masked in self._rows else None
        steps = (*stride, *_NOTHING)[: len(args)]
        done, last = 0, _NOTHING
        while done < count:
            here = [(value + done * step) & MASK64 for value, step in zip(args, steps, strict=True)]
            if bulk is not None and not self.state.failed:
                taken, answered = bulk(self.core, (*here, *_NOTHING), (*steps, *_NOTHING), count - done)
                if taken:
                    answers = self._rows[masked][3]
                    answers[0] = answers.get(0, 0) + taken
                    done, last = done + taken, answered
                    continue
            last = self.smc(fid, here, pe)
            if last[0] != 0:
                break
            done += 1
        return done, last

    def digest(self) -> bytes:
        """SHA-256 over the state of the RMM; a refused command leaves it as it was."""
        return self.state.digest()
