"""Arrays of NumPy: tokens and rows."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.datasets import Written, plain, read

from headrace.core.errors import HeadraceError
from headrace.data.errors import DamagedData, IndexRefused, NotADataset
from headrace.data.formats.format import Options
from headrace.data.formats.npy import Npy


def samples(path: Path, window: int | None = None) -> object:
    return plain(read(Written("npy", path, [], Options(window=window))))


def refusal(path: Path, window: int | None = None) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        list(Npy().scan(path, Options(window=window)).units)
    return caught.value


def test_one_dimension_is_cut_in_windows_and_the_rest_is_left_out(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(8, dtype=np.uint16))
    assert samples(tmp_path, 3) == [("uint16", [0, 1, 2, 3]), ("uint16", [3, 4, 5, 6])]


@pytest.mark.parametrize("length", [0, 1, 3])
def test_too_few_tokens_for_a_window_are_no_sample(length: int, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(length, dtype=np.uint16))
    assert samples(tmp_path, 3) == []


def test_a_row_of_two_dimensions_is_a_sample_of_tokens(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.int64).reshape(3, 4))
    scan = Npy().scan(tmp_path, Options())
    assert scan.meta["tokens"] == {"dtype": "<u8", "window": 3, "vocab": 12}
    assert samples(tmp_path) == [("uint64", [4 * n + k for k in range(4)]) for n in range(3)]
    assert isinstance(refusal(tmp_path, window=4), IndexRefused)


@pytest.mark.parametrize("dtype", ["float32", "bool", "complex64", "int8", "<f2"])
def test_other_arrays_are_given_out_row_by_row(dtype: str, tmp_path: Path) -> None:
    array = (np.arange(12) % 2).astype(dtype).reshape(2, 2, 3)
    np.save(tmp_path / "x.npy", array)
    assert samples(tmp_path) == plain(list(array))


def test_tokens_without_a_window_are_refused_with_what_to_do(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(8))
    assert str(refusal(tmp_path / "x.npy")) == (
        f"error HR-DATA-010: {tmp_path}/x.npy: tokens need a window\n"
        "  why: a stream of tokens has no samples of its own\n"
        "  fix: say how many tokens a sample predicts: --window 2048"
    )
    assert refusal(tmp_path, window=0).problem == "--window 0: not a window"


def test_fortran_order_is_refused_with_what_to_do(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(np.ones((3, 2))))
    assert str(refusal(tmp_path)) == (
        f"error HR-DATA-010: {tmp_path}/x.npy: it is in Fortran order\n"
        "  why: the values of a row do not lie side by side\n"
        "  fix: write it again: np.save(PATH, np.ascontiguousarray(array))"
    )


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.array(["text"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
        np.arange(4, dtype=">u2"),
        np.array(7),
        np.zeros((3, 0)),
        np.arange(4, dtype=np.float32),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(array: NDArray[Any], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert isinstance(refusal(tmp_path, window=1), NotADataset)


def test_files_of_different_rows_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3)))
    np.save(tmp_path / "b.npy", np.ones((2, 4)))
    assert refusal(tmp_path).why == "it has rows of float64[4]; a.npy has others"


@pytest.mark.parametrize("change", [-1, 1, -100])
def test_a_file_of_another_length_than_its_header_says_is_damaged(
    change: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(100))
    os.truncate(path, path.stat().st_size + change)
    assert isinstance(refusal(path, window=2), DamagedData)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<u2', 'fortran_order': False, 'shape': (9999999999999999999999,)}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (-4,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4,)}",
        "{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (4,)}",
        "(" * 5000,
        "{'descr': 'unterminated",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (4L,)}",
        "",
    ],
)
def test_a_hostile_header_is_refused(header: str, tmp_path: Path) -> None:
    text = header.encode().ljust(118)
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(4)
    (tmp_path / "x.npy").write_bytes(data)
    assert isinstance(refusal(tmp_path, window=1), DamagedData | NotADataset)
