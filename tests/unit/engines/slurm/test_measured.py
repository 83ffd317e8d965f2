"""How long steps and checkpoints took, from the files of runs."""

from pathlib import Path

from headrace.core.events import CheckpointSaved, StepMetric
from headrace.core.records import encode
from headrace.core.rundir import EventWriter, RunDir
from headrace.engines.slurm.measured import measured


def saved(run: RunDir, durable_s: float) -> None:
    writer = EventWriter(run, "lead", now_s=lambda: 1.0)
    event = CheckpointSaved(
        rank=0, step=1, path="p", size_bytes=1, stall_s=0.1, durable_s=durable_s
    )
    writer.write(event, attempt=0)
    writer.close()


def stepped(run: RunDir, *times_s: float) -> None:
    path = run.attempt(0) / "nodes/n1/metrics.jsonl"
    path.parent.mkdir(parents=True)
    lines = [
        encode(StepMetric(rank=0, step=n, time_s=1.0, samples=1, step_s=s, seconds={}, values={}))
        for n, s in enumerate(times_s)
    ]
    path.write_bytes(b"\n".join(lines) + b"\n" + b'{"kind": "step_met')


def test_the_longest_checkpoint_and_step_of_all_runs_count(tmp_path: Path) -> None:
    runs = [RunDir(tmp_path / name) for name in ("a-1", "a-2", "gone-3")]
    for run, durable_s in zip(runs, (12.0, 34.0), strict=False):
        run.root.mkdir()
        saved(run, durable_s)
    stepped(runs[0], 0.5, 2.5, 0.4)
    found = measured(runs)
    assert (found.checkpoint_s, found.step_s) == (34.0, 2.5)


def test_runs_without_checkpoints_measure_nothing(tmp_path: Path) -> None:
    found = measured([RunDir(tmp_path / "a-1")])
    assert (found.checkpoint_s, found.step_s, found.needed_s) == (None, None, None)
