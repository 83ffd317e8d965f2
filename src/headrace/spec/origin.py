"""Where each value came from, and what is wrong with it, in the words its author used.

A ``Spot`` is a place an author can go to: a line of a job file, a flag, a ``#SBATCH`` line. The
readers collect one per value; ``first_error`` turns what pydantic found into one ``SpecError`` that
names the spot, the rule and the nearest right value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from headrace.spec.errors import FieldInvalid, FieldsConflict, FieldUnknown, SpecError
from headrace.spec.forms import Conflict, Invalid, closest, kind_of

Path = tuple[str | int, ...]
_VALUE_MAX = 60
_NO_LINE = 1 << 30
_MAPPINGS = ("mapping of variables", "mapping of lists", "mapping of sbatch options", "layout")
WRITTEN = {"time_s": "time", "memory_bytes": "memory", "grace_s": "grace"}
"""Resolved name -> name in a job file."""


@dataclass(frozen=True)
class Spot:
    """``flag``: how the field is called there, when not by its name; ``example``: what to write."""

    file: str | None = None
    line: int | None = None
    flag: str | None = None
    example: str | None = None


@dataclass(frozen=True)
class Origin:
    """The description as it was written, and the spot of each of its values."""

    written: Mapping[str, Any]
    spots: Mapping[Path, Spot]

    def spot(self, path: Path) -> Spot:
        """The spot of the value, or of the nearest value around it."""
        for length in range(len(path), -1, -1):
            if found := self.spots.get(path[:length]):
                return found
        return Spot()

    def value(self, path: Path) -> Any:  # noqa: ANN401
        """What stands at ``path``; None when there is nothing."""
        found: Any = self.written
        for step in path:
            if isinstance(found, Mapping):
                alike = (key for key in found if _written(str(key)) == step)
                found = found.get(step, found.get(next(alike, None)))
            elif isinstance(found, Sequence) and not isinstance(found, str):
                found = found[step] if isinstance(step, int) and step < len(found) else None
            else:
                return None
        return found


def spelled(key: str) -> str:
    """The one spelling of a field's name: ``-`` and ``_`` are the same."""
    return key.strip().replace("-", "_")


def _written(key: str) -> str:
    return WRITTEN.get(spelled(key), spelled(key))


def show(value: object) -> str:
    """A value in an error: quoted and short, or what kind of thing it is."""
    if value is None or isinstance(value, Mapping | list | tuple):
        return kind_of(value)
    written = str(value)
    return f'"{written[: _VALUE_MAX - 3]}..."' if len(written) > _VALUE_MAX else f'"{written}"'


def show_path(path: Path) -> str:
    """``checkpoint.every``, ``restart.on[1]``."""
    shown = ""
    for step in path:
        shown += f"[{step}]" if isinstance(step, int) else f".{step}" if shown else step
    return shown


def flag_of(path: Path) -> str:
    """``--gpus-per-node``, ``--checkpoint-every``."""
    return "--" + "-".join(str(step) for step in path).replace("_", "-")


def assignment(spot: Spot, path: Path, value: str) -> str:
    """How the author would set the field to ``value`` at that spot."""
    if spot.flag is None:
        around, last = show_path(path[:-1]), path[-1]
        if isinstance(last, int):
            return f"{value} (item {last + 1} of {around})"
        return f"{last}: {value}" + (f" (under {around})" if around else "")
    if spot.file is not None:
        return f"#SBATCH {spot.flag}={value}"
    return f"{spot.flag} {value}"


def first_error(error: ValidationError, origin: Origin, top: type[BaseModel]) -> SpecError:
    """The error that stands first in the description; ``more`` counts the others."""
    found = [_translate(dict(entry), origin, top) for entry in error.errors(include_url=False)]
    unique = {(one.line, one.field, one.rule): one for one in found}
    ordered = sorted(unique.values(), key=lambda one: one.line or _NO_LINE)
    return ordered[0].having_more(len(ordered) - 1)


def _translate(entry: dict[str, Any], origin: Origin, top: type[BaseModel]) -> SpecError:
    loc: Path = tuple(entry["loc"])
    is_key = loc[-1:] == ("[key]",) and entry["type"] != "extra_forbidden"
    if is_key:
        loc = loc[:-1]
    invalid = entry.get("ctx", {}).get("error")
    if isinstance(invalid, Invalid):
        loc += invalid.at
    path = tuple(WRITTEN.get(step, step) if isinstance(step, str) else step for step in loc)
    spot = origin.spot(path)
    if entry["type"] == "extra_forbidden":
        return _unknown(path, spot, origin.value(path), _model_at(top, loc[:-1]))
    info = _field_at(top, loc)
    if not isinstance(invalid, Invalid):
        invalid = Invalid(_rule_of(entry, path, info))
    if isinstance(invalid, Conflict):
        return conflict_error(invalid, origin, path)
    renames = is_key or invalid.renames
    value = loc[-1] if renames else origin.value(path)
    return FieldInvalid(
        _what(entry, invalid, value, _title(path, info, renames=renames)),
        rule=invalid.rule,
        fix=_fix(invalid, path, spot, info, renamed=origin.value(path) if renames else None),
        file=spot.file,
        line=spot.line,
        field=spot.flag or show_path(path),
        value=invalid.shown or str(value),
        nearest=invalid.nearest,
    )


def _title(path: Path, info: FieldInfo | None, *, renames: bool) -> str:
    """What the value should be: "a node count", "an image"."""
    around = show_path(path[:-1])
    if renames:
        return f"a name under {around}"
    if info is None or info.title is None or _is_entry(path, info):
        return f"a value under {around}"
    title = info.title
    if path and isinstance(path[-1], int):
        title = title.removeprefix("list of ").removesuffix("s")
    return f"{'an' if title[0] in 'aeiou' else 'a'} {title}"


def _is_entry(path: Path, info: FieldInfo) -> bool:
    """Whether ``path`` leads to an entry of a mapping like ``env``, not to a field."""
    names = [step for step in path if isinstance(step, str)]
    return _model_in(info.annotation) is None and len(names) > 1 and info.title in _MAPPINGS


def _what(entry: dict[str, Any], invalid: Invalid, value: object, title: str) -> str:
    if entry["type"] == "missing":
        return "is missing"
    return f"{invalid.shown or show(value)} is not {title}"


def _fix(
    invalid: Invalid, path: Path, spot: Spot, info: FieldInfo | None, *, renamed: object
) -> str:
    if renamed is not None:
        kept = str(renamed) if isinstance(renamed, str | int | float) else "..."
        return assignment(spot, (*path[:-1], invalid.nearest or "NAME"), kept)
    wish = spot.example or invalid.nearest
    whole = info is not None and isinstance(path[-1], str) and not _is_entry(path, info)
    if wish is None and whole and info is not None and info.examples:
        wish = str(info.examples[0])
    return assignment(spot, path, wish or "...")


def conflict_error(conflict: Conflict, origin: Origin, path: Path | None = None) -> SpecError:
    """The error for fields that exclude or miss each other."""
    path = conflict.at if path is None else path
    spot = origin.spot(path)
    return FieldsConflict(
        conflict.what,
        rule=conflict.rule,
        fix=conflict.fix,
        file=spot.file,
        line=spot.line,
        field=spot.flag or show_path(path) or None,
        nearest=conflict.fix,
    )


def _unknown(path: Path, spot: Spot, value: object, model: type[BaseModel] | None) -> SpecError:
    known = [WRITTEN.get(name, name) for name in (model.model_fields if model else ())]
    near = closest(spelled(str(path[-1])), known)
    inside = f"{show_path(path[:-1])} has" if len(path) > 1 else "a job file has"
    rule = f"{inside} the fields {', '.join(known)}"
    fix = "leave it out, or use one of these"
    if near:
        rule = "fields that are not known are refused, so that no typo goes unseen"
        simple = isinstance(value, str | int | float) and len(str(value)) <= _VALUE_MAX
        kept = str(value) if simple else "..."
        right = (*path[:-1], near)
        known_spot = Spot(flag=flag_of(right)) if spot.flag else spot
        fix = f"did you mean {assignment(known_spot, right, kept)}"
    return FieldUnknown(
        "there is no such field",
        rule=rule,
        fix=fix,
        file=spot.file,
        line=spot.line,
        field=spot.flag or show_path(path),
        value=str(value),
        nearest=near,
    )


def _rule_of(entry: dict[str, Any], path: Path, info: FieldInfo | None) -> str:
    """The rule behind an error that pydantic itself found."""
    name = show_path(path)
    match entry["type"]:
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{name} is a mapping of names to values"
        case "tuple_type" | "list_type":
            return f"{name} is a list"
        case "missing":
            return f"{name} is needed here"
        case _:
            return str(entry["msg"])


def _field_at(top: type[BaseModel], loc: Path) -> FieldInfo | None:
    """The innermost field on the way to ``loc``."""
    model: type[BaseModel] | None = top
    found = None
    for step in loc:
        if model is None or step not in model.model_fields:
            continue
        found = model.model_fields[str(step)]
        model = _model_in(found.annotation)
    return found


def _model_at(top: type[BaseModel], loc: Path) -> type[BaseModel] | None:
    if not loc:
        return top
    found = _field_at(top, loc)
    return _model_in(found.annotation) if found else None


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    """The model an annotation speaks of: ``Part``, ``Part | None``, ``tuple[Part, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _model_in(inner):
            return found
    return None
