"""What a lead is told, and what it decided: the contract between engines and launch.

An engine writes ``order.json`` and starts a lead with the run directory as its only argument. The
lead writes ``attempts/<n>/placement.json`` before it starts the ranks of attempt n.
"""

from typing import Literal

from headrace.core.events import Placed
from headrace.core.records import Record


class RestartPolicy(Record, frozen=True, kw_only=True):
    """When a new attempt follows a failed one.

    ``on``: preempt, node, hang, oom, error, time. ``silent_error``: whether a program that never
    reported a step is restarted on error, too (only when the job file says so; else a typo would
    run ten times).
    ``no_progress``: attempts in a row that get no further before the run is given up.
    """

    max: int = 10
    on: tuple[str, ...] = ("preempt", "node", "hang", "error")
    silent_error: bool = False
    no_progress: int = 3
    never_on_exit: tuple[int, ...] = ()
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0


class SessionSettings(Record, frozen=True, kw_only=True):
    """What the job file says about training; ranks get it as JSON in ``HEADRACE_SESSION``.

    ``None`` means the job file is silent: the script decides. A value given in code that
    contradicts one given here is an error. ``checkpoint_every_s``, ``checkpoint_every_steps``: at
    most one is set; neither means automatic. ``checkpoint_memory``: bytes that the staged
    checkpoints of a rank may take of /dev/shm, 0 for none; None is what the node has plenty of.
    ``checkpoint_best``: the metric of the best one, and min or max. ``until_*``: at most one is
    set.
    """

    checkpoint_every_s: float | None = None
    checkpoint_every_steps: int | None = None
    checkpoint_keep: int | None = None
    checkpoint_keep_every: int | None = None
    checkpoint_best: tuple[str, Literal["min", "max"]] | None = None
    checkpoint_memory: int | None = None
    global_batch: int | None = None
    sequence: int | None = None
    until_steps: int | None = None
    until_tokens: int | None = None
    until_samples: int | None = None
    until_epochs: float | None = None
    optimizer: str | None = None
    precision: str | None = None
    model: str | None = None
    layout: dict[str, int | str] | None = None


class DataPlace(Record, frozen=True, kw_only=True):
    """One source of data. ``tier``: where nodes copy it before ranks start; None: nowhere."""

    source: str
    tier: str | None = None


class PythonPlace(Record, frozen=True, kw_only=True):
    """A Python environment, packed into the file ``archive``; it takes ``size_bytes`` on a disk.

    ``names``: all the ways it is called, its whole path first; one as a command has it may be
    relative. ``tier``: where nodes unpack it before ranks start.
    """

    names: tuple[str, ...]
    archive: str
    size_bytes: int
    tier: str


class Order(Record, frozen=True, kw_only=True):
    """Everything a lead needs.

    The submitter's environment and the values of secrets are not in it: ``environment_file`` names
    a 0600 file that holds them (a JSON object of strings). ``env`` is what the job file sets.

    ``stop_grace_s``: between "stop by T" and T. ``kill_wait_s``: between SIGTERM and SIGKILL for
    programs that do not speak to their agent. ``attempt``: the number of the lead's first attempt.
    ``restarts_used``: restarts of earlier leads of this run; ``furthest_step``, ``no_progress``:
    how far they got, and how many attempts in a row got no further. ``nodes_min``: with how few of
    ``placed`` the run may go on; None for all.

    What a batch system adds: ``agents_by``, the command that starts agents, with {count}, {nodes},
    the lead's {host} and {port} and the number of the {start} to be filled in; empty when the lead
    forks them on its own host. ``orphaned``: what the guard of an agent turns into when the lead is
    lost. ``job_env``: what it says of the job to each rank. ``signal_means``: why it sends a signal
    that nobody has asked for; ``limit_warned_s`` before the time limit, the limit is why.
    ``limit_by``: a command that prints when the time limit is by now, in seconds since 1970; empty
    where it cannot be changed.
    """

    run_id: str
    name: str
    attempt: int
    placed: tuple[Placed, ...]
    ranks_per_node: int
    cpus_per_rank: int
    framework: str
    command: tuple[str, ...]
    workdir: str
    env: dict[str, str]
    environment_file: str
    session: SessionSettings
    setup: str | None
    data: tuple[DataPlace, ...] = ()
    python: PythonPlace | None = None
    time_limit_s: float | None
    time_used_s: float
    stop_grace_s: float
    kill_wait_s: float
    hang_s: float | None
    restart: RestartPolicy
    restarts_used: int
    nodes_min: int | None = None
    furthest_step: int = -1
    no_progress: int = 0
    array_index: int | None = None
    array_id: str | None = None
    agents_by: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()
    job_env: dict[str, str] = {}  # noqa: RUF012
    signal_means: str = "cancel"
    limit_warned_s: float = 0.0
    limit_by: tuple[str, ...] = ()


class RankPlace(Record, frozen=True, kw_only=True):
    """One rank of an attempt."""

    rank: int
    local_rank: int
    node: str
    node_rank: int
    cpus: tuple[int, ...]
    gpus: tuple[int, ...]


class Placement(Record, frozen=True, kw_only=True):
    """The ranks of one attempt. ``nodes`` in the order of their node rank."""

    attempt: int
    world_size: int
    nodes: tuple[Placed, ...]
    ranks: tuple[RankPlace, ...]


class StopRequest(Record, frozen=True, kw_only=True):
    """``stop.json``: written by an engine before it signals the lead with SIGTERM.

    ``reason``: cancel, preempt, resize. ``by``: the user who asked.
    """

    reason: str
    by: str
    grace_s: float | None = None
