"""The memory tier: what a rank leaves behind in shared memory, and what may be loaded of it."""

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from headrace import checkpoint
from headrace.checkpoint import memory as memory_module
from headrace.checkpoint.errors import DamagedCheckpoint
from headrace.checkpoint.memory import Shared, snapshots
from headrace.checkpoint.saver import Failed, Saved, Saver, Staged


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "_SPARE_BYTES", 0)


def snapshot(step: int, rows: int = 50) -> checkpoint.Snapshot:
    return checkpoint.Snapshot(step, {"w": torch.full((rows, 100), step)}, {"step": step})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "memory"
    made.mkdir()
    return made


def saver_of(tmp_path: Path, place: Path, *, first: int = 0) -> Saver:
    saver = Saver(tmp_path / "root", rooms=Shared(place, first=first, limit_bytes=1 << 20))
    assert saver.prepare(snapshot(0)) == ""
    return saver


def save(saver: Saver, step: int) -> None:
    assert isinstance(saver.stage(snapshot(step), must=True), Staged)
    saver.wait()


def steps(place: Path) -> list[int]:
    """Of the snapshots in memory, each loaded and compared."""
    found = []
    for step, _, folder in snapshots(place):
        loaded = checkpoint.load(folder)
        assert loaded.step == step
        assert loaded.state == {"step": step}
        assert bool((loaded.tensors["w"] == step).all())
        found.append(step)
    return found


def test_a_snapshot_in_memory_is_a_checkpoint_with_the_same_bytes(
    tmp_path: Path, place: Path
) -> None:
    saver = saver_of(tmp_path, place)
    save(saver, 1)
    (_, save_name, folder) = next(snapshots(place))
    assert save_name.startswith(".step-000000001.tmp-")
    on_disk = tmp_path / "root" / "step-000000001"
    for name in ("shard-00000.safetensors", "manifest.json"):
        assert (folder / name).read_bytes() == (on_disk / name).read_bytes()
    checkpoint.verify(folder)


def test_the_last_two_stay_where_there_is_room(tmp_path: Path, place: Path) -> None:
    saver = saver_of(tmp_path, place)
    for step in (1, 2, 3):
        save(saver, step)
    assert steps(place) == [3, 2]


def test_a_snapshot_that_did_not_reach_the_disk_is_there(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = saver_of(tmp_path, place)
    save(saver, 1)
    root = str(tmp_path / "root")
    real = os.pwrite

    def full(descriptor: int, data: memoryview, start: int) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(root):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, start)

    monkeypatch.setattr(os, "pwrite", full)
    save(saver, 2)
    assert saver.poll()[1:] == [Failed(step=2, reason="No space left on device")]
    assert steps(place) == [2, 1]


class Torn(Exception):
    pass


def test_a_copy_that_is_not_complete_is_never_found_and_the_former_is(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = saver_of(tmp_path, place)
    save(saver, 1)
    save(saver, 2)
    copied = torch.Tensor.copy_

    def half(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        copied(target[:10], source[:10])
        raise Torn  # as a kill does

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "copy_", half)
        with pytest.raises(Torn):
            saver.stage(snapshot(3), must=True)
    assert steps(place) == [2]


def test_with_one_slot_nothing_is_found_while_it_is_written_over(
    tmp_path: Path, place: Path
) -> None:
    saver = Saver(tmp_path / "root", rooms=Shared(place))
    assert saver.prepare(snapshot(0)) == ""
    save(saver, 1)
    assert steps(place) == [1]
    Shared(place).open(0)
    assert steps(place) == []
    save(saver, 2)
    assert steps(place) == [2]


def test_every_flipped_byte_is_found_when_loading(tmp_path: Path, place: Path) -> None:
    saver = saver_of(tmp_path, place)
    save(saver, 1)
    (_, _, folder) = next(snapshots(place))
    shard = folder / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    for at in (0, 9, len(content) // 2, len(content) - 1):
        content[at] ^= 4
        shard.write_bytes(content)
        with pytest.raises(DamagedCheckpoint):
            checkpoint.load(folder)
        content[at] ^= 4


def test_damaged_and_foreign_parts_are_passed_over(tmp_path: Path, place: Path) -> None:
    saver = saver_of(tmp_path, place)
    save(saver, 1)
    save(saver, 2)
    (_, _, folder) = next(snapshots(place))
    part = folder / "parts" / "rank-00000.json"
    part.with_name(".rank-00000.json.1.tmp").write_bytes(part.read_bytes())
    (place / "notes.txt").write_text("mine")
    assert steps(place) == [2, 1]
    part.write_bytes(part.read_bytes()[:-10])
    part.with_name("rank-00001.json").write_bytes(b"")
    assert steps(place) == [1]


def test_the_next_attempt_uses_the_memory_and_what_lies_in_it_stays_until_then(
    tmp_path: Path, place: Path
) -> None:
    first = saver_of(tmp_path, place)
    save(first, 1)
    save(first, 2)
    first.close()
    inodes = {path.stat().st_ino for path in place.glob("*/*.safetensors")}
    again = saver_of(tmp_path, place, first=0)
    assert {path.stat().st_ino for path in place.glob("*/*.safetensors")} == inodes
    assert steps(place) == [2, 1]
    save(again, 3)
    assert steps(place) == [3, 2]


def test_memory_of_another_layout_is_given_up(tmp_path: Path, place: Path) -> None:
    first = saver_of(tmp_path, place)
    save(first, 1)
    first.close()
    other = Saver(tmp_path / "root", rooms=Shared(place))
    assert other.prepare(snapshot(0, rows=51)) == ""
    assert list(snapshots(place)) == []


def test_too_little_shared_memory_is_told_and_private_memory_used(
    tmp_path: Path, place: Path
) -> None:
    saver = Saver(tmp_path / "root", rooms=Shared(place, limit_bytes=1000))
    assert saver.prepare(snapshot(0)) == (
        "there is not enough shared memory for 0.00 GiB of this rank"
    )
    save(saver, 1)
    assert isinstance(saver.poll()[0], Saved)
    assert list(snapshots(place)) == []


def test_shared_memory_that_turns_out_to_be_full_is_told_and_private_memory_used(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    saver = Saver(tmp_path / "root", rooms=Shared(place))
    assert saver.prepare(snapshot(0)) == "shared memory: No space left on device"
    save(saver, 1)
    assert isinstance(saver.poll()[0], Saved)


def test_shared_memory_that_is_not_enough_for_all_is_given_back(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate, left = os.posix_fallocate, [3]

    def full_in_the_end(descriptor: int, start: int, size_bytes: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(descriptor, start, size_bytes)

    before = saver_of(tmp_path, place)
    save(before, 1)
    before.close()
    monkeypatch.setattr(os, "posix_fallocate", full_in_the_end)
    saver = Saver(tmp_path / "root", rooms=Shared(place), shard_bytes=100)
    tensors = {f"w{n}": torch.ones(50) for n in range(5)}
    assert saver.prepare(checkpoint.Snapshot(0, tensors, {})).startswith("shared memory: No space")
    assert list(place.glob("*/*.safetensors")) == []
    assert list(snapshots(place)) == []


def test_a_shard_that_another_rank_removes_meanwhile_costs_no_memory_tier(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = saver_of(tmp_path, place)
    first.close()
    look = Path.stat

    def too_late(path: Path, **how: bool) -> os.stat_result:
        if path.suffix == ".safetensors":
            path.unlink(missing_ok=True)
        return look(path, **how)

    monkeypatch.setattr(Path, "stat", too_late)
    assert Shared(place, limit_bytes=1 << 20).slots(1000) == 2


class Ranks:
    """Ranks as threads of one process."""

    def __init__(self, rank: int, values: list[list[float]], meet: threading.Barrier) -> None:
        self.rank, self.world_size = rank, len(values)
        self._values, self._meet = values, meet

    def sum(self, values: Sequence[float], /) -> list[float]:
        self._values[self.rank] = list(values)
        self._meet.wait(60)
        found = [sum(column) for column in zip(*self._values, strict=True)]
        self._meet.wait(60)
        return found


def test_the_parts_of_all_ranks_of_a_node_make_a_snapshot(tmp_path: Path, place: Path) -> None:
    values: list[list[float]] = [[], []]
    meet = threading.Barrier(2)
    savers: list[Saver] = [None, None]  # type: ignore[list-item]

    def rank(number: int) -> None:
        ranks = Ranks(number, values, meet)
        saver = savers[number] = Saver(
            tmp_path / "root", rooms=Shared(place, rank=number, world_size=2), ranks=ranks
        )
        tensors = {"a": torch.ones(100), "b": torch.ones(200)}
        shot = checkpoint.Snapshot(4, tensors, {"step": 4}, same_on_all=["a", "b"])
        assert saver.prepare(shot) == ""
        assert isinstance(saver.stage(shot), Staged)
        saver.wait()

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((step, _, folder),) = snapshots(place)
    assert step == 4
    assert len(list(folder.glob("*.safetensors"))) == 2
    assert checkpoint.load(folder).tensors["b"].sum() == 200
    part = folder / "parts" / "rank-00001.json"
    of_another_save = part.read_bytes()
    part.unlink()
    assert list(snapshots(place)) == []
    saver = Saver(tmp_path / "root", rooms=Shared(place))
    assert saver.prepare(snapshot(0)) == ""
    assert [path.name for path in place.glob("*/*.safetensors")] == ["shard-00000.safetensors"]
    part.write_bytes(of_another_save)  # of an attempt with more ranks
    save(saver, 5)
    assert steps(place) == [5]
