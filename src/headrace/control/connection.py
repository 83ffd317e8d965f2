"""The way to a daemon or a cluster, for all that need it.

``headrace.control.choice`` says which engine is meant.

The machine's daemon serves where its socket is, also while it is being started again, unless
``HEADRACE_RUNS`` names a folder of the user's own or ``HEADRACE_DAEMON`` is "own"; with "system" it
must be there.
"""

from collections.abc import Mapping

from headrace.control.choice import engine_of
from headrace.control.client import Client
from headrace.control.door import Door
from headrace.core.places import system_socket
from headrace.engines.local.site import runs_of


def connect(environ: Mapping[str, str]) -> Door:
    """The daemon or the cluster that this environment means. Raise ``HeadraceError``."""
    if engine_of(environ) == "slurm":
        from headrace.control.cluster import cluster_door

        return cluster_door(environ)
    if _means_the_machine(environ):
        return Client(environ, runs=None, system=True)
    return Client(environ, runs=runs_of(environ))


def _means_the_machine(environ: Mapping[str, str]) -> bool:
    wanted = environ.get("HEADRACE_DAEMON")
    if wanted or environ.get("HEADRACE_RUNS"):
        return wanted == "system"
    return system_socket(environ).exists()
