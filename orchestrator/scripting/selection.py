"""Selections: some machines or Realms of a fleet, narrowed step by step, always in the order of their names.

    fleet.realms.where(kind="web", state="serving").sample(3)
    fleet.machines.where(rack=["r1", "r2"], rmm="1.0.0")

A selection is made once; its handles are live, so their state is the present one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from orchestrator.cluster.diagnostics import suggestion
from orchestrator.engine.streams import Stream
from orchestrator.scripting.errors import FleetError, UnknownName

if TYPE_CHECKING:
    import polars


class Handle(Protocol):
    """One thing of a fleet by name, and what `where` may ask of it."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> str: ...

    def facts(self) -> Mapping[str, Any]:
        """What it is and how it stands, by the words that `where` knows."""
        ...


HandleT = TypeVar("HandleT", bound=Handle)


class Selection(Sequence[HandleT], Generic[HandleT]):
    """Some handles of one sort; `noun` names the sort in messages, `stream` is what `sample` draws from."""

    def __init__(self, handles: Sequence[HandleT], noun: str, stream: Stream) -> None:
        self._handles = tuple(handles)
        self._noun = noun
        self._stream = stream

    @property
    def names(self) -> list[str]:
        """Their names, in order."""
        return [handle.name for handle in self._handles]

    @property
    def states(self) -> dict[str, int]:
        """How many are in which state."""
        return dict(sorted(Counter(handle.state for handle in self._handles).items()))

    def where(self, test: Callable[[HandleT], bool] | None = None, /, **wanted: Any) -> Selection[HandleT]:
        """Those of which everything holds: a text may hold `*`, a list means any of its members, `test` is a function.

        Raises:
            FleetError: there is no such word; the hint names those that there are.
        """
        chosen = self._handles
        if chosen:
            for word in wanted:
                if word not in (known := chosen[0].facts()):
                    raise FleetError(f"a {self._noun} has no {word}", suggestion(word, list(known), "words"))
        kept = [handle for handle in chosen if _fits(handle.facts(), wanted) and (test is None or test(handle))]
        return Selection(kept, self._noun, self._stream)

    def sample(self, count: int) -> Selection[HandleT]:
        """`count` of them, drawn from the run's seed (all, if there are no more); another call draws others."""
        drawn = {handle.name for handle in self._stream.sample(self._handles, count)}
        return Selection([handle for handle in self._handles if handle.name in drawn], self._noun, self._stream)

    def table(self) -> polars.DataFrame:
        """One row each, one column a word."""
        import polars

        return polars.DataFrame([dict(handle.facts()) for handle in self._handles], infer_schema_length=None)

    @overload
    def __getitem__(self, place: str | int) -> HandleT: ...

    @overload
    def __getitem__(self, place: slice) -> Selection[HandleT]: ...

    def __getitem__(self, place: str | int | slice) -> HandleT | Selection[HandleT]:
        if isinstance(place, slice):
            return Selection(self._handles[place], self._noun, self._stream)
        if isinstance(place, int):
            return self._handles[place]
        for handle in self._handles:
            if handle.name == place:
                return handle
        raise UnknownName(self._noun, place, self.names)

    def __contains__(self, name: object) -> bool:
        return any(name in (handle, handle.name) for handle in self._handles)

    def __iter__(self) -> Iterator[HandleT]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)

    def __repr__(self) -> str:
        told = ", ".join(f"{count} {state}" for state, count in self.states.items())
        return f"{len(self)} {self._noun}{'' if len(self) == 1 else 's'}{f' ({told})' if told else ''}"

    def _repr_html_(self) -> str:
        from orchestrator.scripting.notebook import rows_html

        return rows_html([handle.facts() for handle in self._handles])


def _fits(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(_matches(facts[word], value) for word, value in wanted.items())


def _matches(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple | set | frozenset):
        return any(_matches(found, one) for one in wanted)
    if isinstance(found, str) and isinstance(wanted, str):
        return fnmatchcase(found, wanted)
    return bool(found == wanted)
