"""What a run writes down of its data is read back as it was."""

import os
from pathlib import Path

import pytest

from headrace import data
from headrace.data.recorded import parts_of, record, recorded


@pytest.mark.parametrize("name", [b"plain", b"caf\xe9", b"a\\xe9", "caf\u00e9".encode()])
def test_a_path_that_is_not_utf_8_is_written_down_and_found_again(
    tmp_path: Path, name: bytes
) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    data.index_path(folder)
    dataset = data.open(folder)
    with data.batches(dataset, global_batch=1, seed=0) as batches:
        record(tmp_path / "data.json", dataset, batches.state)
    _, parts = recorded(tmp_path / "data.json")
    assert parts == parts_of(dataset)
    assert data.open(parts[0].path).fingerprint == dataset.fingerprint
