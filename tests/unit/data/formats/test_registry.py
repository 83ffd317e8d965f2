"""Finding the format of a path."""

from pathlib import Path

import pytest

from headrace.data.errors import DataNotFound, IndexRefused, NotADataset
from headrace.data.formats import registry


def test_a_path_in_no_format_is_refused_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "x.exe").touch()
    with pytest.raises(NotADataset) as caught:
        registry.of_path(tmp_path)
    assert caught.value.why == (
        "it looks like none of mds, megatron, arrow, parquet, tar, npy, raw, jsonl, images, text"
    )


def test_a_path_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound):
        registry.of_path(tmp_path / "none")


def test_a_format_is_known_by_its_name() -> None:
    assert [registry.of_name(name).name for name in registry.names()] == registry.names()
    with pytest.raises(IndexRefused) as caught:
        registry.of_name("csv")
    assert caught.value.problem == "--format csv: there is no such format"


def test_any_json_that_speaks_of_shards_is_not_mds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"version": 2, "shards": []}')
    assert registry.of_path(tmp_path / "a.jsonl").name == "jsonl"


def test_a_readme_beside_the_data_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    (tmp_path / "a.jsonl").touch()
    assert registry.of_path(tmp_path).name == "jsonl"
