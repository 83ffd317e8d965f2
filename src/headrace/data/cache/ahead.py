"""Keeps near what an order needs next, of a source that is too large for the node.

Where files are needed one after the other, the first rank of a node says which (``Copies.ahead``),
and a thread of it copies them as the owner of the cache, some time before they are read. Readers
notice nothing: a file that has no copy yet, or none any more, is read from the source. Where
several runs use the same copies, each in an order of its own, copies stay as they were staged.
"""

import contextlib
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

from headrace.core.records import DecodeError
from headrace.data.cache.admission import Wanted, window
from headrace.data.cache.copying import Copying
from headrace.data.cache.folder import CachedSet, read_set, room_bytes
from headrace.data.cache.listing import Listed
from headrace.data.cache.owner import owned, this_process


class Ahead:
    """Copies of a set (``CachedSet.root``) that go with the order of a run."""

    def __init__(self, root: Path, *, run_id: str) -> None:
        self._wish = _Wish()
        work = _Work(root, run_id, self._wish)
        threading.Thread(target=work.run, name="headrace-ahead", daemon=True).start()
        self._stop = weakref.finalize(self, self._wish.close)

    def wants(self, names: Sequence[str]) -> None:
        """Files in the order in which they are needed from now on, each once. Does not wait."""
        self._wish.set(names)

    def close(self) -> None:
        self._stop()


class _Wish:
    """The latest one counts."""

    def __init__(self) -> None:
        self._names: Sequence[str] = ()
        self.is_new = threading.Event()
        self.closed = False

    def set(self, names: Sequence[str]) -> None:
        self._names = names
        self.is_new.set()

    def close(self) -> None:
        self.closed = True
        self.is_new.set()

    def take(self) -> Sequence[str]:
        self.is_new.wait()
        self.is_new.clear()
        return self._names


class _Work:
    """What the thread does; it must not keep ``Ahead`` from being dropped."""

    def __init__(self, root: Path, run_id: str, wish: _Wish) -> None:
        self._root = root
        self._run_id = run_id
        self._wish = wish

    def run(self) -> None:
        try:
            one = read_set(self._root)
        except (OSError, DecodeError):
            return
        files = {file.name: file for file in one.listing.files}
        while True:
            names = self._wish.take()
            if self._wish.closed:
                return
            with contextlib.suppress(OSError):  # the disk has gone, say: the source is there
                self._bring(one, [files[name] for name in names if name in files])

    def _bring(self, one: CachedSet, coming: Sequence[Listed]) -> None:
        """Until all that fits is there, or something else is wanted."""
        with owned(self._root.parent.parent, this_process(self._run_id)):
            room = room_bytes(self._root)
            if room is None or {user.run_id for user in one.users()} != {self._run_id}:
                return
            step = window(_wanted(coming), _wanted(one.present()), room_bytes=room)
            for name in step.drop:
                (self._root / "tree" / name).unlink(missing_ok=True)
            files = {file.name: file for file in coming}
            for wanted in step.copy:
                if self._wish.is_new.is_set():
                    return
                if Copying(one, [files[wanted.name]]).run(lambda done_bytes: None).why:
                    return


def _wanted(files: Sequence[Listed]) -> list[Wanted]:
    return [Wanted(file.name, file.size_bytes) for file in files]
