"""What befalls a training run on a real Slurm, and what it costs.

A small language model trains on 2 nodes with 1 or 2 ranks each, of a virtual cluster of 3. At a
chosen step something happens to it. It must end with the losses of a run that nothing happened to.
``python -m tests.contract.recovery --times 10`` prints a table of what it cost.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.contract.places import Place, place_of
from tests.integration.site import until
from tests.integration.virtual import Virtual, no_cluster

from headrace import data
from headrace.core.events import AttemptStarted, Requeued, StepMetric, StopAsked, decode_metric
from headrace.core.process import marked
from headrace.core.records import Record, read_record
from headrace.core.rundir import read_lines
from headrace.core.states import State
from headrace.engines.slurm.jobs import SlurmJob

NODES = 3
_PACED = Path(__file__).with_name("paced.py")
STEPS, TROUBLE_AT, EVERY = 40, 12, 5
SHAPE = ("--width", "32", "--layers", "2", "--heads", "2", "--global-batch", "8", "--warm-up", "5")
BUSY_S, AGAIN_S, END_S = 90.0, 240.0, 60.0


def make_corpus(folder: Path) -> Path:
    text, out = folder / "text.txt", folder / "text.tokens"
    text.write_text("".join(f"line {n} of {n * n % 97}, the end.\n" for n in range(400)))
    data.pack_text([text], out, window=32)
    return out


def job_of(root: Path) -> str:
    return read_record(root / "slurm.json", SlurmJob).job_id


def agent_of(root: Path, node: str) -> int:
    names = {
        pid: Path(f"/proc/{pid}/comm").read_text() for pid in marked("HEADRACE_RUN_DIR", str(root))
    }
    return next(pid for pid, name in names.items() if name.startswith(f"agent:{node}"))


class Training:
    """A run of the workload. ``paced``: it is slow until ``hurry``."""

    def __init__(
        self,
        place: Place,
        corpus: Path,
        *,
        ranks: int = 2,
        paced: bool = True,
        **fields: Any,  # noqa: ANN401
    ) -> None:
        self.place = place
        self._go = place.folder / "go"
        if not paced:
            self.hurry()
        given: dict[str, Any] = {
            "nodes": 2,
            "ranks_per_node": ranks,
            "checkpoint": {"every": f"{EVERY} steps"},
        } | fields
        program = (sys.executable, str(_PACED), str(place.folder))
        words = ("--corpus", str(corpus), "--steps", str(STEPS), *SHAPE)
        self.id = place.submit(*program, *words, **given).id
        self.root = place.folder_of(self.id).root

    @property
    def job(self) -> str:
        return job_of(self.root)

    def hurry(self) -> None:
        self._go.touch()

    def events_of(self, kind: type[Any]) -> list[tuple[float, Any]]:
        entries = [entry for _, entry in self.place.events(self.id)]
        return [(one.time_s, one.event) for one in entries if isinstance(one.event, kind)]

    def attempts(self) -> int:
        return len(self.events_of(AttemptStarted))

    def nodes(self) -> tuple[str, ...]:
        """Those of the newest attempt, the lead's first."""
        found: tuple[str, ...] = self.events_of(AttemptStarted)[-1][1].nodes
        return found

    def rank(self, number: int) -> int:
        ours, ranks = marked("HEADRACE_RUN_DIR", str(self.root)), marked("RANK", str(number))
        return min(set(ours) & set(ranks))

    def steps(self) -> list[tuple[int, StepMetric]]:
        """(attempt, step of any rank), as far as they were written down."""
        return [
            (int(path.parts[-4]), metric)
            for path in self.root.glob("attempts/*/nodes/*/metrics.jsonl")
            for metric in map(decode_metric, read_lines(path))
            if isinstance(metric, StepMetric)
        ]

    def furthest(self) -> int:
        return max((metric.step for _, metric in self.steps()), default=-1)

    def losses(self) -> dict[int, float]:
        """A step that was done twice must have had the same loss both times."""
        found: dict[int, float] = {}
        for _, metric in self.steps():
            if metric.rank == 0 and (loss := metric.values["loss"]) is not None:
                assert found.setdefault(metric.step, loss) == loss, metric.step
        return dict(sorted(found.items()))

    def end(self) -> dict[int, float]:
        (row,) = self.place.end(self.id, timeout_s=END_S)
        assert row.state is State.COMPLETED, row
        return self.losses()


class Recovery(Record, frozen=True, kw_only=True):
    """``recovery_s``: from the trouble to the end of the first step that was never done before.
    ``repeated``: steps that were done twice. ``requeues``: their reasons."""

    recovery_s: float
    repeated: int
    requeues: tuple[str, ...]
    attempts: int
    losses: dict[int, float]


Trouble = Callable[[Virtual, Training], AbstractContextManager[float]]


def recover(
    trouble: Trouble,
    cluster: Virtual,
    place: Place,
    corpus: Path,
    ranks: int = 2,
) -> Recovery:
    """Train, have the trouble happen, and wait for the end. ``trouble`` says when it happened."""
    run = Training(place, corpus, ranks=ranks, **FIELDS.get(trouble.__name__, {}))
    until(lambda: run.furthest() >= TROUBLE_AT, BUSY_S)
    with trouble(cluster, run) as at_s:
        until(lambda: run.attempts() > 1, AGAIN_S)
        run.hurry()
        losses = run.end()
    steps = run.steps()
    first = {metric.step for attempt, metric in steps if attempt == 0}
    later = [metric for attempt, metric in steps if attempt > 0]
    return Recovery(
        recovery_s=min(one.time_s for one in later if one.step not in first) - at_s,
        repeated=len(first & {one.step for one in later}),
        requeues=tuple(event.reason for _, event in run.events_of(Requeued)),
        attempts=run.attempts(),
        losses=losses,
    )


# --- troubles -----------------------------------------------------------------------------------


@contextmanager
def a_job_of_higher_qos(cluster: Virtual, run: Training) -> Iterator[float]:
    at_s = time.time()
    cluster.slurm("sbatch", "--qos=high", f"-N{NODES}", "--exclusive", "-o/dev/null", "--wrap=true")
    yield at_s


@contextmanager
def scontrol_requeue(cluster: Virtual, run: Training) -> Iterator[float]:
    at_s = time.time()
    cluster.slurm("scontrol", "requeue", run.job)
    yield at_s


@contextmanager
def scancel_signal(cluster: Virtual, run: Training) -> Iterator[float]:
    at_s = time.time()
    cluster.slurm("scancel", "--signal=USR2", run.job)
    yield at_s


@contextmanager
def a_time_limit(cluster: Virtual, run: Training) -> Iterator[float]:
    until(lambda: run.events_of(StopAsked))
    yield min(time_s for time_s, _ in run.events_of(StopAsked))


@contextmanager
def a_killed_rank(cluster: Virtual, run: Training) -> Iterator[float]:
    os.kill(run.rank(1), signal.SIGKILL)
    yield time.time()


@contextmanager
def a_killed_agent(cluster: Virtual, run: Training) -> Iterator[float]:
    os.kill(agent_of(run.root, run.nodes()[1]), signal.SIGKILL)
    yield time.time()


@contextmanager
def a_killed_lead(cluster: Virtual, run: Training) -> Iterator[float]:
    pids = marked("HEADRACE_RUN_DIR", str(run.root))
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    os.kill(next(pid for pid in pids if b"headrace.launch.lead" in words[pid]), signal.SIGKILL)
    yield time.time()


@contextmanager
def a_killed_slurmd(cluster: Virtual, run: Training) -> Iterator[float]:
    """Its ranks live on, but Slurm gives the node up."""
    node = run.nodes()[1]
    cluster("exec", node, "--", "pkill", "-9", "-x", "slurmd")
    at_s = time.time()
    with back(cluster, node):
        yield at_s


@contextmanager
def a_node_without_power(cluster: Virtual, run: Training) -> Iterator[float]:
    with without_power(cluster, run.nodes()[1]) as at_s:
        yield at_s


@contextmanager
def the_first_node_without_power(cluster: Virtual, run: Training) -> Iterator[float]:
    with without_power(cluster, run.nodes()[0]) as at_s:
        yield at_s


@contextmanager
def a_cut_link(cluster: Virtual, run: Training) -> Iterator[float]:
    node = run.nodes()[1]
    cluster("cut", node)
    at_s = time.time()
    with back(cluster, node):
        try:
            yield at_s
        finally:
            cluster("join", node)


@contextmanager
def without_power(cluster: Virtual, node: str) -> Iterator[float]:
    cluster("kill-node", node)
    at_s = time.time()
    with back(cluster, node):
        yield at_s


@contextmanager
def back(cluster: Virtual, node: str) -> Iterator[None]:
    """Whatever happened to the node, it is started anew at the end, which takes less than to wait
    for Slurm to ask it again."""
    try:
        yield
    finally:
        until(lambda: is_started_anew(cluster, node), AGAIN_S)
        all_idle(cluster)


def is_started_anew(cluster: Virtual, node: str) -> bool:
    """False while the kernel has not taken away the cable that it had."""
    cluster("kill-node", node)
    try:
        cluster("start-node", node)
    except AssertionError:
        return False
    return True


def all_idle(cluster: Virtual) -> None:
    until(lambda: set(cluster.states().values()) == {"idle"}, AGAIN_S)


FIELDS: dict[str, dict[str, Any]] = {
    "a_job_of_higher_qos": {"qos": "low"},
    "a_time_limit": {"time": "20s", "restart": {"on": ["time"]}},
}
TROUBLES = (
    a_job_of_higher_qos,
    scontrol_requeue,
    scancel_signal,
    a_time_limit,
    a_killed_rank,
    a_killed_agent,
    a_killed_lead,
    a_killed_slurmd,
    a_node_without_power,
    the_first_node_without_power,
    a_cut_link,
)


# --- the table ----------------------------------------------------------------------------------


@contextmanager
def some_place(cluster: Virtual) -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory(prefix="hr-") as name,
        place_of("real", Path(name), cluster) as place,
    ):
        yield place


def calm(cluster: Virtual, corpus: Path) -> dict[int, float]:
    """Step -> loss when nothing happens."""
    with some_place(cluster) as place:
        return Training(place, corpus, paced=False).end()


def often(
    trouble: Trouble, times: int, cluster: Virtual, corpus: Path, undisturbed: dict[int, float]
) -> Iterator[Recovery]:
    """Each time in a new place. The losses are compared."""
    for _ in range(times):
        with some_place(cluster) as place:
            found = recover(trouble, cluster, place, corpus)
        require_same(found, undisturbed)
        yield found


def require_same(found: Recovery, undisturbed: dict[int, float]) -> None:
    assert found.losses[STEPS] == undisturbed[STEPS]
    assert found.losses.items() <= undisturbed.items(), "what was written before the last second"
    assert found.repeated <= EVERY
    assert len(found.requeues) <= 1


def row(name: str, found: list[Recovery]) -> str:
    seconds = sorted(one.recovery_s for one in found)
    middle, most = statistics.median(seconds), max(one.repeated for one in found)
    requeued = sorted({", ".join(one.requeues) or "no" for one in found})
    span = f"{middle:.0f} ({seconds[0]:.0f}-{seconds[-1]:.0f})"
    words = name.replace("_", " ")
    return f"| {words} | {len(found)} | {span} | {most} | {', '.join(requeued)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds to recover, as a table.")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--proctrack", default="cgroup")
    parser.add_argument("--only", nargs="*", default=[one.__name__ for one in TROUBLES])
    options = parser.parse_args()
    print("| what happened | times | seconds: median (least-most) | steps repeated | requeued |")
    print("|---|---|---|---|---|")
    with no_cluster() as cluster, tempfile.TemporaryDirectory(prefix="hr-") as name:
        cluster("up", "--virtual", str(NODES), "--proctrack", options.proctrack)
        corpus = make_corpus(Path(name))
        undisturbed = calm(cluster, corpus)
        for trouble in TROUBLES:
            if trouble.__name__ in options.only:
                found = list(often(trouble, options.times, cluster, corpus, undisturbed))
                print(row(trouble.__name__, found), flush=True)


if __name__ == "__main__":
    main()
