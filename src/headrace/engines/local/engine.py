"""The engine of one machine: takes runs, starts their leads, settles how they ended.

Used by one thread at a time. The run directories are the truth; this object and the index are views
of them, rebuilt by ``open_engine``. Whoever owns it watches the pidfds in ``leads`` and calls
``collect`` when one becomes readable, and ``schedule`` after anything has changed.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.core import events
from headrace.core.errors import EXIT_INTERRUPTED, HeadraceError
from headrace.core.events import Placed
from headrace.core.order import Order, StopRequest
from headrace.core.process import Process, open_pidfd, send_signal
from headrace.core.records import replace, write_record
from headrace.core.rundir import EventWriter, RunDir, read_events
from headrace.core.states import State
from headrace.engines.contract import (
    Acted,
    Capabilities,
    RunDetail,
    RunNotFound,
    RunRow,
    Submitted,
)
from headrace.engines.local import lead
from headrace.engines.local.asking import queued_of, running_of
from headrace.engines.local.elements import elements_of
from headrace.engines.local.history import History, fold
from headrace.engines.local.index import Index, Indexed
from headrace.engines.local.order import make_order
from headrace.engines.local.refusals import (
    REFUSED_FIELDS,
    ResizeRefused,
    notes_on,
    require_possible,
    require_room,
    words,
)
from headrace.engines.local.reservations import Reservations
from headrace.engines.local.rows import row_of
from headrace.engines.local.settle import verdict
from headrace.engines.local.site import SiteFile
from headrace.engines.local.submission import (
    Element,
    Submission,
    WaitsFor,
    commit,
    number_of,
    read_submission,
    recover,
)
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Cluster, Reservation
from headrace.schedule.decide import Decisions, decide
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued, Running
from headrace.schedule.reason import sentence
from headrace.schedule.request import request_of
from headrace.spec.job import JobSpec
from headrace.spec.load import read_submitted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """What an engine is told about its surroundings.

    ``lead``: the program that is given a run directory as its last argument.
    ``state``: a folder on a local disk. ``now_s``: seconds since 1970. ``site``: read again before
    each pass, when it has changed.
    """

    runs: Path
    state: Path
    host: str
    nodes: tuple[Capacity, ...]
    lead: tuple[str, ...]
    environ: Mapping[str, str]
    now_s: Callable[[], float]
    site: SiteFile


@dataclass
class Live:
    """A lead that we watch. ``child`` is None for an adopted one."""

    pidfd: int
    process: Process
    child: subprocess.Popen[bytes] | None


@dataclass
class Member:
    """A run that has not ended. ``history``: as of our own last event; the lead may have added."""

    asked: Submission
    history: History


class LocalEngine:
    """Implements ``headrace.engines.contract.Engine``."""

    def __init__(self, setting: Setting, index: Index) -> None:
        self._setting = setting
        self._index = index
        self._members: dict[str, Member] = {}
        self._live: dict[str, Live] = {}
        self._reasons: dict[str, str] = {}
        self._reservations = Reservations(setting.state / "reservations.json")

    # --- coming and going ---------------------------------------------------------------------

    def open(self) -> None:
        """Rebuild the view from the run directories; adopt what still runs, settle what ended."""
        runs = self._setting.runs
        recover(runs, self._setting.host)
        known = self._index.ids(final=True)
        present: set[str] = set()
        for folder in runs.iterdir():
            self._index.keep_number(number_of(folder.name))
            if folder.name in known:
                present.add(folder.name)
                continue
            asked = read_submission(RunDir(folder))
            if asked is not None and asked.host == self._setting.host:
                present.add(folder.name)
                member = Member(asked, self._read(asked.run_id))
                self._members[asked.run_id] = member
                self._index.put([self._indexed(asked, member.history)])
        self._index.remove((known | self._index.ids(final=False)) - present)
        for run_id in list(self._members):
            self._adopt(run_id)

    def _adopt(self, run_id: str) -> None:
        history = self._members[run_id].history
        if history.state.is_final:
            del self._members[run_id]
            return
        if history.state is not State.RUNNING:
            return
        process = lead.read_lead(self._run(run_id))
        pidfd = None if process is None else open_pidfd(process)
        if process is None or pidfd is None:
            _log.info("%s: its lead is gone", run_id)
            self._settle(run_id, lead_error=None)
            return
        _log.info("%s: adopted lead %d", run_id, process.pid)
        self._live[run_id] = Live(pidfd, process, None)
        if history.cancel_by is not None:
            self._ask_to_stop(run_id, history.cancel_by)
        elif history.displaced is not None:
            self._signal(run_id, signal.SIGTERM)

    def close(self) -> None:
        """Let everything run on; forget it."""
        for live in self._live.values():
            os.close(live.pidfd)
        self._live.clear()
        self._index.close()

    def now_s(self) -> float:
        """The engine's clock."""
        return self._setting.now_s()

    # --- asking -------------------------------------------------------------------------------

    def submit(
        self,
        spec: JobSpec,
        *,
        token: str,
        who: str,
        environment: Mapping[str, str],
        script: str | None,
    ) -> Submitted:
        earlier = self._index.by_token(token)
        if earlier:
            return _submitted([entry.submission for entry in earlier], notes_on(spec))
        number = self._index.last_number() + 1
        elements = self._elements(spec, number=number, token=token, who=who)
        self._index.keep_number(number)
        commit(self._setting.runs, elements, environment, script)
        asked = [element.submission for element in elements]
        for one in asked:
            self._members[one.run_id] = Member(one, History(submitted_s=one.submitted_s))
        self._index.put(self._indexed(one, self._members[one.run_id].history) for one in asked)
        return _submitted(asked, notes_on(spec))

    def _elements(self, spec: JobSpec, *, number: int, token: str, who: str) -> list[Element]:
        require_possible(spec)
        request = request_of(spec, self._setting.nodes)
        require_room(request, self._setting.nodes)
        return elements_of(
            spec,
            number=number,
            request=request,
            after=self._after(spec),
            host=self._setting.host,
            user=who,
            token=token,
            now_s=self._setting.now_s(),
        )

    def _after(self, spec: JobSpec) -> tuple[WaitsFor, ...]:
        """Names become ids of runs; a family's name stands for all its elements."""
        found = [
            WaitsFor(run_id=row.id, condition=condition)
            for condition in ("ok", "any", "notok")
            for name in getattr(spec.after, condition)
            for row in self.find(name)
        ]
        if spec.after.singleton:
            found += [
                WaitsFor(run_id=run_id, condition="any")
                for run_id, member in self._members.items()
                if member.asked.name == spec.name
            ]
        return tuple(found)

    def dry_run(self, spec: JobSpec, *, who: str) -> Order:
        number = self._index.last_number() + 1
        element = self._elements(spec, number=number, token="", who=who)[0].submission
        now_s = self._setting.now_s()
        alone = queued_of(replace(element, after=()), History(), self._state_of)
        starts = self._decide([alone], [], now_s).starts
        assert starts, "require_room has found room"
        placed = starts[0].placed
        run = self._run(element.run_id)
        return make_order(spec, element, History(), placed, run=run, attempt=0)

    def runs(self, *, ended: bool) -> list[RunRow]:
        return [self._now(entry) for entry in self._index.all(ended=ended)]

    def find(self, name: str) -> list[RunRow]:
        found = self._index.by_name(name)
        if not found:
            raise RunNotFound(name)
        return [self._now(entry) for entry in found]

    def run(self, name: str) -> RunDetail:
        found = self.find(name)
        if len(found) > 1:
            raise RunNotFound(name, why=f"it is an array of {len(found)} runs; name one of them")
        return RunDetail(run=found[0], attempts=self._read(found[0].id).attempts)

    def nodes(self) -> list[Capacity]:
        return list(self._setting.nodes)

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="local", hold=True, arrays=True, elastic=True, refused_fields=REFUSED_FIELDS
        )

    # --- acting on runs -----------------------------------------------------------------------

    def cancel(self, name: str, *, who: str, now: bool) -> list[Acted]:
        return [self._cancel(row, who, now=now) for row in self.find(name)]

    def _cancel(self, row: RunRow, who: str, *, now: bool) -> Acted:
        if row.state.is_final:
            return Acted(id=row.id, state=row.state, text=f"has already ended {row.state}")
        history = self._members[row.id].history
        if history.cancel_by is None:
            self._write(row.id, events.CancelAsked(by=who), durable=True)
        if history.state is State.PENDING:
            detail = f"cancelled by {who} before it started"
            self._end(row.id, State.CANCELLED, EXIT_INTERRUPTED, detail)
            return Acted(id=row.id, state=State.CANCELLED, text="cancelled")
        if now:
            self._signal(row.id, signal.SIGKILL)
            return Acted(id=row.id, state=row.state, text="killed")
        self._ask_to_stop(row.id, who)
        return Acted(id=row.id, state=row.state, text="asked to stop")

    def _ask_to_stop(self, run_id: str, who: str) -> None:
        write_record(self._run(run_id).stop, StopRequest(reason="cancel", by=who))
        self._signal(run_id, signal.SIGTERM)

    def _signal(self, run_id: str, number: signal.Signals) -> None:
        live = self._live.get(run_id)
        if live is not None:
            send_signal(live.process, number)

    def hold(self, name: str, *, who: str) -> list[Acted]:
        return [self._hold(row, events.Held(by=who), "held") for row in self.find(name)]

    def release(self, name: str, *, who: str) -> list[Acted]:
        return [self._hold(row, events.Released(by=who), "released") for row in self.find(name)]

    def _hold(self, row: RunRow, event: events.Held | events.Released, done: str) -> Acted:
        if row.state is not State.PENDING:
            return Acted(id=row.id, state=row.state, text=f"is {row.state}, not waiting")
        if self._members[row.id].history.held == isinstance(event, events.Held):
            return Acted(id=row.id, state=row.state, text=f"is already {done}")
        self._write(row.id, event, durable=True)
        return Acted(id=row.id, state=row.state, text=done)

    def site(self) -> tuple[str, str | None]:
        """The path of the site file, and what is wrong with it now."""
        file = self._setting.site
        return str(file.path), None if file.problem is None else str(file.problem)

    def reload(self) -> None:
        """Read the site file now. Raise ``SiteInvalid``; the rules then stay as they were."""
        self._setting.site.refresh(force=True)
        if self._setting.site.problem is not None:
            raise self._setting.site.problem

    def requeue(self, name: str, *, who: str) -> list[Acted]:
        return [self._requeue(row, who) for row in self.find(name)]

    def _requeue(self, row: RunRow, who: str) -> Acted:
        if row.state is not State.RUNNING:
            return Acted(id=row.id, state=row.state, text=f"is {row.state}, not running")
        if self._members[row.id].history.displaced is None:
            self._displace(row.id, "requeue", who, None, None)
        return Acted(id=row.id, state=row.state, text="asked to save and leave; it is queued again")

    def resize(self, name: str, *, nodes: tuple[int, int], who: str) -> list[Acted]:
        return [self._resize(row, nodes, who) for row in self.find(name)]

    def _resize(self, row: RunRow, nodes: tuple[int, int], who: str) -> Acted:
        if row.state.is_final:
            return Acted(id=row.id, state=row.state, text=f"has already ended {row.state}")
        member, (least, most) = self._members[row.id], nodes
        asked = member.asked.request
        if least < asked.nodes_min or most > asked.nodes_max:
            raise ResizeRefused(row.id, nodes, (asked.nodes_min, asked.nodes_max))
        self._write(row.id, events.Resized(by=who, nodes_min=least, nodes_max=most), durable=True)
        width = len(member.history.placed)
        if row.state is not State.RUNNING or least <= width <= most:
            return Acted(id=row.id, state=row.state, text=f"may be on {words(nodes)} from now on")
        target = most if width > most else least
        self._displace(row.id, "resize", who, target, None)
        return Acted(id=row.id, state=row.state, text=f"saves, and goes on with {words(nodes)}")

    # --- reservations -------------------------------------------------------------------------

    def reservations(self) -> list[Reservation]:
        """Those of the site file, and those made by command."""
        return [*self._setting.site.now.reservations, *self._reservations.made]

    def reserve(self, asked: Reservation, *, who: str) -> list[Reservation]:
        """Keep nodes. Raise ``ReservationRefused``."""
        names = [node.name for node in self._setting.nodes]
        self._reservations.add(asked, self.reservations(), names, self.now_s())
        _log.info("%s reserved %s", who, asked)
        return self.reservations()

    def unreserve(self, name: str, *, who: str) -> list[Reservation]:
        """Give them back. Raise ``ReservationNotFound``."""
        self._reservations.drop(name)
        _log.info("%s dropped the reservation %s", who, name)
        return self.reservations()

    # --- scheduling ---------------------------------------------------------------------------

    def schedule(self) -> float:
        """Start what can start; displace what must; end what can never start.

        Return when to do so again, in seconds since 1970, even if nothing happens.
        """
        self._setting.site.refresh()
        while True:
            queue, running = self._queue()
            now_s = self._setting.now_s()
            decided = self._decide(queue, running, now_s)
            for start in decided.starts:
                self._start(start.id, start.placed)
            for stop in decided.stops:
                self._displace(stop.run_id, stop.reason, stop.by, stop.slices, stop.grace_s)
            for run_id, hopeless in decided.hopeless.items():
                self._end(run_id, State.CANCELLED, EXIT_INTERRUPTED, sentence(hopeless))
            if not decided.hopeless:
                break
        self._reasons = {run_id: sentence(reason) for run_id, reason in decided.reasons.items()}
        return decided.wake_s

    def _decide(self, queue: list[Queued], running: list[Running], now_s: float) -> Decisions:
        site, nodes = self._setting.site.now, self._setting.nodes
        return decide(
            queue, running, nodes, now_s, rules=self.rules(), policy=policy(site.policy or "easy")
        )

    def rules(self) -> Cluster:
        """What is in force now, without the nodes."""
        rules = self._setting.site.now.cluster(())
        return replace(rules, reservations=tuple(self.reservations()))

    def _queue(self) -> tuple[list[Queued], list[Running]]:
        queue, running = [], []
        for run_id, member in self._members.items():
            if run_id in self._live:
                running.append(running_of(member.asked, member.history, self._state_of))
            else:
                queue.append(queued_of(member.asked, member.history, self._state_of))
        return queue, running

    def _displace(
        self, run_id: str, reason: str, by: str, nodes: int | None, grace_s: float | None
    ) -> None:
        """Have it save and leave; it is queued again when its lead has gone."""
        event = events.Displaced(reason=reason, by=by, nodes=nodes)
        self._write(run_id, event, durable=True)
        request = StopRequest(reason=reason, by=by, grace_s=grace_s)
        write_record(self._run(run_id).stop, request)
        self._signal(run_id, signal.SIGTERM)

    def _state_of(self, run_id: str) -> State | None:
        found = self._index.by_name(run_id)
        return found[0].row.state if found else None

    def _start(self, run_id: str, placed: tuple[Placed, ...]) -> None:
        run, asked = self._run(run_id), self._members[run_id].asked
        history = self._read(run_id)
        attempt = max([len(history.attempts), *(number + 1 for number in run.attempts())])
        try:
            order = make_order(
                read_submitted(run.job.read_text()),
                asked,
                history,
                placed,
                attempt=attempt,
                run=run,
            )
            lead.forget_lead(run)
            write_record(run.order, order)
            self._write(run_id, events.Started(placed=placed), attempt=attempt, durable=True)
            child = lead.spawn(run, self._setting.lead, self._setting.environ)
        except (HeadraceError, OSError, UnicodeDecodeError) as error:
            self._end(run_id, State.FAILED, 1, f"it could not be started: {error}")
            return
        process = lead.let_go(run, child)
        pidfd = open_pidfd(process)
        assert pidfd is not None, "our child has a pidfd until we wait for it"
        self._live[run_id] = Live(pidfd, process, child)
        _log.info("%s: started lead %d", run_id, process.pid)
        self._index.put([self._indexed(asked, self._members[run_id].history)])

    # --- ends ---------------------------------------------------------------------------------

    def leads(self) -> dict[str, int]:
        """Run id -> pidfd of its lead: readable when the lead is gone."""
        return {run_id: live.pidfd for run_id, live in self._live.items()}

    def collect(self, run_id: str) -> None:
        """The run's lead is gone: find out how it ended, clear up, requeue or end the run."""
        live = self._live.pop(run_id)
        os.close(live.pidfd)
        lead_error = None
        if live.child is not None:
            status = live.child.wait()
            lead_error = f"exit status {status}, {lead.log_tail(self._run(run_id))}"
        self._settle(run_id, lead_error=lead_error)

    def _settle(self, run_id: str, *, lead_error: str | None) -> None:
        run, member = self._run(run_id), self._members[run_id]
        killed = lead.clear(run)
        if killed:
            detail = "left behind by the lead"
            self._write(run_id, events.TreeKilled(pids=tuple(killed), detail=detail))
        member.history = self._read(run_id)
        event = verdict(member.asked, member.history, lead_error=lead_error)
        if event is not None:
            self._write(run_id, event, durable=True)
        _log.info("%s: %s %s", run_id, member.history.state, member.history.detail)
        self._forget_if_final(run_id)

    def _end(self, run_id: str, state: State, exit_code: int, detail: str) -> None:
        event = events.Ended(state=state, exit_code=exit_code, detail=detail)
        self._write(run_id, event, durable=True)
        self._forget_if_final(run_id)

    def _forget_if_final(self, run_id: str) -> None:
        member = self._members[run_id]
        self._index.put([self._indexed(member.asked, member.history)])
        if member.history.state.is_final:
            del self._members[run_id]
            self._reasons.pop(run_id, None)

    # --- views --------------------------------------------------------------------------------

    def _run(self, run_id: str) -> RunDir:
        return RunDir(self._setting.runs / run_id)

    def _read(self, run_id: str) -> History:
        run = self._run(run_id)
        return fold(
            read_events(run.events / "engine.jsonl"),
            list(read_events(run.events / "lead.jsonl")),
            lead.read_lead(run),
        )

    def _write(
        self, run_id: str, event: events.Event, *, attempt: int | None = None, durable: bool = False
    ) -> None:
        """``attempt``: the one that runs or ran last, unless said otherwise."""
        run, member = self._run(run_id), self._members[run_id]
        number = max(run.attempts(), default=0) if attempt is None else attempt
        writer = EventWriter(run, "engine", now_s=self._setting.now_s)
        try:
            writer.write(event, attempt=number, durable=durable)
        finally:
            writer.close()
        member.history = self._read(run_id)

    def _now(self, entry: Indexed) -> RunRow:
        """The row as it is now: files of a run that has ended do not change any more."""
        member = self._members.get(entry.row.id)
        if member is None:
            return entry.row
        running = member.history.state is State.RUNNING
        history = self._read(entry.row.id) if running else member.history
        return self._indexed(entry.submission, history).row

    def _indexed(self, asked: Submission, history: History) -> Indexed:
        waiting = self._reasons.get(asked.run_id, "") if history.state is State.PENDING else ""
        row = row_of(asked, history, reason=waiting, run_dir=self._run(asked.run_id).root)
        return Indexed(submission=asked, row=row)


def _submitted(asked: Sequence[Submission], notes: tuple[str, ...]) -> Submitted:
    return Submitted(
        id=asked[0].array_id or asked[0].run_id,
        runs=tuple(one.run_id for one in asked),
        notes=notes,
    )
