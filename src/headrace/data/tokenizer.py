"""Text to tokens. Bytes need no vocabulary file; Hugging Face tokenizer files need their package.

A tokenizer yields tokens piece by piece, so that a large file need not fit into memory where the
tokenizer itself can work on pieces.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from headrace.data.errors import TokenizerUnusable

_PIECE_BYTES = 4 << 20
_END_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")


class Tokenizer(Protocol):
    """``name`` identifies the vocabulary: the same name means the same tokens."""

    @property
    def name(self) -> str: ...
    @property
    def vocab(self) -> int:
        """Number of tokens, ``end_of_document`` among them."""
        ...

    @property
    def end_of_document(self) -> int: ...

    def encode(self, file: BinaryIO) -> Iterator[NDArray[np.integer]]:
        """Tokens of the file, in pieces. Raise ``UnicodeDecodeError`` before the first piece."""
        ...


class ByteTokenizer:
    """Token = byte; 256 ends a document. Takes any file."""

    name = "bytes"
    vocab = 257
    end_of_document = 256

    def encode(self, file: BinaryIO) -> Iterator[NDArray[np.integer]]:
        while piece := file.read(_PIECE_BYTES):
            yield np.frombuffer(piece, dtype=np.uint8)


class FileTokenizer:
    """A Hugging Face ``tokenizer.json``. Raise ``TokenizerUnusable`` when it cannot be loaded.

    No special tokens are added to a text, and it is neither cut nor filled up, whatever the file
    says. The end-of-document token is the vocabulary's own, or the id behind its highest where it
    has none. A document is held in memory as a whole.
    """

    def __init__(self, path: Path) -> None:
        try:
            package = importlib.import_module("tokenizers")
        except ModuleNotFoundError as error:
            raise TokenizerUnusable(
                f"{path}: the tokenizer cannot be loaded",
                why="the package tokenizers is not installed here",
                remedy="pip install tokenizers, or use --tokenizer bytes",
            ) from error
        try:
            data = path.read_bytes()
            self._tokenizer: Any = package.Tokenizer.from_str(data.decode())
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from error
        except Exception as error:  # the package raises Exception itself for a file it rejects
            if type(error) is not Exception:
                raise
            raise _unusable(path, error) from error
        self.name = f"json:{xxhash.xxh3_128_hexdigest(data)}"
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        size = max(self._tokenizer.get_vocab().values(), default=-1) + 1  # ids may have gaps
        known = (self._tokenizer.token_to_id(name) for name in _END_NAMES)
        end = next((number for number in known if number is not None), None)
        self.end_of_document = size if end is None else int(end)
        self.vocab = max(size, self.end_of_document + 1)

    def encode(self, file: BinaryIO) -> Iterator[NDArray[np.integer]]:
        text = file.read().decode()
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        yield np.asarray(ids, dtype=np.int64)


def _unusable(path: Path, error: Exception) -> TokenizerUnusable:
    return TokenizerUnusable(
        f"{path}: the tokenizer cannot be loaded",
        why=str(error) or type(error).__name__,
        remedy="give the tokenizer.json of a Hugging Face model, or use --tokenizer bytes",
    )


def load_tokenizer(name: str) -> Tokenizer:
    """``bytes`` or the path of a ``tokenizer.json``. Raise ``TokenizerUnusable``."""
    return ByteTokenizer() if name == "bytes" else FileTokenizer(Path(name))
