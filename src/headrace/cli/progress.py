"""How far a long command is, on stderr: a bar on a terminal, else a line every ten seconds."""

import sys
import time
from types import TracebackType
from typing import Any, Self

import typer

_SILENT_S = 2.0
_EVERY_S = 10.0


class Progress:
    """Call it with what is done and its share from 0 to 1. Silent for the first two seconds."""

    def __init__(self) -> None:
        self._begun_s = self._told_s = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._text = ""

    def __enter__(self) -> Self:
        return self

    def __call__(self, text: str, share: float) -> None:
        now_s = time.monotonic()
        if now_s - self._begun_s < _SILENT_S:
            return
        if sys.stderr.isatty():
            self._draw(text, share)
        elif text != self._text or now_s - self._told_s >= _EVERY_S:
            typer.echo(f"{text}: {100 * share:.0f} %", err=True)
            self._told_s = now_s
        self._text = text

    def _draw(self, text: str, share: float) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(text, total=1.0)
        if text != self._text:
            self._bar.reset(self._task, description=text)
        self._bar.update(self._task, completed=share)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
