"""Files of nothing but tokens."""

from pathlib import Path

import numpy as np
import pytest
from tests.datasets import Written, plain, read

from headrace.core.errors import HeadraceError
from headrace.data.errors import DamagedData, NotADataset
from headrace.data.formats.format import Options
from headrace.data.formats.raw import Raw


def refusal(
    path: Path, window: int, dtype: str | None = None, vocab: int | None = None
) -> HeadraceError:
    options = Options(window=window, dtype=dtype, vocab=vocab)
    with pytest.raises(HeadraceError) as caught:
        list(Raw().scan(path, options).units)
    return caught.value


@pytest.mark.parametrize("name", ["x.u16", "x.bin"])
def test_the_type_of_tokens_is_told_by_the_name_or_the_user(name: str, tmp_path: Path) -> None:
    np.arange(5, dtype=np.uint16).tofile(tmp_path / name)
    options = Options(window=2, dtype="uint16" if name == "x.bin" else None, vocab=10)
    rows = plain(read(Written("raw", tmp_path, [], options)))
    assert rows == [("uint16", [0, 1, 2]), ("uint16", [2, 3, 4])]


def test_tokens_of_no_known_type_are_refused_with_what_to_do(tmp_path: Path) -> None:
    np.arange(5, dtype=np.uint16).tofile(tmp_path / "x.bin")
    assert str(refusal(tmp_path, window=2)) == (
        f"error HR-DATA-010: {tmp_path}: tokens need a type\n"
        "  why: the file does not say how wide a token is\n"
        "  fix: give one of: --dtype uint8, uint16, uint32, uint64, int16, int32, int64"
    )


@pytest.mark.parametrize("dtype", ["float32", "uint32", "object", ""])
def test_a_type_that_is_none_of_tokens_or_not_that_of_the_name_is_refused(
    dtype: str, tmp_path: Path
) -> None:
    np.arange(5, dtype=np.uint16).tofile(tmp_path / "x.u16")
    if dtype:
        assert f"tokens of the type {dtype}" in refusal(tmp_path, window=2, dtype=dtype).problem


def test_a_wrong_type_is_found_by_the_vocabulary(tmp_path: Path) -> None:
    np.array([1, 2, 3, 4], np.uint16).tofile(tmp_path / "x.bin")
    found = refusal(tmp_path, window=1, dtype="uint32", vocab=50_257)
    assert found.problem == f"{tmp_path}/x.bin: token 262147 is not below the vocabulary of 50257"


def test_a_file_that_ends_in_mid_token_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.u32").write_bytes(bytes(7))
    assert isinstance(refusal(tmp_path, window=1), DamagedData)


def test_files_of_several_types_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.u32").write_bytes(bytes(8))
    (tmp_path / "x.u16").write_bytes(bytes(8))
    assert isinstance(refusal(tmp_path, window=1), NotADataset)
