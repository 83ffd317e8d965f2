"""``data.open``: a packed file, an index, or a file or folder that has been indexed."""

import os
from collections.abc import Mapping
from pathlib import Path

from headrace.data.cache.resolve import copies_of, source_of
from headrace.data.dataset import Dataset
from headrace.data.errors import NotADataset, NotIndexed
from headrace.data.files import Place, check_there
from headrace.data.formats import registry
from headrace.data.index import Index
from headrace.data.places import find_index, root_of
from headrace.data.sections import is_ours_at


def open(
    path: str | Path,
    *,
    split: tuple[float, float] | None = None,
    place: Place | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Dataset:
    """Open a data set for reading; ``split`` offers a part of it, as fractions of its samples.

    ``place`` says where to read a file instead, for a copy of it; by itself it finds those that
    were staged for the run, and what a path of such a copy stands for. Raise ``DataNotFound``,
    ``NotADataset``, ``NotIndexed``, ``DataChanged``, ``DamagedData``, ``BatchesRefused`` (bad
    split), ``PackageMissing``.
    """
    where = source_of(Path(path), environ)
    check_there(where)
    place = place or copies_of(where, environ)
    if where.is_file() and is_ours_at(where):
        index = Index(where)
        root = where if index.header.packed else root_of(where, index.root)
        return Dataset(index, root, split=split, place=place)
    found = find_index(where, environ)
    if found is None:
        try:
            known = registry.of_path(where)
        except NotADataset as error:
            raise NotADataset(where, error.why) from error
        raise NotIndexed(where, known.name)
    return Dataset(Index(found), where, split=split, place=place)
