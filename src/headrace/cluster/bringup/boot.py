"""The shell scripts that boot a box. Pure: text only; ``boxes.py`` starts them.

``start`` runs on the machine: it enters the box's control groups, then makes the namespaces.
``init`` is process 1 inside: it mounts what the box has of its own, starts its daemons, and reaps.
Namespaces are made by unshare, and /sys and the control groups are mounted anew by us: ``ip netns``
would mount a /sys without them, and slurmd would die.
"""

import shlex
from collections.abc import Iterable

from headrace.cluster.bringup.plan import MARK, Box, Cluster

GPU_MAJOR = 240
"""Kept for local use by the kernel (admin-guide/devices.txt): no driver answers on it."""
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
_MARIADB = (
    "--no-defaults --user=root --skip-networking --socket=/run/mysqld/mysqld.sock"
    " --pid-file=/run/mysqld/mysqld.pid --innodb-log-file-size=16M"
    " --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 --performance-schema=off"
)


def start_script(cluster: Cluster, box: Box) -> str:
    joins = [f"echo $$ > {folder}/cgroup.procs" for folder in cluster.cgroups(box)]
    groups = "--cgroup " if joins else ""
    return _script(
        f"Make the namespaces of {box.name}.",
        [
            "umask 022",
            f"export {MARK}={cluster.id} LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            *joins,
            "exec unshare --pid --fork --kill-child --mount --propagation private --uts --ipc"
            f" --net {groups}sh {cluster.path('boxes', box.name, 'init')}",
        ],
    )


def init_script(cluster: Cluster, box: Box) -> str:
    return _script(
        f"Process 1 of {box.name}.",
        [
            f"hostname {box.name}",
            "mount -t proc proc /proc",
            "mount -t tmpfs -o mode=755 tmpfs /run",
            "mkdir -p /run/munge /run/mysqld /run/lock",
            f"mount --bind {cluster.path('etc', 'hosts')} /etc/hosts",
            *([] if box.is_head else _node_mounts(cluster)),
            *_network(cluster, box),
            *_munged(cluster, box),
            *(_mariadb(cluster) if box.is_head else _slurmd(cluster)),
            "# Reap what is orphaned here, until the plug is pulled.",
            "while :; do sleep 86400 & wait $!; done",
        ],
    )


def _node_mounts(cluster: Cluster) -> Iterable[str]:
    yield "# /sys of this network namespace, with the box's own control groups in it."
    yield "mount -t sysfs sysfs /sys"
    if cluster.hierarchies:
        yield "mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup"
    for one in cluster.hierarchies:
        for word in one.options.split(","):
            yield f"mkdir /sys/fs/cgroup/{word}"
            yield f"mount -t cgroup -o {one.options} cgroup /sys/fs/cgroup/{word}"
    yield "# Devices: the usual ones, and GPUs that are there but do nothing."
    yield "mount -t tmpfs -o mode=755 tmpfs /dev"
    for name, minor in _DEVICES.items():
        yield f"mknod -m 666 /dev/{name} c 1 {minor}"
    yield "mknod -m 666 /dev/tty c 5 0"
    yield "mkdir /dev/pts /dev/shm"
    yield "mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts /dev/pts"
    yield "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
    yield "ln -s pts/ptmx /dev/ptmx; ln -s /proc/self/fd /dev/fd"
    yield "ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr"
    for number in range(cluster.request.gpus_per_node):
        yield f"mknod -m 666 /dev/nvidia{number} c {GPU_MAJOR} {number}"
    yield "# A munge of its own, at the path that slurm.conf names."
    yield f"mount -t tmpfs -o mode=755 tmpfs {cluster.path('run')}"


def _network(cluster: Cluster, box: Box) -> Iterable[str]:
    yield "# The cable is plugged in from outside."
    yield "ip link set lo up"
    yield "tries=600"
    yield "until ip link set eth0 up 2>/dev/null; do"
    yield "    tries=$((tries - 1)); [ $tries -gt 0 ] || exit 1; sleep 0.05"
    yield "done"
    yield f"ip address add {box.address}/24 dev eth0"
    if cluster.request.bandwidth is not None:
        yield shlex.join(shape("eth0", cluster.request.bandwidth))


def shape(link: str, bandwidth: str) -> list[str]:
    """Hold what leaves by ``link`` to a rate, as tc(8) writes it: 100mbit."""
    return [
        *("tc", "qdisc", "add", "dev", link, "root", "tbf"),
        *("rate", bandwidth, "burst", "256kb", "latency", "50ms"),
    ]


def _munged(cluster: Cluster, box: Box) -> Iterable[str]:
    key, socket = cluster.path("etc", "munge.key"), cluster.path("run", "munge.socket")
    log = cluster.path("log", f"munged.{box.name}.log")
    yield (
        f"munged --force --key-file={key} --socket={socket} --log-file={log}"
        " --pid-file=/run/munge/munged.pid --seed-file=/run/munge/munged.seed"
    )


def _slurmd(cluster: Cluster) -> Iterable[str]:
    yield "# slurmd registers at once or waits long: it starts when slurmctld is there."
    yield f"until [ -e {cluster.path('go')} ]; do sleep 0.1; done"
    yield f"slurmd -f {cluster.conf}"


def _mariadb(cluster: Cluster) -> Iterable[str]:
    data, log = cluster.path("mariadb"), cluster.path("log", "mariadb.log")
    yield (
        f"[ -d {data}/mysql ] || mariadb-install-db --no-defaults --user=root --datadir={data}"
        f" --skip-test-db --auth-root-authentication-method=socket >{log} 2>&1"
    )
    yield f"mariadbd {_MARIADB} --datadir={data} --log-error={log} &"


def _script(title: str, lines: Iterable[str]) -> str:
    return "\n".join(["#!/bin/sh", f"# {title}", "set -e", *lines]) + "\n"
