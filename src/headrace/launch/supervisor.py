"""Supervision of one run as a pure state machine: events in, effects out.

The lead feeds it everything that happens, with the time, and carries out what it answers; nothing
here knows a clock, a socket or a process. What it promises:

* an attempt ends as a whole: one rank's death ends all of them;
* a new attempt starts only when every node is clear of the old one;
* a stop, once asked, is never turned into a restart;
* a node is given up only while ``nodes_min`` are left, else the run has lost its place;
* a run that gets no further is given up after ``restart.no_progress`` attempts;
* exactly one ``End`` leaves it, and nothing after that.
"""

from enum import Enum
from typing import assert_never

from headrace.core.errors import EXIT_NODE_LOST
from headrace.core.order import RestartPolicy
from headrace.core.records import Record, replace
from headrace.core.states import State

STACKS_WAIT_S = 5.0
LIMIT_ASKED_S = 15.0  # before a run is told to stop: its end may have been put off
_LIMIT_JITTER_S = 1.0
EXIT_CANCELLED = 130
EXIT_TIMEOUT = 124


class Phase(Enum):
    WAITING = "waiting for all nodes to be clear and ready"
    RUNNING = "ranks run"
    CLEARING = "the attempt is over; its nodes are being cleared"
    ENDED = "ended"


class Outcome(Record, frozen=True):
    """Why an attempt is over. ``kind``: completed, stopped, error, node, hang, oom, preempt."""

    kind: str
    detail: str
    exit_code: int = 0


class Stop(Record, frozen=True):
    reason: str
    deadline_s: float


class Run(Record, frozen=True):
    """State of one run's supervision. Times are on the lead's monotonic clock, in seconds.

    ``nodes_min``: with how few nodes it may go on; None for all. ``no_progress``,
    ``furthest_step``: also of earlier leads. ``asks_limit``: whether somebody can say that the time
    limit is another one by now; ``asked_limit_s``: the one of which that was asked last.
    """

    restart: RestartPolicy
    nodes: frozenset[str]
    world_size: int
    stop_grace_s: float
    kill_wait_s: float
    hang_s: float | None
    limit_at_s: float | None
    attempt: int
    nodes_min: int | None = None
    restarts: int = 0
    phase: Phase = Phase.WAITING
    ready: frozenset[str] = frozenset()
    ranks_left: frozenset[int] = frozenset()
    not_before_s: float = 0.0
    stop: Stop | None = None
    outcome: Outcome | None = None
    spoke: bool = False
    heard_at_s: float = 0.0
    step: int | None = None
    furthest_step: int = -1
    no_progress: int = 0
    kill_at_s: float | None = None
    asks_limit: bool = False
    asked_limit_s: float | None = None


# --- events ------------------------------------------------------------------------------------


class NodeReady(Record, frozen=True):
    """The node's agent is up and nothing of an attempt is left on it."""

    node: str


class NodeGone(Record, frozen=True):
    """The node's agent died or went silent; its ranks are gone or will be."""

    node: str
    detail: str


class NodeDead(Record, frozen=True):
    """The node cannot be used: the run goes on without it, or elsewhere."""

    node: str
    detail: str


class RankDied(Record, frozen=True):
    """``exit_code`` is negative for a signal. 0 is a good end."""

    rank: int
    exit_code: int


class RankSpoke(Record, frozen=True):
    """A rank told its agent something; ``step`` is the last step it finished."""

    rank: int
    step: int


class StartFailed(Record, frozen=True):
    """A node could not start its ranks (setup failed, no such folder)."""

    node: str
    detail: str
    exit_code: int


class MemoryExceeded(Record, frozen=True):
    node: str
    detail: str


class StopWanted(Record, frozen=True):
    """``grace_s`` None: the run's own."""

    reason: str
    grace_s: float | None = None


class HeardNobody(Record, frozen=True):
    """The lead could not hear anybody for ``gap_s``. ``suspended``: nor did the run go on then, and
    its time limit was no nearer."""

    gap_s: float
    suspended: bool


class LimitIs(Record, frozen=True):
    """The answer to ``AskLimit``."""

    limit_at_s: float


class Tick(Record, frozen=True):
    """Time has passed; nothing else happened."""


Event = (
    NodeReady
    | NodeGone
    | NodeDead
    | RankDied
    | RankSpoke
    | StartFailed
    | MemoryExceeded
    | StopWanted
    | HeardNobody
    | LimitIs
    | Tick
)


# --- effects -----------------------------------------------------------------------------------


class StartAttempt(Record, frozen=True):
    attempt: int


class AskToStop(Record, frozen=True):
    """Ranks that speak are told; the others get SIGTERM. ``deadline_s`` on the lead's clock."""

    reason: str
    deadline_s: float


class DumpStacks(Record, frozen=True):
    pass


class AskLimit(Record, frozen=True):
    """Find out whether the time limit still holds. Without an answer it does."""


class KillRanks(Record, frozen=True):
    """Leave nothing of the attempt on any node. ``grace_s``: time to end by themselves first."""

    grace_s: float


class AttemptOver(Record, frozen=True):
    """For the record. ``restart_in_s`` None: the run ends here."""

    outcome: Outcome
    step: int | None
    restart_in_s: float | None


class End(Record, frozen=True):
    state: State
    exit_code: int
    detail: str


Effect = StartAttempt | AskToStop | DumpStacks | AskLimit | KillRanks | AttemptOver | End


# --- the machine -------------------------------------------------------------------------------


def on_event(run: Run, event: Event, now_s: float) -> tuple[Run, list[Effect]]:
    """The state after ``event`` and what to do about it, in order."""
    if run.phase is Phase.ENDED:
        return run, []
    match event:
        case NodeReady(node) if node not in run.nodes:
            return run, []
        case NodeReady(node):
            return _advance(replace(run, ready=run.ready | {node}), now_s)
        case NodeGone(node, detail):
            run = replace(run, ready=run.ready - {node})
            return _over(run, Outcome("node", f"node {node} was lost: {detail}", 1), now_s)
        case NodeDead(node, detail):
            return _node_dead(run, node, detail, now_s)
        case RankDied(rank, exit_code):
            return _rank_died(run, rank, exit_code, now_s)
        case RankSpoke(_, step):
            furthest = step if run.step is None else max(run.step, step)
            return replace(run, spoke=True, heard_at_s=now_s, step=furthest, kill_at_s=None), []
        case StartFailed(node, detail, exit_code):
            return _over(run, Outcome("error", f"node {node}: {detail}", exit_code), now_s)
        case MemoryExceeded(node, detail):
            return _over(run, Outcome("oom", f"node {node}: {detail}", 137), now_s)
        case StopWanted(reason, grace_s):
            return _stop(run, reason, run.stop_grace_s if grace_s is None else grace_s, now_s)
        case HeardNobody(gap_s, suspended):
            return _pass_over(run, gap_s, suspended), []
        case LimitIs(limit_at_s):
            return _move_limit(run, limit_at_s), []
        case Tick():
            return _ask_limit(*_tick(run, now_s), now_s)
        case _:
            assert_never(event)


def next_wake_s(run: Run) -> float | None:
    """When ``Tick`` is wanted next at the latest; None: only events matter."""
    times = [run.kill_at_s]
    if run.phase is Phase.WAITING and run.ready == run.nodes:
        times.append(run.not_before_s)
    if run.phase is Phase.RUNNING:
        times.append(run.stop.deadline_s if run.stop else _stop_for_limit_at_s(run))
        if run.spoke and run.hang_s is not None and run.kill_at_s is None:
            times.append(run.heard_at_s + run.hang_s)
    elif run.limit_at_s is not None:
        times.append(run.limit_at_s)
    times.append(_ask_limit_at_s(run))
    return min((time for time in times if time is not None), default=None)


def _pass_over(run: Run, gap_s: float, suspended: bool) -> Run:
    """As if the gap had not been."""
    kill_at_s = None if run.kill_at_s is None else run.kill_at_s + gap_s
    run = replace(run, heard_at_s=run.heard_at_s + gap_s, kill_at_s=kill_at_s)
    if not suspended:
        return run
    stop, limit_at_s = run.stop, run.limit_at_s
    return replace(
        run,
        limit_at_s=None if limit_at_s is None else limit_at_s + gap_s,
        stop=None if stop is None else replace(stop, deadline_s=stop.deadline_s + gap_s),
    )


def _node_dead(run: Run, node: str, detail: str, now_s: float) -> tuple[Run, list[Effect]]:
    """Go on without it, if the run may."""
    lost = Outcome("node", f"node {node} cannot be used: {detail}", EXIT_NODE_LOST)
    rest = run.nodes - {node}
    if run.nodes_min is None or len(rest) < run.nodes_min or "node" not in run.restart.on:
        return _end(run, State.PREEMPTED, lost)
    world_size = run.world_size // len(run.nodes) * len(rest)
    run = replace(run, nodes=rest, ready=run.ready & rest, world_size=world_size)
    return _over(run, lost, now_s) if run.phase is Phase.RUNNING else _advance(run, now_s)


def _rank_died(run: Run, rank: int, exit_code: int, now_s: float) -> tuple[Run, list[Effect]]:
    if run.phase is not Phase.RUNNING or rank not in run.ranks_left:
        return run, []
    run = replace(run, ranks_left=run.ranks_left - {rank})
    if exit_code != 0:
        status = 128 - exit_code if exit_code < 0 else exit_code
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        return _over(run, Outcome("error", f"rank {rank} ended with {how}", status), now_s)
    if run.ranks_left:
        return run, []
    return _over(run, Outcome("completed", "all ranks ended well"), now_s)


def _over(run: Run, outcome: Outcome, now_s: float) -> tuple[Run, list[Effect]]:
    """The attempt is over; the first reason is the one that counts."""
    if run.stop is not None:
        outcome = Outcome("stopped", f"stopped ({run.stop.reason})")
    if run.phase is Phase.WAITING:
        if outcome.kind == "node":
            return run, []  # the lead brings a new agent up; nothing ran there
        return _conclude(replace(run, outcome=outcome), now_s)
    if run.phase is Phase.CLEARING:
        return _advance(run, now_s)
    grace_s = 0.0 if outcome.kind in ("completed", "stopped", "hang") else 1.0
    run = replace(run, phase=Phase.CLEARING, outcome=outcome, ready=frozenset(), kill_at_s=None)
    return run, [KillRanks(grace_s)]


def _advance(run: Run, now_s: float) -> tuple[Run, list[Effect]]:
    """Go on when every node is ready."""
    if run.ready != run.nodes:
        return run, []
    if run.phase is Phase.CLEARING:
        return _conclude(run, now_s)
    if run.phase is Phase.WAITING:
        if run.stop is not None:
            stopped = Outcome("stopped", f"stopped ({run.stop.reason})")
            return _conclude(replace(run, outcome=stopped), now_s)
        if now_s >= run.not_before_s:
            run = replace(
                run,
                phase=Phase.RUNNING,
                ranks_left=frozenset(range(run.world_size)),
                heard_at_s=now_s,
                step=None,
                outcome=None,
            )
            return run, [StartAttempt(run.attempt)]
    return run, []


def _conclude(run: Run, now_s: float) -> tuple[Run, list[Effect]]:
    """All nodes are clear: restart or end."""
    outcome = run.outcome
    assert outcome is not None
    if outcome.kind == "completed":
        return _end(run, State.COMPLETED, outcome)
    if outcome.kind == "stopped":
        assert run.stop is not None
        ends = {"cancel": State.CANCELLED, "time": State.TIMEOUT}
        again = run.stop.reason in run.restart.on
        state = State.PREEMPTED if again else ends.get(run.stop.reason, State.PREEMPTED)
        code = EXIT_TIMEOUT if state is State.TIMEOUT else EXIT_CANCELLED
        return _end(run, state, replace(outcome, exit_code=code))
    further = run.step is not None and run.step > run.furthest_step
    run = replace(
        run,
        furthest_step=run.step if further and run.step is not None else run.furthest_step,
        no_progress=0 if further else run.no_progress + 1,
    )
    refusal = _why_no_restart(run, outcome)
    if refusal is not None:
        state = {"node": State.NODE_FAIL, "oom": State.OUT_OF_MEMORY}.get(
            outcome.kind, State.FAILED
        )
        return _end(run, state, replace(outcome, detail=f"{outcome.detail}; {refusal}"))
    delay_s = backoff_s(run.restart, run.no_progress)
    run = replace(
        run,
        phase=Phase.WAITING,
        attempt=run.attempt + 1,
        restarts=run.restarts + 1,
        not_before_s=now_s + delay_s,
    )
    return run, [AttemptOver(outcome, run.step, delay_s)]


def backoff_s(restart: RestartPolicy, no_progress: int) -> float:
    """Seconds before the next attempt: doubled for each attempt in a row that got no further."""
    return min(restart.backoff_max_s, restart.backoff_s * 2.0 ** min(no_progress, 30))


def _why_no_restart(run: Run, outcome: Outcome) -> str | None:
    """A reason in words not to restart, or None."""
    policy = run.restart
    if outcome.kind not in policy.on:
        return f"restart.on does not name {outcome.kind}"
    if outcome.kind == "error" and outcome.exit_code in policy.never_on_exit:
        return f"exit code {outcome.exit_code} is in restart.never_on_exit"
    if outcome.kind == "error" and not run.spoke and not policy.silent_error:
        return "it had reported no step and the job file asks for no restart on error"
    if run.restarts >= policy.max:
        return f"{run.restarts} of {policy.max} restarts are used"
    if run.no_progress >= policy.no_progress and (run.spoke or outcome.kind == "error"):
        return f"{run.no_progress} attempts in a row got no further"
    return None


def _end(run: Run, state: State, outcome: Outcome) -> tuple[Run, list[Effect]]:
    run = replace(run, phase=Phase.ENDED, outcome=outcome)
    return run, [
        AttemptOver(outcome, run.step, None),
        End(state, outcome.exit_code, outcome.detail),
    ]


def _stop(run: Run, reason: str, grace_s: float, now_s: float) -> tuple[Run, list[Effect]]:
    """The first stop counts; a later one can only bring the deadline forward, or cancel."""
    wait_s = grace_s if run.spoke else run.kill_wait_s
    deadline_s = now_s + wait_s
    if run.stop is not None:
        reason = reason if reason == "cancel" else run.stop.reason
        deadline_s = min(deadline_s, run.stop.deadline_s)
        if (reason, deadline_s) == (run.stop.reason, run.stop.deadline_s):
            return run, []
    run = replace(run, stop=Stop(reason, deadline_s))
    if run.phase is Phase.RUNNING:
        return run, [AskToStop(reason, deadline_s)]
    if run.phase is Phase.CLEARING:
        kind = "" if run.outcome is None else run.outcome.kind
        if kind == "completed":
            return replace(run, stop=None), []
        if kind == "node" and reason == "preempt" and run.outcome is not None:
            lost = replace(run.outcome, exit_code=EXIT_NODE_LOST)
            return _end(run, State.PREEMPTED, lost)  # the batch system has noticed it, too
        return replace(run, outcome=Outcome("stopped", f"stopped ({reason})")), []
    return _conclude(replace(run, outcome=Outcome("stopped", f"stopped ({reason})")), now_s)


def _stop_for_limit_at_s(run: Run) -> float | None:
    """Programs that speak are asked ``stop_grace_s`` before the limit, others at the limit."""
    if run.limit_at_s is None:
        return None
    return run.limit_at_s - (run.stop_grace_s if run.spoke else 0.0)


def _ask_limit_at_s(run: Run) -> float | None:
    """Once for each limit, so that who can answer is rarely asked."""
    stop_s = _stop_for_limit_at_s(run)
    if stop_s is None or not run.asks_limit or run.asked_limit_s == run.limit_at_s:
        return None
    if run.stop is not None or run.phase not in (Phase.WAITING, Phase.RUNNING):
        return None
    return stop_s - LIMIT_ASKED_S


def _ask_limit(run: Run, effects: list[Effect], now_s: float) -> tuple[Run, list[Effect]]:
    ask_s = _ask_limit_at_s(run)
    if ask_s is None or now_s < ask_s:
        return run, effects
    return replace(run, asked_limit_s=run.limit_at_s), [*effects, AskLimit()]


def _move_limit(run: Run, limit_at_s: float) -> Run:
    """To a later time. A stop that was asked for goes on."""
    if run.limit_at_s is None or limit_at_s <= run.limit_at_s + _LIMIT_JITTER_S:
        return run
    return replace(run, limit_at_s=limit_at_s)


def _tick(run: Run, now_s: float) -> tuple[Run, list[Effect]]:
    if run.phase is Phase.WAITING:
        if run.limit_at_s is not None and now_s >= run.limit_at_s:
            return _stop(run, "time", 0.0, now_s)
        return _advance(run, now_s)
    if run.phase is not Phase.RUNNING:
        return run, []
    if run.kill_at_s is not None and now_s >= run.kill_at_s:
        silent_s = now_s - run.heard_at_s
        hang = Outcome("hang", f"no rank finished a step for {silent_s:.0f} s", 1)
        return _over(run, hang, now_s)
    if run.stop is not None:
        if now_s >= run.stop.deadline_s:
            return _over(run, Outcome("stopped", ""), now_s)
        return run, []
    limit_s = _stop_for_limit_at_s(run)
    if limit_s is not None and now_s >= limit_s:
        return _stop(run, "time", run.stop_grace_s, now_s)
    if (
        run.spoke
        and run.hang_s is not None
        and run.kill_at_s is None
        and now_s - run.heard_at_s >= run.hang_s
    ):
        return replace(run, kill_at_s=now_s + STACKS_WAIT_S), [DumpStacks()]
    return run, []
