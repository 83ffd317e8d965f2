"""Copies that go with the order, of a source too large for the node."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import data
from headrace.data.cache.folder import CachedSet, read_set
from headrace.data.cache.owner import Holder, this_process
from headrace.data.cache.resolve import VARIABLE
from headrace.data.cache.stage import Stager
from headrace.data.order import WHOLE, Blocks, Order, Sequential

FILES, LINES = 12, 400
LIMIT = 5 * 28 * 1024


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(FILES):
        rows = (json.dumps({"text": f"{number} {line} {'x' * 40}"}) for line in range(LINES))
        (folder / f"{number:02}.jsonl").write_text("\n".join(rows) + "\n")
    data.index_path(folder)
    return folder


def until(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


class Node:
    """With room for less than half of the corpus."""

    def __init__(self, corpus: Path, base: Path) -> None:
        self.environ = {
            "HEADRACE_CACHE": str(base),
            "HEADRACE_CACHE_LIMIT": f"{LIMIT}B",
            "HEADRACE_RUN_ID": "run-1",
        }
        self.corpus = corpus
        staged = self.stage(this_process("run-1"))
        assert staged is not None
        self.environ[VARIABLE] = json.dumps({str(corpus): str(staged.root)})
        self.set = staged

    def stage(self, user: Holder) -> CachedSet:
        stager = Stager("nvme", user=user, node="n0", environ=self.environ)
        found = stager.stage(self.corpus, in_parts=True)
        assert found.root is not None
        assert found.tree is None
        return read_set(Path(found.root))

    def near(self) -> list[int]:
        return [int(file.name[:2]) for file in self.set.present() if file.name != ".hrindex"]

    def taken_bytes(self) -> int:
        taken = 0
        for file in self.set.root.glob("tree/*"):
            with contextlib.suppress(FileNotFoundError):  # dropped just now
                taken += file.stat().st_blocks * 512
        return taken

    def batches(self, order: Order) -> data.Batches:
        opened = data.open(self.corpus, environ=self.environ)
        return data.batches(opened, global_batch=40, seed=3, order=order)


def test_copies_go_with_a_sequential_order_within_their_room(corpus: Path, tmp_path: Path) -> None:
    node = Node(corpus, tmp_path / "node")
    assert node.near() == [0, 1, 2, 3, 4]
    with node.batches(Sequential()) as batches:
        for _ in range(110):
            next(batches)
            assert node.taken_bytes() <= LIMIT
        until(lambda: node.near() == [0, 1, 2, 10, 11])  # the end of the epoch, and the next


def test_copies_go_with_a_block_wise_order_and_the_samples_are_the_same(
    corpus: Path, tmp_path: Path
) -> None:
    node = Node(corpus, tmp_path / "node")
    order = Blocks(block=LINES, window=1)
    plain = data.batches(data.open(corpus, environ={}), global_batch=40, seed=3, order=order)
    before = node.near()
    with node.batches(order) as batches, plain:
        for _ in range(100):
            mine, theirs = next(batches), next(plain)
            assert list(mine.samples) == list(theirs.samples)
            time.sleep(0.005)
    until(lambda: node.near() != before)
    assert node.taken_bytes() <= LIMIT


def test_under_a_global_shuffle_copies_stay_as_they_are(corpus: Path, tmp_path: Path) -> None:
    node = Node(corpus, tmp_path / "node")
    before = node.near()
    with node.batches(WHOLE) as batches:
        for _ in range(100):
            next(batches)
    assert node.near() == before


def test_copies_that_two_runs_use_stay_as_they_are(corpus: Path, tmp_path: Path) -> None:
    node = Node(corpus, tmp_path / "node")
    node.stage(this_process("run-2"))
    before = node.near()
    with node.batches(Sequential()) as batches:
        for _ in range(100):
            next(batches)
        time.sleep(0.3)
    assert node.near() == before


def test_only_the_first_rank_of_a_node_moves_copies(corpus: Path, tmp_path: Path) -> None:
    node = Node(corpus, tmp_path / "node")
    before = node.near()
    node.environ["LOCAL_RANK"] = "1"
    with node.batches(Sequential()) as batches:
        for _ in range(100):
            next(batches)
        time.sleep(0.3)
    assert node.near() == before


def test_what_fits_as_a_whole_needs_nobody_to_move_it(corpus: Path, tmp_path: Path) -> None:
    node = Node(corpus, tmp_path / "node")
    del node.environ["HEADRACE_CACHE_LIMIT"]
    stager = Stager("nvme", user=this_process("run-1"), node="n0", environ=node.environ)
    assert stager.stage(corpus, in_parts=True).tree is not None
    assert not data.open(corpus, environ=node.environ).files.go_with_the_order
    assert os.listdir(node.set.root / "tree")
