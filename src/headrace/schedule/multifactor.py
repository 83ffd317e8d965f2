"""Slurm's multifactor priority.

    P = age + assoc + fairshare + job size + partition + qos + TRES - nice

Each of them is a factor from 0 to 1 times its weight. P is a whole number from 1 to 4294967295, and
0 while the run is held. The partition's tier comes before P; then the submission, then the id.

Age counts from when the run was eligible: submitted, and its begin time come. A run that waits for
others does not age: the caller says as ``eligible_s`` when it became eligible, and leaves ``now_s``
where it was while it is not. The fair share is as of the last ``recalculate``.

A run in several partitions counts as in the one of the highest tier, then factor.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from headrace.core.records import Record
from headrace.schedule.associations import Associations
from headrace.schedule.billing import Amounts, amounts_of, tres_of
from headrace.schedule.cluster import Cluster, NodeSpec, Partition
from headrace.schedule.decide import natural
from headrace.schedule.fairtree import Seat, Usage, fair_share
from headrace.schedule.queue import Queued

HIGHEST = 0xFFFFFFFF
SortKey = tuple[int, float, tuple[tuple[bool, int | str], ...]]

_natural = lru_cache(maxsize=1 << 16)(natural)


class Factor(Record, frozen=True, kw_only=True):
    """``raw``: the factor; ``weighted``: what it adds to the priority."""

    raw: float = 0.0
    weighted: float = 0.0


class Factors(Record, frozen=True, kw_only=True):
    """``tres``: by resource, those that have a weight. ``site``: what a plugin of the site adds, on
    Slurm. ``total``: the priority."""

    age: Factor
    assoc: Factor
    fairshare: Factor
    job_size: Factor
    partition: Factor
    qos: Factor
    tres: dict[str, Factor]
    nice: int
    tier: int
    total: int
    site: Factor = Factor()


class _Site(NamedTuple):
    """What a choice of partitions gives a run. ``nodes``, ``has``: of its first partition."""

    tier: int
    factor: float
    max_time_s: float | None
    has: Amounts


class Multifactor:
    def __init__(self, cluster: Cluster) -> None:
        weights = self.weights = cluster.weights
        self.share = fair_share(
            cluster.accounts, tree=weights.fair_tree, dampening=weights.dampening
        )
        self._find = Associations(cluster.accounts).find
        self._raw = frozenset(weights.no_normal)
        self._fair: dict[Seat, float] = {}
        self._nodes = max(1, len(cluster.nodes))
        self._cpus = max(1, sum(node.cpus for node in cluster.nodes))
        self._qos = self._part({one.name: one.priority for one in cluster.qos}, "qos")
        factors = {one.name: one.job_factor for one in cluster.partitions}
        self._job_factors = self._part(factors, "partition")
        self._assoc_best = max((one.priority for one in cluster.accounts), default=0) or 1
        self._partitions = {one.name: one for one in cluster.partitions}
        self._default = next((one for one in cluster.partitions if one.default), None)
        self._named = {node.name: node for node in cluster.nodes}
        self._sites: dict[tuple[str, ...], _Site] = {}
        self._tres = [
            (name, place, weight)
            for place, (name, weight) in enumerate(
                zip(Amounts._fields, tres_of(weights.tres), strict=True)
            )
            if weight
        ]

    def recalculate(self, usage: Usage) -> None:
        """Take the fair share as of this usage, until the next time: ``Ledger.usage(now_s)``."""
        self._fair = self.share.factors(usage)

    def priority(self, job: Queued, now_s: float, eligible_s: float | None = None) -> int:
        """P. ``eligible_s``: None is as soon as it was submitted, and its begin time come."""
        if job.held:
            return 0
        weights, points = self.weights, -float(job.nice)
        site = self._sites.get(job.partitions) or self._site(job)
        if weights.age:
            points += weights.age * self._age(job, now_s, eligible_s)
        if weights.fairshare:
            points += weights.fairshare * self._fairshare(job)
        if weights.job_size:
            points += weights.job_size * self._size(job, site)
        if weights.partition:
            points += weights.partition * site.factor
        if weights.qos:
            points += weights.qos * self._qos.get(job.qos, 0.0)
        if weights.assoc:
            points += weights.assoc * self._assoc(job)
        if self._tres:
            amounts = amounts_of(job.request, job.request.nodes_min)
            for _, place, weight in self._tres:
                points += weight * self._tres_factor(amounts[place], site.has[place])
        return 1 if points < 1 else int(points) if points < HIGHEST else HIGHEST

    def factors(self, job: Queued, now_s: float, eligible_s: float | None = None) -> Factors:
        """The parts of ``priority``, for people."""
        weights, site = self.weights, self._site(job)
        amounts = amounts_of(job.request, job.request.nodes_min)
        return Factors(
            age=_factor(self._age(job, now_s, eligible_s), weights.age),
            assoc=_factor(self._assoc(job), weights.assoc),
            fairshare=_factor(self._fairshare(job), weights.fairshare),
            job_size=_factor(self._size(job, site), weights.job_size),
            partition=_factor(site.factor, weights.partition),
            qos=_factor(self._qos.get(job.qos, 0.0), weights.qos),
            tres={
                name: _factor(self._tres_factor(amounts[place], site.has[place]), weight)
                for name, place, weight in self._tres
            },
            nice=job.nice,
            tier=site.tier,
            total=self.priority(job, now_s, eligible_s),
        )

    def rank(self, job: Queued, now_s: float, eligible_s: float | None = None) -> int:
        """The tier and P as one number; the greater is ahead."""
        site = self._sites.get(job.partitions) or self._site(job)
        return (site.tier << 32) + self.priority(job, now_s, eligible_s)

    def sort_key(self, job: Queued, now_s: float, eligible_s: float | None = None) -> SortKey:
        """Ascending: the first in the queue has the least."""
        return -self.rank(job, now_s, eligible_s), job.submitted_s, _natural(job.id)

    def _age(self, job: Queued, now_s: float, eligible_s: float | None) -> float:
        if eligible_s is None:
            eligible_s = job.submitted_s
            if job.begin_s is not None and job.begin_s > eligible_s:
                eligible_s = job.begin_s
        waited_s, most_s = now_s - eligible_s, self.weights.max_age_s
        return 0.0 if waited_s <= 0 else 1.0 if waited_s >= most_s else waited_s / most_s

    def _fairshare(self, job: Queued) -> float:
        return self._fair.get(self.share.seat(job.account, job.user), self.share.newcomer)

    def _size(self, job: Queued, site: _Site) -> float:
        """The mean of its parts of the cluster's nodes and CPUs, or CPUs by time, as in Slurm."""
        request, weights = job.request, self.weights
        nodes = request.nodes_min
        cpus = nodes * request.ranks_per_node * request.cpus_per_rank
        if weights.small_relative_to_time:
            limit_s = site.max_time_s if job.limit_s is None else job.limit_s
            if limit_s is None:
                part = 0.0
            else:
                whole = max(cpus, nodes * self._cpus / self._nodes)
                part = whole / max(1.0, limit_s / 60) / self._cpus
        else:
            part = (nodes / self._nodes + cpus / self._cpus) / 2
        if part > 1.0:
            part = 1.0
        return 1.0 - part if weights.favor_small else part

    def _assoc(self, job: Queued) -> float:
        found = self._find(job.account, job.user)
        if found is None:
            return 0.0
        priority = found.record.priority
        return float(priority) if "assoc" in self._raw else priority / self._assoc_best

    def _tres_factor(self, amount: float, has: float) -> float:
        if "tres" in self._raw:
            return amount
        return amount / has if amount < has else 1.0 if amount else 0.0

    def _part(self, values: dict[str, int], name: str) -> dict[str, float]:
        """Each as a part of the greatest, unless the site wants them as they are."""
        best = 1 if name in self._raw else max(values.values(), default=0) or 1
        return {key: value / best for key, value in values.items()}

    def _site(self, job: Queued) -> _Site:
        found = self._sites.get(job.partitions)
        if found is None:
            found = self._sites[job.partitions] = self._make_site(job.partitions)
        return found

    def _make_site(self, names: tuple[str, ...]) -> _Site:
        partitions = [self._partitions[name] for name in names if name in self._partitions]
        if not partitions and self._default is not None:
            partitions = [self._default]
        best = max(
            ((one.tier, self._job_factors[one.name]) for one in partitions), default=(1, 0.0)
        )
        first = partitions[0] if partitions else Partition(name="")
        return _Site(*best, first.max_time_s, self._has(first))

    def _has(self, partition: Partition) -> Amounts:
        nodes: list[NodeSpec] = [
            self._named[name] for name in partition.nodes or self._named if name in self._named
        ]
        return Amounts(
            sum(node.cpus for node in nodes),
            sum(count for node in nodes for _, count in node.gpus),
            len(nodes),
            sum(node.memory_bytes for node in nodes),
        )


def _factor(raw: float, weight: float) -> Factor:
    return Factor(raw=raw, weighted=raw * weight)


def own_places(jobs: Sequence[Queued]) -> list[int]:
    """The order in which the users' own priorities put ``jobs``, which are in queue order.

    Runs of the same user, account, QOS and partitions change places among themselves, the higher
    priority first: no other run moves, and no run gets a place that a better account or QOS earned.
    """
    places = list(range(len(jobs)))
    if not any(job.priority for job in jobs):
        return places
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, job in enumerate(jobs):
        groups.setdefault((job.user, job.account, job.qos, job.partitions), []).append(place)
    for group in groups.values():
        for place, other in zip(
            group, sorted(group, key=lambda one: -jobs[one].priority), strict=True
        ):
            places[place] = other
    return places


def own_order(jobs: Sequence[Queued]) -> list[Queued]:
    """``jobs`` as ``own_places`` says."""
    return [jobs[place] for place in own_places(jobs)]
