"""What packing refuses, skips and leaves behind."""

import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace import data
from headrace.data.errors import PackFailed, PackRefused, TokenizerUnusable
from headrace.data.pack import Skipped


class Words:
    """A tokenizer of text with a large vocabulary: a token is a word's length plus 70,000."""

    name = "words"
    vocab = 80_001
    end_of_document = 80_000

    def encode(self, file: BinaryIO) -> Iterator[NDArray[np.integer]]:
        words = file.read().decode().split()
        yield np.array([70_000 + len(word) for word in words], dtype=np.int64)


def write(folder: Path, **contents: bytes) -> list[Path]:
    for name, content in contents.items():
        (folder / f"{name}.txt").write_bytes(content)
    return [folder / f"{name}.txt" for name in contents]


def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"once upon a time", b=b"the end")
    data.pack_text(files, tmp_path / "out", window=3, tokenizer=Words())
    dataset = data.open(tmp_path / "out")
    samples = dataset.read(np.arange(len(dataset)))
    assert samples.dtype == np.uint32
    assert samples.tolist() == [[70_004, 70_004, 70_001, 70_004], [70_004, 80_000, 70_003, 70_003]]


def test_paths_may_be_strings(tmp_path: Path) -> None:
    files = [str(path) for path in write(tmp_path, a=b"one", b=b"two")]
    data.pack_text(files, str(tmp_path / "out"), window=3)
    assert len(data.open(str(tmp_path / "out"))) == 2
    (tmp_path / "lines.jsonl").write_text("1\n2\n")
    data.index_path(str(tmp_path / "lines.jsonl"), out=str(tmp_path / "lines.hrindex"))
    assert data.open(str(tmp_path / "lines.hrindex"))[1] == 2


def test_files_that_are_not_text_are_skipped_and_counted(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"one two three four five six", b=b"ok \xff bad")
    summary = data.pack_text(
        [*files, tmp_path / "gone.txt"], tmp_path / "out", window=2, tokenizer=Words()
    )
    assert summary.skipped == (
        Skipped(source="b.txt", reason="not UTF-8 at byte 3"),
        Skipped(source="gone.txt", reason="No such file or directory"),
    )
    assert summary.documents == 1
    assert (summary.tokens, summary.windows, summary.dropped_tokens) == (7, 3, 0)


def test_bytes_take_anything_and_empty_files_are_documents(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"\xff\x00\xfe", b=b"", c=b"z")
    summary = data.pack_text(files, tmp_path / "out", window=6)
    assert (summary.documents, summary.tokens, summary.vocab) == (3, 7, 257)
    assert data.open(tmp_path / "out").read(np.array([0])).tolist() == [
        [255, 0, 254, 256, 256, 122, 256]
    ]


def test_a_document_longer_than_many_blocks_is_packed_whole(tmp_path: Path) -> None:
    text = os.urandom(9_000_000)
    (file,) = write(tmp_path, a=text)
    summary = data.pack_text([file], tmp_path / "out", window=1000)
    dataset = data.open(tmp_path / "out")
    samples = dataset.read(np.arange(len(dataset)))
    assert summary.windows == 9000
    assert samples[:, :-1].astype(np.uint8).tobytes() == text


def test_progress_counts_the_bytes_of_the_sources(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"12345", b=b"678")
    seen: list[tuple[int, int]] = []
    data.pack_text(files, tmp_path / "out", window=2, progress=lambda *now: seen.append(now))
    assert seen == [(5, 8), (8, 8)]


def test_what_fills_no_window_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"123")
    with pytest.raises(PackRefused) as caught:
        data.pack_text(files, tmp_path / "out", window=4)
    assert str(caught.value) == (
        "error HR-DATA-004: 4 tokens do not fill one window of 4\n"
        "  why: a sample needs 5 tokens, and a pack at least one sample\n"
        "  fix: give more text or a smaller window"
    )
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("names", "out", "window", "problem"),
    [
        ([], "out", 4, "there are no files to pack"),
        (["a.txt"], "a.txt", 4, "a.txt is both a source and the output"),
        (["a.txt"], "out", 0, "window 0 is too short"),
    ],
)
def test_a_senseless_pack_is_refused(
    tmp_path: Path, names: list[str], out: str, window: int, problem: str
) -> None:
    write(tmp_path, a=b"12345678")
    with pytest.raises(PackRefused) as caught:
        data.pack_text([tmp_path / name for name in names], tmp_path / out, window=window)
    assert caught.value.problem.endswith(problem)
    assert (tmp_path / "a.txt").read_bytes() == b"12345678"


def test_a_failed_write_leaves_the_old_pack_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, a=b"0123456789")
    out = tmp_path / "out"
    data.pack_text(files, out, window=2)
    before = out.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PackFailed) as caught:
        data.pack_text(files, out, window=3)
    assert str(caught.value) == (
        f"error HR-DATA-005: writing {out} failed: No space left on device\n"
        "  why: a pack is whole or absent; nothing was left behind\n"
        "  fix: free space or choose another folder, then pack again"
    )
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "out"]


def test_a_source_that_breaks_off_fails_the_pack(tmp_path: Path) -> None:
    class BreaksOff(data.ByteTokenizer):
        def encode(self, file: BinaryIO) -> Iterator[NDArray[np.integer]]:
            yield np.frombuffer(file.read(4), dtype=np.uint8)
            raise OSError(5, "Input/output error")

    files = write(tmp_path, a=b"0123456789")
    with pytest.raises(PackFailed) as caught:
        data.pack_text(files, tmp_path / "out", window=2, tokenizer=BreaksOff())
    assert str(caught.value) == (
        f"error HR-DATA-005: reading {files[0]} failed: Input/output error\n"
        "  why: a pack is whole or absent; nothing was left behind\n"
        "  fix: mend the file or leave it out, then pack again"
    )
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_tokenizer_file_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerUnusable) as caught:
        data.load_tokenizer(str(tmp_path / "tokenizer.json"))
    assert str(caught.value) == (
        f"error HR-DATA-006: {tmp_path}/tokenizer.json: the tokenizer cannot be loaded\n"
        "  why: the package tokenizers is not installed here\n"
        "  fix: pip install tokenizers, or use --tokenizer bytes"
    )


class Recorded:
    """Answers as the package's Tokenizer does for a vocabulary of three words."""

    ids: dict[str, int]
    length: int | None

    @classmethod
    def from_str(cls, text: str) -> "Recorded":
        if not text.startswith("{"):
            raise Exception("expected value at line 1 column 1")
        found = cls()
        found.ids = {"one": 0, "two": 1}
        if "</s>" in text:
            found.ids["</s>"] = 2
        if "gap" in text:
            found.ids["far"] = 70_000
        found.length = 2 if "truncation" in text else None
        return found

    def get_vocab(self) -> dict[str, int]:
        return self.ids

    def get_vocab_size(self) -> int:
        return len(self.ids)

    def no_truncation(self) -> None:
        self.length = None

    def no_padding(self) -> None:
        pass

    def token_to_id(self, token: str) -> int | None:
        return self.ids.get(token)

    def encode(self, text: str, *, add_special_tokens: bool) -> types.SimpleNamespace:
        assert not add_special_tokens
        return types.SimpleNamespace(ids=[self.ids[word] for word in text.split()][: self.length])


@pytest.fixture
def _package(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("tokenizers")
    package.__dict__["Tokenizer"] = Recorded
    monkeypatch.setitem(sys.modules, "tokenizers", package)


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(("content", "vocab"), [("{}", 3), ('{"</s>"}', 3)])
def test_a_tokenizer_file_gives_its_ids_and_an_end_of_document(
    tmp_path: Path, content: str, vocab: int
) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    tokenizer = data.load_tokenizer(str(tmp_path / "tokenizer.json"))
    assert (tokenizer.vocab, tokenizer.end_of_document) == (vocab, 2)
    files = write(tmp_path, a=b"one two two")
    data.pack_text(files, tmp_path / "out", window=3, tokenizer=tokenizer)
    assert data.open(tmp_path / "out").read(np.array([0])).tolist() == [[0, 1, 1, 2]]


@pytest.mark.usefixtures("_package")
def test_a_tokenizer_file_that_says_to_truncate_cuts_no_document(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"truncation": {"max_length": 2}}')
    tokenizer = data.load_tokenizer(str(tmp_path / "tokenizer.json"))
    files = write(tmp_path, a=b"one two two one")
    assert data.pack_text(files, tmp_path / "out", window=4, tokenizer=tokenizer).tokens == 5


@pytest.mark.usefixtures("_package")
def test_ids_with_gaps_are_packed_as_they_are_and_end_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"gap"}')
    tokenizer = data.load_tokenizer(str(tmp_path / "tokenizer.json"))
    assert (tokenizer.vocab, tokenizer.end_of_document) == (70_002, 70_001)
    data.pack_text(
        write(tmp_path, a=b"one far two"), tmp_path / "out", window=3, tokenizer=tokenizer
    )
    packed = data.open(tmp_path / "out")
    assert packed.read(np.array([0])).tolist() == [[0, 70_000, 1, 70_001]]
    assert packed.vocab == 70_002


def test_a_token_that_is_not_below_the_vocab_of_its_tokenizer_is_not_packed(tmp_path: Path) -> None:
    class Short(data.ByteTokenizer):
        vocab = 98
        end_of_document = 97

    with pytest.raises(PackRefused) as caught:
        data.pack_text(write(tmp_path, a=b"aby"), tmp_path / "out", window=2, tokenizer=Short())
    assert str(caught.value) == (
        "error HR-DATA-004: a text has tokens from 97 to 121\n"
        "  why: the tokenizer says that every token is below 98\n"
        "  fix: mend the vocab of the tokenizer"
    )


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize("content", [b"not json", b"\xff", None])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenizerUnusable, match="the tokenizer cannot be loaded"):
        data.load_tokenizer(str(path))
