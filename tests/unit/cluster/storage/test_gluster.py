"""What a GlusterFS client tells in its .meta folder."""

from headrace.cluster.storage.gluster import clients, parse_connected, parse_volfile
from headrace.cluster.storage.storage import Brick


def client(number: int, host: str) -> str:
    return (
        f"volume mill-client-{number}\n    type protocol/client\n    option ping-timeout 42\n"
        f"    option remote-host {host}\n    option remote-subvolume /brick/{number}\n"
        "end-volume\n\n"
    )


BRICKS = client(0, "s1") + client(1, "s2") + client(2, "s3")
REPLICATED = (
    BRICKS
    + "volume mill-replicate-0\n    type cluster/replicate\n    option quorum-type auto\n"
    + "    subvolumes mill-client-0 mill-client-1 mill-client-2\nend-volume\n"
)
DISPERSED = (
    BRICKS
    + "volume mill-disperse-0\n    type cluster/disperse\n    option redundancy 1\n"
    + "    subvolumes mill-client-0 mill-client-1 mill-client-2\nend-volume\n"
)
PRIVATE = "[xlator.protocol.client.mill-client-1.priv]\nconnected = 0\nping_timeout = 42\n"


def test_a_replicated_volume_has_copies_quorum_and_bricks_up_or_down() -> None:
    up = {"mill-client-0": True, "mill-client-1": parse_connected(PRIVATE)}
    found = parse_volfile(REPLICATED, "s1:/mill", up)
    assert found is not None
    assert (found.name, found.replica, found.quorum) == ("mill", 3, "auto")
    assert found.bricks == (
        Brick(host="s1", path="/brick/0", up=True),
        Brick(host="s2", path="/brick/1", up=False),
        Brick(host="s3", path="/brick/2", up=None),
    )


def test_a_dispersed_volume_says_how_many_bricks_may_be_lost() -> None:
    found = parse_volfile(DISPERSED, "s1:mill", {})
    assert found is not None
    assert (found.name, found.replica, found.redundancy) == ("mill", 1, 1)


def test_clients_are_in_the_order_of_bricks() -> None:
    assert clients(REPLICATED) == ["mill-client-0", "mill-client-1", "mill-client-2"]


def test_what_is_no_graph_is_none() -> None:
    assert parse_volfile("volume x\n", "s1:/mill", {}) is None
    assert parse_connected("") is None
