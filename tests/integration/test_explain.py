"""Why runs wait, and the start that was promised, on the real daemon."""

import getpass
import json
import os
import sys
from typing import Any

import pytest
from tests.integration.site import Site, until

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")

SITE = f"""
policy = "easy"
[local]
virtual_nodes = 2
cpus = 2
[accounts.lab]
users = ["{getpass.getuser()}"]
[accounts.small]
limits = {{grp_jobs = 1}}
users = ["{getpass.getuser()}"]
[qos.urgent]
preempts = ["normal"]
grace = "30s"
[partitions.all]
default = true
[partitions.gone]
nodes = ["nowhere"]
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def explained(site: Site, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site("explain", run_id, "--json"))
    return found


def first(site: Site, run_id: str) -> dict[str, Any]:
    reason: dict[str, Any] = explained(site, run_id)["reasons"][0]
    return reason


def test_every_kind_of_reason_is_told_on_a_queue_that_has_them_all(site: Site) -> None:
    site.configure(SITE)
    stubborn = ("--time", "10m", "--", sys.executable, "-c", STUBBORN)
    site("run", "--name", "stays", *stubborn)
    site("run", "--name", "elements", "--array", "0-1%1", "--account", "small", *stubborn)
    until(lambda: all(site.status(run)["placed"] for run in ("stays-1", "elements-2_0")))
    site("run", "--name", "big", "--nodes", "2", "--time", "5m", "--", "true")
    site("run", "--name", "next", "--time", "5m", "--", "true")
    site("run", "--name", "held", "--", "true")
    site("hold", "held-5")
    site("run", "--name", "after", "--after-ok", "stays-1", "--", "true")
    site("run", "--name", "limited", "--account", "small", "--time", "5m", "--", "true")
    site("run", "--name", "nowhere", "--partition", "gone", "--", "true")
    site("reserve", "course", "--start", "+1h", "--duration", "1h", "--user", "nobody")
    site("run", "--name", "long", "--time", "2h", "--", "true")
    site("reserve", "mine", "--start", "+3h", "--duration", "1h", "--user", getpass.getuser())
    site("run", "--name", "inside", "--reservation", "mine", "--time", "5m", "--", "true")

    assert first(site, "elements-2_1") == {"kind": "array_throttle", "limit": 1}
    big = first(site, "big-3")
    holders = [holder["run"] for holder in big["short"][0]["holders"]]
    assert (big["kind"], big["short"][0]["free"]) == ("resources", 0)
    assert sorted(holders) == ["elements-2_0", "stays-1"]
    behind = explained(site, "next-4")["reasons"][-1]
    assert behind == {"kind": "priority", "behind": "big-3", "before": 1}
    assert first(site, "held-5")["kind"] == "on_hold"
    assert first(site, "after-6") == {"kind": "dependency", "waits_for": ["stays-1"]}
    limited = first(site, "limited-7")
    assert (limited["kind"], limited["limit"], limited["used"]) == ("limit_hit", "GrpJobs", 1)
    assert first(site, "nowhere-8")["partitions"] == ["gone"]
    reserved = first(site, "long-9")
    assert (reserved["kind"], reserved["reservation"]) == ("reserved", "course")
    inside = first(site, "inside-10")
    assert (inside["kind"], inside["closed"]) == ("own_reservation", "not begun")
    too_large = site.run("run", "--cpus-per-rank", "2", "--", "true")
    assert (too_large.returncode, "no node has 2 CPUs" in too_large.stderr) == (4, True)
    nothing = site.run("explain", "stays-1")
    assert (nothing.returncode, "HR-ENGINE-003" in nothing.stderr) == (4, True)

    said = site("explain", "limited-7").splitlines()
    assert said[0].split() == ["run", "limited-7"]
    assert "account small is at its GrpJobs limit: 1 of 1 runs running" in said[1]
    ranked = json.loads(site("priority", "--json"))["runs"]
    assert [(row["place"], row["run"]) for row in ranked[:2]] == [(1, "elements-2_1"), (2, "big-3")]
    site("run", "--name", "urgent", "--qos", "urgent", "--time", "5m", "--", "true")
    until(lambda: first(site, "urgent-11")["kind"] == "making_room")
    assert first(site, "urgent-11")["runs"] == ["elements-2_0"]


def test_a_promised_start_is_kept_and_a_promised_change_too(site: Site) -> None:
    site.configure('policy = "easy"\n[local]\nvirtual_nodes = 2\ncpus = 2\n')
    site("run", "--name", "a", "--time", "40s", "--", "sleep", "600")
    until(lambda: site.status("a-1")["state"] == "RUNNING")
    site("run", "--name", "b", "--nodes", "2", "--time", "6s", "--", "sleep", "600")
    site("run", "--name", "c", "--time", "90s", "--", "true")
    site("run", "--name", "d", "--after-any", "b-2", "--", "true")
    promised = {run: explained(site, run)["forecast"]["start_s"] for run in ("b-2", "c-3", "d-4")}
    assert promised["b-2"] == pytest.approx(site.started_s("a-1") + 40.0, abs=0.5)
    shown = site.status("c-3")["expected_start_s"]
    assert shown == pytest.approx(promised["c-3"], abs=0.5)
    (sooner,) = explained(site, "c-3")["sooner"]
    assert sooner["start_s"] < promised["b-2"] - 5.0
    limit_s = int(sooner["change"]["limit_s"])
    site("run", "--name", "e", "--time", f"{limit_s}s", "--", "true")
    site("wait", "e-5")
    assert site.started_s("e-5") < promised["b-2"]
    site("wait", "b-2", "c-3", "d-4", check=False)
    for run, start_s in promised.items():
        assert site.started_s(run) == pytest.approx(start_s, abs=4.0), run
