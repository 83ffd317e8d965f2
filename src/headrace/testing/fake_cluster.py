"""The cluster that ``FakeSlurm`` is: its jobs in a file, under a lock. Standard library only.

Nothing stays running but a keeper for each job (``python -m headrace.testing.fake_cluster FOLDER
JOB``): it starts the batch script, minds the time limit, and starts what waits when it has ended.
"""

import contextlib
import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Job = dict[str, Any]
JOB_MARK = "FAKE_SLURM_JOB"
ACTIVE = ("RUNNING", "COMPLETING")
_POLL_S = 0.05


class Site:
    """The folder, its settings, and its jobs."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.settings: dict[str, Any] = json.loads((self.folder / "site.json").read_text())
        self.release = tuple(int(part) for part in self.settings["release"].split(".")[:2])

    @contextlib.contextmanager
    def jobs(self) -> Iterator[list[Job]]:
        """All jobs, to be changed; what waits and fits is started after that."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / "jobs.json"
            jobs = json.loads(path.read_text()) if path.exists() else []
            yield jobs
            started = schedule(self, jobs, time.time())
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(jobs))
            temporary.replace(path)
        for job in started:
            keeper = [sys.executable, "-S", "-m", __spec__.name, str(self.folder), job["id"]]
            with open(os.devnull, "r+b") as null:
                subprocess.Popen(
                    keeper, stdin=null, stdout=null, stderr=null, start_new_session=True, cwd="/"
                )

    def change(self, job_id: str, **changes: Any) -> Job:  # noqa: ANN401
        with self.jobs() as jobs:
            job = next(one for one in jobs if one["id"] == job_id)
            job.update(changes)
            return job


# --- scheduling ----------------------------------------------------------------------------------


def schedule(site: Site, jobs: list[Job], now_s: float) -> list[Job]:
    """Give nodes to what waits, first come, first served. Return the jobs to be started."""
    started = []
    for job in jobs:
        if job["state"] != "PENDING":
            continue
        job["reason"] = why_not(job, jobs, now_s)
        if job["reason"] != "None":
            continue
        free = [node for node in site.settings["nodes"] if fits(site, jobs, node, job["cpus"])]
        if len(free) < job["nodes_min"]:
            job["reason"] = "Resources"
            continue
        job |= {
            "state": "RUNNING",
            "nodes": free[: job["nodes_max"]],
            "start_s": now_s,
            "end_s": now_s + job["limit_s"],
            "kill_at_s": None,
            "ending": None,
        }
        started.append(job)
    return started


def fits(site: Site, jobs: list[Job], node: str, cpus: int) -> bool:
    used: int = sum(job["cpus"] for job in jobs if job["state"] in ACTIVE and node in job["nodes"])
    total: int = site.settings["cpus"]
    return bool(used + cpus <= total)


def why_not(job: Job, jobs: list[Job], now_s: float) -> str:
    if job["held"]:
        return "JobHeldUser"
    if job["begin_s"] > now_s:
        return "BeginTime"
    reason = dependency(job, jobs)
    if reason != "None":
        return reason
    family = [one for one in jobs if one["array_id"] == job["array_id"] and one["element"] != ""]
    running = sum(one["state"] in ACTIVE for one in family)
    if job["throttle"] and running >= job["throttle"]:
        return "JobArrayTaskLimit"
    return "None"


def dependency(job: Job, jobs: list[Job]) -> str:
    for part in filter(None, job["dependency"].split(",")):
        kind, *ids = part.split(":")
        if kind == "singleton":
            earlier = [one for one in jobs if one["name"] == job["name"]]
            earlier = [one for one in earlier if int(one["id"]) < int(job["array_id"])]
            if any(one["state"] in ("PENDING", *ACTIVE) for one in earlier):
                return "Dependency"
        for name in ids:
            for one in named(jobs, name):
                if one["state"] in ("PENDING", *ACTIVE):
                    return "Dependency"
                good = one["state"] == "COMPLETED"
                if (kind == "afterok" and not good) or (kind == "afternotok" and good):
                    return "DependencyNeverSatisfied"
    return "None"


def named(jobs: list[Job], name: str) -> list[Job]:
    """A job, all of an array, or elements: 4711, 4711_3, 4711_[5-9]."""
    array_id, _, element = name.partition("_")
    if element.startswith("["):
        least, _, most = element.strip("[]").partition("-")
        wanted = {str(number) for number in range(int(least), int(most) + 1)}
        return [one for one in jobs if one["array_id"] == array_id and one["element"] in wanted]
    if element:
        return [one for one in jobs if one["array_id"] == array_id and one["element"] == element]
    return [one for one in jobs if name in (one["id"], one["array_id"])]


# --- a job while it runs -------------------------------------------------------------------------


def keep(site: Site, job_id: str) -> None:
    """slurmstepd of the batch step: until the script has ended and nothing of the job is left."""
    with site.jobs() as jobs:
        job = next(one for one in jobs if one["id"] == job_id)
    output = job["output"].replace("%a", job["element"]).replace("%%", "%")
    with open(output, "ab") as log:
        batch = subprocess.Popen(
            ["/bin/bash", job["script"]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=batch_environment(site, job),
            start_new_session=True,
        )
    site.change(job["id"], batch_pid=batch.pid)
    while batch.poll() is None:
        time.sleep(_POLL_S)
        mind(site, job["id"], batch)
    finish(site, job["id"], batch.returncode)


def mind(site: Site, job_id: str, batch: "subprocess.Popen[bytes]") -> None:
    """The time limit, and the kill that follows a SIGTERM."""
    path = site.folder / "jobs.json"
    job = next(one for one in json.loads(path.read_text()) if one["id"] == job_id)
    now_s = time.time()
    if job["ending"] is None and job["end_s"] is not None and now_s >= job["end_s"]:
        end(site, job_id, "TIMEOUT")
    elif job["kill_at_s"] is not None and now_s >= job["kill_at_s"]:
        batch.kill()


def end(site: Site, job_id: str, ending: str) -> None:
    """Begin to end a running job: SIGTERM to all of it, SIGKILL later."""
    kill_at_s = time.time() + site.settings["kill_wait_s"]
    job = site.change(job_id, state="COMPLETING", ending=ending, kill_at_s=kill_at_s)
    deliver(job, signal.SIGTERM, batch=True, steps=True)


def finish(site: Site, job_id: str, status: int) -> None:
    for pid in itertools.chain.from_iterable(iter(lambda: marked(mark(site, job_id)), [])):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with site.jobs() as jobs:
        job = next(one for one in jobs if one["id"] == job_id)
        job |= {"end_s": time.time(), "batch_pid": None, "tasks_pids": [], "nodes": []}
        job |= {"exit_code": max(0, status), "signal": max(0, -status)}
        if job["ending"] == "REQUEUE":
            again_s = time.time() + site.settings["requeue_s"]
            job |= {"state": "PENDING", "restarts": job["restarts"] + 1, "begin_s": again_s}
            job |= {"end_s": None, "start_s": None}
        else:
            job["state"] = job["ending"] or ("FAILED" if status else "COMPLETED")
            job["reason"] = "NonZeroExitCode" if job["state"] == "FAILED" else "None"
    if job["state"] == "PENDING":
        time.sleep(site.settings["requeue_s"] + _POLL_S)
        with site.jobs():
            pass  # what waits for its begin time is started by somebody who looks


def mark(site: Site, job_id: str) -> str:
    """Of this cluster alone: others of this machine count their jobs from 1, too."""
    return f"{site.folder}#{job_id}"


def marked(value: str) -> list[int]:
    """Processes of the job, but those that stay dead children of somebody."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if (
                f"{JOB_MARK}={value}".encode()
                in Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
                and int(name) != os.getpid()
            ):
                found.append(int(name))
    return found


def batch_environment(site: Site, job: Job) -> dict[str, str]:
    nodes, tasks = job["nodes"], job["tasks"]
    environment = dict(job["environ"]) | {
        JOB_MARK: mark(site, job["id"]),
        "SLURM_JOB_ID": job["id"],
        "SLURM_JOBID": job["id"],
        "SLURM_JOB_NAME": job["name"],
        "SLURM_JOB_NODELIST": ",".join(nodes),
        "SLURM_NODELIST": ",".join(nodes),
        "SLURM_JOB_NUM_NODES": str(len(nodes)),
        "SLURM_NNODES": str(len(nodes)),
        "SLURM_JOB_PARTITION": "main",
        "SLURM_NTASKS": str(tasks * len(nodes)),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "SLURM_CPUS_PER_TASK": job["cpus_per_task"],
        "SLURM_CLUSTER_NAME": "fake",
        "SLURMD_NODENAME": nodes[0],
        "SLURM_EXPORT_ENV": "ALL",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
    }
    if site.release >= (23, 11):
        environment["SLURM_TRES_PER_TASK"] = f"cpu={job['cpus_per_task']}"
    if job["element"]:
        environment |= {
            "SLURM_ARRAY_JOB_ID": job["array_id"],
            "SLURM_ARRAY_TASK_ID": job["element"],
        }
    if job["restarts"]:
        environment["SLURM_RESTART_COUNT"] = str(job["restarts"])
    return environment


def deliver(job: Job, number: int, *, batch: bool, steps: bool) -> None:
    """To the batch script's own process and the first one of each task, to no child of them."""
    pids = [job["batch_pid"]] if batch and job["batch_pid"] else []
    pids += job["tasks_pids"] if steps else []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    keep(Site(sys.argv[1]), sys.argv[2])
