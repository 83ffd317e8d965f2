"""Whether somebody asked this rank to stop: the agent, or a signal.

The handlers only take a note. What follows is decided at a step boundary by all ranks together
(``train.agreement``). SIGUSR1 is left alone: frameworks and sites use it for other things.
"""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import ClassVar, Self

from headrace.core.events import StopBy

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class StopFlag:
    """Installed while the context is open; the earlier handlers come back after it.

    A forked child that inherits the handlers dies of these signals as if they were not there: a
    data loader's worker can be terminated.

    ``obeyed``: whether any session of this process has stopped; who called the function that
    trained then knows that it is not done.
    """

    obeyed: ClassVar[bool] = False

    def __init__(self) -> None:
        self.reason: str | None = None
        self._owner = os.getpid()
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    @property
    def is_set(self) -> bool:
        return self.reason is not None

    def ask(self, request: StopBy) -> None:
        self.reason = request.reason

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._owner:
            self.reason = f"signal {signal.Signals(number).name}"
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
