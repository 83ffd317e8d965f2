"""What Parquet and Arrow have in common: limits, columns that can be rows, and the rows.

A row is a dict of Python values; a list of numbers comes as a NumPy array (as a list where one of
its elements is null). Times in nanoseconds, which Python cannot hold, come as integers.
"""

import base64
import zlib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.data.errors import IndexRefused, NotADataset, PackageMissing

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 1 << 24
MOST_BYTES = 1 << 32
"""What one row group or record batch may hold, unpacked: a few bytes can claim anything."""


def pyarrow(needed_for: str) -> ModuleType:
    """The package. Raise ``PackageMissing``."""
    try:
        return import_module("pyarrow")
    except ImportError:
        raise PackageMissing("pyarrow", needed_for) from None


def faults() -> tuple[type[Exception], ...]:
    """What pyarrow raises for bytes that it cannot read, and what is raised by looking for fields
    in what it could."""
    arrow = pyarrow("Arrow").ArrowException
    missing = LookupError, AttributeError, TypeError
    return arrow, OSError, MemoryError, ValueError, ArithmeticError, RecursionError, *missing


def to_text(data: bytes) -> str:
    """Bytes as they can stand in JSON."""
    return base64.b64encode(zlib.compress(data)).decode("ascii")


def from_text(text: str) -> bytes:
    """What ``to_text`` was given."""
    return zlib.decompress(base64.b64decode(text))


def check_columns(path: Path, schema: "pa.Schema") -> None:
    """Raise ``NotADataset``, ``IndexRefused`` when rows of these columns cannot be given out."""
    names = schema.names
    if len(set(names)) != len(names):
        raise NotADataset(path, "two of its columns have the same name")
    for field in schema:
        if any(map(_nanoseconds, _inner(field.type))):
            raise IndexRefused(
                f"{path}: column {field.name!r} has the type {field.type}",
                why="Python's times have no nanoseconds",
                remedy="write them as microseconds or integers",
            )


def check_size(path: Path, what: str, rows: int, size: int) -> None:
    """Raise ``IndexRefused`` for a group whose rows or bytes would fill the memory."""
    if rows > MOST_ROWS or size > MOST_BYTES:
        raise IndexRefused(
            f"{path}: {what} has {rows} rows in {size} bytes",
            why=f"it is read whole, and at most {MOST_ROWS} rows in {MOST_BYTES} bytes can be",
            remedy="write it again with groups of 1,000 rows or so",
        )


def rows_of(table: "pa.Table | pa.RecordBatch") -> list[dict[str, Any]]:
    """All rows, in order, sharing no memory with the table."""
    names = table.schema.names
    columns = [_values(table.column(number)) for number in range(len(names))]
    if not columns:
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: "pa.ChunkedArray | pa.Array") -> list[Any]:
    import pyarrow as pa

    if _nanoseconds(column.type):
        column = column.cast(pa.int64())
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if _numbers(column.type):
        return [value for chunk in chunks for value in _arrays(chunk)]
    values: list[Any] = column.to_pylist()
    return values


def _arrays(chunk: "pa.ListArray") -> list[Any]:
    """The rows of a column of lists of numbers."""
    dtype = chunk.type.value_type.to_pandas_dtype()
    if chunk.null_count or chunk.flatten().null_count:
        return [
            row if row is None or None in row else np.array(row, dtype) for row in chunk.to_pylist()
        ]
    numbers = chunk.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(chunk.value_lengths().to_numpy(zero_copy_only=False)).tolist()
    starts = [0, *ends[:-1]]
    return [numbers[start:end].copy() for start, end in zip(starts, ends, strict=True)]


def _numbers(kind: "pa.DataType") -> bool:
    from pyarrow import types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists) and bool(
        types.is_integer(kind.value_type) or types.is_floating(kind.value_type)
    )


def _nanoseconds(kind: "pa.DataType") -> bool:
    from pyarrow import types

    timed = types.is_timestamp(kind) or types.is_time(kind) or types.is_duration(kind)
    return bool(timed) and bool(kind.unit == "ns")


def _inner(kind: "pa.DataType") -> "list[pa.DataType]":
    """The types below a nested one, or a dictionary's."""
    from pyarrow import types

    if types.is_dictionary(kind):
        below = [kind.value_type]
    elif kind.num_fields:
        below = [kind.field(number).type for number in range(kind.num_fields)]
    else:
        return []
    return [*below, *(inner for one in below for inner in _inner(one))]
