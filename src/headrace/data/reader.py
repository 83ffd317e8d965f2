"""Threads that fill batches ahead of whoever takes them, in order and in bounded memory.

Each thread takes the next share of the plan, fills it from start to end, and hands it in under its
number. What a thread meets is raised where that batch would have come out; the batches before it
still arrive. Knows nothing of ``Batches``, so that an iterator that nobody holds any more stops its
threads.
"""

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Done = TypeVar("Done")

WAIT_S = 3.0
"""For threads that were asked to end. One that reads from a server that has died may never do so.
"""
_LOOK_S = 1.0


class Reader(Generic[Task, Done]):
    """``plan`` is advanced by one thread at a time; ``work`` runs in all of them at once.

    At most ``ahead`` results wait to be taken or are being made. The threads start with the first
    ``take``; with ``threads`` 0 there are none, and ``take`` does the work.
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
        self._ahead = max(1, ahead)
        self._threads = [
            threading.Thread(target=self._run, name="data-read", daemon=True)
            for _ in range(threads)
        ]
        self._started = False
        self._stopped = False
        self._planned = 0
        self._taken = 0
        self._ready: dict[int, Done | BaseException] = {}
        self._changed = threading.Condition()
        self._planning = threading.Lock()

    def take(self) -> Done:
        """The next result. Raise ``StopIteration`` at the end of the plan or once stopped."""
        if not self._threads:
            return self._here()
        with self._changed:
            if not self._started and not self._stopped:
                self._started = True
                _running.add(self)
                for thread in self._threads:
                    thread.start()
            while self._taken not in self._ready and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise StopIteration
            result = self._ready[self._taken]
            if isinstance(result, BaseException):
                raise result  # and again, whoever asks again
            del self._ready[self._taken]
            self._taken += 1
            self._changed.notify_all()
            return result

    def stop(self) -> None:
        """Ask all threads to end. Waits for none: the garbage collector may call it in one of them,
        and at any place, also where that thread has the lock."""
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()

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

    def _run(self) -> None:
        while True:
            with self._planning:
                number = self._next_number()
                if number is None:
                    return
                try:
                    task = next(self._plan)
                except BaseException as error:  # StopIteration, too: the consumer's to raise
                    self._hand_in(number, error)
                    return
            try:
                done: Done | BaseException = self._work(task)
            except BaseException as error:
                done = error
            del task
            self._hand_in(number, done)
            if isinstance(done, BaseException):
                return
            del done

    def _next_number(self) -> int | None:
        """The number of the next task once there is room for it; None when it is time to end."""
        with self._changed:
            while self._planned >= self._taken + self._ahead and not self._ended():
                self._changed.wait(_LOOK_S)  # ``stop`` may have come between look and wait
            if self._ended():
                return None
            self._planned += 1
            return self._planned - 1

    def _ended(self) -> bool:
        return self._stopped or any(
            isinstance(result, BaseException) for result in self._ready.values()
        )

    def _hand_in(self, number: int, result: Done | BaseException) -> None:
        with self._changed:
            if not self._stopped:
                self._ready[number] = result
            if number == self._taken or isinstance(result, BaseException):
                self._changed.notify_all()


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
