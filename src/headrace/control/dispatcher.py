"""Runs the engine: all its calls on one thread, its leads watched, a scheduling pass after changes.

The event loop never waits for a disk, and the engine needs no locks. Whatever the engine raises
that is no answer to a caller ends the daemon: the next command starts it again, and it rebuilds
its view from the run directories.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from typing import ParamSpec, TypeVar

from headrace.engines.local.engine import LocalEngine

P = ParamSpec("P")
T = TypeVar("T")


class Dispatcher:
    """Lives in one event loop. ``run`` until it is cancelled or fails."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "engine")
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._gone: set[str] = set()
        self._watched: dict[str, int] = {}
        self._used_at_s = 0.0
        self.closing = False

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the engine on its thread, for somebody who asked."""
        self._touch()
        return await self._call(function, *args, **kwargs)

    def _touch(self) -> None:
        self._used_at_s = asyncio.get_running_loop().time()

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(function, *args, **kwargs))

    async def act(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As ``call``, for what may change the queue: a scheduling pass follows."""
        try:
            return await self.call(function, *args, **kwargs)
        finally:
            self._wake.set()

    def wake(self) -> None:
        """Ask for a scheduling pass."""
        self._wake.set()

    async def changed(self, timeout_s: float) -> None:
        """Return when something has changed, or after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return

    async def run(self) -> None:
        """Schedule after every change, collect leads that are gone."""
        self._wake.set()
        wake_s = inf
        try:
            while True:
                await self._woken(wake_s)
                self._wake.clear()
                while self._gone:
                    await self._call(self._engine.collect, self._gone.pop())
                wake_s = await self._call(self._engine.schedule)
                await self._watch()
                self.notify()
        finally:
            for descriptor in self._watched.values():
                asyncio.get_running_loop().remove_reader(descriptor)
            self._watched.clear()

    async def _woken(self, at_s: float) -> None:
        """Return when something happened, or at ``at_s`` on the engine's clock."""
        timeout_s = None if at_s == inf else max(0.0, at_s - self._engine.now_s())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout_s)

    async def _watch(self) -> None:
        """Watch each lead once: also one that has just gone is the engine's until collected."""
        loop = asyncio.get_running_loop()
        for run_id, descriptor in (await self._call(self._engine.leads)).items():
            if run_id not in self._watched and run_id not in self._gone:
                self._watched[run_id] = descriptor
                loop.add_reader(descriptor, self._lead_gone, run_id)

    def _lead_gone(self, run_id: str) -> None:
        asyncio.get_running_loop().remove_reader(self._watched.pop(run_id))
        self._gone.add(run_id)
        self._wake.set()

    async def idle(self, idle_s: float) -> None:
        """Return once nobody has asked anything, and no run has waited or run, for ``idle_s``."""
        loop = asyncio.get_running_loop()
        self._touch()
        while (left_s := self._used_at_s + idle_s - loop.time()) > 0:
            await asyncio.sleep(left_s)
            if await self._call(self._engine.busy):
                self._touch()

    def notify(self) -> None:
        """Wake whoever waits in ``changed``."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """After ``run`` has ended."""
        self._thread.submit(self._engine.close).result()
        self._thread.shutdown()
