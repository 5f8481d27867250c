"""The reference pages of the files that users write, generated from the records: every key, form, default and meaning.

`python -m orchestrator.cluster.reference cluster` prints `docs/reference/cluster-file.md`, `... experiment` prints
`docs/reference/experiment-file.md`; a test holds the committed pages to it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from orchestrator.cluster import quantities
from orchestrator.cluster.check import CHECKS
from orchestrator.cluster.experiment import Experiment
from orchestrator.cluster.schema import Cluster
from orchestrator.cluster.translate import bare, literals, options, record_of

_FORMS: Mapping[Any, str] = {
    quantities.parse_duration: "duration",
    quantities.parse_size: "size",
    quantities.parse_rate: "rate",
    quantities.parse_fraction: "percentage",
    quantities.parse_share: "share",
    quantities.parse_name: "name",
    quantities.parse_version: "version",
}
"""Word for each quantity, found by the function that reads it."""

_PLAIN: Mapping[Any, str] = {int: "whole number", bool: "true or false", str: "text"}

_QUANTITIES = """\
| Form | Written | Kept as |
|---|---|---|
| duration | `100ms`, `1.5s`, `5min` (or `5m`), `2h`, `1d`; the unit is required | nanoseconds |
| size | `256KiB`, `64GiB`, `1TiB`; a bare number means bytes; decimal units (`GB`) are refused | bytes |
| rate | `10Gbit/s`, `200MiB/s` | bits per second |
| percentage | `5%`, `12.5%`, `250%` | parts per million |
| share | a percentage of at most `100%` | parts per million |
| name | a lower-case letter, then up to 38 lower-case letters, digits, dots or hyphens | text |
| version | three numbers: `1.0.1` | text |

Values are exact: what is finer than one unit of the last column is refused, never rounded. Files are YAML 1.2, in
UTF-8: `no` and `on` are text, duplicate keys are refused, aliases are read, merge keys and tags are not.
"""


def cluster_page() -> str:
    """Markdown of `docs/reference/cluster-file.md`."""
    checks = "\n".join(f"- {inspect.getdoc(check)}" for check in CHECKS)
    return (
        "# The cluster file\n\n"
        "Generated from `orchestrator/cluster/schema.py`; do not edit. A cluster file describes one fleet and what\n"
        "happens to it. `realmfleet validate FILE` checks it, `realmfleet schema` prints its JSON schema,\n"
        "`realmfleet init` writes a first one.\n\n"
        f"## Quantities\n\n{_QUANTITIES}\n{_sections(Cluster)}\n"
        "## What is checked besides\n\n"
        f"All mistakes are reported at once, each with line, column and a hint.\n\n{checks}\n"
    )


def experiment_page() -> str:
    """Markdown of `docs/reference/experiment-file.md`."""
    return (
        "# The experiment file\n\n"
        "Generated from `orchestrator/cluster/experiment.py`; do not edit. An experiment names a cluster file, a\n"
        "hypothesis and what goes wrong; `realmfleet chaos run FILE --seeds 1..20` runs it once per seed. Quantities\n"
        "are written as in [the cluster file](cluster-file.md).\n\n"
        f"{_sections(Experiment)}"
    )


def _sections(root: type[BaseModel]) -> str:
    return "\n".join(_section(record, root) for record in _records(root))


def _records(root: type[BaseModel]) -> list[type[BaseModel]]:
    """Every record that a file of `root` may hold, the owner before what it holds."""
    found: dict[type[BaseModel], None] = {}

    def visit(record: type[BaseModel]) -> None:
        if record not in found:
            found[record] = None
            for name in record.model_fields:
                for held in _held(get_type_hints(record, include_extras=True)[name]):
                    visit(held)

    visit(root)
    return list(found)


def _held(annotation: Any) -> list[type[BaseModel]]:
    """Records inside an annotation."""
    inner = bare(annotation)
    record = record_of(inner)
    if record is not None:
        return [record]
    if get_origin(inner) is None:
        return []
    return [held for argument in get_args(inner) for held in _held(argument)]


def _section(record: type[BaseModel], root: type[BaseModel]) -> str:
    hints = get_type_hints(record, include_extras=True)
    rows = [_row(name, field, hints[name]) for name, field in record.model_fields.items()]
    title = f"{record.__name__} (the whole file)" if record is root else record.__name__
    table = "\n".join(["| Key | Value | Default | Meaning |", "|---|---|---|---|", *rows])
    return f"## {title}\n\n{inspect.getdoc(record)}\n\n{table}\n"


def _row(name: str, field: FieldInfo, annotation: Any) -> str:
    cells = (f"`{field.alias or name}`", _form(annotation) + _limits(field), _default(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _form(annotation: Any) -> str:
    """What may be written, in words."""
    for item in get_args(annotation)[1:] if bare(annotation) is not annotation else ():
        if isinstance(item, BeforeValidator) and item.func in _FORMS:
            return _FORMS[item.func]
    inner = bare(annotation)
    if get_origin(inner) is dict:
        key, value = get_args(inner)
        return f"mapping of {_form(key)} to {_form(value)}"
    if get_origin(inner) is list:
        return f"list of {_form(get_args(inner)[0])}"
    if literals(inner) and len(options(inner)) == 1:
        return ", ".join(f"`{value}`" for value in literals(inner))
    if len(options(inner)) > 1:
        return " or ".join(_form(option) for option in options(inner))
    record = record_of(options(inner)[0])
    if record is not None:
        return f"[{record.__name__}](#{record.__name__.lower()})"
    return _PLAIN.get(inner) or _form(options(inner)[0])


def _limits(field: FieldInfo) -> str:
    """Bounds of a number or length, in words."""
    words = []
    for item in field.metadata:
        if isinstance(item, annotated_types.Gt):
            words.append(f"above {item.gt}")
        elif isinstance(item, annotated_types.Ge):
            words.append(f"at least {item.ge}")
        elif isinstance(item, annotated_types.Le):
            words.append(f"at most {item.le}")
        elif isinstance(item, annotated_types.Lt):
            words.append(f"below {item.lt}")
        elif isinstance(item, annotated_types.MinLen) and item.min_length:
            words.append("not empty")
    return f", {', '.join(words)}" if words else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        usual, own = type(value)(), value.model_dump(mode="json")
        special = [f"`{key}: {own[key]}`" for key in own if getattr(value, key) != getattr(usual, key)]
        return ", ".join(special) or "its defaults"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | dict):
        return f"`[{', '.join(value)}]`" if value else "none"
    return f"`{value}`" if value != "" else "empty"


def main(arguments: list[str]) -> int:
    """Print one page; 2 when the page has no such name."""
    pages = {"cluster": cluster_page, "experiment": experiment_page}
    if len(arguments) != 1 or arguments[0] not in pages:
        print(f"usage: python -m orchestrator.cluster.reference {'|'.join(pages)}", file=sys.stderr)
        return 2
    print(pages[arguments[0]](), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
