"""Errors of the node cache.

HeadraceError
+-- SourceMissing    HR-CACHE-001  exit 3  what is to be staged is not there
+-- CacheRefused     HR-CACHE-002  exit 4  the folder for copies is not safe or not usable
+-- LimitUnclear     HR-CACHE-003  exit 2  the space limit cannot be read
"""

from pathlib import Path

from headrace.core.errors import NotFound, Refused, UsageError


class SourceMissing(NotFound):
    """The data to be staged is not on this node."""

    code = "HR-CACHE-001"

    def __init__(self, source: str, why: str) -> None:
        super().__init__(
            f"{source}: no data to stage",
            why=why,
            remedy="give data.source a file or folder that each node of the run can read",
        )
        self.source = source


class CacheRefused(Refused):
    """Copies of data cannot be kept in this folder."""

    code = "HR-CACHE-002"

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(
            f"{folder} cannot hold copies of data",
            why=why,
            remedy="set HEADRACE_CACHE to a folder on a disk of the node that you may write to",
        )
        self.folder = folder


class LimitUnclear(UsageError):
    """HEADRACE_CACHE_LIMIT is neither a size nor a share."""

    code = "HR-CACHE-003"

    def __init__(self, text: str, rule: str) -> None:
        super().__init__(
            f'HEADRACE_CACHE_LIMIT "{text}" is no limit of space',
            why=rule,
            remedy="HEADRACE_CACHE_LIMIT=200G, or HEADRACE_CACHE_LIMIT=50% of what is free",
        )
        self.text = text
