"""Command lines for Slurm, as lists of words. Pure; nothing here starts anything."""

from collections.abc import Sequence

from headrace.engines.slurm.rows import ACCOUNTING_FIELDS, NODE_FORMAT, QUEUE_FORMAT
from headrace.engines.slurm.weights import WEIGHTS_FORMAT


def sbatch(script: str) -> list[str]:
    """All options stand in the script, where ``--dry-run`` shows them."""
    return ["sbatch", "--parsable", script]


def test_only(options: Sequence[str]) -> list[str]:
    """Ask where and when a job like this would start; nothing is queued."""
    return ["sbatch", "--test-only", *options, "--output=/dev/null", "--wrap=true"]


def squeue(user: str) -> list[str]:
    """All jobs of one user, also those that ended lately, and those in hidden partitions."""
    which = ("--all", f"--user={user}", "--states=all")
    return ["squeue", "--noheader", *which, f"--format={QUEUE_FORMAT}"]


def squeue_scripts(user: str) -> list[str]:
    """The batch scripts of what waits or runs, each after its job's id, an array's of the whole."""
    return ["squeue", "--noheader", "--all", f"--user={user}", "--format=%F|%o"]


def srun_help() -> list[str]:
    """Asks srun and its plugins, not the controller."""
    return ["srun", "--help"]


def sacct(job_ids: Sequence[str]) -> list[str]:
    jobs = f"--jobs={','.join(job_ids)}"
    fields = f"--format={ACCOUNTING_FIELDS}"
    return ["sacct", "--noheader", "--parsable2", "--allocations", jobs, fields]


def show_config() -> list[str]:
    return ["scontrol", "show", "config"]


def show_partitions() -> list[str]:
    """Also those that are hidden, in which a user may have runs all the same."""
    return ["scontrol", "--oneliner", "--all", "show", "partition"]


def show_job(job_id: str) -> list[str]:
    return ["scontrol", "--oneliner", "--all", "show", "job", job_id]


def show_nodes(node_list: str) -> list[str]:
    return ["scontrol", "--oneliner", "--all", "show", "node", node_list]


def show_qos() -> list[str]:
    fields = "format=Name,GraceTime,PreemptMode,Preempt"
    return ["sacctmgr", "--noheader", "--parsable2", "show", "qos", fields]


def show_limits(user: str, qos: Sequence[str]) -> list[str]:
    """Limits and their use, of the user's accounts and the QOS: what slurmctld itself goes by."""
    which = (f"users={user}", f"qos={','.join(qos)}", "flags=assoc,qos")
    return ["scontrol", "--oneliner", "show", "assoc_mgr", *which]


def show_accounts(user: str) -> list[str]:
    """All accounts, and the user in them."""
    return ["scontrol", "--oneliner", "show", "assoc_mgr", f"users={user}", "flags=assoc"]


def sprio(job_ids: Sequence[str]) -> list[str]:
    """``job_ids``: of arrays their own; none is all that wait."""
    jobs = [f"--jobs={','.join(job_ids)}"] if job_ids else []
    return ["sprio", "--noheader", *jobs, f"--format={WEIGHTS_FORMAT}"]


def show_reservations() -> list[str]:
    return ["scontrol", "--oneliner", "show", "reservation"]


def sinfo() -> list[str]:
    """One line for each node in each of its partitions."""
    return ["sinfo", "--noheader", "--Node", "--all", f"--format={NODE_FORMAT}"]


def hold(job_ids: Sequence[str]) -> list[str]:
    return ["scontrol", "hold", ",".join(job_ids)]


def release(job_ids: Sequence[str]) -> list[str]:
    return ["scontrol", "release", ",".join(job_ids)]


def requeue(job_id: str) -> list[str]:
    """``job_id``: an element of an array by 4711_3, or all elements would start again."""
    return ["scontrol", "requeue", job_id]


def allow_requeue(job_id: str) -> list[str]:
    return ["scontrol", "update", f"JobId={job_id}", "Requeue=1"]


def update_nodes(job_id: str, nodes: tuple[int, int]) -> list[str]:
    least, most = nodes
    return ["scontrol", "update", f"JobId={job_id}", f"NumNodes={least}-{most}"]


def exclude(job_id: str, nodes: Sequence[str], comment: str) -> list[str]:
    """Of a job that waits: Slurm refuses it for one that runs."""
    listed = f"ExcNodeList={','.join(nodes)}"
    return ["scontrol", "update", f"JobId={job_id}", listed, f"Comment={comment}"]


def scancel(job_ids: Sequence[str]) -> list[str]:
    return ["scancel", *job_ids]


def scancel_elsewhere(job_id: str, cluster: str) -> list[str]:
    return ["scancel", f"--clusters={cluster}", job_id]


def scancel_waiting(job_ids: Sequence[str]) -> list[str]:
    """Those that have not begun; others are left alone."""
    return ["scancel", "--state=PENDING", *job_ids]


def signal_lead(job_ids: Sequence[str]) -> list[str]:
    """SIGTERM to the batch script alone, which has become the lead."""
    return ["scancel", "--batch", "--signal=TERM", *job_ids]


def srun_agents(
    *, cpus: int, log: str, python: str, run: str, modules: Sequence[str]
) -> tuple[str, ...]:
    """One step with an agent on each of {nodes}. The words in braces are filled in by the lead.

    ``--overlap``: another agent may be started beside one that is lost. ``--kill-on-bad-exit=0``
    and ``--wait=0``: the lead decides what the end of one agent means. ``--cpus-per-task`` is said
    again, since srun has not inherited it from sbatch since 22.05. Secrets are in no word and in no
    variable: the agent reads them from files of the run.
    """
    return (
        *("srun", "--nodes={count}", "--ntasks={count}", "--ntasks-per-node=1"),
        *("--nodelist={nodes}", f"--cpus-per-task={cpus}", "--cpu-bind=cores", "--overlap"),
        *("--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--mpi=none", "--export=ALL"),
        *("--input=none", f"--output={_plain(log.replace('%', '%%'))}", "--open-mode=append"),
        *(_plain(python), *modules, _plain(run), "$SLURMD_NODENAME", "{host}", "{port}", "{start}"),
    )


def _plain(word: str) -> str:
    """A word without places to fill in."""
    return word.replace("{", "{{").replace("}", "}}")
