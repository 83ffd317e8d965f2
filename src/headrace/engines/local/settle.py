"""What follows when a lead is gone. Pure.

A lead that said how the run ended has the last word, except that a preempted run goes back to the
queue. A lead that died without a word is a lost node: the run goes back to the queue while its
restart policy allows. A lead that never began has run nothing.
"""

from headrace.core.errors import EXIT_INTERRUPTED, EXIT_NODE_LOST
from headrace.core.events import Ended, Requeued
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission


def verdict(
    asked: Submission, history: History, *, lead_error: str | None
) -> Ended | Requeued | None:
    """The event to write, or None when the lead's own end stands.

    ``lead_error``: why a lead that we let go did not begin; None if it was never let go.
    """
    if history.state.is_final:
        return None
    last = None if history.unstarted else history.attempts[-1]
    if history.lead_end is None and last is not None and last.outcome == "completed":
        detail = f"{last.detail}; its lead left no last word"
        return Ended(state=State.COMPLETED, exit_code=0, detail=detail)
    if history.cancel_by is not None:
        detail = f"cancelled by {history.cancel_by}"
        return Ended(state=State.CANCELLED, exit_code=EXIT_INTERRUPTED, detail=detail)
    if not history.begun:
        if lead_error is None:
            return Requeued(reason="node", detail="it was cut off before its lead began")
        detail = f"its lead did not start: {lead_error}"
        return Ended(state=State.FAILED, exit_code=1, detail=detail)
    if history.lead_end is not None and history.lead_end.exit_code == EXIT_NODE_LOST:
        return _again_or_end(asked, history, "node", history.lead_end.detail, State.NODE_FAIL)
    if history.lead_end is not None:
        return _displaced(asked, history, history.lead_end.detail)
    return _again_or_end(asked, history, "node", "the lead died", State.NODE_FAIL)


def _displaced(asked: Submission, history: History, detail: str) -> Ended | Requeued:
    """It left because it was told to; that uses up no restart."""
    asked_for = history.displaced
    if asked_for is not None and asked_for.reason != "preempt":
        return Requeued(reason=asked_for.reason, detail=f"{detail} by {asked_for.by}")
    if "preempt" not in asked.restart_on:
        detail = f"{detail}; restart.on does not name preempt"
        return Ended(state=State.FAILED, exit_code=1, detail=detail)
    by = "" if asked_for is None else f" by {asked_for.by}"
    return Requeued(reason="preempt", detail=f"{detail}{by}")


def _again_or_end(
    asked: Submission, history: History, reason: str, detail: str, otherwise: State
) -> Ended | Requeued:
    if reason not in asked.restart_on:
        detail = f"{detail}; restart.on does not name {reason}"
        return Ended(state=otherwise, exit_code=1, detail=detail)
    used = history.restarts_used + (history.unstarted > 0)
    if used > asked.restarts_max:
        detail = f"{detail}; {asked.restarts_max} of {asked.restarts_max} restarts are used"
        return Ended(state=otherwise, exit_code=1, detail=detail)
    return Requeued(reason=reason, detail=detail)
