"""Slurm's multifactor priority with fair share, as an order."""

from headrace.core.records import replace
from headrace.core.states import State
from headrace.schedule.billing import Bills
from headrace.schedule.cluster import Cluster, Tres, Weights
from headrace.schedule.ledger import Ledger
from headrace.schedule.multifactor import Factors, Multifactor
from headrace.schedule.state import Active, Key, Waiting

UNSAID = {"fairshare": 100_000, "qos": 10_000, "age": 1_000}
"""What weighs where the site gives no weight at all: fair share, then QOS, then age."""


def weighs(weights: Weights) -> bool:
    """Whether any weight was given."""
    given = (weights.age, weights.assoc, weights.fairshare, weights.job_size)
    return any((*given, weights.partition, weights.qos)) or weights.tres != Tres()


class FairShare:
    """Priorities are worked out anew every PriorityCalcPeriod; a new run gets its own at once.

    ``ledger``: what each association has used, charged from when a run starts to when it ends.
    ``past``: what they have used in runs that have ended; whoever gives it keeps it, so that here
    only runs under way are charged. ``as_given``: no weight is no weight.
    """

    def __init__(
        self, cluster: Cluster, past: Ledger | None = None, *, as_given: bool = False
    ) -> None:
        if not as_given and not weighs(cluster.weights):
            cluster = replace(cluster, weights=replace(cluster.weights, **UNSAID))
        self.past = past
        self.period_s: float | None = cluster.weights.calc_period_s
        self.ledger = Ledger(cluster.weights.half_life_s)
        self.multifactor = Multifactor(cluster)
        self._bills = Bills(cluster)
        self._rates: dict[str, tuple[str, str, float]] = {}
        self._count = 0
        self._weighed = False

    def recalculate(self, now_s: float) -> None:
        usage = self.ledger.usage(now_s)
        if self.past is not None:
            for seat, used in self.past.usage(now_s).items():
                usage[seat] = usage.get(seat, 0.0) + used
        self.multifactor.recalculate(usage)
        self._weighed = True

    def key(self, waiting: Waiting, now_s: float) -> Key:
        """Equal ones in the order in which they came; all, before anything was worked out."""
        job = waiting.job
        if waiting.key:
            came = waiting.key[-1]
        else:
            came = self._count = self._count + 1
        if not self._weighed:
            return 0, job.submitted_s, came
        return -self.multifactor.rank(job, now_s, waiting.eligible_s), job.submitted_s, came

    def factors(self, waiting: Waiting, now_s: float) -> Factors:
        """What its place is made of."""
        return self.multifactor.factors(waiting.job, now_s, waiting.eligible_s)

    def started(self, active: Active, now_s: float) -> None:
        job = active.job
        rate = self._bills.rate(job, active.slices)
        account, user = self.multifactor.share.seat(job.account, job.user)
        self._rates[job.id] = account, user, rate
        self.ledger.start(now_s, account, user, rate)

    def ended(self, active: Active, now_s: float, state: State) -> None:
        at_s = now_s if self.past is None else active.started_s
        self.ledger.end(at_s, *self._rates.pop(active.job.id))
