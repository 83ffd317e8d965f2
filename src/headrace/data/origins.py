"""Where samples of a run's record lie: documents, or bytes of files, as far as they are there."""

from collections.abc import Callable
from typing import Protocol

from headrace.core.errors import HeadraceError
from headrace.data.index import Piece
from headrace.data.opening import open as open_data
from headrace.data.packs_file import PacksFile
from headrace.data.recorded import Part, place_in

Pieces = tuple[Piece, ...]
OriginOf = Callable[[int], Pieces]


class _Note(Protocol):
    def __call__(self, text: str, /) -> object: ...


def origin_of(part: Part, note: _Note) -> OriginOf:
    """From the number of a sample of ``part`` to where it lies; to nothing where that cannot be
    told any more, of which ``note`` is told once."""
    try:
        return _of_packs(part, note) if part.table else _of_dataset(part, note)
    except HeadraceError as error:
        note(f"{error.problem}: where its samples lie is not known")
        return _unknown


def _of_dataset(part: Part, note: _Note) -> OriginOf:
    if not part.path:
        return _unknown
    dataset = open_data(part.path)
    if dataset.index.fingerprint != part.fingerprint:
        note(f"{part.path}: holds other data than the run's")
        return _unknown
    return lambda sample: dataset.origin(part.first + sample)


def _of_packs(part: Part, note: _Note) -> OriginOf:
    """Tokens of documents: ``source`` is where the document lies, and its number."""
    table = PacksFile(part.table)
    if table.fingerprint != part.fingerprint:
        note(f"{part.table}: holds other packs than the run's")
        return _unknown
    inner = [origin_of(documents, note) for documents in part.documents]

    def origin(sample: int) -> Pieces:
        found = []
        for document, start, stop in table.pieces(sample):
            number, within = place_in(part.documents, document)
            lies = inner[number](within)
            source = lies[0].source if lies else part.documents[number].name
            found.append(Piece(source=f"{source}#{within}", start=start, stop=stop))
        return tuple(found)

    return origin


def _unknown(sample: int) -> Pieces:
    del sample
    return ()
