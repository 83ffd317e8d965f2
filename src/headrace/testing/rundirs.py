"""Run directories made up: what a run of one node would have left, written in no time.

For tests of anything that reads a run directory, and for trying out reports. Everything follows
from the ``Story``; nothing reads a clock.
"""

import math
from pathlib import Path

from headrace.core.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Ended,
    Entry,
    Event,
    GpuSample,
    Metric,
    NodeSample,
    PhaseChanged,
    Placed,
    RankExited,
    RankStarted,
    Restored,
    SessionEnded,
    Started,
    StepMetric,
    Submitted,
)
from headrace.core.order import Order, Placement, RankPlace, RestartPolicy, SessionSettings
from headrace.core.records import Record, encode, write_record
from headrace.core.rundir import RunDir


class Story(Record, frozen=True, kw_only=True):
    """What happened. Every attempt but the last dies after ``crash_after`` more steps.

    ``end``: the final state, or None for a run in progress. ``speaks``: whether the program reports
    steps. Times are seconds; a step takes ``step_s``, one in ten of it waiting for data.
    """

    run_id: str = "gpt-small-12"
    begin_s: float = 1_700_000_000.0
    queue_s: float = 30.0
    startup_s: float = 4.0
    restore_s: float = 3.0
    steps: int = 60
    step_s: float = 0.5
    checkpoint_every: int = 20
    stall_s: float = 0.2
    restarts: int = 1
    crash_after: int = 33
    down_s: float = 5.0
    ranks: int = 2
    cpus: int = 4
    gpus: int = 0
    energy: bool = False
    speaks: bool = True
    batch: int = 64
    end: str | None = "COMPLETED"


def write_run(runs: Path, story: Story) -> RunDir:
    """Write the run directory of ``story`` below ``runs``."""
    run = RunDir(runs / story.run_id)
    run.events.mkdir(parents=True)
    _Telling(run, story).tell()
    return run


class _Telling:
    def __init__(self, run: RunDir, story: Story) -> None:
        self._run, self._story = run, story
        self._now_s = story.begin_s
        self._events: dict[str, list[Entry]] = {}
        self._metrics: list[Metric] = []
        self._samples_taken = 0
        self._cpu_s = 0.0

    def tell(self) -> None:
        story = self._story
        self._run.job.write_text(_job_yaml(story))
        write_record(self._run.order, _order(story))
        self._say("client", 0, Submitted(run_id=story.run_id, user="ada", token="t"))
        self._now_s += story.queue_s
        self._say("engine", 0, Started(placed=(_placed(story),)))
        saved = 0
        for attempt in range(story.restarts + 1):
            saved = self._attempt(attempt, saved, is_last=attempt == story.restarts)
        if story.end is not None:
            self._now_s += 0.5
            code = 0 if story.end == "COMPLETED" else 1
            detail = f"All {story.ranks} ranks ended." if code == 0 else "The program failed."
            self._say("lead", story.restarts, Ended(state=story.end, exit_code=code, detail=detail))
        for writer, entries in self._events.items():
            lines = b"".join(encode(entry) + b"\n" for entry in entries)
            (self._run.events / f"{writer}.jsonl").write_bytes(lines)

    def _attempt(self, attempt: int, saved: int, *, is_last: bool) -> int:
        """Tell one attempt; return the step of the last checkpoint."""
        story = self._story
        self._metrics, self._cpu_s = [], 0.0
        self._begin(attempt, saved)
        last = story.steps if is_last else min(story.steps, saved + story.crash_after)
        if story.speaks:
            for step in range(saved + 1, last + 1):
                saved = self._step(attempt, step, saved)
        else:
            self._wait(story.step_s * (last - saved), busy=0.9)
        self._write_metrics(attempt)
        if is_last and story.end is None:
            return saved
        if is_last and story.speaks:
            end = SessionEnded(rank=0, step=last, samples=last * story.batch, loss=loss_at(last))
            self._say("agent-node0", attempt, end)
        failed = not is_last or story.end != "COMPLETED"
        for rank in range(story.ranks):
            self._say("agent-node0", attempt, RankExited(rank=rank, exit_code=1 if failed else 0))
        detail = "rank 1 exited with status 1" if failed else "all ranks ended with status 0"
        self._say(
            "lead",
            attempt,
            AttemptEnded(
                outcome="error" if failed else "completed",
                detail=detail,
                step=last if story.speaks else None,
                restart_in_s=None if is_last else story.down_s,
            ),
        )
        if not is_last:
            self._now_s += story.down_s
        return saved

    def _begin(self, attempt: int, saved: int) -> None:
        story = self._story
        placed = _placed(story)
        ranks = tuple(_rank_place(story, rank) for rank in range(story.ranks))
        self._run.node(attempt, placed.node).mkdir(parents=True)
        write_record(
            self._run.attempt(attempt) / "placement.json",
            Placement(attempt=attempt, world_size=story.ranks, nodes=(placed,), ranks=ranks),
        )
        started = AttemptStarted(
            world_size=story.ranks, nodes=(placed.node,), master="127.0.0.1:29500"
        )
        self._say("lead", attempt, started)
        for place in ranks:
            begun = RankStarted(
                rank=place.rank, pid=100 + place.rank, cpus=place.cpus, gpus=place.gpus
            )
            self._say("agent-node0", attempt, begun)
        self._wait(story.startup_s, busy=0.3)
        if not story.speaks:
            return
        for rank in range(story.ranks):
            phase = "restore" if saved else "init"
            self._say("agent-node0", attempt, PhaseChanged(rank=rank, phase=phase, step=saved))
        self._wait(story.restore_s, busy=0.2)
        for rank in range(story.ranks):
            if saved:
                path = f"checkpoints/step-{saved}"
                self._say("agent-node0", attempt, Restored(rank=rank, step=saved, path=path))
            self._say("agent-node0", attempt, PhaseChanged(rank=rank, phase="steps", step=saved))

    def _step(self, attempt: int, step: int, saved: int) -> int:
        story = self._story
        stall_s = story.stall_s if step % story.checkpoint_every == 0 else 0.0
        self._wait(story.step_s + stall_s, busy=0.8)
        seconds = {
            "data": 0.1 * story.step_s,
            "forward_backward": 0.6 * story.step_s,
            "sync": 0.1 * story.step_s,
            "optimizer": 0.15 * story.step_s,
            "checkpoint": stall_s,
        }
        for rank in range(story.ranks):
            self._metrics.append(
                StepMetric(
                    rank=rank,
                    step=step,
                    time_s=self._now_s,
                    samples=step * story.batch,
                    step_s=story.step_s + stall_s,
                    seconds=seconds,
                    values={"loss": loss_at(step)} if rank == 0 else {},
                )
            )
        if not stall_s:
            return saved
        for rank in range(story.ranks):
            event = CheckpointSaved(
                rank=rank,
                step=step,
                path=f"checkpoints/step-{step}",
                size_bytes=500_000_000,
                stall_s=stall_s,
                durable_s=stall_s * 4,
            )
            self._say("agent-node0", attempt, event)
        return step

    def _wait(self, wait_s: float, *, busy: float) -> None:
        """Let time pass; the agent takes a sample at each whole second of the story."""
        story, end_s = self._story, self._now_s + wait_s
        self._cpu_s += busy * story.cpus * wait_s
        while story.begin_s + self._samples_taken < end_s:
            at_s = story.begin_s + self._samples_taken
            self._samples_taken += 1
            if at_s < self._now_s:
                continue
            wave = 0.05 * math.sin(at_s)
            self._metrics.append(
                NodeSample(
                    time_s=at_s,
                    cpu_ratio=min(1.0, busy + wave),
                    cpu_s=self._cpu_s,
                    memory_bytes=int((2.0 + wave) * (1 << 30)),
                    gpus=tuple(
                        GpuSample(
                            index=gpu,
                            utilization_ratio=min(1.0, busy + 0.1 + wave),
                            memory_bytes=60 << 30,
                            power_w=550.0 + 1000 * wave,
                        )
                        for gpu in range(story.gpus)
                    ),
                    energy_j=60.0 * self._cpu_s if story.energy else None,
                    energy_parts=("gpu", "cpu") if story.energy else (),
                    memory_kind="pss",
                )
            )
        self._now_s = end_s

    def _say(self, writer: str, attempt: int, event: Event) -> None:
        entries = self._events.setdefault(writer, [])
        entries.append(Entry(seq=len(entries), attempt=attempt, time_s=self._now_s, event=event))

    def _write_metrics(self, attempt: int) -> None:
        lines = b"".join(encode(metric) + b"\n" for metric in self._metrics)
        (self._run.node(attempt, "node0") / "metrics.jsonl").write_bytes(lines)


def loss_at(step: int) -> float:
    """A loss that falls as training losses do."""
    return 1.4 + 8.0 / (1.0 + 0.12 * step) + 0.05 * math.sin(1.7 * step)


def _placed(story: Story) -> Placed:
    return Placed(
        node="node0",
        address="127.0.0.1",
        cpus=tuple(range(story.cpus)),
        gpus=tuple(range(story.gpus)),
        memory_bytes=16 << 30,
    )


def _order(story: Story) -> Order:
    return Order(
        run_id=story.run_id,
        name=story.run_id.rpartition("-")[0],
        attempt=0,
        placed=(_placed(story),),
        ranks_per_node=story.ranks,
        cpus_per_rank=story.cpus // story.ranks,
        framework="torch",
        command=("python", "train.py"),
        workdir="/home/ada",
        env={},
        environment_file="environment.json",
        session=SessionSettings(until_steps=story.steps, global_batch=story.batch),
        setup=None,
        time_limit_s=3600.0,
        time_used_s=0.0,
        stop_grace_s=30.0,
        kill_wait_s=10.0,
        hang_s=None,
        restart=RestartPolicy(),
        restarts_used=0,
    )


def _rank_place(story: Story, rank: int) -> RankPlace:
    cpus, gpus = story.cpus // story.ranks, story.gpus // story.ranks
    return RankPlace(
        rank=rank,
        local_rank=rank,
        node="node0",
        node_rank=0,
        cpus=tuple(range(rank * cpus, (rank + 1) * cpus)),
        gpus=tuple(range(rank * gpus, (rank + 1) * gpus)),
    )


def _job_yaml(story: Story) -> str:
    return (
        f"name: {story.run_id.rpartition('-')[0]}\n"
        "run: python train.py\n"
        f"ranks_per_node: {story.ranks}\n"
        f"train: {{until: {story.steps} steps, global_batch: {story.batch}}}\n"
    )
