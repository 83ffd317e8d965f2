"""What the site file says: how much of this machine may be used, by whom, and in which order.

``docs/reference/site-file.md`` describes every key, with an example. The rules become the types of
``headrace.schedule.cluster``; what a table there cannot say is checked here: names that exist, and
accounts that form a tree.
"""

import difflib
import logging
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from headrace.core.places import runs_folder, site_file
from headrace.core.records import Record, replace
from headrace.core.units import parse_bytes, parse_duration_s
from headrace.engines.local.table import SiteInvalid, as_table, record_of, require_known, texts
from headrace.schedule.cluster import (
    Account,
    Cluster,
    Elastic,
    NodeSpec,
    Partition,
    Qos,
    Reservation,
    Weights,
)

_log = logging.getLogger(__name__)

NORMAL = "normal"
R = TypeVar("R", Qos, Partition, Reservation)
_KEYS = (
    *("runs", "engine", "local", "policy", "admins", "idle_gpu", "weights"),
    *("accounts", "qos", "partitions", "reservations", "elastic"),
)


CALC_PERIOD_S = 10.0
"""Slurm's five minutes suit jobs of hours; runs of one machine may last seconds."""


class IdleGpu(Record, frozen=True, kw_only=True):
    """A run whose GPUs all stand at 0 % for so long is warned, then cancelled; None is never."""

    warn_after_s: float | None = None
    cancel_after_s: float | None = None


class Site(Record, frozen=True, kw_only=True):
    """None: not limited, not divided, never, the default place or policy.

    ``runs`` and the three after it take effect when the daemon starts, all else at once. ``admins``
    names a Unix group. ``accounts`` hold accounts and, with ``user``, who may use them. ``qos``
    always has one of the name "normal".
    """

    runs: str | None = None
    virtual_nodes: int | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    idle_exit_s: float | None = 1800.0
    policy: str | None = None
    admins: str | None = None
    idle_gpu: IdleGpu = IdleGpu()
    weights: Weights = Weights(calc_period_s=CALC_PERIOD_S)
    accounts: tuple[Account, ...] = ()
    qos: tuple[Qos, ...] = (Qos(name=NORMAL),)
    partitions: tuple[Partition, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    elastic: Elastic = Elastic()

    def cluster(self, nodes: Sequence[NodeSpec]) -> Cluster:
        return Cluster(
            nodes=tuple(nodes),
            partitions=self.partitions,
            accounts=self.accounts,
            qos=self.qos,
            reservations=self.reservations,
            weights=self.weights,
            elastic=self.elastic,
        )

    def accounts_of(self, user: str) -> list[str]:
        """The accounts that ``user`` may charge; the first is the default."""
        return [one.name for one in self.accounts if one.user == user]

    def default_qos(self, account: str, user: str) -> str:
        """That of the user's association, else of the account and those above it, else normal."""
        named = {(one.name, one.user): one for one in self.accounts}
        found = named.get((account, user)) or named.get((account, None))
        while found is not None and found.default_qos is None:
            above = found.name if found.user is not None else found.parent
            found = None if above is None else named.get((above, None))
        return NORMAL if found is None or found.default_qos is None else found.default_qos


class SiteFile:
    """The site file of a daemon, read again when it has changed.

    A file that cannot be used changes nothing: ``now`` stays what it was, and ``problem`` says why.
    """

    def __init__(self, environ: Mapping[str, str], path: Path | None = None) -> None:
        self.path = path or site_file(environ)
        self._environ = environ
        self._stamp = self._look()
        self.now = read_site(environ, self.path)
        self.problem: SiteInvalid | None = None

    def refresh(self, *, force: bool = False) -> bool:
        """Whether the file was read, with success or not. ``force``: also if it looks the same."""
        stamp = self._look()
        if stamp == self._stamp and not force:
            return False
        self._stamp = stamp
        try:
            self.now = read_site(self._environ, self.path)
            self.problem = None
            _log.info("read %s", self.path)
        except SiteInvalid as error:
            self.problem = error
            _log.error("the rules stay as they were: %s", error)
        return True

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _weights(table: object, place: str) -> Weights:
    found = record_of(Weights, table, place)
    given = isinstance(table, Mapping) and "calc_period" in table
    return found if given else replace(found, calc_period_s=CALC_PERIOD_S)


def read_site(environ: Mapping[str, str], path: Path | None = None) -> Site:
    """The site file's values, or defaults where there is none. Raise ``SiteInvalid``."""
    path = path or site_file(environ)
    site = parse_site(_read(path), path)
    override = environ.get("HEADRACE_VIRTUAL_NODES")
    if not override:
        return site
    return replace(site, virtual_nodes=_count(override, "HEADRACE_VIRTUAL_NODES"))


def runs_of(environ: Mapping[str, str]) -> Path:
    """The runs folder that this environment means, whatever else the site file says.

    Raise ``SiteInvalid``.
    """
    path = site_file(environ)
    site_runs = _text(_toml(_read(path), path), "runs", "a path", f"{path}:")
    return runs_folder(environ, site_runs=site_runs)


def engine_named(environ: Mapping[str, str]) -> str | None:
    """``engine`` of the site file that this environment means. Raise ``SiteInvalid``."""
    path = site_file(environ)
    return _text(_toml(_read(path), path), "engine", "local, slurm or auto", f"{path}:")


def _read(path: Path) -> str:
    """Nothing where there is no file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SiteInvalid(str(path), str(error), f"make {path} a readable text file") from error


def _toml(text: str, path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteInvalid(str(path), f"it is not TOML: {error}", "mend that line") from error


def parse_site(text: str, path: Path) -> Site:
    """Raise ``SiteInvalid`` for the first thing that is wrong; it names the key."""
    table = _toml(text, path)
    file = f"{path}:"
    require_known(table, _KEYS, file)
    local = as_table(table.get("local", {}), f"{file} local")
    require_known(local, ("virtual_nodes", "cpus", "memory", "idle_exit"), f"{file} local")
    qos = tuple(_named(Qos, table, "qos", file))
    site = Site(
        runs=_text(table, "runs", "a path", file),
        virtual_nodes=_optional_count(local, "virtual_nodes", file),
        cpus=_optional_count(local, "cpus", file),
        memory_bytes=_memory(local, file),
        idle_exit_s=_idle_exit(local, file),
        policy=_text(table, "policy", "a policy's name", file),
        admins=_text(table, "admins", "a group's name", file),
        idle_gpu=record_of(IdleGpu, table.get("idle_gpu", {}), f"{file} idle_gpu"),
        weights=_weights(table.get("weights", {}), f"{file} weights"),
        accounts=tuple(_accounts(table, file)),
        qos=qos if any(one.name == NORMAL for one in qos) else (Qos(name=NORMAL), *qos),
        partitions=tuple(_named(Partition, table, "partitions", file)),
        reservations=tuple(_named(Reservation, table, "reservations", file)),
        elastic=record_of(Elastic, table.get("elastic", {}), f"{file} elastic"),
    )
    _require_names(site, file)
    return site


# --- tables of tables ----------------------------------------------------------------------------


def _named(kind: type[R], table: Mapping[str, object], key: str, file: str) -> Iterator[R]:
    for name, one in as_table(table.get(key, {}), f"{file} {key}").items():
        yield record_of(kind, one, f"{file} {key}.{name}", name=name)


def _accounts(table: Mapping[str, object], file: str) -> Iterator[Account]:
    for name, one in as_table(table.get("accounts", {}), f"{file} accounts").items():
        where = f"{file} accounts.{name}"
        given = as_table(one, where)
        yield _account(given, where, beside=("users",), name=name, user=None)
        users = given.get("users", {})
        if isinstance(users, list):
            users = {user: {} for user in texts(users, f"{where}.users")}
        for user, association in as_table(users, f"{where}.users").items():
            yield _account(association, f"{where}.users.{user}", name=name, user=user, parent=None)


def _account(
    table: object, where: str, *, beside: tuple[str, ...] = (), **known: object
) -> Account:
    given = as_table(table, where)
    if given.get("shares") == "parent":
        beside, known = (*beside, "shares"), {**known, "shares": None}
    return record_of(Account, given, where, beside=beside, **known)


def _require_names(site: Site, file: str) -> None:
    """Every name that a table uses is the name of a table."""
    accounts = {one.name: one.parent for one in site.accounts if one.user is None}
    qos = {one.name for one in site.qos}
    for account in site.accounts:
        where = f"{file} accounts.{account.name}" + (
            f".users.{account.user}" if account.user else ""
        )
        _require_each([account.parent], accounts, "account", f"{where}.parent")
        _require_each([account.default_qos], qos, "qos", f"{where}.default_qos")
        _require_each(account.qos, qos, "qos", f"{where}.qos")
    for one in site.qos:
        _require_each(one.preempts, qos, "qos", f"{file} qos.{one.name}.preempts")
    for part in site.partitions:
        where = f"{file} partitions.{part.name}"
        _require_each([part.qos], qos, "qos", f"{where}.qos")
        _require_each(part.allow_qos, qos, "qos", f"{where}.allow_qos")
        _require_each(part.allow_accounts, accounts, "account", f"{where}.allow_accounts")
    for kept in site.reservations:
        where = f"{file} reservations.{kept.name}"
        _require_each(kept.accounts, accounts, "account", f"{where}.accounts")
        if kept.end_s <= kept.start_s:
            raise SiteInvalid(f"{where}.end", "it is not after start", "write a later time")
    _require_tree(accounts, file)
    defaults = [part.name for part in site.partitions if part.default]
    if len(defaults) > 1:
        where, both = f"{file} partitions.{defaults[1]}.default", " and ".join(defaults[:2])
        raise SiteInvalid(where, f"{both} are both the default", "leave one of them")
    warn_s, cancel_s = site.idle_gpu.warn_after_s, site.idle_gpu.cancel_after_s
    if warn_s is not None and cancel_s is not None and cancel_s < warn_s:
        where = f"{file} idle_gpu.cancel_after"
        raise SiteInvalid(where, "it comes before warn_after", "make it as long or longer")


def _require_each(
    names: Sequence[str | None], known: Collection[str], what: str, where: str
) -> None:
    for name in names:
        if name is not None and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            table = {"account": "accounts", "qos": "qos"}[what]
            remedy = f'write "{near[0]}", or add' if near else "add"
            raise SiteInvalid(
                where, f'there is no {what} "{name}"', f"{remedy} a table [{table}.{name}]"
            )


def _require_tree(parents: Mapping[str, str | None], file: str) -> None:
    for name in parents:
        seen, above = {name}, parents[name]
        while above is not None:
            if above in seen:
                where = f"{file} accounts.{name}.parent"
                raise SiteInvalid(where, f"{above} is above itself", "name a parent outside")
            seen.add(above)
            above = parents[above]


# --- single values -------------------------------------------------------------------------------


def _text(table: Mapping[str, object], key: str, what: str, file: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise SiteInvalid(f"{file} {key}", f"it is not {what} in quotes", f'{key} = "..."')
    return value


def _optional_count(table: Mapping[str, object], key: str, file: str) -> int | None:
    return _count(table[key], f"{file} [local] {key}") if key in table else None


def _count(value: object, where: str) -> int:
    written = str(value)
    if isinstance(value, bool) or not written.isascii() or not written.isdigit() or written == "0":
        raise SiteInvalid(where, f'"{value}" is not a count of 1 or more', "write a whole number")
    return int(written)


def _memory(table: Mapping[str, object], file: str) -> int | None:
    if "memory" not in table:
        return None
    try:
        return parse_bytes(str(table["memory"]))
    except ValueError as error:
        raise SiteInvalid(f"{file} [local] memory", str(error), 'memory = "48G"') from error


def _idle_exit(table: Mapping[str, object], file: str) -> float | None:
    written = table.get("idle_exit", "30m")
    if written == "never":
        return None
    try:
        return float(parse_duration_s(str(written)))
    except ValueError as error:
        where = f"{file} [local] idle_exit"
        raise SiteInvalid(where, str(error), 'write "30m", or "never"') from error
