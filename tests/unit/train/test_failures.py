"""What earlier attempts tell about how often a run fails."""

from pathlib import Path

from headrace.core.events import AttemptEnded, AttemptStarted, Event
from headrace.core.rundir import EventWriter, RunDir
from headrace.train.failures import Observed, observe


def started() -> Event:
    return AttemptStarted(world_size=1, nodes=("a",), master="a:1")


def ended(outcome: str) -> Event:
    return AttemptEnded(outcome=outcome, detail="", step=None, restart_in_s=None)


def test_failed_attempts_are_counted_and_all_ended_ones_are_time(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    times = iter((0.0, 100.0, 110.0, 150.0, 200.0, 260.0, 300.0))
    writer = EventWriter(run, "lead", now_s=lambda: next(times))
    for number, outcome in enumerate(("error", "stopped", "node")):
        writer.write(started(), attempt=number)
        writer.write(ended(outcome), attempt=number)
    writer.write(started(), attempt=3)
    writer.close()
    assert observe(run) == Observed(200.0, 2)


def test_without_a_lead_nothing_was_seen(tmp_path: Path) -> None:
    assert observe(RunDir(tmp_path)) == Observed(0.0, 0)
