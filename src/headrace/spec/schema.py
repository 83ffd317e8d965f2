"""The job file for editors and for the reference: every field, with its forms, from the types."""

import types
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from headrace.spec.amounts import LAYOUT_KEYS
from headrace.spec.forms import RESTART_WORDS, STAGE_WORDS
from headrace.spec.job import FRAMEWORKS, JobSpec
from headrace.spec.origin import WRITTEN
from headrace.spec.parts import Every, GpuRequest, NodeRange, Until

_WORDS = {
    "framework": FRAMEWORKS,
    "restart.on": RESTART_WORDS,
    "data[].stage": STAGE_WORDS,
    "stage_python": STAGE_WORDS,
}
_DEFAULTS = {
    "name": "from the program",
    "interpreter": "the script's `#!` line",
    "workdir": "where it is submitted",
    "checkpoint": "as below",
    "restart": "as below",
    "after": "as below",
    "slurm": "as below",
}
"""Defaults that are no value of the type."""
_SCALAR: dict[str, Any] = {"type": ["string", "number"]}
_SCALAR_OR_NULL: dict[str, Any] = {"type": ["string", "number", "null"]}
_READ_FROM_TEXT = (NodeRange, GpuRequest, Every, Until)


@dataclass(frozen=True)
class FieldNote:
    """One field: its name with dots, and texts for people."""

    path: str
    kind: str
    default: str
    meaning: str
    forms: tuple[str, ...]
    info: FieldInfo


def fields(model: type[BaseModel] = JobSpec, around: str = "") -> tuple[FieldNote, ...]:
    """Every field of the job file in order, groups before what is in them."""
    notes: list[FieldNote] = []
    for name, info in model.model_fields.items():
        path = around + WRITTEN.get(name, name)
        inner, listed = _group(info.annotation)
        notes.append(
            FieldNote(
                path=path,
                kind=_kind(info, grouped=inner is not None and not listed),
                default=_default(info),
                meaning=info.description or "",
                forms=tuple(str(one) for one in info.examples or ()),
                info=info,
            )
        )
        if inner is not None:
            notes.extend(fields(inner, f"{path}[]." if listed else f"{path}."))
    return tuple(notes)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file, as its author writes it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Headrace job file",
        "description": "One training run: what to run, on what, for how long.",
        **_object(JobSpec, ""),
    }


def reference_table() -> str:
    """The table of docs/reference/job-file.md, in Markdown."""
    rows = ["| field | type | default | meaning | forms |", "|---|---|---|---|---|"]
    for note in fields():
        shown = ", ".join(f"`{form}`" for form in note.forms)
        default = _DEFAULTS.get(note.path) or (f"`{note.default}`" if note.default else "needed")
        rows.append(f"| `{note.path}` | {note.kind} | {default} | {note.meaning} | {shown} |")
    return "\n".join(rows) + "\n"


def _object(model: type[BaseModel], around: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        written = WRITTEN.get(name, name)
        texts = {"description": info.description, "examples": info.examples}
        properties[written] = {**_value(info, around + written), **texts}
    needed = [name for name, info in model.model_fields.items() if info.is_required()]
    shape = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, "required": needed} if needed else shape


def _value(info: FieldInfo, path: str) -> dict[str, Any]:
    """The shape of a value as it is written."""
    inner, listed = _group(info.annotation)
    if inner is not None and listed:
        one = {"anyOf": [{"type": "string"}, _object(inner, f"{path}.")]}
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": one}]}
    if inner is not None:
        return _object(inner, f"{path}.")
    if words := _WORDS.get(path):
        word = {"enum": list(words)}
        return word if path == "framework" else {"type": "array", "items": word}
    if path == "train.layout":
        sizes = {key: _SCALAR for key in LAYOUT_KEYS}
        shape = {"type": "object", "properties": sizes, "additionalProperties": False}
        return {"anyOf": [{"const": "auto"}, shape]}
    annotation = _without_none(info.annotation)
    if get_origin(annotation) is dict:
        values = {"type": "array", "items": _SCALAR} if path == "sweep" else _SCALAR
        return {"type": "object", "additionalProperties": values}
    if get_origin(annotation) is tuple:
        return {"anyOf": [{"type": "array", "items": _SCALAR}, _SCALAR]}
    return {"type": "boolean"} if annotation is bool else _SCALAR_OR_NULL


def _without_none(annotation: Any) -> Any:  # noqa: ANN401
    if get_origin(annotation) in (Union, types.UnionType):
        return next(one for one in get_args(annotation) if one is not type(None))
    return annotation


def _group(annotation: Any) -> tuple[type[BaseModel] | None, bool]:  # noqa: ANN401
    """(the type of a group of fields, whether it is a list of groups)."""
    plain = _without_none(annotation)
    if get_origin(plain) is tuple:
        return _group(get_args(plain)[0])[0], True
    is_model = isinstance(plain, type) and issubclass(plain, BaseModel)
    if not is_model or plain in _READ_FROM_TEXT or plain.__name__ == "ArraySpec":
        return None, False
    return plain, False


def _kind(info: FieldInfo, *, grouped: bool) -> str:
    if grouped:
        return "group"
    return info.title or "text"


def _default(info: FieldInfo) -> str:
    """The default as a job file would say it; "" for a field that is needed."""
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if isinstance(value, NodeRange):
        return str(value.min)
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(str(one) for one in value)}]"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    return "auto" if value is None and "auto" in (info.examples or ()) else _said(value)


def _said(value: object) -> str:
    return "null" if value is None else str(value)
