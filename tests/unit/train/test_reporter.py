import io
import socket

from headrace.core.events import Heartbeat, SessionEnded, StopAgreed, decode_up
from headrace.train.channel import Channel
from headrace.train.reporter import Reporter, StepRecord


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def record(step: int) -> StepRecord:
    return StepRecord(
        step=step,
        time_s=1000.0 + step,
        samples=8 * step,
        step_s=0.25,
        seconds={"data": 0.25},
        values={"loss": 1 / step},
    )


def terminal(*, rank: int = 0) -> tuple[Reporter, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return Reporter(rank=rank, channel=None, stream=stream, clock=clock), stream, clock


def test_without_an_agent_a_line_is_printed_at_most_once_a_second() -> None:
    reporter, stream, clock = terminal()
    reporter.total_steps = 30
    for step in range(1, 10):
        clock.now_s = step * 0.25
        reporter.step(record(step))
    assert stream.getvalue().splitlines() == [
        "headrace: step 1/30  loss 1  4 steps/s",
        "headrace: step 5/30  loss 0.2  4 steps/s",
        "headrace: step 9/30  loss 0.1111  4 steps/s",
    ]


def test_only_the_first_rank_prints() -> None:
    reporter, stream, _ = terminal(rank=1)
    reporter.step(record(1))
    reporter.say(StopAgreed(rank=1, step=1))
    assert stream.getvalue() == ""


def test_a_stop_is_told_on_the_terminal() -> None:
    reporter, stream, _ = terminal()
    reporter.say(StopAgreed(rank=0, step=4))
    assert stream.getvalue() == "headrace: stopping after step 4\n"


def test_an_agent_gets_every_step_in_two_heartbeats_a_second_and_the_end_last() -> None:
    agent, ours = socket.socketpair()
    clock = Clock()
    channel = Channel(ours, on_stop=lambda _: None)
    reporter = Reporter(rank=0, channel=channel, stream=None, clock=clock)
    for step in range(1, 9):
        clock.now_s = step * 0.125
        reporter.step(record(step))
    ended = SessionEnded(rank=0, step=8, samples=64, loss=1 / 8)
    reporter.end(ended)
    reporter.close()
    with agent.makefile("rb") as file:
        heard = [decode_up(line) for line in file]
    agent.close()
    beats = [message for message in heard if isinstance(message, Heartbeat)]
    assert [[metric.step for metric in beat.steps] for beat in beats] == [
        [1],
        [2, 3, 4, 5],
        [6, 7, 8],
    ]
    assert beats[0].steps[0].values == {"loss": 1.0}
    assert heard[-1] == ended
