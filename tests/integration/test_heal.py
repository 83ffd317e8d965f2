"""A training run under a real lead: its ranks are killed from outside, and it heals."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.launched import Launched
from tests.integration.site import until

from headrace import data
from headrace.core.events import AttemptEnded, Placed, RankStarted
from headrace.core.order import SessionSettings

PROGRAM = Path(__file__).with_name("train_program.py")
SETTINGS = SessionSettings(checkpoint_every_steps=2)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"line {n} of {n * n % 97}, the end.\n" for n in range(200)))
    out = tmp_path / "text.tokens"
    data.pack_text([text], out, window=16)
    return out


def said(run: Launched, attempt: int) -> list[dict[str, Any]]:
    """What the ranks printed at their end, in the order of their ranks."""
    lines = sorted(line.split(" o ") for line in run.log(attempt).splitlines() if " o {" in line)
    return [json.loads(text) for _, text in lines]


def test_three_ranks_killed_from_outside_end_as_if_nothing_had_happened(
    launch: Callable[..., Launched], corpus: Path
) -> None:
    command = (sys.executable, str(PROGRAM), str(corpus), "--steps", "8", "--noise")
    nodes = tuple(Placed(node=f"node-{n}", address="127.0.0.1", cpus=(0,)) for n in range(3))
    calm = launch(*command, placed=nodes, session=SETTINGS)
    assert calm.end(timeout_s=120.0).state == "COMPLETED"

    healed = launch(*command, "--pause-s", "0.3", placed=nodes, session=SETTINGS)
    until(lambda: list(healed.run.checkpoints.glob("step-*")), timeout_s=60.0)
    started = {event.rank: event.pid for event in healed.events_of(RankStarted)}
    os.kill(started[1], signal.SIGKILL)
    assert healed.end(timeout_s=120.0).state == "COMPLETED"

    ends = healed.events_of(AttemptEnded)
    assert [end.outcome for end in ends] == ["error", "completed"]
    assert len(said(calm, 0)) == 3
    assert said(healed, 1) == said(calm, 0)
