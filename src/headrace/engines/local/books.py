"""What the engine keeps between decisions: the site's policy and limits, and who has used what.

Made anew when the site file changes, from every place that was ever held.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace as changed
from typing import NamedTuple

from headrace.engines.local.history import Stretch
from headrace.engines.local.site import Site
from headrace.schedule.billing import Bills
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Reservation
from headrace.schedule.decide import Decider, Decisions
from headrace.schedule.ledger import Ledger
from headrace.schedule.limits import Limiter
from headrace.schedule.machine import Machine
from headrace.schedule.orders.multifactor import FairShare
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued, Running
from headrace.schedule.reason import LimitHit, NotAllowed
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Policy


class Charge(NamedTuple):
    """A place that ``job`` held."""

    job: Queued
    stretch: Stretch


class Books:
    """Used by one thread. The nodes are those of the machine, whatever the site says."""

    def __init__(self, site: Site, nodes: Sequence[Capacity], charges: Iterable[Charge]) -> None:
        self._rules = site.cluster(())
        self._past = Ledger(site.weights.half_life_s)
        self._limiter = Limiter(self._rules, charging=False)
        self._bills = Bills(self._rules)
        self._running: dict[str, tuple[Queued, float]] = {}
        chosen = policy(site.policy or ("easy-fairshare" if site.accounts else "easy"))
        self._decider = Decider(
            Machine(nodes), rules=self._rules, policy=self._fair(chosen), gate=self._limiter
        )
        self._seat = FairShare(self._rules).multifactor.share.seat
        for charge in charges:
            self.ended(charge)

    # --- what happened ------------------------------------------------------------------------

    def ended(self, charge: Charge) -> None:
        """A place was given back, for good or to be queued again."""
        job, stretch = charge
        width = len(stretch.placed)
        account, user = self._seat(job.account, job.user)
        rate = self._bills.rate(job, width)
        self._past.start(stretch.start_s, account, user, rate)
        self._past.end(stretch.end_s, account, user, rate)
        if job.id not in self._running:
            self._limiter.charge(job, width, stretch.start_s)
        self._running.pop(job.id, None)
        self._limiter.charge(job, width, stretch.end_s, ends=True)

    # --- what follows -------------------------------------------------------------------------

    def decide(
        self,
        queue: Mapping[str, Queued],
        running: Mapping[str, Running],
        reservations: Sequence[Reservation],
        now_s: float,
    ) -> Decisions:
        self.scheduler(queue, running, reservations, now_s)
        return self._decider.decide(now_s)

    def scheduler(
        self,
        queue: Mapping[str, Queued],
        running: Mapping[str, Running],
        reservations: Sequence[Reservation],
        now_s: float,
    ) -> Scheduler:
        """What ``decide`` decides with, in step with these; not to be changed by the caller."""
        self._limiter.at(now_s)
        for run in running.values():
            if run.job.id not in self._running:
                self._running[run.job.id] = run.job, run.started_s
                self._limiter.charge(run.job, len(run.placed), run.started_s)
        self._decider.reserve(reservations)
        self._decider.keep_step(queue, running, now_s)
        return self._decider.scheduler

    def seat(self, account: str, user: str) -> tuple[str, str]:
        """The account that is charged, the user's default if none was named."""
        return self._seat(account, user)

    def usage(self, now_s: float) -> dict[tuple[str, str], float]:
        """By (account, user), faded; of runs under way too."""
        used = self._past.usage(now_s)
        for job, started_s in self._running.values():
            seat = self._seat(job.account, job.user)
            width = job.request.nodes_min
            charged = self._bills.rate(job, width) * (now_s - started_s)
            used[seat] = used.get(seat, 0.0) + charged
        return used

    def refusal(
        self, job: Queued, others: Iterable[Queued], count: int
    ) -> LimitHit | NotAllowed | None:
        """Why ``count`` runs like this may not be submitted beside ``others``."""
        doorman = Limiter(self._rules, charging=False)
        for one in others:
            doorman.submit(one)
        return doorman.refusal(job, count)

    def limit_s(self, job: Queued) -> float | None:
        """Its time limit, or that of its partition and limits."""
        return self._limiter.limit_s(job)

    def _fair(self, chosen: Policy) -> Policy:
        """A fair policy knows what was used before."""
        if chosen.order is not FairShare:
            return chosen
        return changed(chosen, order=lambda cluster: FairShare(cluster, self._past))
