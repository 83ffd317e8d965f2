"""Readers find good copies, and no others."""

import json
import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from headrace import data
from headrace.data.cache.owner import this_process
from headrace.data.cache.resolve import VARIABLE, copies_of
from headrace.data.cache.stage import Staged, Stager
from headrace.data.errors import DataNotFound
from headrace.data.files import Files
from headrace.data.verify import verify


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be " * 500)
    folder = tmp_path / "corpus"
    folder.mkdir()
    data.pack_text([text], folder / "train.tokens", window=31)
    return folder


def staged(source: Path, base: Path, **environ: str) -> tuple[Staged, dict[str, str]]:
    environment = {"HEADRACE_CACHE": str(base), **environ}
    stager = Stager("nvme", user=this_process("r-1"), node="n0", environ=environment)
    found = stager.stage(source, in_parts=True)
    assert found.root is not None
    return found, {VARIABLE: json.dumps({str(source): found.root})}


def read_paths(opened: data.Dataset) -> set[Path]:
    return {opened.files.get(0).path}


@pytest.mark.parametrize("alone", [False, True])
def test_a_data_set_is_read_from_its_copy(corpus: Path, tmp_path: Path, alone: bool) -> None:
    file = corpus / "train.tokens"
    found, environ = staged(file if alone else corpus, tmp_path / "node")
    opened = data.open(file, environ=environ)
    plain = data.open(file, environ={})
    assert found.root is not None
    assert read_paths(opened) == {Path(found.root) / "tree" / "train.tokens"}
    every = np.arange(len(plain))
    assert (opened.read(every) == plain.read(every)).all()


@pytest.mark.parametrize("inside", ["", "lines.jsonl"])
def test_the_path_of_a_copy_is_as_good_as_that_of_its_source(tmp_path: Path, inside: str) -> None:
    folder = tmp_path / "lines"
    folder.mkdir()
    (folder / "lines.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    source = folder / inside
    found, environ = staged(source, tmp_path / "node")
    environ |= {"HOME": str(tmp_path)}
    data.index_path(source)
    assert found.tree is not None
    for path in (Path(found.tree), source):
        opened = data.open(path, environ=environ)
        assert [one["n"] for one in opened.read(np.arange(2))] == [1, 2]
        assert read_paths(opened) == {Path(found.root or "") / "tree" / "lines.jsonl"}


def test_a_copy_whose_source_has_gone_is_opened_as_it_is(corpus: Path, tmp_path: Path) -> None:
    found, environ = staged(corpus / "train.tokens", tmp_path / "node")
    (corpus / "train.tokens").unlink()
    assert found.tree is not None
    assert read_paths(data.open(found.tree, environ=environ)) == {Path(found.tree)}


def test_a_source_that_changed_since_is_read_itself(corpus: Path, tmp_path: Path) -> None:
    file = corpus / "train.tokens"
    _, environ = staged(corpus, tmp_path / "node")
    os.utime(file, ns=(0, 0))
    assert read_paths(data.open(file, environ=environ)) == {file}


def test_what_is_not_staged_is_read_where_it_lies(corpus: Path, tmp_path: Path) -> None:
    _, environ = staged(corpus, tmp_path / "node")
    assert copies_of(tmp_path / "elsewhere", environ) is None
    assert copies_of(corpus, {}) is None


def spoil(copy: Path, place: int) -> None:
    times = copy.stat()
    copy.chmod(0o600)
    with copy.open("r+b") as damaged:
        damaged.seek(place)
        damaged.write(b"\xff")
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_verify_does_not_blame_the_source_for_what_is_wrong_in_a_copy(
    corpus: Path, tmp_path: Path
) -> None:
    file = corpus / "train.tokens"
    found, environ = staged(corpus, tmp_path / "node")
    assert found.root is not None
    (place,) = data.open(file, environ={}).find(np.array([5])).starts
    spoil(Path(found.root) / "tree" / "train.tokens", place)
    opened = data.open(file, environ=environ)
    assert verify(opened).damage == ()
    assert read_paths(opened) == {file}
    spoil(file, place)
    assert [one.index for one in verify(data.open(file, environ=environ)).damage] == [5]


def test_wrong_bytes_in_a_copy_are_never_returned_and_the_source_is_read(
    corpus: Path, tmp_path: Path
) -> None:
    file = corpus / "train.tokens"
    found, environ = staged(corpus, tmp_path / "node")
    assert found.root is not None
    copy = Path(found.root) / "tree" / "train.tokens"
    plain = data.open(file, environ={})
    (place,) = plain.find(np.array([5])).starts
    spoil(copy, place)

    opened = data.open(file, environ=environ)
    every = np.arange(len(plain))
    assert read_paths(opened) == {copy}
    assert (opened.read(every) == plain.read(every)).all()
    assert read_paths(opened) == {file}
    assert read_paths(data.open(file, environ=environ)) == {file}, "for all readers of the node"

    again, environ = staged(corpus, tmp_path / "node")
    assert again.copied_bytes == file.stat().st_size
    assert read_paths(data.open(file, environ=environ)) == {copy}


def test_files_without_a_copy_are_read_from_the_source(corpus: Path, tmp_path: Path) -> None:
    (corpus / "zzz.tokens").write_bytes((corpus / "train.tokens").read_bytes())
    room = (corpus / "train.tokens").stat().st_size + 8192
    found, environ = staged(corpus, tmp_path / "node", HEADRACE_CACHE_LIMIT=f"{room}B")
    assert found.tree is None
    assert found.root is not None
    near = data.open(corpus / "train.tokens", environ=environ)
    far = data.open(corpus / "zzz.tokens", environ=environ)
    assert read_paths(near) == {Path(found.root) / "tree" / "train.tokens"}
    assert read_paths(far) == {corpus / "zzz.tokens"}


class Given:
    """Gives copies in a folder, whether they are there or not."""

    go_with_the_order = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, path: Path) -> Path:
        return self.folder / name

    def ahead(self, names: Sequence[str]) -> None: ...

    def distrust(self, name: str) -> None: ...


def number_of(names: list[str]) -> Callable[[int], tuple[str, int]]:
    return lambda number: (names[number], 5)


def test_where_a_copy_was_dropped_between_look_and_open_the_source_is_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "rows").write_text("right")
    place = Given(tmp_path / "none")
    assert Files(tmp_path, number_of(["rows"]), place=place).get(0).read(0, 5) == b"right"
    (tmp_path / "rows").unlink()
    with pytest.raises(DataNotFound, match=str(tmp_path / "rows")):
        Files(tmp_path, number_of(["rows"]), place=place).get(0)


def test_a_copy_that_was_dropped_is_closed_when_another_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.data.files.LOOK_S", 0.0)
    for name in "abc":
        (tmp_path / name).write_text("right")
    files = Files(tmp_path / "source", number_of(["a", "b", "c"]), place=Given(tmp_path))
    dropped, kept = (weakref.ref(files.get(number)) for number in (0, 1))
    (tmp_path / "a").unlink()
    files.get(2)
    assert dropped() is None
    assert kept() is not None


def test_a_copy_that_has_come_is_read_from_the_next_turn_of_the_order_on(tmp_path: Path) -> None:
    (tmp_path / "near").mkdir()
    (tmp_path / "a").write_text("right")
    files = Files(tmp_path, number_of(["a"]), place=Given(tmp_path / "near"))
    assert files.get(0).path == tmp_path / "a"
    (tmp_path / "near" / "a").write_text("right")
    files.ahead([0])
    assert files.get(0).path == tmp_path / "near" / "a"
