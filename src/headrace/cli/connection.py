"""The way to a daemon or a cluster, for all commands that need it."""

import os
from pathlib import Path

from headrace.control import connection
from headrace.control.door import Door
from headrace.core.rundir import RunDir, find_run


def connect() -> Door:
    """The daemon or the cluster that this environment means. Raise ``HeadraceError``."""
    return connection.connect(os.environ)


def run_dir(word: str) -> RunDir:
    """The run directory of the user that ``word`` names. Raise ``RunNotFound``."""
    return find_run(word, Path() if "/" in word else runs_folder())


def runs_folder() -> Path:
    """Where the user's runs are."""
    return Path(connect().runs_folder())
