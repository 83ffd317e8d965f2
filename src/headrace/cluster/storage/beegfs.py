"""What BeeGFS's tools print, as records. Pure. ``beegfs-ctl`` is release 7's, ``beegfs`` 8's."""

import re
from itertools import pairwise

from headrace.cluster.storage.sizes import parse_size
from headrace.cluster.storage.storage import Component, Layout, Target

_DETAIL = re.compile(
    r"^\s*\+\s*(Type|Chunksize|Number of storage targets|Storage Pool):\s*(.*)$", re.I
)
_TARGET = re.compile(r"^\s*\+\s*(\d{1,9})\s+(?:@|\(target)")
_CELL = re.compile(r"(\S+)\s*\((\d{1,9})x([^)\s]+)\)")
_PATTERNS = {
    "buddy mirror": "raid1",
    "buddymirror": "raid1",
    "mirrored": "raid1",
    "raid10": "raid1",
}
_DF_ROW = re.compile(
    r"^\s*(\d{1,9})\s+\S+\s+([\d.]+\s*[KMGTPE]?i?B?)\s+([\d.]+\s*[KMGTPE]?i?B?)\s+\d+%"
    r"\s+([\d.]+[KMGTPE]?)\s+([\d.]+[KMGTPE]?)\s+\d+%",
    re.ASCII,
)


def parse_entry(text: str, tool: str) -> Layout | None:
    """The layout in ``beegfs-ctl --getentryinfo``, ``beegfs entry info`` or ``.. --retro``.

    ``tool``: the program that printed it, which is the one that sets it. The actual count counts,
    which may be below the desired one; a folder has only a desired one.
    """
    return _from_table(text, tool) or _from_details(text, tool)


def _from_details(text: str, tool: str) -> Layout | None:
    details: dict[str, str] = {}
    targets = []
    for line in text.splitlines():
        if found := _DETAIL.match(line):
            details.setdefault(found[1].lower(), found[2].strip())
        elif found := _TARGET.match(line):
            targets.append(int(found[1]))
    size_bytes = parse_size(details.get("chunksize", ""))
    counts: dict[str, str] = dict(
        re.findall(r"(desired|actual):\s*(\d{1,9})", details.get("number of storage targets", ""))
    )
    if size_bytes is None or not counts.keys() & {"actual", "desired"}:
        return None
    return _layout(
        pattern=details.get("type", "raid0"),
        count=int(counts["actual" if "actual" in counts else "desired"]),
        size_bytes=size_bytes,
        pool=_pool(details.get("storage pool", "")),
        targets=tuple(targets),
        tool=tool,
        default="actual" not in counts,
    )


def _from_table(text: str, tool: str) -> Layout | None:
    """A header of upper-case names, columns parted by two blanks or more."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    for head, row in pairwise(lines):
        names = [name.replace("_", " ") for name in re.split(r"\s{2,}", head.strip())]
        if "STRIPE PATTERN" not in names:
            continue
        cells = dict(zip(names, re.split(r"\s{2,}", row.strip()), strict=False))
        found = _CELL.fullmatch(cells.get("STRIPE PATTERN", ""))
        size_bytes = None if found is None else parse_size(found[3])
        if found is None or size_bytes is None:
            return None
        listed = re.findall(r"(?:^|,)s?:?(\d{1,9})\b", cells.get("STORAGE TARGETS", ""))
        return _layout(
            pattern=found[1],
            count=int(found[2]),
            size_bytes=size_bytes,
            pool=_pool(cells.get("STORAGE POOL", "")),
            targets=tuple(map(int, listed)),
            tool=tool,
            default=cells.get("TYPE") == "directory",
        )
    return None


def _pool(text: str) -> str | None:
    """ "1 (Default)" and "storage_pool_default (1)" are the pool's number and its name."""
    found = re.fullmatch(r"(\S+) \(([^)]+)\)", text)
    if found is None:
        return text or None
    return found[2] if found[1].isdigit() else found[1]


def _layout(
    *,
    pattern: str,
    count: int,
    size_bytes: int,
    pool: str | None,
    targets: tuple[int, ...],
    tool: str,
    default: bool,
) -> Layout:
    plain = _PATTERNS.get(pattern.lower(), pattern.lower())
    part = Component(count=count, size_bytes=size_bytes, pattern=plain, pool=pool, targets=targets)
    return Layout(
        components=(part,), default=default, mirrors=2 if plain == "raid1" else 1, tool=tool
    )


def parse_df(text: str) -> tuple[Target, ...]:
    """Targets of ``beegfs-df``: a part for metadata, a part for storage."""
    found, kind = [], "ost"
    for line in text.splitlines():
        if line.upper().startswith(("METADATA", "STORAGE")):
            kind = "mdt" if line.upper().startswith("METADATA") else "ost"
        elif row := _DF_ROW.match(line):
            found.append(
                Target(
                    name=f"{'storage' if kind == 'ost' else 'meta'} {row[1]}",
                    kind=kind,
                    index=int(row[1]),
                    size_bytes=parse_size(row[2]),
                    free_bytes=parse_size(row[3]),
                    inodes=parse_size(row[4]),
                    inodes_free=parse_size(row[5]),
                )
            )
    return tuple(found)


def parse_settings(text: str) -> dict[str, str]:
    """``name = value`` lines of /proc/fs/beegfs/*/config or beegfs-client.conf."""
    lines = re.findall(r"^\s*([A-Za-z]\w*)\s*=[ \t]*(.*?)\s*$", text, re.MULTILINE)
    return dict(lines)


def entry_commands(path: str) -> dict[str, list[str]]:
    """Tool -> how to ask it, the newer release first."""
    return {
        "beegfs": ["beegfs", "entry", "info", path],
        "beegfs-ctl": ["beegfs-ctl", "--getentryinfo", path],
    }
