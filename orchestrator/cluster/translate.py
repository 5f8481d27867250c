"""pydantic's complaints in the words of the file.

pydantic names an error by type and location; the location also holds tags of unions, which are not in the file.
`findings` walks the records along each location to find the path in the file and what is known there, and words the
error by the `WORDING` table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from orchestrator.cluster.diagnostics import Finding, Path, suggestion

_KEY = "[key]"
"""pydantic's last location part when the key of a mapping is at fault, not its value."""


class Spot(NamedTuple):
    """Where an error stands in the file: its path, the annotation there, and the record that holds its last key."""

    path: Path
    annotation: Any
    owner: type[BaseModel] | None
    is_key: bool


Words: TypeAlias = tuple[str, str]
"""Message and hint."""

Wording: TypeAlias = Callable[[Spot, Mapping[str, Any]], Words]


def bare(annotation: Any) -> Any:
    """An annotation without its Annotated shell."""
    return bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _tag(annotation: Any) -> str | None:
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((item.tag for item in metadata if isinstance(item, Tag)), None)


def options(annotation: Any) -> list[Any]:
    """Members of a union without None; any other annotation is its only member. Tags stay on their members."""
    if get_origin(annotation) is Annotated and _tag(annotation) is None:
        return options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [option for option in get_args(annotation) if option is not NoneType]
    return [annotation]


def literals(annotation: Any) -> list[Any]:
    """Values of a Literal, inside Annotated or beside None too; empty for everything else."""
    members = [bare(option) for option in options(annotation)]
    return [value for member in members if get_origin(member) is Literal for value in get_args(member)]


def record_of(annotation: Any) -> type[BaseModel] | None:
    """The record class that an annotation names, if it names one."""
    member = bare(annotation)
    return member if isinstance(member, type) and issubclass(member, BaseModel) else None


def keys_of(record: type[BaseModel]) -> dict[str, Any]:
    """Keys of a record as users write them, each with its annotation."""
    return {field.alias or name: field.annotation for name, field in record.model_fields.items()}


def _chosen_by(tag: object, option: Any) -> bool:
    if _tag(option) is not None:
        return _tag(option) == tag
    record = record_of(option)
    return record is not None and any(tag in literals(annotation) for annotation in keys_of(record).values())


def _member(annotation: Any, part: str | int, wants_key: bool) -> Any:
    """Annotation of one member of a record, mapping (its key when `wants_key`) or list; Any where there is none."""
    record = record_of(annotation)
    if record is not None:
        return keys_of(record).get(str(part), Any)
    origin, arguments = get_origin(bare(annotation)), get_args(bare(annotation))
    if origin is dict:
        return arguments[0] if wants_key else arguments[1]
    return arguments[0] if origin is list else Any


def locate(root: type[BaseModel], location: tuple[str | int, ...], is_key: bool) -> Spot:
    """Path in the file, annotation and owner of a pydantic location; tags of unions are passed over.

    `is_key` says that the location ends in pydantic's mark for keys.
    """
    parts = location[:-1] if is_key else location
    path: Path = ()
    annotation: Any = root
    owner: type[BaseModel] | None = None
    for index, part in enumerate(parts):
        members = options(annotation)
        if len(members) > 1:
            annotation = next((member for member in members if _chosen_by(part, member)), Any)
            continue
        owner = record_of(members[0])
        annotation = _member(members[0], part, wants_key=is_key and index == len(parts) - 1)
        path = (*path, part)
    return Spot(path, annotation, owner, is_key)


def _described(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return f"the text '{value[:40]}{'…' if len(value) > 40 else ''}'"
    return "a list" if isinstance(value, list) else "keys and values"


def _choice(spot: Spot, error: Mapping[str, Any]) -> Words:
    known = [str(value) for value in literals(spot.annotation)]
    hint = suggestion(str(error["input"]), known, "choices")
    if str(error["input"]) in known:
        hint = "remove the quotes" if isinstance(error["input"], str) else "put it in quotes"
    return f"{_described(error['input'])} is not a choice here", hint


def _whole_number(_: Spot, error: Mapping[str, Any]) -> Words:
    written = error["input"]
    quoted = isinstance(written, str) and written.isascii() and written.isdecimal()
    return f"expected a whole number, found {_described(written)}", "remove the quotes" if quoted else ""


def _expected(what: str, hint: str = "") -> Wording:
    return lambda _, error: (f"expected {what}, found {_described(error['input'])}", hint)


def _bound(relation: str, key: str) -> Wording:
    return lambda _, error: (f"must be {relation} {error['ctx'][key]}", "")


def _length(relation: str, key: str) -> Wording:
    def words(_: Spot, error: Mapping[str, Any]) -> Words:
        wanted, actual = error["ctx"][key], error["ctx"]["actual_length"]
        return f"must have {relation} {wanted} {'entry' if wanted == 1 else 'entries'}, has {actual or 'none'}", ""

    return words


def _unknown_key(spot: Spot, _: Mapping[str, Any]) -> Words:
    key = str(spot.path[-1])
    if key == "<<":
        return "merge keys are not read", "repeat the keys, or give a whole value an alias"
    return f"unknown key '{key}'", suggestion(key, list(keys_of(spot.owner))) if spot.owner is not None else ""


def _missing_key(spot: Spot, _: Mapping[str, Any]) -> Words:
    key = str(spot.path[-1])
    fields = spot.owner.model_fields.items() if spot.owner is not None else ()
    meaning = next((field.description for name, field in fields if (field.alias or name) == key), None)
    return f"missing key '{key}'", f"{key}: {meaning}" if meaning else ""


def _tags(spot: Spot, key: str) -> list[str]:
    records = [record_of(option) for option in options(spot.annotation)]
    return [value for record in records if record is not None for value in literals(keys_of(record).get(key))]


def _unknown_tag(spot: Spot, error: Mapping[str, Any]) -> Words:
    key = error["ctx"]["discriminator"].strip("'")
    return f"no {key} is called '{error['ctx']['tag']}'", suggestion(error["ctx"]["tag"], _tags(spot, key), "choices")


def _missing_tag(spot: Spot, error: Mapping[str, Any]) -> Words:
    key = error["ctx"]["discriminator"].strip("'")
    return f"missing key '{key}'", f"choices: {', '.join(_tags(spot, key))}"


WORDING: Mapping[str, Wording] = {
    "quantity": lambda _, error: (error["ctx"]["message"], error["ctx"]["hint"]),
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "union_tag_invalid": _unknown_tag,
    "union_tag_not_found": _missing_tag,
    "literal_error": _choice,
    "int_type": _whole_number,
    "int_parsing_size": lambda _, __: ("the number is far too large", ""),
    "bool_type": _expected("true or false"),
    "string_type": _expected("a text", "put it in quotes"),
    "dict_type": _expected("keys and values"),
    "model_type": _expected("keys and values"),
    "model_attributes_type": _expected("keys and values"),
    "list_type": _expected("a list", "each entry on its own line, after a hyphen"),
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "too_short": _length("at least", "min_length"),
    "too_long": _length("at most", "max_length"),
    "string_too_short": lambda _, __: ("must not be empty", ""),
    "string_too_long": _bound("of a length of at most", "max_length"),
}
"""Wording by pydantic's error type; types that our records cannot raise fall back to pydantic's own message."""


def _in_pydantics_words(_: Spot, error: Mapping[str, Any]) -> Words:
    return str(error["msg"]), ""


def _finding(root: type[BaseModel], error: Mapping[str, Any]) -> Finding:
    # a stranger's key may be spelled like pydantic's mark
    is_key = error["loc"][-1:] == (_KEY,) and error["type"] != "extra_forbidden"
    spot = locate(root, error["loc"], is_key)
    words = WORDING.get(error["type"], _in_pydantics_words)
    message, hint = words(spot, error)
    path = spot.path
    if error["type"] == "union_tag_invalid":
        path = (*path, error["ctx"]["discriminator"].strip("'"))
    return Finding(path, message, hint, at="key" if spot.is_key or error["type"] == "extra_forbidden" else "value")


def findings(root: type[BaseModel], errors: ValidationError) -> list[Finding]:
    """Every error of a validation of `root`, in the order of the records."""
    return [_finding(root, {**error}) for error in errors.errors(include_url=False)]
