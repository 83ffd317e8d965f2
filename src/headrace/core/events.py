"""What happened: typed events, one JSON line each, and the messages between a rank and its agent.

Three families, all decoded by their ``kind``:

* ``Event``   written to ``<run>/events/<writer>.jsonl``; each line is an ``Entry`` around an event.
* ``Metric``  written to ``<run>/attempts/<n>/nodes/<node>/metrics.jsonl``.
* ``Up`` and ``Down``  cross the inherited socketpair between a rank and its agent.

Times are seconds since 1970 (``time_s``) for people; durations are measured with a monotonic clock
by whoever reports them.
"""

from collections.abc import Mapping

from headrace.core.records import LineDecoder, Record, Tagged


class Placed(Record, frozen=True, kw_only=True):
    """One node's slice of the machine as given to an attempt.

    Without ``cpus`` in an order, the node's agent finds out what it may use, GPUs, too.
    """

    node: str
    address: str
    cpus: tuple[int, ...]
    gpus: tuple[int, ...] = ()
    memory_bytes: int | None = None


# --- events ------------------------------------------------------------------------------------


class Submitted(Tagged, frozen=True, kw_only=True):
    run_id: str
    user: str
    token: str


class Held(Tagged, frozen=True, kw_only=True):
    by: str


class Released(Tagged, frozen=True, kw_only=True):
    by: str


class Started(Tagged, frozen=True, kw_only=True):
    """The engine gave the run its place and started a lead."""

    placed: tuple[Placed, ...]


class Displaced(Tagged, frozen=True, kw_only=True):
    """The engine told the run to save and give its place back; it is queued again after that.

    ``reason``: preempt, resize, requeue. ``by``: the run or the user it was for. ``nodes``: how
    many it is to be started on again, where that matters.
    """

    reason: str
    by: str
    nodes: int | None = None


class Resized(Tagged, frozen=True, kw_only=True):
    """A user said on how many nodes the run may be from now on."""

    by: str
    nodes_min: int
    nodes_max: int


class Requeued(Tagged, frozen=True, kw_only=True):
    """Back in the queue. ``reason``: preempt, node, hang, error, as in a job file's ``restart``;
    or resize, requeue."""

    reason: str
    detail: str


class CancelAsked(Tagged, frozen=True, kw_only=True):
    by: str


class Ended(Tagged, frozen=True, kw_only=True):
    """The run's final state. ``detail`` is a sentence for people."""

    state: str
    exit_code: int
    detail: str


class LeadStarted(Tagged, frozen=True, kw_only=True):
    pid: int
    start_ticks: int
    boot_id: str


class AttemptStarted(Tagged, frozen=True, kw_only=True):
    world_size: int
    nodes: tuple[str, ...]
    master: str


class AttemptEnded(Tagged, frozen=True, kw_only=True):
    """``outcome``: completed, error, node, hang, oom, stopped. ``step``: the last one heard of."""

    outcome: str
    detail: str
    step: int | None
    restart_in_s: float | None


class RankStarted(Tagged, frozen=True, kw_only=True):
    rank: int
    pid: int
    cpus: tuple[int, ...]
    gpus: tuple[int, ...]


class RankExited(Tagged, frozen=True, kw_only=True):
    """``exit_code`` is negative for a signal, as in ``subprocess``."""

    rank: int
    exit_code: int


class NodeLost(Tagged, frozen=True, kw_only=True):
    """``given_up``: its agent does not come up again either; the run goes on without the node."""

    node: str
    detail: str
    given_up: bool = False


class NodeFinding(Tagged, frozen=True, kw_only=True):
    """Seen on ``nodes`` before ranks start there. ``level``: note, warning, or hard: the run cannot
    be there. ``check``: memlock, shm, clock, processes, gpu, versions, network."""

    nodes: tuple[str, ...]
    check: str
    level: str
    text: str
    remedy: str


class TreeKilled(Tagged, frozen=True, kw_only=True):
    """A guard, agent, lead or engine killed what an attempt left behind."""

    pids: tuple[int, ...]
    detail: str


class Staging(Tagged, frozen=True, kw_only=True):
    """Data is being copied to a node. ``waits_for``: a run that copies to that node just now."""

    node: str
    source: str
    tier: str
    near_bytes: int
    size_bytes: int
    waits_for: str | None = None


class Staged(Tagged, frozen=True, kw_only=True):
    """A node has what it gets of a source before ranks start.

    ``tree``: a copy of the whole source; None: the source itself is to be read. ``root``: where
    ``headrace.data`` finds copies of its files, whole or not. ``copied_bytes``: now, the others of
    ``near_bytes`` were there. ``why``: what kept the rest from being copied.
    """

    node: str
    source: str
    tier: str
    tree: str | None
    root: str | None
    size_bytes: int
    near_bytes: int
    copied_bytes: int
    seconds: float
    why: str | None = None


class Metered(Tagged, frozen=True, kw_only=True):
    """A lead has gone: so much have counters measured for all attempts of the run so far."""

    energy_j: float


class StopAsked(Tagged, frozen=True, kw_only=True):
    """``reason``: cancel, time, preempt, signal, resize. ``deadline_s`` since 1970."""

    reason: str
    deadline_s: float


class StopAgreed(Tagged, frozen=True, kw_only=True):
    """All ranks agreed to leave after ``step``."""

    rank: int
    step: int


class PhaseChanged(Tagged, frozen=True, kw_only=True):
    """A rank entered a phase: init, restore, steps, evaluate, checkpoint, or a user's own word."""

    rank: int
    phase: str
    step: int


class CheckpointSaved(Tagged, frozen=True, kw_only=True):
    """``stall_s``: how long training stood still. ``durable_s``: until committed and verified."""

    rank: int
    step: int
    path: str
    size_bytes: int
    stall_s: float
    durable_s: float


class CheckpointFailed(Tagged, frozen=True, kw_only=True):
    rank: int
    step: int
    detail: str


class Restored(Tagged, frozen=True, kw_only=True):
    """A rank took its state from a checkpoint. ``tier``: disk, or memory of the node. ``took_s``:
    finding, reading, comparing and putting it in place."""

    rank: int
    step: int
    path: str
    tier: str = "disk"
    took_s: float = 0.0


class SessionEnded(Tagged, frozen=True, kw_only=True):
    """A training session came to its end. ``loss`` is the last one logged, exact."""

    rank: int
    step: int
    samples: int
    loss: float | None


class Missed(Tagged, frozen=True, kw_only=True):
    """Its job has left the batch system's queue without a word, and accounting does not know it."""


class LimitMoved(Tagged, frozen=True, kw_only=True):
    """The batch system gives the run more time: until ``limit_s``, since 1970."""

    limit_s: float


class Noted(Tagged, frozen=True, kw_only=True):
    """A warning or remark for people: ``level`` is info or warning."""

    level: str
    text: str


Event = (
    Submitted
    | Held
    | Released
    | Started
    | Displaced
    | Resized
    | Requeued
    | CancelAsked
    | Ended
    | LeadStarted
    | AttemptStarted
    | AttemptEnded
    | RankStarted
    | RankExited
    | NodeLost
    | NodeFinding
    | TreeKilled
    | Staging
    | Staged
    | Metered
    | StopAsked
    | LimitMoved
    | Missed
    | StopAgreed
    | PhaseChanged
    | CheckpointSaved
    | CheckpointFailed
    | Restored
    | SessionEnded
    | Noted
)


class Entry(Record, frozen=True, kw_only=True):
    """One line of an event file. ``seq`` counts from 0 without gaps per writer."""

    seq: int
    attempt: int
    time_s: float
    event: Event


# --- metrics -----------------------------------------------------------------------------------


class StepMetric(Tagged, frozen=True, kw_only=True):
    """One optimizer step of one rank. ``samples``: consumed by all ranks so far.

    ``seconds`` splits the step by cause: data, forward_backward, sync, optimizer, checkpoint, log.
    ``values`` is what the script logged, as host floats; one that is no finite number is None here
    after its way through JSON.
    """

    rank: int
    step: int
    time_s: float
    samples: int
    step_s: float
    seconds: dict[str, float]
    values: Mapping[str, float | None]


class GpuSample(Record, frozen=True, kw_only=True):
    index: int
    utilization_ratio: float
    memory_bytes: int
    power_w: float | None


class NodeSample(Tagged, frozen=True, kw_only=True):
    """Taken about once a second by the agent over the tree of its ranks.

    ``cpu_s`` is the CPU time of the tree so far in this attempt; ``energy_j`` is measured by a
    counter since the attempt's start, or None where the machine has none; ``energy_parts`` names
    what those counters cover (gpu, cpu). ``memory_kind``: pss counts shared pages once, rss once a
    process.
    """

    time_s: float
    cpu_ratio: float
    cpu_s: float
    memory_bytes: int
    gpus: tuple[GpuSample, ...] = ()
    energy_j: float | None = None
    energy_parts: tuple[str, ...] = ()
    memory_kind: str = "rss"


Metric = StepMetric | NodeSample


# --- rank <-> agent ----------------------------------------------------------------------------


class Heartbeat(Tagged, frozen=True, kw_only=True):
    """At most two a second; dropped when the pipe is full, its steps then ride with the next."""

    rank: int
    step: int
    steps: tuple[StepMetric, ...] = ()


Up = (
    Heartbeat
    | PhaseChanged
    | CheckpointSaved
    | CheckpointFailed
    | Restored
    | StopAgreed
    | SessionEnded
    | Staging
    | Staged
    | Noted
)


class StopBy(Tagged, frozen=True, kw_only=True):
    """Agree on a step, save, leave before ``deadline_s`` (since 1970)."""

    reason: str
    deadline_s: float


class DumpStacks(Tagged, frozen=True, kw_only=True):
    """Write all Python stacks to ``path``."""

    path: str


Down = StopBy | DumpStacks

decode_up = LineDecoder[Up](Up)
decode_down = LineDecoder[Down](Down)
decode_metric = LineDecoder[Metric](Metric)
