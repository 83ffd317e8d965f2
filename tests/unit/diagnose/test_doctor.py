"""Each rule fires on its facts and stays silent on a healthy machine."""

import os
import re
from importlib import import_module
from pathlib import Path

import pytest

from headrace.cluster.nodes.node import Gpu, Interface, Limits, Mount, Node, Rdma
from headrace.core.records import replace
from headrace.diagnose.collect import collect, parse_torch_cuda, read_folder
from headrace.diagnose.doctor import doctor
from headrace.diagnose.facts import Facts, Folder, Software
from headrace.diagnose.finding import Finding, Severity
from headrace.diagnose.xid import Action, parse_xids

GIB = 1 << 30
ROOT = Path(__file__).parents[3]
H100 = Gpu(
    index=0,
    name="NVIDIA H100 80GB HBM3",
    uuid="GPU-0",
    memory_bytes=80 * GIB,
    pci_bus_id="0000:1b:00.0",
    numa_node=0,
    power_limit_w=700.0,
    mig=False,
    energy_counter=True,
)
HANGS = Mount(
    path="/home",
    source="srv:/home",
    fstype="nfs4",
    size_bytes=0,
    free_bytes=0,
    inodes=0,
    inodes_free=0,
    nvme=False,
    answers=False,
)
NODE = Node(
    hostname="n1",
    kernel="6.1",
    cpu_model="x",
    sockets=1,
    cores=8,
    threads=8,
    cpus=tuple(range(8)),
    allowed_cpus=tuple(range(8)),
    cpu_quota=None,
    governor="performance",
    numa=(),
    memory_bytes=64 * GIB,
    memory_total_bytes=64 * GIB,
    memory_available_bytes=60 * GIB,
    memory_limit_bytes=None,
    swap_used_bytes=0,
    shm_bytes=32 * GIB,
    driver="580.65.06",
    cuda_driver="13.0",
    gpus=(H100,),
    mounts=(),
    interfaces=(
        Interface(
            name="eth0", addresses=("192.0.2.1",), speed_mbit_s=10_000, state="up", driver="ixgbe"
        ),
    ),
    rdma=(
        Rdma(
            device="mlx5_0",
            port=1,
            kind="infiniband",
            state="active",
            rate_gbit_s=400.0,
            interface="ib0",
        ),
    ),
    rapl=(),
    rapl_readable=False,
    limits=Limits(memlock_bytes=None, open_files=65536, processes=None, pids_max=4194304),
)
RUNS = Folder(
    role="runs",
    path="/data/runs",
    fstype="ext4",
    network=False,
    size_bytes=1000 * GIB,
    free_bytes=500 * GIB,
    inodes=1_000_000,
    inodes_free=900_000,
)
HEALTHY = Facts(
    node=NODE,
    software=Software(python=(3, 12), torch="2.11.0", torch_cuda="13.0"),
    folders=(RUNS,),
    clock_synchronised=True,
    kernel_log="",
)
HFI = Rdma(
    device="hfi1_0", port=1, kind="omnipath", state="active", rate_gbit_s=100.0, interface=None
)


def of_node(**changes: object) -> Facts:
    return replace(HEALTHY, node=replace(NODE, **changes))


def of_limits(**changes: object) -> Facts:
    return of_node(limits=replace(NODE.limits, **changes))


def of_folder(**changes: object) -> Facts:
    return replace(HEALTHY, folders=(replace(RUNS, **changes),))


def of_software(**changes: object) -> Facts:
    return replace(HEALTHY, software=replace(HEALTHY.software, **changes))


def test_a_healthy_machine_has_no_findings() -> None:
    assert doctor(HEALTHY) == ()


CASES: list[tuple[Facts, str, Severity, str]] = [
    (of_node(cpu_quota=2.5), "101", Severity.WARNING, "A cgroup lets you use 2.5 of 8 CPUs."),
    (
        of_node(governor="powersave"),
        "102",
        Severity.INFO,
        "The processor's frequency governor is powersave.",
    ),
    (
        of_node(memory_limit_bytes=8 * GIB),
        "111",
        Severity.INFO,
        "A cgroup limits your memory to 8.0 GiB of the machine's 64.0.",
    ),
    (of_node(shm_bytes=64 << 20), "112", Severity.WARNING, "/dev/shm holds only 64 MiB."),
    (
        of_node(swap_used_bytes=2 * GIB),
        "113",
        Severity.WARNING,
        "2.0 GiB of memory are swapped out.",
    ),
    (
        of_limits(memlock_bytes=8 << 20),
        "114",
        Severity.ERROR,
        "You may lock only 8 MiB of memory, and mlx5_0 needs locked memory.",
    ),
    (
        of_folder(free_bytes=2 * GIB),
        "121",
        Severity.WARNING,
        "The folder for runs has 2.0 GiB left.",
    ),
    (of_folder(free_bytes=0), "121", Severity.ERROR, "The folder for runs has 0.0 GiB left."),
    (
        of_folder(inodes_free=5),
        "122",
        Severity.WARNING,
        "The folder for runs is nearly out of inodes: no new files soon.",
    ),
    (
        of_folder(network=True, fstype="lustre"),
        "123",
        Severity.INFO,
        "Runs lie on a network file system (lustre).",
    ),
    (
        of_folder(fstype="tmpfs", weakness="it is memory"),
        "124",
        Severity.WARNING,
        "Runs and checkpoints are not safe where they lie.",
    ),
    (
        of_folder(answers=False, network=True, fstype="nfs4", free_bytes=0),
        "125",
        Severity.ERROR,
        "The file system of the folder for runs does not answer.",
    ),
    (
        of_node(mounts=(HANGS,)),
        "126",
        Severity.WARNING,
        "/home does not answer.",
    ),
    (
        of_node(interfaces=(replace(NODE.interfaces[0], addresses=()),)),
        "131",
        Severity.INFO,
        "eth0 is up but has no address.",
    ),
    (
        of_node(rdma=(replace(NODE.rdma[0], state="init"),)),
        "132",
        Severity.WARNING,
        "Port 1 of mlx5_0 (infiniband) is init.",
    ),
    (
        of_node(rdma=(HFI,)),
        "133",
        Severity.WARNING,
        "There is Omni-Path, but not the plugin by which NCCL uses PSM2.",
    ),
    (of_node(gpus=()), "141", Severity.INFO, "No GPU is visible; runs use the processors."),
    (
        of_software(torch="2.11.0+cpu", torch_cuda=None),
        "142",
        Severity.ERROR,
        "There are GPUs, but this torch is built without CUDA.",
    ),
    (
        of_node(driver="535.161.08", cuda_driver="12.2"),
        "142",
        Severity.ERROR,
        "torch is built for CUDA 13.0, the driver serves CUDA 12.2.",
    ),
    (of_software(python=(3, 9)), "151", Severity.ERROR, "Python 3.9 is too old."),
    (
        of_software(torch=None, torch_cuda=None),
        "152",
        Severity.INFO,
        "torch is not installed here.",
    ),
    (
        replace(HEALTHY, clock_synchronised=False),
        "153",
        Severity.INFO,
        "The clock is not synchronised.",
    ),
    (of_limits(open_files=1024), "154", Severity.WARNING, "You may open only 1024 files."),
    (
        of_limits(pids_max=512),
        "155",
        Severity.WARNING,
        "You may have only 512 processes and threads.",
    ),
]


@pytest.mark.parametrize(("facts", "code", "severity", "what"), CASES)
def test_a_rule_finds_its_fault_and_nothing_else_is_found(
    facts: Facts, code: str, severity: Severity, what: str
) -> None:
    (finding,) = doctor(facts)
    assert (finding.code, finding.severity) == (f"HR-DOCTOR-{code}", severity)
    assert finding.what == what
    assert finding.evidence
    assert finding.remedy


def test_little_locked_memory_is_no_error_without_rdma() -> None:
    facts = replace(
        HEALTHY, node=replace(NODE, rdma=(), limits=replace(NODE.limits, memlock_bytes=65536))
    )
    (finding,) = doctor(facts)
    assert finding.severity == Severity.INFO


def test_a_torch_of_an_older_minor_release_of_the_same_cuda_fits() -> None:
    assert doctor(of_software(torch="2.8.0+cu129", torch_cuda="12.9")) == ()


def test_omnipath_with_its_plugin_is_fine() -> None:
    facts = replace(of_node(rdma=(HFI,)), software=replace(HEALTHY.software, psm2_nccl=True))
    assert doctor(facts) == ()


LOG = """\
[12.3] NVRM: Xid (PCI:0000:1B:00): 79, pid=4, name=python, GPU has fallen off the bus.
6,1,2,-;NVRM: Xid (PCI:0000:1b:00): 79, pid=5
[14.0] NVRM: Xid (PCI:0000:2a:00): 31, pid=9, name=python, Ch 1
[15.0] NVRM: Xid (PCI:0000:2a:00): 63
[16.0] NVRM: Xid (PCI:0000:2a:00): 999, odd
[17.0] Memory cgroup out of memory: Killed process 4242 (python) total-vm:1kB
"""


def test_xids_and_kills_in_the_kernel_log_are_found_worst_first() -> None:
    findings = doctor(replace(HEALTHY, kernel_log=LOG))
    assert [(f.code[-3:], f.severity.value, f.what) for f in findings] == [
        ("143", "error", "GPU 0000:1b:00 reported Xid 79: the GPU has fallen off the bus."),
        (
            "143",
            "error",
            "GPU 0000:2a:00 reported Xid 999: an Xid this version does not know.",
        ),
        (
            "156",
            "warning",
            "The kernel killed 1 process because a cgroup ran out of memory.",
        ),
        (
            "143",
            "info",
            "GPU 0000:2a:00 reported Xid 31: the program used an unmapped GPU address.",
        ),
        (
            "143",
            "info",
            "GPU 0000:2a:00 reported Xid 63: a bad row of GPU memory was replaced by a spare.",
        ),
    ]
    assert findings[0].evidence == "2 times in the kernel log: pid=5"
    assert findings[0].remedy == "drain the node and power it off and on"


def test_a_recorded_kernel_log_with_an_xid_is_read() -> None:
    sample = Path(os.environ.get("HEADRACE_SHARED", "../shared")) / "samples/dmesg_xid.txt"
    if not sample.is_file():
        pytest.skip(f"no recorded sample at {sample} (set HEADRACE_SHARED)")
    (xid,) = parse_xids(sample.read_text())
    assert (xid.pci, xid.code, xid.count, xid.action) == ("0000:9b:00", 119, 1, Action.RESET)
    assert xid.text.startswith("pid=2024380, name=nvidia-smi, Timeout after 6s")


@pytest.mark.parametrize(
    ("version", "requires", "cuda"),
    [
        ("2.11.0+cu128", [], "12.8"),
        ("2.4.1+cu118", [], "11.8"),
        ("2.13.0+cpu", ["nvidia-cuda-runtime-cu12==12.8.90"], None),
        ("2.8.0", ["filelock", "nvidia-cuda-runtime-cu12==12.8.90; platform_system"], "12.8"),
        ("2.14.1", ["cuda-toolkit[cudart,cublas]==13.0.2; sys_platform"], "13.0"),
        ("2.11.0", ["filelock"], None),
    ],
)
def test_the_cuda_release_of_torch_is_told_by_its_metadata(
    version: str, requires: list[str], cuda: str | None
) -> None:
    assert parse_torch_cuda(version, requires) == cuda


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    folder = read_folder("runs", tmp_path / "not/yet")
    assert (folder.path, folder.network) == (str(tmp_path / "not/yet"), False)
    assert folder.size_bytes > 0


def test_facts_of_this_machine_can_be_gathered_and_judged(tmp_path: Path) -> None:
    facts = collect({"HEADRACE_RUNS": str(tmp_path)})
    assert facts.software.python >= (3, 11)
    assert [folder.role for folder in facts.folders] == ["runs", "temporary files"]
    assert all(isinstance(finding, Finding) for finding in doctor(facts))


def test_every_code_is_in_the_reference_page_and_the_other_way_round() -> None:
    rules = import_module("headrace.diagnose.rules").__path__[0]
    in_rules = {
        code
        for path in Path(rules).glob("*.py")
        for code in re.findall(r"HR-DOCTOR-\d+", path.read_text())
    }
    in_page = re.findall(r"HR-DOCTOR-\d+", (ROOT / "docs/reference/doctor.md").read_text())
    assert sorted(in_rules) == sorted(in_page)
