"""What the commands print, where to, and how they exit, with a real daemon."""

import json

from tests.integration.site import Site, until


def test_a_run_from_submission_to_its_end_as_the_commands_show_it(site: Site) -> None:
    said = site.run("run", "--name", "one", "--json", "--", "sh", "-c", "echo out; echo err >&2")
    submitted = json.loads(said.stdout)
    assert submitted == {"schema": 1, "id": "one-1", "runs": ["one-1"]}
    waited = site.run("wait", "1")
    assert (waited.returncode, waited.stdout) == (0, "")
    assert waited.stderr == "one-1 COMPLETED: all ranks ended well\n"
    logs = site.run("logs", "one-1")
    assert (logs.stdout, logs.stderr) == ("out\n", "err\n")
    followed = site.run("logs", "-f", "1")
    assert (followed.stdout, followed.stderr) == ("out\n", "err\n")

    row = site.status("1")
    assert (row["schema"], row["id"]) == (1, "one-1")
    assert (row["state"], row["exit_code"]) == ("COMPLETED", 0)
    assert [attempt["outcome"] for attempt in row["attempts"]] == ["completed"]
    assert "one-1" in site("status", "1").splitlines()[0]
    assert site.run("ps").stderr == "no run is waiting or running\n"
    assert "one-1  COMPLETED" in site("ps", "--all")
    listed = json.loads(site("ps", "--state", "completed", "--json"))
    assert [run["id"] for run in listed["runs"]] == ["one-1"]


def test_exit_statuses_tell_how_runs_ended(site: Site) -> None:
    failed = site.run("run", "--wait", "--name", "bad", "--", "sh", "-c", "exit 3")
    assert (failed.returncode, failed.stdout) == (1, "bad-1\n")
    assert failed.stderr.startswith("bad-1 FAILED: rank 0 ended with exit code 3")
    late = site.run("run", "--wait", "--name", "late", "--time", "1s", "--", "sleep", "60")
    assert late.returncode == 124
    sleeper = site("run", "--name", "slow", "--", "sleep", "60").strip()
    assert site.run("wait", sleeper, "--timeout", "0.1").returncode == 124
    assert site.run("cancel", sleeper).stderr == f"{sleeper} asked to stop\n"
    assert site.run("wait", sleeper).returncode == 130
    assert site.run("cancel", sleeper).stderr == f"{sleeper} has already ended CANCELLED\n"
    for words in (("status", "99"), ("wait", "99"), ("cancel", "99"), ("logs", "99")):
        missing = site.run(*words)
        assert (missing.returncode, len(missing.stderr.splitlines())) == (3, 3), words


def test_a_waiting_run_is_held_released_explained_and_cancelled(site: Site) -> None:
    site.configure("[local]\ncpus = 1\n")
    site("run", "--name", "gate", "--", "sleep", "600")
    family = site("run", "--name", "fam", "--array", "0-1", "--", "true").strip()
    assert site.run("hold", family).stderr == f"{family}_[0-1] held\n"
    until(lambda: "held" in site.status(f"{family}_0")["reason"])
    assert site.run("release", f"{family}_1").stderr == f"{family}_1 released\n"
    until(lambda: "held" not in site.status(f"{family}_1")["reason"])
    acted = json.loads(site("cancel", family, "--json"))
    assert [(one["id"], one["state"]) for one in acted["runs"]] == [
        (f"{family}_0", "CANCELLED"),
        (f"{family}_1", "CANCELLED"),
    ]
    killed = site.run("cancel", "--now", "gate-1")
    assert killed.stderr == "gate-1 killed\n"
    assert site.run("wait", "gate-1").returncode == 130


def test_a_dry_run_prints_the_order_and_queues_nothing(site: Site) -> None:
    order = json.loads(site("run", "--dry-run", "--nodes", "2", "--", "true"))
    assert (order["command"], len(order["placed"])) == (["true"], 2)
    assert site.run("ps", "--all").stderr == "no run is known\n"
