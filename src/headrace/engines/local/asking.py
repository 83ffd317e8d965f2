"""Runs as they are recorded, in the scheduler's words. Pure."""

from collections.abc import Callable

from headrace.core.records import replace
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission
from headrace.schedule.queue import After, Queued, Running
from headrace.schedule.request import Request

StateOf = Callable[[str], State | None]


def queued_of(asked: Submission, history: History, state_of: StateOf) -> Queued:
    """The run as it waits, or waited; its time limit is what earlier leads left of it."""
    limit_s = asked.limit_s
    if limit_s is not None:
        limit_s = max(1.0, limit_s - history.lead_time_s)
    return Queued(
        id=asked.run_id,
        request=request_now(asked, history),
        submitted_s=asked.submitted_s,
        limit_s=limit_s,
        user=asked.user,
        account=asked.account,
        qos=asked.qos,
        partitions=asked.partitions,
        constraint=asked.constraint,
        reservation=asked.reservation,
        priority=asked.priority,
        held=history.held,
        after=tuple(
            After(run_id=one.run_id, condition=one.condition, state=state_of(one.run_id))
            for one in asked.after
        ),
        array_id=asked.array_id,
        array_throttle=asked.array_throttle,
        resize_to=history.resize_to,
    )


def request_now(asked: Submission, history: History) -> Request:
    """As asked, or as its user has resized it since."""
    if history.nodes is None:
        return asked.request
    least, most = history.nodes
    return replace(asked.request, nodes_min=least, nodes_max=most)


def running_of(asked: Submission, history: History, state_of: StateOf) -> Running:
    return Running(
        job=queued_of(asked, history, state_of),
        started_s=history.placed_s,
        placed=history.placed,
        stopping=history.displaced is not None or history.cancel_by is not None,
        resize_to=history.displaced.nodes if history.displaced is not None else None,
    )
