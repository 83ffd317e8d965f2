"""``headrace demo``: train a small language model on two nodes, kill a rank, watch it heal.

Everything lies in one folder, with a daemon of its own that ends with the demo.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.core.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.control.client import Client
    from headrace.core.rundir import RunDir

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_POLL_S = 0.5
_MODULE = "headrace.workloads.language"


class DemoFailed(HeadraceError):
    """A run of the demo did not end as it should."""

    code = "HR-CLI-004"

    def __init__(self, what: str, folder: Path) -> None:
        super().__init__(
            f"the demo failed: {what}",
            why="its runs should have completed with the same loss",
            remedy=f"look at the logs below {folder}",
        )


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where it works.")] = Path("headrace-demo"),
    steps: Annotated[int, typer.Option(min=20, help="Optimizer steps of each run.")] = 200,
) -> None:
    """Train twice on Python's own source files, once with a rank killed, and compare."""
    from headrace.control.client import Client
    from headrace.core.rundir import RunDir

    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hr-") as runtime:
        environ = dict(os.environ) | {
            "HEADRACE_RUNS": str(folder / "runs"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_RUNTIME_DIR": runtime,
        }
        _examine(environ)
        client = Client(environ, runs=folder / "runs")
        try:
            killed, whole = (_submit(client, environ, name, steps) for name in ("heals", "calm"))
            _say(f"queued {killed} and {whole}: 2 nodes x 1 rank each; the second one waits\n")
            _follow(client, killed, steps, kill_at=steps // 2)
            _follow(client, whole, steps, kill_at=None)
        finally:
            client.stop_daemon()
        _finish(RunDir(folder / "runs" / killed), RunDir(folder / "runs" / whole), folder)


def _say(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()


def _examine(environ: dict[str, str]) -> None:
    from headrace.diagnose.collect import collect
    from headrace.diagnose.doctor import doctor

    findings = doctor(collect(environ))
    _say(f"doctor: {len(findings)} findings; headrace doctor explains them")
    for finding in findings:
        _say(f"  {finding.severity}: {finding.what}")


def _submit(client: "Client", environ: dict[str, str], name: str, steps: int) -> str:
    from headrace.spec import make, to_yaml

    spec = make(
        name=name,
        command=(sys.executable, "-m", f"{_MODULE}.train", "--steps", str(steps)),
        nodes=2,
        ranks_per_node=1,
        checkpoint={"every": "20 steps"},
        cwd=Path.cwd(),
    )
    return client.submit(to_yaml(spec), environ).id


def _follow(client: "Client", run_id: str, steps: int, *, kill_at: int | None) -> None:
    """Show progress until the run has ended; kill rank 1 at step ``kill_at``."""
    from headrace.core.rundir import RunDir

    row = client.find(run_id)[0]
    run = RunDir(Path(row.run_dir))
    last = -1
    while not row.state.is_final:
        time.sleep(_POLL_S)
        row = client.find(run_id)[0]
        step, loss = _newest_step(run)
        if step // 20 > last // 20:
            _say(
                f"{run_id} step {step:>4} of {steps}"
                + ("" if loss is None else f"  loss {loss:.3f}")
            )
        last = max(step, last)
        if kill_at is not None and step >= kill_at:
            kill_at = None
            pid = _pid_of_rank(run, 1)
            os.kill(pid, signal.SIGKILL)
            _say(f"{run_id} rank 1 (pid {pid}) was killed with SIGKILL")
    attempts = "1 attempt" if row.attempts == 1 else f"{row.attempts} attempts"
    _say(f"{run_id} {row.state}, {attempts}: {row.reason}\n")
    if row.state != "COMPLETED":
        raise DemoFailed(f"{run_id} ended {row.state}: {row.reason}", run.root)


def _newest_step(run: "RunDir") -> tuple[int, float | None]:
    from headrace.core.events import StepMetric, decode_metric
    from headrace.core.rundir import read_lines

    newest: tuple[int, float | None] = (-1, None)
    for path in run.root.glob("attempts/*/nodes/*/metrics.jsonl"):
        for line in reversed(read_lines(path)):
            metric = decode_metric(line)
            if isinstance(metric, StepMetric):
                newest = max(newest, (metric.step, metric.values.get("loss")), key=_first)
                break
    return newest


def _first(pair: tuple[int, float | None]) -> int:
    return pair[0]


def _pid_of_rank(run: "RunDir", rank: int) -> int:
    from headrace.core.events import RankStarted
    from headrace.core.rundir import merged_events

    started = [entry.event for _, entry in merged_events(run)]
    return [e.pid for e in started if isinstance(e, RankStarted) and e.rank == rank][-1]


def _final_loss(run: "RunDir") -> float | None:
    from headrace.core.events import SessionEnded
    from headrace.core.rundir import merged_events

    ends = [entry.event for _, entry in merged_events(run)]
    return [e.loss for e in ends if isinstance(e, SessionEnded) and e.rank == 0][-1]


def _finish(killed: "RunDir", whole: "RunDir", folder: Path) -> None:
    """Sample, report, comparison."""
    from headrace.core.process import run as run_command
    from headrace.data import open as open_data
    from headrace.data import unigram_entropy
    from headrace.monitor.write import write_report

    sample = [sys.executable, "-m", f"{_MODULE}.generate", str(killed.root), "--tokens", "160"]
    _say("what the model writes after 'def ':\n")
    _say("\n".join(f"    {line}" for line in run_command(sample, timeout_s=120).splitlines()))
    written = write_report(killed.root)
    from rich.console import Console

    from headrace.cli.report import print_report

    _say("")
    print_report(written.report, Console(width=None if sys.stdout.isatty() else 80))
    _say(f"\nreport: {written.html}\npicture: {written.png}")
    corpus = next((folder / "cache").rglob("*.tokens"))
    entropy = unigram_entropy(open_data(corpus))
    healed, calm = _final_loss(killed), _final_loss(whole)
    _say(f"\nunigram entropy of the corpus    {entropy!r} nats/byte")
    _say(f"final loss, rank 1 killed        {healed!r} nats/byte")
    _say(f"final loss, not disturbed        {calm!r} nats/byte")
    _check(healed == calm, lambda: f"the losses differ: {healed!r} and {calm!r}", folder)
    learned = healed is not None and healed < entropy
    _check(learned, lambda: f"the loss {healed!r} is not below {entropy!r}", folder)
    _say("equal to the last bit, and below the entropy")


def _check(holds: bool, what: Callable[[], str], folder: Path) -> None:
    if not holds:
        raise DemoFailed(what(), folder)
