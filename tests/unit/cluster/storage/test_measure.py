"""A benchmark measures what is there, says how, and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.cluster.storage import fio, of
from headrace.cluster.storage import measure as measure_module
from headrace.cluster.storage.cached import cached_share, drop
from headrace.cluster.storage.errors import (
    MeasureFailed,
    NoRoomToMeasure,
    NoSuchFolder,
    NotAnswering,
)
from headrace.cluster.storage.measure import Measured, Wish, bench_folder, check, measure
from headrace.cluster.storage.transfer import Moved, Order, metadata, transfer
from headrace.core.records import replace

MIB = 1 << 20
SMALL = Wish(size_bytes=16 * MIB, seconds=1.0, jobs=2, own=True)
FIO = {
    "jobs": [
        {
            "read": {"io_bytes": 0, "total_ios": 0, "runtime": 0},
            "write": {
                "io_bytes": 64 * MIB,
                "total_ios": 64,
                "runtime": 500,
                "clat_ns": {"percentile": {"50.000000": 9, "99.000000": 2_000_000}},
            },
        }
    ]
}


def measured(folder: Path, wish: Wish) -> Measured:
    return measure(of(folder), wish, lambda what, share: None)


def ways(found: Measured) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for speed in found.speeds:
        told.setdefault(speed.what, []).append(speed.how)
    return told


def test_every_number_is_there_and_says_how_it_was_taken(tmp_path: Path) -> None:
    found = measured(tmp_path, SMALL)
    assert list(ways(found)) == [
        *("write", "read", "random 1 MiB", "random 4 KiB"),
        *("create", "stat", "delete"),
    ]
    assert ways(found)["write"] == ["flushed"]
    assert (found.worker, found.size_bytes, found.jobs) == ("headrace", 16 * MIB, 2)
    assert all(speed.operations_s > 0 for speed in found.speeds)
    assert list(tmp_path.iterdir()) == []


def test_where_the_cache_can_be_neither_avoided_nor_emptied_both_numbers_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_module, "takes_direct", lambda path: False)
    monkeypatch.setattr(measure_module, "cached_share", lambda path: None)
    found = measured(tmp_path, SMALL)
    assert ways(found)["read"] == ["partly cached", "cached"]
    assert any("could not be avoided" in note for note in found.notes)


def test_without_direct_reads_the_cache_is_emptied_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_module, "takes_direct", lambda path: False)
    monkeypatch.setattr(measure_module, "cached_share", lambda path: 0.01)
    assert ways(measured(tmp_path, SMALL))["read"] == ["dropped"]


def test_memory_is_called_memory(tmp_path: Path) -> None:
    found = measure(replace(of(tmp_path), kind="tmpfs"), SMALL, lambda what, share: None)
    assert ways(found)["read"] == ["memory"]


def test_another_node_reads_what_this_one_wrote(tmp_path: Path) -> None:
    found = measured(tmp_path, replace(SMALL, other=("env", "HERE=1")))
    assert ways(found)["read"][-1] == "other node"
    with pytest.raises(MeasureFailed) as raised:
        measured(tmp_path, replace(SMALL, other=("sh", "-c", "echo no route >&2; exit 1")))
    assert str(raised.value) == (
        "error HR-STORAGE-008: reading on another node could not be measured\n"
        "  why: no route\n"
        "  fix: mend what it says, or measure another folder"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(fio.version() is None, reason="fio is not installed")
def test_fio_measures_the_same_where_it_is_installed(tmp_path: Path) -> None:
    found = measured(tmp_path, replace(SMALL, own=False))
    assert found.worker == fio.version()
    assert all(speed.operations_s > 0 for speed in found.speeds)
    assert list(tmp_path.iterdir()) == []


def test_half_of_the_room_is_left(tmp_path: Path) -> None:
    storage = replace(of(tmp_path), free_bytes=900 * MIB)
    assert check(storage, Wish()) == 90 * MIB
    with pytest.raises(NoRoomToMeasure) as raised:
        check(storage, Wish(size_bytes=1 << 30))
    assert str(raised.value) == (
        f"error HR-STORAGE-007: measuring {tmp_path} needs 1 GiB, and 900 MiB are free\n"
        "  why: a benchmark leaves half of the room, so that others go on\n"
        "  fix: --size with less"
    )


def test_only_a_folder_that_is_there_and_answers_is_measured(tmp_path: Path) -> None:
    with pytest.raises(NoSuchFolder):
        check(of(tmp_path / "later"), Wish())
    with pytest.raises(NotAnswering):
        check(replace(of(tmp_path), answers=False), Wish())


def test_a_folder_that_takes_no_files_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(order: Order, tell: object = None) -> Moved:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measure_module, "transfer", full)
    with pytest.raises(MeasureFailed, match="could not be measured") as raised:
        measured(tmp_path, SMALL)
    assert raised.value.why == "No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind_by_one_that_is_interrupted(
    tmp_path: Path, number: signal.Signals
) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from headrace.cluster.storage.measure import bench_folder\n"
        "with bench_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'file').touch(); print('on', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"on\n"
        assert len(list(tmp_path.iterdir())) == 1
        child.send_signal(number)
        child.wait(30)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_behind_goes_first(tmp_path: Path) -> None:
    host = os.uname().nodename
    dead, alive, far = (
        tmp_path / f".headrace-bench-{name}"
        for name in (f"{host}-99999999", f"{host}-{os.getppid()}", "elsewhere-99999999")
    )
    for folder in (dead, alive, far):
        folder.mkdir()
    with bench_folder(tmp_path):
        assert not dead.exists()
    assert sorted(tmp_path.iterdir()) == sorted([alive, far])


def test_a_transfer_stops_at_its_time_and_hears_about_it(tmp_path: Path) -> None:
    order = Order(
        verb="write",
        paths=(str(tmp_path / "a"),),
        block_bytes=64 << 10,
        file_bytes=1 << 40,
        seconds=0.3,
    )
    heard: list[float] = []
    begun_s = time.monotonic()
    moved = transfer(order, heard.append)
    assert time.monotonic() - begun_s < 60
    assert heard
    assert 0 < moved.size_bytes == (tmp_path / "a").stat().st_size
    assert moved.p99_ms is not None


def test_random_reads_stay_within_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(3 * MIB))
    order = Order(
        verb="random", paths=(str(path),), block_bytes=MIB, file_bytes=3 * MIB, seconds=5.0
    )
    assert transfer(order).size_bytes == 3 * MIB


def test_metadata_is_counted_and_gone(tmp_path: Path) -> None:
    rates = list(metadata(tmp_path, 20, 5.0))
    assert [(rate.what, rate.count) for rate in rates] == [
        ("create", 20),
        ("stat", 20),
        ("delete", 20),
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_was_just_written_is_cached_and_can_be_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(bytes(MIB))
        file.flush()
        os.fsync(file.fileno())
    before = cached_share(path)
    drop(path)
    after = cached_share(path)
    assert before is not None
    assert after is not None
    assert after <= before
    assert cached_share(tmp_path / "none") is None


def test_fio_is_told_to_flush_writes_and_not_to_empty_caches_itself(tmp_path: Path) -> None:
    order = Order(verb="write", paths=("a", "b"), block_bytes=MIB, file_bytes=8 * MIB, seconds=3.0)
    words = fio.command(order, "/mill")
    assert "--end_fsync=1" in words
    assert {"--numjobs=2", "--rw=write", "--runtime=3", "--direct=0"} <= set(words)
    random = fio.command(replace(order, verb="random", direct=True), "/mill")
    assert {"--rw=randread", "--direct=1", "--norandommap"} <= set(random)


def test_what_fio_says_is_read_also_after_a_warning() -> None:
    text = "fio: a warning\n" + json.dumps(FIO)
    assert fio.parse(text) == Moved(size_bytes=64 * MIB, operations=64, seconds=0.5, p99_ms=2.0)
    for broken in ("", "fio: no", "{}", '{"jobs": []}', '{"jobs": [{"read": 1, "write": 2}]}'):
        assert fio.parse(broken) is None
