"""How long earlier attempts of this run lasted, and how many of them failed: from its events."""

from typing import NamedTuple

from headrace.core.events import AttemptEnded, AttemptStarted
from headrace.core.rundir import RunDir, read_events

_FAILED = ("error", "node", "hang", "oom")


class Observed(NamedTuple):
    observed_s: float
    failures: int


def observe(run: RunDir) -> Observed:
    """The lead tells; a run without one has told nothing."""
    lasted_s, failures, began_s = 0.0, 0, None
    path = run.events / "lead.jsonl"
    for entry in read_events(path) if path.is_file() else ():
        if isinstance(entry.event, AttemptStarted):
            began_s = entry.time_s
        elif isinstance(entry.event, AttemptEnded) and began_s is not None:
            lasted_s += max(0.0, entry.time_s - began_s)
            failures += entry.event.outcome in _FAILED
            began_s = None
    return Observed(lasted_s, failures)
