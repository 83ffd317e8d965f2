"""What ``lfs`` and ``lctl`` print, as records. Pure. Shapes of Lustre 2.5 to 2.16.

``lfs getstripe`` of a plain file, of a composite one (progressive, data on MDT, mirrored), of a
folder's default; ``lfs df`` in KiB, readable (-h) or inodes (-i); ``lfs pool_list``.
"""

import re
from collections.abc import Iterator

from headrace.cluster.storage.sizes import parse_number, parse_size
from headrace.cluster.storage.storage import Component, Layout, Target

_FIELD = re.compile(
    r"(?:lmm_|lcme?_)?(stripe_count|stripe_size|pattern|pool|stripe_offset):\s*(\S+)"
)
_ENTRY = re.compile(r"lcme_(id|extent\.e_start|extent\.e_end):\s*(\S+)")
_MIRRORS = re.compile(r"lcm_mirror_count:\s*(\d{1,4})\b")
_OBJECT = re.compile(r"l_ost_idx:\s*(\d{1,9})\b")
_OBJECT_ROW = re.compile(r"^\s+(\d{1,9})\s+\d+\s+0x[0-9a-fA-F]+\s+\S+\s*\*?\s*$")
_PATTERNS = {"0": "raid0", "1": "raid0", "2": "raid1", "100": "mdt"}
"""As numbers: 0 in a default that nobody set, 1 LOV_PATTERN_RAID0; 0x100 LOV_PATTERN_MDT."""
_TARGET = re.compile(
    r"^(?P<name>\S+?)(?:_UUID)?\s+(?P<size>[\d.]+[KMGTPE]?)\s+(?P<used>[\d.]+[KMGTPE]?)\s+"
    r"(?P<free>[\d.]+[KMGTPE]?)\s+\S+\s+.*\[(?P<kind>MDT|OST):(?P<index>\d{1,9})\]",
    re.ASCII,
)
_ABSENT = re.compile(
    r"^(?P<name>\S*?(?P<kind>MDT|OST)(?P<index>[0-9a-fA-F]{4}))(?:_UUID)?\s*:\s*(?P<why>\D.*)$"
)


def parse_getstripe(text: str, *, default: bool = False) -> Layout | None:
    """The layout of the first file or folder in ``text``; None when it tells none.

    ``default``: the text is of a folder (-d). A count of -1 is all targets.
    """
    parts: list[dict[str, str]] = []
    objects: list[list[int]] = []
    for line in _first(text):
        for name, value in _ENTRY.findall(line):
            if name == "id":
                parts.append({})
                objects.append([])
            elif parts:
                parts[-1][name] = value
        for name, value in _FIELD.findall(line):
            if not parts:
                parts.append({})
                objects.append([])
            parts[-1].setdefault(name, value)
        row = _OBJECT_ROW.match(line)
        indices = [row[1]] if row else _OBJECT.findall(line)
        if objects:
            objects[-1] += map(int, indices)
    components = tuple(
        made
        for part, indices in zip(parts, objects, strict=True)
        if (made := _component(part, tuple(indices))) is not None
    )
    if not components:
        return None
    mirrors = _MIRRORS.search(text)
    return Layout(
        components=components,
        default=default,
        mirrors=max(1, int(mirrors[1])) if mirrors else 1,
        tool="lfs",
    )


def _first(text: str) -> Iterator[str]:
    """The lines of the first entry: a composite one has a generation, a plain one a blank end."""
    started = composite = False
    for line in text.splitlines():
        if "lcm_layout_gen" in line:
            if started:
                return
            started = composite = True
        if not line.strip() and started and not composite:
            return
        started = started or _FIELD.search(line) is not None
        yield line


def _component(part: dict[str, str], targets: tuple[int, ...]) -> Component | None:
    count = parse_number(part.get("stripe_count", ""))
    size_bytes = parse_size(part.get("stripe_size", ""))
    if count is None or size_bytes is None:
        return None
    pattern = part.get("pattern", "raid0").removeprefix("0x")
    end_bytes = parse_number(part.get("extent.e_end", ""))
    return Component(
        start_bytes=max(0, parse_number(part.get("extent.e_start", "")) or 0),
        end_bytes=None if end_bytes is None or end_bytes < 0 else end_bytes,
        count=count if count < 2**31 else -1,
        size_bytes=size_bytes,
        pattern=_PATTERNS.get(pattern, pattern),
        pool=part.get("pool"),
        targets=targets,
    )


def parse_df(text: str) -> tuple[Target, ...]:
    """Targets of ``lfs df [-h]``. Those that do not answer are there, with ``active`` False."""
    unit = 1 if re.search(r"^UUID\s+bytes\b", text, re.MULTILINE) else 1024
    found = []
    for line in text.splitlines():
        if (row := _TARGET.match(line)) is not None:
            found.append(
                Target(
                    name=row["name"],
                    kind=row["kind"].lower(),
                    index=int(row["index"]),
                    size_bytes=parse_size(row["size"], unit=unit),
                    free_bytes=parse_size(row["free"], unit=unit),
                )
            )
        elif (row := _ABSENT.match(line)) is not None:
            found.append(
                Target(
                    name=row["name"],
                    kind=row["kind"].lower(),
                    index=int(row["index"], 16),
                    active=False,
                )
            )
    return tuple(found)


def parse_df_inodes(text: str) -> dict[tuple[str, int], tuple[int, int]]:
    """(kind, index) -> (inodes, free inodes) of ``lfs df -i``."""
    found = {}
    for row in filter(None, map(_TARGET.match, text.splitlines())):
        inodes, free = parse_size(row["size"]), parse_size(row["free"])
        if inodes is not None and free is not None:
            found[row["kind"].lower(), int(row["index"])] = (inodes, free)
    return found


def parse_pools(text: str) -> tuple[str, ...]:
    """Names of ``lfs pool_list FS``: lines "fs.pool" below "Pools from fs:"."""
    return tuple(re.findall(r"^[^\s.:]+\.(\S+)\s*$", text, re.MULTILINE))


def parse_rpcs(text: str) -> int | None:
    """The least of ``lctl get_param -n osc.*.max_rpcs_in_flight``, one number a target."""
    numbers = [number for line in text.splitlines() if (number := parse_number(line)) is not None]
    return min((number for number in numbers if number > 0), default=None)


def parse_version(text: str) -> str | None:
    """ "2.15.3" of ``lfs --version`` ("lfs 2.15.3")."""
    found = re.search(r"\b(\d{1,4}\.\d{1,4}(?:\.\d{1,4}){0,2})", text)
    return found[1] if found else None
