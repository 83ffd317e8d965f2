"""Errors of storage.

HeadraceError
+-- NotLookedAt       001  exit 3  the kernel refuses to look at the path
+-- NoSuchFolder      002  exit 3  what is set or measured is a folder that is there
+-- NoLayout          003  exit 4  this file system has none to set, or has it already
+-- FolderNotEmpty    004  exit 4  only new files get a new layout
+-- LayoutRefused     005  exit 1  the file system's tool refused
+-- NotAnswering      006  exit 5  the file system does not answer
+-- NoRoomToMeasure   007  exit 4  too little space for the files of a benchmark
+-- MeasureFailed     008  exit 1  a benchmark could not be run to its end
"""

import shlex
from collections.abc import Sequence

from headrace.cluster.storage.sizes import format_size
from headrace.core.errors import HeadraceError, NotFound, Refused, Unreachable


class NotLookedAt(NotFound):
    """The kernel refuses: no permission, too many links, a name that cannot be one."""

    code = "HR-STORAGE-001"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{path} cannot be looked at",
            why=why,
            remedy="name a folder that you may enter, or the mount it lies on",
        )


class NoSuchFolder(NotFound):
    code = "HR-STORAGE-002"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is no folder",
            why="a layout is set on, and speed is measured in, a folder that is there",
            remedy=f"mkdir -p {shlex.quote(path)}, then again",
        )


class NoLayout(Refused):
    """Nothing to set: by nature, for want of a tool or of facts, or since it is so already."""

    code = "HR-STORAGE-003"

    def __init__(self, path: str, kind: str, unknown: Sequence[str]) -> None:
        super().__init__(
            f"there is no layout to set on {path} ({kind})",
            why="; ".join(unknown)
            or "its file system has none, or the folder has the best already",
            remedy="headrace storage PATH shows what it has",
        )


class FolderNotEmpty(Refused):
    code = "HR-STORAGE-004"

    def __init__(self, path: str, remedy: str) -> None:
        super().__init__(
            f"{path} is not empty",
            why="a layout holds for new files; those that are there would keep theirs",
            remedy=remedy,
        )


class LayoutRefused(HeadraceError):
    """The file system's own tool failed; its words are the reason."""

    code = "HR-STORAGE-005"

    def __init__(self, command: Sequence[str], said: str) -> None:
        super().__init__(
            f"{shlex.join(command)} failed",
            why=said,
            remedy="ask who runs the file system: setting layouts may be root's",
        )


class NotAnswering(Unreachable):
    code = "HR-STORAGE-006"

    def __init__(self, path: str, source: str) -> None:
        super().__init__(
            f"the file system of {path} does not answer",
            why=f"{source} gave no answer in time",
            remedy="ask who runs it; headrace storage PATH tells when it is back",
        )


class NoRoomToMeasure(Refused):
    code = "HR-STORAGE-007"

    def __init__(self, path: str, need_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"measuring {path} needs {format_size(need_bytes)}, and {format_size(free_bytes)} "
            "are free",
            why="a benchmark leaves half of the room, so that others go on",
            remedy="--size with less",
        )


class MeasureFailed(HeadraceError):
    """The file system or fio gave an error while it was measured."""

    code = "HR-STORAGE-008"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(
            f"{what} could not be measured",
            why=why,
            remedy="mend what it says, or measure another folder",
        )
