"""``headrace.Executor``: Python functions as runs, in the shape of ``concurrent.futures``.

A call is pickled, submitted as a run of this machine's queue or of a Slurm cluster, and its result
comes back through a file. ``map``, ``map_array`` and ``batch`` submit many calls as one array.
"""

import concurrent.futures
import logging
import os
import re
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from headrace.control.choice import engine_of
from headrace.control.connection import connect
from headrace.control.door import Door
from headrace.control.environment import submitted_environment
from headrace.control.executor.errors import (
    NotPicklable,
    ParameterNotHonoured,
    ResultsGone,
)
from headrace.control.executor.job import Job
from headrace.control.executor.parameters import PARALLELISM, job_fields, require_known
from headrace.control.executor.watch import Watch
from headrace.core.errors import HeadraceError
from headrace.engines.slurm.errors import ArrayTooLarge
from headrace.launch.calls import (
    Call,
    Unpicklable,
    make_folders,
    read_contents,
    write_calls,
)
from headrace.launch.delayed import checkpoint_of
from headrace.spec import JobSpec, make, read_submitted, to_yaml

P = ParamSpec("P")
T = TypeVar("T")
_RESTART_ON = ("preempt", "node", "hang")
_PATIENCE_S = {"local": 0.0, "slurm": 3.0}
_NAME_MAX = 40
_CALLEE = "headrace.launch.callee"
_log = logging.getLogger("headrace.executor")


class Executor(concurrent.futures.Executor):
    """``folder``: where calls and results lie, visible to all nodes; by default beside the runs. A
    new one in there is ``folder`` of the executor; it goes once all results have come and the
    executor is shut down, unless told to ``keep`` it.

    ``engine``: local, slurm, or what this host has; submitit's name for it is ``cluster``.
    ``parameters``: of the runs, as in ``update_parameters``. ``environ``: says which daemon or
    cluster, and is what the ranks inherit. May be used by several threads.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        engine: str | None = None,
        cluster: str | None = None,
        environ: Mapping[str, str] | None = None,
        keep: bool = False,
        **parameters: object,
    ) -> None:
        if cluster == "debug":
            raise ParameterNotHonoured(
                "cluster=debug",
                why="a call is always made in a process of its own",
                remedy="call the function itself, or say cluster='local'",
            )
        chosen = engine or cluster
        given = dict(os.environ if environ is None else environ)
        self._environ = given | {"HEADRACE_ENGINE": chosen} if chosen else given
        self.engine = engine_of(self._environ)
        self._doors = threading.local()
        self.folder = _calls_folder(folder or Path(self._door().runs_folder()) / ".calls")
        self._lock = threading.RLock()
        self._next = 0
        self._batch: list[tuple[Job[Any], Call]] | None = None
        self._noted: set[str] = set()
        self._keep = keep
        self._shut = False
        self._watches: dict[Path, Watch] = {}
        self._watch = self._watch_of(self.folder)
        self.parameters: dict[str, Any] = {}
        self.update_parameters(**parameters)

    def update_parameters(self, **parameters: object) -> None:
        """Of all that is submitted from now on: fields of the job file, or submitit's names.

        None takes one back. Raise ``ParameterUnknown`` or ``ParameterNotHonoured``.
        """
        require_known(parameters)
        self.parameters |= parameters

    # --- submitting ---------------------------------------------------------------------------

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """One run that calls ``fn``. Raise ``NotPicklable``, or what the engine refuses."""
        call = Call(fn, args, kwargs)
        with self._lock:
            self._require_open()
            if self._batch is None:
                return self._submit([call])[0]
            job: Job[T] = Job(self._watch)
            self._batch.append((job, call))
            return job

    def map_array(self, fn: Callable[..., T], *iterables: Iterable[Any]) -> list[Job[T]]:
        """A job for each tuple of arguments, submitted as one array. The iterables are used up
        first, and the shortest decides."""
        return self._submit([Call(fn, args) for args in zip(*iterables, strict=False)])

    def submit_array(self, fns: Iterable[Callable[[], T]]) -> list[Job[T]]:
        """A job for each function, submitted as one array."""
        return self._submit([Call(fn) for fn in fns])

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """The results in order, as they come. All is submitted at once, as one array.

        ``chunksize``: so many calls a run, one after the other; worth it for short ones. An error
        or ``TimeoutError`` leaves the other runs alone.
        """
        deadline_s = None if timeout is None else time.monotonic() + timeout
        calls = [Call(fn, args) for args in zip(*iterables, strict=False)]
        jobs: list[Job[T]] = self._submit(calls, chunk=chunksize)

        def results() -> Iterator[T]:
            for job in jobs:
                yield job.result(None if deadline_s is None else deadline_s - time.monotonic())

        return results()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All that is submitted in the block becomes one array when the block ends; until then
        jobs have no id. Nothing is submitted when the block raises."""
        with self._lock:
            if self._batch is not None:
                raise RuntimeError("executor.batch() inside executor.batch()")
            gathered = self._batch = []
        try:
            yield
            self._batch = None
            going = [(job, call) for job, call in gathered if not job.cancelled()]
            self._submit([call for _, call in going], [job for job, _ in going])
        except BaseException as error:
            for job, _ in gathered:
                if not job.family:
                    job.become_error(error)
            raise
        finally:
            self._batch = None

    def _submit(
        self, calls: Sequence[Call], jobs: Sequence[Job[Any]] | None = None, *, chunk: int = 1
    ) -> list[Job[Any]]:
        """As one array, or as several where the cluster takes no array of that size. All or none:
        whoever tries again after an error does not want calls that were made already."""
        if chunk < 1:
            raise ValueError("chunksize must be >= 1.")
        self._require_open()
        made = list(jobs) if jobs is not None else [Job(self._watch) for _ in calls]
        if not calls:
            return made
        try:
            self._submit_array(calls, made, chunk)
        except ArrayTooLarge as error:
            for begin in range(0, len(calls), error.limit * chunk):
                part = slice(begin, begin + error.limit * chunk)
                try:
                    self._submit_array(calls[part], made[part], chunk)
                except BaseException:
                    self._take_back(made[:begin])
                    raise
        return made

    def _take_back(self, jobs: Sequence[Job[Any]]) -> None:
        try:
            self._watch.cancel_all(jobs, now=True)
        except HeadraceError as error:
            families = ", ".join(dict.fromkeys(job.family for job in jobs if not job.done()))
            _log.warning("could not be cancelled and still runs: %s: %s", families, error)

    def _submit_array(self, calls: Sequence[Call], jobs: Sequence[Job[Any]], chunk: int) -> None:
        with self._lock:
            number = self._next
            self._next += len(calls)
        path = self.folder / f"{number}.calls"
        make_folders(self.folder)
        spec = self._spec(calls, path, chunk)
        try:
            write_calls(path, calls)
            environment = submitted_environment(spec.secrets, self._environ)
            submitted = self._door().submit(to_yaml(spec), environment)
        except Unpicklable as error:
            raise NotPicklable(error, len(calls)) from error.__cause__
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        runs = Path(self._door().runs_folder())
        for offset, job in enumerate(jobs):
            run_id = submitted.runs[offset // chunk]
            job.submitted(run_id, runs / run_id, family=submitted.id, number=number + offset)
            job.error_is_final = "error" not in spec.restart.on
        self._watch.add(jobs)
        for note in set(submitted.notes) - self._noted:
            _log.warning("%s: %s", submitted.id, note)
        self._noted.update(submitted.notes)

    def _spec(self, calls: Sequence[Call], path: Path, chunk: int) -> JobSpec:
        fields = job_fields(self.parameters, self.engine)
        throttle = fields.pop(PARALLELISM, None)
        runs = -(-len(calls) // chunk)
        if runs > 1:
            fields["array"] = f"0-{runs - 1}" + (f"%{throttle}" if throttle else "")
        return make(
            **{
                "cwd": Path.cwd(),
                "command": (sys.executable, "-m", _CALLEE, str(path), str(chunk)),
                "name": _name_of(calls[0].function),
                "ranks_per_node": 1,
                **fields,
                "restart": {"on": self._restart_on(calls), **fields.get("restart", {})},
            }
        )

    def _restart_on(self, calls: Sequence[Call]) -> list[str]:
        """An exception is an answer, so it is no reason to start again unless the user says so. On
        Slurm a callable that can save itself goes on after its time limit; here that is of all."""
        saves = any(checkpoint_of(call.function) is not None for call in calls)
        return [*_RESTART_ON, *["time"] * (saves and self.engine == "slurm")]

    # --- later --------------------------------------------------------------------------------

    def attach(self, job_id: str) -> list[Job[Any]]:
        """The jobs of a run or an array that an executor, also of another process, submitted.

        Raise ``ResultsGone``."""
        rows = self._door().find(job_id)
        found = {
            row.id: read_submitted((Path(row.run_dir) / "job.yaml").read_text()) for row in rows
        }
        calls = {_calls_of(row.id, found[row.id]) for row in rows}
        path, chunk = calls.pop()  # an array has one file of calls
        if not path.exists():
            raise ResultsGone(job_id, path.parent)
        watch, total = self._watch_of(path.parent), len(read_contents(path).calls)
        jobs = []
        for row in rows:
            begin = 0 if row.array_id is None else int(row.id.rpartition("_")[2]) * chunk
            for index in range(begin, min(begin + chunk, total)):
                job: Job[Any] = Job(watch)
                family, number = row.array_id or row.id, int(path.stem) + index
                job.submitted(row.id, Path(row.run_dir), family=family, number=number)
                job.error_is_final = "error" not in found[row.id].restart.on
                jobs.append(job)
        watch.again(jobs)
        return jobs

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more. ``wait`` for all jobs, after having cancelled them if so asked, and remove
        the folder if all results have come; without both the runs go on by themselves."""
        with self._lock:
            self._shut = True
        for watch in self._watches.values():
            if cancel_futures:
                watch.cancel_all(watch.open_jobs(), now=False)
            for job in watch.open_jobs() if wait else ():
                job.wait()
        if wait and not self._keep:
            self._clear()

    def _clear(self) -> None:
        self._watch.rest()
        left = self._watch.undelivered()
        if not left:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif self.folder.exists():
            _log.warning("calls without a result: %d; all are kept in %s", left, self.folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for all jobs; an error on its way out is not kept waiting for them."""
        self.shutdown(wait=error is None)

    # --- how ----------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _door(self) -> Door:
        """Each thread has its own."""
        if not hasattr(self._doors, "door"):
            self._doors.door = connect(self._environ)
        door: Door = self._doors.door
        return door

    def _watch_of(self, calls: Path) -> Watch:
        if calls not in self._watches:
            patience_s = _PATIENCE_S[self.engine]
            self._watches[calls] = Watch(calls, self._door, patience_s=patience_s)
        return self._watches[calls]


def _calls_folder(folder: str | Path) -> Path:
    """A new one of this executor. submitit's folders may end in parts like %j: of each job."""
    parts = Path(folder).expanduser().absolute().parts
    fixed = [part for n, part in enumerate(parts) if not any("%" in one for one in parts[: n + 1])]
    return Path(*fixed) / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def _name_of(function: object) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    plain = re.sub(r"[^a-z0-9_.-]+", "", name.lower()).strip("_.-")
    return plain[:_NAME_MAX].strip("_.-") or "call"


def _calls_of(run_id: str, spec: JobSpec) -> tuple[Path, int]:
    """The file of calls of a run, and how many of them it makes."""
    words = spec.command or ()
    if _CALLEE not in words:
        raise ParameterNotHonoured(
            f"attach {run_id}",
            why="it was not submitted by an Executor, so there is no result to come",
            remedy=f"headrace status {run_id}",
        )
    return Path(words[-2]), int(words[-1])
