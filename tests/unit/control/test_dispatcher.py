import asyncio
import os
import time
from collections.abc import Callable
from math import inf
from typing import cast

import pytest

from headrace.control.dispatcher import Dispatcher
from headrace.engines.local.engine import LocalEngine


class Engine:
    """Leads are pipes: readable, as a pidfd is, when the other end is closed."""

    def __init__(self) -> None:
        self.live: dict[str, int] = {}
        self.gates: dict[str, int] = {}
        self.collected: list[str] = []
        self.passes = 0
        self.wakes_s: list[float] = []
        self.on_pass: Callable[[int], None] = lambda _: None

    def start(self, run_id: str) -> None:
        self.live[run_id], self.gates[run_id] = os.pipe()

    def end(self, run_id: str) -> None:
        os.close(self.gates.pop(run_id))

    def leads(self) -> dict[str, int]:
        return dict(self.live)

    def collect(self, run_id: str) -> None:
        os.close(self.live.pop(run_id))
        self.collected.append(run_id)

    def schedule(self) -> float:
        self.passes += 1
        self.on_pass(self.passes)
        return self.wakes_s.pop(0) if self.wakes_s else inf

    def now_s(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        for descriptor in (*self.live.values(), *self.gates.values()):
            os.close(descriptor)


async def dispatch(engine: Engine, until: Callable[[], bool]) -> None:
    dispatcher = Dispatcher(cast("LocalEngine", engine))
    running = asyncio.create_task(dispatcher.run())
    async with asyncio.timeout(10):
        while not until() and not running.done():
            await dispatcher.changed(0.01)
    running.cancel()
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    dispatcher.close()
    if isinstance(ended, Exception):
        raise ended


def test_a_lead_that_is_gone_is_collected_and_a_scheduling_pass_follows() -> None:
    engine = Engine()
    engine.start("a-1")
    engine.on_pass = lambda number: engine.end("a-1") if number == 1 else None
    asyncio.run(dispatch(engine, lambda: engine.passes == 2))
    assert engine.collected == ["a-1"]


def test_a_lead_that_goes_during_a_scheduling_pass_is_collected_once() -> None:
    engine = Engine()
    engine.start("a-1")
    engine.start("b-2")

    def on_pass(number: int) -> None:
        if number == 2:
            engine.end("b-2")
            time.sleep(0.05)  # the loop hears of it while the engine still lists it
        if number == 1:
            engine.end("a-1")

    engine.on_pass = on_pass
    asyncio.run(dispatch(engine, lambda: engine.passes == 3))
    assert engine.collected == ["a-1", "b-2"]


def test_a_pass_comes_when_the_engine_asked_for_one() -> None:
    engine = Engine()
    engine.wakes_s = [engine.now_s() + 0.05]
    began_s = engine.now_s()
    asyncio.run(dispatch(engine, lambda: engine.passes == 2))
    assert engine.now_s() - began_s >= 0.05


def test_an_engine_that_fails_ends_the_loop_with_its_error() -> None:
    engine = Engine()

    def on_pass(_: int) -> None:
        raise OSError("disk full")

    engine.on_pass = on_pass
    with pytest.raises(OSError, match="disk full"):
        asyncio.run(dispatch(engine, lambda: False))
