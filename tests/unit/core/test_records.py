import os
from pathlib import Path

import pytest

from headrace.core.events import Entry, Heartbeat, RankExited, StopBy, decode_down, decode_up
from headrace.core.records import DecodeError, decode, encode, read_record, write_file, write_record


def test_a_record_survives_the_way_through_json() -> None:
    entry = Entry(seq=3, attempt=1, time_s=2.5, event=RankExited(rank=1, exit_code=-9))
    assert decode(encode(entry), Entry) == entry


def test_unions_are_told_apart_by_their_kind() -> None:
    assert decode_up(encode(Heartbeat(rank=0, step=3))) == Heartbeat(rank=0, step=3)
    stop = StopBy(reason="cancel", deadline_s=7.0)
    assert decode_down(encode(stop)) == stop
    with pytest.raises(DecodeError):
        decode_down(encode(Heartbeat(rank=0, step=3)))


def test_a_newer_writers_unknown_keys_are_ignored() -> None:
    assert decode(b'{"rank": 1, "exit_code": 0, "kind": "rank_exited", "x": 2}', RankExited)


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode(b'{"rank": "one", "exit_code": 0, "kind": "rank_exited"}', RankExited)


def test_a_file_is_replaced_whole_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "secret.json"
    write_file(path, b"old")
    write_file(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "order.json"
    write_record(path, RankExited(rank=1, exit_code=0))

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_record(path, RankExited(rank=2, exit_code=0))
    monkeypatch.undo()
    assert read_record(path, RankExited) == RankExited(rank=1, exit_code=0)
    assert os.listdir(tmp_path) == ["order.json"]


def test_processes_of_one_number_write_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two containers, or on two nodes, that share a folder."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    sync, path = os.fsync, tmp_path / "file"

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        write_file(path, b"other")
        assert path.read_bytes() == b"other"

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_file(path, b"mine")
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["file"]
