"""Where a run finds itself when its job has begun."""

import pytest

from headrace.engines.slurm.begin import places

BESIDE = "192.0.2.1"  # of no host: RFC 5737


@pytest.mark.parametrize(("address", "listens_on"), [("127.0.0.1", "127.0.0.1"), (BESIDE, None)])
@pytest.mark.parametrize("nodes", ["n1", "n1,n2"])
def test_the_lead_listens_where_its_node_can(
    nodes: str, address: str, listens_on: str | None
) -> None:
    """Behind NAT a node does not have the address that Slurm knows it by."""

    def show_nodes(_: object) -> str:
        return f"NodeName=n1 NodeAddr={address}\nNodeName=n2 NodeAddr=127.0.0.1"

    first, *_ = places({"SLURM_JOB_NODELIST": nodes, "SLURMD_NODENAME": "n1"}, show_nodes)
    assert first.node == "n1"
    assert first.address == listens_on or (listens_on is None and first.address != BESIDE)
