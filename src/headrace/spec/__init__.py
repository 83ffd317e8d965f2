"""What is asked: job file, flags, ``#SBATCH`` lines or Python, read into one ``JobSpec``.

``load_file``, ``load_text``, ``from_flags``, ``make`` give a ``JobSpec``; ``to_yaml`` writes one;
``expand`` lists the runs of a sweep or an array; ``json_schema`` describes the file to editors.
Names are imported when they are first used, so that a type costs no YAML.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.spec.errors import SpecError
    from headrace.spec.family import ArrayElement, element_spec, expand
    from headrace.spec.job import JobSpec
    from headrace.spec.load import from_flags, load_file, load_text, make, read_submitted, script_of
    from headrace.spec.schema import json_schema
    from headrace.spec.write import to_yaml

__all__ = [
    "ArrayElement",
    "JobSpec",
    "SpecError",
    "element_spec",
    "expand",
    "from_flags",
    "json_schema",
    "load_file",
    "load_text",
    "make",
    "read_submitted",
    "script_of",
    "to_yaml",
]

_HOMES = {
    "ArrayElement": "family",
    "JobSpec": "job",
    "SpecError": "errors",
    "element_spec": "family",
    "expand": "family",
    "from_flags": "load",
    "json_schema": "schema",
    "load_file": "load",
    "load_text": "load",
    "make": "load",
    "read_submitted": "load",
    "script_of": "load",
    "to_yaml": "write",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"headrace.spec.{_HOMES[name]}"), name)
