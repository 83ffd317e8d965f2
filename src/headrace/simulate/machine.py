"""A cluster in short form, ``321x8gpu``, and a trace fitted to another cluster than its own.

    CLUSTER = GROUP+GROUP...      64xH100:8,96cpu,1T+16x128cpu
    GROUP   = NODESxPART,PART...  PART: 8gpu or H100:8 (GPUs), 96cpu (CPUs), 512G (memory)

CPUs that are not named are 16 for each GPU; memory that is not named is never what is short.
"""

import re
from collections import Counter

from headrace.core.records import replace
from headrace.core.units import parse_bytes
from headrace.schedule.capacity import is_kind_name
from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.request import Request
from headrace.simulate.errors import ClusterInvalid
from headrace.simulate.readers.remarks import jobs_of
from headrace.simulate.trace import Trace, TraceJob

_GROUP = re.compile(r"(\d{1,6})x(\S+)", re.ASCII | re.IGNORECASE)
_GPUS = re.compile(r"(\d{1,4})gpus?|(\w[\w.-]*):(\d{1,4})", re.ASCII | re.IGNORECASE)
_CPUS = re.compile(r"(\d{1,6})cpus?", re.ASCII | re.IGNORECASE)
_CPUS_PER_GPU = 16
_NEVER_SHORT_BYTES = 1 << 50
_ANY_GPU = "gpu"
_NODES_MAX = 200_000
_NAMED_MAX = 5
_FEATURE = re.compile(r"[\w.:+-]+")
_RULE = "it is NODESxGPUSgpu, as 321x8gpu, 64xH100:8,96cpu,1T or 100x64cpu; groups joined by +"


def parse_cluster(text: str) -> Cluster:
    """Nodes n1, n2, ... in the order written. Raise ``ClusterInvalid``."""
    nodes: list[NodeSpec] = []
    for group in text.replace(" ", "").split("+"):
        found = _GROUP.fullmatch(group)
        if found is None:
            raise ClusterInvalid(text, _RULE)
        count = int(found[1])
        if not 0 < count <= _NODES_MAX - len(nodes):
            raise ClusterInvalid(text, f"a cluster has 1 to {_NODES_MAX:,} nodes")
        like = _node(found[2], text)
        first = len(nodes) + 1
        nodes += [replace(like, name=f"n{number}") for number in range(first, first + count)]
    return Cluster(nodes=tuple(nodes))


def _node(parts: str, text: str) -> NodeSpec:
    gpus: list[tuple[str, int]] = []
    cpus, memory_bytes = 0, _NEVER_SHORT_BYTES
    for part in parts.split(","):
        if found := _GPUS.fullmatch(part):
            gpus.append((found[2] or _ANY_GPU, int(found[1] or found[3])))
        elif found := _CPUS.fullmatch(part):
            cpus = int(found[1])
        else:
            try:
                memory_bytes = parse_bytes(part)
            except ValueError:
                raise ClusterInvalid(text, _RULE) from None
    cpus = cpus or _CPUS_PER_GPU * sum(count for _, count in gpus)
    if not cpus:
        raise ClusterInvalid(text, "a node has 1 CPU or GPU or more", nearest="100x64cpu")
    return NodeSpec(name="n", cpus=cpus, memory_bytes=memory_bytes, gpus=tuple(gpus))


def onto(trace: Trace, cluster: Cluster) -> Trace:
    """The trace on ``cluster``: what its jobs ask for by names the cluster lacks is left out.

    Partitions, features and GPU types are such names; the notes say which, and of how many jobs.
    """
    names = _Names(cluster)
    jobs = tuple(names.fit(one) for one in trace.jobs)
    return replace(trace, jobs=jobs, cluster=cluster, notes=(*trace.notes, *names.notes()))


class _Names:
    """What has a name in a cluster, and what jobs named that it has not."""

    def __init__(self, cluster: Cluster) -> None:
        self.partitions = {one.name for one in cluster.partitions}
        self.features = {feature for node in cluster.nodes for feature in node.features}
        self.gpus = {kind for node in cluster.nodes for kind, _ in node.gpus}
        self.missing: dict[str, Counter[str]] = {}
        self._typeless: dict[Request, Request] = {}

    def fit(self, one: TraceJob) -> TraceJob:
        job = one.job
        partitions = tuple(name for name in job.partitions if name in self.partitions)
        constraint, request = self._constraint(job.constraint), self._request(job.request)
        if (
            partitions == job.partitions
            and constraint == job.constraint
            and (request is job.request)
        ):
            return one
        for what, before, after in (
            ("partition", ",".join(job.partitions), ",".join(partitions)),
            ("feature", job.constraint or "", constraint or ""),
            ("GPU type", job.request.gpu_type or "", request.gpu_type or ""),
        ):
            if before != after:
                self.missing.setdefault(what, Counter())[before] += 1
        fitted = replace(job, partitions=partitions, constraint=constraint, request=request)
        return replace(one, job=fitted)

    def notes(self) -> list[str]:
        return [
            f"{jobs_of(found.total())} named a {what} that this cluster lacks; it was left out: "
            f"{', '.join(name for name, _ in found.most_common(_NAMED_MAX))}"
            for what, found in self.missing.items()
        ]

    def _constraint(self, text: str | None) -> str | None:
        """All of it, or nothing where one feature is unknown."""
        if text is None or self.features.issuperset(_FEATURE.findall(text)):
            return text
        return None

    def _request(self, request: Request) -> Request:
        wanted = request.gpu_type
        if wanted is None or any(is_kind_name(kind, wanted) for kind in self.gpus):
            return request
        found = self._typeless.get(request)
        if found is None:
            found = self._typeless[request] = replace(request, gpu_type=None)
        return found
