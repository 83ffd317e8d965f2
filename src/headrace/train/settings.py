"""The job file's words about training against the code's. Pure but for torch's names of types."""

from collections.abc import Mapping
from typing import Literal, overload

import torch

from headrace.checkpoint.retention import Best, Keep
from headrace.core.order import SessionSettings
from headrace.train.errors import Contradiction, MissingValue, UnsupportedLayout
from headrace.train.sharding import Degrees

DEFAULT_KEEP = 3
_PRECISIONS = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
}
_UNSPLIT = ("tp", "pp", "cp")


@overload
def choose(name: str, in_code: int | None, in_job: int | None) -> int | None: ...
@overload
def choose(name: str, in_code: int | None, in_job: int | None, *, needed: Literal[True]) -> int: ...
def choose(
    name: str, in_code: int | None, in_job: int | None, *, needed: bool = False
) -> int | None:
    """The one value that code and job file agree on. Raise ``Contradiction``, ``MissingValue``."""
    if in_code is not None and in_job is not None and in_code != in_job:
        raise Contradiction(name, in_code=in_code, in_job=in_job)
    chosen = in_code if in_code is not None else in_job
    if chosen is None and needed:
        raise MissingValue(name, remedy=f"run.batches(dataset, {name}=512)")
    return chosen


def keep_of(settings: SessionSettings) -> Keep:
    """Which checkpoints the job file keeps."""
    best = settings.checkpoint_best
    return Keep(
        last=settings.checkpoint_keep or DEFAULT_KEEP,
        every=settings.checkpoint_keep_every,
        best=None if best is None else Best(*best),
    )


def precision_of(name: str | None) -> torch.dtype:
    """Raise ``UnsupportedLayout`` for a precision that is not trained in."""
    if name is None:
        return torch.float32
    if name not in _PRECISIONS:
        raise UnsupportedLayout(f"precision: {name}", nearest="precision: bf16")
    return _PRECISIONS[name]


def degrees(layout: Mapping[str, int | str] | None, *, world_size: int) -> Degrees:
    """How the model is spread over all ranks. Raise ``UnsupportedLayout`` for what is neither data
    parallelism nor FSDP nor both."""
    asked = dict(layout or {})
    for name in _UNSPLIT:
        if asked.get(name, 1) not in (1, "auto"):
            raise UnsupportedLayout(
                f"layout: {name}: {asked[name]} on {world_size} ranks",
                nearest=f"layout: {{{name}: 1}}",
            )
    if asked.get("recompute", "none") not in ("none", "auto"):
        raise UnsupportedLayout(
            f"layout: recompute: {asked['recompute']}", nearest="layout: {recompute: none}"
        )
    parts, replicas = asked.get("fsdp", "auto"), asked.get("dp", "auto")
    parts = parts if isinstance(parts, int) else 1
    replicas = replicas if isinstance(replicas, int) else max(1, world_size // parts)
    if parts * replicas != world_size:
        fits = world_size % parts == 0
        nearest = f"dp: {world_size // parts}, fsdp: {parts}" if fits else f"fsdp: {world_size}"
        words = ", ".join(f"{name}: {asked[name]}" for name in ("dp", "fsdp") if name in asked)
        raise UnsupportedLayout(
            f"layout: {{{words}}} on {world_size} ranks", nearest=f"layout: {{{nearest}}}"
        )
    return Degrees(replicas, parts)
