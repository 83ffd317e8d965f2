"""A site as Slurm's configuration files, every option with the reason for it. Pure.

One function a file; ``render`` gives them all. Options and their meanings: slurm.conf(5),
gres.conf(5), cgroup.conf(5), topology.conf(5), slurmdbd.conf(5), those of Slurm 22.05 and newer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from headrace.cluster.bringup.site import Accounting, GpuSet, Nodes, Partition, Site, Switch

Option = tuple[str, object, str]
"""Name, value, why."""

MODES = {"slurmdbd.conf": 0o600}
"""Files that only Slurm's own user may read."""


def render(site: Site) -> dict[str, str]:
    """File name -> text."""
    files = {"slurm.conf": slurm_conf(site), "cgroup.conf": cgroup_conf(site)}
    if site.gpus:
        files["gres.conf"] = gres_conf(site.nodes)
    if site.switches:
        files["topology.conf"] = topology_conf(site.switches)
    if site.accounting is not None:
        files["slurmdbd.conf"] = slurmdbd_conf(site, site.accounting)
    return files


def slurm_conf(site: Site) -> str:
    return _file(
        f"slurm.conf of the cluster {site.cluster}. The same file on every machine of it.",
        {
            "Who is who": _identity(site),
            "Places": _places(site),
            "Scheduling": _scheduling(site),
            "Priority and preemption": _priority(site),
            "Accounting": _accounting(site),
            "What a job is held to": _containment(site),
            "Time-outs": _timing(site),
            "Nodes": [_node(group, site.trust_nodes) for group in site.nodes],
            "Partitions": [_partition(one) for one in site.partitions],
        },
    )


def _identity(site: Site) -> Iterator[Option]:
    host = site.controller
    where = host if site.controller_address is None else f"{host}({site.controller_address})"
    yield "ClusterName", site.cluster, "Names the cluster in the accounting database."
    yield "SlurmctldHost", where, "Where slurmctld runs: host name, address in brackets."
    yield "SlurmUser", site.slurm_user, "Owner of slurmctld, slurmdbd and their files."
    yield "AuthType", "auth/munge", "Users are who munge says they are."
    words = [f"cred_expire={site.timing.credential_s}"]
    if site.places.munge_socket is not None:
        words.insert(0, f"socket={site.places.munge_socket}")
    why = "A requeued job starts again only when its old credential has expired."
    yield "AuthInfo", ",".join(words), why
    if site.controller_address is not None:
        why = "slurmctld listens on its address alone, not on every network."
        yield "CommunicationParameters", "NoCtldInAddrAny", why
    yield "ReturnToService", 2 if site.returns else 1, _RETURN[site.returns]


_RETURN = {
    True: "A node that was down for any reason serves again as soon as it registers.",
    False: "A node serves again by itself only if it was down for not answering.",
}


def _places(site: Site) -> Iterator[Option]:
    at = site.places
    yield "StateSaveLocation", at.state, "Queue and running jobs; lost with it, so on a safe disk."
    yield "SlurmdSpoolDir", f"{at.spool}/%n", "Batch scripts and credentials, a folder per node."
    yield "SlurmctldPidFile", f"{at.run}/slurmctld.pid", "Outlives no reboot."
    yield "SlurmdPidFile", f"{at.run}/slurmd.%n.pid", "A name of its own per node."
    yield "SlurmctldLogFile", f"{at.log}/slurmctld.log", "Read this first when jobs do not start."
    yield "SlurmdLogFile", f"{at.log}/slurmd.%n.log", "Read this first when a node is down."
    if at.scratch is not None:
        yield "TmpFS", at.scratch, "A folder that is each node's own: PMIx keeps its sockets there."


def _scheduling(site: Site) -> Iterator[Option]:
    yield "SchedulerType", "sched/backfill", "Short jobs fill gaps that delay no one ahead of them."
    why = "Look often and deep enough that start estimates exist soon."
    yield "SchedulerParameters", "bf_interval=10,bf_continue,bf_max_job_test=1000", why
    yield "SelectType", "select/cons_tres", "Give out CPUs, memory and GPUs, not whole nodes."
    yield "SelectTypeParameters", "CR_Core_Memory", "Memory is given out too: jobs cannot starve."
    if site.gpus:
        yield "GresTypes", "gpu", "GPUs are a resource of their own; gres.conf has the devices."
    if site.switches:
        yield "TopologyPlugin", "topology/tree", "Place a job under few switches (topology.conf)."
    yield "MaxArraySize", site.max_array_size, "One more than the largest index of a job array."
    yield "MaxJobCount", max(10_000, 2 * site.max_array_size), "Jobs slurmctld keeps in memory."
    if site.trust_nodes:
        why = "Believe the nodes' lines below, also where the hardware has less."
        yield "SlurmdParameters", "config_overrides", why


def _priority(site: Site) -> Iterator[Option]:
    yield "PriorityType", "priority/multifactor", "Several reasons count, by the weights below."
    yield "PriorityDecayHalfLife", "7-0", "Usage of a week ago counts half."
    yield "PriorityCalcPeriod", "5", "Minutes between decays of usage."
    yield "PriorityMaxAge", "7-0", "Waiting longer than this adds no more."
    yield "PriorityWeightFairshare", 100_000, "Who has used less than their share goes first."
    yield "PriorityWeightQOS", 1_000_000, "A higher QOS goes before any share."
    yield "PriorityWeightAge", 10_000, "Among equals, who waits longer."
    yield "PriorityWeightJobSize", 1_000, "Among equals, who needs more nodes."
    yield "PriorityWeightPartition", 1_000, "Among equals, the partition of the higher tier."
    if site.preempt_by_qos and site.accounting is not None:
        yield "PreemptType", "preempt/qos", "A job may take the place of one of a lower QOS."
        yield "PreemptMode", "REQUEUE", "The job that yields its place waits again, it is not lost."
        why = "It gets the signal it asked for with --signal before it must leave."
        yield "SlurmctldParameters", "preempt_send_user_signal", why
    yield "JobRequeue", 1, "Jobs may be requeued unless they say --no-requeue."


def _accounting(site: Site) -> Iterator[Option]:
    kind = "jobacct_gather/cgroup" if site.proctrack == "cgroup" else "jobacct_gather/linux"
    yield "JobAcctGatherType", kind, "What sstat and sacct know of memory and CPU."
    yield "JobAcctGatherFrequency", 10, "Seconds between two looks at a job."
    if (accounting := site.accounting) is None:
        return
    yield "AccountingStorageType", "accounting_storage/slurmdbd", "sacct, accounts, QOS, limits."
    yield "AccountingStorageHost", accounting.address or accounting.host, "Where slurmdbd runs."
    if site.places.munge_socket is not None:
        why = "The munge socket again: slurmdbd's clients take it from here."
        yield "AccountingStoragePass", site.places.munge_socket, why
    why = "No job without an account; limits and QOS hold."
    yield "AccountingStorageEnforce", "associations,limits,qos", why
    if site.gpus:
        yield "AccountingStorageTRES", "gres/gpu", "Count GPU hours, and allow limits on them."


def _containment(site: Site) -> Iterator[Option]:
    cgroup = site.proctrack == "cgroup"
    why = "A job's processes are known by their control group: none escapes."
    if not cgroup:
        why = "A job's processes are known by their parents: what daemonizes may escape."
    yield "ProctrackType", f"proctrack/{site.proctrack}", why
    tasks = [*(["cgroup"] if cgroup else []), *(["affinity"] if site.bind_cores else [])]
    plugin = ",".join(f"task/{word}" for word in tasks) or "task/none"
    yield "TaskPlugin", plugin, "What keeps a task on its CPUs, memory and devices."
    yield "PrologFlags", "Contain", "The job exists on all its nodes before its first step."
    why = "Limits of the login shell but this one hold on nodes; RDMA needs memory it can lock."
    yield "PropagateResourceLimitsExcept", "MEMLOCK", why
    yield "MpiDefault", "none", "srun adds nothing for MPI unless asked with --mpi."


def _timing(site: Site) -> Iterator[Option]:
    timing = site.timing
    yield "SlurmdTimeout", timing.slurmd_timeout_s, "Seconds of silence until a node is DOWN."
    yield "SlurmctldTimeout", 120, "Seconds until a backup controller takes over, if there is one."
    yield "KillWait", timing.kill_wait_s, "Seconds from SIGTERM to SIGKILL at the time limit."
    why = "Seconds until a job without any answer from its srun is ended; 0 is never."
    yield "InactiveLimit", 0, why
    yield "MinJobAge", 300, "Seconds an ended job stays visible to squeue and scontrol."
    why = "Seconds for processes to die before the node is drained; slow file systems need minutes."
    yield "UnkillableStepTimeout", 180, why


def _node(group: Nodes, trusted: bool) -> str:
    words = [f"NodeName={group.names}"]
    if group.addresses is not None:
        words.append(f"NodeAddr={group.addresses}")
    words += [
        f"CPUs={group.cpus}",
        f"Sockets={group.sockets}",
        f"CoresPerSocket={group.cores_per_socket}",
        f"ThreadsPerCore={group.threads_per_core}",
        f"RealMemory={group.memory_mib}",
    ]
    if group.gpus:
        words.append("Gres=" + ",".join(_gres(group.gpus)))
    if group.features:
        words.append("Feature=" + ",".join(group.features))
    if group.weight is not None:
        words.append(f"Weight={group.weight}")
    source = "as they are given to jobs" if trusted else "as slurmd -C prints it; RealMemory in MiB"
    return f"# {group.names}: {source}\n{' '.join([*words, 'State=UNKNOWN'])}"


def _gres(gpus: Iterable[GpuSet]) -> Iterator[str]:
    """One word a type: gres.conf says which of them are beside which cores."""
    counts: dict[str, int] = {}
    for one in gpus:
        counts[one.type] = counts.get(one.type, 0) + one.count
    for kind, count in counts.items():
        yield f"gpu:{kind}:{count}"


def _partition(one: Partition) -> str:
    words = [
        f"PartitionName={one.name}",
        f"Nodes={one.nodes}",
        f"Default={'YES' if one.default else 'NO'}",
        f"DefaultTime={one.default_time}",
        f"MaxTime={one.max_time}",
        f"PriorityTier={one.tier}",
        "State=UP",
    ]
    limit = "of any length" if one.max_time == "UNLIMITED" else f"of up to {one.max_time}"
    return f"# {one.name}: jobs {limit}; who says no --time gets DefaultTime\n{' '.join(words)}"


def gres_conf(nodes: Iterable[Nodes]) -> str:
    lines = [
        "# gres.conf: the device files behind the GPUs of slurm.conf.",
        "",
        "# The lines below say it all; no library is asked.",
        "AutoDetect=off",
    ]
    for group in nodes:
        if not group.gpus:
            continue
        lines += ["", f"# {group.names}: CUDA_VISIBLE_DEVICES is set from the order of the files."]
        lines += [_gpu(group, one) for one in group.gpus]
    return "\n".join(lines) + "\n"


def _gpu(group: Nodes, one: GpuSet) -> str:
    cores = "" if one.cores is None else f" Cores={one.cores}"
    start = f"NodeName={group.names} Name=gpu Type={one.type} File={one.files}"
    return f"{start}{cores} Flags=nvidia_gpu_env"


def cgroup_conf(site: Site) -> str:
    """slurmd wants the version also where it uses no control group."""
    plugin = "The version of control groups that the nodes have."
    options: list[Option] = [("CgroupPlugin", site.cgroup_plugin, plugin)]
    if site.proctrack == "cgroup":
        cores = "A task can use no CPU that its job does not have."
        options += [
            ("ConstrainCores", "yes" if site.bind_cores else "no", cores),
            ("ConstrainRAMSpace", "yes", "Who takes more memory than asked for is ended."),
            ("ConstrainSwapSpace", "yes", "Swap is no way around the limit."),
            ("AllowedSwapSpace", 0, "No swap beyond the memory asked for."),
            ("ConstrainDevices", "yes", "A job can open only the GPUs it was given."),
        ]
    return _file("cgroup.conf: what control groups hold a job to.", {"": options})


def topology_conf(switches: Iterable[Switch]) -> str:
    lines = ["# topology.conf: which nodes hang on which switch, leaves first.", ""]
    for one in switches:
        below = f"Nodes={one.nodes}" if one.nodes else f"Switches={one.switches}"
        lines.append(f"SwitchName={one.name} {below}")
    return "\n".join(lines) + "\n"


def slurmdbd_conf(site: Site, accounting: Accounting) -> str:
    def options() -> Iterator[Option]:
        yield "DbdHost", accounting.host, "The host name of the machine slurmdbd runs on."
        if accounting.address is not None:
            yield "DbdAddr", accounting.address, "Where its clients reach it."
        yield (
            "SlurmUser",
            site.slurm_user,
            "As in slurm.conf. Only it may read this file.",
        )
        yield "AuthType", "auth/munge", "As in slurm.conf."
        if site.places.munge_socket is not None:
            yield "AuthInfo", f"socket={site.places.munge_socket}", "As in slurm.conf."
        yield "StorageType", "accounting_storage/mysql", "MariaDB or MySQL."
        yield "StorageHost", accounting.storage_host, "localhost is reached by its Unix socket."
        yield "StorageUser", accounting.storage_user, "The database's user."
        if accounting.storage_password is not None:
            yield "StoragePass", accounting.storage_password, "That user's password."
        yield "StorageLoc", "slurm_acct_db", "The database; slurmdbd makes its tables itself."
        yield "LogFile", f"{site.places.log}/slurmdbd.log", "Read this first when sacct fails."
        yield "PidFile", f"{site.places.run}/slurmdbd.pid", "Outlives no reboot."
        yield "PurgeJobAfter", "24months", "Jobs are forgotten after this."
        yield "PurgeStepAfter", "6months", "Steps are many: forgotten sooner."

    return _file("slurmdbd.conf: the daemon before the accounting database.", {"": options()})


def _file(title: str, sections: Mapping[str, Iterable[Option] | Sequence[str]]) -> str:
    """Sections by heading; of options, or of blocks of text that have their comment already."""
    lines = [f"# {title}"]
    for name, options in sections.items():
        lines += ["", f"## {name}"] if name else []
        for option in options:
            if isinstance(option, str):
                lines += ["", option]
            else:
                what, value, why = option
                lines += ["", f"# {why}", f"{what}={value}"]
    return "\n".join(lines) + "\n"
