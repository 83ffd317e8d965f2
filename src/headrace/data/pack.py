"""Make a packed token file from text files. The same files give the same bytes.

Documents are joined in the order of their relative paths, each followed by the end-of-document
token; window i holds tokens ``[i * window, (i + 1) * window]`` of that stream, so each token but
the first is predicted once. What does not fill a last window is left out and counted. The file
appears under its name only when it is whole and on the disk.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.core.records import Record
from headrace.data.atomic import written
from headrace.data.errors import PackFailed, PackRefused
from headrace.data.packed import TOKENS, PackWriter, token_type
from headrace.data.tokenizer import ByteTokenizer, Tokenizer

Progress = Callable[[int, int], None]
_WRITE_TOKENS = 1 << 20


class Skipped(Record, frozen=True, kw_only=True):
    """A source that is not in the pack, and why."""

    source: str
    reason: str


class PackSummary(Record, frozen=True, kw_only=True):
    """What was packed. ``tokens`` counts the whole stream; ``dropped_tokens`` of them fill no
    window."""

    path: str
    fingerprint: str
    tokenizer: str
    vocab: int
    window: int
    windows: int
    documents: int
    tokens: int
    dropped_tokens: int
    size_bytes: int
    skipped: tuple[Skipped, ...]


def pack_text(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    window: int,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
) -> PackSummary:
    """Pack ``files`` into ``out``, with samples of ``window + 1`` tokens.

    ``progress`` is called with (source bytes done, source bytes in all) after each file. Files that
    cannot be opened, or decoded by a tokenizer of text, are skipped and reported. Raise
    ``PackRefused`` or ``PackFailed``; ``out`` is then as it was.
    """
    tokenizer, out = tokenizer or ByteTokenizer(), Path(out)
    sources = _sorted_sources(files, out, window)
    with written(out) as file, PackWriter(file, out.parent) as packed:
        stream = _Stream(packed, window, tokenizer)
        skipped = _write_documents(stream, sources, out, progress)
        stream.finish()
        if not stream.windows:
            raise _nothing_to_pack(stream.tokens, window)
        header = packed.finish(stream.meta())
    return PackSummary(
        path=str(out),
        fingerprint=header.fingerprint.hex(),
        tokenizer=tokenizer.name,
        vocab=tokenizer.vocab,
        window=window,
        windows=stream.windows,
        documents=stream.documents,
        tokens=stream.tokens,
        dropped_tokens=stream.tokens - stream.windows * window - 1,
        size_bytes=header.file_bytes,
        skipped=tuple(skipped),
    )


def _sorted_sources(files: Sequence[str | Path], out: Path, window: int) -> list[tuple[str, Path]]:
    """(path relative to the files' common folder, absolute path), sorted and without doubles."""
    if window < 1:
        raise PackRefused(
            f"window {window} is too short",
            why="a window is the number of tokens that a sample predicts",
            remedy="give a window of 1 or more, for example 256",
        )
    absolute = {Path(os.path.abspath(file)) for file in files}
    if not absolute:
        raise PackRefused(
            "there are no files to pack",
            why="no file was given, or none matched the pattern",
            remedy="check the path and --glob, for example --glob '*.md'",
        )
    if Path(os.path.abspath(out)) in absolute:
        raise PackRefused(
            f"{out} is both a source and the output",
            why="the pack would replace one of its own sources",
            remedy="give --out another name",
        )
    common = os.path.commonpath([file.parent for file in absolute])
    named = [(os.path.relpath(file, common), file) for file in absolute]
    return sorted(named, key=lambda item: os.fsencode(item[0]))


def _write_documents(
    stream: "_Stream", sources: list[tuple[str, Path]], out: Path, progress: Progress | None
) -> list[Skipped]:
    sizes_bytes = [file.stat().st_size if os.path.isfile(file) else 0 for _, file in sources]
    done_bytes, skipped = 0, []
    for (name, path), size_bytes in zip(sources, sizes_bytes, strict=True):
        reason = _write_document(stream, name, path, out)
        if reason is not None:
            skipped.append(Skipped(source=name, reason=reason))
        done_bytes += size_bytes
        if progress is not None:
            progress(done_bytes, sum(sizes_bytes))
    return skipped


def _write_document(stream: "_Stream", name: str, path: Path, out: Path) -> str | None:
    """Why the document was skipped, or None when it is in the pack."""
    before = stream.tokens
    pieces = _pieces(path, stream.tokenizer)
    while True:
        try:
            piece = next(pieces, None)
        except UnicodeDecodeError as error:
            return f"not UTF-8 at byte {error.start}"
        except OSError as error:
            if stream.tokens != before:
                raise PackFailed(out, error, source=path) from error
            return error.strerror or str(error)
        if piece is None:
            stream.end_document(name)
            return None
        stream.add(piece)


def _pieces(path: Path, tokenizer: Tokenizer) -> Iterator[NDArray[np.integer]]:
    with path.open("rb") as file:
        yield from tokenizer.encode(file)


class _Stream:
    """The documents as one stream of tokens; windows go out as they fill."""

    def __init__(self, packed: PackWriter, window: int, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokens = 0
        self.windows = 0
        self.documents = 0
        self._packed = packed
        self._window = window
        self._dtype = token_type(tokenizer.vocab)
        self._pieces: list[NDArray[np.unsignedinteger]] = []
        self._waiting = 0
        self._document_start = 0

    def add(self, piece: NDArray[np.integer]) -> None:
        """Append tokens; write the windows that are full, once there are many of them. Raise
        ``PackRefused``."""
        if piece.size and not 0 <= piece.min() <= piece.max() < self.tokenizer.vocab:
            raise PackRefused(
                f"a text has tokens from {piece.min()} to {piece.max()}",
                why=f"the tokenizer says that every token is below {self.tokenizer.vocab}",
                remedy="mend the vocab of the tokenizer",
            )
        self.tokens += len(piece)
        self._pieces.append(piece.astype(self._dtype))
        self._waiting += len(piece)
        if self._waiting >= _WRITE_TOKENS:
            self._write_windows()

    def end_document(self, source: str) -> None:
        self.add(np.array([self.tokenizer.end_of_document], self._dtype))
        self._packed.add_document(self._document_start, self.tokens, source)
        self._document_start = self.tokens
        self.documents += 1

    def finish(self) -> None:
        self._write_windows()

    def meta(self) -> dict[str, object]:
        return {
            "format": TOKENS,
            "tokens": {
                "dtype": self._dtype.str,
                "window": self._window,
                "vocab": self.tokenizer.vocab,
            },
            "text": {
                "tokenizer": self.tokenizer.name,
                "end_of_document": self.tokenizer.end_of_document,
                "tokens": self.tokens,
                "documents": self.documents,
            },
        }

    def _write_windows(self) -> None:
        """Take all whole windows from the front of the stream."""
        count = max(0, self._waiting - 1) // self._window
        if not count:
            return
        rest = np.concatenate(self._pieces)
        taken = count * self._window
        windows = np.empty((count, self._window + 1), self._dtype)
        windows[:, :-1] = rest[:taken].reshape(count, self._window)
        windows[:, -1] = rest[self._window : taken + 1 : self._window]
        self._pieces, self._waiting = [rest[taken:].copy()], len(rest) - taken
        self.windows += count
        self._packed.add_rows(windows)


def _nothing_to_pack(tokens: int, window: int) -> PackRefused:
    return PackRefused(
        f"{tokens} tokens do not fill one window of {window}",
        why=f"a sample needs {window + 1} tokens, and a pack at least one sample",
        remedy="give more text or a smaller window",
    )
