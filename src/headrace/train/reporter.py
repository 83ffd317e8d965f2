"""What a rank says while it trains: to its agent, or to the terminal when there is none.

Steps are kept as plain values and become JSON only when a heartbeat is due, at most twice a second.
A heartbeat that the socket does not take is dropped and its steps ride with the next; all other
messages are kept until they have gone out. Nothing here waits but ``close``.
"""

from collections import deque
from collections.abc import Callable
from typing import TextIO

from headrace.core.events import (
    CheckpointFailed,
    CheckpointSaved,
    Heartbeat,
    Noted,
    Restored,
    SessionEnded,
    StepMetric,
    StopAgreed,
    Up,
)
from headrace.train.channel import Channel
from headrace.train.pending import Logged, is_ready, read

BEAT_S = 0.5
LINE_S = 1.0
KEPT_STEPS = 4096  # when the agent does not read for long, the oldest are forgotten
PATIENCE_S = 5.0


class StepRecord:
    """One finished step; ``values`` may still be on their way from the device."""

    __slots__ = ("samples", "seconds", "step", "step_s", "time_s", "values")

    def __init__(
        self,
        *,
        step: int,
        time_s: float,
        samples: int,
        step_s: float,
        seconds: dict[str, float],
        values: dict[str, Logged],
    ) -> None:
        self.step = step
        self.time_s = time_s
        self.samples = samples
        self.step_s = step_s
        self.seconds = seconds
        self.values = values

    def is_ready(self) -> bool:
        return all(is_ready(value) for value in self.values.values())

    def metric(self, rank: int) -> StepMetric:
        return StepMetric(
            rank=rank,
            step=self.step,
            time_s=self.time_s,
            samples=self.samples,
            step_s=self.step_s,
            seconds=self.seconds,
            values={name: read(value) for name, value in self.values.items()},
        )


class Reporter:
    """``stream`` is written to only without a channel and only by rank 0."""

    def __init__(
        self,
        *,
        rank: int,
        channel: Channel | None,
        stream: TextIO | None,
        clock: Callable[[], float],
    ) -> None:
        self._rank = rank
        self._channel = channel
        self._stream = stream if channel is None and rank == 0 else None
        self._clock = clock
        self._last_s = -1e9
        self._steps: deque[StepRecord] = deque(maxlen=KEPT_STEPS)
        self.total_steps: int | None = None

    def step(self, record: StepRecord) -> None:
        self._steps.append(record)
        self.beat(record.step)

    def beat(self, step: int) -> None:
        """Say that this rank is alive, if it is time to."""
        now_s = self._clock()
        if self._channel is not None:
            if now_s - self._last_s >= BEAT_S:
                self._last_s = now_s
                self._heartbeat(step)
        elif self._stream is None:
            self._steps.clear()
        elif now_s - self._last_s >= LINE_S and self._steps:
            self._last_s = now_s
            self._line()

    def say(self, message: Up) -> None:
        if self._channel is not None:
            self._channel.queue(message)
        elif (text := _text(message)) is not None:
            self._write(text)

    def end(self, message: SessionEnded) -> None:
        """The last steps, then the last message."""
        if self._channel is not None:
            self._heartbeat(message.step, wait=True)
            self._channel.queue(message)
        elif self._stream is not None and self._steps:
            self._line()

    def close(self, *, patience_s: float | None = None) -> None:
        """Wait a few seconds for an agent that is slow to read, then close the channel."""
        if self._channel is not None:
            self._channel.close(patience_s=PATIENCE_S if patience_s is None else patience_s)

    def _heartbeat(self, step: int, *, wait: bool = False) -> None:
        assert self._channel is not None
        ready = []
        for record in self._steps:
            if not (wait or record.is_ready()):
                break
            ready.append(record.metric(self._rank))
        beat = Heartbeat(rank=self._rank, step=step, steps=tuple(ready))
        if wait:
            self._channel.queue(beat)
        elif not self._channel.offer(beat):
            return
        for _ in ready:
            self._steps.popleft()

    def _line(self) -> None:
        last = self._steps[-1]
        whole_s = sum(record.step_s for record in self._steps)
        speed = f"  {len(self._steps) / whole_s:.3g} steps/s" if whole_s > 0 else ""
        values = "".join(f"  {name} {read(value):.4g}" for name, value in last.values.items())
        of = f"/{self.total_steps}" if self.total_steps is not None else ""
        self._steps.clear()
        self._write(f"step {last.step}{of}{values}{speed}")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"headrace: {text}\n")
            self._stream.flush()


def _text(message: Up) -> str | None:
    match message:
        case CheckpointSaved():
            return f"saved step {message.step} in {message.durable_s:.2f} s: {message.path}"
        case CheckpointFailed():
            return f"checkpoint of step {message.step} was not saved: {message.detail}"
        case Restored():
            return f"restored step {message.step} from {message.path}"
        case StopAgreed():
            return f"stopping after step {message.step}"
        case Noted():
            return f"{message.level}: {message.text}"
        case _:
            return None
