"""An elastic training run beside others, with the real daemon."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.site import Site, until

from headrace.core.events import StepMetric, decode_metric
from headrace.core.rundir import read_lines

_TRAIN = [sys.executable, "-m", "headrace.workloads.language.train"]
_SMALL = ["--width", "64", "--layers", "2", "--global-batch", "8", "--steps", "400"]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("s")
    config = folder / "config" / "headrace"
    config.mkdir(parents=True)
    text = '[local]\nvirtual_nodes = 2\n\n[elastic]\nrest = "4s"\ngrace = "30s"\n'
    (config / "site.toml").write_text(text)
    made = Site(folder)
    made.environment["XDG_CACHE_HOME"] = str(folder / "cache")
    yield made
    for run_id in ("still-1", "moves-2", "guest-3"):
        made("cancel", "--now", run_id, check=False)
    made("daemon", "stop", check=False)


def losses(root: Path) -> dict[int, float]:
    """Step -> loss as rank 0 logged it last."""
    found: dict[int, tuple[float, float]] = {}
    for path in root.glob("attempts/*/nodes/*/metrics.jsonl"):
        for line in read_lines(path):
            metric = decode_metric(line)
            if isinstance(metric, StepMetric) and metric.rank == 0:
                loss = metric.values["loss"]
                assert loss is not None
                found[metric.step] = max(found.get(metric.step, (0.0, 0.0)), (metric.time_s, loss))
    return {step: loss for step, (_, loss) in sorted(found.items())}


@pytest.mark.slow
def test_an_elastic_run_shrinks_for_a_guest_and_grows_back_on_the_same_loss_curve(
    site: Site,
) -> None:
    site("run", "--name", "still", "--nodes", "2", "--wait", "--", *_TRAIN, *_SMALL)
    site("run", "--name", "moves", "--nodes", "1-2", "--", *_TRAIN, *_SMALL)
    until(lambda: len(losses(site.runs / "moves-2")) > 5, 60.0)
    time.sleep(4.0)  # the rest of a run that has just started
    site("run", "--name", "guest", "--time", "2m", "--wait", "--", "sleep", "5")
    until(lambda: site.status("moves-2")["state"] == "COMPLETED", 200.0)
    widths = [attempt["world_size"] for attempt in site.status("moves-2")["attempts"]]
    assert widths == [2, 1, 2]
    moved, still = losses(site.runs / "moves-2"), losses(site.runs / "still-1")
    assert list(moved) == list(still)
    assert list(moved.values()) == pytest.approx(list(still.values()), rel=1e-4)
