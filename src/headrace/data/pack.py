"""Make a packed token file from text files. The same files give the same bytes.

Documents are joined in the order of their relative paths, each followed by the end-of-document
token; window i holds tokens ``[i * window, (i + 1) * window]`` of that stream, so each token but
the first is predicted once. What does not fill a last window is left out and counted. The file
appears under its name only when it is whole and on the disk.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from headrace.core.records import Record, sync_folder
from headrace.data.dataset import Tokens
from headrace.data.errors import PackFailed, PackRefused
from headrace.data.packed import HEADER_BYTES, Header, Index, PackedTokens, block_shape
from headrace.data.tokenizer import ByteTokenizer, Tokenizer

Progress = Callable[[int, int], None]


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
    files: Sequence[Path],
    out: Path,
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
    tokenizer = tokenizer or ByteTokenizer()
    sources = _sorted_sources(files, out, window)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            writer = _Writer(file, window, tokenizer)
            skipped = _write_documents(writer, sources, out, progress)
            writer.finish()
            if not writer.windows:
                raise _nothing_to_pack(writer.tokens, window)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, out)
        sync_folder(out.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise PackFailed(out, error) from error
        raise
    packed = PackedTokens(out)
    packed.close()
    return PackSummary(
        path=str(out),
        fingerprint=packed.fingerprint,
        tokenizer=tokenizer.name,
        vocab=tokenizer.vocab,
        window=window,
        windows=writer.windows,
        documents=len(writer.sources),
        tokens=writer.tokens,
        dropped_tokens=writer.tokens - writer.windows * window - 1,
        size_bytes=out.stat().st_size,
        skipped=tuple(skipped),
    )


def _sorted_sources(files: Sequence[Path], out: Path, window: int) -> list[tuple[str, Path]]:
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
    writer: "_Writer", sources: list[tuple[str, Path]], out: Path, progress: Progress | None
) -> list[Skipped]:
    sizes_bytes = [file.stat().st_size if file.exists() else 0 for _, file in sources]
    done_bytes, skipped = 0, []
    for (name, path), size_bytes in zip(sources, sizes_bytes, strict=True):
        reason = _write_document(writer, name, path, out)
        if reason is not None:
            skipped.append(Skipped(source=name, reason=reason))
        done_bytes += size_bytes
        if progress is not None:
            progress(done_bytes, sum(sizes_bytes))
    return skipped


def _write_document(writer: "_Writer", name: str, path: Path, out: Path) -> str | None:
    """Why the document was skipped, or None when it is in the pack."""
    before = writer.tokens
    pieces = _pieces(path, writer.tokenizer)
    while True:
        try:
            piece = next(pieces, None)
        except UnicodeDecodeError as error:
            return f"not UTF-8 at byte {error.start}"
        except OSError as error:
            if writer.tokens != before:
                raise PackFailed(out, error, source=path) from error
            return error.strerror or str(error)
        if piece is None:
            writer.end_document(name)
            return None
        writer.add(piece)


def _pieces(path: Path, tokenizer: Tokenizer) -> Iterator[NDArray[np.integer]]:
    with path.open("rb") as file:
        yield from tokenizer.encode(file)


class _Writer:
    """Blocks go out as they fill; the index and then the header follow at the end."""

    def __init__(self, file: BinaryIO, window: int, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokens = 0
        self.windows = 0
        self.sources: list[str] = []
        self._file = file
        self._window = window
        self._dtype = np.dtype("<u2") if tokenizer.vocab <= 1 << 16 else np.dtype("<u4")
        self._per_block, self._block_bytes = block_shape(window, self._dtype.itemsize)
        self._stream: Tokens = np.empty(0, self._dtype)
        self._starts = [0]
        self._checksums: list[int] = []
        file.write(bytes(HEADER_BYTES))

    def add(self, piece: NDArray[np.integer]) -> None:
        """Append tokens to the stream; write the blocks that are full."""
        self.tokens += len(piece)
        self._stream = np.concatenate([self._stream, piece.astype(self._dtype)])
        blocks = (len(self._stream) - 1) // (self._window * self._per_block)
        if blocks > 0:
            self._write_windows(blocks * self._per_block)

    def end_document(self, source: str) -> None:
        self.add(np.array([self.tokenizer.end_of_document], self._dtype))
        self.sources.append(source)
        self._starts.append(self.tokens)

    def finish(self) -> None:
        """Write the last block, padded with zeros, then index and header."""
        self._write_windows(max(0, len(self._stream) - 1) // self._window)
        index = Index(
            np.array(self._checksums, np.uint64),
            np.array(self._starts, np.uint64),
            tuple(self.sources),
        ).encode()
        header = Header(
            token_bytes=self._dtype.itemsize,
            window=self._window,
            windows=self.windows,
            vocab=self.tokenizer.vocab,
            end_of_document=self.tokenizer.end_of_document,
            block_bytes=self._block_bytes,
            windows_per_block=self._per_block,
            documents=len(self.sources),
            tokens=self.tokens,
            index_offset=HEADER_BYTES + len(self._checksums) * self._block_bytes,
            index_bytes=len(index),
            index_digest=xxhash.xxh3_128_digest(index),
            tokenizer=self.tokenizer.name,
        )
        self._file.write(index)
        self._file.seek(0)
        self._file.write(header.encode())

    def _write_windows(self, count: int) -> None:
        """Take ``count`` windows from the front of the stream and write them as blocks."""
        if not count:
            return
        taken = count * self._window
        windows = np.empty((count, self._window + 1), self._dtype)
        windows[:, :-1] = self._stream[:taken].reshape(count, self._window)
        windows[:, -1] = self._stream[self._window : taken + 1 : self._window]
        self._stream = self._stream[taken:]
        self.windows += count
        for first in range(0, count, self._per_block):
            data = windows[first : first + self._per_block].tobytes()
            block = data.ljust(self._block_bytes, b"\0")
            self._checksums.append(xxhash.xxh3_64_intdigest(block))
            self._file.write(block)


def _nothing_to_pack(tokens: int, window: int) -> PackRefused:
    return PackRefused(
        f"{tokens} tokens do not fill one window of {window}",
        why=f"a sample needs {window + 1} tokens, and a pack at least one sample",
        remedy="give more text or a smaller window",
    )
