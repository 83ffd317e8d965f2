"""What lives of a virtual cluster now. An ordinary user may ask."""

from pathlib import Path

from headrace.cluster.bringup import boxes
from headrace.cluster.bringup.plan import Box, Cluster
from headrace.core.process import CommandFailed, run
from headrace.core.records import Record

_ANSWER_S = 5.0


class BoxStatus(Record, frozen=True, kw_only=True):
    """``powered``: its process 1 lives. ``cable``: up, cut, or none. ``slurm``: sinfo's state."""

    name: str
    address: str
    powered: bool
    cable: str
    slurm: str | None


class Status(Record, frozen=True, kw_only=True):
    """``phase``: starting, up, or broken when the controller does not answer."""

    schema: int = 1
    phase: str
    folder: str
    slurm_conf: str
    boxes: tuple[BoxStatus, ...]


def status_of(cluster: Cluster) -> Status:
    states = slurm_states(cluster)
    alive = boxes.inits(cluster)
    return Status(
        phase="broken" if cluster.phase == "up" and states is None else cluster.phase,
        folder=cluster.folder,
        slurm_conf=str(cluster.conf),
        boxes=tuple(
            BoxStatus(
                name=box.name,
                address=box.address,
                powered=box.name in alive,
                cable=_cable(box),
                slurm=(states or {}).get(box.name),
            )
            for box in cluster.boxes
        ),
    )


def slurm_states(cluster: Cluster) -> dict[str, str] | None:
    """Node -> state in sinfo's words; None when slurmctld does not answer."""
    command = ["env", f"SLURM_CONF={cluster.conf}", "sinfo", "-h", "-N", "-o", "%N %T"]
    try:
        text = run(command, timeout_s=_ANSWER_S)
    except CommandFailed:
        return None
    return dict(line.split() for line in text.splitlines())


def _cable(box: Box) -> str:
    try:
        flags = int(Path("/sys/class/net", box.link, "flags").read_text(), 16)
    except FileNotFoundError:
        return "none"
    return "up" if flags & 1 else "cut"
