"""What befalls a training run on a real Slurm, and what it costs.

A small language model trains on 2 of the 3 nodes of a lane. At a chosen step something happens to
it. It must end with the losses of a run that nothing happened to.
``python -m tests.contract.recovery --times 10`` prints a table of what it cost.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.contract.lanes import NODES, Lane, Traffic, cluster_of_lanes
from tests.contract.places import AGAIN_S, Place, place_of
from tests.contract.training import EVERY, STEPS, Training, agent_of, make_corpus
from tests.integration.site import until

from headrace.core.events import Requeued, StopAsked
from headrace.core.process import marked
from headrace.core.records import Record

TROUBLE_AT = 12
BUSY_S = 90.0


class Recovery(Record, frozen=True, kw_only=True):
    """``recovery_s``: from the trouble to the end of the first step that was never done before.
    ``repeated``: steps that were done twice. ``requeues``: their reasons. ``account``: all that the
    run left to read."""

    recovery_s: float
    repeated: int
    requeues: tuple[str, ...]
    attempts: int
    losses: dict[int, float]
    account: str


Trouble = Callable[[Lane, Training], AbstractContextManager[float]]


@contextmanager
def some_place(lane: Lane) -> Iterator[Place]:
    """Gone when all of the job is: its last process writes there after the run has ended."""
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        try:
            with place_of("real", Path(name), lane.cluster) as place:
                yield place
        finally:
            lane.await_idle()


def recover(trouble: str, lane: Lane, corpus: Path, *, ranks: int) -> Recovery:
    """Train, have the trouble happen, and wait for the end. ``trouble`` says when it happened.

    A failure tells all that the run left to read.
    """
    with some_place(lane) as place:
        fields = FIELDS.get(trouble, {})
        run = Training(place, corpus, ranks=ranks, partition=lane.partition, **fields)
        try:
            return _recovery(trouble, lane, run)
        except BaseException as error:
            error.add_note(_account(trouble, lane, run))
            raise


def _account(trouble: str, lane: Lane, run: Training) -> str:
    return f"{trouble} in {lane.partition}, job {run.job}:\n{run.account()}"


def _recovery(trouble: str, lane: Lane, run: Training) -> Recovery:
    until(lambda: run.furthest() >= TROUBLE_AT, BUSY_S)
    with TROUBLES[trouble](lane, run) as at_s:
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
        account=_account(trouble, lane, run),
    )


def calm(lane: Lane, corpus: Path, *, ranks: int) -> dict[int, float]:
    """Step -> loss when nothing happens."""
    with some_place(lane) as place:
        return Training(place, corpus, ranks=ranks, paced=False, partition=lane.partition).end()


def require_same(found: Recovery, undisturbed: dict[int, float]) -> None:
    """Every attempt of a run has its time limit: that may come again on a slow machine."""
    try:
        assert found.losses[STEPS] == undisturbed[STEPS]
        assert found.losses.items() <= undisturbed.items(), "but for the last second before a kill"
        assert found.repeated <= EVERY
        assert len(found.requeues) <= 1 or set(found.requeues) == {"time"}, found.requeues
    except AssertionError as error:
        error.add_note(found.account)
        raise


# --- troubles -----------------------------------------------------------------------------------


@contextmanager
def a_job_of_higher_qos(lane: Lane, run: Training) -> Iterator[float]:
    at_s = time.time()
    words = (f"--partition={lane.partition}", f"-N{NODES}", "--exclusive", "-o/dev/null")
    lane.cluster.slurm("sbatch", "--qos=high", *words, "--wrap=true")
    yield at_s


@contextmanager
def scontrol_requeue(lane: Lane, run: Training) -> Iterator[float]:
    at_s = time.time()
    lane.cluster.slurm("scontrol", "requeue", run.job)
    yield at_s


@contextmanager
def scancel_signal(lane: Lane, run: Training) -> Iterator[float]:
    at_s = time.time()
    lane.cluster.slurm("scancel", "--signal=USR2", run.job)
    yield at_s


@contextmanager
def a_time_limit(lane: Lane, run: Training) -> Iterator[float]:
    until(lambda: run.events_of(StopAsked), BUSY_S)
    yield min(time_s for time_s, _ in run.events_of(StopAsked))


@contextmanager
def a_killed_rank(lane: Lane, run: Training) -> Iterator[float]:
    os.kill(run.rank(1), signal.SIGKILL)
    yield time.time()


@contextmanager
def a_killed_agent(lane: Lane, run: Training) -> Iterator[float]:
    os.kill(agent_of(run.root, run.nodes()[1]), signal.SIGKILL)
    yield time.time()


@contextmanager
def a_killed_lead(lane: Lane, run: Training) -> Iterator[float]:
    pids = marked("HEADRACE_RUN_DIR", str(run.root))
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    os.kill(next(pid for pid in pids if b"headrace.launch.lead" in words[pid]), signal.SIGKILL)
    yield time.time()


@contextmanager
def a_killed_slurmd(lane: Lane, run: Training) -> Iterator[float]:
    """Its ranks live on, but Slurm gives the node up."""
    node = run.nodes()[1]
    lane.cluster("exec", node, "--", "pkill", "-9", "-x", "slurmd")
    at_s = time.time()
    with lane.back(node):
        yield at_s


@contextmanager
def a_node_without_power(lane: Lane, run: Training) -> Iterator[float]:
    with without_power(lane, run.nodes()[1]) as at_s:
        yield at_s


@contextmanager
def the_first_node_without_power(lane: Lane, run: Training) -> Iterator[float]:
    with without_power(lane, run.nodes()[0]) as at_s:
        yield at_s


@contextmanager
def a_cut_link(lane: Lane, run: Training) -> Iterator[float]:
    node = run.nodes()[1]
    lane.cluster("cut", node)
    at_s = time.time()
    with lane.back(node):
        yield at_s


@contextmanager
def without_power(lane: Lane, node: str) -> Iterator[float]:
    lane.cluster("kill-node", node)
    at_s = time.time()
    with lane.back(node):
        yield at_s


# Slurm's word of a time limit may be a minute early: two minutes of Slurm's leave one to end in.
FIELDS: dict[str, dict[str, Any]] = {
    "a_job_of_higher_qos": {"qos": "low"},
    "a_time_limit": {"time": "70s", "restart": {"on": ["time"]}},
}
TROUBLES: dict[str, Trouble] = {
    one.__name__: one
    for one in (
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
}


# --- the table ----------------------------------------------------------------------------------


class Campaign:
    """Every trouble so many times, and what came of each."""

    def __init__(self, proctrack: str, times: int, lanes: int) -> None:
        self.title = f"`proctrack/{proctrack}`, {lanes} side by side"
        self.proctrack, self.times, self.lanes = proctrack, times, lanes
        self.found: dict[str, list[Recovery]] = {}
        self.failed: dict[str, int] = {}

    def run(self, troubles: list[str], corpus: Path, ranks: int) -> Iterator[str]:
        """Yield the table after each recovery. Rounds, so that those who wait and those who work
        are beside each other."""
        with cluster_of_lanes(self.lanes, self.proctrack) as lanes, Traffic(lanes) as traffic:
            undisturbed = calm(lanes[0], corpus, ranks=ranks)
            going: dict[Future[Recovery], str] = {
                traffic.submit(partial(recover, one, corpus=corpus, ranks=ranks)): one
                for _ in range(self.times)
                for one in troubles
            }
            for future in as_completed(going):
                name = going[future]
                try:
                    require_same(future.result(), undisturbed)
                    self.found.setdefault(name, []).append(future.result())
                except Exception:
                    self.failed[name] = self.failed.get(name, 0) + 1
                    traceback.print_exc()
                yield self.table(troubles)

    def table(self, troubles: list[str]) -> str:
        lines = [
            f"{self.title}:\n",
            "| what happened | well | badly | seconds: median (least-most) | repeated | requeued |",
            "|---|---|---|---|---|---|",
            *(row(name, self.found.get(name, []), self.failed.get(name, 0)) for name in troubles),
        ]
        return "\n".join(lines) + "\n"


def row(name: str, found: list[Recovery], failed: int) -> str:
    seconds = sorted(one.recovery_s for one in found) or [float("nan")]
    span = f"{statistics.median(seconds):.0f} ({seconds[0]:.0f}-{seconds[-1]:.0f})"
    most = max((one.repeated for one in found), default=0)
    requeued = ", ".join(sorted({", ".join(one.requeues) or "no" for one in found}))
    words = name.replace("_", " ")
    return f"| {words} | {len(found)} | {failed} | {span} | {most} | {requeued} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Seconds to recover, as a table.")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--lanes", type=int, default=4, help="recoveries side by side")
    parser.add_argument("--ranks", type=int, default=2, help="of a node")
    parser.add_argument("--proctrack", nargs="*", default=["cgroup", "linuxproc"])
    parser.add_argument("--only", nargs="*", choices=TROUBLES, default=list(TROUBLES))
    parser.add_argument("--out", type=Path, help="write the tables there, too, as they grow")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("skipped: a virtual cluster needs root")
        return 0
    troubles = [one for one in TROUBLES if one in options.only]
    done, failed = "", 0
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        corpus = make_corpus(Path(name))
        for proctrack in options.proctrack:
            campaign, table = Campaign(proctrack, options.times, options.lanes), ""
            for table in campaign.run(troubles, corpus, options.ranks):
                if options.out is not None:
                    options.out.write_text(done + table)
            print(table, flush=True)
            done += table + "\n"
            failed += sum(campaign.failed.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
