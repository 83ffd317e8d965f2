"""What the site file says about this machine: how much of it may be used, and cut how.

::

    runs = "/scratch/me/runs"

    [local]
    virtual_nodes = 4    # four fixed nodes, not one host; HEADRACE_VIRTUAL_NODES overrides
    cpus = 12            # hand out the first 12 CPUs only
    memory = "48G"
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from headrace.core.errors import UsageError
from headrace.core.places import runs_folder, site_file
from headrace.core.records import Record
from headrace.core.units import parse_bytes


class Site(Record, frozen=True, kw_only=True):
    """None: not limited, not divided, the default place."""

    runs: str | None = None
    virtual_nodes: int | None = None
    cpus: int | None = None
    memory_bytes: int | None = None


class SiteInvalid(UsageError):
    """The site file, or a variable that overrides it, cannot be used."""

    code = "HR-LOCAL-001"

    def __init__(self, where: str, why: str, remedy: str) -> None:
        super().__init__(f"{where} cannot be used", why=why, remedy=remedy)


def read_site(environ: Mapping[str, str]) -> Site:
    """The site file's values, or defaults where there is none. Raise ``SiteInvalid``."""
    path = site_file(environ)
    try:
        site = parse_site(path.read_text(), path)
    except FileNotFoundError:
        site = Site()
    except (OSError, UnicodeDecodeError) as error:
        raise SiteInvalid(str(path), str(error), f"make {path} a readable text file") from error
    override = environ.get("HEADRACE_VIRTUAL_NODES")
    if not override:
        return site
    return Site(
        runs=site.runs,
        virtual_nodes=_count(override, "HEADRACE_VIRTUAL_NODES"),
        cpus=site.cpus,
        memory_bytes=site.memory_bytes,
    )


def runs_of(environ: Mapping[str, str]) -> Path:
    """The runs folder that this environment means. Raise ``SiteInvalid``."""
    return runs_folder(environ, site_runs=read_site(environ).runs)


def parse_site(text: str, path: Path) -> Site:
    """Unknown tables are other parts' business; unknown keys in [local] are errors."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteInvalid(str(path), f"it is not TOML: {error}", "mend that line") from error
    local = table.get("local", {})
    known = ("virtual_nodes", "cpus", "memory")
    unknown = sorted(set(local) - set(known)) if isinstance(local, dict) else ["local"]
    if unknown:
        raise SiteInvalid(
            f"{path}: [local] {unknown[0]}",
            f"[local] has the keys {', '.join(known)}",
            f"remove {unknown[0]} or use one of these keys",
        )
    runs = table.get("runs")
    if runs is not None and not isinstance(runs, str):
        raise SiteInvalid(f"{path}: runs", "it is not a path in quotes", 'runs = "/path/to/runs"')
    return Site(
        runs=runs,
        virtual_nodes=_optional_count(local, "virtual_nodes", path),
        cpus=_optional_count(local, "cpus", path),
        memory_bytes=_memory(local, path),
    )


def _optional_count(table: Mapping[str, object], key: str, path: Path) -> int | None:
    return _count(table[key], f"{path}: [local] {key}") if key in table else None


def _count(value: object, where: str) -> int:
    written = str(value)
    if isinstance(value, bool) or not written.isascii() or not written.isdigit() or written == "0":
        raise SiteInvalid(where, f'"{value}" is not a count of 1 or more', "write a whole number")
    return int(written)


def _memory(table: Mapping[str, object], path: Path) -> int | None:
    if "memory" not in table:
        return None
    try:
        return parse_bytes(str(table["memory"]))
    except ValueError as error:
        raise SiteInvalid(f"{path}: [local] memory", str(error), 'memory = "48G"') from error
