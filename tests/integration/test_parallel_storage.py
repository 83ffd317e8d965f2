"""Data and checkpoints on a real parallel file system: GlusterFS, three bricks, two nodes.

Needs root and FUSE; installs Debian's packages. Prints the speeds it saw (``pytest -s``).
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.glusterfs import NODES, SERVERS, VOLUME, Gluster, glusterfs

from headrace import data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WINDOW = 1024
TEXT_BYTES = 8 << 20
BATCHES = 40
PROGRAM = Path(__file__).with_name("storage_program.py")


@pytest.fixture(scope="module")
def gluster() -> Iterator[Gluster]:
    with glusterfs() as made:
        yield made


class Rank:
    """A running ``storage_program.py``."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def tell(self, words: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(f"{words}\n")
        self._child.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, "the program ended"
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def ranks(gluster: Gluster) -> Iterator[list[Rank]]:
    """One on each node, both ready."""
    children = [
        subprocess.Popen(
            gluster.words(
                node,
                *("env", "GLOO_SOCKET_IFNAME=eth0", sys.executable, str(PROGRAM)),
                *(str(gluster.mount(node)), str(rank), str(len(NODES)), "10.77.0.4:29400"),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=gluster.environ,
        )
        for rank, node in enumerate(NODES)
    ]
    try:
        both = [Rank(child) for child in children]
        for one in both:
            assert one.hear() == {"ready": True}
        yield both
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for child in children:
            child.wait(60)
            assert child.stdout is not None
            child.stdout.close()


def on_all(both: list[Rank], words: str) -> list[dict[str, Any]]:
    for one in both:
        one.tell(words)
    return [one.hear() for one in both]


def facts(gluster: Gluster, node: str) -> dict[str, Any]:
    """Also of a volume that does not answer."""
    words = ("storage", str(gluster.mount(node)), "--json")
    said: dict[str, Any] = json.loads(gluster.headrace(node, *words, right=(0, 5)))["storage"]
    return said


def digest(corpus: Path, rank: int) -> str:
    """Of the rank's first batches, read from a local copy."""
    seen = hashlib.sha256()
    asked = data.batches(data.open(corpus), global_batch=64, seed=7, rank=rank, world=2)
    with asked as batches:
        for _ in range(BATCHES):
            seen.update(next(batches).samples.tobytes())
    return seen.hexdigest()


def up(gluster: Gluster, node: str) -> list[bool]:
    """Which bricks answer the node; nothing when the volume is lost to it."""
    volume = facts(gluster, node)["volume"]
    return [brick["up"] for brick in volume["bricks"]] if volume else []


def wait_healed(gluster: Gluster) -> None:
    until_s = time.monotonic() + 60
    while gluster.unhealed() or up(gluster, "n1") != [True] * 3:
        assert time.monotonic() < until_s, "the volume does not heal"
        time.sleep(0.5)


def test_the_file_system_is_known_with_its_volume_and_copies(gluster: Gluster) -> None:
    found = facts(gluster, "n1")
    assert (found["kind"], found["fstype"]) == ("gluster", "fuse.glusterfs")
    volume = found["volume"]
    assert (volume["name"], volume["replica"]) == (VOLUME, 3)
    assert [(brick["host"], brick["up"]) for brick in volume["bricks"]] == [
        ("s1", True),
        ("s2", True),
        ("s3", True),
    ]


def test_people_read_the_same_and_what_follows(gluster: Gluster) -> None:
    said = gluster.headrace("n2", "storage", str(gluster.mount("n2")))
    print(said)
    assert "GlusterFS 1" in said
    assert f"{VOLUME}: 3 bricks, 3 copies" in said
    assert "writes at 1/3 of its link's speed" in said


def test_its_speed_is_measured_from_the_other_node_too(gluster: Gluster) -> None:
    for node in NODES:  # the same path on both
        same = f"mkdir -p /run/mill && mount --bind {gluster.mount(node)} /run/mill"
        gluster.run(node, "sh", "-c", same)
    other = " ".join(gluster.enter("n2"))
    limits = ("--size", "32M", "--time", "2s", "--jobs", "2")
    said = gluster.headrace("n1", "storage", "/run/mill", "--bench", *limits, "--read-on", other)
    print(said)
    assert "by fio" in said
    assert "other node" in said
    assert gluster.run("n1", "ls", "-A", "/run/mill") == ""


def test_two_nodes_read_and_save_while_bricks_die(gluster: Gluster, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"".join(b"%09d " % n for n in range(TEXT_BYTES // 10)))
    local = tmp_path / "corpus.tokens"
    data.pack_text([text], local, window=WINDOW)
    gluster.run("n1", "cp", str(local), str(gluster.mount("n1") / "corpus.tokens"))
    with ranks(gluster) as both:
        read = on_all(both, f"read {BATCHES}")
        assert [one["digest"] for one in read] == [digest(local, rank) for rank in (0, 1)]
        print("reading, per node:", [f"{one['bytes_s'] / 2**20:.0f} MiB/s" for one in read])

        first = save(both, 1)
        assert first == ["Saved"]

        second = save(both, 2, lambda: gluster.kill_brick("s2"))
        assert second == ["Saved"], "two of three copies are enough"
        assert up(gluster, "n1") == [True, False, True]
        gluster.start_bricks()
        wait_healed(gluster)
        assert on_all(both, "load") == [{"step": 2, "equal": True, "skipped": 0}] * 2

        def kill_two() -> None:
            gluster.kill_brick("s1")
            gluster.kill_brick("s3")

        third = save(both, 3, kill_two)
        assert set(third) == {"Failed"}, "one of three copies is no quorum"
        gluster.start_bricks()
        wait_healed(gluster)
        assert on_all(both, "load") == [{"step": 2, "equal": True, "skipped": 0}] * 2

        fourth = save(both, 4)
        assert fourth == ["Saved"], "training went on, and so does saving"

    names = gluster.run("n2", "ls", "-A", f"{gluster.mount('n2')}/ckpt").split()
    assert names == ["latest", "step-000000001", "step-000000002", "step-000000004"]


def test_when_no_server_answers_that_is_reported_and_not_waited_for(gluster: Gluster) -> None:
    look = "import sys; from headrace.cluster import storage; from headrace.core.records import *\n"
    look += "print(encode(storage.of(sys.argv[1], deadline_s=6.0)).decode())"
    command = (sys.executable, "-c", look, str(gluster.mount("n1")))
    assert json.loads(gluster.run("n1", *command))["answers"]
    try:
        for server in SERVERS:
            gluster.plug(server, pulled=True)
        found = json.loads(gluster.run("n1", *command, timeout_s=30.0))
    finally:
        for server in SERVERS:
            gluster.plug(server, pulled=False)
    assert (found["answers"], found["kind"]) == (False, "gluster")
    assert found["unknown"] == [f"no answer from s1:/{VOLUME} in 6 s"]


def save(both: list[Rank], step: int, meanwhile: Callable[[], None] | None = None) -> list[str]:
    """What was reported of the save; both nodes read batches all the while."""
    for staged in on_all(both, f"save {step}"):
        assert staged == {"staged": "Staged"}
    begun_s = time.monotonic()
    if meanwhile is not None:
        meanwhile()
    killed_s = time.monotonic() - begun_s
    heard = [one.hear() for one in both]
    print(f"save {step}, {killed_s:.2f} s until bricks were dead:", *heard, sep="\n    ")
    if heard[0]["reports"][0]["what"] == "Saved":
        assert heard[0]["seconds"] > killed_s, "the save was over before the bricks were killed"
    return [report["what"] for one in heard for report in one["reports"]]
