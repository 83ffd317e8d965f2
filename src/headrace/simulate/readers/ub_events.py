"""Events of the UB Slurm simulator: sbatch lines with their times.

``-dt S -e submit_batch_job | -sim-walltime S <sbatch options>``. Times count from the simulation's
start. A job that would run past its limit is stopped there; a negative walltime means just that.
"""

import re
import shlex
from collections.abc import Mapping
from functools import lru_cache

from headrace.core.states import State
from headrace.core.units import parse_bytes
from headrace.schedule.cluster import Cluster, Partition
from headrace.schedule.queue import After, Queued
from headrace.schedule.request import Request
from headrace.simulate.readers.remarks import BadField, Remarks, finish, integer, number
from headrace.simulate.readers.site import DefaultMemory, SlurmSite
from headrace.simulate.readers.slurm_words import gpus as read_gpus
from headrace.simulate.readers.slurm_words import time_s
from headrace.simulate.trace import Trace, TraceJob
from headrace.spec.sbatch_options import OPTIONS, SHORT

Options = dict[str, str]
_SUBMIT = "submit_batch_job"
_AFTER = {"afterok": "ok", "afternotok": "notok", "afterany": "any"}
_OWN_OPTIONS = ("sim-walltime", "jid")
_NODES_MAX = 1_000_000
_QUOTED = re.compile(r"""["'\\]""")


def read(
    text: str, *, name: str, site: SlurmSite | None = None, groups: Mapping[str, str] | None = None
) -> Trace:
    """``site``: says what an option left out means. ``groups``: user -> group, of users.sim.

    Raise ``RowInvalid``.
    """
    remarks = Remarks(name)
    reader = _Reader(remarks, site, groups or {})
    jobs = []
    for line, words in enumerate(text.split("\n"), start=1):
        if not words.strip() or words.lstrip().startswith("#"):
            continue
        try:
            if (job := reader.job(words)) is not None:
                jobs.append(job)
        except BadField as bad:
            remarks.damaged(line, bad)
    return finish(jobs, remarks, cluster=site.cluster if site else None)


def read_groups(text: str) -> dict[str, str]:
    """users.sim: ``user:uid:group:gid`` a line."""
    rows = (line.split(":") for line in text.split("\n"))
    return {row[0]: row[2] for row in rows if len(row) >= 3}


class _Reader:
    def __init__(self, remarks: Remarks, site: SlurmSite | None, groups: Mapping[str, str]) -> None:
        self.remarks = remarks
        self.site = site
        self.groups = groups
        partitions = site.cluster.partitions if site else ()
        self.partitions = {one.name: one for one in partitions}
        self.default = next((one for one in partitions if one.default), None)
        self.accounts = site.default_accounts if site else {}

    def job(self, line: str) -> TraceJob | None:
        event, bar, command = line.partition("|")
        if f" {_SUBMIT} " not in event.replace("\t", " ") + " ":
            self.remarks.say("events other than submit_batch_job are not replayed")
            return None
        found = re.search(r"-dt\s+(\S+)", event)
        if not bar or found is None:
            raise BadField("event", line, f"it is -dt S -e {_SUBMIT} | -sim-walltime S OPTIONS")
        submit_s = number("-dt", found[1])
        options = _options(command)
        user = options.get("uid", "")
        names = tuple(filter(None, options.get("partition", "").split(",")))
        partition = self.partitions.get(names[0]) if names else self.default
        limit_s = self._limit_s(options, partition)
        run_s, state = self._run(options, limit_s)
        return TraceJob(
            job=Queued(
                id=options.get("job-name") or options.get("jid") or f"at-{submit_s:g}",
                request=self._request(options, partition),
                submitted_s=submit_s,
                limit_s=limit_s,
                user=user,
                account=options.get("account")
                or self.accounts.get(user, "")
                or self.groups.get(user, ""),
                qos=options.get("qos") or "normal",
                partitions=names,
                constraint=options.get("constraint") or None,
                reservation=options.get("reservation") or None,
                nice=integer("--nice", options["nice"] or 100, least=-(2**31))
                if "nice" in options
                else 0,
                after=tuple(_after(options.get("dependency", ""))),
            ),
            run_s=run_s,
            state=state,
        )

    def _limit_s(self, options: Options, partition: Partition | None) -> float | None:
        if "time" in options:
            return time_s("--time", options["time"])
        if partition is None:
            return None
        if partition.default_time_s is not None:
            return partition.default_time_s
        return partition.max_time_s

    def _run(self, options: Options, limit_s: float | None) -> tuple[float, State]:
        run_s = number("-sim-walltime", options.get("sim-walltime"), least=-1)
        if run_s < 0 and limit_s is None:
            raise BadField("-sim-walltime", "-1", "a job that runs to its limit has one")
        if limit_s is None or 0 <= run_s <= limit_s:
            return run_s, State.COMPLETED
        self.remarks.job("ran to their time limit and were stopped there")
        return limit_s, State.TIMEOUT

    def _request(self, options: Options, partition: Partition | None) -> Request:
        nodes = _count(options, "nodes")
        per_node = _count(options, "ntasks-per-node")
        tasks = _count(options, "ntasks")
        if nodes is None:
            nodes = -(-tasks // per_node) if tasks and per_node else 1
        tasks = tasks or nodes * (per_node or 1)
        if tasks % nodes:
            self.remarks.job("had tasks that do not divide over their nodes; rounded up")
        ranks = max(1, -(-tasks // nodes))
        cpus = _count(options, "cpus-per-task") or 1
        gpu_type, gpus = _gpus(options, ranks)
        if "exclusive" in options:
            ranks, cpus = self._whole_node(options, partition, ranks, cpus)
        return _interned(
            nodes, ranks, cpus, gpus, gpu_type, self._memory(options, partition, ranks * cpus, gpus)
        )

    def _whole_node(
        self, options: Options, partition: Partition | None, ranks: int, cpus: int
    ) -> tuple[int, int]:
        """--exclusive: all CPUs of the smallest node it may run on."""
        self.remarks.job("asked for whole nodes; they hold the CPUs of the smallest that fits")
        sizes = (
            _node_sizes(self.site.cluster, partition, options.get("constraint"))
            if (self.site)
            else ()
        )
        fitting = [size for size in sizes if size >= ranks * cpus]
        return (1, min(fitting)) if fitting else (ranks, cpus)

    def _memory(
        self, options: Options, partition: Partition | None, cpus: int, gpus: int
    ) -> int | None:
        for option, times in (("mem", 1), ("mem-per-cpu", cpus), ("mem-per-gpu", gpus)):
            if option in options:
                try:
                    return parse_bytes(options[option]) * times or None
                except ValueError as error:
                    raise BadField(f"--{option}", options[option], str(error)) from None
        if self.site is None:
            return None
        known = self.site.memory
        rule = known.get(partition.name if partition else "") or known.get("", DefaultMemory())
        by_cpu = rule.per_cpu_bytes * cpus or rule.per_gpu_bytes * gpus
        return by_cpu or rule.per_node_bytes or None


def _options(command: str) -> Options:
    """Long name -> value; the last one counts. The script at the end is left out."""
    try:
        words = shlex.split(command) if _QUOTED.search(command) else command.split()
    except ValueError:
        raise BadField("options", command, "a quote is closed") from None
    found: Options = {}
    while words:
        word = words.pop(0)
        bare = word.lstrip("-")
        if not word.startswith("-"):
            break  # the script; what follows are its own arguments
        name, equals, value = bare.partition("=")
        if not word.startswith("--") and name not in _OWN_OPTIONS:
            name, value = SHORT.get(bare[:1], bare[:1]), bare[1:]
            equals = value
        takes = "value" if name in _OWN_OPTIONS else OPTIONS.get(name)
        if not equals and takes == "value":
            if not words:
                raise BadField(word, "", "it has a value")
            value = words.pop(0)
        found[name] = value
    return found


def _count(options: Options, name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    least = integer(f"--{name}", text.partition("-")[0], least=1)
    if least > _NODES_MAX:
        raise BadField(f"--{name}", text, f"it is {_NODES_MAX:,} at most")
    return least


def _gpus(options: Options, ranks: int) -> tuple[str | None, int]:
    """(type, GPUs a node)."""
    text, times = options.get("gpus-per-node"), 1
    if text is None and "gpus-per-task" in options:
        text, times = options["gpus-per-task"], ranks
    if text is None:
        found = read_gpus("--gres", options.get("gres", ""))
    else:
        found = read_gpus("--gpus", f"gpu:{text}")
    if not found:
        return None, 0
    kind, count = found[0]
    return (None if kind == "gpu" else kind), count * times


def _after(text: str) -> list[After]:
    found = []
    for part in filter(None, text.split(",")):
        kind, _, ids = part.partition(":")
        if kind in _AFTER:
            found += [
                After(run_id=run_id, condition=_AFTER[kind], state=State.PENDING)
                for run_id in ids.split(":")
            ]
    return found


@lru_cache(maxsize=1024)
def _node_sizes(
    cluster: Cluster, partition: Partition | None, constraint: str | None
) -> tuple[int, ...]:
    wanted = set(re.findall(r"[\w.:+-]+", constraint or ""))
    names = set(partition.nodes) if partition else set()
    return tuple(
        {
            node.cpus
            for node in cluster.nodes
            if (not names or node.name in names) and (not wanted or wanted & set(node.features))
        }
    )


@lru_cache(maxsize=65_536)
def _interned(
    nodes: int, ranks: int, cpus: int, gpus: int, gpu_type: str | None, memory: int | None
) -> Request:
    return Request(
        nodes_min=nodes,
        nodes_max=nodes,
        ranks_per_node=ranks,
        cpus_per_rank=cpus,
        gpus_per_node=gpus,
        gpu_type=gpu_type,
        memory_bytes=memory,
    )
