"""Which checkpoint the ranks go on from: threads stand in for the ranks."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from headrace import checkpoint
from headrace.checkpoint.folder import committed
from headrace.train import finding
from headrace.train.finding import Found, find
from headrace.train.group import Group
from headrace.train.layout import Layout

NO_LAYOUT = Layout({}, frozenset())


def save(root: Path, step: int) -> None:
    saver = checkpoint.Saver(root)
    saver.stage(checkpoint.Snapshot(step, {"w": torch.full((3,), float(step))}, {}))
    saver.close()
    assert isinstance(saver.poll()[0], checkpoint.Saved)


@dataclass(frozen=True, kw_only=True)
class ThreadRank(Group):
    """A rank whose sums meet those of the others in ``given``."""

    given: dict[int, Sequence[float]]
    meet: threading.Barrier

    def sum(self, values: Sequence[float]) -> list[float]:
        self.given[self.rank] = values
        self.meet.wait()
        total = [sum(column) for column in zip(*self.given.values(), strict=True)]
        self.meet.wait()
        return total


def test_all_ranks_start_from_the_same_checkpoint_of_a_run_that_is_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    meet, saved = threading.Barrier(2, timeout=60), threading.Event()

    def look_late(root: Path) -> list[Path]:
        """Who is first sees step 1; meanwhile step 2 is saved, and who is late sees that."""
        found = committed(root)
        if not saved.is_set():
            save(tmp_path, 2)
            saved.set()
        return found

    monkeypatch.setattr(finding, "committed", look_late)
    given: dict[int, Sequence[float]] = {}

    def start(rank: int) -> Found:
        device = torch.device("cpu")
        group = ThreadRank(
            rank=rank,
            world_size=2,
            device=device,
            control=None,
            owned=False,
            given=given,
            meet=meet,
        )
        return find(tmp_path / "none", None, group=group, layout=NO_LAYOUT, start=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(start, range(2))
    assert first.loaded is not None
    assert second.loaded is not None
    assert first.loaded.step == second.loaded.step == 1
