"""What a revocation did, from the trace of a run alone: who lost trust, when each had it back, what was withheld."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct, field

from orchestrator.chaos.history import Line

NS_PER_S = 1_000_000_000


class RealmTrust(Struct):
    """One Realm that lost trust: instants in virtual ns; `regained_ns` is None while it has none, or ended without."""

    realm: str
    machine: str
    lost_ns: int
    regained_ns: int | None = None
    regained_on: str = ""
    ended: bool = False


class Withheld(Struct, frozen=True):
    """A secret that the broker did not give out after the revocation, and to whom."""

    realm: str
    machine: str
    resource: str
    at_ns: int
    reason: str


class Drill(Struct):
    """One revocation and what followed until the next one, or the end of the run (`end_ns`)."""

    what: str
    images: tuple[str, ...]
    at_ns: int
    end_ns: int
    machines: int
    machines_trusted_again: dict[str, int] = field(default_factory=dict)
    """When each machine that lost trust was accepted again (virtual ns)."""
    realms: list[RealmTrust] = field(default_factory=list)
    withheld: list[Withheld] = field(default_factory=list)

    @property
    def untrusted_ns(self) -> int:
        """Realm-time without trust until the end (virtual ns)."""
        return sum((self.end_ns if one.regained_ns is None else one.regained_ns) - one.lost_ns for one in self.realms)

    @property
    def open_realms(self) -> int:
        """Realms that had no trust when it ended."""
        return sum(one.regained_ns is None and not one.ended for one in self.realms)


def drills(lines: Sequence[Line], end_ns: int) -> list[Drill]:
    """The revocations of a trace that ends at `end_ns`, in order; a Realm counts for the one that took its trust."""
    found: list[Drill] = []
    distrusted: dict[str, None] = {}
    for line in lines:
        what = line.what
        if line.kind == "tcb.revoked":
            named = f"signer {what['signer']}" if what["signer"] else f"{what['component']} {what['version']}"
            found.append(Drill(named, tuple(what["images"]), line.at_ns, end_ns, len(what["machines"])))
            distrusted = {}
        elif not found:
            continue
        elif line.kind == "machine.distrusted":
            distrusted[what["machine"]] = None
        elif line.kind == "machine.admitted" and what["vouched"] and what["machine"] in distrusted:
            found[-1].machines_trusted_again.setdefault(what["machine"], line.at_ns)
        elif line.kind == "trust.lost":
            found[-1].realms.append(RealmTrust(what["realm"], what["machine"], line.at_ns))
        elif line.kind == "secret.withheld":
            held = Withheld(what["realm"], what["machine"], what["resource"], line.at_ns, what["reason"])
            found[-1].withheld.append(held)
        elif line.kind in ("trust.regained", "trust.ended"):
            _close(found, line)
    return found


def _close(found: Iterable[Drill], line: Line) -> None:
    name = line.what["realm"]
    for drill in found:
        for one in drill.realms:
            if one.realm == name and one.regained_ns is None and not one.ended:
                if line.kind == "trust.ended":
                    one.ended = True
                else:
                    one.regained_ns = one.lost_ns + line.what["after_ns"]
                    one.regained_on = line.what["machine"]


def told(drill: Drill) -> Iterator[str]:
    """The result table, line by line."""
    yield f"revoked at {_s(drill.at_ns)}: {drill.what} ({', '.join(drill.images) or 'no image of this fleet'})"
    back = len(drill.machines_trusted_again)
    last = max(drill.machines_trusted_again.values(), default=None)
    when = f", the last at {_s(last)}" if last is not None else ""
    yield f"machines that ran it     {drill.machines}; trusted again {back}{when}"
    yield f"Realms that lost trust   {len(drill.realms)}; still without {drill.open_realms}"
    yield f"Realm-time without trust {drill.untrusted_ns / NS_PER_S:.1f} s"
    yield f"secrets withheld         {len(drill.withheld)}"
    if drill.realms:
        yield f"{'Realm':<16}{'lost on':<16}{'lost at':>12}{'regained at':>14}{'without trust':>16}  regained on"
    for one in drill.realms:
        until = "gone" if one.ended else "not yet" if one.regained_ns is None else _s(one.regained_ns)
        spell = "" if one.regained_ns is None else _s(one.regained_ns - one.lost_ns)
        yield f"{one.realm:<16}{one.machine:<16}{_s(one.lost_ns):>12}{until:>14}{spell:>16}  {one.regained_on}".rstrip()
    for held in drill.withheld:
        yield f"withheld from {held.realm} on {held.machine} at {_s(held.at_ns)}: {held.resource} ({held.reason})"


def _s(at_ns: int) -> str:
    return f"{at_ns / NS_PER_S:.3f} s"
