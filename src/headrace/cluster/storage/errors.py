"""Errors of storage.

HeadraceError
+-- NotLookedAt       001  exit 3  the kernel refuses to look at the path
"""

from headrace.core.errors import NotFound


class NotLookedAt(NotFound):
    """The kernel refuses: no permission, too many links, a name that cannot be one."""

    code = "HR-STORAGE-001"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{path} cannot be looked at",
            why=why,
            remedy="name a folder that you may enter, or the mount it lies on",
        )
