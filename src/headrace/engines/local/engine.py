"""The engine of one machine: takes runs, starts their leads, settles how they ended.

Used by one thread at a time. What the store keeps is the truth; this object and the index are views
of it, rebuilt by ``open``. Whoever owns it watches the pidfds in ``leads`` and calls
``collect`` when one becomes readable, and ``schedule`` after anything has changed.
"""

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from headrace.core import events
from headrace.core.errors import EXIT_INTERRUPTED, HeadraceError
from headrace.core.events import Placed
from headrace.core.order import Order, StopRequest
from headrace.core.records import replace
from headrace.core.states import State
from headrace.core.units import format_duration
from headrace.engines.contract import (
    Acted,
    Caller,
    Capabilities,
    NotWaiting,
    NotYours,
    RunDetail,
    RunNotFound,
    RunRow,
    Share,
    Spent,
    Submitted,
    may,
)
from headrace.engines.local.asking import StateOf, queued_of, running_of
from headrace.engines.local.books import Books, Charge
from headrace.engines.local.elements import elements_of
from headrace.engines.local.history import History
from headrace.engines.local.idle import IdleGpus
from headrace.engines.local.index import Index, Indexed
from headrace.engines.local.order import make_order
from headrace.engines.local.refusals import (
    REFUSED_FIELDS,
    LimitRefused,
    ResizeRefused,
    notes_on,
    require_possible,
    require_room,
    words,
)
from headrace.engines.local.reservations import ReservationNotFound, Reservations
from headrace.engines.local.rows import local_time, row_of, seen_by
from headrace.engines.local.settle import verdict
from headrace.engines.local.site import SiteFile
from headrace.engines.local.snapshot import Snapshot
from headrace.engines.local.store import Live, Store
from headrace.engines.local.submission import Element, Submission, WaitsFor
from headrace.engines.local.usage import Holding, present_stretch, share_tree, spent
from headrace.schedule.capacity import Capacity
from headrace.schedule.cluster import Reservation
from headrace.schedule.explain import Explanation, Ranked
from headrace.schedule.queue import Queued, Running
from headrace.schedule.reason import Reason, sentence
from headrace.schedule.request import request_of
from headrace.spec.job import JobSpec
from headrace.spec.load import read_submitted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """What an engine is told about its surroundings.

    ``state``: a folder on a local disk. ``now_s``: seconds since 1970. ``site``: read again before
    each pass, when it has changed. ``gpus_busy``: utilisation of each GPU by its number, 0 to 1.
    """

    state: Path
    host: str
    nodes: tuple[Capacity, ...]
    now_s: Callable[[], float]
    site: SiteFile
    gpus_busy: Callable[[], Mapping[int, float]] = dict


@dataclass
class Member:
    """A run that has not ended. ``history``: as of our own last event; the lead may have added."""

    asked: Submission
    history: History
    _queued: Queued | None = None
    _queued_as: History | None = None

    def queued(self, state_of: StateOf) -> Queued:
        """As it waits; the same object as long as nothing has changed."""
        if self._queued_as is not self.history or self.asked.after:
            now = queued_of(self.asked, self.history, state_of)
            self._queued_as = self.history
            if now != self._queued or self._queued is None:
                self._queued = now
        assert self._queued is not None
        return self._queued


class LocalEngine:
    """Implements ``headrace.engines.contract.Engine``."""

    def __init__(self, setting: Setting, store: Store, index: Index) -> None:
        self._setting = setting
        self._store = store
        self._index = index
        self._members: dict[str, Member] = {}
        self._live: dict[str, Live] = {}
        self._reasons: dict[str, Reason] = {}
        self._reservations = Reservations(setting.state / "reservations.json")
        self._books = Books(setting.site.now, setting.nodes, ())
        self._idle = IdleGpus(setting.site.now.idle_gpu)

    # --- coming and going ---------------------------------------------------------------------

    def open(self) -> None:
        """Rebuild the view from what is kept; adopt what still runs, settle what ended."""
        known = self._index.ids(final=True)
        found = self._store.open(known)
        self._index.keep_number(found.last_number)
        for asked, history in found.runs:
            self._members[asked.run_id] = Member(asked, history)
        self._index.put(self._indexed(asked, history) for asked, history in found.runs)
        self._index.remove((known | self._index.ids(final=False)) - found.present)
        for run_id in list(self._members):
            self._adopt(run_id)
        self._open_books()

    def _open_books(self) -> None:
        """From all places that were ever given back, under the rules as they are now."""
        charges = (
            Charge(queued_of(one.submission, History(), self._state_of), stretch)
            for one in self._index.all(ended=True)
            for stretch in one.stretches
        )
        self._books = Books(self._setting.site.now, self._setting.nodes, charges)
        self._idle = IdleGpus(self._setting.site.now.idle_gpu)

    def _adopt(self, run_id: str) -> None:
        asked, history = self._members[run_id].asked, self._members[run_id].history
        if history.state.is_final:
            del self._members[run_id]
            return
        if history.state is not State.RUNNING:
            return
        live = self._store.adopt(asked)
        if live is None:
            _log.info("%s: its lead is gone", run_id)
            self._follow(run_id, None)
            return
        _log.info("%s: adopted its lead", run_id)
        self._live[run_id] = live
        if history.cancel_by is not None:
            self._ask_to_stop(run_id, "cancel", history.cancel_by)
        elif history.displaced is not None:
            self._ask_to_stop(run_id, history.displaced.reason, history.displaced.by)

    def close(self) -> None:
        """Let everything run on; forget it."""
        for live in self._live.values():
            live.forget()
        self._live.clear()
        self._store.close()
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
        who: Caller,
        environment: Mapping[str, str],
        script: str | None,
    ) -> Submitted:
        earlier = [one for one in self._index.by_token(token) if may(one.row, who)]
        if earlier:
            return _submitted([entry.submission for entry in earlier], notes_on(spec))
        number = self._index.last_number() + 1
        elements = self._elements(spec, number=number, token=token, who=who)
        self._index.keep_number(number)
        self._store.add(elements, environment, script)
        asked = [element.submission for element in elements]
        for one in asked:
            self._members[one.run_id] = Member(one, History(submitted_s=one.submitted_s))
        self._index.put(self._indexed(one, self._members[one.run_id].history) for one in asked)
        return _submitted(asked, notes_on(spec))

    def _elements(self, spec: JobSpec, *, number: int, token: str, who: Caller) -> list[Element]:
        require_possible(spec, self._setting.site.now)
        request = request_of(spec, self._setting.nodes)
        require_room(request, self._setting.nodes)
        self._require_reservation(spec.reservation)
        elements = elements_of(
            spec,
            number=number,
            request=request,
            site=self._setting.site.now,
            after=self._after(spec, who),
            host=self._setting.host,
            who=who,
            runs=self._store.runs_of(who),
            token=token,
            now_s=self._setting.now_s(),
        )
        return [self._within_limits(element, len(elements)) for element in elements]

    def _within_limits(self, element: Element, count: int) -> Element:
        """With the time limit it is held to. Raise ``LimitRefused``."""
        job = queued_of(element.submission, History(), self._state_of)
        if element.submission.array_index in (None, 0):
            others = (
                queued_of(one.asked, one.history, self._state_of) for one in self._members.values()
            )
            refusal = self._books.refusal(job, others, count)
            if refusal is not None:
                raise LimitRefused(sentence(refusal))
        limited = replace(element.submission, limit_s=self._books.limit_s(job))
        return replace(element, submission=limited)

    def _require_reservation(self, name: str | None) -> None:
        known = [one.name for one in self.reservations()]
        if name is not None and name not in known:
            raise ReservationNotFound(name, known)

    def _after(self, spec: JobSpec, who: Caller) -> tuple[WaitsFor, ...]:
        """Names become ids of runs; a family's name stands for all its elements."""
        found = [
            WaitsFor(run_id=row.id, condition=condition)
            for condition in ("ok", "any", "notok")
            for name in getattr(spec.after, condition)
            for row in self.find(name, who=who)
        ]
        if spec.after.singleton:
            found += [
                WaitsFor(run_id=run_id, condition="any")
                for run_id, member in self._members.items()
                if (member.asked.user, member.asked.name) == (who.name, spec.name)
            ]
        return tuple(found)

    def dry_run(self, spec: JobSpec, *, who: Caller) -> Order:
        number = self._index.last_number() + 1
        element = self._elements(spec, number=number, token="", who=who)[0].submission
        now_s = self._setting.now_s()
        alone = queued_of(replace(element, after=()), History(), self._state_of)
        starts = (
            Books(self._setting.site.now, self._setting.nodes, ())
            .decide({alone.id: alone}, {}, [], now_s)
            .starts
        )
        assert starts, "require_room has found room"
        placed = starts[0].placed
        run = self._store.run(element)
        return make_order(spec, element, History(), placed, run=run, attempt=0)

    def runs(self, *, ended: bool, who: Caller) -> list[RunRow]:
        return self._seen(self._index.all(ended=ended), who)

    def find(self, name: str, *, who: Caller) -> list[RunRow]:
        return self._seen(self._find(name), who)

    def _seen(self, entries: Sequence[Indexed], who: Caller) -> list[RunRow]:
        owners = {run_id: member.asked.uid for run_id, member in self._members.items()}
        return [seen_by(who, self._now(one), owners) for one in entries]

    def _find(self, name: str) -> list[Indexed]:
        found = self._index.by_name(name)
        if not found:
            raise RunNotFound(name)
        return found

    def _theirs(self, name: str, who: Caller, what: str) -> list[RunRow]:
        """The runs of that name, of which ``who`` may do with all of them what they like."""
        rows = [self._now(one) for one in self._find(name)]
        for row in rows:
            if not may(row, who):
                raise NotYours(row, who, what)
        return rows

    def run(self, name: str, *, who: Caller) -> RunDetail:
        rows = self._theirs(name, who, "look into")
        if len(rows) > 1:
            raise RunNotFound(name, why=f"it is an array of {len(rows)} runs; name one of them")
        (asked,) = [one.submission for one in self._index.by_name(rows[0].id)]
        return RunDetail(run=rows[0], attempts=self._store.read(asked).attempts)

    def snapshot(self) -> Snapshot:
        """The queue now, for questions that take long to answer."""
        queue, running = self._queue()
        now_s = self._setting.now_s()
        scheduler = self._books.scheduler(queue, running, self.reservations(), now_s).copy()
        scheduler.decide(now_s)
        owners = {run_id: member.asked.uid for run_id, member in self._members.items()}
        return Snapshot(scheduler, now_s, owners)

    def waiting(self, name: str, *, who: Caller) -> str:
        """The id of the run that waits, or of the array's first that does. Raise ``NotWaiting``."""
        rows = self._theirs(name, who, "explain")
        for row in rows:
            if row.state is State.PENDING:
                return row.id
        raise NotWaiting(rows[0])

    def explain(self, name: str, *, who: Caller, sooner: bool = True) -> Explanation:
        run_id = self.waiting(name, who=who)
        return self.snapshot().explain(run_id, who=who, sooner=sooner)

    def ranking(self, *, who: Caller) -> list[Ranked]:
        return self.snapshot().ranking(who=who)

    def usage(self, *, who: Caller) -> list[Spent]:
        return [row for row in self._spent() if who.admin or row.user == who.name]

    def shares(self, *, who: Caller) -> list[Share]:
        used = self._books.usage(self.now_s())
        rows = share_tree(self._setting.site.now.accounts, used, self._spent())
        return [row for row in rows if who.admin or row.user in (None, who.name)]

    def _spent(self) -> list[Spent]:
        holdings = []
        for one in self._index.all(ended=True):
            asked, stretches = one.submission, list(one.stretches)
            if (member := self._members.get(asked.run_id)) and asked.run_id in self._live:
                stretches.append(present_stretch(member.history, self.now_s()))
            account, _ = self._books.seat(asked.account, asked.user)
            holdings.append(Holding(asked.user, account, stretches, one.energy_j))
        return spent(holdings)

    def nodes(self) -> list[Capacity]:
        return list(self._setting.nodes)

    def busy(self) -> bool:
        """Whether a run waits or runs."""
        return bool(self._members)

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="local", hold=True, arrays=True, elastic=True, refused_fields=REFUSED_FIELDS
        )

    # --- acting on runs -----------------------------------------------------------------------

    def cancel(self, name: str, *, who: Caller, now: bool) -> list[Acted]:
        rows = self._theirs(name, who, "cancel")
        return [self._cancel(row, who.name, now=now) for row in rows]

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
            if row.id in self._live:
                self._live[row.id].signal(signal.SIGKILL)
            return Acted(id=row.id, state=row.state, text="killed")
        self._ask_to_stop(row.id, "cancel", who)
        return Acted(id=row.id, state=row.state, text="asked to stop")

    def _ask_to_stop(self, run_id: str, reason: str, by: str, grace_s: float | None = None) -> None:
        live = self._live.get(run_id)
        if live is not None:
            request = StopRequest(reason=reason, by=by, grace_s=grace_s)
            self._store.ask_to_stop(self._members[run_id].asked, live, request)

    def hold(self, name: str, *, who: Caller) -> list[Acted]:
        rows = self._theirs(name, who, "hold")
        return [self._hold(row, events.Held(by=who.name), "held") for row in rows]

    def release(self, name: str, *, who: Caller) -> list[Acted]:
        rows = self._theirs(name, who, "release")
        return [self._hold(row, events.Released(by=who.name), "released") for row in rows]

    def _hold(self, row: RunRow, event: events.Held | events.Released, done: str) -> Acted:
        if row.state is not State.PENDING:
            return Acted(id=row.id, state=row.state, text=f"is {row.state}, not waiting")
        if self._members[row.id].history.held == isinstance(event, events.Held):
            return Acted(id=row.id, state=row.state, text=f"is already {done}")
        self._write(row.id, event, durable=True)
        return Acted(id=row.id, state=row.state, text=done)

    def runs_of(self, who: Caller) -> Path:
        """The folder of the run directories of ``who``. Raise ``HeadraceError``."""
        return self._store.runs_of(who)

    def site(self) -> tuple[str, str | None]:
        """The path of the site file, and what is wrong with it now."""
        file = self._setting.site
        return str(file.path), None if file.problem is None else str(file.problem)

    def reload(self) -> None:
        """Read the site file now. Raise ``SiteInvalid``; the rules then stay as they were."""
        self._setting.site.refresh(force=True)
        self._open_books()
        if self._setting.site.problem is not None:
            raise self._setting.site.problem

    def requeue(self, name: str, *, who: Caller) -> list[Acted]:
        return [self._requeue(row, who.name) for row in self._theirs(name, who, "requeue")]

    def _requeue(self, row: RunRow, who: str) -> Acted:
        if row.state is not State.RUNNING:
            return Acted(id=row.id, state=row.state, text=f"is {row.state}, not running")
        if self._members[row.id].history.displaced is None:
            self._displace(row.id, "requeue", who, None, None)
        return Acted(id=row.id, state=row.state, text="asked to save and leave; it is queued again")

    def resize(self, name: str, *, nodes: tuple[int, int], who: Caller) -> list[Acted]:
        return [self._resize(row, nodes, who.name) for row in self._theirs(name, who, "resize")]

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

    def reserve(self, asked: Reservation, *, who: Caller) -> list[Reservation]:
        """Keep nodes. Raise ``ReservationRefused``."""
        names = [node.name for node in self._setting.nodes]
        self._reservations.add(asked, self.reservations(), names, self.now_s())
        _log.info("%s reserved %s", who.name, asked)
        return self.reservations()

    def unreserve(self, name: str, *, who: Caller) -> list[Reservation]:
        """Give them back. Raise ``ReservationNotFound``."""
        self._reservations.drop(name)
        _log.info("%s dropped the reservation %s", who.name, name)
        return self.reservations()

    # --- scheduling ---------------------------------------------------------------------------

    def schedule(self) -> float:
        """Start what can start; displace what must; end what can never start.

        Return when to do so again, in seconds since 1970, even if nothing happens.
        """
        if self._setting.site.refresh():
            self._open_books()
        while True:
            queue, running = self._queue()
            now_s = self._setting.now_s()
            decided = self._books.decide(queue, running, self.reservations(), now_s)
            for start in decided.starts:
                self._start(start.id, start.placed)
            for stop in decided.stops:
                self._displace(stop.run_id, stop.reason, stop.by, stop.slices, stop.grace_s)
            for run_id, hopeless in decided.hopeless.items():
                self._end(run_id, State.CANCELLED, EXIT_INTERRUPTED, sentence(hopeless))
            if not decided.hopeless:
                break
        self._reasons = decided.reasons
        return min(decided.wake_s, self._store.overdue(now_s), self._look_for_idle_gpus(now_s))

    def _look_for_idle_gpus(self, now_s: float) -> float:
        """Warn or cancel who lets them stand idle. Return when to look again."""
        held = {
            run_id: gpus
            for run_id in self._live
            if (gpus := [gpu for one in self._members[run_id].history.placed for gpu in one.gpus])
        }
        if not held or now_s < self._idle.due_s:
            return self._idle.due_s if held else inf
        for run_id, what, idle_s in self._idle.look(now_s, held, self._setting.gpus_busy()):
            text = f"its GPUs stand at 0 % since {format_duration(round(idle_s))}"
            self._write(run_id, events.Noted(level="warning", text=text))
            if what == "cancel" and self._members[run_id].history.cancel_by is None:
                by = "the idle-GPU rule"
                self._write(run_id, events.CancelAsked(by=by), durable=True)
                self._ask_to_stop(run_id, "cancel", by)
        return self._idle.due_s

    def _queue(self) -> tuple[dict[str, Queued], dict[str, Running]]:
        """What waits and what runs. A waiting run that has not changed is the same object."""
        queue, running = {}, {}
        for run_id, member in self._members.items():
            if run_id in self._live:
                running[run_id] = running_of(member.asked, member.history, self._state_of)
            else:
                queue[run_id] = member.queued(self._state_of)
        return queue, running

    def _displace(
        self, run_id: str, reason: str, by: str, nodes: int | None, grace_s: float | None
    ) -> None:
        """Have it save and leave; it is queued again when its lead has gone."""
        event = events.Displaced(reason=reason, by=by, nodes=nodes)
        self._write(run_id, event, durable=True)
        self._ask_to_stop(run_id, reason, by, grace_s)

    def _state_of(self, run_id: str) -> State | None:
        found = self._index.by_name(run_id)
        return found[0].row.state if found else None

    def _start(self, run_id: str, placed: tuple[Placed, ...]) -> None:
        member = self._members[run_id]

        def order(history: History, attempt: int) -> Order:
            spec, run = read_submitted(self._store.job(member.asked)), self._store.run(member.asked)
            return make_order(spec, member.asked, history, placed, run=run, attempt=attempt)

        try:
            self._live[run_id] = self._store.start(member.asked, placed, order)
        except (HeadraceError, OSError, UnicodeDecodeError) as error:
            self._end(run_id, State.FAILED, 1, f"it could not be started: {error}")
            return
        _log.info("%s: started its lead", run_id)
        member.history = self._store.read(member.asked)
        self._index.put([self._indexed(member.asked, member.history)])

    # --- ends ---------------------------------------------------------------------------------

    def leads(self) -> dict[str, int]:
        """Run id -> pidfd of its lead: readable when the lead is gone."""
        return {run_id: live.pidfd for run_id, live in self._live.items()}

    def collect(self, run_id: str) -> None:
        """A process watched for the run is gone: find out what follows."""
        live = self._live.pop(run_id)
        os.close(live.pidfd)
        self._follow(run_id, live)

    def _follow(self, run_id: str, live: Live | None) -> None:
        """The run's lead is gone: clear up, find out how it ended, requeue or end the run."""
        member = self._members[run_id]
        left = self._store.collect(member.asked, live)
        if isinstance(left, Live):
            self._live[run_id] = left
            return
        if left.killed:
            event = events.TreeKilled(pids=tuple(left.killed), detail="left behind by the lead")
            self._store.write(member.asked, event)
        if left.energy_j is not None:
            self._store.write(member.asked, events.Metered(energy_j=left.energy_j))
        follows = verdict(member.asked, left.history, lead_error=left.lead_error)
        member.history = self._store.settle(member.asked, left, follows)
        _log.info("%s: %s %s", run_id, member.history.state, member.history.detail)
        for stretch in member.history.stretches[-1:]:
            self._books.ended(
                Charge(queued_of(member.asked, member.history, self._state_of), stretch)
            )
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

    def _write(self, run_id: str, event: events.Event, *, durable: bool = False) -> None:
        member = self._members[run_id]
        member.history = self._store.write(member.asked, event, durable=durable)

    def _now(self, entry: Indexed) -> RunRow:
        """The row as it is now: files of a run that has ended do not change any more."""
        member = self._members.get(entry.row.id)
        if member is None:
            return entry.row
        running = member.history.state is State.RUNNING
        history = self._store.read(entry.submission) if running else member.history
        return self._indexed(entry.submission, history).row

    def _indexed(self, asked: Submission, history: History) -> Indexed:
        reason = self._reasons.get(asked.run_id) if history.state is State.PENDING else None
        waits = "" if reason is None else sentence(reason, local_time)
        row = row_of(asked, history, reason=waits, run_dir=self._store.run(asked).root)
        return Indexed(
            submission=asked, row=row, stretches=history.stretches, energy_j=history.energy_j
        )


def _submitted(asked: Sequence[Submission], notes: tuple[str, ...]) -> Submitted:
    return Submitted(
        id=asked[0].array_id or asked[0].run_id,
        runs=tuple(one.run_id for one in asked),
        notes=notes,
    )
