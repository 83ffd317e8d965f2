"""A trace replayed under a policy."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.simulate.trace import Trace


@dataclass(frozen=True)
class Replay:
    """What became of each job of ``trace``, in its order; seconds on the trace's own clock.

    ``start_s``: first start; None: never started (cancelled while it waited, or larger than the
    cluster). ``end_s``: last end. ``busy_s``: how long it held nodes, over all its stretches.
    ``slices``: nodes it held last. ``preempted``, ``failed``: how often it was displaced, or lost a
    node. ``lost_s``: of ``busy_s``, what had to be done again. ``allocated``: node numbers as
    ``0-3 7``, only where asked for.
    """

    policy: str
    trace: Trace
    start_s: Sequence[float | None]
    end_s: Sequence[float | None]
    busy_s: Sequence[float]
    slices: Sequence[int]
    preempted: Sequence[int]
    failed: Sequence[int]
    lost_s: Sequence[float]
    allocated: Sequence[str] | None = None
