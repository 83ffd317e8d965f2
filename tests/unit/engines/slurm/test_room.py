"""What no partition could ever run is refused before Slurm queues it for ever."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.engines.slurm.test_grace import FACTS

from headrace.core.records import replace
from headrace.engines.slurm.errors import NeverFits, UnknownPartition
from headrace.engines.slurm.facts import PartitionFacts
from headrace.engines.slurm.room import require_room, time_notes
from headrace.engines.slurm.rows import NodeRow
from headrace.schedule.request import request_of
from headrace.spec import make
from headrace.spec.job import JobSpec

GIB = 1 << 30
HOUR_S = 3600.0


def node(name: str, partition: str, *, gpus: int = 0, gpu_type: str = "") -> NodeRow:
    return NodeRow(
        name=name,
        cpus=64,
        memory_bytes=256 * GIB,
        gpus=gpus,
        gpu_type=gpu_type,
        partition=partition,
        features=(),
        state="idle",
    )


SITE = replace(
    FACTS,
    partitions=(
        PartitionFacts(name="cpu", default=True, max_time_s=24 * HOUR_S),
        PartitionFacts(name="gpu", max_time_s=72 * HOUR_S, max_nodes=2),
        PartitionFacts(name="long"),
    ),
    nodes=(
        *(node(f"c{number}", "cpu*") for number in range(4)),
        *(node(f"g{number}", "gpu", gpus=8, gpu_type="h100") for number in range(3)),
        node("m0", "long", gpus=6, gpu_type="a100 h100"),
    ),
)


def job(**fields: Any) -> JobSpec:  # noqa: ANN401
    return make(cwd=Path("/"), command=("true",), name="job", **fields)


def check(spec: JobSpec) -> None:
    require_room(spec, request_of(spec, SITE.capacities(spec.partition)), SITE)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"nodes": 4},
        {"nodes": "2-9"},
        {"partition": "gpu", "nodes": 2, "gpus_per_node": "h100:8"},
        {"partition": "long", "gpus_per_node": "a100:4"},
        {"partition": "gpu,cpu", "nodes": 4},
    ],
)
def test_what_fits_an_empty_partition_is_left_to_slurm(fields: dict[str, object]) -> None:
    check(job(**fields))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"nodes": 5}, "4 of the 5 fit even when all is empty"),
        ({"partition": "gpu", "nodes": 3}, "gpu: a run may have at most 2 nodes"),
        ({"memory": "300G"}, "no node has 300G memory"),
        ({"gpus_per_node": 1}, "no node has 1 GPUs"),
        ({"ranks_per_node": 65}, "no node has 65 CPUs"),
        ({"partition": "gpu", "gpus_per_node": "a100:1"}, "no node has 1 a100 GPUs"),
        ({"partition": "gpu,long", "nodes": 3}, "gpu: a run may have at most 2 nodes; long: "),
    ],
)
def test_what_no_node_could_ever_hold_is_refused_with_what_there_is(
    fields: dict[str, object], why: str
) -> None:
    with pytest.raises(NeverFits) as refused:
        check(job(**fields))
    assert why in refused.value.why


def test_a_refusal_names_the_partition_that_is_large_enough() -> None:
    with pytest.raises(NeverFits) as refused:
        check(job(nodes=2, gpus_per_node=8))
    assert refused.value.remedy == "ask for partition gpu, where it fits"


def test_an_unknown_partition_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownPartition) as refused:
        check(job(partition="cpu,gpus"))
    assert "there is no partition gpus" in str(refused.value)
    assert refused.value.why == "this cluster has cpu, gpu, long"


def test_options_for_sbatch_may_say_otherwise_and_only_slurm_decides_then() -> None:
    check(job(nodes=5, slurm={"sbatch": {"clusters": "elsewhere"}}))


def test_a_time_over_the_partitions_limit_is_said_with_where_it_would_be_given() -> None:
    (note,) = time_notes(job(time="48h"), SITE)
    assert note == (
        "time is 2d, but cpu gives a run at most 1d: unless its QOS lifts that, it waits for ever "
        "(PartitionTimeLimit); gpu, long would give it that"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"time": "24h"},
        {"time": "48h", "partition": "cpu,gpu"},
        {"time": "90d", "partition": "cpu,long"},
    ],
)
def test_a_time_that_some_partition_gives_needs_no_word(fields: dict[str, object]) -> None:
    assert list(time_notes(job(**fields), SITE)) == []
