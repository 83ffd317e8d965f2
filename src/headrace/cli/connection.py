"""The way to the daemon, for all commands that need it."""

import os

from headrace.control.client import Client
from headrace.engines.local.site import runs_of


def connect() -> Client:
    """The daemon that serves this environment's runs. Raise ``HeadraceError``."""
    return Client(os.environ, runs=runs_of(os.environ))
