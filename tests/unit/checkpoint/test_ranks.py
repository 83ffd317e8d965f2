"""Several ranks write one checkpoint: threads stand in for the ranks."""

import errno
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from headrace import checkpoint
from headrace.checkpoint import saver as saver_module
from headrace.checkpoint.commit import Save, contribute
from headrace.checkpoint.errors import DamagedCheckpoint, IncompleteSave
from headrace.checkpoint.manifest import FileEntry, TensorEntry
from headrace.checkpoint.parts import Part, merge, part_path, wait_for_parts, write_part
from headrace.checkpoint.saver import Failed, Saved, Saver, Skipped, Staged
from headrace.checkpoint.staging import Snapshot, StagedSnapshot

T = TypeVar("T")


class Meeting:
    """Where the ranks' sums meet."""

    def __init__(self, world_size: int) -> None:
        self.barrier = threading.Barrier(world_size, timeout=60)
        self.values: dict[int, Sequence[float]] = {}


class ThreadRank:
    def __init__(self, rank: int, world_size: int, meeting: Meeting) -> None:
        self.rank = rank
        self.world_size = world_size
        self._meeting = meeting

    def sum(self, values: Sequence[float], /) -> list[float]:
        self._meeting.values[self.rank] = list(values)
        self._meeting.barrier.wait()
        total = [sum(column) for column in zip(*self._meeting.values.values(), strict=True)]
        self._meeting.barrier.wait()
        return total


class World:
    """A Saver of each rank; every call is made on all ranks at once."""

    def __init__(self, root: Path, world_size: int) -> None:
        meeting = Meeting(world_size)
        self.ranks = [ThreadRank(rank, world_size, meeting) for rank in range(world_size)]
        self._pool = ThreadPoolExecutor(world_size)
        self.savers = self.on_all(lambda rank: Saver(root, ranks=self.ranks[rank], patience_s=60.0))

    def on_all(self, call: Callable[[int], T]) -> list[T]:
        return list(self._pool.map(call, range(len(self.ranks))))

    def stage(self, snapshot: Snapshot, *, must: bool = True) -> list[Staged | Skipped]:
        return self.on_all(lambda rank: self.savers[rank].stage(snapshot, must=must))

    def poll(self) -> list[list[Saved | Failed]]:
        for saver in self.savers:
            saver.wait()
        return [saver.poll() for saver in self.savers]

    def close(self) -> None:
        for saver in self.savers:
            saver.close()
        self._pool.shutdown()


def snapshot(step: int) -> Snapshot:
    tensors = {f"w{n}": torch.full((n + 1, 50), float(step)) for n in range(6)}
    return Snapshot(step, tensors, {"step": step}, same_on_all=[f"w{n}" for n in range(5)])


def check(root: Path, step: int) -> None:
    found = checkpoint.load_newest(root)
    assert found is not None
    assert found.skipped == ()
    assert found.state == {"step": step}
    assert found.tensors.keys() == snapshot(step).tensors.keys()
    for name, tensor in snapshot(step).tensors.items():
        assert torch.equal(found.tensors[name], tensor), name


def test_three_ranks_write_one_checkpoint_and_share_what_is_the_same(tmp_path: Path) -> None:
    world = World(tmp_path, 3)
    for step in (1, 2):
        assert all(isinstance(staged, Staged) for staged in world.stage(snapshot(step)))
    first, *others = world.poll()
    assert [(type(one), one.step) for one in first] == [(Saved, 1), (Saved, 2)]
    assert others == [[], []]
    check(tmp_path, 2)
    path = tmp_path / "step-000000002"
    assert sorted(os.listdir(path)) == [
        "manifest.json",
        *(f"rank-0000{rank}-shard-00000.safetensors" for rank in range(3)),
    ]
    manifest = checkpoint.verify(path)
    written = {name: entry.chunks[0].file[:10] for name, entry in manifest.tensors.items()}
    assert written["w5"] == "rank-00000"
    rows = {f"rank-0000{rank}": 0 for rank in range(3)}
    for n in range(5):
        rows[written[f"w{n}"]] += n + 1
    assert sorted(rows.values()) == [5, 5, 5]
    assert not list(tmp_path.glob(".step*"))
    world.close()


class Held:
    """Lets rank 1 write only when it may, or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fail: bool = False) -> None:
        self.go = threading.Event()

        def held(save: Save, staged: StagedSnapshot) -> None:
            if save.ranks.rank == 1:
                assert self.go.wait(60)
            contribute(save, staged)

        monkeypatch.setattr(saver_module, "contribute", held)
        if fail:
            monkeypatch.setattr(os, "pwrite", _no_space_for_rank_1)


_pwrite = os.pwrite


def _no_space_for_rank_1(descriptor: int, data: memoryview, start: int) -> int:
    if "rank-00001" in os.readlink(f"/proc/self/fd/{descriptor}"):
        raise OSError(errno.ENOSPC, "No space left on device")
    return _pwrite(descriptor, data, start)


def test_all_skip_while_one_rank_is_still_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, 3)
    held = Held(monkeypatch)
    world.stage(snapshot(1))
    skipped = world.stage(snapshot(2), must=False)
    assert all(isinstance(one, Skipped) for one in skipped)
    held.go.set()
    assert [one.step for one in world.poll()[0]] == [1]
    world.stage(snapshot(3))
    assert [one.step for one in world.poll()[0]] == [3]
    check(tmp_path, 3)
    world.close()


def test_a_rank_that_is_too_slow_fails_the_save_and_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, 2)
    world.stage(snapshot(1))
    world.poll()
    held = Held(monkeypatch)
    world.stage(snapshot(2))
    world.savers[0].limit_patience(0.05)
    world.savers[0].wait()
    ((failed,), (skipped,)) = world.savers[0].poll(), world.stage(snapshot(3), must=False)[:1]
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("rank 1: it has not written its part in 0 s")
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "another rank is still being written"
    check(tmp_path, 1)
    held.go.set()
    world.savers[1].wait()
    world.savers[0]._patience_s = 60
    world.stage(snapshot(4))
    assert [type(one) for one in world.poll()[0]] == [Saved]
    check(tmp_path, 4)
    assert not list(tmp_path.glob(".step*"))
    world.close()


def test_a_save_whose_writer_was_killed_is_given_up_in_terms_of_what_saves_take(
    tmp_path: Path,
) -> None:
    said = run_program(str(tmp_path))
    assert said["step"] == 2
    assert said["reason"].startswith("rank 1: it has not written its part in ")
    assert said["waited_s"] < 60, "and not the ten minutes of the first save"
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-000000001"]
    checkpoint.verify(tmp_path / "step-000000001")
    assert not list(tmp_path.glob(".step*"))


def test_patience_follows_the_slowest_of_the_last_saves(tmp_path: Path) -> None:
    takes_s = [0.1, 4.0, 99.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    clock_s = iter([at_s for took_s in takes_s for at_s in (0.0, 0.0, took_s)])
    saver = Saver(tmp_path, patience_s=600.0, now_s=lambda: next(clock_s))
    patience_s = [saver._patience()]
    for step in range(len(takes_s)):
        saver.stage(Snapshot(step, {"w": torch.zeros(3)}, {}), must=True)
        saver.wait()
        patience_s.append(saver._patience())
    assert patience_s == [600.0, 30.0, 40.0, 600.0, 600.0, 600.0, 600.0, 600.0, 30.0]


def test_a_rank_that_cannot_write_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, 2)
    held = Held(monkeypatch, fail=True)
    world.stage(snapshot(1))
    held.go.set()
    reasons = [
        report.reason for one in world.poll() for report in one if isinstance(report, Failed)
    ]
    monkeypatch.undo()
    assert reasons[1] == "No space left on device"
    assert reasons[0] == "rank 1: No space left on device"
    assert checkpoint.load_newest(tmp_path) is None
    assert not list(tmp_path.glob(".step*"))
    world.stage(snapshot(2))
    world.poll()
    check(tmp_path, 2)
    world.close()


def test_a_snapshot_that_one_rank_cannot_copy_is_taken_by_none(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    bad = Snapshot(1, {"z": torch.ones(2, dtype=torch.complex128)}, {})
    staged = world.on_all(lambda rank: world.savers[rank].stage(bad if rank else snapshot(1)))
    assert all(isinstance(one, Skipped) for one in staged)
    reports = world.poll()
    assert reports[0] == [Failed(step=1, reason="another rank could not copy its share")]
    assert isinstance(reports[1][0], Failed)
    assert "complex128" in reports[1][0].reason
    world.close()


def test_a_root_that_the_first_rank_cannot_use_is_refused_on_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot use it|Not a directory|exists"):
        World(tmp_path / "file" / "root", 2)


def run_program(*arguments: str) -> dict[str, Any]:
    """What ``ranks_program.py`` says."""
    program = Path(__file__).with_name("ranks_program.py")
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def part(rank: int, **tensors: TensorEntry) -> Part:
    return Part(save="s", rank=rank, files={}, tensors=tensors, aliases={})


def test_parts_that_do_not_fit_together_are_not_committed() -> None:
    nothing = TensorEntry(shape=(2, 3), dtype="F32", chunks=())
    other = TensorEntry(shape=(2, 4), dtype="F32", chunks=())
    with pytest.raises(IncompleteSave) as caught:
        merge([part(0, w=nothing), part(1, w=nothing)], step=4, state={})
    assert caught.value.reason == "the chunks of w are not all of it"
    with pytest.raises(IncompleteSave) as caught:
        merge([part(0, w=nothing), part(1, w=other)], step=4, state={})
    assert caught.value.reason == "w is F32[2, 4] there and F32[2, 3] before"
    lonely = Part(
        save="s",
        rank=0,
        files={"a": FileEntry(size_bytes=8, header_bytes=4, header_xxh3_128="")},
        tensors={},
        aliases={},
    )
    with pytest.raises(IncompleteSave, match="nothing is known of the bytes from 4 on"):
        merge([lonely], step=4, state={})


def test_a_part_with_a_flipped_bit_or_of_another_save_is_not_taken(tmp_path: Path) -> None:
    entry = TensorEntry(shape=(0, 3), dtype="F32", chunks=())
    write_part(tmp_path, part(1, w=entry))
    path = part_path(tmp_path, 1)

    def wait(save: str) -> list[Part]:
        return wait_for_parts(tmp_path, step=4, save=save, ranks=[1], patience_s=lambda: 0.0)

    assert wait("s") == [part(1, w=entry)]
    with pytest.raises(IncompleteSave, match="its part is damaged, or of another save"):
        wait("t")
    original = path.read_bytes()
    for place in range(len(original) * 8):
        changed = bytearray(original)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(IncompleteSave):
            wait("s")


def test_the_full_text_of_an_incomplete_save() -> None:
    assert str(IncompleteSave(40, 3, "No space left on device")) == (
        "error HR-CKPT-005: step 40 was not saved: rank 3: No space left on device\n"
        "  why: a checkpoint is committed when every rank has written and read back its part\n"
        "  fix: training goes on and saves again at the next interval; see that rank's log, and "
        "whether its node can write to the run directory"
    )


@pytest.mark.parametrize(
    ("rounds", "seed"),
    [(6, 1), pytest.param(20, 2, marks=pytest.mark.slow)]
    + [pytest.param(200, seed, marks=pytest.mark.chaos) for seed in (3, 4)],
)
def test_a_rank_killed_at_any_moment_leaves_only_whole_checkpoints(
    tmp_path: Path, rounds: int, seed: int
) -> None:
    said = run_program(str(tmp_path / "root"), str(rounds), str(seed))
    assert said["steps"] > 0
    assert said["rounds_with_leftovers"] > 0, "no round was killed in the middle of a save"


def test_each_of_a_thousand_flipped_bits_of_what_several_ranks_wrote_is_detected(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, 3)
    world.stage(snapshot(1))
    world.poll()
    world.close()
    folder = tmp_path / "step-000000001"
    files = sorted(folder.iterdir())
    assert len(files) == 4
    draw = random.Random(23)
    for _ in range(1000):
        path = draw.choice(files)
        original = path.read_bytes()
        place = draw.randrange(len(original) * 8)
        changed = bytearray(original)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint):
            checkpoint.load(folder)
        with pytest.raises(DamagedCheckpoint):
            checkpoint.verify(folder)
        path.write_bytes(original)
    check(tmp_path, 1)
