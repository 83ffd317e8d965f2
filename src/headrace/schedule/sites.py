"""Where a run may go: partitions, features and switches as sets of nodes. Built once a cluster."""

import re
from collections.abc import Sequence

from headrace.schedule.cluster import Cluster
from headrace.schedule.pool import node_set
from headrace.schedule.queue import Queued

_TERM = re.compile(r"[\w.:+-]+")


class Sites:
    """``everywhere``: all nodes. ``leaves``: the nodes of each leaf switch."""

    def __init__(self, cluster: Cluster) -> None:
        self.index = {node.name: number for number, node in enumerate(cluster.nodes)}
        self.everywhere = (1 << len(cluster.nodes)) - 1
        self.partitions = {
            partition.name: self.named(partition.nodes) if partition.nodes else self.everywhere
            for partition in cluster.partitions
        }
        self.default = next(
            (self.partitions[one.name] for one in cluster.partitions if one.default),
            self.everywhere,
        )
        self.features: dict[str, int] = {}
        switches: dict[str, int] = {}
        for number, node in enumerate(cluster.nodes):
            for feature in node.features:
                self.features[feature] = self.features.get(feature, 0) | 1 << number
            if node.switch:
                switches[node.switch] = switches.get(node.switch, 0) | 1 << number
        self.leaves: Sequence[int] = tuple(switches.values())
        self._allowed: dict[tuple[tuple[str, ...], str | None], int] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "Sites":
        return self

    def named(self, names: Sequence[str]) -> int:
        """The set of these nodes; names of nodes that are gone are left out."""
        return node_set(self.index[name] for name in names if name in self.index)

    def allowed(self, job: Queued) -> int:
        """The nodes of its partitions that have its features, at any time."""
        wanted = (job.partitions, job.constraint)
        found = self._allowed.get(wanted)
        if found is None:
            found = self.partitions_of(job)
            if job.constraint is not None:
                found &= self.having(job.constraint)
            self._allowed[wanted] = found
        return found

    def partitions_of(self, job: Queued) -> int:
        """All nodes of its partitions."""
        if not job.partitions:
            return self.default
        found = 0
        for name in job.partitions:
            found |= self.partitions.get(name, 0)
        return found

    def having(self, constraint: str) -> int:
        """Nodes for ``a&b``, ``a|b`` or ``a&b|c``: & binds closer, as in Slurm. [a|b] is a|b."""
        found = 0
        for either in constraint.strip("[]").split("|"):
            nodes = self.everywhere
            for term in _TERM.findall(either):
                nodes &= self.features.get(term, 0)
            found |= nodes
        return found
