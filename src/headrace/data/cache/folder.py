"""The folder that holds copies on a node: one a user and file system, private to the user.

::

    headrace-cache-<uid>/        0700
      MARKER                     says what this is; without it nothing here is ever deleted
      claim-<n>                  who may write (``owner``)
      sets/<fingerprint>/        one state of one source
        manifest.json            its files; only they are ever deleted
        tree/...                 copies, under the names of the source; each appears whole
        parts/                   copies in the making; swept by the next owner
        room                     how many bytes copies may take that go with an order (``ahead``)
        users/<run>.<node>.json  the agent of a run that uses it (``owner.Holder``)
        bad/<hash>               a copy that was found damaged: named here, and used no more

A copy has the size and the time of change of its source file, which is how readers know it
(``resolve``). Only the owner writes, but for users and bad, which are files of their own.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import xxhash

from headrace.core.records import DecodeError, encode, read_record, write_record
from headrace.data.cache.admission import Kept, Wanted, taken_bytes
from headrace.data.cache.errors import CacheRefused
from headrace.data.cache.listing import Listed, Listing, read_listing, write_listing
from headrace.data.cache.owner import Holder, lives

MARKER = "HEADRACE_CACHE"
_SAYS = "Copies of training data, made by Headrace. See: headrace data cache ls\n"


class CachedSet:
    """One state of one source in the cache. ``listing``: all its files, copied or not."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self.root = root
        self.listing = listing

    @property
    def key(self) -> str:
        return self.root.name

    @property
    def tree(self) -> Path:
        """What stands for the source: a folder or a file, as the source is."""
        tree = self.root / "tree"
        return tree if self.listing.is_folder else tree / self.listing.files[0].name

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    def copy(self, file: Listed) -> Path:
        return self.root / "tree" / file.name

    def present(self) -> list[Listed]:
        """Files that have a copy."""
        return [file for file in self.listing.files if is_copy(self.copy(file), file)]

    def size_bytes(self) -> int:
        """What copies take, also those that are no longer good for anything."""
        found = []
        for file in self.listing.files:
            with contextlib.suppress(OSError):
                found.append(Wanted(file.name, self.copy(file).stat().st_size))
        return taken_bytes(found)

    def used_s(self) -> float:
        """When it was last used; in use: now."""
        return (self.root / "manifest.json").stat().st_mtime

    def users(self) -> list[Holder]:
        """Agents of runs that live."""
        found = []
        for path in _files(self.root / "users"):
            with contextlib.suppress(OSError, DecodeError):
                user = read_record(path, Holder)
                if lives(user, path):
                    found.append(user)
        return found

    def _forget_users(self) -> None:
        """Those that have ended."""
        for path in _files(self.root / "users"):
            with contextlib.suppress(OSError, DecodeError):
                if not lives(read_record(path, Holder), path):
                    path.unlink()

    def use(self, user: Holder, node: str) -> bool:
        """Keep it from being let go while ``user`` lives. False when it has gone already.

        Need not be the owner: who lets a set go takes its folder away first, then looks for users.
        """
        self._forget_users()
        path = user_file(self.root, user.run_id, node)
        try:
            path.write_bytes(encode(user))
            os.utime(self.root / "manifest.json")
        except FileNotFoundError:
            return False
        return (self.root / "manifest.json").exists()

    def leave(self, user: Holder, node: str) -> None:
        """Undo ``use``."""
        user_file(self.root, user.run_id, node).unlink(missing_ok=True)

    def reserve(self, size_bytes: int | None) -> None:
        """How much its copies may take while they go with an order; None: they are all there."""
        if size_bytes is None:
            (self.root / "room").unlink(missing_ok=True)
        else:
            write_record(self.root / "room", size_bytes)

    def bad(self) -> int:
        """How many copies were found damaged."""
        return len(_files(self.root / "bad"))


def room_bytes(root: Path) -> int | None:
    """Of a ``CachedSet.root``: see ``CachedSet.reserve``."""
    try:
        return read_record(root / "room", int)
    except (OSError, DecodeError):
        return None


def user_file(root: Path, run_id: str, node: str) -> Path:
    return root / "users" / f"{run_id}.{node}.json"


def bad_file(root: Path, name: str) -> Path:
    return root / "bad" / xxhash.xxh3_64_hexdigest(os.fsencode(name))


def is_copy(path: Path, of: Listed) -> bool:
    """Whether ``path`` is a whole copy of that state of the file."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_size == of.size_bytes and found.st_mtime_ns == of.mtime_ns


def read_set(root: Path) -> CachedSet:
    """One of which its place is known. Raise ``OSError``, ``DecodeError``."""
    return CachedSet(root, read_listing(root / "manifest.json"))


class CacheFolder:
    """``open_folder`` makes it. What changes it is for the owner alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def sets(self) -> Iterator[CachedSet]:
        """Data sets by name. What has no manifest that speaks of it is none of ours."""
        for one in self._named("[0-9a-f]*"):
            if one.key == one.listing.fingerprint:
                yield one

    def _named(self, pattern: str) -> Iterator[CachedSet]:
        for path in sorted(self.root.glob(f"sets/{pattern}/manifest.json")):
            with contextlib.suppress(OSError, DecodeError):
                yield read_set(path.parent)

    def get(self, listing: Listing) -> CachedSet:
        """Where the copies of a source are, or would be."""
        return CachedSet(self.root / "sets" / listing.fingerprint, listing)

    def kept(self) -> list[Kept]:
        """What is here; of a set that goes with the order of a living run, what it may take."""
        found = []
        for one in self.sets():
            in_use = bool(one.users())
            reserved_bytes = (room_bytes(one.root) or 0) if in_use else 0
            found.append(
                Kept(
                    key=one.key,
                    source=one.listing.source,
                    size_bytes=max(one.size_bytes(), reserved_bytes),
                    used_s=one.used_s(),
                    in_use=in_use,
                )
            )
        return found

    def add(self, listing: Listing) -> CachedSet:
        """Make room for the copies of a source by name, if there is none yet."""
        one = self.get(listing)
        for name in ("tree", "parts", "users", "bad"):
            (one.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (one.root / "manifest.json").exists():
            write_listing(one.root / "manifest.json", listing)
        return one

    def sweep(self) -> None:
        """Finish what an owner before us did not, and remove copies that were found damaged."""
        for away in self._named(".*"):
            if away.key.startswith(f".{away.listing.fingerprint}."):
                self._finish_letting_go(away)
        for one in self.sets():
            shutil.rmtree(one.parts, ignore_errors=True)
            one.parts.mkdir(mode=0o700, exist_ok=True)
            if one.bad():
                for file in one.listing.files:
                    mark = bad_file(one.root, file.name)
                    if mark.exists():
                        one.copy(file).unlink(missing_ok=True)
                        mark.unlink(missing_ok=True)

    def let_go(self, key: str) -> bool:
        """Delete the copies of a data set, unless a living run uses it."""
        one = next((one for one in self.sets() if one.key == key), None)
        if one is None or one.users():
            return False
        away = CachedSet(self.root / "sets" / f".{key}.{os.getpid()}", one.listing)
        os.rename(one.root, away.root)
        return self._finish_letting_go(away)

    def _finish_letting_go(self, away: CachedSet) -> bool:
        back = self.get(away.listing).root
        if away.users() and not back.exists():  # one came in the last moment
            os.rename(away.root, back)
            return False
        _delete(away)
        return True


def _delete(one: CachedSet) -> None:
    """Copies by their manifest, which goes last; whatever else is there stays."""
    folders = {one.root / "tree"}
    for file in one.listing.files:
        copy = one.copy(file)
        copy.unlink(missing_ok=True)
        folders.update(above for above in copy.parents if one.root / "tree" in above.parents)
    for name in ("parts", "users", "bad"):
        shutil.rmtree(one.root / name, ignore_errors=True)
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    (one.root / "room").unlink(missing_ok=True)
    if not (one.root / "tree").exists():
        (one.root / "manifest.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        one.root.rmdir()


def open_folder(base: Path) -> CacheFolder:
    """The user's cache under ``base``, made if there is none. Raise ``CacheRefused``."""
    root = folder_of(base)
    try:
        base.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            root.mkdir(mode=0o700)
        found = root.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if not is_ours or found.st_mode & 0o077:
            raise CacheRefused(root, "it is no folder of yours alone (mode 0700)")
        holds = any(root.iterdir())  # before: another may make the marker now, its first file
        if not (root / MARKER).exists():
            if holds:
                raise CacheRefused(root, f"it holds other things: there is no {MARKER} in it")
            (root / MARKER).write_text(_SAYS)
        (root / "sets").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CacheRefused(root, (error.strerror or str(error)).lower()) from error
    return CacheFolder(root)


def folder_of(base: Path) -> Path:
    return base / f"headrace-cache-{os.getuid()}"


def find_folder(base: Path) -> CacheFolder | None:
    """The user's cache under ``base``, if there is one."""
    root = folder_of(base)
    try:
        found = root.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return CacheFolder(root) if ours and (root / MARKER).exists() else None


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
