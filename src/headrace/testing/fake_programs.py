"""The programs of ``FakeSlurm``: ``python -m headrace.testing.fake_programs FOLDER NAME ...``."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.testing.fake_answers import (
    fail,
    moment,
    options_of,
    sacct,
    sacctmgr,
    say,
    show_config,
    show_job,
    show_limits,
    show_node,
    show_partition,
    sinfo,
    sprio,
    squeue,
)
from headrace.testing.fake_cluster import ACTIVE, Site, deliver, end, fits, named

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
