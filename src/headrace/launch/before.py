"""What runs on a node before its ranks: their Python and data are brought near, then the job's own
setup."""

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.core.events import Staged
from headrace.core.order import DataPlace, Order
from headrace.core.records import encode
from headrace.core.rundir import RunDir

RANK = -1
"""In place of a rank's number, in the log."""

_CACHE_VARIABLES = ("HEADRACE_CACHE", "HEADRACE_CACHE_MEMORY", "HEADRACE_CACHE_LIMIT")
_PYTHON_VARIABLES = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "LD_LIBRARY_PATH")


class Step(NamedTuple):
    """``environment`` None: as ranks have it."""

    what: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] | None = None


def steps(run: RunDir, order: Order, node: str, submitter: Mapping[str, str]) -> list[Step]:
    """In order. Staging runs on our own Python; where copies go, the user says."""
    found = []
    asked = {**submitter, **order.env}
    own = {name: asked[name] for name in _CACHE_VARIABLES if name in asked}
    staged = {
        "Python": ("near_python", order.python is not None),
        "data": ("staging", any(source.tier for source in order.data)),
    }
    for what, (module, wanted) in staged.items():
        if wanted:
            argv = (sys.executable, "-m", f"headrace.launch.{module}", str(run.root), node)
            environment = {**os.environ, **own, "HEADRACE_NODE": node}
            found.append(Step(f"staging of {what}", argv, environment))
    if order.setup is not None:
        found.append(Step("setup", ("/bin/bash", "-c", order.setup)))
    return found


def near(
    order: Order, staged: Sequence[Staged], argv: Sequence[str], environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """How a rank is started beside what was brought near. Pure."""
    environment = data_environment(order.data, staged, environment)
    python = order.python
    tree = next((one.tree for one in staged if python and one.source == python.names[0]), None)
    if python is None or tree is None:
        return tuple(argv), environment
    names = "|".join(map(re.escape, sorted(python.names, key=len, reverse=True)))
    in_bin = re.compile(rf"(?<![\w./~-])(?:{names})(?=/bin/)")
    moved = {
        name: os.pathsep.join(
            re.sub(rf"^(?:{names})(?=/|$)", lambda _: tree, part)
            for part in environment[name].split(os.pathsep)
        )
        for name in _PYTHON_VARIABLES
        if name in environment
    }
    return tuple(in_bin.sub(lambda _: tree, word) for word in argv), environment | moved


def data_environment(
    data: Sequence[DataPlace], staged: Sequence[Staged], environment: Mapping[str, str]
) -> dict[str, str]:
    """``environment``, with how a rank finds its data. Pure.

    ``HEADRACE_DATA_<i>`` is where to read source i, the whole copy of it or itself, and
    ``HEADRACE_DATA`` the first; ``HEADRACE_STAGED`` is for ``headrace.data``, which finds the
    copies of a source's files by itself, also where only some were copied. Copies are bound in an
    image, too: ``APPTAINER_BIND``, as in apptainer-exec(1).
    """
    if not data:
        return dict(environment)
    near = {one.source: one for one in staged}
    trees = [one.source in near and near[one.source].tree for one in data]
    paths = [tree or one.source for tree, one in zip(trees, data, strict=True)]
    found = {f"HEADRACE_DATA_{number}": path for number, path in enumerate(paths)}
    sources = {one.source for one in data}
    roots = {one.source: one.root for one in staged if one.root and one.source in sources}
    if roots:
        found["HEADRACE_STAGED"] = encode(roots).decode()
        found["APPTAINER_BIND"] = ",".join(
            filter(None, [environment.get("APPTAINER_BIND"), *dict.fromkeys(roots.values())])
        )
    return {**environment, "HEADRACE_DATA": paths[0], **found}


def keep(run_id: str, staged: Sequence[Staged]) -> None:
    """Show who cannot see our process, from a container, that copies are in use."""
    for one in staged:
        with contextlib.suppress(OSError):
            os.utime(os.path.join(one.root or "", "users", f"{run_id}.{one.node}.json"))


def damaged_copies(staged: Sequence[Staged]) -> list[str]:
    """A sentence for each source of which ranks found copies on this node damaged."""
    found = []
    for one in staged:
        try:
            count = len(os.listdir(os.path.join(one.root or "", "bad")))
        except OSError:
            continue
        if count:
            copies = "1 copy" if count == 1 else f"{count} copies"
            found.append(
                f"{copies} of {one.source} on {one.node} had wrong bytes; the source was read "
                "instead, and the next run copies anew"
            )
    return found
