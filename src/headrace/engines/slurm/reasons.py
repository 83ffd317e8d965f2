"""Why a job waits or ended: squeue's word as a sentence. Pure; squeue(1), JOB REASON CODES."""

from datetime import datetime

_WORDS = {
    "None": "",
    "Priority": "waits behind runs of higher priority",
    "Resources": "first in line; waits for nodes to become free",
    "Dependency": "waits for runs that must end first",
    "DependencyNeverSatisfied": "a run that it waits for ended in a way that can never satisfy it",
    "BeginTime": "not to begin yet; a requeued job waits for about two minutes",
    "JobHeldUser": "held; it starts after release",
    "JobHeldAdmin": "held by an administrator",
    "JobArrayTaskLimit": "its array has as many elements running as it allows",
    "PartitionTimeLimit": "asks for more time than its partition allows",
    "PartitionNodeLimit": "asks for more nodes than its partition allows",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is inactive",
    "ReqNodeNotAvail": "nodes that it asks for are not available",
    "Reservation": "waits for its reservation to begin",
    "ReservationDeleted": "its reservation was deleted",
    "InvalidQOS": "may not use its QOS",
    "InvalidAccount": "may not use its account",
    "BadConstraints": "no node has what it asks for",
    "NodeDown": "a node that it asks for is down",
    "Licenses": "waits for a licence",
    "Cleaning": "the place of its last start is being cleaned",
    "Prolog": "the nodes are being prepared",
    "launch failed requeued held": "could not be started and is held; release it to try again",
    "JobLaunchFailure": "could not be started",
    "NonZeroExitCode": "its program ended with an error",
    "NodeFail": "a node failed",
    "OutOfMemory": "more memory than it asked for",
    "RaisedSignal": "its program was ended by a signal",
    "TimeLimit": "its time limit is over",
    "SystemFailure": "Slurm, a file system or the network failed",
    "WaitingForScheduling": "Slurm has not looked at it yet",
}
_LIMITED = (
    ("AssocGrp", "its account or one above it"),
    ("AssocMax", "its user in this account"),
    ("QOSGrp", "its QOS"),
    ("QOSMax", "its user in this QOS"),
    ("QOSMin", "the least that its QOS allows"),
    ("QOS", "its QOS"),
    ("Assoc", "its account"),
    ("Max", "the cluster"),
)


def in_words(reason: str) -> str:
    """With Slurm's own word, since admins and manuals know that: "... (Resources)"."""
    reason = reason.strip("()")
    word, _, rest = reason.partition(",")
    said = _WORDS.get(reason, _WORDS.get(word))
    if said is None:
        owner = next((owner for start, owner in _LIMITED if word.startswith(start)), None)
        limited = word.endswith(("Limit", "Minutes", "PerUser", "PerAccount", "PerJob"))
        said = f"a limit of {owner} is reached" if owner and limited else ""
    if not said:
        return "" if reason == "None" else reason
    detail = f" {' '.join(rest.split())}" if rest else ""
    return f"{said} ({word}{detail and ':'}{detail})"


def waits(reason: str, start_s: float | None) -> str:
    """With Slurm's estimate, which is a bound from what it knows now and no promise."""
    said = in_words(reason)
    if start_s is None:
        return said
    moment = datetime.fromtimestamp(start_s).strftime("%Y-%m-%d %H:%M")
    return f"{said}; not before {moment}" if said else f"not before {moment}"
