"""Sessions of one, two and three real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integration import ranks
from tests.integration.ranks import finish, free_port

from headrace import data

PROGRAM = Path(__file__).with_name("train_program.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    text = folder / "text.txt"
    text.write_text("".join(f"line {n} of {n * n % 97}, the end.\n" for n in range(200)))
    out = folder / "text.tokens"
    data.pack_text([text], out, window=16)
    return out


def start(
    argv: Sequence[object],
    *,
    world: int,
    run_dir: Path,
    session: Mapping[str, object] | None = None,
    program: Path = PROGRAM,
) -> list[subprocess.Popen[str]]:
    return ranks.start(program, argv, world=world, run_dir=run_dir, session=session)


def run(
    argv: Sequence[object],
    *,
    world: int,
    run_dir: Path,
    session: Mapping[str, object] | None = None,
) -> list[dict[str, Any]]:
    return finish(start(argv, world=world, run_dir=run_dir, session=session))


@pytest.mark.parametrize("world", [2, 3])
def test_killed_and_resumed_is_equal_to_undisturbed_to_the_last_bit(
    corpus: Path, tmp_path: Path, world: int
) -> None:
    argv = [corpus, "--steps", 7, "--noise"]
    every = {"checkpoint_every_steps": 2}
    undisturbed = run(argv, world=world, run_dir=tmp_path / "undisturbed", session=every)
    killed = start([*argv, "--kill-at", 5], world=world, run_dir=tmp_path / "killed", session=every)
    assert killed[0].wait(timeout=120) == -signal.SIGKILL
    for process in killed:
        process.kill()
        process.communicate()
    assert list((tmp_path / "killed" / "checkpoints").glob("step-*"))
    resumed = run(argv, world=world, run_dir=tmp_path / "killed", session=every)
    assert resumed == undisturbed


@pytest.mark.parametrize(
    "options",
    [
        ["--global-batch", 2],
        ["--global-batch", 11, "--masked", "--micro-batch", 2],
        ["--global-batch", 11, "--masked", "--micro-batch", 2, "--manual"],
    ],
    ids=["empty-share", "masked-micro-batches", "by-hand"],
)
def test_three_ranks_find_the_gradient_of_one(
    corpus: Path, tmp_path: Path, options: list[object]
) -> None:
    started = [
        start(
            [corpus, "--steps", 1, "--gradients", tmp_path / f"{world}.pt", *options],
            world=world,
            run_dir=tmp_path / str(world),
        )
        for world in (1, 3)
    ]
    for processes in started:
        finish(processes)
    one, three = (torch.load(tmp_path / f"{world}.pt", weights_only=True) for world in (1, 3))
    torch.testing.assert_close(three["loss"], one["loss"], rtol=1e-6, atol=0.0)
    for name, gradient in one["gradients"].items():
        rounding = 1e-6 * float(gradient.abs().max())
        torch.testing.assert_close(three["gradients"][name], gradient, rtol=0.0, atol=rounding)


def test_two_ranks_end_with_the_loss_of_one(corpus: Path, tmp_path: Path) -> None:
    argv = [corpus, "--steps", 6, "--evaluate"]
    (one,) = run(argv, world=1, run_dir=tmp_path / "1")
    two = run(argv, world=2, run_dir=tmp_path / "2")
    assert float(two[0]["loss"]) == pytest.approx(float(one["loss"]), rel=1e-5)
    assert two[0]["mean"] == two[1]["mean"]
    assert two[0]["mean"]["loss"] == pytest.approx(one["mean"]["loss"], rel=1e-5)
    assert one["complete"]
    assert two[0]["complete"]


def test_a_signal_to_one_rank_stops_all_at_the_same_saved_step(
    corpus: Path, tmp_path: Path
) -> None:
    argv = [corpus, "--steps", 100_000, "--pause-s", 0.01]
    processes = start(argv, world=2, run_dir=tmp_path)
    while not (tmp_path / "started").exists():
        assert processes[0].poll() is None
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    first, second = finish(processes)
    assert first["stopped"]
    assert second["stopped"]
    assert 0 < first["step"] == second["step"] < 100_000
    assert (tmp_path / "checkpoints" / f"step-{first['step']:09d}").is_dir()


def test_a_session_runs_under_torchrun(corpus: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "--master-port", str(free_port()), str(PROGRAM), str(corpus), "--steps", "2"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["rank"] for line in said) == [0, 1]
    assert (tmp_path / "headrace-runs" / "train_program" / "checkpoints").is_dir()


def test_a_finished_run_started_again_has_nothing_left_to_do(corpus: Path, tmp_path: Path) -> None:
    argv = [corpus, "--steps", 3]
    first = run(argv, world=1, run_dir=tmp_path)
    assert run(argv, world=1, run_dir=tmp_path) == first
