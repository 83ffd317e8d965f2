"""SITE.toml and probes."""

from pathlib import Path

import pytest

from headrace.cluster.bringup.errors import SiteUnreadable
from headrace.cluster.bringup.read import gpu_type, nodes_table, read_site
from headrace.cluster.nodes.node import Gpu, NumaNode
from headrace.cluster.nodes.probe import probe
from headrace.core.records import encode, replace

SITE = """
controller = "head"
[[nodes]]
names = "a1"
sockets = 1
cores_per_socket = 8
threads_per_core = 1
memory_mib = 1000
[[partitions]]
name = "main"
nodes = "a1"
"""


def gpu(index: int, numa: int, name: str = "NVIDIA H100 80GB HBM3") -> Gpu:
    return Gpu(
        index=index,
        name=name,
        uuid=f"GPU-{index}",
        memory_bytes=80 << 30,
        pci_bus_id=f"00000000:0{index}:00.0",
        numa_node=numa,
        power_limit_w=700,
        mig=False,
        energy_counter=True,
    )


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(SiteUnreadable) as caught:
        read_site(path)
    return str(caught.value)


def test_a_site_file_is_a_site(tmp_path: Path) -> None:
    path = tmp_path / "SITE.toml"
    path.write_text(SITE)
    site = read_site(path)
    assert site.nodes[0].cpus == 8
    assert site.partitions[0].default_time == "1:00:00"
    assert site.accounting is None


def test_an_error_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "SITE.toml"
    assert refusal(path, SITE.replace("sockets = 1", 'sockets = "one"')) == (
        f"error HR-CLUSTER-008: {path} cannot be used\n"
        "  why: Expected `int`, got `str` - at `$.nodes[0].sockets`\n"
        "  fix: docs/reference/virtual-cluster.md lists the keys of a site file"
    )
    assert "unknown field `nods`" in refusal(path, SITE.replace("[[nodes]]", "[[nods]]"))
    assert "line 2" in refusal(path, "\ncontroller = head")
    assert "nowhere.json" in refusal(path, SITE.replace("names", 'probe = "nowhere.json"\nnames'))


def test_a_probe_fills_in_what_the_table_leaves_out(tmp_path: Path) -> None:
    here = replace(probe(), hostname="a1", memory_total_bytes=100 << 30)
    (tmp_path / "a1.json").write_bytes(encode({"schema": 1, "nodes": [here]}))
    path = tmp_path / "SITE.toml"
    path.write_text(
        'controller = "head"\n[[nodes]]\nprobe = "a1.json"\nnames = "a[1-9]"\nsockets = 7\n'
        '[[partitions]]\nname = "main"\nnodes = "a[1-9]"\n'
    )
    (group,) = read_site(path).nodes
    assert (group.names, group.sockets) == ("a[1-9]", 7)
    assert group.memory_mib == 95 * 1024


def test_gpus_are_grouped_by_the_cores_beside_them() -> None:
    node = replace(
        probe(),
        sockets=2,
        cores=8,
        threads=16,
        numa=(
            NumaNode(index=0, cpus=(0, 1, 2, 3, 8, 9, 10, 11), memory_bytes=1),
            NumaNode(index=1, cpus=(4, 5, 6, 7, 12, 13, 14, 15), memory_bytes=1),
        ),
        gpus=(gpu(0, 0), gpu(1, 0), gpu(2, 1)),
    )
    assert nodes_table(node)["gpus"] == [
        {"type": "h100", "count": 2, "files": "/dev/nvidia[0-1]", "cores": "0-3"},
        {"type": "h100", "count": 1, "files": "/dev/nvidia2", "cores": "4-7"},
    ]


def test_cores_are_left_out_where_cpu_numbers_do_not_run_socket_by_socket() -> None:
    numa = (NumaNode(index=0, cpus=(0, 2, 4, 6), memory_bytes=1),)
    node = replace(probe(), sockets=2, cores=8, threads=8, numa=numa, gpus=(gpu(0, 0),))
    assert nodes_table(node)["gpus"] == [{"type": "h100", "count": 1, "files": "/dev/nvidia0"}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("Tesla V100-PCIE-16GB", "v100"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA GeForce RTX 4090", "nvidia_geforce_rtx_4090"),
    ],
)
def test_the_type_of_a_gpu_is_its_model(name: str, expected: str) -> None:
    assert gpu_type(name) == expected
