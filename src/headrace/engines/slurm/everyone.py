"""All jobs of the cluster that squeue shows to this user, and who of them is before whom. Pure."""

from collections.abc import Iterable, Sequence

from headrace.core.records import Record
from headrace.engines.slurm.facts import Facts
from headrace.engines.slurm.hostlist import expand, indices
from headrace.engines.slurm.rows import parse_limit_s, parse_time_s, whole

EVERYONE_FORMAT = "%A|%F|%K|%T|%u|%P|%Q|%D|%C|%l|%S|%e|%V|%N|%Y|%a|%q|%r"
_APART = ("JobHeldUser", "JobHeldAdmin", "Dependency", "DependencyNeverSatisfied", "BeginTime")
_MINUTE_S = 60


class Job(Record, frozen=True, kw_only=True):
    """A line of squeue. ``start_s``, ``end_s``: of one that waits, Slurm's estimate.

    ``nodes``: where it is, or where Slurm means it to be. ``elements``: as in ``QueueRow``.
    """

    job_id: str
    array_job_id: str
    elements: tuple[int, ...]
    state: str
    user: str
    partitions: tuple[str, ...]
    priority: int
    width: int
    cpus: int
    limit_s: float | None
    start_s: float | None
    end_s: float | None
    submitted_s: float
    nodes: tuple[str, ...]
    account: str
    qos: str
    reason: str

    @property
    def waits(self) -> bool:
        return self.state == "PENDING"

    @property
    def in_line(self) -> bool:
        """Whether nothing but its place in the queue and free nodes is in its way."""
        return self.waits and self.priority > 0 and self.reason.partition(",")[0] not in _APART


def everyone_command() -> list[str]:
    """Jobs that wait or hold nodes."""
    states = "--states=PENDING,RUNNING,COMPLETING,CONFIGURING,SUSPENDED"
    return ["squeue", "--noheader", "--all", states, f"--format={EVERYONE_FORMAT}"]


def parse_everyone(text: str) -> list[Job]:
    return [
        _job(columns)
        for columns in (line.split("|") for line in text.splitlines())
        if len(columns) >= 18
    ]


def _job(columns: Sequence[str]) -> Job:
    job, array, element, state, user, partitions, priority, width, cpus, limit, *rest = columns
    start, end, submitted, held, meant, account, qos, reason = rest[:8]
    place = held or ("" if meant.startswith("(") else meant)
    return Job(
        job_id=job,
        array_job_id=array,
        elements=indices(element),
        state=state,
        user=user,
        partitions=tuple(partitions.split(",")),
        priority=whole(priority),
        width=whole(width),
        cpus=whole(cpus),
        limit_s=parse_limit_s(limit),
        start_s=parse_time_s(start),
        end_s=parse_time_s(end),
        submitted_s=parse_time_s(submitted) or 0.0,
        nodes=tuple(expand(place)),
        account=account,
        qos=qos,
        reason=reason,
    )


def same(job: Job, array_job_id: str, element: int | None) -> bool:
    """Whether the line is of that job, or of that element of an array."""
    return job.array_job_id == array_job_id and (element is None or element in job.elements)


def order(job: Job, facts: Facts) -> tuple[int, int, float, int]:
    """Ascending: as Slurm's main loop sorts jobs that wait."""
    tiers = [one.tier for one in facts.partitions if one.name in job.partitions]
    return -max(tiers, default=1), -job.priority, job.submitted_s, whole(job.job_id)


def before(own: Job, jobs: Iterable[Job], facts: Facts) -> list[Job]:
    """Those in line for nodes that ``own`` may use, too, and ahead of it, in order."""
    place, here = order(own, facts), nodes_of(own.partitions, facts)
    ahead = [job for job in rivals(jobs, here, facts) if order(job, facts) < place]
    return sorted(ahead, key=lambda job: order(job, facts))


def rivals(jobs: Iterable[Job], here: set[str], facts: Facts) -> list[Job]:
    """Jobs in line whose partitions have some of these nodes."""
    shares = {one.name: not here.isdisjoint(one.nodes) for one in facts.partitions}
    return [job for job in jobs if job.in_line and any(map(shares.get, job.partitions))]


def nodes_of(partitions: Sequence[str], facts: Facts) -> set[str]:
    return {node for one in facts.partitions if one.name in partitions for node in one.nodes}


def delay_s(jobs: Iterable[Job], partition: str, priority: int, facts: Facts) -> float:
    """What ``sbatch --test-only`` adds for those that wait: CPU time of jobs in that very partition
    whose priority is not below, spread over the partition's CPUs. Held ones have priority 0.

    Source: _delayed_job_start_time in slurmctld/job_scheduler.c; whole minutes, rounded down.
    """
    place = facts.partition(partition)
    if place is None or not place.cpus or not place.nodes:
        return 0.0
    a_node = max(1, place.cpus // len(place.nodes))
    total = 0
    for job in jobs:
        if job.waits and job.priority >= priority and job.partitions[0] == partition:
            limit_s = job.limit_s or place.max_time_s or 0.0
            total += max(job.cpus, job.width * a_node) * int(limit_s // _MINUTE_S)
    return float(total // place.cpus * _MINUTE_S)
