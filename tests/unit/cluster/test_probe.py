"""``probe`` on a machine made of files, and on this one."""

import os
from pathlib import Path

import pytest

from headrace.cluster.nodes import mounts as mounts_module
from headrace.cluster.nodes.cgroup import (
    CgroupLimits,
    parse_cpu_max,
    parse_limit,
    parse_membership,
    read_limits,
)
from headrace.cluster.nodes.cpus import (
    parse_allowed,
    parse_cpu_list,
    parse_cpu_model,
    parse_meminfo,
    read_topology,
)
from headrace.cluster.nodes.interfaces import parse_if_inet6, rdma_kind, read_rdma
from headrace.cluster.nodes.mounts import MountLine, mount_of, parse_mounts, read_mounts
from headrace.cluster.nodes.probe import parse_limits, probe, within_quota

MIB, GIB = 1 << 20, 1 << 30


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two sockets of two cores with two threads each; a container with 3.5 CPUs and 8 GiB."""
    cpu = "sys/devices/system/cpu"
    topology = {
        f"{cpu}/cpu{n}/topology/{name}": str(value)
        for n in range(8)
        for name, value in (("physical_package_id", n % 4 // 2), ("core_id", n % 2))
    }
    files = {
        "proc/sys/kernel/hostname": "n042\n",
        "proc/sys/kernel/osrelease": "5.14.0-427.el9.x86_64\n",
        "proc/sys/kernel/pid_max": "4194304\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD  EPYC 9654\n",
        "proc/meminfo": "MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\n"
        "SwapTotal: 2048 kB\nSwapFree: 1024 kB\n",
        "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-3,6\n",
        "proc/self/limits": "Limit                     Soft Limit           Hard Limit\n"
        "Max processes             4096                 8192                 processes\n"
        "Max open files            1024                 524288               files\n"
        "Max locked memory         unlimited            unlimited            bytes\n",
        "proc/self/cgroup": "0::/job/step\n",
        "proc/self/mounts": "",
        "proc/net/if_inet6": "20010db8000000000000000000000001 02 40 00 80 eth0\n",
        f"{cpu}/online": "0-7\n",
        f"{cpu}/cpu0/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/node/node1/cpulist": "2-3,6-7\n",
        "sys/devices/system/node/node1/meminfo": "Node 1 MemTotal:  1024 kB\n",
        "sys/devices/system/node/node0/cpulist": "0-1,4-5\n",
        "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:  2048 kB\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
        "sys/fs/cgroup/job/cpu.max": "350000 100000\n",
        "sys/fs/cgroup/job/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
        "sys/fs/cgroup/job/step/memory.max": "max\n",
        "sys/fs/cgroup/job/step/pids.max": "512\n",
        "sys/class/net/eth0/operstate": "up\n",
        "sys/class/net/eth0/speed": "25000\n",
        "sys/class/net/lo/operstate": "unknown\n",
        "sys/class/infiniband/hfi1_0/ports/1/link_layer": "InfiniBand\n",
        "sys/class/infiniband/hfi1_0/ports/1/state": "4: ACTIVE\n",
        "sys/class/infiniband/hfi1_0/ports/1/rate": "100 Gb/sec (4X EDR)\n",
        "sys/class/powercap/intel-rapl:0/name": "package-0\n",
        "sys/class/powercap/intel-rapl:0/energy_uj": "12\n",
        "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    }
    write(tmp_path, topology | files)
    return tmp_path


def test_probe_reads_a_whole_machine_from_its_files(machine: Path) -> None:
    node = probe(machine)
    assert (node.hostname, node.kernel) == ("n042", "5.14.0-427.el9.x86_64")
    assert (node.cpu_model, node.sockets, node.cores, node.threads) == ("AMD EPYC 9654", 2, 4, 8)
    assert node.allowed_cpus == (0, 1, 2, 3, 6)
    assert (node.cpu_quota, node.cpus) == (3.5, (0, 1, 2))
    assert [(numa.index, numa.cpus) for numa in node.numa] == [(0, (0, 1, 4, 5)), (1, (2, 3, 6, 7))]
    assert (node.memory_bytes, node.memory_total_bytes) == (8 * GIB, 64 * GIB)
    assert (node.memory_limit_bytes, node.swap_used_bytes) == (8 * GIB, MIB)
    assert (node.gpus, node.driver, node.governor) == ((), None, "performance")
    assert [(i.name, i.addresses, i.speed_mbit_s) for i in node.interfaces] == [
        ("eth0", ("2001:db8::1",), 25000)
    ]
    assert [(r.device, r.kind, r.state, r.rate_gbit_s) for r in node.rdma] == [
        ("hfi1_0", "omnipath", "active", 100.0)
    ]
    assert (node.rapl, node.rapl_readable) == (("package-0",), True)
    assert (node.limits.memlock_bytes, node.limits.open_files) == (None, 1024)
    assert (node.limits.processes, node.limits.pids_max) == (4096, 512)


def test_probe_of_a_machine_that_tells_nothing_is_empty_and_not_an_error(tmp_path: Path) -> None:
    node = probe(tmp_path)
    assert (node.cpus, node.numa, node.gpus, node.rdma, node.mounts) == ((), (), (), (), ())
    assert (node.cpu_model, node.memory_bytes) == ("unknown", 0)


def test_probe_of_this_machine_offers_no_cpu_that_this_process_may_not_use() -> None:
    node = probe()
    assert node.allowed_cpus == tuple(sorted(os.sched_getaffinity(0)))
    assert node.cpus
    assert set(node.cpus) <= set(node.allowed_cpus)
    assert 0 < node.memory_bytes <= node.memory_total_bytes
    assert node.hostname == os.uname().nodename


def test_limits_of_version_1_control_groups_are_found_and_the_tightest_counts(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job\n1:cpu,cpuacct:/job\n2:pids:/\n0::/\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{GIB}\n",
        },
    )
    assert read_limits(tmp_path) == CgroupLimits(cpu_quota=2.0, memory_bytes=GIB, pids_max=None)


def test_a_group_path_that_leads_out_of_the_hierarchy_is_not_followed(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../other\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu\n",
            "sys/fs/cgroup/cpu.max": "100000 100000\n",
        },
    )
    assert read_limits(tmp_path).cpu_quota == 1.0


def test_texts_of_the_kernel_are_parsed() -> None:
    assert parse_cpu_list("0-2,8\n") == (0, 1, 2, 8)
    assert parse_cpu_list("\n") == ()
    assert parse_allowed("Cpus_allowed_list:\t1,3-4\n") == (1, 3, 4)
    assert parse_cpu_model("CPU implementer : 0x41\n") == "unknown"
    assert parse_meminfo("MemTotal:   10 kB\nHugePages_Total: 5\n") == {"MemTotal": 10240}
    assert parse_membership("3:cpu,cpuacct:/a:b\n0::/c\n") == {
        "cpu": "/a:b",
        "cpuacct": "/a:b",
        "": "/c",
    }
    assert parse_cpu_max("max 100000") is None
    assert parse_cpu_max("50000 100000\n") == 0.5
    assert parse_limit("max\n") is None
    assert parse_limits("Max open files   12   unlimited   files\n") == {"Max open files": 12}
    assert parse_if_inet6("fe800000000000000000000000000001 02 40 20 80 ib0\n") == {
        "ib0": ["fe80::1"]
    }


def test_a_quota_below_one_cpu_still_leaves_one() -> None:
    assert within_quota((4, 5, 6), 0.5) == (4,)
    assert within_quota((4, 5, 6), None) == (4, 5, 6)
    assert within_quota((4,), 8.0) == (4,)


def test_without_topology_every_thread_counts_as_a_core(tmp_path: Path) -> None:
    write(tmp_path, {"sys/devices/system/cpu/online": "0-3\n"})
    topology = read_topology(tmp_path)
    assert (topology.sockets, topology.cores, topology.threads) == (1, 4, 4)


def test_the_longest_mount_holds_a_path_and_escapes_are_undone() -> None:
    mounts = parse_mounts(
        "/dev/sda1 / ext4 rw 0 0\nsrv:/home /home nfs4 rw,vers=4.2 0 0\n"
        "/dev/sdb1 /home/my\\040disk xfs rw 0 0\nbroken\n"
    )
    assert [mount.path for mount in mounts] == ["/", "/home", "/home/my disk"]
    assert mount_of("/home/ada/runs", mounts) == MountLine(
        source="srv:/home", path="/home", fstype="nfs4", options=("rw", "vers=4.2")
    )
    assert mount_of("/homework", mounts) == mounts[0]
    assert mount_of("/home/my disk/x", mounts) == mounts[2]


@pytest.mark.parametrize(
    ("device", "link_layer", "kind"),
    [
        ("mlx5_0", "InfiniBand", "infiniband"),
        ("mlx5_bond_0", "Ethernet", "roce"),
        ("hfi1_0", "InfiniBand", "omnipath"),
        ("rdmap16s27", "Unspecified", "efa"),
        ("siw0", "Unknown", "other"),
    ],
)
def test_the_kind_of_an_rdma_device(device: str, link_layer: str, kind: str) -> None:
    assert rdma_kind(device, link_layer) == kind


@pytest.mark.parametrize(
    ("sample", "kinds"),
    [
        ("sysfs_hfi1_omnipath.txt", [("omnipath", "active", 100.0)]),
        ("sysfs_mlx5_roce_COMPOSED.txt", [("roce", "active", 100.0)]),
        ("sysfs_mlx5_infiniband_h100.txt", [("infiniband", "active", 400.0)] * 2),
    ],
)
def test_recorded_sysfs_trees_are_read(
    sample: str, kinds: list[tuple[str, str, float]], tmp_path: Path
) -> None:
    shared = Path(os.environ.get("HEADRACE_SHARED", "../shared")) / "samples" / sample
    if not shared.is_file():
        pytest.skip(f"no recorded sample at {shared} (set HEADRACE_SHARED)")
    for line in shared.read_text().splitlines():
        path, tab, content = line.partition("\t")
        if tab:
            write(tmp_path, {path.lstrip("/"): content + "\n"})
    assert [(r.kind, r.state, r.rate_gbit_s) for r in read_rdma(tmp_path)] == kinds


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 4096 100 50 10 5", [(409600, 204800, 10, 5, True)]),
        ("exec sleep 60", [(0, 0, 0, 0, False)]),
        ("exit 1", []),
        ("echo 4096 0 0 0 0", []),
    ],
    ids=["answers", "hangs", "refuses", "holds no files"],
)
def test_a_network_file_system_is_asked_from_outside_and_not_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    expected: list[tuple[int, int, int, int, bool]],
) -> None:
    stat = tmp_path / "stat"
    stat.write_text(f"#!/bin/sh\n{script}\n")
    stat.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(mounts_module, "_NETWORK_S", 1.0)
    far = MountLine(source="srv:/home", path="/home", fstype="nfs4")
    monkeypatch.setattr(mounts_module, "parse_mounts", lambda text: [far])
    found = read_mounts(Path("/"))
    assert [
        (one.size_bytes, one.free_bytes, one.inodes, one.inodes_free, one.answers) for one in found
    ] == expected
