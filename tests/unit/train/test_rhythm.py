"""When a session saves."""

from pathlib import Path

import torch

from headrace.core.events import AttemptEnded, AttemptStarted
from headrace.core.order import SessionSettings
from headrace.core.rundir import EventWriter, RunDir
from headrace.train.group import Group
from headrace.train.interval import AUTOMATIC_S, Cost
from headrace.train.rhythm import Rhythm


class World:
    def __init__(self, run: Path, *, rank: int = 0, **settings: float) -> None:
        self.now_s = 1000.0
        self.cost: Cost | None = None
        group = Group(
            rank=rank, world_size=2, device=torch.device("cpu"), control=None, owned=False
        )
        self.rhythm = Rhythm(
            SessionSettings(**settings),  # type: ignore[arg-type]
            RunDir(run),
            group,
            cost=lambda: self.cost,
            now_s=lambda: self.now_s,
        )

    def waits_s(self) -> float:
        """From a save to the next, by seconds."""
        self.rhythm.begin()
        began_s = self.now_s
        while not self.rhythm.due_now():
            self.now_s += 1.0
        return self.now_s - began_s


def test_until_a_save_has_been_measured_it_is_ten_minutes(tmp_path: Path) -> None:
    assert World(tmp_path).waits_s() == AUTOMATIC_S


def test_what_saving_costs_and_the_failures_that_were_seen_decide(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.cost = Cost(stall_s=10.0, durable_s=60.0)
    assert world.waits_s() == 7200.0  # nothing has failed so far
    times = iter((0.0, 3600.0, 3600.0, 7200.0))
    writer = EventWriter(RunDir(tmp_path), "lead", now_s=lambda: next(times))
    for attempt in range(2):
        writer.write(AttemptStarted(world_size=2, nodes=("a",), master="a:1"), attempt=attempt)
        ended = AttemptEnded(outcome="node", detail="", step=None, restart_in_s=None)
        writer.write(ended, attempt=attempt)
    failing = World(tmp_path)
    failing.cost = Cost(stall_s=10.0, durable_s=60.0)
    assert 250 < failing.waits_s() < 350  # sqrt(2 x 13 s x 3600 s) = 306 s


def test_the_job_files_rule_stands_whatever_saving_costs(tmp_path: Path) -> None:
    world = World(tmp_path, checkpoint_every_s=40.0)
    world.cost = Cost(stall_s=10.0, durable_s=60.0)
    assert world.waits_s() == 40.0
    by_steps = World(tmp_path, checkpoint_every_steps=5)
    assert [step for step in range(1, 11) if by_steps.rhythm.due_after(step)] == [5, 10]
    assert not by_steps.rhythm.due_now()


def test_only_rank_0_goes_by_the_clock(tmp_path: Path) -> None:
    world = World(tmp_path, rank=1)
    world.now_s += 1e6
    assert not world.rhythm.due_now()
