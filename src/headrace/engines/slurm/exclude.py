"""Nodes that a run has given up are taken out of its next place. Pure.

Slurm knows by itself which nodes are down. This is for one that Slurm takes for good and on which
no agent comes up. A user cannot drain a node: the list and the reason stand in the job, where
``scontrol show job`` shows them to an admin as ExcNodeList and Comment.
"""

from collections.abc import Iterable, Mapping, Sequence

from headrace.core.events import Entry, LeadStarted, NodeLost
from headrace.core.records import Record
from headrace.engines.slurm.hostlist import expand
from headrace.engines.slurm.rows import NodeRow

_USELESS = ("down", "drained", "draining", "drain", "fail", "failing", "unknown", "powered_down")
_UNSET = ("", "(null)")
_SAID = "headrace excludes "


class Exclusion(Record, frozen=True, kw_only=True):
    """``nodes``: all that the job keeps away from. ``comment``: why, for an admin."""

    nodes: tuple[str, ...]
    comment: str


def given_up(lead: Iterable[Entry]) -> dict[str, str]:
    """node -> why, of the present lead."""
    found: dict[str, str] = {}
    for entry in lead:
        match entry.event:
            case LeadStarted():
                found = {}
            case NodeLost(node=node, detail=detail, given_up=True):
                found[node] = detail
            case _:
                pass
    return found


def exclusion(
    bad: Mapping[str, str], job: Mapping[str, str], nodes: Sequence[NodeRow], *, need: int
) -> Exclusion | None:
    """None when fewer than ``need`` nodes of the job's partition would be left: then it may have
    all of them again. ``job``: as ``scontrol show job`` says."""
    before = job.get("ExcNodeList", "")
    excluded = {*([] if before in _UNSET else expand(before)), *bad}
    partitions = job.get("Partition", "").split(",")
    spare = {row.name for row in nodes if row.partition in partitions and row.state not in _USELESS}
    if not bad or len(spare - excluded) < need:
        return None
    why = "; ".join(f"{node}: {detail}" for node, detail in sorted(bad.items()))
    return Exclusion(nodes=tuple(sorted(excluded)), comment=f"{_SAID}{why}")


def kept_away(job: Mapping[str, str]) -> str | None:
    """ "it keeps away from n2: its agent died", of a job that waits for other nodes."""
    comment = job.get("Comment", "")
    if not comment.startswith(_SAID):
        return None
    return f"it keeps away from {comment.removeprefix(_SAID)}"
