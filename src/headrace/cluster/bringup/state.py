"""Where the virtual cluster of this machine is kept, and the file that says what was made of it."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headrace.cluster.bringup.errors import NoCluster, NoSuchNode, PlanDamaged, RootNeeded
from headrace.cluster.bringup.plan import Box, Cluster
from headrace.core.records import DecodeError, read_record, write_record

_FILE = "cluster.json"
_TURN = Path("/run/headrace-cluster.lock")


def state_folder(environ: Mapping[str, str]) -> Path:
    """Readable to all: the users of the cluster find its slurm.conf here."""
    return Path(environ.get("HEADRACE_CLUSTER") or "/var/lib/headrace-cluster").absolute()


def save(cluster: Cluster) -> None:
    write_record(Path(cluster.folder, _FILE), cluster)


def load(folder: Path) -> Cluster:
    """Raise ``NoCluster`` or ``PlanDamaged``."""
    found = find(folder)
    if found is None:
        raise NoCluster(folder)
    return found


def find(folder: Path) -> Cluster | None:
    """Raise ``PlanDamaged``."""
    try:
        return read_record(state_file(folder), Cluster)
    except FileNotFoundError:
        return None
    except (OSError, DecodeError) as error:
        raise PlanDamaged(state_file(folder), str(error)) from None


def state_file(folder: Path) -> Path:
    return folder / _FILE


def node(cluster: Cluster, name: str) -> Box:
    """Raise ``NoSuchNode``."""
    for box in cluster.nodes:
        if box.name == name:
            return box
    raise NoSuchNode(name, [box.name for box in cluster.nodes])


def require_root(verb: str) -> None:
    """Raise ``RootNeeded``."""
    if os.geteuid() != 0:
        raise RootNeeded(verb, os.geteuid())


@contextmanager
def turn() -> Iterator[None]:
    """Wait until no other bring-up of this machine installs packages or chooses a network."""
    with _TURN.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
