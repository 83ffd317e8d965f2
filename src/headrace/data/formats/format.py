"""What a format on disk offers: where its samples lie, and how bytes become samples.

A format is one file in this folder and one line in ``registry``. It knows nothing of hashes,
order, ranks, threads or caches: the index hashes the units that ``scan`` finds, readers read and
verify them, and only verified bytes reach ``decode``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

Meta = dict[str, Any]
"""What ``decode`` needs besides the bytes, as JSON: columns, schema, classes, data type."""

Sample = Any
"""bytes, a dict of fields, or a row of tokens: each format says which."""

Decode = Callable[[memoryview, str, int], Sequence[Sample]]
"""(bytes of a unit, its file as in ``Scan.files``, its start) -> its rows, in order. May be called
from several threads, with read-only bytes that are exactly those that were indexed. Rows that
outlive the call must not refer to the bytes."""


class Unit(NamedTuple):
    """Bytes ``[start, start + size)`` of a file, read, verified and decoded as a whole.

    One sample in most formats; a row group, record batch or compressed block of ``rows`` samples
    where the format allows nothing smaller.
    """

    file: int
    start: int
    size: int
    rows: int = 1


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What lies under a path. ``files`` are relative to it ("." when it is the file itself), in an
    order that does not depend on the file system. ``units`` may be lazy, and may raise
    ``DamagedData`` where the format's own checks fail.

    ``meta["tokens"]``, where there is one, is ``{"dtype": "<u2", "window": W, "vocab": V}``:
    each unit is then one row of W + 1 tokens, and is read straight into a batch's memory.
    """

    files: Sequence[str]
    units: Iterable[Unit]
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user may say when a path is indexed. ``window``: predicted tokens in a sample."""

    window: int | None = None
    dtype: str | None = None
    vocab: int | None = None
    glob: str | None = None


class Format(Protocol):
    """``name`` is what ``headrace data index --format`` takes."""

    name: str

    def claims(self, path: Path) -> bool:
        """Whether ``path``, a file or folder, looks like this format: by names, magic bytes or a
        listing, never by reading it whole."""
        ...

    def scan(self, path: Path, options: Options) -> Scan:
        """Raise ``NotADataset``, ``DamagedData``, ``IndexRefused`` (an option is missing)."""
        ...

    def decoder(self, meta: Mapping[str, Any]) -> Decode:
        """Raise ``PackageMissing`` when a library that it needs is not installed."""
        ...
