"""A session and its agent: the test holds the agent's end of the socket."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import data
from headrace.core.events import (
    CheckpointSaved,
    DumpStacks,
    Heartbeat,
    PhaseChanged,
    SessionEnded,
    StepMetric,
    StopAgreed,
    StopBy,
    Up,
    decode_up,
)
from headrace.core.records import encode

PROGRAM = Path(__file__).with_name("train_program.py")
CAUSES = {"data", "sync", "forward_backward", "optimizer", "log"}


class Agent:
    """Starts one rank with a channel and hears it out."""

    def __init__(self, argv: list[object], run_dir: Path) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        self.heard: list[Up] = []
        self._pending = b""
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "HEADRACE_RUN_DIR": str(run_dir),
            "HEADRACE_CHANNEL_FD": str(theirs.fileno()),
        }
        self.rank = subprocess.Popen(
            [sys.executable, str(PROGRAM), *map(str, argv)],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()

    def listen(self) -> Iterator[Up]:
        """Messages until the rank closes its end."""
        while received := self.socket.recv(1 << 16):
            *lines, self._pending = (self._pending + received).split(b"\n")
            for line in lines:
                self.heard.append(decode_up(line))
                yield self.heard[-1]

    def hear(self, kind: type[Up]) -> Up:
        return next(message for message in self.listen() if isinstance(message, kind))

    def end(self) -> dict[str, object]:
        """Hear the rest; the rank must end well and say nothing on stderr."""
        for _ in self.listen():
            pass
        self.socket.close()
        out, err = self.rank.communicate(timeout=60)
        assert (self.rank.returncode, err) == (0, "")
        said: dict[str, object] = json.loads(out)
        return said


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    text = folder / "text.txt"
    text.write_text("the same line again\n" * 100)
    out = folder / "text.tokens"
    data.pack_text([text], out, window=16)
    return out


def test_an_agent_hears_phases_every_step_the_checkpoint_and_the_exact_end(
    corpus: Path, tmp_path: Path
) -> None:
    agent = Agent([corpus, "--steps", 5, "--evaluate"], tmp_path)
    said = agent.end()
    phases = [message.phase for message in agent.heard if isinstance(message, PhaseChanged)]
    assert phases == [
        *("init", "restore", "init", "steps", "after", "evaluate", "after", "checkpoint", "after")
    ]
    metrics = [
        metric
        for message in agent.heard
        if isinstance(message, Heartbeat)
        for metric in message.steps
    ]
    assert [metric.step for metric in metrics] == [1, 2, 3, 4, 5]
    assert [metric.samples for metric in metrics] == [8, 16, 24, 32, 40]
    assert all(metric.seconds.keys() >= CAUSES for metric in metrics)
    assert all(adds_up(metric) for metric in metrics)
    assert [m.step for m in agent.heard if isinstance(m, CheckpointSaved)] == [5]
    assert agent.heard[-1] == SessionEnded(
        rank=0, step=5, samples=40, loss=float(str(said["loss"]))
    )


def adds_up(metric: StepMetric) -> bool:
    return sum(metric.seconds.values()) == pytest.approx(metric.step_s)


def test_stop_by_from_the_agent_is_agreed_on_saved_and_left(corpus: Path, tmp_path: Path) -> None:
    agent = Agent([corpus, "--steps", 100_000, "--pause-s", 0.01], tmp_path)
    agent.hear(Heartbeat)
    agent.socket.sendall(encode(StopBy(reason="cancel", deadline_s=time.time() + 60)) + b"\n")
    said = agent.end()
    agreed = next(message for message in agent.heard if isinstance(message, StopAgreed))
    assert said["stopped"]
    assert said["step"] == agreed.step
    assert [m.step for m in agent.heard if isinstance(m, CheckpointSaved)] == [agreed.step]


def test_stacks_are_dumped_while_the_main_thread_hangs(corpus: Path, tmp_path: Path) -> None:
    agent = Agent([corpus, "--steps", 1, "--pause-s", 3], tmp_path)
    while not (tmp_path / "started").exists():
        assert agent.rank.poll() is None
        time.sleep(0.01)
    stacks = tmp_path / "stacks" / "0.txt"
    agent.socket.sendall(encode(DumpStacks(path=str(stacks))) + b"\n")
    agent.end()
    assert "train_program.py" in stacks.read_text()


def test_a_rank_whose_agent_is_gone_trains_on(corpus: Path, tmp_path: Path) -> None:
    agent = Agent([corpus, "--steps", 4], tmp_path)
    agent.socket.close()
    out, err = agent.rank.communicate(timeout=60)
    assert (agent.rank.returncode, err) == (0, "")
    assert json.loads(out)["step"] == 4
