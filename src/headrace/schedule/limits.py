"""Limits of accounts, users, QOS and partitions: what may be submitted, and what may start now.

Slurm's limits under Slurm's names. Differences: a run that its own size or time keeps from ever
starting (MaxTRES, MaxWall) is refused at once, not only with DenyOnLimit; with it, so is one that
is larger than a group's or user's whole allowance. A group that has used up its GrpTRESMins or
GrpWall starts nothing more, but what it runs may go on. As in Slurm both fade with
PriorityDecayHalfLife, and are multiplied by the QOS's usage factor; a half-life of 0 keeps them.

A run in several partitions is held to the QOS of the first.
"""

from collections.abc import Iterator, Sequence

from headrace.schedule.associations import ROOT, Association, Associations
from headrace.schedule.billing import Bills, amounts_of
from headrace.schedule.bounds import RESOURCES, Bound, Bounds, Level, Tally
from headrace.schedule.cluster import Cluster, Limits, Partition, Qos
from headrace.schedule.queue import Queued
from headrace.schedule.reason import LimitHit, NotAllowed

NORMAL = "normal"
Kind = tuple[str, str, str, tuple[str, ...]]


class Limiter:
    """Counts runs from when it is told of them; ``at`` says what time it is, for minutes.

    Whom which limits bound is worked out once, so keep it while the site's rules stay the same. A
    caller that counts anew for each decision (``reset``, then ``start`` for each that runs) leaves
    ``charging`` out and tells of each beginning and end once, with ``charge``.
    """

    def __init__(self, cluster: Cluster, *, charging: bool = True) -> None:
        self._charging = charging
        self._tree = Associations(cluster.accounts)
        self._open = not cluster.accounts
        self._qos = {one.name: one for one in cluster.qos}
        self._qos.setdefault(NORMAL, Qos(name=NORMAL))
        self._partitions = {one.name: one for one in cluster.partitions}
        self._default = next((one for one in cluster.partitions if one.default), None)
        self._bills = Bills(cluster)
        limits = [one.limits for one in cluster.accounts] + [one.limits for one in cluster.qos]
        self._priced = any(
            tres.billing is not None
            for one in limits
            for tres in (
                *(one.grp_tres, one.grp_tres_mins, one.max_tres),
                *(one.max_tres_pu, one.max_tres_pa),
            )
        )
        self._half_life_s = cluster.weights.half_life_s
        self._tallies: dict[tuple[str, ...], Tally] = {}
        self._bounds: dict[Kind, Bounds] = {}
        self._now_s = 0.0

    # --- what happened ------------------------------------------------------------------------

    def at(self, now_s: float) -> None:
        self._now_s = now_s

    def reset(self) -> None:
        """Nothing runs and nothing is queued; minutes stay as they are."""
        for tally in self._tallies.values():
            tally.clear()

    def submit(self, job: Queued) -> None:
        """It is in the system, until ``remove``."""
        for tally in self._of(job).tallies:
            tally.submitted += 1

    def remove(self, job: Queued) -> None:
        """It has ended, or was cancelled: it will not run again."""
        for tally in self._of(job).tallies:
            tally.submitted -= 1

    def start(self, job: Queued, width: int, at_s: float | None = None) -> None:
        """It runs on ``width`` nodes from now on, or since ``at_s``."""
        bounds = self._of(job)
        if bounds.tallies:
            amounts, billing = amounts_of(job.request, width), self._billing(job, width)
            for tally in bounds.tallies:
                tally.add(amounts, billing)
            if bounds.metered and self._charging:
                self.charge(job, width, at_s)

    def end(self, job: Queued, width: int, at_s: float | None = None) -> None:
        """It gave its ``width`` nodes back, for good or to run again."""
        bounds = self._of(job)
        if bounds.tallies:
            amounts, billing = amounts_of(job.request, width), self._billing(job, width)
            for tally in bounds.tallies:
                tally.drop(amounts, billing)
            if bounds.metered and self._charging:
                self.charge(job, width, at_s, ends=True)

    def charge(
        self, job: Queued, width: int, at_s: float | None = None, *, ends: bool = False
    ) -> None:
        """Only its minutes: it began then, or with ``ends``, it ended."""
        when_s = self._now_s if at_s is None else at_s
        amounts, factor = self._amounts(job, width), self._bills.factor(job)
        for tally in self._of(job).metered:
            meters = [(meter, amounts[place]) for place, meter in tally.used.items()]
            if tally.wall is not None:
                meters.append((tally.wall, 1.0))
            for meter, amount in meters:
                tell = meter.cease if ends else meter.begin
                tell(when_s, amount * factor)

    # --- what may be --------------------------------------------------------------------------

    def applies(self, job: Queued) -> bool:
        """Whether ``blocked`` can ever be anything but None."""
        return self._of(job).any

    def blocked(self, job: Queued, width: int) -> LimitHit | None:
        """The limit that keeps it from starting on ``width`` nodes now."""
        bounds = self._of(job)
        for one in bounds.jobs:
            if one.tally.jobs >= one.allowed:
                return _hit(one, one.tally.jobs, 1)
        for one in bounds.max_wall:
            if job.limit_s is not None and job.limit_s > one.allowed:
                return _hit(one, 0, job.limit_s)
        if bounds.each or bounds.shared:
            amounts = self._amounts(job, width)
            for one in bounds.each:
                if amounts[one.place] > one.allowed:
                    return _hit(one, 0, amounts[one.place])
            for one in bounds.shared:
                needs, used = amounts[one.place], one.tally.tres[one.place]
                if needs and used + needs > one.allowed:
                    return _hit(one, used, needs)
        if bounds.minutes or bounds.walls:
            return self._used_up(bounds, self._amounts(job, width))
        return None

    def refusal(self, job: Queued, count: int = 1) -> LimitHit | NotAllowed | None:
        """Why it may not be submitted, at least not now. ``count``: elements of an array."""
        found = self._not_allowed(job)
        if found is not None:
            return found
        bounds = self._of(job)
        for one in bounds.submits:
            if one.tally.submitted + count > one.allowed:
                return _hit(one, one.tally.submitted, count)
        for one in bounds.max_wall:
            if job.limit_s is not None and job.limit_s > one.allowed:
                return _hit(one, 0, job.limit_s)
        amounts = self._amounts(job, job.request.nodes_min)
        strict = any(qos.deny_on_limit for qos in self._grades(job))
        for one in (*bounds.each, *(bounds.shared if strict else ())):
            if amounts[one.place] > one.allowed:
                return _hit(one, 0, amounts[one.place])
        return self._too_long(bounds, job.limit_s, amounts) if strict else None

    def limit_s(self, job: Queued) -> float | None:
        """The time limit of a run that names none: its partition's, or MaxWall if that is less."""
        if job.limit_s is not None:
            return job.limit_s
        limits: list[float] = [one.allowed for one in self._of(job).max_wall]
        for partition in self._chosen(job)[:1]:
            limits += [
                limit_s
                for limit_s in (partition.default_time_s, partition.max_time_s)
                if limit_s is not None
            ]
        return min(limits, default=None)

    def counts(self) -> dict[tuple[str, ...], tuple[int, int, tuple[float, ...]]]:
        """Running, submitted and resources in use, of those that are not all zero."""
        return {
            key: (one.jobs, one.submitted, tuple(one.tres))
            for key, one in self._tallies.items()
            if one.jobs or one.submitted or any(one.tres)
        }

    # --- rules of Slurm -----------------------------------------------------------------------

    def _used_up(self, bounds: Bounds, amounts: Sequence[float]) -> LimitHit | None:
        for one in bounds.minutes:
            if amounts[one.place]:
                minutes = one.tally.used[one.place].value(self._now_s) / 60
                if minutes >= one.allowed:
                    return _hit(one, minutes, 0)
        for one in bounds.walls:
            if one.tally.wall is not None:
                wall_s = one.tally.wall.value(self._now_s)
                if wall_s >= one.allowed:
                    return _hit(one, wall_s, 0)
        return None

    def _too_long(
        self, bounds: Bounds, limit_s: float | None, amounts: Sequence[float]
    ) -> LimitHit | None:
        """Asks for more than a group may use at all."""
        if limit_s is None:
            return None
        for one in bounds.minutes:
            minutes = amounts[one.place] * limit_s / 60
            if minutes > one.allowed:
                return _hit(one, 0, minutes)
        for one in bounds.walls:
            if limit_s > one.allowed:
                return _hit(one, 0, limit_s)
        return None

    def _not_allowed(self, job: Queued) -> LimitHit | NotAllowed | None:
        """Names that are not known, or not for this user; then what no partition takes."""
        chain = self._chain(job)
        if not chain and not self._open:
            return self._no_association(job)
        if job.qos not in self._qos:
            return NotAllowed(wanted=f"QOS {job.qos}", choices=tuple(sorted(self._qos)))
        allowed = next((one.record.qos for one in chain if one.record.qos), ())
        if allowed and job.qos not in allowed:
            return NotAllowed(wanted=f"QOS {job.qos}", by=_name(chain[0]), choices=allowed)
        for name in job.partitions:
            if name not in self._partitions:
                known = tuple(self._partitions)
                return NotAllowed(wanted=f"partition {name}", choices=known)
        refusals = [self._not_in(one, job, chain) for one in self._chosen(job)]
        return refusals[0] if refusals and None not in refusals else None

    def _no_association(self, job: Queued) -> NotAllowed:
        mine = tuple(account for account, user in self._tree.users if user == job.user)
        if not job.account or job.account in self._tree.accounts:
            wanted = f"account {job.account}" if job.account else "any account"
            return NotAllowed(wanted=wanted, by=f"user {job.user}", choices=mine)
        return NotAllowed(wanted=f"account {job.account}", choices=mine)

    def _not_in(
        self, partition: Partition, job: Queued, chain: Sequence[Association]
    ) -> LimitHit | NotAllowed | None:
        where = f"partition {partition.name}"
        accounts = [one.record.name for one in chain] or [job.account]
        if partition.allow_accounts and not set(accounts) & set(partition.allow_accounts):
            by = f"account {accounts[0]}"
            return NotAllowed(wanted=where, by=by, holders=partition.allow_accounts)
        if partition.allow_qos and job.qos not in partition.allow_qos:
            return NotAllowed(wanted=where, by=f"QOS {job.qos}", holders=partition.allow_qos)
        nothing = Tally(Limits(), 0.0)
        if partition.max_time_s is not None and (job.limit_s or 0.0) > partition.max_time_s:
            bound = Bound("MaxTime", where, nothing, partition.max_time_s)
            return _hit(bound, 0, job.limit_s or 0.0)
        nodes = job.request.nodes_min
        if partition.max_nodes is not None and nodes > partition.max_nodes:
            place = RESOURCES.index("node")
            bound = Bound("MaxNodes", where, nothing, partition.max_nodes, place)
            return _hit(bound, 0, nodes)
        return None

    # --- whose limits -------------------------------------------------------------------------

    def _of(self, job: Queued) -> Bounds:
        kind = (job.account, job.user, job.qos, job.partitions)
        found = self._bounds.get(kind)
        if found is None:
            found = self._bounds[kind] = self._work_out(job)
        return found

    def _work_out(self, job: Queued) -> Bounds:
        chain = self._chain(job)
        account = chain[0].record.name if chain else job.account
        grades: list[Level] = []
        users: list[Level] = []
        groups: list[Level] = []
        for qos in self._grades(job):
            name, limits = qos.name, qos.limits
            whole = self._tally(("qos", name), limits)
            grades.append(Level(f"QOS {name}", limits, whole))
            of_user = self._tally(("qos", name, "user", job.user), limits)
            users.append(Level(f"user {job.user} in QOS {name}", limits, of_user))
            of_account = self._tally(("qos", name, "account", account), limits)
            groups.append(Level(f"account {account} in QOS {name}", limits, of_account))
        nodes = [
            Level(
                _name(one),
                one.record.limits,
                self._tally(("account", one.record.name, one.record.user or ""), one.record.limits),
            )
            for one in chain
        ]
        return Bounds(grades, users, groups, nodes)

    def _tally(self, key: tuple[str, ...], limits: Limits) -> Tally:
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally(limits, self._half_life_s)
        return found

    def _chain(self, job: Queued) -> list[Association]:
        found = self._tree.find(job.account, job.user)
        return [] if found is None else list(found.upward())

    def _chosen(self, job: Queued) -> list[Partition]:
        if job.partitions:
            return [self._partitions[one] for one in job.partitions if one in self._partitions]
        return [] if self._default is None else [self._default]

    def _grades(self, job: Queued) -> Iterator[Qos]:
        """The QOS of its partition, then its own."""
        names = [one.qos for one in self._chosen(job)[:1] if one.qos is not None]
        for name in dict.fromkeys((*names, job.qos)):
            if name in self._qos:
                yield self._qos[name]

    def _amounts(self, job: Queued, width: int) -> tuple[float, float, float, float, float]:
        """In the order of ``RESOURCES``."""
        return (*amounts_of(job.request, width), self._billing(job, width))

    def _billing(self, job: Queued, width: int) -> float:
        return self._bills.billing(job, width) if self._priced else 0.0


def _name(one: Association) -> str:
    record = one.record
    if record.user is not None:
        return f"user {record.user} in account {record.name}"
    return "the cluster" if record.name == ROOT else f"account {record.name}"


def _hit(bound: Bound, used: float, needed: float) -> LimitHit:
    return LimitHit(
        limit=bound.name,
        resource="" if bound.place < 0 else RESOURCES[bound.place],
        owner=bound.owner,
        allowed=bound.allowed,
        used=used,
        needed=needed,
    )
