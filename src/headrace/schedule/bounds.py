"""Which limits bound a run: worked out once for each user, account, QOS and partitions.

Slurm's order: a limit holds where it is set first, of the partition's QOS, the run's QOS, and the
association. Group limits of associations hold at every level that has one, up to the root; the
others are inherited: the nearest holds, and what counts is the user's association.
"""

from collections.abc import Sequence
from typing import NamedTuple

from headrace.schedule.billing import Amounts
from headrace.schedule.cluster import Limits, Tres
from headrace.schedule.ledger import Meter

RESOURCES = ("cpu", "gpu", "node", "memory", "billing")


class Tally:
    """What is running and queued of a group. ``tres``: in the order of ``RESOURCES``.

    ``used`` (seconds, by resource) and ``wall`` are kept only where there is a limit on them.
    """

    __slots__ = ("jobs", "submitted", "tres", "used", "wall")

    def __init__(self, limits: Limits, half_life_s: float) -> None:
        self.clear()
        self.used = {place: Meter(half_life_s) for place, _ in values(limits.grp_tres_mins)}
        self.wall = None if limits.grp_wall_s is None else Meter(half_life_s)

    def clear(self) -> None:
        self.jobs = self.submitted = 0
        self.tres = [0.0] * len(RESOURCES)

    def add(self, amounts: Amounts, billing: float) -> None:
        self.jobs += 1
        tres = self.tres
        tres[0] += amounts.cpu
        tres[1] += amounts.gpu
        tres[2] += amounts.node
        tres[3] += amounts.memory
        tres[4] += billing

    def drop(self, amounts: Amounts, billing: float) -> None:
        """Nothing is left when the last is dropped, also of what floats leave over."""
        self.jobs -= 1
        if not self.jobs:
            self.tres = [0.0] * len(RESOURCES)
            return
        tres = self.tres
        tres[0] -= amounts.cpu
        tres[1] -= amounts.gpu
        tres[2] -= amounts.node
        tres[3] -= amounts.memory
        tres[4] -= billing


class Bound(NamedTuple):
    """``name``: Slurm's. ``place``: of the resource that is limited; -1: none is."""

    name: str
    owner: str
    tally: Tally
    allowed: float
    place: int = -1


class Level(NamedTuple):
    """Somebody's limits, and what counts against them."""

    owner: str
    limits: Limits
    tally: Tally


class Bounds:
    """``each`` and ``max_wall`` hold for one run, the others for all in a tally together.

    ``tallies``: where such runs are counted; ``metered``: where their minutes are, too. ``any``:
    whether a start has to be asked for.
    """

    __slots__ = (
        *(
            "any",
            "each",
            "jobs",
            "max_wall",
            "metered",
            "minutes",
            "shared",
            "submits",
            "tallies",
            "walls",
        ),
    )

    def __init__(
        self,
        grades: Sequence[Level],
        users: Sequence[Level],
        groups: Sequence[Level],
        nodes: Sequence[Level],
    ) -> None:
        """``grades``: the QOS as a whole, for each user and account; ``nodes``: up to the root."""
        own = [one._replace(owner=nodes[0].owner, tally=nodes[0].tally) for one in nodes]
        by_qos = _nearest(_set("MaxJobsPerAccount", "max_jobs_pa", groups)) + _nearest(
            _set("MaxJobsPerUser", "max_jobs_pu", users) + _set("MaxJobsPerUser", "max_jobs", users)
        )
        self.jobs = _group("GrpJobs", "grp_jobs", grades, nodes)
        self.jobs += by_qos or _nearest(_set("MaxJobs", "max_jobs", own))
        by_qos = _nearest(_set("MaxSubmitJobsPerAccount", "max_submit_jobs_pa", groups)) + _nearest(
            _set("MaxSubmitJobsPerUser", "max_submit_jobs_pu", users)
            + _set("MaxSubmitJobsPerUser", "max_submit_jobs", users)
        )
        self.submits = _group("GrpSubmitJobs", "grp_submit_jobs", grades, nodes)
        self.submits += by_qos or _nearest(_set("MaxSubmitJobs", "max_submit_jobs", own))
        self.shared = _group("GrpTRES", "grp_tres", grades, nodes)
        self.shared += _nearest(_set("MaxTRESPerAccount", "max_tres_pa", groups))
        self.shared += _nearest(_set("MaxTRESPerUser", "max_tres_pu", users))
        self.minutes = _group("GrpTRESMins", "grp_tres_mins", grades, nodes)
        self.walls = _group("GrpWall", "grp_wall_s", grades, nodes)
        self.each = _single("MaxTRES", "max_tres", grades, own)
        self.max_wall = _single("MaxWall", "max_wall_s", grades, own)
        self.any = bool(
            self.jobs or self.shared or self.minutes or self.walls or self.each or self.max_wall
        )
        limited = [one for one in (*grades, *users, *groups) if one.limits != Limits()]
        if any(one.limits != Limits() for one in nodes):
            limited += [nodes[0], *(one for one in nodes[1:] if one.limits != Limits())]
        self.tallies = [one.tally for one in limited]
        self.metered = [one for one in self.tallies if one.used or one.wall is not None]


def values(tres: Tres) -> list[tuple[int, float]]:
    """The places of what is set, and the values."""
    return [
        (place, value)
        for place, name in enumerate(RESOURCES)
        if (value := getattr(tres, name)) is not None
    ]


def _set(name: str, field: str, levels: Sequence[Level]) -> list[Bound]:
    """Every limit of this kind that the levels set."""
    found = []
    for one in levels:
        value = getattr(one.limits, field)
        if isinstance(value, Tres):
            for place, allowed in values(value):
                found.append(Bound(name, one.owner, one.tally, allowed, place))
        elif value is not None:
            found.append(Bound(name, one.owner, one.tally, value))
    return found


def _nearest(bounds: Sequence[Bound]) -> list[Bound]:
    """The first for each resource."""
    first: dict[int, Bound] = {}
    for one in bounds:
        first.setdefault(one.place, one)
    return list(first.values())


def _others(bounds: Sequence[Bound], taken: Sequence[Bound]) -> list[Bound]:
    """Those for resources that are not taken."""
    places = {one.place for one in taken}
    return [one for one in bounds if one.place not in places]


def _group(name: str, field: str, grades: Sequence[Level], nodes: Sequence[Level]) -> list[Bound]:
    """The QOS's, and where it sets none, those of all associations."""
    taken = _nearest(_set(name, field, grades))
    return taken + _others(_set(name, field, nodes), taken)


def _single(name: str, field: str, grades: Sequence[Level], own: Sequence[Level]) -> list[Bound]:
    """The QOS's, and where it sets none, the nearest association's."""
    taken = _nearest(_set(name, field, grades))
    return taken + _others(_nearest(_set(name, field, own)), taken)
