"""A GlusterFS on this machine: three servers with a brick each, two nodes that mount it.

All of it lives in one pid, mount and network namespace, the room: its network is the switch, each
host has a network and mounts of its own. Killing the room's first process takes everything along,
and the kernel does that when this process dies.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.cluster.bringup.packages import install_packages
from headrace.core.process import children_by_parent

PROGRAMS = {
    "glusterd": "glusterfs-server",
    "mount.glusterfs": "glusterfs-client",
    "fio": "fio",
    "ip": "iproute2",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}
SERVERS, NODES = ("s1", "s2", "s3"), ("n1", "n2")
VOLUME = "mill"
_ADDRESSES = {name: f"10.77.0.{n}" for n, name in enumerate((*SERVERS, *NODES), start=1)}
_START_S = 120.0
_APART = (
    *("unshare", "--pid", "--fork", "--kill-child"),
    *("--mount", "--propagation", "private", "--net"),
)
_PREFIX = "hr-gluster-"

_ROOM = """
set -e
mount -t proc proc /proc
ip link set lo up
ip link add switch type bridge; ip link set switch up
for host in {hosts}; do
    unshare --mount --propagation private --uts --net sh {folder}/host $host &
    echo $! > {folder}/$host.pid
    until [ -e {folder}/$host.apart ]; do sleep 0.02; done
    ip link add p-$host type veth peer name eth0 netns $(cat {folder}/$host.pid)
    ip link set p-$host master switch up
done
touch {folder}/room.ready
while :; do sleep 86400 & wait $!; done
"""
_HOST = """
set -e
name=$1; own={folder}/$name
hostname $name
touch {folder}/$name.apart
mkdir -p $own/lib $own/log $own/brick $own/mnt
mount -t tmpfs tmpfs /run; mkdir -p /run/gluster
mount --bind {folder}/hosts /etc/hosts
mount --bind $own/lib /var/lib/glusterd
mount --bind $own/log /var/log/glusterfs
ip link set lo up
until ip link set eth0 up 2>/dev/null; do sleep 0.02; done
ip address add $(awk -v n=$name '$2 == n {{ print $1 }}' {folder}/hosts)/24 dev eth0
case $name in s*) glusterd ;; esac
touch {folder}/$name.ready
while :; do sleep 86400 & wait $!; done
"""


class Gluster:
    """The running thing. ``folder`` is seen by all hosts alike; ``mount`` is each node's own."""

    def __init__(self, folder: Path, room: int) -> None:
        self.folder = folder
        self._room = room

    def mount(self, node: str) -> Path:
        return self.folder / node / "mnt"

    def enter(self, host: str) -> list[str]:
        """Words before a command that is to run on the host, written within the room."""
        names = ["--mount", "--net", "--uts", "--wd=/"]
        return ["nsenter", f"--target={self._pid(host)}", *names, "--"]

    def words(self, host: str, *command: str) -> list[str]:
        """The same, written on this machine."""
        room = ["nsenter", f"--target={self._room}", "--pid", "--mount", "--net", "--wd=/", "--"]
        return [*room, *self.enter(host), *command]

    def run(
        self, host: str, *command: str, timeout_s: float = 60.0, right: tuple[int, ...] = (0,)
    ) -> str:
        done = subprocess.run(
            self.words(host, *command),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=self.environ,
        )
        assert done.returncode in right, f"{host}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def headrace(self, node: str, *words: str, right: tuple[int, ...] = (0,)) -> str:
        return self.run(node, sys.executable, "-m", "headrace.cli.main", *words, right=right)

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def kill_brick(self, server: str) -> None:
        self.run(server, "sh", "-c", f"kill -9 $(cat /run/gluster/vols/{VOLUME}/*.pid)")

    def start_bricks(self) -> None:
        """Those that are down."""
        self.run("s1", "gluster", "--mode=script", "volume", "start", VOLUME, "force")

    def plug(self, server: str, *, pulled: bool) -> None:
        """Pull the cable of a server, or put it back."""
        room = ["nsenter", f"--target={self._room}", "--net", "--"]
        state = "down" if pulled else "up"
        subprocess.run([*room, "ip", "link", "set", f"p-{server}", state], check=True)

    def unhealed(self) -> int:
        """Entries that some brick does not have as the others do."""
        told = self.run("s1", "gluster", "volume", "heal", VOLUME, "info")
        counts = re.findall(r"^Number of entries: (.*)$", told, re.MULTILINE)
        return sum(int(count) if count.isdigit() else 1 for count in counts)

    def _pid(self, host: str) -> int:
        return int((self.folder / f"{host}.pid").read_text())


@contextmanager
def glusterfs() -> Iterator[Gluster]:
    """Bring it up with a volume of three copies, mounted on both nodes; take all down at the end.

    Skips, saying why, where it cannot be.
    """
    if os.geteuid() != 0:
        pytest.skip("GlusterFS on virtual hosts needs root")
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse on this machine")
    if subprocess.run([*_APART, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine gives no namespaces")
    missing = {package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    if missing:
        install_packages(sorted(missing))
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    hosts = (*SERVERS, *NODES)
    (folder / "hosts").write_text(
        "".join(f"{address} {name}\n" for name, address in _ADDRESSES.items())
        + "127.0.0.1 localhost\n"
    )
    (folder / "room").write_text(_ROOM.format(folder=folder, hosts=" ".join(hosts)))
    (folder / "host").write_text(_HOST.format(folder=folder))
    with (folder / "log").open("wb") as log:
        room = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *_APART, "sh", str(folder / "room")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait(folder, room, [f"{host}.ready" for host in hosts])
        made = Gluster(folder, children_by_parent()[room.pid][0])
        _make_volume(made)
        yield made
    finally:
        room.kill()
        room.wait()
        time.sleep(0.2)  # the namespaces end with their last process
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Folders of tests that were killed; their hosts are gone already."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PREFIX).partition('-')[0]}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _wait(folder: Path, room: "subprocess.Popen[bytes]", names: list[str]) -> None:
    until_s = time.monotonic() + _START_S
    while not all((folder / name).exists() for name in names):
        ended = room.poll() is not None or time.monotonic() > until_s
        assert not ended, (folder / "log").read_text()
        time.sleep(0.05)


def _make_volume(made: Gluster) -> None:
    for server in SERVERS[1:]:
        _probe(made, server)
    _until(lambda: _all_connected(made))
    bricks = [f"{server}:{made.folder}/{server}/brick" for server in SERVERS]
    volume = ["gluster", "--mode=script", "volume"]
    made.run("s1", *volume, "create", VOLUME, "replica", "3", *bricks, "force")
    made.run("s1", *volume, "start", VOLUME)
    for node in NODES:
        _mount(made, node)


def _mount(made: Gluster, node: str) -> None:
    source, place = f"s1:/{VOLUME}", str(made.mount(node))
    _until(lambda: made.run(node, "mount", "-t", "glusterfs", source, place))


def _probe(made: Gluster, server: str) -> None:
    _until(lambda: made.run("s1", "gluster", "peer", "probe", server))


def _all_connected(made: Gluster) -> None:
    """In the eyes of each: a volume is made by all of them."""
    for server in SERVERS:
        told = made.run(server, "gluster", "peer", "status")
        assert told.count("(Connected)") == len(SERVERS) - 1


def _until(act: Callable[[], object]) -> None:
    """Try for a while."""
    until_s = time.monotonic() + _START_S
    while True:
        try:
            act()
            return
        except AssertionError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.2)
