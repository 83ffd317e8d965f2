r"""The rows of ``sacct -P``: values with ``|`` between, of which some may hold ``|`` and newlines.

A line with too few values is joined with what follows. Where a row then has too many, the surplus
belongs to columns of free text (job name, submit line, comment ...): to those that leave every
other value the form its column has.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from headrace.simulate.errors import RowInvalid
from headrace.simulate.readers.remarks import BadField, Remarks

_SURPLUS_MAX = 64
_LINES_MAX = 200
_FREE = ("jobname", "submitline", "comment", "admincomment", "systemcomment", "constraints")
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|\d{9,11}|Unknown|None|"
_COUNT = r"-?\d+|"
_SPAN = r"(?:\d+-)?[\d:.]+|INVALID|UNLIMITED|Partition_Limit|"
_ID = r"\d+(?:_(?:\d+|\[[^\]]*\]?))?(?:\+\d+)?(?:\.\w+)?(?:\+\d+)?"
_TRES = r"[\w/:.-]+=[^,|]*(?:,[\w/:.-]+=[^,|]*)*|"
_FORMS = {
    **dict.fromkeys(("submit", "eligible", "start", "end"), _TIME),
    **dict.fromkeys(("jobid", "jobidraw"), _ID),
    **dict.fromkeys(("elapsed", "timelimit", "reserved", "planned", "suspended", "cputime"), _SPAN),
    **dict.fromkeys(("timelimitraw", "resvcpu", "plannedcpu", "totalcpu", "systemcpu"), _SPAN),
    **dict.fromkeys(("exitcode", "derivedexitcode"), r"\d+:\d+|"),
    **dict.fromkeys(("reqtres", "alloctres"), _TRES),
    **dict.fromkeys(("uid", "gid", "associd", "ncpus", "nnodes", "reqcpus", "reqnodes"), _COUNT),
    **dict.fromkeys(("alloccpus", "allocnodes", "elapsedraw", "cputimeraw", "dbindex"), _COUNT),
    **dict.fromkeys(("priority", "qosraw", "ntasks", "restarts", "reservationid"), _COUNT),
    "state": r"[A-Z_]+\+?(?: by \S+)?",
    "reqmem": r"[\d.]*[KMGTP]?[nc]?\??",
    "consumedenergy": r"[\d.]*[KMGT]?",
    "consumedenergyraw": r"\d*",
}


class _Column(NamedTuple):
    name: str
    free: bool
    form: re.Pattern[str] | None


def rows(text: str, remarks: Remarks) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column in lower case -> value). What cannot be made a row counts as damaged.

    Raise ``RowInvalid`` where there is no header.
    """
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    names = [word.strip().lower() for word in lines[start].split("|")]
    if not {"jobid", "jobidraw"} & set(names) or len(names) < 4:
        raise RowInvalid(
            remarks.name,
            line=start + 1,
            field="header",
            value=lines[start],
            rule="the first line names the columns, with | between, JobID among them",
            remedy="make the dump with: sacct -a -X -P --format=JobID,... (without --noheader)",
        )
    columns = [
        _Column(name, name in _FREE, re.compile(_FORMS[name]) if name in _FORMS else None)
        for name in names
    ]
    at, in_text = start + 1, False  # a row's last column is text that may go on
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        found, used = _row(lines, at, columns)
        if found is not None:
            in_text = columns[-1].free
        elif in_text and not _begins(lines[at], columns):
            at += 1
            continue
        if found is None:
            rule = f"a row has {len(columns)} values, each of its column's form"
            remarks.damaged(at + 1, BadField("row", lines[at], rule))
        else:
            yield at + 1, dict(zip(names, found, strict=True))
        at += used


def _begins(line: str, columns: Sequence[_Column]) -> bool:
    """Whether a line looks like the beginning of a row: as many values, or an id in front."""
    if line.count("|") >= len(columns) - 1:
        return True
    first, form = line.split("|")[0], columns[0].form
    return form is not None and bool(first and form.fullmatch(first))


def _row(lines: Sequence[str], at: int, columns: Sequence[_Column]) -> tuple[list[str] | None, int]:
    """(values, lines used) of the row that begins at this line; (None, 1) where none does."""
    width, whole = len(columns), lines[at]
    if whole.count("|") == width - 1:
        values = whole.split("|")
        typed = next((i for i in reversed(range(width)) if columns[i].form is not None), 0)
        form = columns[typed].form
        if form is None or form.fullmatch(values[typed]):
            return values, 1  # text with as many bars before a newline would shift the last one
    for used in range(1, _LINES_MAX):
        surplus = whole.count("|") - (width - 1)
        if surplus > _SURPLUS_MAX:
            break
        if surplus >= 0 and (found := _aligned(whole.split("|"), columns)) is not None:
            return found, used
        if at + used >= len(lines) or lines[at + used].count("|") >= width - 1:
            break  # the next line is a row of its own
        whole += "\n" + lines[at + used]
    return None, 1


def _aligned(values: list[str], columns: Sequence[_Column]) -> list[str] | None:
    """One value a column: surplus ones joined into free columns so that every form is kept.

    ``reach[s]``: how many values each column so far took, with ``s`` of the surplus spent.
    """
    surplus = len(values) - len(columns)
    reach: dict[int, tuple[int, ...]] = {0: ()}
    for position, column in enumerate(columns):
        following: dict[int, tuple[int, ...]] = {}
        for spent, taken in reach.items():
            if not column.free:
                value = values[position + spent]
                if column.form is None or column.form.fullmatch(value):
                    following.setdefault(spent, (*taken, 1))
                continue
            for more in range(surplus - spent + 1):
                following.setdefault(spent + more, (*taken, 1 + more))
        reach = following
    taken = reach.get(surplus, ())
    if len(taken) != len(columns):
        return None
    found, at = [], 0
    for count in taken:
        found.append("|".join(values[at : at + count]))
        at += count
    return found
