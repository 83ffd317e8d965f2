"""What a checkpoint holds of the tracked objects, by name, free of how the run was laid out.

* models: every entry of the state dict as ``<model>/<name>``, wrappers' prefixes stripped; names of
  tied tensors share one tensor, which ``headrace.checkpoint`` stores once;
* optimizers: ``<optimizer>/<model>/<name>/<slot>``, so that the order of parameters is free;
* anything else with a ``state_dict``: plain data.

Tensors go into a flat mapping; the rest is a tree of JSON values in which a tensor is a reference.
Tuples, counters and keys that are no strings are marked with ``$``.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from headrace.train.errors import CheckpointMismatch, UnsavableState, UntrackedParameter
from headrace.train.layout import Layout, fill

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
    replicated: set[str] = field(default_factory=set)
    """Models whose parameters DDP keeps the same on all ranks."""


def sort_tracked(objects: Mapping[str, object]) -> Tracked:
    """Raise ``UntrackedParameter`` or ``UnsavableState``."""
    tracked = Tracked({}, {}, {})
    for name, thing in objects.items():
        match thing:
            case nn.Module():
                tracked.models[name] = unwrap(thing)
                if _is_replicated(thing):
                    tracked.replicated.add(name)
            case Optimizer():
                tracked.optimizers[name] = thing
            case Stateful():
                tracked.others[name] = thing
            case _:
                raise UnsavableState(name, type(thing).__name__)
    names = parameter_names(tracked.models)
    for name, optimizer in tracked.optimizers.items():
        _held(name, optimizer, names)
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


def _is_replicated(model: nn.Module) -> bool:
    while isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        model = inner
    return isinstance(model, DistributedDataParallel)


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


def _held(name: str, optimizer: Optimizer, names: Mapping[int, str]) -> list[str]:
    """Names of an optimizer's parameters. Raise ``UntrackedParameter``."""
    held = []
    for parameter in _parameters(optimizer):
        if id(parameter) not in names:
            raise UntrackedParameter(name, shape=tuple(parameter.shape))
        held.append(names[id(parameter)])
    return held


# --- capture -----------------------------------------------------------------------------------


def capture(tracked: Tracked) -> tuple[Tensors, dict[str, object]]:
    """Tensors by name (not copied) and the plain rest. Raise ``UnsavableState``, and
    ``UntrackedParameter`` when a model or an optimizer has other parameters than when tracked."""
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


def same_on_all(tracked: Tracked, tensors: Mapping[str, torch.Tensor]) -> frozenset[str]:
    """Names of captured tensors that are the same on all ranks: the parameters of DDP and their
    optimizer state. Buffers are not: between two forwards each rank has its own."""
    names = parameter_names(
        {name: model for name, model in tracked.models.items() if name in tracked.replicated}
    )
    same = set(names.values())
    return frozenset(
        full for full in tensors if full in same or _parameter_of(full, tracked) in same
    )


def _parameter_of(full: str, tracked: Tracked) -> str | None:
    """``<model>/<name>`` of an optimizer's tensor."""
    optimizer, _, rest = full.partition("/")
    return rest.rpartition("/")[0] if optimizer in tracked.optimizers else None


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
    held = _held(name, optimizer, names)
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
            while path in tensors:  # {"a/b": .., "a": {"b": ..}} are two
                path += "'"
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


def layout_of(tracked: Tracked) -> Layout:
    """What this rank holds of the tensors of the tracked objects."""
    tensors = {
        f"{name}/{clean_name(key)}": value
        for name, model in tracked.models.items()
        for key, value in model.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    return Layout(tensors, frozenset(tracked.optimizers))


@dataclass(frozen=True)
class Source:
    """The tensors of a checkpoint. ``boxes``: names of which only this rank's part was loaded."""

    tensors: Mapping[str, torch.Tensor]
    boxes: Collection[str] = ()
    layout: Layout = field(default_factory=lambda: Layout({}, frozenset()))

    def get(self, name: str) -> torch.Tensor:
        found = self.tensors[name]
        return self.layout.place(name, found) if name in self.boxes else found


def restore(
    tracked: Tracked,
    source: Source,
    plain: Mapping[str, Any],
    *,
    path: str,
    weights_only: bool = False,
) -> None:
    """Put a checkpoint's content into the tracked objects, on the devices where they are.

    ``weights_only``: it holds models and nothing of how they were trained; the rest begins anew.
    Raise ``CheckpointMismatch`` before anything is changed in the object that does not fit.
    """
    present = [*tracked.models, *tracked.optimizers, *tracked.others]
    if weights_only:
        _same_names(set(plain), set(plain) & set(tracked.models), "models", path)
        tracked = Tracked({name: tracked.models[name] for name in plain}, {}, {})
    else:
        _same_names(set(plain), set(present), "tracked objects", path)
    for name, model in tracked.models.items():
        _restore_model(name, model, source, plain[name], path)
    names = parameter_names(tracked.models)
    for name, optimizer in tracked.optimizers.items():
        _restore_optimizer(name, optimizer, names, source, plain[name], path)
    for name, thing in tracked.others.items():
        thing.load_state_dict(cast(dict[str, Any], _unpack(plain[name], source)))


def _restore_model(
    name: str,
    model: nn.Module,
    source: Source,
    plain: Mapping[str, Any],
    path: str,
) -> None:
    if plain.keys() != {"extra"}:
        raise CheckpointMismatch(path, f"{name} was no model")
    wanted = {key: f"{name}/{clean_name(key)}" for key in model.state_dict()}
    extra = plain["extra"]
    saved = {key for key in (*source.tensors, *extra) if key.startswith(f"{name}/")}
    for key, full in wanted.items():  # of tied parameters others store one name
        wanted[key] = full if full in saved else _tied_name(model, key, wanted, saved)
    _same_names(saved, set(wanted.values()), f"tensors of {name}", path)
    loaded: dict[str, Any] = {}
    for key, current in model.state_dict().items():
        full = wanted[key]
        if full in extra:
            loaded[key] = _unpack(extra[full], source)
            continue
        value = source.tensors[full]
        if value.shape != current.shape and full not in source.boxes:
            raise CheckpointMismatch(
                path,
                f"{full} has shape {tuple(value.shape)}, the model's is {tuple(current.shape)}",
            )
        if not torch.can_cast(value.dtype, current.dtype):  # torch would cut 2.7 to 2
            raise CheckpointMismatch(path, f"{full} is {value.dtype}, the model's {current.dtype}")
        loaded[key] = value
    for key, current in model.state_dict().items():
        if isinstance(current, DTensor):  # in place: a copy would need the memory once more
            fill(current, loaded[key], is_box=wanted[key] in source.boxes)
            loaded[key] = current
    model.load_state_dict(loaded)


def _restore_optimizer(
    name: str,
    optimizer: Optimizer,
    names: Mapping[int, str],
    source: Source,
    plain: Mapping[str, Any],
    path: str,
) -> None:
    if plain.keys() != {"groups", "slots"}:
        raise CheckpointMismatch(path, f"{name} was no optimizer")
    groups = plain["groups"]
    current = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    if [sorted(group["parameters"]) for group in groups] != [sorted(group) for group in current]:
        raise CheckpointMismatch(path, f"the parameter groups of {name} hold other parameters")
    index_of = {full: index for index, full in enumerate(chain.from_iterable(current))}
    state = {index_of[full]: _unpack(entry, source) for full, entry in plain["slots"].items()}
    options = [cast(dict[str, Any], _unpack(group["options"], source)) for group in groups]
    optimizer.load_state_dict(
        {
            "state": state,
            "param_groups": [
                {**option, "params": [index_of[full] for full in held]}
                for option, held in zip(options, current, strict=True)
            ],
        }
    )
    for parameter in _parameters(optimizer):
        full = names[id(parameter)]
        before = source.tensors.get(full)
        if before is not None and before.dtype == parameter.dtype:
            _keep_types(optimizer.state[parameter], state.get(index_of[full]))


def _keep_types(slots: dict[str, Any], saved: object) -> None:
    """torch gives all state the type of its parameter, also a float32 of a bfloat16's."""
    for slot, value in saved.items() if isinstance(saved, dict) else ():
        if isinstance(value, torch.Tensor) and slots[slot].dtype != value.dtype:
            slots[slot] = value.to(slots[slot].device)


def _tied_name(model: nn.Module, key: str, names: Mapping[str, str], saved: Collection[str]) -> str:
    """The saved name of the parameter that is also ``key``; without one, the name of ``key``."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    same = [other for other, one in parameters.items() if one is parameters.get(key)]
    return next((names[other] for other in same if names.get(other) in saved), names[key])


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


def _unpack(value: Any, source: Source) -> object:  # noqa: ANN401
    match value:
        case {"$tensor": name}:
            return source.get(name)
        case {"$tuple": items}:
            return tuple(cast(list[object], _unpack(items, source)))
        case {"$counter": counts}:
            return Counter(cast(dict[Any, int], _unpack(counts, source)))
        case {"$items": pairs}:
            return {_unpack(k, source): _unpack(v, source) for k, v in pairs}
        case dict():
            return {key: _unpack(item, source) for key, item in value.items()}
        case list():
            return [_unpack(item, source) for item in value]
        case _:
            return value
