"""Floating point types converted without torch, rounding to nearest, ties to even. Pure.

bfloat16 is the upper half of a float32: NumPy has no such type. A float64 becomes one by way of
float32, as in torch.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types that are converted; tensors of others stay as they are."""

_NUMPY: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
}


def convert(data: npt.NDArray[np.uint8], source: str, target: str) -> npt.NDArray[np.uint8]:
    """The bytes of elements of type ``source`` as ones of type ``target``. Both are ``FLOATS``."""
    flat = np.ascontiguousarray(data).reshape(-1)
    if source == target:
        return flat
    if source == "BF16":
        wide = (flat.view("<u2").astype("<u4") << 16).view("<f4")
        return wide.view(np.uint8) if target == "F32" else _narrow(wide, target)
    if target == "BF16":
        return _to_bf16(_narrow(flat.view(_NUMPY[source]), "F32").view("<f4"))
    return _narrow(flat.view(_NUMPY[source]), target)


def _narrow(numbers: npt.NDArray[Any], target: str) -> npt.NDArray[np.uint8]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found: npt.NDArray[np.uint8] = numbers.astype(_NUMPY[target]).view(np.uint8)
    return found


def _to_bf16(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    bits = numbers.view("<u4")
    odd = (bits >> 16) & 1
    rounded = ((bits + np.uint32(0x7FFF) + odd) >> 16).astype("<u2")
    quiet = ((bits >> 16) | 0x40).astype("<u2")  # a NaN stays one
    return np.where(np.isnan(numbers), quiet, rounded).astype("<u2").view(np.uint8)
