"""How the programs of ``FakeSlurm`` read their words, and what they tell."""

import getpass
import itertools
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from headrace.testing.fake_cluster import ACTIVE, Site, named


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
