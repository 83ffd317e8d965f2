"""The job file's words about training against the code's. Pure but for torch's names of types."""

from collections.abc import Mapping
from typing import Literal, overload

import torch

from headrace.train.errors import Contradiction, MissingValue, UnsupportedLayout

_PRECISIONS = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
}
_UNSPLIT = ("fsdp", "tp", "pp", "cp")


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


def precision_of(name: str | None) -> torch.dtype:
    """Raise ``UnsupportedLayout`` for a precision that is not trained in."""
    if name is None:
        return torch.float32
    if name not in _PRECISIONS:
        raise UnsupportedLayout(f"precision: {name}", nearest="precision: bf16")
    return _PRECISIONS[name]


def check_layout(layout: Mapping[str, int | str] | None, *, world_size: int) -> None:
    """Raise ``UnsupportedLayout`` for what is not plain data parallelism over all ranks."""
    for name, value in (layout or {}).items():
        allowed: tuple[int | str, ...]
        if name == "dp":
            allowed = (world_size, "auto")
        elif name in _UNSPLIT:
            allowed = (1, "auto")
        elif name == "recompute":
            allowed = ("none", "auto")
        else:
            continue
        if value not in allowed:
            raise UnsupportedLayout(
                f"layout: {name}: {value} on {world_size} ranks",
                nearest=f"layout: {{{name}: {allowed[0]}}}",
            )
