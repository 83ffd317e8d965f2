"""State that is not tensors, as strict JSON that gives back the same values.

JSON has no NaN and no infinity: such floats are written as ``{"$float": "nan"}``. Tuples come back
as lists. Anything else that JSON lacks is refused with the place where it stands, not converted.
"""

import math
from collections.abc import Mapping

from headrace.checkpoint.errors import NotSaveable

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_FLOAT = "$float"


def to_json(value: object, where: str) -> Json:
    """``value`` as strict JSON. Raise ``NotSaveable`` that names the place below ``where``."""
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, where)
        case int():
            return int(value)
        case float():
            number = float(value)
            return number if math.isfinite(number) else {_FLOAT: repr(number)}
        case list() | tuple():
            return [to_json(item, f"{where}[{n}]") for n, item in enumerate(value)]
        case Mapping():
            return {
                _key(key, where): to_json(item, f"{where}.{key}") for key, item in value.items()
            }
        case _:
            raise NotSaveable(
                where,
                f"a {type(value).__name__}",
                takes="put tensors among the tensors; state takes None, bool, int, float, str, "
                "lists and dicts of them",
            )


def from_json(value: Json) -> Json:
    """What ``to_json`` was given, tuples as lists."""
    match value:
        case dict() if value.keys() == {_FLOAT}:
            return float(str(value[_FLOAT]))
        case dict():
            return {key: from_json(item) for key, item in value.items()}
        case list():
            return [from_json(item) for item in value]
        case _:
            return value


def _text(value: str, where: str) -> str:
    """Without the type of one that is more than a string, such as NumPy's."""
    text = str.__str__(value)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise NotSaveable(where, f"{text!r}", takes="use text that UTF-8 has")
    return text


def _key(key: object, where: str) -> str:
    if isinstance(key, str) and key != _FLOAT:
        return _text(key, f"a key of {where}")
    raise NotSaveable(
        f"a key of {where}",
        repr(key),
        takes=f"use strings other than {_FLOAT!r} as keys",
    )
