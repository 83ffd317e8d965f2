"""The loop guard: whether the attempts of a run get anywhere, over all its leads. Pure."""

from collections.abc import Iterable

from headrace.core.events import AttemptEnded, AttemptStarted, Entry, StopAsked
from headrace.core.records import Record


class Progress(Record, frozen=True, kw_only=True):
    """``furthest``: the last step that any attempt told of, -1 for none. ``vain``: so many attempts
    in a row got no further. One that was told to leave is not counted, unless by its time limit."""

    furthest: int = -1
    vain: int = 0


def progress(lead: Iterable[Entry]) -> Progress:
    """``lead``: all that the leads of a run wrote."""
    furthest, vain, asked = -1, 0, ""
    for entry in lead:
        match entry.event:
            case AttemptStarted():
                asked = ""
            case StopAsked(reason=reason):
                asked = asked or reason
            case AttemptEnded(outcome=outcome, step=step):
                further = step is not None and step > furthest
                left = outcome == "stopped" and asked != "time"
                silent = step is None and outcome in ("stopped", "node")
                if further or outcome == "completed":
                    vain = 0
                elif not (left or silent):
                    vain += 1
                furthest = max(furthest, -1 if step is None else step)
            case _:
                pass
    return Progress(furthest=furthest, vain=vain)
