"""Waits against the number of nodes: how many more would be enough."""

from collections.abc import Callable, Sequence

from headrace.core.records import Record
from headrace.schedule.cluster import Cluster
from headrace.simulate.grow import grow, size
from headrace.simulate.measure import Measures, Spread


class Point(Record, frozen=True, kw_only=True):
    """``added``: nodes beyond those of the cluster (CPUs, if it is one pool of them).

    ``nodes``: in all. ``use``: share of what is available.
    """

    added: int
    nodes: int
    wait_s: Spread | None
    slowdown_mean: float | None
    use: float


class Curve(Record, frozen=True, kw_only=True):
    """``points`` by nodes, ascending."""

    policy: str
    points: tuple[Point, ...]

    def smallest(self, p90_wait_s: float) -> Point | None:
        """The fewest nodes with which 9 of 10 jobs wait no longer than this."""
        return next((p for p in self.points if p.wait_s and p.wait_s.p90 <= p90_wait_s), None)


def curve(
    policy: str,
    cluster: Cluster,
    added: Sequence[int],
    measured: Callable[[Cluster], Measures],
) -> Curve:
    """``measured``: replays the trace under ``policy`` on the cluster it is given."""
    points = []
    for more in sorted(set(added)):
        grown = grow(cluster, more) if more else cluster
        found = measured(grown)
        points.append(
            Point(
                added=more,
                nodes=size(grown),
                wait_s=found.wait_s,
                slowdown_mean=found.slowdown.mean if found.slowdown else None,
                use=found.use.share,
            )
        )
    return Curve(policy=policy, points=tuple(points))
