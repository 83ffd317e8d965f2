"""The programs of ``FakeSlurm``: ``python -m headrace.testing.fake_programs FOLDER NAME ...``."""

import getpass
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from headrace.testing.fake_cluster import ACTIVE, Site, deliver, end, fits, named


def fail(text: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(code)


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def options_of(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Long options (--name=value or --name) and the other words."""
    options: dict[str, str] = {}
    words: list[str] = []
    for at, word in enumerate(arguments):
        if word == "--":
            return options, [*words, *arguments[at + 1 :]]
        if not word.startswith("--"):
            return options, [*words, *arguments[at:]]
        name, _, value = word[2:].partition("=")
        options[name] = value
    return options, words


# --- sbatch --------------------------------------------------------------------------------------


def batch_of(arguments: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The script, and its options with those of the command line."""
    options, words = options_of(arguments)
    if "wrap" in options:
        return f"#!/bin/sh\n{options['wrap']}\n", options
    text = Path(words[0]).read_text()
    for line in text.splitlines():
        if line.startswith("#SBATCH"):
            name, _, value = shlex.split(line)[1][2:].partition("=")
            options[name] = value
    return text, options


def sbatch(site: Site, arguments: Sequence[str]) -> None:
    text, options = batch_of(arguments)
    refused = "sbatch: error: Batch job submission failed: "
    if options.get("partition", "main") not in ("main", "short"):
        fail(refused + "Invalid partition name specified")
    if "reservation" in options:
        fail(refused + "Requested reservation is invalid")
    least, _, most = options.get("nodes", "1").partition("-")
    if int(least) > len(site.settings["nodes"]):
        fail(refused + "Requested node configuration is not available")
    if "test-only" in options:
        test_only(site, options)
        return
    with site.jobs() as jobs:
        base = len(jobs) + 1
        elements = expand(options["array"]) if "array" in options else [""]
        if any(element and int(element) >= site.settings["max_array_size"] for element in elements):
            fail(refused + "Invalid job array specification")
        throttle = int(options.get("array", "").partition("%")[2] or 0)
        script = site.folder / f"script-{base}"
        script.write_text(text)
        for offset, element in enumerate(elements):
            jobs.append(
                {
                    "id": str(base + offset),
                    "array_id": str(base),
                    "element": element,
                    "throttle": throttle,
                    "script": str(script),
                    "command": arguments[-1],
                    "name": options.get("job-name", "sbatch"),
                    "nodes_min": int(least),
                    "nodes_max": int(most or least),
                    "tasks": int(options.get("ntasks-per-node", "1")),
                    "cpus": int(options.get("ntasks-per-node", "1"))
                    * int(options.get("cpus-per-task", "1")),
                    "cpus_per_task": options.get("cpus-per-task", "1"),
                    "limit_s": seconds(options.get("time", "1:00:00")),
                    "output": options.get("output", "slurm-%j.out"),
                    "dependency": options.get("dependency", ""),
                    "requeue": "no-requeue" not in options,
                    "environ": dict(os.environ),
                    "submit_s": time.time(),
                    "state": "PENDING",
                    "reason": "None",
                    "held": "hold" in options,
                    "begin_s": 0.0,
                    "start_s": None,
                    "end_s": None,
                    "nodes": [],
                    "restarts": 0,
                    "exit_code": 0,
                    "signal": 0,
                    "batch_pid": None,
                    "tasks_pids": [],
                }
            )
    say(base)


def test_only(site: Site, options: Mapping[str, str]) -> None:
    """When running jobs leave enough nodes, by their limits; it minds no job that waits."""
    least = int(options.get("nodes", "1").partition("-")[0])
    cpus = int(options.get("ntasks-per-node", "1")) * int(options.get("cpus-per-task", "1"))
    with site.jobs() as jobs:
        number, busy = len(jobs) + 1, [job for job in jobs if job["state"] in ACTIVE]
    for now_s in sorted([time.time(), *(job["end_s"] for job in busy)]):
        left = [job for job in busy if job["end_s"] > now_s]
        free = [node for node in site.settings["nodes"] if fits(site, left, node, cpus)]
        if len(free) >= least:
            break
    sys.stderr.write(
        f"sbatch: Job {number} to start at {moment(now_s)} using {cpus * least} processors "
        f"on nodes {','.join(free[:least])} in partition {options.get('partition', 'main')}\n"
    )


def expand(text: str) -> list[str]:
    found: list[str] = []
    for item in text.partition("%")[0].split(","):
        whole, _, step = item.partition(":")
        first, _, last = whole.partition("-")
        found.extend(map(str, range(int(first), int(last or first) + 1, int(step or 1))))
    return found


def seconds(text: str) -> float:
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if len(parts) == 1:
        parts = [0, parts[0], 0]
    return float(int(days or 0) * 86_400) + sum(
        part * size for part, size in zip(reversed(parts), (1, 60, 3600), strict=False)
    )


# --- srun ---


def srun(site: Site, arguments: Sequence[str]) -> None:
    """One task a node, as processes of this machine. SIGTERM ends the step. An image is no more
    than a name."""
    options, argv = options_of(arguments)
    if "help" in options:
        say("Usage: srun [OPTIONS(0)...] executable [args(0)...]")
        say("      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH" * site.settings["pyxis"])
        return
    tres = os.environ.get("SLURM_TRES_PER_TASK", "").partition("cpu=")[2]
    if tres and tres != os.environ.get("SLURM_CPUS_PER_TASK", tres):
        fail("srun: fatal: cpus-per-task set by two different environment variables")
    job_id = os.environ["SLURM_JOB_ID"]
    nodes = options.get("nodelist", os.environ["SLURM_JOB_NODELIST"]).split(",")
    nodes = nodes[: int(options.get("nodes", len(nodes)))]
    output = options.get("output", "").replace("%%", "%")
    log = open(output, "ab") if output else None  # noqa: SIM115
    tasks = []
    for number, node in enumerate(nodes):
        environment = os.environ | {
            "SLURMD_NODENAME": node,
            "SLURM_PROCID": str(number),
            "SLURM_NODEID": str(number),
            "SLURM_LOCALID": "0",
        }
        tasks.append(
            subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )
    with site.jobs() as jobs:
        job = next(one for one in jobs if one["id"] == job_id)
        job["tasks_pids"].extend(task.pid for task in tasks)

    def stop(number: int, _: object) -> None:
        for task in tasks:
            task.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    sys.exit(max(abs(task.wait()) for task in tasks))


# --- acting on jobs ------------------------------------------------------------------------------


def scancel(site: Site, arguments: Sequence[str]) -> None:
    options, words = options_of(arguments)
    if "clusters" in options:
        return  # of a cluster that is not this one
    with site.jobs() as jobs:
        known = [job for word in words for job in named(jobs, word)]
        if not known:
            fail(f"scancel: error: Kill job error on job id {words[0]}: Invalid job id specified")
        if "state" in options:
            known = [job for job in known if job["state"] == options["state"]]
        for job in known:
            if job["state"] == "PENDING" and "signal" not in options:
                job |= {"state": "CANCELLED", "reason": "None", "end_s": time.time()}
        running = [job for job in known if job["state"] == "RUNNING"]
    for job in running:
        if "signal" in options:
            number = getattr(signal, f"SIG{options['signal']}")
            only = "batch" in options
            deliver(job, number, batch=only or "full" in options, steps=not only)
        else:
            end(site, job["id"], "CANCELLED")


def scontrol(site: Site, arguments: Sequence[str]) -> None:
    _, words = options_of(arguments)
    verb, *rest = words
    if verb == "show":
        shown: dict[str, Callable[[Site, Sequence[str]], None]] = {
            "config": show_config,
            "partition": show_partition,
            "node": show_node,
            "job": show_job,
            "assoc_mgr": show_limits,
            "reservation": lambda site, rest: say("No reservations in the system"),
        }
        shown[rest[0]](site, rest[1:])
    elif verb == "requeue":
        requeue(site, rest[0])
    elif verb in ("hold", "release"):
        with site.jobs() as jobs:
            for job in (one for name in rest[0].split(",") for one in named(jobs, name)):
                job["held"] = verb == "hold"
    elif verb == "update":
        update(site, {key.lower(): value for key, value in (word.split("=", 1) for word in rest)})


def update(site: Site, fields: Mapping[str, str]) -> None:
    """The number of nodes; also while it runs the time limit, and whether it may be requeued."""
    with site.jobs() as jobs:
        for job in named(jobs, fields["jobid"]):
            if "numnodes" in fields:
                least, _, most = fields["numnodes"].partition("-")
                job |= {"nodes_min": int(least), "nodes_max": int(most or least)}
            if "requeue" in fields:
                job["requeue"] = fields["requeue"] == "1"
            if "timelimit" in fields:
                job["limit_s"] = seconds(fields["timelimit"])
                if job["state"] == "RUNNING":
                    job["end_s"] = job["start_s"] + job["limit_s"]


def requeue(site: Site, name: str) -> None:
    with site.jobs() as jobs:
        found = named(jobs, name)
        if not found:
            fail("Invalid job id specified")
        if not all(job["requeue"] for job in found):
            fail("Requested operation is presently disabled")
        ended = [job for job in found if job["state"] not in (*ACTIVE, "PENDING")]
        for job in ended:
            job |= {"state": "PENDING", "begin_s": time.time() + site.settings["requeue_s"]}
        running = [job for job in found if job["state"] in ACTIVE]
    for job in running:
        end(site, job["id"], "REQUEUE")


# --- telling -------------------------------------------------------------------------------------


def moment(time_s: float | None) -> str:
    if time_s is None:
        return "N/A"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time_s))


def show_config(site: Site, rest: Sequence[str]) -> None:
    settings = site.settings
    storage = "accounting_storage/slurmdbd" if settings["accounting"] else "(null)"
    if site.release < (23, 11) and not settings["accounting"]:
        storage = "accounting_storage/none"
    lines = {
        "AccountingStorageType": storage,
        "ClusterName": "fake",
        "JobRequeue": "1",
        "KillWait": f"{settings['kill_wait_s']:.0f} sec",
        "MaxArraySize": str(settings["max_array_size"]),
        "PriorityType": settings["priority_type"],
        "PrivateData": "none",
        "PreemptMode": "OFF",
        "PreemptType": "(null)" if site.release >= (23, 11) else "preempt/none",
        "ProctrackType": "proctrack/linuxproc",
        "SLURM_VERSION": settings["release"],
        "SlurmctldParameters": "(null)",
        "TaskPlugin": "task/none" if site.release < (23, 11) else "(null)",
    }
    say(f"Configuration data as of {moment(time.time())}")
    for key, value in lines.items():
        say(f"{key:<23} = {value}")
    say("\nSlurmctld(primary) at head is UP")


def show_partition(site: Site, rest: Sequence[str]) -> None:
    nodes = ",".join(site.settings["nodes"])
    for name, default, limit in (("main", "YES", "1-00:00:00"), ("short", "NO", "00:10:00")):
        say(
            f"PartitionName={name} AllowGroups=ALL Default={default} QoS=N/A "
            f"DefaultTime=01:00:00 GraceTime=0 MaxNodes=UNLIMITED MaxTime={limit} "
            f"Nodes={nodes} PreemptMode=OFF PriorityTier=1 State=UP "
            f"TotalCPUs={site.settings['cpus'] * len(site.settings['nodes'])} "
            f"TotalNodes={len(site.settings['nodes'])}"
        )


def show_node(site: Site, rest: Sequence[str]) -> None:
    cpus, gpus = site.settings["cpus"], site.settings["gpus"]
    with site.jobs() as jobs:
        running = [job for job in jobs if job["state"] in ACTIVE]
    for node in rest[0].split(","):
        used = sum(job["cpus"] for job in running if node in job["nodes"])
        gres = f"gpu:virtual:{gpus}" if gpus else "(null)"
        say(
            f"NodeName={node} Arch=x86_64 CPUAlloc={used} CPUEfctv={cpus} CPUTot={cpus} "
            f"Gres={gres} NodeAddr=127.0.0.1 NodeHostName={node} "
            f"Version={site.settings['release']} OS=Linux 6.1.0 #1 SMP PREEMPT_DYNAMIC "
            f"RealMemory=4000 AllocMem=0 State={'MIXED' if used else 'IDLE'} "
            f"AllocTRES={f'cpu={used}' if used else ''}"
        )


def show_limits(site: Site, rest: Sequence[str]) -> None:
    """Two accounts, one user, one QOS; at most 9 jobs of a user. Lft became Lineage in 23.11."""
    fields = dict(word.split("=", 1) for word in rest)
    user = fields["users"]
    with site.jobs() as jobs:
        running = sum(job["state"] in ACTIVE for job in jobs)
    since = "Lineage=/lab/" if site.release >= (23, 11) else "Lft=1"
    say("Current Association Manager state\nAssociation Records")
    for account, who, parent, shares in (
        ("root", "", "", "1/0.00/1/0.00"),
        ("lab", "", "root(1)", "3/0.60/5/0.00"),
        ("lab", f"{user}({os.getuid()})", "", "2147483647/0.60/0/0.40"),
    ):
        say(
            f"ClusterName=fake Account={account} UserName={who} Partition= Priority=0 ID=1 "
            f"SharesRaw/Norm/Level/Factor={shares} UsageRaw/Norm/Efctv=815.5/0.49/0.49 "
            f"ParentAccount={parent} {since} DefAssoc=No GrpJobs=N({running}) GrpTRES=cpu=N(0),"
            "node=N(0) GrpTRESMins=cpu=N(90) GrpWall=N(2.26) "
            f"MaxJobs={f'9({running})' if who else ''} MaxWallPJ="
        )
    say(
        "QOS Records\nQOS=normal(1) UsageRaw=815.5 GrpJobs=N(0) MaxWallPJ=1440 Priority=100 "
        "Account Limits= lab={MaxJobsPA=N(0)} "
        f"User Limits= {os.getuid()}={{MaxJobsPU=N({running}) MaxTRESPU=cpu=N(0),node=N(0)}}"
    )


def show_job(site: Site, rest: Sequence[str]) -> None:
    with site.jobs() as jobs:
        found = named(jobs, rest[0])
    if not found:
        fail("slurm_load_jobs error: Invalid job id specified")
    for job in found:
        array = (
            f" ArrayJobId={job['array_id']} ArrayTaskId={job['element']} "
            f"ArrayTaskThrottle={job['throttle']}"
            if job["element"]
            else ""
        )
        tres = "TRES" if site.release < (23, 2) else "ReqTRES"
        say(
            f"JobId={job['id']}{array} JobName={job['name']} UserId=ada(1000) "
            f"JobState={job['state']} Reason={job['reason']} Requeue={int(job['requeue'])} "
            f"Dependency={job['dependency'] or '(null)'} "
            f"Restarts={job['restarts']} StartTime={moment(job['start_s'])} "
            f"EndTime={moment(job['end_s'])} TimeLimit={limit(job['limit_s'])} "
            f"Partition=main NodeList={','.join(job['nodes'])} "
            f"NumNodes={len(job['nodes']) or job['nodes_min']} "
            f"{tres}=cpu={job['cpus'] * job['nodes_min']},node={job['nodes_min']} Comment="
        )


def squeue(site: Site, arguments: Sequence[str]) -> None:
    """Elements that wait share a line, as in Slurm."""
    options, _ = options_of(arguments)
    with site.jobs() as jobs:
        every = options.get("states") == "all"
        shown = [job for job in jobs if every or job["state"] in ("PENDING", *ACTIVE)]
    waiting = [job for job in shown if job["state"] == "PENDING" and job["element"]]
    alone = [job for job in shown if job not in waiting]
    for _, group in itertools.groupby(waiting, key=lambda job: (job["array_id"], job["reason"])):
        family = list(group)
        elements = ",".join(job["element"] for job in family)
        alone.append(family[0] | {"element": elements, "id": family[0]["array_id"]})
    for job in alone:
        values: dict[str, str] = {
            "A": job["id"],
            "F": job["array_id"],
            "K": job["element"] or "N/A",
            "T": job["state"],
            "S": moment(job["start_s"]),
            "e": moment(job["end_s"]),
            "P": "main",
            "Q": "1",
            "D": str(len(job["nodes"]) or job["nodes_min"]),
            "N": ",".join(job["nodes"]),
            "j": job["name"],
            "u": getpass.getuser(),
            "C": str(job["cpus"] * job["nodes_min"]),
            "l": limit(job["limit_s"]),
            "V": moment(job["submit_s"]),
            "Y": "(null)",
            "a": "lab",
            "q": "normal",
            "r": job["reason"],
            "o": job["command"],
        }
        say("".join(values.get(part, part) for part in re.split(r"%(\w)", options["format"])))


def limit(limit_s: float) -> str:
    minutes, seconds_left = divmod(int(limit_s), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds_left:02}"


def sprio(site: Site, arguments: Sequence[str]) -> None:
    """All have the same priority: first come, first served."""
    options, _ = options_of(arguments)
    if "multifactor" not in site.settings["priority_type"]:
        fail("sprio: error: You are not running a supported priority plugin")
    values = dict.fromkeys("SAABJPQNabfjpq", "0") | {"T": "", "r": "main", "u": getpass.getuser()}
    values |= {"Y": "1", "F": "1", "f": "0.4000000"}
    with site.jobs() as jobs:
        waiting = {job["array_id"] for job in jobs if job["state"] == "PENDING"}
    for job_id in sorted(waiting & set(options.get("jobs", ",".join(waiting)).split(","))):
        shown: dict[str, str] = values | {"i": job_id}
        say("".join(shown.get(part, part) for part in re.split(r"%(\w)", options["format"])))


def sacctmgr(site: Site, arguments: Sequence[str]) -> None:
    if not site.settings["accounting"]:
        fail("You are not running a supported accounting_storage plugin")
    say("normal|00:00:00|cluster|")


def sacct(site: Site, arguments: Sequence[str]) -> None:
    options, _ = options_of(arguments)
    if not site.settings["accounting"]:
        fail("Slurm accounting storage is disabled")
    with site.jobs() as jobs:
        found = [job for name in options["jobs"].split(",") for job in named(jobs, name)]
    for job in found:
        name = f"{job['array_id']}_{job['element']}" if job["element"] else job["id"]
        state = "CANCELLED by 1000" if job["state"] == "CANCELLED" else job["state"]
        code = f"{job['exit_code']}:{job['signal']}"
        say(f"{name}|{state}|{code}|{moment(job['start_s'])}|{moment(job['end_s'])}")


def sinfo(site: Site, arguments: Sequence[str]) -> None:
    gpus = site.settings["gpus"]
    gres = f"gpu:virtual:{gpus}(S:0)" if gpus else "(null)"
    for node in site.settings["nodes"]:
        for partition in ("main*", "short"):
            say(f"{node}|{site.settings['cpus']}|4000|{gres}|{partition}|(null)|idle")


def main() -> None:
    folder, name, *arguments = sys.argv[1:]
    site = Site(folder)
    with (site.folder / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([name, *arguments]) + "\n")
    programs: dict[str, Callable[[Site, Sequence[str]], None]] = {
        "sbatch": sbatch,
        "squeue": squeue,
        "sacct": sacct,
        "scontrol": scontrol,
        "scancel": scancel,
        "srun": srun,
        "sinfo": sinfo,
        "sprio": sprio,
        "sacctmgr": sacctmgr,
    }
    programs[name](site, arguments)


if __name__ == "__main__":
    main()
