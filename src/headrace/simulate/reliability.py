"""How often jobs meet failures, and what that costs them: closed forms, pure.

Rates are failures per 1,000 node-days, as operators publish them. The forms for the mean time to
failure and the effective training time ratio are those of Kokolis et al., "Revisiting Reliability
in Large-Scale Machine Learning Research Clusters" (HPCA 2025, arXiv 2410.21680).
"""

from math import sqrt

_HOURS_A_DAY = 24.0


def failures_per_h(nodes: int, per_1000_node_days: float, software_per_h: float = 0.0) -> float:
    """Of a job on ``nodes`` nodes: its nodes' failures, and those of its own software."""
    return nodes * per_1000_node_days / 1000 / _HOURS_A_DAY + software_per_h


def mttf_h(nodes: int, per_1000_node_days: float, software_per_h: float = 0.0) -> float:
    """Mean time to failure of a job, in hours. 2,048 nodes at 6.5: 1.8 h."""
    return 1 / failures_per_h(nodes, per_1000_node_days, software_per_h)


def software_per_h(measured_mttf_h: float, nodes: int, per_1000_node_days: float) -> float:
    """The rate per job that explains what the nodes' rate leaves of a measured mean time."""
    return max(0.0, 1 / measured_mttf_h - failures_per_h(nodes, per_1000_node_days))


def interval_s(write_s: float, mttf_s: float) -> float:
    """Time between checkpoints that loses least, sqrt(2 * write * MTTF) (Young 1974)."""
    return sqrt(2 * write_s * mttf_s)


def ettr(*, failures_per_s: float, restart_s: float, interval_s: float, write_s: float) -> float:
    """Expected effective training time ratio: work kept, of the time nodes are held.

    (1 - rate * (restart + interval / 2)) / (1 + write / interval); 0 where nothing is kept.
    """
    kept = 1 - failures_per_s * (restart_s + interval_s / 2)
    return max(0.0, kept) / (1 + write_s / interval_s)
