"""Why a run waits on Slurm, when it starts, what would start it sooner: asks, and puts together.

An explanation costs at most five questions and ``PROBES_MAX`` probes, and is kept for half a
minute. What a site does not tell is left out, and said in the notes.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from headrace.core.errors import HeadraceError
from headrace.core.records import DecodeError, read_record, replace, write_record
from headrace.core.rundir import RunDir
from headrace.engines.contract import Caller, NotWaiting
from headrace.engines.slurm import commands, everyone, limits, probes, why
from headrace.engines.slurm.call import Call
from headrace.engines.slurm.everyone import Job, before, parse_everyone, rivals
from headrace.engines.slurm.exclude import kept_away
from headrace.engines.slurm.facts import Facts
from headrace.engines.slurm.jobs import job_name
from headrace.engines.slurm.reasons import in_words
from headrace.engines.slurm.reservations import in_the_way, parse_reservations
from headrace.engines.slurm.rows import parse_fields
from headrace.engines.slurm.script import asked_options
from headrace.engines.slurm.view import Run
from headrace.engines.slurm.weights import parse_weights
from headrace.schedule.change import given_up_of
from headrace.schedule.cluster import Reservation
from headrace.schedule.explain import Explanation, Ranked, Sooner, Standing
from headrace.schedule.forecast import Forecast, NotReckoned
from headrace.schedule.multifactor import Factors
from headrace.schedule.reason import Told
from headrace.spec.load import read_submitted

_FRESH_S = 30.0
_BEFORE = 5
_GAIN_PART, _GAIN_S = 0.1, 60.0
_NEVER = ("DependencyNeverSatisfied", "BadConstraints", "PartitionTimeLimit", "PartitionNodeLimit")
_HELD = ("JobHeldUser", "JobHeldAdmin", "Dependency", *_NEVER)


class Explainer:
    """``state``: a folder on a local disk, for what was found out. ``names``: our runs' by job."""

    def __init__(
        self,
        facts: Facts,
        call: Call,
        state: Path,
        who: Caller,
        *,
        names: Callable[[], dict[str, str]],
        now_s: Callable[[], float],
    ) -> None:
        self._facts = facts
        self._call = call
        self._state = state
        self._who = who
        self._names = names
        self._now_s = now_s
        self._notes: list[str] = []

    def explain(self, runs: Sequence[Run], *, sooner: bool) -> Explanation:
        """The first of ``runs`` that waits. Without ``sooner`` Slurm is asked nothing: what the
        last poll said must do. Raise ``NotWaiting``."""
        run = next((one for one in runs if one.row.state == "PENDING"), runs[0])
        if run.row.state != "PENDING":
            raise NotWaiting(run.row)
        if not sooner or run.job is None:
            return _at_a_glance(run, self._now_s())
        digest = hashlib.sha256(run.asked.run_id.encode()).hexdigest()[:16]
        path = self._state / "explained" / f"{digest}.json"
        with contextlib.suppress(OSError, DecodeError):
            known = read_record(path, Explanation)
            same = run.queued is None or known.word == _word(run.queued.reason)
            if same and known.run == run.row.id and 0 <= self._now_s() - known.now_s < _FRESH_S:
                return known
        found = self._explain(run, job_name(run.job, run.asked))
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_record(path, found, mode=0o600)
        return found

    def ranking(self) -> list[Ranked]:
        """All that wait for nodes, in order, with what sprio says of them."""
        jobs = [job for job in self._everyone() if job.in_line]
        factors = self._weights([])
        names = self._names()
        jobs.sort(key=lambda job: everyone.order(job, self._facts))
        return [
            Ranked(
                run=name_of(job, names),
                user=job.user,
                account=job.account,
                place=place,
                factors=factors.get(job.job_id),
            )
            for place, job in enumerate(jobs, 1)
        ]

    # --- putting it together ------------------------------------------------------------------

    def _explain(self, run: Run, job_id: str) -> Explanation:
        now_s, facts = self._now_s(), self._facts
        self._notes = []
        jobs = self._everyone()
        array, _, element = job_id.partition("_")
        number = int(element) if element else None
        own = next((one for one in jobs if everyone.same(one, array, number)), None)
        fields = parse_fields(self._call(commands.show_job(job_id)))[0]
        if own is None or not own.waits:
            raise NotWaiting(run.row)
        need = _need(own, fields, self._who.name, self._facts)
        grades = self._grades(need.qos)
        reservations = self._reservations(own)
        here = everyone.nodes_of(own.partitions, facts)
        known = why.Known(
            own=own,
            request=run.asked.request,
            fields=fields,
            jobs=tuple(jobs),
            nodes=tuple(self._nodes(own)),
            limits=tuple(limits.in_force(grades, need)),
            reserved=in_the_way(reservations, here, own.limit_s, now_s),
            own_reservation=next(
                (one for one in reservations if one.name == fields.get("Reservation")), None
            ),
        )
        factors = self._weights([array]).get(own.job_id)
        names = self._names()
        reasons = why.reasons_of(
            known, facts, lambda job: name_of(job, names), _waits_for(fields, names)
        )
        forecast = _forecast(own)
        found = Explanation(
            run=run.row.id,
            now_s=now_s,
            reasons=tuple(reasons),
            forecast=forecast,
            standing=self._standing(own, jobs, names) if own.in_line else None,
            factors=factors,
            word=_word(own.reason),
            shares=limits.entitlements(grades, need),
            limits=known.limits,
            sooner=self._sooner(run, known, factors, forecast, now_s),
        )
        away = kept_away(fields)
        return replace(
            found, notes=(*([] if away is None else [away]), *self._notes, *self._caveats())
        )

    def _standing(self, own: Job, jobs: Sequence[Job], names: dict[str, str]) -> Standing:
        ahead = before(own, jobs, self._facts)
        here = everyone.nodes_of(own.partitions, self._facts)
        waiting = len(rivals(jobs, here, self._facts))
        shown = tuple(name_of(job, names) for job in ahead[:_BEFORE])
        return Standing(place=len(ahead) + 1, of=max(waiting, len(ahead) + 1), before=shown)

    def _sooner(
        self,
        run: Run,
        known: why.Known,
        factors: Factors | None,
        forecast: Forecast,
        now_s: float,
    ) -> tuple[Sooner, ...]:
        own, facts = known.own, self._facts
        word = own.reason.partition(",")[0]
        if word in _HELD or word in ("BeginTime", "JobArrayTaskLimit"):
            return ()
        over = limits.exceeded(known.limits)
        asked = probes.Asked(
            job=own,
            request=known.request,
            fit=why.room_for(known, facts),
            factors=factors,
            reserved_s=None if known.reserved is None else known.reserved.start_s,
        )
        spec = read_submitted(RunDir(Path(run.row.run_dir)).job.read_text())
        options = asked_options(spec, known.request)
        found = []
        for change in probes.candidates(asked, known.jobs, facts, over, now_s):
            tested = self._test(probes.options_of(change, asked, options))
            if tested is None:
                continue
            start_s = probes.start_of(tested, change, asked, known.jobs, facts, now_s)
            if _is_worth(start_s, forecast.start_s, now_s):
                found.append(Sooner(change=change, start_s=start_s))
        found.sort(key=lambda one: given_up_of(known.request, own.limit_s, one.change))
        return probes.without_needless(found)

    # --- asking -------------------------------------------------------------------------------

    def _everyone(self) -> list[Job]:
        return parse_everyone(self._call(everyone.everyone_command()))

    def _test(self, options: Sequence[str]) -> probes.Answer | None:
        try:
            return probes.parse_test(self._call(commands.test_only(options)))
        except HeadraceError:
            return None

    def _weights(self, job_ids: Sequence[str]) -> dict[str, Factors]:
        if "multifactor" not in self._facts.priority_type:
            plugin = self._facts.priority_type
            self._notes.append(f"the site uses {plugin}: first come, first served, no factors")
            return {}
        return parse_weights(self._quietly(commands.sprio(job_ids), "the parts of its priority"))

    def _grades(self, qos: Sequence[str]) -> list[limits.Grade]:
        if not self._facts.accounting:
            self._notes.append("the site has no accounting: no shares and no limits of accounts")
            return []
        command = commands.show_limits(self._who.name, qos)
        text = self._quietly(command, "shares and limits")
        return limits.parse_grades(text, self._who.name, self._who.uid)

    def _nodes(self, own: Job) -> list[why.Node]:
        here = sorted(everyone.nodes_of(own.partitions, self._facts))
        nodes = why.parse_free(self._quietly(commands.show_nodes(",".join(here)), "free nodes"))
        if away := why.away(nodes, set(here)):
            more = f" and {len(away) - _BEFORE} more" if len(away) > _BEFORE else ""
            shown = ", ".join(away[:_BEFORE])
            self._notes.append(f"out of use in its partitions: {shown}{more} of {len(here)} nodes")
        return nodes

    def _reservations(self, own: Job) -> list[Reservation]:
        """Where Slurm speaks of one."""
        if "Reserv" not in own.reason:
            return []
        text = self._quietly(commands.show_reservations(), "reservations")
        return parse_reservations(text)

    def _quietly(self, argv: Sequence[str], what: str) -> str:
        """Nothing where it is refused or not there; a note says what is missing."""
        try:
            return self._call(argv)
        except HeadraceError as error:
            self._notes.append(f"{what} are not shown: {argv[0]}: {error.why}")
            return ""

    def _caveats(self) -> Iterable[str]:
        if "jobs" in self._facts.hidden:
            yield "the site hides jobs of others: places and holders are of your own jobs alone"
        if "usage" in self._facts.hidden:
            yield "the site hides the usage of others"


def name_of(job: Job, names: dict[str, str]) -> str:
    """Our run's own name, else "job 4711 of bob"."""
    element = f"_{job.elements[0]}" if len(job.elements) == 1 else ""
    for known in (f"{job.array_job_id}{element}", job.array_job_id):
        if known in names:
            return names[known]
    return f"job {job.array_job_id}{element} of {job.user}"


def _waits_for(fields: dict[str, str], names: dict[str, str]) -> list[str]:
    found = why.dependencies(fields.get("Dependency", ""))
    return [names.get(job.removesuffix("_*"), f"job {job}") for _, job in found]


def _need(own: Job, fields: dict[str, str], user: str, facts: Facts) -> limits.Need:
    """``TRES`` was called ReqTRES from 23.02 on."""
    text = fields.get("ReqTRES", fields.get("TRES", ""))
    of_partitions = [one.qos for one in facts.partitions if one.name in own.partitions]
    return limits.Need(
        account=own.account,
        qos=(own.qos, *dict.fromkeys(filter(None, of_partitions))),
        user=user,
        amounts=limits.amounts_of(text),
        limit_s=own.limit_s,
    )


def _word(reason: str) -> str:
    return reason.partition(",")[0]


def _forecast(own: Job) -> Forecast:
    word = _word(own.reason)
    if own.start_s is not None:
        return Forecast(start_s=own.start_s, nodes=own.nodes, bound=True)
    if word == "Dependency":
        why_not = "it starts after what it waits for has ended"
    elif word in _HELD:
        why_not = "it does not start as things are"
    elif limits.is_limit(word):
        why_not = "Slurm reckons no start for a run that a limit holds back"
    else:
        why_not = "Slurm has not reckoned it yet; its backfill looks at the first of the queue only"
    return Forecast(unknown=NotReckoned(why=why_not))


def _at_a_glance(run: Run, now_s: float) -> Explanation:
    """From the last look at the queue, which may have been before Slurm had the run."""
    queued = run.queued
    word = "" if queued is None else _word(queued.reason)
    text = run.row.reason if queued is None else in_words(queued.reason)
    if queued is None or queued.start_s is None:
        forecast = Forecast(unknown=NotReckoned(why="Slurm has not reckoned it"))
    else:
        forecast = Forecast(start_s=queued.start_s, bound=True)
    told = Told(word=word, text=text)
    return Explanation(run=run.row.id, now_s=now_s, reasons=(told,), forecast=forecast, word=word)


def _is_worth(start_s: float, old_s: float | None, now_s: float) -> bool:
    if old_s is None:
        return True
    return start_s <= old_s - max(_GAIN_S, _GAIN_PART * (old_s - now_s))
