"""From the command line to the ranks and back, with the real daemon and the real lead."""

import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

from tests.integration.site import Site, until

from headrace.control.client import Client
from headrace.core.process import marked
from headrace.core.rundir import read_events
from headrace.spec import from_flags, to_yaml

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "ddp_tutorial.py"
GATE = ("sh", "-c", "while [ ! -e open ]; do sleep 0.1; done")


def test_a_plain_ddp_script_ends_with_the_loss_it_has_under_torchrun(site: Site) -> None:
    program = [str(EXAMPLE), "--epochs", "2"]
    weights = site.runs.parent / "weights.pt"
    program += ["--checkpoint", str(weights)]
    words = ("run", "--nodes", "2", "--ranks-per-node", "1", "--wait", "--name", "plain")
    run_id = site(*words, "--", sys.executable, *program).strip()
    weights.unlink(missing_ok=True)
    ours = re.findall(r"final loss \S+", site("logs", run_id))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    theirs = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", *program],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert theirs.returncode == 0, theirs.stderr
    assert len(ours) == 1
    assert ours == re.findall(r"final loss \S+", theirs.stdout)


def test_runs_outlive_a_killed_daemon_and_the_next_command_finds_them(site: Site) -> None:
    site.configure("[local]\ncpus = 2\n")
    work = site.runs.parent
    short = site("run", "--name", "short", "--workdir", str(work), "--", *GATE).strip()
    long = site("run", "--name", "long", "--", "sleep", "600").strip()
    until(lambda: {site.status(run)["state"] for run in (short, long)} == {"RUNNING"})
    daemon = site.daemon_pid()
    os.kill(daemon, signal.SIGKILL)
    assert {site.status(run)["state"] for run in (short, long)} == {"RUNNING"}
    assert site.daemon_pid() != daemon
    site("cancel", long)
    (work / "open").touch()
    site("wait", short, long, check=False)
    assert site.status(short)["state"] == "COMPLETED"
    assert site.status(long)["state"] == "CANCELLED"
    for path in site.runs.glob("*/events/*.jsonl"):
        lines = path.read_bytes().splitlines()
        assert [entry.seq for entry in read_events(path)] == list(range(len(lines)))


def test_after_kill_of_the_lead_the_run_starts_again_and_nothing_of_before_is_left(
    site: Site,
) -> None:
    run_id = site("run", "--name", "lead", "--", "sleep", "600").strip()
    folder = str(site.runs / run_id)
    until(lambda: any("sleep" in _command(pid) for pid in marked("HEADRACE_RUN_DIR", folder)))
    before = set(marked("HEADRACE_RUN_DIR", folder))
    first = site.lead_pid(run_id)
    os.kill(first, signal.SIGKILL)
    until(lambda: site.lead_pid(run_id) != first, timeout_s=15.0)
    assert not before & set(marked("HEADRACE_RUN_DIR", folder))
    site("cancel", run_id)
    until(lambda: site.status(run_id)["state"] == "CANCELLED")
    until(lambda: marked("HEADRACE_RUN_DIR", folder) == [])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


STAMPS = 'echo start "$HEADRACE_RUN_ID" >> stamps; sleep 0.1; echo end "$HEADRACE_RUN_ID" >> stamps'


def test_40_runs_of_a_core_share_2_cores_and_start_by_priority_then_age(site: Site) -> None:
    site.configure("[local]\ncpus = 2\n")
    work = site.runs.parent
    words = ("--cpus-per-rank", "2", "--workdir", str(work), "--", *GATE)
    gatekeeper = site("run", "--name", "gate", *words).strip()
    client = Client(site.environment, runs=site.runs)
    asked = []
    for number in range(40):
        fields = {"cpus_per_rank": 1, "priority": number * 7 % 4, "name": "stamp"}
        spec = from_flags(("sh", "-c", STAMPS), overrides=fields, cwd=work)
        asked.append((-spec.priority, number, client.submit(to_yaml(spec), os.environ).id))
    assert {row.state for row in client.runs(ended=False) if row.id != gatekeeper} == {"PENDING"}
    (work / "open").touch()
    until(lambda: client.runs(ended=False) == [], timeout_s=120.0)

    assert {row.state for row in client.runs(ended=True)} == {"COMPLETED"}
    stamps = [line.split() for line in (work / "stamps").read_text().splitlines()]
    at_a_time = list(accumulate(1 if word == "start" else -1 for word, _ in stamps))
    assert len(stamps) == 80
    assert max(at_a_time) == 2
    wanted = [run_id for _, _, run_id in sorted(asked)]
    assert sorted(wanted, key=site.started_s) == wanted


def test_a_waiting_run_keeps_its_batch_script_and_outlives_its_folder(site: Site) -> None:
    site.configure("[local]\ncpus = 1\n")
    work = site.runs.parent
    folder = work / "gone"
    folder.mkdir()
    script = folder / "job.sbatch"
    script.write_text("#!/bin/bash\n#SBATCH --job-name=kept\necho as submitted\n")
    site("run", "--name", "gate", "--workdir", str(work), "--", *GATE)
    kept = site("run", str(script), "--workdir", str(work)).strip()
    lost = site("run", "--name", "lost", "--workdir", str(folder), "--", "true").strip()
    script.write_text("#!/bin/bash\necho as edited\n")
    shutil.rmtree(folder)
    (work / "open").touch()
    site("wait", kept, lost, check=False)
    assert site("logs", kept) == "as submitted\n"
    assert (site.status(lost)["state"], site.status(lost)["exit_code"]) == ("FAILED", 127)
    assert f"{folder}: not found" in site.run("logs", lost).stderr


def test_a_broken_job_file_is_three_lines_exit_2_and_queues_nothing(site: Site) -> None:
    path = site.runs.parent / "job.yaml"
    path.write_text('name: x\nrun: echo\nnodes: "8-2"\n')
    done = site.run("run", str(path))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr
    assert ":3: nodes:" in lines[0]
    assert done.stdout == ""
    assert not site.runs.exists() or list(site.runs.iterdir()) == []
