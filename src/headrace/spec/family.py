"""The elements of a sweep or an array: which runs one description stands for."""

import re
from dataclasses import dataclass
from itertools import product

from headrace.spec.job import JobSpec

_BRACES = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class ArrayElement:
    """One run of a family. ``values`` is empty for an array, which has indices only."""

    index: int
    values: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The values as ``HEADRACE_SWEEP_<NAME>``."""
        return {f"HEADRACE_SWEEP_{name.upper()}": value for name, value in self.values.items()}


def expand(spec: JobSpec) -> tuple[ArrayElement, ...]:
    """All elements: the Cartesian product of a sweep (the last name varies fastest), or the
    indices of an array. Empty for a description of one run."""
    if spec.array is not None:
        return tuple(ArrayElement(index, {}) for index in spec.array.indices)
    if not spec.sweep:
        return ()
    combinations = product(*spec.sweep.values())
    return tuple(
        ArrayElement(index, dict(zip(spec.sweep, values, strict=True)))
        for index, values in enumerate(combinations)
    )


def element_spec(spec: JobSpec, element: ArrayElement) -> JobSpec:
    """The description of one element: ``{lr}`` in ``run`` and ``command`` replaced, values in
    ``env``. A ``{name}`` that is no name of the sweep, and the shell's ``${name}``, stay."""

    def filled(text: str) -> str:
        return _BRACES.sub(lambda found: element.values.get(found[1], found[0]), text)

    changed: dict[str, object] = {"sweep": {}, "array": None}
    changed["env"] = {**spec.env, **element.environment}
    if spec.run is not None:
        changed["run"] = filled(spec.run)
    if spec.command is not None:
        changed["command"] = tuple(filled(word) for word in spec.command)
    return spec.model_copy(update=changed)
