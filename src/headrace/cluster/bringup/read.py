"""Read SITE.toml. Nodes may be described by what ``headrace nodes --json`` printed on one of them.

``[[nodes]] probe = "gpu01.json"`` fills in sockets, cores, memory and GPUs; keys beside it win.
"""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.cluster.bringup.errors import SiteUnreadable
from headrace.cluster.bringup.site import Site
from headrace.cluster.nodes.node import Gpu, Node
from headrace.core.records import DecodeError, Record, convert, decode

_KEPT_RATIO = 0.95
"""Of a node's memory for jobs; the rest is the operating system's and slurmd's."""
_MIB = 1 << 20


class Probed(Record, frozen=True, kw_only=True):
    """What ``headrace nodes --json`` prints."""

    nodes: tuple[Node, ...]


def read_site(path: Path) -> Site:
    """Raise ``SiteUnreadable``."""
    try:
        table = tomllib.loads(path.read_text())
        groups = table.get("nodes", [])
        if isinstance(groups, list):
            table["nodes"] = [_with_probe(group, path.parent) for group in groups]
        return convert(table, Site)
    except OSError as error:
        name = Path(error.filename or path)
        raise SiteUnreadable(name, error.strerror or str(error), "name a file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteUnreadable(path, str(error), "mend that line; it is TOML") from None
    except DecodeError as error:
        remedy = "docs/reference/virtual-cluster.md lists the keys of a site file"
        raise SiteUnreadable(path, str(error), remedy) from None


def _with_probe(group: Any, folder: Path) -> Any:  # noqa: ANN401
    if not isinstance(group, dict) or "probe" not in group:
        return group
    rest = {key: value for key, value in group.items() if key != "probe"}
    found = decode((folder / str(group["probe"])).read_bytes(), Probed)
    return {**nodes_table(found.nodes[0]), **rest} if found.nodes else rest


def nodes_table(node: Node) -> dict[str, object]:
    """A probed node as a table of SITE.toml."""
    sockets = max(1, node.sockets)
    return {
        "names": node.hostname,
        "sockets": sockets,
        "cores_per_socket": max(1, node.cores // sockets),
        "threads_per_core": max(1, node.threads // max(1, node.cores)),
        "memory_mib": int(node.memory_total_bytes * _KEPT_RATIO) // _MIB,
        "gpus": [_gpu_table(node, set_) for set_ in _sets(node.gpus)],
    }


def gpu_type(name: str) -> str:
    """ "h100" for "NVIDIA H100 80GB HBM3": the word that is a model, or all of it in one word."""
    found = re.search(r"\b[A-Z]{1,3}\d{1,4}[A-Za-z]*\b", name.removeprefix("NVIDIA "))
    return (found[0] if found else re.sub(r"\W+", "_", name)).lower()


def _sets(gpus: Sequence[Gpu]) -> list[list[Gpu]]:
    """Neighbours of one type on one NUMA node: those have the same cores beside them."""
    found: list[list[Gpu]] = []
    for gpu in sorted(gpus, key=lambda gpu: gpu.index):
        last = found[-1][-1] if found else None
        if last is not None and (last.name, last.numa_node) == (gpu.name, gpu.numa_node):
            found[-1].append(gpu)
        else:
            found.append([gpu])
    return found


def _gpu_table(node: Node, gpus: Sequence[Gpu]) -> dict[str, object]:
    first, last = gpus[0].index, gpus[-1].index
    table: dict[str, object] = {
        "type": gpu_type(gpus[0].name),
        "count": len(gpus),
        "files": f"/dev/nvidia{first}" if first == last else f"/dev/nvidia[{first}-{last}]",
    }
    cores = _cores(node, gpus[0].numa_node)
    return table if cores is None else {**table, "cores": cores}


def _cores(node: Node, numa: int | None) -> str | None:
    """Cores as Slurm numbers them, or None where the kernel's numbers do not run socket by socket.

    Linux counts the first thread of every core, then the second ones: CPU numbers below the count
    of cores are core numbers, if those of a NUMA node follow each other.
    """
    cpus = [cpu for one in node.numa if one.index == numa for cpu in one.cpus if cpu < node.cores]
    if not cpus or cpus != list(range(cpus[0], cpus[-1] + 1)):
        return None
    return f"{cpus[0]}-{cpus[-1]}"
