"""Amounts in ``#SBATCH`` lines: totals and amounts a task become amounts a node.

Slurm lets a job ask for tasks, GPUs and memory in several ways at once; a job here has nodes, GPUs
a node, ranks a node and memory a node. What does not divide evenly is an error with the numbers.
"""

import re
from typing import Protocol

from headrace.core.units import format_bytes, parse_bytes
from headrace.spec.errors import SbatchInvalid

Options = dict[str, tuple[str, int]]
"""Long name -> (value, line)."""

AMOUNTS = (
    "nodes",
    "ntasks",
    "ntasks-per-node",
    "gpus",
    "gpus-per-node",
    "gpus-per-task",
    "gres",
    "mem",
    "mem-per-cpu",
    "mem-per-gpu",
)
"""Options this file reads."""


class Fields(Protocol):
    """Where results go; ``file`` is what errors call the script."""

    file: str

    def put(self, path: tuple[str, ...], value: object, option: str, line: int) -> None: ...
    def keep(self, option: str, value: str, line: int) -> None: ...
    def note(self, text: str, line: int) -> None: ...


def divide(options: Options, fields: Fields) -> None:
    """Put nodes, ranks, GPUs and memory a node into ``fields``. Raise ``SbatchInvalid``."""
    nodes, ranks = _tasks(options, fields)
    gpus = _gpus(options, fields, nodes=nodes, ranks=ranks)
    _memory(options, fields, ranks=ranks, gpus=gpus)


def _whole(options: Options, name: str, fields: Fields) -> int | None:
    """The value of an option that is a number; None when it is not given."""
    if name not in options:
        return None
    value, line = options[name]
    if not re.fullmatch(r"[1-9]\d{0,8}", value, re.ASCII):
        raise _not_dividing(
            name, line, fields, f'"{value}" is not a number', "it is 1 or more", f"--{name}=8"
        )
    return int(value)


def _tasks(options: Options, fields: Fields) -> tuple[int | None, int | None]:
    """(nodes, ranks a node) where they are numbers."""
    per_node = _whole(options, "ntasks-per-node", fields)
    total = _whole(options, "ntasks", fields)
    nodes = None
    if "nodes" in options:
        value, line = options["nodes"]
        fields.put(("nodes",), value, "nodes", line)
        nodes = int(value) if re.fullmatch(r"[1-9]\d{0,8}", value, re.ASCII) else None
    if per_node is not None:
        fields.put(("ranks_per_node",), per_node, "ntasks-per-node", options["ntasks-per-node"][1])
    if total is None:
        return nodes or (None if "nodes" in options else 1), per_node
    line = options["ntasks"][1]
    if "nodes" in options and nodes is None:
        if per_node is None:
            fix = "--ntasks-per-node=8"
            what = f"{total} tasks on a range of nodes"
            raise _not_dividing("ntasks", line, fields, what, "ranks are a number a node", fix)
        return None, per_node
    return _divided_tasks(total, nodes, per_node, line, fields)


def _divided_tasks(
    total: int, nodes: int | None, per_node: int | None, line: int, fields: Fields
) -> tuple[int, int]:
    if nodes is None and per_node is None:
        fields.put(("ranks_per_node",), total, "ntasks", line)
        fields.note(f"{total} tasks and no --nodes: all on one node here", line)
        return 1, total
    size = nodes or per_node or 1
    if total % size or (nodes and per_node and nodes * per_node != total):
        unit = "nodes" if nodes else "tasks a node"
        wanted = nodes * per_node if nodes and per_node else -(-total // size) * size
        what = f"{total} tasks do not divide over {size} {unit}"
        if nodes and per_node:
            what = f"{total} tasks are not {nodes} nodes of {per_node}"
        rule = "each node runs the same number of ranks"
        raise _not_dividing("ntasks", line, fields, what, rule, f"--ntasks={wanted}")
    if nodes is None:
        fields.put(("nodes",), total // size, "ntasks", line)
        return total // size, size
    fields.put(("ranks_per_node",), total // size, "ntasks", line)
    return nodes, total // size


def _gpus(options: Options, fields: Fields, *, nodes: int | None, ranks: int | None) -> int | None:
    """GPUs a node. --gpus-per-node, else --gres=gpu, else --gpus-per-task, else --gpus."""
    found: tuple[str, str, int] | None = None
    if "gres" in options:
        value, line = options["gres"]
        generic = value.split(",")
        ours = [part for part in generic if re.fullmatch(r"(gres[:/])?gpu([:=].*)?", part)]
        others = [part for part in generic if part not in ours]
        if others:
            fields.keep("gres", ",".join(others), line)
        if ours:
            request = re.sub(r"^(gres[:/])?gpu[:=]?", "", ours[0])
            found = ("gres", _with_count(request), line)
    for option, factor in (("gpus-per-task", ranks or 1), ("gpus", None), ("gpus-per-node", 1)):
        if option not in options or (option == "gpus" and found):
            continue
        value, line = options[option]
        if option == "gpus":
            value = _shared(value, nodes, line, fields)
        elif factor != 1 and factor is not None:
            value = _scaled(value, factor)
        found = (option, _with_count(value), line)
    if found is None:
        return None
    option, request, line = found
    fields.put(("gpus_per_node",), request, option, line)
    count = request.rpartition(":")[2]
    return int(count) if count.isdecimal() else None


def _with_count(request: str) -> str:
    """ "" is 1, "h100" is "h100:1"; a flag of gres such as (S:0-1) is dropped."""
    bare = request.partition("(")[0]
    return bare if bare[-1:].isdecimal() and _count_of(bare) else f"{bare}:1".lstrip(":")


def _count_of(request: str) -> str:
    """The digits after the type, "" when there is only a type."""
    last = request.rpartition(":")[2]
    return last if last.isdecimal() else ""


def _scaled(request: str, factor: int) -> str:
    kind, colon, _ = request.rpartition(":")
    count = _count_of(request)
    return f"{kind}{colon}{int(count) * factor}" if count else f"{request}:{factor}"


def _shared(request: str, nodes: int | None, line: int, fields: Fields) -> str:
    """A total of GPUs as GPUs a node."""
    kind, colon, _ = request.rpartition(":")
    count = int(_count_of(request) or 1)
    if nodes is None or count % nodes:
        over = f"{nodes} nodes" if nodes else "a range of nodes"
        each = max(1, -(-count // nodes)) if nodes else count
        what = f"{count} GPUs do not divide over {over}"
        rule = "each node has the same number of GPUs"
        fix = f"--gpus-per-node={kind}{colon}{each}"
        raise _not_dividing("gpus", line, fields, what, rule, fix)
    return f"{kind}{colon}{count // nodes}"


def _memory(options: Options, fields: Fields, *, ranks: int | None, gpus: int | None) -> None:
    """--mem as it is; --mem-per-cpu and --mem-per-gpu times what a node has of them."""
    cpus = options.get("cpus-per-task", ("1", 0))[0]
    cpus_per_node = (ranks or 1) * int(cpus) if re.fullmatch(r"\d{1,6}", cpus, re.ASCII) else None
    for option, times in (("mem-per-gpu", gpus), ("mem-per-cpu", cpus_per_node), ("mem", 1)):
        if option not in options:
            continue
        value, line = options[option]
        if re.fullmatch(r"0[KMGT]?", value) or not times:
            fields.keep(option, value, line)
            fields.note(f"--{option}={value} is kept for Slurm; memory is left open here", line)
            continue
        try:
            size = format_bytes(parse_bytes(value) * times)
        except ValueError:
            size = value
        fields.put(("memory",), size, option, line)


def _not_dividing(
    option: str, line: int, fields: Fields, what: str, rule: str, fix: str
) -> SbatchInvalid:
    return SbatchInvalid(
        what,
        rule=rule,
        fix=f"#SBATCH {fix}",
        file=fields.file,
        line=line,
        field=f"--{option}",
        nearest=f"#SBATCH {fix}",
    )
