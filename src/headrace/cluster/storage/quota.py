"""What this user may still write, as quota tools print it. Pure.

``lfs quota``, ``quota -w -p`` (nfs, local), ``mmlsquota -Y``. Limits of 0 are none.
"""

import re

from headrace.cluster.storage.gpfs import parse_y
from headrace.cluster.storage.sizes import parse_number, parse_size
from headrace.cluster.storage.storage import Quota

_HEAD = re.compile(r"^\s*Filesystem\s+(kbytes|blocks|used|space)\s+quota\s+limit\b")
_COLUMNS = 8


def parse_table(text: str) -> Quota | None:
    """The first row below the header: used, quota, limit, grace, files, quota, limit, grace.

    A long name stands on a line of its own. ``*`` marks what is over its limit, brackets what is
    out of date. Sizes without a suffix are KiB.
    """
    lines = text.splitlines()
    at = next((number for number, line in enumerate(lines) if _HEAD.match(line)), None)
    if at is None:
        return None
    words = " ".join(lines[at + 1 : at + 3]).split()[: _COLUMNS + 1]
    cells = [word.strip("[]*") for word in words[1:]]
    if len(cells) < _COLUMNS - 1:
        return None
    sizes = [parse_size(cell, unit=1024) for cell in cells[:3]]
    files = [parse_size(cell) for cell in cells[4:7]]
    if sizes[0] is None:
        return None
    return Quota(
        used_bytes=sizes[0],
        soft_bytes=sizes[1] or None,
        hard_bytes=sizes[2] or None,
        files=files[0],
        files_hard=files[2] or None,
    )


def parse_mmlsquota(text: str, user: int) -> Quota | None:
    """The user's own row of ``mmlsquota -Y``; sizes are KiB."""
    for row in parse_y(text):
        if row.get("quotaType") != "USR" or row.get("id", str(user)) != str(user):
            continue
        used, soft, hard = (
            parse_number(row.get(name, "")) for name in ("blockUsage", "blockQuota", "blockLimit")
        )
        if used is not None:
            return Quota(
                used_bytes=used * 1024,
                soft_bytes=soft * 1024 if soft else None,
                hard_bytes=hard * 1024 if hard else None,
                files=parse_number(row.get("filesUsage", "")),
                files_hard=parse_number(row.get("filesLimit", "")) or None,
            )
    return None
