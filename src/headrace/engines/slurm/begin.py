"""In the job, before the lead: find out where it runs, and write its order."""

import contextlib
import itertools
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from headrace.core.errors import EXIT_INTERRUPTED
from headrace.core.events import Ended, Placed, Requeued, Started
from headrace.core.order import Order, RestartPolicy
from headrace.core.records import replace, sync_folder, write_record
from headrace.core.rundir import RunDir, read_events
from headrace.core.states import State
from headrace.engines.code import running_in, taken
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission
from headrace.engines.slurm import commands, grace, time_limit
from headrace.engines.slurm.call import Call, call
from headrace.engines.slurm.copies import python_of
from headrace.engines.slurm.errors import SlurmUnreachable
from headrace.engines.slurm.facts import Facts, addresses, facts_of
from headrace.engines.slurm.folders import (
    forget_stop,
    next_attempt,
    read_history,
    write_event,
)
from headrace.engines.slurm.hostlist import expand
from headrace.engines.slurm.jobs import SlurmJob, family_folder, read_job, write_job
from headrace.engines.slurm.measured import measured
from headrace.engines.slurm.progress import Progress, progress
from headrace.engines.slurm.rows import parse_config, parse_fields, parse_time_s
from headrace.engines.slurm.seeing import is_over
from headrace.engines.slurm.settle import requeue, what_next
from headrace.spec.image import in_image, in_step
from headrace.spec.job import JobSpec
from headrace.spec.load import read_submitted
from headrace.spec.modules import with_modules

_AGENT = ("-m", "headrace.launch.guard")
_HEIR = ("-m", "headrace.engines.slurm.heir")
_KILL_WAIT_S = 10.0
_HANG_S = 600.0
_SCRIPTS_OWN = ("SLURM_EXPORT_ENV",)
_JOBS_OWN = (
    *("SLURM_JOB_", "SLURM_ARRAY_", "SLURM_SUBMIT_", "SLURM_CONF", "SLURM_CLUSTER_NAME"),
    *("SLURM_JOBID", "SLURM_NODELIST", "SLURM_RESTART_COUNT", "SLURM_WORKING_CLUSTER"),
)
_PROBE_PORT = 9
_LOOPBACK = "127.0.0.1"
_ASKS_S, _PAUSE_MAX_S = 600.0, 30.0
_UNHEARD = "Slurm gave no answer when its job began"


def begin(run: RunDir, asked: Submission, environ: Mapping[str, str]) -> int | None:
    """Write the lead's order, and where the run is. Return the exit code of a run that is over."""
    spec = as_submitted(run, asked)
    lead = list(read_events(run.events / "lead.jsonl"))
    so_far = progress(lead)
    history = read_history(run, asked)
    if is_over(history):  # a site may requeue by exit code, an admin what has ended
        return 0
    history = _come_back(run, asked, history, so_far, environ)
    if is_over(history):
        return history.exit_code
    ask = patient(call)
    try:
        job = parse_fields(ask(commands.show_job(job_id_of(environ))))[0]
        config = parse_config(ask(commands.show_config()))
        facts = facts_of(config, ask(commands.show_partitions()), "", now_s=time.time())
        placed = places(environ, ask)
    except SlurmUnreachable as error:
        return _without_answer(run, history, error.why, environ)
    _keep_job(run, asked, environ, facts.cluster)
    attempt = next_attempt(run, history)
    end_s = parse_time_s(job.get("EndTime", ""))
    order = make_order(
        spec,
        replace(asked, limit_s=time_limit.still_asked(asked.limit_s, job)),
        history,
        placed=placed,
        run=run,
        attempt=attempt,
        given=given(spec, asked, facts, end_s=end_s, environ=environ),
    )
    order = replace(
        order,
        python=python_of(family_folder(run.root.parent, asked)),
        furthest_step=so_far.furthest,
        no_progress=so_far.vain,
        limit_by=time_limit.asked_by(
            job_id_of(environ), end_s=end_s, limit_s=order.time_limit_s, now_s=time.time()
        ),
    )
    write_record(run.order, order)
    forget_stop(run, before_s=parse_time_s(job.get("StartTime", "")))
    sync_folder(run.root)
    write_event(run, "batch", Started(placed=placed), attempt=attempt)
    return None


def patient(ask: Call, *, for_s: float = _ASKS_S, pause_s: float = 1.0) -> Call:
    """``ask`` again while slurmctld is away, as when it is restarted, for ``for_s`` in all."""
    until_s = time.monotonic() + for_s

    def asked(argv: Sequence[str]) -> str:
        for waits in itertools.count():
            try:
                return ask(argv)
            except SlurmUnreachable:
                if time.monotonic() >= until_s:
                    raise
                time.sleep(min(_PAUSE_MAX_S, pause_s * 2.0**waits))
        raise AssertionError("tries do not end")

    return asked


def _without_answer(run: RunDir, history: History, why: str, environ: Mapping[str, str]) -> int:
    """Elsewhere it may be heard: it goes back to the queue, once."""
    attempt, detail = max(run.attempts(), default=0), f"{_UNHEARD}: {why}"
    if history.detail.startswith(_UNHEARD):
        end: Ended | None = Ended(state=State.NODE_FAIL, exit_code=1, detail=detail)
    else:
        write_event(run, "batch", Requeued(reason="node", detail=detail), attempt=attempt)
        end = requeue(run, job_id_of(environ), environ, None, attempt=attempt)
    if end is None:
        return EXIT_INTERRUPTED
    write_event(run, "batch", end, attempt=attempt)
    return end.exit_code


def as_submitted(run: RunDir, asked: Submission) -> JobSpec:
    """With the copy of its code, if there is one, as the folder it runs in."""
    spec = read_submitted(run.job.read_text())
    copy = taken(family_folder(run.root.parent, asked))
    return spec if copy is None else running_in(spec, copy)


def job_id_of(environ: Mapping[str, str]) -> str:
    """How scontrol names this job: the raw id of one element may be the name of its whole array."""
    if "SLURM_ARRAY_JOB_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ["SLURM_JOB_ID"]


def _come_back(
    run: RunDir,
    asked: Submission,
    history: History,
    so_far: Progress,
    environ: Mapping[str, str],
) -> History:
    """If Slurm started the job again without our asking, say so, or that it is enough."""
    if history.state is not State.RUNNING:
        return history
    event = what_next(asked, history, so_far)
    if isinstance(event, Requeued):
        count = environ.get("SLURM_RESTART_COUNT", "0")
        detail = f"Slurm started the job again (restart {count}); {event.detail}"
        event = Requeued(reason=event.reason, detail=detail)
    if event is not None:
        write_event(run, "batch", event, attempt=max(run.attempts(), default=0))
    return read_history(run, asked)


def _keep_job(run: RunDir, asked: Submission, environ: Mapping[str, str], cluster: str) -> None:
    """When the command that submitted died before it could write this down."""
    if read_job(run.root.parent, asked) is None:
        job_id = environ.get("SLURM_ARRAY_JOB_ID", environ["SLURM_JOB_ID"])
        known = SlurmJob(job_id=job_id, cluster=cluster, submitted_s=asked.submitted_s)
        write_job(run.root.parent, asked, known)


def places(environ: Mapping[str, str], ask: Call) -> tuple[Placed, ...]:
    """The nodes of the job, this one first: rank 0 and the lead are on the same node."""
    nodes = expand(environ["SLURM_JOB_NODELIST"])
    named = addresses(ask(commands.show_nodes(environ["SLURM_JOB_NODELIST"])), nodes)
    here = environ.get("SLURMD_NODENAME", nodes[0])
    nodes.sort(key=lambda node: node != here)
    found = {node: resolved(named[node]) for node in nodes}
    first = nodes[0]
    if len(nodes) == 1 and not is_ours(found[first]):
        found[first] = _LOOPBACK
    elif len(nodes) > 1 and (found[first].startswith("127.") or not is_ours(found[first])):
        found[first] = address_towards(found[nodes[1]])
    return tuple(Placed(node=node, address=found[node], cpus=()) for node in nodes)


def resolved(name: str) -> str:
    """The IPv4 address of a node; its name where it has none."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return name


def is_ours(address: str) -> bool:
    """Whether this host can listen there. Behind NAT, others know it by an address not its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def address_towards(other: str) -> str:
    """Our address on the way to another node. Sends nothing. Debian's /etc/hosts maps a host's own
    name to 127.0.1.1, which no other node reaches."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((other, _PROBE_PORT))
        found: str = probe.getsockname()[0]
        return found
    return other


class Given(NamedTuple):
    """What Slurm gives a job. ``limit_s``: until the lead has to be done, None for ever."""

    limit_s: float | None
    stop_grace_s: float
    job_env: dict[str, str]


def given(
    spec: JobSpec,
    asked: Submission,
    facts: Facts,
    *,
    end_s: float | None,
    environ: Mapping[str, str],
) -> Given:
    """``end_s``: when Slurm ends the job. What the site gives was found out when it was submitted:
    only accounting knows the GraceTime of a QOS, and 1,000 jobs should not ask it."""
    asked_s = spec.checkpoint.grace_s
    times = measured([RunDir(Path(asked.runs or ".") / asked.run_id)])
    contract = grace.check(
        facts,
        environ.get("SLURM_JOB_PARTITION"),
        environ.get("SLURM_JOB_QOS"),
        times=times,
        asked_s=asked_s,
        may_requeue=spec.restart.max > 0,
    )
    left_s = None if end_s is None else max(1.0, end_s - time.time())
    return Given(
        limit_s=None if left_s is None else left_s - grace.margin_s(left_s),
        stop_grace_s=grace.stop_grace_s(asked_s, asked.given_s or contract.given_s, times),
        job_env=job_environment(environ, whole=_runs_once(spec))
        | mpi_environment(spec, facts, environ),
    )


def make_order(
    spec: JobSpec,
    asked: Submission,
    history: History,
    *,
    placed: tuple[Placed, ...],
    run: RunDir,
    attempt: int,
    given: Given,
) -> Order:
    """The lead's order. A batch script runs in the batch step itself, as it would without us."""
    request, once = asked.request, _runs_once(spec)
    may_shrink = request.nodes_min < request.nodes_max and not once
    limits = [limit_s for limit_s in (given.limit_s, asked.limit_s) if limit_s is not None]
    return Order(
        run_id=asked.run_id,
        name=asked.name,
        attempt=attempt,
        placed=placed[:1] if once else placed,
        ranks_per_node=1 if once else request.ranks_per_node,
        cpus_per_rank=request.cpus_per_node if once else request.cpus_per_rank,
        framework=spec.framework,
        command=_command(spec, run, gpus=request.gpus_per_node),
        workdir=str(spec.workdir),
        env=dict(spec.env),
        environment_file=str(run.environment),
        session=spec.session(),
        setup=spec.setup,
        data=spec.data_places(),
        time_limit_s=min(limits, default=None),
        time_used_s=0.0,
        stop_grace_s=given.stop_grace_s,
        kill_wait_s=_KILL_WAIT_S,
        hang_s=_HANG_S,
        restart=RestartPolicy(
            max=spec.restart.max,
            on=spec.restart.on,
            silent_error=spec.restart_given,
            never_on_exit=spec.restart.never_on_exit,
        ),
        restarts_used=history.restarts_used,
        nodes_min=None if once else request.nodes_min,
        array_index=asked.array_index,
        array_id=asked.array_id,
        agents_by=() if once else agents_by(run, request.cpus_per_node),
        orphaned=(sys.executable, *_HEIR, str(run.root)) if may_shrink else (),
        job_env=given.job_env,
        signal_means="preempt",
        limit_warned_s=grace.warning_window_s(),
    )


def _runs_once(spec: JobSpec) -> bool:
    """In the batch step, from where srun reaches all nodes: MPI wants its ranks in one step."""
    return spec.script_semantics or spec.framework == "mpi"


def _command(spec: JobSpec, run: RunDir, *, gpus: int) -> tuple[str, ...]:
    if spec.script:
        return (*spec.interpreter, str(run.script))
    inside = in_step if spec.framework == "mpi" else in_image
    return with_modules(spec, inside(spec, spec.argv, run=run.root, gpus=gpus))


def mpi_environment(spec: JobSpec, facts: Facts, environ: Mapping[str, str]) -> dict[str, str]:
    """How srun connects the ranks: what the user says, else the site, else PMIx."""
    named = "SLURM_MPI_TYPE" in {*environ, *spec.env} or facts.mpi_default != "none"
    return {} if named or spec.framework != "mpi" else {"SLURM_MPI_TYPE": "pmix"}


def agents_by(run: RunDir, cpus: int) -> tuple[str, ...]:
    log = str(run.root / "agents.log")
    return commands.srun_agents(
        cpus=cpus, log=log, python=sys.executable, run=str(run.root), modules=_AGENT
    )


def job_environment(environ: Mapping[str, str], *, whole: bool) -> dict[str, str]:
    """What Slurm says of the job. ``whole``: also of the batch step, for a batch script, whose own
    ``srun`` must find it as sbatch left it."""
    starts = ("SLURM_",) if whole else _JOBS_OWN
    chosen = {
        name: value
        for name, value in environ.items()
        if name.startswith(starts) and name not in _SCRIPTS_OWN
    }
    if whole and "SLURM_CPUS_PER_TASK" in chosen:
        chosen["SRUN_CPUS_PER_TASK"] = chosen["SLURM_CPUS_PER_TASK"]
    return chosen
