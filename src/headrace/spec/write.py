"""A ``JobSpec`` as the text of a job file that loads back to an equal one."""

from typing import Any

from headrace.core.units import format_bytes, format_count, format_duration
from headrace.spec.amounts import format_array
from headrace.spec.job import JobSpec
from headrace.spec.parts import AfterSpec, CheckpointSpec, Part, TrainSpec, Until


def to_yaml(spec: JobSpec) -> str:
    """What was said and what it means now, defaults left out. Values of secrets are not in it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes text of several lines as a block, the way people do."""

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        printable = all(c.isprintable() or c == "\n" for c in text)
        style = '"' if not printable else "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    text: str = yaml.dump(
        to_written(spec), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=96
    )
    return text


def to_written(spec: JobSpec) -> dict[str, Any]:
    """The description as a job file has it: its names, its forms, builtins only."""
    written: dict[str, Any] = {"name": spec.name}
    for field, default in type(spec).model_fields.items():
        value = getattr(spec, field)
        said = field in spec.model_fields_set and isinstance(value, Part)
        if field != "name" and (said or value != default.get_default(call_default_factory=True)):
            written.update(_field(field, value))
    written["workdir"] = str(spec.workdir)
    return written


def _field(field: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    match field:
        case "nodes":
            both = f"{value.min}-{value.max}"
            return {field: both if value.elastic else value.min}
        case "gpus_per_node":
            return {field: f"{value.type}:{value.count}" if value.type else value.count}
        case "memory_bytes":
            return {"memory": format_bytes(value)}
        case "time_s":
            return {"time": format_duration(value)}
        case "array":
            return {field: format_array(value.indices, value.throttle)}
        case "data":
            return {field: [_said(source) for source in value]}
        case "checkpoint":
            return {field: _checkpoint(value)}
        case "train":
            return {field: _train(value)}
        case "after":
            return {field: _after(value)}
        case "slurm" | "restart":
            return {field: {name: _plain(entry) for name, entry in _said(value).items()}}
        case "sweep":
            return {field: {name: list(values) for name, values in value.items()}}
        case "workdir" | "script":
            return {field: str(value)}
        case _:
            return {field: _plain(value)}


def _plain(value: Any) -> Any:  # noqa: ANN401
    return list(value) if isinstance(value, tuple) else value


def _said(part: Part) -> dict[str, Any]:
    """Fields that were set and say something."""
    return {
        name: getattr(part, name)
        for name in type(part).model_fields
        if name in part.model_fields_set and getattr(part, name) is not None
    }


def _checkpoint(value: CheckpointSpec) -> dict[str, Any]:
    written = _said(value)
    if value.every is not None:
        steps, duration_s = value.every.steps, value.every.duration_s
        written["every"] = format_duration(duration_s) if duration_s else f"{steps} steps"
    if (grace_s := written.pop("grace_s", None)) is not None:
        written["grace"] = format_duration(grace_s)
    if (memory_bytes := written.pop("memory_bytes", None)) is not None:
        written["memory"] = format_bytes(memory_bytes) if memory_bytes else "off"
    if value.best is not None:
        written["best"] = _said(value.best)
    return written


def _after(value: AfterSpec) -> dict[str, Any]:
    return {
        name: "true" if ids is True else _plain(ids) for name, ids in _said(value).items() if ids
    }


def _train(value: TrainSpec) -> dict[str, Any]:
    written = _said(value)
    if value.until is not None:
        written["until"] = _until(value.until)
    return written


def _until(until: Until) -> str:
    if until.epochs is not None:
        return f"{until.epochs:.9f}".rstrip("0").rstrip(".") + " epochs"
    for unit in ("steps", "tokens", "samples"):
        if (number := getattr(until, unit)) is not None:
            return f"{format_count(number)} {unit}"
    return "1 epochs"
