"""What a cluster is like, as its commands tell it."""

from pathlib import Path

import pytest

from headrace.engines.slurm.asking import notes_on
from headrace.engines.slurm.facts import facts_of
from headrace.spec import make

NODES = "n1|64|256000|(null)|gpu*|(null)|idle\n"


@pytest.mark.parametrize(
    ("cluster", "partition", "a_part"),
    [
        ({"DefMemPerNode": "UNLIMITED"}, "DefMemPerNode=UNLIMITED JobDefaults=(null)", False),
        ({"DefMemPerNode": "UNLIMITED"}, "DefMemPerCPU=4000", True),
        ({"DefMemPerNode": "UNLIMITED"}, "JobDefaults=DefMemPerGPU=1000", True),
        ({"DefMemPerCPU": "2000"}, "DefMemPerNode=UNLIMITED", True),
    ],
)
def test_memory_that_a_partition_gives_by_default_counts_as_that_of_the_cluster(
    cluster: dict[str, str], partition: str, a_part: bool
) -> None:
    shown = f"PartitionName=gpu Default=YES MaxTime=UNLIMITED Nodes=n1 State=UP {partition}"
    facts = facts_of(cluster, shown, NODES, now_s=0.0)
    spec = make(run="a", cwd=Path("/tmp"))
    said = any("all memory of its nodes" in note for note in notes_on(spec, facts))
    assert said is not a_part
