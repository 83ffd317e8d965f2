"""CSV with a header, line by line."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from headrace.simulate.errors import RowInvalid
from headrace.simulate.readers.remarks import BadField, Remarks

if TYPE_CHECKING:
    import _csv


def rows(
    text: str, remarks: Remarks, *, required: Sequence[str], delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> value) of each line. Lines of another width count as damaged.

    Raise ``RowInvalid`` when the header lacks a ``required`` column.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [word.strip() for word in _next(reader, remarks) or ()]
    missing = [name for name in required if name not in header]
    if missing:
        raise RowInvalid(
            remarks.name,
            line=1,
            field="header",
            value=delimiter.join(header),
            rule=f"the first line names the columns; {', '.join(missing)} must be among them",
            remedy="add the column, or name the format with --format",
        )
    width = len(header)
    while (row := _next(reader, remarks)) is not None:
        if len(row) == width:
            yield reader.line_num, dict(zip(header, row, strict=True))
        elif any(row):
            rule = f"a line has {width} values, as its header"
            remarks.damaged(reader.line_num, BadField("columns", len(row), rule))


def _next(reader: "_csv.Reader", remarks: Remarks) -> list[str] | None:
    while True:
        try:
            return next(reader, None)
        except csv.Error as error:
            remarks.damaged(reader.line_num, BadField("line", "...", str(error)))
