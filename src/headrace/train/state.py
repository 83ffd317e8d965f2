"""What a checkpoint holds of the tracked objects, by name, free of how the run was laid out.

* models: every entry of the state dict as ``<model>/<name>``, wrappers' prefixes stripped; names of
  tied tensors share one tensor, which ``headrace.checkpoint`` stores once;
* optimizers: ``<optimizer>/<model>/<name>/<slot>``, so that the order of parameters is free;
* anything else with a ``state_dict``: plain data.

Tensors go into a flat mapping; the rest is a tree of JSON values in which a tensor is a reference.
Tuples, counters and keys that are no strings are marked with ``$``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from headrace.train.errors import CheckpointMismatch, UnsavableState, UntrackedParameter

_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")
_SHOWN = 3

Tensors = dict[str, torch.Tensor]


@runtime_checkable
class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...  # noqa: ANN401


@dataclass(frozen=True)
class Tracked:
    """The objects of ``run.track`` by the names given there."""

    models: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    others: dict[str, Stateful]


def sort_tracked(objects: Mapping[str, object]) -> Tracked:
    """Raise ``UntrackedParameter`` or ``UnsavableState``."""
    tracked = Tracked({}, {}, {})
    for name, thing in objects.items():
        match thing:
            case nn.Module():
                tracked.models[name] = unwrap(thing)
            case Optimizer():
                tracked.optimizers[name] = thing
            case Stateful():
                tracked.others[name] = thing
            case _:
                raise UnsavableState(name, type(thing).__name__)
    names = parameter_names(tracked.models)
    for name, optimizer in tracked.optimizers.items():
        for parameter in _parameters(optimizer):
            if id(parameter) not in names:
                raise UntrackedParameter(name, shape=tuple(parameter.shape))
    return tracked


def unwrap(model: nn.Module) -> nn.Module:
    """The model as the script wrote it: without DDP and ``torch.compile``."""
    while True:
        if isinstance(model, DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def clean_name(name: str) -> str:
    """A name inside a model without the parts that wrappers of inner modules add."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def parameter_names(models: Mapping[str, nn.Module]) -> dict[int, str]:
    """id of a parameter -> ``<model>/<name>``; a tied or shared one has its first name."""
    names: dict[int, str] = {}
    for model_name, model in models.items():
        for name, parameter in model.named_parameters():
            names.setdefault(id(parameter), f"{model_name}/{clean_name(name)}")
    return names


def _parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


# --- capture -----------------------------------------------------------------------------------


def capture(tracked: Tracked) -> tuple[Tensors, dict[str, object]]:
    """Tensors by name (not copied) and the plain rest. Raise ``UnsavableState``."""
    tensors: Tensors = {}
    plain: dict[str, object] = {}
    for name, model in tracked.models.items():
        plain[name] = _capture_model(name, model, tensors)
    names = parameter_names(tracked.models)
    for name, optimizer in tracked.optimizers.items():
        plain[name] = _capture_optimizer(name, optimizer, names, tensors)
    for name, thing in tracked.others.items():
        plain[name] = _pack(thing.state_dict(), name, tensors)
    return tensors, plain


def _capture_model(name: str, model: nn.Module, tensors: Tensors) -> dict[str, object]:
    extra: dict[str, object] = {}
    for key, value in model.state_dict().items():
        full = f"{name}/{clean_name(key)}"
        if isinstance(value, torch.Tensor):
            tensors[full] = value
        else:
            extra[full] = _pack(value, f"extra/{full}", tensors)
    return {"extra": extra}


def _capture_optimizer(
    name: str, optimizer: Optimizer, names: Mapping[int, str], tensors: Tensors
) -> dict[str, object]:
    held = [names[id(parameter)] for parameter in _parameters(optimizer)]
    state = optimizer.state_dict()
    groups = [
        {
            "parameters": [held[index] for index in group["params"]],
            "options": _pack(
                {key: value for key, value in group.items() if key != "params"},
                f"{name}/group{number}",
                tensors,
            ),
        }
        for number, group in enumerate(state["param_groups"])
    ]
    slots = {
        held[index]: _pack(entry, f"{name}/{held[index]}", tensors)
        for index, entry in state["state"].items()
    }
    return {"groups": groups, "slots": slots}


def _pack(value: object, path: str, tensors: Tensors) -> object:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case torch.Tensor():
            tensors[path] = value.detach()
            return {"$tensor": path}
        case list():
            return [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
        case tuple():
            return {"$tuple": _pack(list(value), path, tensors)}
        case Counter():
            return {"$counter": _pack(dict(value), path, tensors)}
        case dict():
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: _pack(item, f"{path}/{key}", tensors) for key, item in value.items()}
            pairs = [[key, item] for key, item in value.items()]
            return {"$items": _pack(pairs, path, tensors)}
        case _:
            raise UnsavableState(path, type(value).__name__)


# --- restore -----------------------------------------------------------------------------------


def restore(
    tracked: Tracked, tensors: Mapping[str, torch.Tensor], plain: Mapping[str, Any], *, path: str
) -> None:
    """Put a checkpoint's content into the tracked objects, on the devices where they are.

    Raise ``CheckpointMismatch`` before anything is changed in the object that does not fit.
    """
    present = [*tracked.models, *tracked.optimizers, *tracked.others]
    _same_names(set(plain), set(present), "tracked objects", path)
    for name, model in tracked.models.items():
        _restore_model(name, model, tensors, plain[name], path)
    names = parameter_names(tracked.models)
    for name, optimizer in tracked.optimizers.items():
        _restore_optimizer(name, optimizer, names, tensors, plain[name], path)
    for name, thing in tracked.others.items():
        thing.load_state_dict(cast(dict[str, Any], _unpack(plain[name], tensors)))


def _restore_model(
    name: str,
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    plain: Mapping[str, Any],
    path: str,
) -> None:
    wanted = {key: f"{name}/{clean_name(key)}" for key in model.state_dict()}
    extra = plain["extra"]
    saved = {key for key in (*tensors, *extra) if key.startswith(f"{name}/")}
    _same_names(saved, set(wanted.values()), f"tensors of {name}", path)
    loaded: dict[str, Any] = {}
    for key, current in model.state_dict().items():
        full = wanted[key]
        if full in extra:
            loaded[key] = _unpack(extra[full], tensors)
            continue
        value = tensors[full]
        if value.shape != current.shape:
            raise CheckpointMismatch(
                path,
                f"{full} has shape {tuple(value.shape)}, the model's is {tuple(current.shape)}",
            )
        loaded[key] = value
    model.load_state_dict(loaded)


def _restore_optimizer(
    name: str,
    optimizer: Optimizer,
    names: Mapping[int, str],
    tensors: Mapping[str, torch.Tensor],
    plain: Mapping[str, Any],
    path: str,
) -> None:
    groups = plain["groups"]
    current = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    if [sorted(group["parameters"]) for group in groups] != [sorted(group) for group in current]:
        raise CheckpointMismatch(path, f"the parameter groups of {name} hold other parameters")
    index_of = {full: index for index, full in enumerate(chain.from_iterable(current))}
    state = {index_of[full]: _unpack(entry, tensors) for full, entry in plain["slots"].items()}
    options = [cast(dict[str, Any], _unpack(group["options"], tensors)) for group in groups]
    optimizer.load_state_dict(
        {
            "state": state,
            "param_groups": [
                {**option, "params": [index_of[full] for full in held]}
                for option, held in zip(options, current, strict=True)
            ],
        }
    )


def _same_names(saved: set[str], present: set[str], what: str, path: str) -> None:
    if saved == present:
        return
    parts = []
    if missing := sorted(present - saved):
        parts.append(f"lacks {_some(missing)}")
    if unknown := sorted(saved - present):
        parts.append(f"has {_some(unknown)}, which the script does not")
    raise CheckpointMismatch(path, f"{what}: the checkpoint {' and '.join(parts)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> object:  # noqa: ANN401
    match value:
        case {"$tensor": name}:
            return tensors[name]
        case {"$tuple": items}:
            return tuple(cast(list[object], _unpack(items, tensors)))
        case {"$counter": counts}:
            return Counter(cast(dict[Any, int], _unpack(counts, tensors)))
        case {"$items": pairs}:
            return {_unpack(k, tensors): _unpack(v, tensors) for k, v in pairs}
        case dict():
            return {key: _unpack(item, tensors) for key, item in value.items()}
        case list():
            return [_unpack(item, tensors) for item in value]
        case _:
            return value
