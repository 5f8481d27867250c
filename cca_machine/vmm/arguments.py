"""Command lines of VMMs, read as pairs of option and value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cca_machine.vmm.mistake import VmmMistake


def options(words: Sequence[str], valued: Mapping[str, str], flags: frozenset[str]) -> dict[str, list[str]]:
    """Values by long name; `valued` maps every spelling of an option with a value to that name.

    Raises:
        VmmMistake: an option that the VMM does not have, or a value that is missing.
    """
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not equals and not word.startswith("--") and word[:2] in valued and len(word) > 2:
            name, equals, value = word[:2], "=", word[2:]
        if name in valued:
            if not equals:
                if not rest:
                    raise VmmMistake(f"{name} needs a value", f"{name} VALUE")
                value = rest.pop(0)
            found.setdefault(valued[name], []).append(value)
        elif word in flags:
            found.setdefault(word, []).append("")
        else:
            raise VmmMistake(f"the VMM has no option {word}", "see its own help")
    return found


def last(found: Mapping[str, Sequence[str]], name: str) -> str | None:
    """The value that counts when an option is repeated."""
    return found[name][-1] if found.get(name) else None


def properties(text: str, option: str) -> Iterator[tuple[str, str]]:
    """`name=value` items separated by commas; an item without `=` has no name."""
    for item in text.split(","):
        name, equals, value = item.partition("=")
        yield (name, value) if equals else ("", item)
        if equals and not name:
            raise VmmMistake(f"{option} {text} is malformed", f"{option} name=value,..")


def switch(text: str, option: str) -> bool | None:
    """on, off, or None for auto."""
    if text in ("on", "yes", "true", "y"):
        return True
    if text in ("off", "no", "false", "n"):
        return False
    if text == "auto":
        return None
    raise VmmMistake(f"{option}={text} is no switch", "on, off or auto")
