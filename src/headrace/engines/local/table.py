"""One table of a TOML file as a record. An unknown key is an error that names the nearest one.

The keys are the record's fields without their unit: ``max_wall_s`` is written ``max_wall = "4h"``,
``memory_bytes`` is ``memory = "48G"``. What may be left out is what has a default.
"""

import difflib
import types
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar, Union, get_args, get_origin

from headrace.core.errors import UsageError
from headrace.core.records import Record, fields
from headrace.core.units import parse_bytes, parse_duration_s

R = TypeVar("R", bound=Record)
_MOMENTS = ("start_s", "end_s")
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text in quotes"}


class SiteInvalid(UsageError):
    """The site file, or a variable that overrides it, cannot be used."""

    code = "HR-LOCAL-001"

    def __init__(self, where: str, why: str, remedy: str) -> None:
        super().__init__(f"{where} cannot be used", why=why, remedy=remedy)


def record_of(
    kind: type[R], table: object, where: str, *, beside: Collection[str] = (), **known: object
) -> R:
    """``where`` names the table in errors. ``known``: fields that the table may not set.

    ``beside``: keys of the table that are somebody else's.

    Raise ``SiteInvalid``.
    """
    given = as_table(table, where)
    keys = {_key(field.name): field for field in fields(kind) if field.name not in known}
    require_known(given, (*keys, *beside), where)
    values = dict(known)
    for key, value in given.items():
        if key in beside:
            continue
        field = keys[key]
        values[field.name] = _value(field.type, field.name, value, f"{where}.{key}")
    for key, field in keys.items():
        if field.required and key not in given:
            raise SiteInvalid(where, f"it has no {key}", f"write {key} = ... there")
    return kind(**values)


def as_table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SiteInvalid(where, f"it is {value!r}, not a table", f"write it as [{_name(where)}]")
    return value


def require_known(given: Collection[str], known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            remedy = f"write {near[0]}, or remove {key}" if near else f"remove {key}"
            raise SiteInvalid(
                f"{where}.{key}" if not where.endswith(":") else f"{where} {key}",
                f"there is no such key here; there are {', '.join(sorted(known))}",
                remedy,
            )


def _key(field: str) -> str:
    return field.removesuffix("_s").removesuffix("_bytes")


def _name(where: str) -> str:
    return where.rpartition(" ")[2]


def _value(declared: Any, field: str, value: object, where: str) -> object:  # noqa: ANN401
    kind = _without_none(declared)
    if isinstance(kind, type) and issubclass(kind, Record):
        return record_of(kind, value, where)
    if get_origin(kind) is tuple:
        return texts(value, where)
    if field in _MOMENTS:
        return _moment(value, where)
    if field.endswith("_s"):
        return float(_measured(parse_duration_s, value, where, '"4h"'))
    if field.endswith("_bytes") or (field == "memory" and isinstance(value, str)):
        return _measured(parse_bytes, value, where, '"48G"')
    return _scalar(kind, value, where)


def _without_none(declared: Any) -> Any:  # noqa: ANN401
    if get_origin(declared) in (Union, types.UnionType):
        (kind,) = [part for part in get_args(declared) if part is not type(None)]
        return kind
    return declared


def _scalar(kind: type, value: object, where: str) -> object:
    """Whole numbers are numbers, too; true and false are none. Nothing here can be negative."""
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise SiteInvalid(where, f"{value!r} is not {_WORDS[kind]}", f"write {_WORDS[kind]}")
    if isinstance(value, int | float) and value < 0:
        raise SiteInvalid(where, f"{value!r} is less than 0", "write 0 or more")
    return float(value) if kind is float and isinstance(value, int) else value


def texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise SiteInvalid(where, f"{value!r} is not a list of texts", 'write ["one", "two"]')
    return tuple(value)


def _moment(value: object, where: str) -> float:
    if not isinstance(value, datetime):
        raise SiteInvalid(
            where, f"{value!r} is not a date and time", "write 2026-01-31T08:00:00, not in quotes"
        )
    return value.timestamp()


def _measured(parse: Any, value: object, where: str, example: str) -> int:  # noqa: ANN401
    if not isinstance(value, str):
        raise SiteInvalid(where, f"{value!r} is not a text with a unit", f"write {example}")
    try:
        found: int = parse(value)
    except ValueError as error:
        raise SiteInvalid(where, f"{value!r}: {error}", f"write {example}") from error
    return found
