"""Slurm's files for a site are those in tests/golden; HEADRACE_GOLDEN=write renews them."""

import itertools
import os
import re
from pathlib import Path

import pytest

from headrace.cluster.bringup import virtual
from headrace.cluster.bringup.boot import init_script, start_script
from headrace.cluster.bringup.plan import Cluster, Hierarchy, Request, make_cluster
from headrace.cluster.bringup.read import read_site
from headrace.cluster.bringup.render import MODES, render
from headrace.core.records import replace

GOLDEN = Path(__file__).parents[3] / "golden" / "cluster"
HARDWARE = virtual.Hardware(sockets=1, cores=4, threads=8, memory_mib=32_000)


def cluster(**changes: object) -> Cluster:
    request = replace(
        Request(nodes=4, gpus_per_node=2, users=("ada", "bob"), partitions="main,short=1-2@10:00"),
        **changes,
    )
    return make_cluster(
        request,
        identity="0123456789abcdef",
        maker=None,
        folder=Path("/var/lib/headrace-cluster"),
        prefix="10.85.0",
        hierarchies=[
            Hierarchy(options="cpu,cpuacct", mount="/sys/fs/cgroup/cpu,cpuacct"),
            Hierarchy(options="memory", mount="/sys/fs/cgroup/memory"),
        ],
    )


def compare(folder: str, files: dict[str, str]) -> None:
    if os.environ.get("HEADRACE_GOLDEN") == "write":
        for name, text in files.items():
            path = GOLDEN / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    kept = {path.name: path.read_text() for path in (GOLDEN / folder).iterdir()}
    assert files == {name: text for name, text in kept.items() if name != "SITE.toml"}


def test_a_virtual_site_is_the_files_we_keep() -> None:
    compare("virtual", render(virtual.site_of(cluster(), HARDWARE)))


def test_a_real_site_is_the_files_we_keep() -> None:
    compare("lab", render(read_site(GOLDEN / "lab" / "SITE.toml")))


def test_the_boot_scripts_are_those_we_keep() -> None:
    plan = cluster(bandwidth="1gbit")
    boxes = {"head": plan.head, "n1": plan.nodes[0]}
    scripts = {f"{name}.start": start_script(plan, box) for name, box in boxes.items()}
    compare(
        "boot", scripts | {f"{name}.init": init_script(plan, box) for name, box in boxes.items()}
    )


@pytest.mark.parametrize("folder", ["virtual", "lab"])
def test_every_option_has_a_comment_and_stands_once(folder: str) -> None:
    for path in (GOLDEN / folder).glob("*.conf"):
        lines = path.read_text().splitlines()
        if path.name in ("topology.conf", "gres.conf"):
            assert lines[0].startswith("# ")
            continue
        names = []
        for above, line in itertools.pairwise(lines):
            if line and not line.startswith("#"):
                assert above.startswith("# "), f"{path.name}: {line}"
                names.append(line.partition("=")[0])
        alone = [name for name in names if name not in ("NodeName", "PartitionName")]
        assert len(alone) == len(set(alone))


def test_without_accounting_there_is_no_slurmdbd_and_no_preemption_by_qos() -> None:
    site = replace(virtual.site_of(cluster(), HARDWARE), accounting=None)
    files = render(site)
    assert "slurmdbd.conf" not in files
    assert not re.search("^(PreemptType|AccountingStorage)", files["slurm.conf"], re.M)


def test_linuxproc_holds_nothing_by_control_groups() -> None:
    files = render(virtual.site_of(cluster(proctrack="linuxproc"), HARDWARE))
    assert "Constrain" not in files["cgroup.conf"]
    assert "ProctrackType=proctrack/linuxproc" in files["slurm.conf"]
    assert "cgroup" not in files["slurm.conf"].replace("headrace-cluster", "")


def test_more_cpus_than_the_machine_has_are_not_bound() -> None:
    files = render(virtual.site_of(cluster(cpus_per_node=64), HARDWARE))
    assert "CPUs=64" in files["slurm.conf"]
    assert "task/affinity" not in files["slurm.conf"]
    assert "ConstrainCores=no" in files["cgroup.conf"]


def test_the_database_password_is_for_slurm_alone() -> None:
    assert MODES["slurmdbd.conf"] == 0o600
