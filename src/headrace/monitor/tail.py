"""Follow a growing file of lines without reading anything twice."""

from pathlib import Path


class Tail:
    """Whole lines that were added since the last call; a torn last line waits for its end.

    A file that does not exist yet has no lines. One that became shorter (its writer cut a torn line
    off) is followed from its new end of whole lines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.splitlines()
