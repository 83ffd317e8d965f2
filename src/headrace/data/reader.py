"""Threads that fill batches ahead of whoever takes them, in order and in bounded memory.

Each thread takes the next share of the plan, fills it from start to end, and hands it in under its
number. What a thread meets is raised where that batch would have come out; the batches before it
still arrive. Knows nothing of ``Batches``, so that an iterator that nobody holds any more stops its
threads.

They meet in ``SimpleQueue``: it wakes one thread by one call, where a condition takes the
interpreter's lock back and forth, and its ``put`` may be called from the garbage collector at any
place, also within itself.
"""

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Done = TypeVar("Done")

WAIT_S = 3.0
"""For threads that were asked to end. One that reads from a server that has died may never do so.
"""


class Reader(Generic[Task, Done]):
    """``plan`` is advanced by one thread at a time; ``work`` runs in all of them at once.

    At most ``ahead`` results wait to be taken or are being made. The threads start with the first
    ``take``; with ``threads`` 0 there are none, and ``take`` does the work. One consumer at a time.
    """

    def __init__(
        self,
        plan: Iterator[Task],
        work: Callable[[Task], Done],
        *,
        threads: int,
        ahead: int,
    ) -> None:
        self._plan = plan
        self._work = work
        self._threads = [
            threading.Thread(target=self._run, name="data-read", daemon=True)
            for _ in range(threads)
        ]
        self._started = False
        self._stopped = False
        self._planned = 0
        self._plan_ended = False
        self._planning = threading.Lock()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(max(1, ahead)):
            self._room.put(None)
        self._handed_in: SimpleQueue[tuple[int, Done | BaseException] | None] = SimpleQueue()
        self._taken = 0
        self._ready: dict[int, Done | BaseException] = {}

    def take(self) -> Done:
        """The next result. Raise ``StopIteration`` at the end of the plan or once stopped."""
        if not self._threads:
            return self._here()
        self._start()
        while self._taken not in self._ready:
            handed_in = self._handed_in  # before the look: ``stop`` says so, then puts another
            found = None if self._stopped else handed_in.get()
            if found is None:
                raise StopIteration
            number, result = found
            self._ready[number] = result
        if self._stopped:
            raise StopIteration
        result = self._ready[self._taken]
        if isinstance(result, BaseException):
            raise result  # and again, whoever asks again
        del self._ready[self._taken]
        self._taken += 1
        self._room.put(None)
        return result

    def stop(self) -> None:
        """Ask all threads to end. Waits for none: the garbage collector may call it in one of them,
        and at any place."""
        self._stopped = True
        left, self._handed_in = self._handed_in, SimpleQueue()  # nobody wants what was handed in
        left.put(None)
        self._end_plan()

    def wait(self, timeout_s: float) -> None:
        """For threads that were asked to end; what they read or transform is finished first."""
        _running.discard(self)
        end_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if self._started and thread is not threading.current_thread():
                thread.join(max(0.0, end_s - time.monotonic()))

    def _here(self) -> Done:
        if self._stopped:
            raise StopIteration
        if self._ready:
            error = self._ready[0]
            assert isinstance(error, BaseException)
            raise error
        try:
            return self._work(next(self._plan))
        except BaseException as error:
            self._ready[0] = error
            raise

    def _start(self) -> None:
        if self._started or self._stopped:
            return
        self._started = True
        _running.add(self)
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while True:
            with self._planning:
                self._room.get()
                if self._plan_ended:
                    return
                number = self._planned
                self._planned += 1
                try:
                    task = next(self._plan)
                except BaseException as error:  # StopIteration, too: the consumer's to raise
                    self._end_plan()
                    self._handed_in.put((number, error))
                    return
            try:
                done: Done | BaseException = self._work(task)
            except BaseException as error:
                self._end_plan()
                done = error
            del task
            self._handed_in.put((number, done))
            del done

    def _end_plan(self) -> None:
        """No thread begins another task."""
        self._plan_ended = True
        for _ in self._threads:
            self._room.put(None)


_running: "weakref.WeakSet[Reader[Any, Any]]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """A thread that is within a library's C++ when Python ends would end the process in its own
    way."""
    readers = list(_running)
    for reader in readers:
        reader.stop()
    end_s = time.monotonic() + WAIT_S
    for reader in readers:
        reader.wait(max(0.0, end_s - time.monotonic()))
