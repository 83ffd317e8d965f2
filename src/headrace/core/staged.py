"""How data comes near to nodes, in words for people: of logs, ``watch`` and ``status``."""

from headrace.core.events import Staged, Staging
from headrace.core.rundir import RunDir, read_events

_GIB = 1 << 30


def in_words(event: Staging | Staged) -> str:
    """One line about the data of one source on one node."""
    what = f"{event.source} to {event.tier} of {event.node}"
    whole = f"{event.size_bytes / _GIB:.2f} GiB"
    if isinstance(event, Staging):
        if event.waits_for is not None:
            return f"copying {what}: waits for {event.waits_for}, which copies there now"
        return f"copying {what}: {event.near_bytes / _GIB:.2f} of {whole}"
    if event.tree is None:
        if event.root is None:
            return f"{event.source} is read in place by {event.node}: {event.why}"
        part = f"{event.near_bytes / _GIB:.2f} of {whole}"
        return (
            f"{part} of {event.source} are on {event.node}, the rest is read in place: {event.why}"
        )
    if not event.copied_bytes:
        return f"{event.source} is on {event.node} already ({whole}, {event.tier})"
    rate = event.copied_bytes / max(event.seconds, 1e-3) / (1 << 20)
    return f"copied {what}: {whole} in {event.seconds:.1f} s, {rate:,.0f} MiB/s"


def latest(run: RunDir) -> list[Staging | Staged]:
    """What was said last of each source on each node of a run."""
    found: dict[tuple[str, str], Staging | Staged] = {}
    for path in sorted(run.events.glob("agent-*.jsonl")):
        for entry in read_events(path):
            if isinstance(entry.event, Staging | Staged):
                found[entry.event.node, entry.event.source] = entry.event
    return list(found.values())
