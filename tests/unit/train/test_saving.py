"""Checkpoints of a session that fail, hang, are the best, or lie in memory."""

import errno
import os
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from headrace.checkpoint import memory, saver
from headrace.checkpoint.commit import Save
from headrace.checkpoint.retention import Best, Keep
from headrace.checkpoint.staging import Snapshot, StagedSnapshot
from headrace.core.events import CheckpointFailed, CheckpointSaved, Noted, Restored, Up
from headrace.train import finding, saving
from headrace.train.errors import CheckpointMismatch, RunDirUnusable
from headrace.train.group import Group
from headrace.train.reporter import Reporter
from headrace.train.saving import Position, Saving
from headrace.train.state import sort_tracked


class Said(Reporter):
    def __init__(self) -> None:
        self.messages: list[Up] = []

    def say(self, message: Up) -> None:
        self.messages.append(message)

    def beat(self, step: int) -> None:
        pass


def position(step: int) -> Position:
    return Position(step=step, samples=step, loss=None, expected=(), world_size=1, data=None)


class World:
    """One rank's saving, of a model whose weights are the step."""

    def __init__(self, root: Path, *, keep: Keep | None = None, place: Path | None = None) -> None:
        self.said = Said()
        self.model = nn.Linear(10, 10)
        self.tracked = sort_tracked({"model": self.model})
        group = Group(rank=0, world_size=1, device=torch.device("cpu"), control=None, owned=False)
        shared = None if place is None else memory.Shared(place)
        self.saving = Saving(
            root, keep=keep or Keep(), group=group, reporter=self.said, memory=shared
        )
        self.restored = self.saving.restore(self.tracked)
        self.saving.prepare(self.tracked, position(0))

    def save(self, step: int, *, loss: float | None = None, must: bool = False) -> None:
        with torch.no_grad():
            self.model.weight.fill_(float(step))
        if loss is not None:
            self.saving.hear({"loss": loss})
        self.saving.save(self.tracked, position(step), must=must)

    def heard(self, kind: type[object]) -> list[Up]:
        return [message for message in self.said.messages if isinstance(message, kind)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_SPARE_BYTES", 0)
    made = tmp_path / "memory"
    made.mkdir()
    return made


def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)


def test_a_failed_save_is_told_and_the_next_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    with monkeypatch.context() as patch:
        no_disk(patch)
        world.save(1)
        world.save(2, must=True)
        world.saving.close(2)
    world.save(3, must=True)
    world.saving.close(3)
    failed = [CheckpointFailed(rank=0, step=n, detail="No space left on device") for n in (1, 2)]
    assert world.heard(CheckpointFailed) == failed
    (saved,) = world.heard(CheckpointSaved)
    assert isinstance(saved, CheckpointSaved)
    assert saved.step == 3
    assert world.saving.cost is not None


def test_what_the_disk_refused_is_restored_from_memory(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "root", place=place)
    world.save(1)
    world.saving.close(1)
    with monkeypatch.context() as patch:
        no_disk(patch)
        world.save(2, must=True)
        world.saving.close(2)
    again = World(tmp_path / "root", place=place)
    assert again.restored == position(2)
    assert bool((again.model.weight == 2).all())
    (told,) = again.heard(Restored)
    assert isinstance(told, Restored)
    assert (told.step, told.tier, told.path) == (2, "memory", str(place / "0"))
    assert told.took_s > 0


def test_damaged_memory_is_told_and_passed_over(tmp_path: Path, place: Path) -> None:
    world = World(tmp_path / "root", place=place)
    world.save(1)
    world.saving.close(1)
    (shard,) = place.glob("0/*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    again = World(tmp_path / "root", place=place)
    assert again.restored == position(1)
    (told,) = again.heard(Restored)
    assert isinstance(told, Restored)
    assert told.tier == "disk"
    (warning,) = again.heard(Noted)
    assert isinstance(warning, Noted)
    assert warning.text.startswith("step-000000001 in memory is damaged and was passed over")


def test_too_little_shared_memory_is_told_once_and_harms_nothing(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_SPARE_BYTES", 1 << 60)
    world = World(tmp_path / "root", place=place)
    world.save(1)
    world.saving.close(1)
    assert world.heard(Noted) == [
        Noted(
            level="info",
            text="restarts on the same node load from the disk, not from memory: there is not "
            "enough shared memory for 0.00 GiB of this rank",
        )
    ]
    assert len(world.heard(CheckpointSaved)) == 1


class Later:
    """Has nothing to save at first."""

    def __init__(self) -> None:
        self.state: dict[str, object] = {}

    def state_dict(self) -> dict[str, object]:
        return self.state

    def load_state_dict(self, state_dict: dict[str, object], /) -> None:
        self.state = state_dict


def test_state_that_becomes_unsavable_fails_the_save_and_not_the_training(tmp_path: Path) -> None:
    world = World(tmp_path)
    later = Later()
    world.tracked = sort_tracked({"model": world.model, "later": later})
    later.state = {"seen": {1}}
    world.save(1)
    (failed,) = world.heard(CheckpointFailed)
    assert isinstance(failed, CheckpointFailed)
    assert failed.detail.startswith("the state of later/seen holds a set")
    later.state = {"seen": [1]}
    world.save(2, must=True)
    world.saving.close(2)
    assert len(world.heard(CheckpointSaved)) == 1


def test_memory_that_the_system_refuses_is_told_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(memory, "aligned_memory", refuse)
        world = World(tmp_path)
        world.save(1)
    (noted,) = world.heard(Noted)[:1]
    assert isinstance(noted, Noted)
    assert noted.text == "no memory for checkpoints: [Errno 12] Cannot allocate memory"
    world.save(2, must=True)
    world.saving.close(2)
    assert len(world.heard(CheckpointSaved)) == 1


def test_a_save_that_hangs_blocks_no_step_and_is_given_up_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "PATIENCE_S", 0.2)
    forever = threading.Event()

    def hang(save: Save, staged: StagedSnapshot) -> None:
        forever.wait(60)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(saver, "commit", hang)
    world = World(tmp_path)
    world.save(1)
    world.save(2)
    world.save(3, must=True)
    world.saving.close(3)
    forever.set()
    assert [message.text for message in world.heard(Noted) if isinstance(message, Noted)] == [
        "no checkpoint of step 2: step 1 is still being written",
        "no checkpoint of step 3: step 1 is still being written",
    ]
    assert world.heard(CheckpointFailed) == [
        CheckpointFailed(
            rank=0,
            step=1,
            detail="it is not on the disk after 0 s: is the storage gone? The program ends without "
            "it",
        )
    ]


def test_the_best_by_what_was_logged_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path, keep=Keep(last=1, best=Best("loss")))
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5)):
        world.save(step, loss=loss, must=True)
    world.saving.close(4)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [
        "step-000000002",
        "step-000000004",
    ]


def test_what_no_session_saved_is_refused_in_words(tmp_path: Path) -> None:
    own = saver.Saver(tmp_path)
    own.stage(Snapshot(1, {"w": torch.ones(2)}, {"mine": 1}))
    own.close()
    with pytest.raises(CheckpointMismatch, match="it was not saved by a session"):
        World(tmp_path)


def test_a_folder_that_cannot_be_read_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(finding, "committed", refuse)
    with pytest.raises(RunDirUnusable, match="cannot be used for checkpoints: Permission denied"):
        World(tmp_path)
