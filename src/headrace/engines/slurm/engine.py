"""The engine of a Slurm cluster, used in-process by the commands of an ordinary user.

Nothing of ours runs on the login node. What is known of a run is what lies in its directory on the
shared file system and what one squeue for all runs says; ``seeing`` says which of them counts.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NoReturn

from headrace.core.order import StopRequest
from headrace.core.process import identify
from headrace.core.records import write_record
from headrace.core.rundir import RunDir
from headrace.core.states import State
from headrace.engines.contract import (
    Acted,
    Batch,
    Caller,
    Capabilities,
    RunDetail,
    RunNotFound,
    RunRow,
    Share,
    Spent,
    Submitted,
)
from headrace.engines.local.history import History
from headrace.engines.local.index import Index, Indexed
from headrace.engines.local.rows import row_of
from headrace.engines.local.submission import Submission, commit
from headrace.engines.local.usage import Holding, spent
from headrace.engines.slurm import commands, copies, folders
from headrace.engines.slurm.asking import (
    REFUSED_FIELDS,
    as_handed_over,
    contract_of,
    elements_of,
    indices_of,
    needs_pyxis,
    notes_on,
    require_possible,
    require_pyxis,
)
from headrace.engines.slurm.call import Call
from headrace.engines.slurm.errors import (
    NeverFits,
    NotDone,
    OtherCluster,
    SlurmRefused,
    SlurmUnreachable,
    UnknownPartition,
)
from headrace.engines.slurm.explain import Explainer
from headrace.engines.slurm.facts import FACTS_FRESH_S, Facts, read_facts
from headrace.engines.slurm.jobs import (
    SlurmJob,
    family_folder,
    job_name,
    job_of_script,
    parse_submitted,
    read_job,
    words_of,
    write_job,
)
from headrace.engines.slurm.measured import measured
from headrace.engines.slurm.poll import FRESH_S, Poller
from headrace.engines.slurm.reservations import parse_reservations
from headrace.engines.slurm.room import require_room
from headrace.engines.slurm.script import Host, dependency_of, make_script
from headrace.engines.slurm.shares import parse_shares
from headrace.engines.slurm.variables import completed, left_out, options_of
from headrace.engines.slurm.view import Run, View
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Reservation
from headrace.schedule.explain import Explanation, Ranked
from headrace.schedule.request import Request, request_of
from headrace.spec.job import JobSpec

_EARLIER, _LOOKED_AT = 3, 30
_SATISFIED_BY = {
    "ok": (State.COMPLETED,),
    "notok": tuple(state for state in State if state.is_final and state is not State.COMPLETED),
    "any": tuple(state for state in State if state.is_final),
}
_OVER = tuple(state for state in State if state.is_final and state is not State.UNKNOWN)
_JUST_NOW_S = 2.0
_ENDED = ("Invalid job id", "already completing or completed")


@dataclass(frozen=True)
class Setting:
    """``runs``: on a file system that all nodes see. ``state``: on a local disk of this host.
    ``environ``: what ``call`` goes by."""

    runs: Path
    state: Path
    call: Call
    host: Host
    who: Caller
    environ: Mapping[str, str] = field(default_factory=dict)
    now_s: Callable[[], float] = time.time
    poll_s: float = FRESH_S


class SlurmEngine:
    """Implements ``headrace.engines.contract.Engine``. Used by one thread.

    The index remembers the runs that have ended, so that their files are not read again. Only the
    user's own runs are known, so ``who`` is always that user.
    """

    def __init__(self, setting: Setting, index: Index) -> None:
        self._setting = setting
        self._index = index
        self._facts: Facts | None = None
        self._poller = Poller(
            setting.state / f"queue-{setting.who.name}.json",
            setting.who.name,
            setting.call,
            now_s=setting.now_s,
            fresh_s=setting.poll_s,
        )

    @property
    def facts(self) -> Facts:
        """Raise ``SlurmUnreachable``."""
        if self._facts is None:
            self._facts = self._read_facts()
        return self._facts

    def _read_facts(self, *, fresh_s: float = FACTS_FRESH_S) -> Facts:
        path = self._setting.state / "facts.json"
        setting = self._setting
        return read_facts(path, setting.call, now_s=setting.now_s, fresh_s=fresh_s)

    @property
    def _host(self) -> str:
        return folders.host_of(self.facts.cluster)

    def _view(self) -> View:
        return View(
            self._setting.runs,
            self._index,
            self._poller,
            self._setting.call,
            host=self._host,
            accounting=self.facts.accounting,
        )

    # --- submitting ---------------------------------------------------------------------------

    def submit(
        self,
        spec: JobSpec,
        *,
        token: str,
        who: Caller,
        environment: Mapping[str, str],
        script: str | None,
    ) -> Submitted:
        """The run directory lies there before Slurm knows of the run. Raise ``Refused``."""
        earlier = [one.submission for one in self._index.by_token(token)]
        if earlier:
            return _submitted(earlier, ())
        spec = completed(spec, self._setting.environ)
        self._require_possible(spec)
        request, dependency = self._fitting_request(spec), self._dependency(spec)
        runs = self._setting.runs
        python, packed = copies.pack_python(spec, environment, runs)
        number = folders.claim_number(runs, self._index.last_number())
        elements = elements_of(
            spec,
            request,
            number,
            host=self._host,
            who=who,
            runs=runs,
            token=token,
            now_s=self._setting.now_s(),
        )
        given_s = contract_of(spec, self.facts).given_s
        elements = as_handed_over(elements, given_s=given_s, submitter=identify(os.getpid()))
        asked = [element.submission for element in elements]
        batch = self._batch(spec, request, number, dependency, asked[0])
        notes = (*self._notes(spec), *batch.notes)  # while the latest of its name are earlier ones
        commit(runs, elements, environment, script)
        try:
            copies.take(spec, family_folder(runs, asked[0]), runs=runs, python=python)
            self._hand_over(batch, asked[0])
        except BaseException:
            folders.discard(runs, asked)
            raise
        folders.sweep_arrays(runs, self._setting.now_s())
        self._index.keep_number(number)
        self._index.put(map(self._fresh, asked))
        return _submitted(asked, (*notes, *packed))

    def _notes(self, spec: JobSpec) -> tuple[str, ...]:
        """With what earlier runs of its name have shown, those that have begun."""
        runs, known = self._setting.runs, self._index.latest(spec.name, _LOOKED_AT)
        earlier = (RunDir(runs / one.row.id) for one in known)
        begun = islice((run for run in earlier if run.attempts()), _EARLIER)
        return notes_on(spec, self.facts, measured(begun))

    def _require_possible(self, spec: JobSpec) -> None:
        require_possible(spec, self.facts)
        if needs_pyxis(spec):
            require_pyxis(spec, self._setting.call(commands.srun_help()))

    def _fitting_request(self, spec: JobSpec) -> Request:
        """Raise ``UnknownPartition`` or ``NeverFits``, and only by what the cluster is now."""
        try:
            return self._require_room(spec)
        except (UnknownPartition, NeverFits):
            self._facts = self._read_facts(fresh_s=_JUST_NOW_S)
            return self._require_room(spec)

    def _require_room(self, spec: JobSpec) -> Request:
        request = request_of(spec, self.facts.capacities(spec.partition))
        require_room(spec, request, self.facts)
        return request

    def _batch(
        self, spec: JobSpec, request: Request, number: int, dependency: str, asked: Submission
    ) -> Batch:
        place = self.facts.partition(spec.partition)
        made = make_script(
            spec,
            request,
            run=self._setting.runs / f"{spec.name}-{number}",
            indices=indices_of(spec),
            dependency=dependency,
            max_time_s=None if place is None else place.max_time_s,
            host=self._setting.host,
        )
        path = family_folder(self._setting.runs, asked) / "batch.sh"
        notes = (*made.notes, *left_out(self._setting.environ, options_of(made.text)))
        return Batch(argv=tuple(commands.sbatch(str(path))), script=made.text, notes=notes)

    def _hand_over(self, batch: Batch, asked: Submission) -> None:
        path = Path(batch.argv[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(batch.script)
        job = SlurmJob(
            job_id=self._sbatch(batch.argv),
            cluster=self.facts.cluster,
            submitted_s=self._setting.now_s(),
        )
        write_job(self._setting.runs, asked, job)

    def _sbatch(self, argv: Sequence[str]) -> str:
        """The job's id. A busy controller may take a job and be too late to say so: then it is
        looked for by its script. One that is taken later still ends at once, having no folder.

        Raise ``OtherCluster``: its number means another job here, or none."""
        try:
            job_id, cluster = parse_submitted(self._setting.call(argv))
        except SlurmUnreachable:
            with contextlib.suppress(SlurmUnreachable, SlurmRefused):
                said = self._setting.call(commands.squeue_scripts(self._setting.who.name))
                if (found := job_of_script(said, argv[-1])) is not None:
                    return found
            raise
        if cluster and cluster != self.facts.cluster:
            self._give_back(job_id, cluster)
        return job_id

    def _give_back(self, job_id: str, cluster: str) -> NoReturn:
        cancelled = False
        with contextlib.suppress(SlurmUnreachable, SlurmRefused):
            self._setting.call(commands.scancel_elsewhere(job_id, cluster))
            cancelled = True
        raise OtherCluster(job_id, cluster, self.facts.cluster, cancelled=cancelled)

    def _fresh(self, asked: Submission) -> Indexed:
        history = History(submitted_s=asked.submitted_s)
        run_dir = self._setting.runs / asked.run_id
        row = row_of(asked, history, reason="handed to Slurm", run_dir=run_dir)
        return Indexed(submission=asked, row=row)

    def _dependency(self, spec: JobSpec) -> str:
        """Runs that have ended are looked at here: Slurm forgets jobs after some minutes."""
        found: dict[tuple[str, str], None] = {}
        for condition, good in _SATISFIED_BY.items():
            for name in getattr(spec.after, condition):
                for run in self._named(name):
                    if run.row.state in good:
                        continue
                    if run.row.state.is_final:
                        raise NotDone(
                            f"the run may not wait for {run.row.id}",
                            why=f"that has ended {run.row.state}, and after.{condition} can never "
                            "be satisfied",
                            remedy=f"leave {name} out of after.{condition}",
                        )
                    if run.job is not None:
                        found[condition, job_name(run.job, run.asked)] = None
        return dependency_of(list(found), singleton=spec.after.singleton)

    def dry_run(self, spec: JobSpec, *, who: Caller) -> Batch:
        """The script and the command, to the letter, but for the number that is not taken yet."""
        spec = completed(spec, self._setting.environ)
        self._require_possible(spec)
        request, number = self._fitting_request(spec), self._index.last_number() + 1
        (element, *_) = elements_of(
            spec,
            request,
            number,
            host=self._host,
            who=who,
            runs=self._setting.runs,
            token="",
            now_s=0.0,
        )
        batch = self._batch(spec, request, number, self._dependency(spec), element.submission)
        notes = (*self._notes(spec), *batch.notes)
        return Batch(argv=batch.argv, script=batch.script, notes=notes)

    # --- asking -------------------------------------------------------------------------------

    def runs(self, *, ended: bool, who: Caller) -> list[RunRow]:
        return self._view().all(ended=ended)

    def find(self, name: str, *, who: Caller) -> list[RunRow]:
        return [run.row for run in self._named(name)]

    def _named(self, name: str) -> list[Run]:
        found = self._view().named(name)
        if not found:
            raise RunNotFound(name)
        return found

    def run(self, name: str, *, who: Caller) -> RunDetail:
        found = self._named(name)
        if len(found) > 1:
            raise RunNotFound(name, why=f"it is an array of {len(found)} runs; name one of them")
        return RunDetail(run=found[0].row, attempts=found[0].history.attempts)

    def explain(self, name: str, *, who: Caller, sooner: bool = True) -> Explanation:
        return self._explainer().explain(self._named(name), sooner=sooner)

    def ranking(self, *, who: Caller) -> list[Ranked]:
        return self._explainer().ranking()

    def _explainer(self) -> Explainer:
        setting = self._setting
        return Explainer(
            self.facts,
            setting.call,
            setting.state,
            setting.who,
            names=self._view().names,
            now_s=setting.now_s,
        )

    def usage(self, *, who: Caller) -> list[Spent]:
        """Of runs that have ended; the site's own books are sacct's and sreport's."""
        ended = self._index.all(ended=True)
        return spent(
            Holding(one.submission.user, one.submission.account, one.stretches, one.energy_j)
            for one in ended
        )

    def shares(self, *, who: Caller) -> list[Share]:
        if not self.facts.accounting:
            raise NotDone(
                "there are no accounts to show",
                why="this Slurm has no accounting, and so neither accounts nor shares",
                remedy="an admin can set it up: AccountingStorageType in slurm.conf",
            )
        return parse_shares(self._setting.call(commands.show_accounts(who.name)), who.name)

    def nodes(self) -> list[Capacity]:
        return self.facts.capacities()

    def reservations(self) -> list[Reservation]:
        return parse_reservations(self._setting.call(commands.show_reservations()))

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="slurm", hold=True, arrays=True, elastic=False, refused_fields=REFUSED_FIELDS
        )

    # --- acting on runs -----------------------------------------------------------------------

    def cancel(self, name: str, *, who: Caller, now: bool) -> list[Acted]:
        """Those that wait leave the queue; leads of those that run are told. What was said lies in
        the run directory first, so a run that starts meanwhile finds it. The job of a run that is
        UNKNOWN may still be there."""
        runs = self._named(name)
        going = [
            replace(run, job=run.job or read_job(self._setting.runs, run.asked))
            for run in runs
            if run.row.state not in _OVER
        ]
        for run in going:
            write_record(self._folder(run).stop, StopRequest(reason="cancel", by=who.name))
        jobs = _jobs(going)
        if jobs and now:
            self._unless_ended(commands.scancel(jobs))
        elif jobs:
            self._unless_ended(commands.scancel_waiting(jobs))
            with contextlib.suppress(SlurmRefused):  # they have ended meanwhile
                self._setting.call(commands.signal_lead(jobs))
        self._poller.forget()
        return [_cancelled(run, now=now) for run in runs]

    def hold(self, name: str, *, who: Caller) -> list[Acted]:
        return self._while_waiting(name, commands.hold, "held")

    def release(self, name: str, *, who: Caller) -> list[Acted]:
        return self._while_waiting(name, commands.release, "released")

    def _while_waiting(
        self, name: str, command: Callable[[Sequence[str]], list[str]], done: str
    ) -> list[Acted]:
        runs = self._named(name)
        waiting = [run for run in runs if run.row.state is State.PENDING]
        if jobs := _jobs(waiting):
            self._setting.call(command(jobs))
            self._poller.forget()
        return [
            Acted(
                id=run.row.id,
                state=run.row.state,
                text=done if run in waiting else f"is {run.row.state}, not waiting",
            )
            for run in runs
        ]

    def requeue(self, name: str, *, who: Caller) -> list[Acted]:
        """Have them save, leave and queue again; the job itself does the last."""
        return [self._requeue(run, who) for run in self._named(name)]

    def _requeue(self, run: Run, who: Caller) -> Acted:
        if (state := run.row.state) is not State.RUNNING or run.job is None:
            return Acted(id=run.row.id, state=state, text=f"is {state}, not running")
        write_record(self._folder(run).stop, StopRequest(reason="requeue", by=who.name))
        self._setting.call(commands.signal_lead([job_name(run.job, run.asked)]))
        text = "asked to save and leave; it is queued again"
        return Acted(id=run.row.id, state=state, text=text)

    def resize(self, name: str, *, nodes: tuple[int, int], who: Caller) -> list[Acted]:
        """While it waits. Raise ``NotDone`` for a run that runs."""
        runs = self._named(name)
        for run in runs:
            if run.row.state is not State.PENDING or run.job is None:
                raise NotDone(
                    f"{run.row.id} cannot be resized",
                    why=f"it is {run.row.state}, and only a run that waits changes its size",
                    remedy=f"headrace requeue {run.row.id}, then resize it",
                )
        for run in runs:
            assert run.job is not None
            self._setting.call(commands.update_nodes(job_name(run.job, run.asked), nodes))
        self._poller.forget()
        least, most = nodes
        width = f"{least} nodes" if least == most else f"{least} to {most} nodes"
        return [
            Acted(id=run.row.id, state=run.row.state, text=f"may be on {width}") for run in runs
        ]

    def _folder(self, run: Run) -> RunDir:
        return RunDir(self._setting.runs / run.asked.run_id)

    def _unless_ended(self, argv: Sequence[str]) -> None:
        """Jobs that have ended meanwhile are no error. Raise ``SlurmRefused`` for all else."""
        try:
            self._setting.call(argv)
        except SlurmRefused as refused:
            if not any(words in refused.said for words in _ENDED):
                raise


def _jobs(runs: Sequence[Run]) -> list[str]:
    """What names them to scancel and scontrol; elements that follow each other are one word."""
    return words_of([(run.job, run.asked) for run in runs if run.job is not None])


def _cancelled(run: Run, *, now: bool) -> Acted:
    state = run.row.state
    if state in _OVER:
        return Acted(id=run.row.id, state=state, text=f"has already ended {state}")
    if state is State.PENDING:
        return Acted(id=run.row.id, state=State.CANCELLED, text="cancelled")
    return Acted(id=run.row.id, state=state, text="killed" if now else "asked to stop")


def _submitted(asked: Sequence[Submission], notes: tuple[str, ...]) -> Submitted:
    first = asked[0]
    return Submitted(
        id=first.array_id or first.run_id, runs=tuple(one.run_id for one in asked), notes=notes
    )
