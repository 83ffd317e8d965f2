"""An index over the run directories, in SQLite: finds runs without reading all their files.

Nothing is only here, except the highest run number ever given: a deleted index is rebuilt from the
run directories. WAL needs shared memory between processes of one host, so a network file system is
refused.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from headrace.cluster.nodes.mounts import NETWORK, mount_of, parse_mounts
from headrace.core.errors import Refused
from headrace.core.records import Record, decode, encode
from headrace.engines.contract import RunRow
from headrace.engines.local.history import Stretch
from headrace.engines.local.submission import Submission

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, element INTEGER,
    array_id TEXT, token TEXT NOT NULL, final INTEGER NOT NULL, record BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS run_number ON run (number);
CREATE INDEX IF NOT EXISTS run_token ON run (token);
CREATE INDEX IF NOT EXISTS run_final ON run (final);
CREATE TABLE IF NOT EXISTS counter (only INTEGER PRIMARY KEY CHECK (only = 1), last INTEGER) STRICT;
INSERT OR IGNORE INTO counter VALUES (1, 0);
"""
_ORDER = "ORDER BY number, element"


class IndexPlaceRefused(Refused):
    """The index would lie on a network file system."""

    code = "HR-LOCAL-002"

    def __init__(self, folder: Path, fstype: str) -> None:
        super().__init__(
            f"the queue's index cannot lie in {folder}",
            why=f"that is a {fstype} file system, and the index needs a local disk",
            remedy="set XDG_STATE_HOME to a folder on a local disk",
        )


class Indexed(Record, frozen=True, kw_only=True):
    """What is kept of a run."""

    submission: Submission
    row: RunRow
    stretches: tuple[Stretch, ...] = ()
    energy_j: float | None = None


def index_path(state: Path, runs: Path) -> Path:
    """One index a runs folder."""
    return state / f"{hashlib.sha256(bytes(runs)).hexdigest()[:16]}.sqlite"


def require_local_disk(folder: Path, mounts_text: str) -> None:
    """Raise ``IndexPlaceRefused``. ``mounts_text`` is /proc/self/mounts."""
    mount = mount_of(str(folder.resolve()), parse_mounts(mounts_text))
    if mount is not None and mount.fstype in NETWORK:
        raise IndexPlaceRefused(folder, mount.fstype)


class Index:
    """Used by one thread. A damaged file is replaced by an empty one."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._database = _open(path)
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._database = _open(path)

    def close(self) -> None:
        self._database.close()

    def put(self, entries: Iterable[Indexed]) -> None:
        rows = [
            (
                entry.row.id,
                entry.submission.number,
                entry.submission.array_index,
                entry.submission.array_id,
                entry.submission.token,
                entry.row.state.is_final,
                encode(entry),
            )
            for entry in entries
        ]
        with self._database:
            self._database.executemany("REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def remove(self, ids: Iterable[str]) -> None:
        with self._database:
            self._database.executemany("DELETE FROM run WHERE id = ?", [(name,) for name in ids])

    def last_number(self) -> int:
        """The highest number that any run here has had."""
        found: int = self._database.execute("SELECT last FROM counter").fetchone()[0]
        return found

    def keep_number(self, number: int) -> None:
        """Numbers up to this one are taken, also if no run comes of it."""
        with self._database:
            self._database.execute("UPDATE counter SET last = max(last, ?)", (number,))

    def all(self, *, ended: bool) -> list[Indexed]:
        return self._select("" if ended else "WHERE final = 0")

    def ids(self, *, final: bool) -> set[str]:
        found = self._database.execute("SELECT id FROM run WHERE final = ?", (final,))
        return {row[0] for row in found}

    def by_token(self, token: str) -> list[Indexed]:
        return self._select("WHERE token = ?", token)

    def latest(self, name: str, most: int) -> list[Indexed]:
        """The last runs that were submitted with this ``name:``, the newest first."""
        element = "CASE WHEN element IS NULL THEN '' ELSE '_' || element END"
        found = self._database.execute(
            f"SELECT record FROM run WHERE id >= :start AND id < :start || ':' "
            f"AND id = :start || number || {element} ORDER BY number DESC, element LIMIT :most",
            {"start": f"{name}-", "most": most},
        )
        return [decode(row[0], Indexed) for row in found]

    def by_name(self, name: str) -> list[Indexed]:
        """``name``: a run's id, an array's id, a number, or number_element."""
        found = self._select("WHERE id = ? OR array_id = ?", name, name)
        number, _, element = name.partition("_")
        if found or not _is_number(number):
            return found
        if not element:
            return self._select("WHERE number = ?", int(number))
        if not _is_number(element):
            return []
        return self._select("WHERE number = ? AND element = ?", int(number), int(element))

    def _select(self, where: str, *values: str | int) -> list[Indexed]:
        found = self._database.execute(f"SELECT record FROM run {where} {_ORDER}", values)
        return [decode(row[0], Indexed) for row in found]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 18


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database
