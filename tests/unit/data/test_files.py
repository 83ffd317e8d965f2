import errno
import os
from pathlib import Path
from typing import Any

import pytest

from headrace import data
from headrace.data.errors import DamagedData, DataUnreachable


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 4)
    data.pack_text([tmp_path / "a.txt"], tmp_path / "corpus", window=32)
    return tmp_path / "corpus"


def fail_reads(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", fail)


def test_a_server_that_is_gone_is_no_damage_and_nothing_is_left_out(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = data.Reading(threads=0, on_damage="quarantine")
    with data.batches(data.open(corpus), global_batch=4, seed=1, reading=reading) as batches:
        next(batches)
        fail_reads(monkeypatch, errno.ENOTCONN)
        with pytest.raises(DataUnreachable) as found:
            next(batches)
    assert not batches.quarantine.report
    assert (found.value.code, found.value.exit_status) == ("HR-DATA-017", 5)
    assert "its file system does not answer (Transport endpoint" in found.value.problem


def test_bytes_that_a_disk_has_lost_are_damage(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = data.open(corpus)
    dataset.read([0])
    fail_reads(monkeypatch, errno.EIO)
    with pytest.raises(DamagedData, match="reading failed"):
        dataset.read([0])


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_the_server_has_replaced_is_opened_anew_once(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    dataset = data.open(corpus)
    wanted = dataset.read([3]).tolist()
    read, stale = os.preadv, {dataset.files.get(0).descriptor}
    open_ = os.open

    def stale_read(descriptor: int, *rest: Any) -> int:  # noqa: ANN401
        if descriptor in stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(descriptor, *rest)

    def opens(*rest: Any) -> int:  # noqa: ANN401
        descriptor = open_(*rest)
        if times > 1:
            stale.add(descriptor)
        return descriptor

    monkeypatch.setattr(os, "preadv", stale_read)
    monkeypatch.setattr(os, "open", opens)
    if times == 1:
        assert dataset.read([3]).tolist() == wanted
    else:
        with pytest.raises(DataUnreachable):
            dataset.read([3])
