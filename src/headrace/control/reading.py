"""Looks into run directories for those who may: as ourselves, or each as its owner."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from headrace.core.errors import HeadraceError, Unreachable
from headrace.core.rundir import RunDir
from headrace.engines.contract import AttemptRow, RunRow
from headrace.engines.local.as_user import Errand, Look, Report, look
from headrace.engines.local.errands import Sent, person_of, send, take_in
from headrace.engines.local.spells import attempts_claimed

_PATIENCE_S = 10.0
_AT_ONCE = 2


class FilesUnreadable(Unreachable):
    """The files of a run cannot be read now."""

    code = "HR-CONTROL-012"

    def __init__(self, row: RunRow, detail: str) -> None:
        super().__init__(
            f"the files of {row.id} cannot be read",
            why=detail,
            remedy=f"look at {row.run_dir} as {row.user}",
        )


class Reader(Protocol):
    async def look(self, row: RunRow, path: str = "", offset: int = 0) -> Report:
        """Which logs there are, or a piece of the file ``path``. Raise ``FilesUnreadable``."""
        ...

    async def attempts(self, row: RunRow) -> tuple[AttemptRow, ...]:
        """As the lead tells them; none when the engine itself has read that, or nobody can."""
        ...


class Ourselves:
    async def look(self, row: RunRow, path: str = "", offset: int = 0) -> Report:
        try:
            return await asyncio.to_thread(look, RunDir(Path(row.run_dir)), path, offset)
        except (OSError, ValueError) as error:
            raise FilesUnreadable(row, str(error)) from error

    async def attempts(self, row: RunRow) -> tuple[AttemptRow, ...]:
        return ()


class AsOwner:
    """One process a look; at most two at a time a user, who could keep them from ending."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._slots: dict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))

    async def look(self, row: RunRow, path: str = "", offset: int = 0) -> Report:
        assert row.uid is not None, "every run of the machine's daemon has an owner"
        async with self._slots[row.uid]:
            try:
                errand = Errand(
                    person=person_of(row.uid),
                    run_dir=row.run_dir,
                    then=Look(path=path, offset=offset),
                )
                report = await _back(send(errand, self._environ))
            except OSError as error:
                raise FilesUnreadable(row, str(error)) from error
        if report.error is not None:
            raise FilesUnreadable(row, report.error)
        return report

    async def attempts(self, row: RunRow) -> tuple[AttemptRow, ...]:
        if row.started_s is None:
            return ()
        try:
            report = await self.look(row, "events/lead.jsonl")
        except HeadraceError:
            return ()
        return attempts_claimed(report.piece.decode(errors="replace"))


async def _back(sent: Sent) -> Report:
    os.close(sent.gate)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sent.pidfd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), _PATIENCE_S)
    except TimeoutError:
        sent.child.kill()
    finally:
        loop.remove_reader(sent.pidfd)
        os.close(sent.pidfd)
    sent.child.wait()
    return take_in(sent.report)
