"""What a file that is written may replace."""

import os
from pathlib import Path

import numpy as np
import pytest

from headrace import data
from headrace.data.atomic import written
from headrace.data.errors import PackFailed, PackRefused
from headrace.data.repack import pack_dataset


def test_an_index_does_not_replace_the_data_that_it_describes(tmp_path: Path) -> None:
    tokens = tmp_path / "t.npy"
    np.save(tokens, np.arange(1000, dtype=np.uint16))
    before = tokens.read_bytes()
    with pytest.raises(PackRefused) as caught:
        data.index_path(tokens, options=data.Options(window=8), out=tokens)
    assert str(caught.value) == (
        f"error HR-DATA-004: {tokens} is there, and is no index, pack or table of packs\n"
        "  why: it may be data, even a source of what would replace it\n"
        "  fix: give another name to write to, or move that file away"
    )
    assert tokens.read_bytes() == before
    assert list(tmp_path.iterdir()) == [tokens]


def test_a_pack_does_not_replace_a_shard_of_its_source(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_text(f'{{"a": {number}}}\n')
    data.index_path(tmp_path)
    with pytest.raises(PackRefused, match="is there, and is no index"):
        pack_dataset(data.open(tmp_path), tmp_path / "1.jsonl")
    assert (tmp_path / "1.jsonl").read_text() == '{"a": 1}\n'


def test_a_pack_replaces_an_older_pack(tmp_path: Path) -> None:
    out = tmp_path / "out.pack"
    for text in (b"abcdefgh", b"ijklmnop"):
        (tmp_path / "a.txt").write_bytes(text)
        data.pack_text([tmp_path / "a.txt"], out, window=4)
    assert data.open(out).read([0]).tolist() == [list(b"ijklm")]


@pytest.mark.parametrize("name", [".", "..", "folder"])
def test_a_folder_is_no_place_for_a_pack(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").write_bytes(b"abcdefgh")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PackRefused) as caught:
        data.pack_text([tmp_path / "a.txt"], Path(name), window=4)
    assert str(caught.value) == (
        f"error HR-DATA-004: {name} is a folder\n"
        "  why: what is written is a file\n"
        "  fix: give it a name in that folder"
    )


def test_a_name_that_is_too_long_is_no_place_for_a_pack(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abcdefgh")
    with pytest.raises(PackFailed, match="File name too long"):
        data.pack_text([tmp_path / "a.txt"], tmp_path / ("n" * 300), window=4)


def test_writers_of_one_number_in_two_containers_each_write_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    out = tmp_path / "x.hrindex"
    with written(out) as mine:
        mine.write(b"whole")
        mine.flush()
        with written(out) as theirs:
            theirs.write(b"theirs")
        assert out.read_bytes() == b"theirs"
    assert out.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["x.hrindex"]
