"""A Debian with nothing on it: one command brings its packages and the cluster, and no service."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.virtual import UP_S, install

import headrace

pytestmark = pytest.mark.chaos
SOURCE = Path(headrace.__file__).parents[1]
MIRROR = "http://deb.debian.org/debian"
ENTER = """\
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"; inside=$2; shift 2
mount -t proc proc proc
for folder in /sys /dev "$@"; do
    mkdir -p ".$folder"
    mount --rbind "$folder" ".$folder"
done
cp /etc/resolv.conf /etc/hosts etc
exec chroot . env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "$inside"
"""
INSIDE = f"""\
set -e
export PYTHONPATH={SOURCE} HEADRACE_CLUSTER=/var/lib/c
cluster() {{ {sys.executable} -m headrace.cli.main cluster "$@"; }}
cluster up --virtual 2 || echo refused $?
trap 'cluster down' EXIT
cluster up --virtual 2 --install
eval "$(cluster env)"
srun -N2 hostname | sort
ls /etc/rc2.d /etc/systemd/system/*.wants
"""


@pytest.fixture
def bare() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a root folder of its own needs root")
    install("debootstrap")
    folder = Path(tempfile.mkdtemp(prefix="hrbare-"))
    folder.chmod(0o755)
    python = ["--include=python3"] if sys.base_prefix == "/usr" else []
    words = ["debootstrap", "--variant=minbase", *python, "bookworm", str(folder), MIRROR]
    made = subprocess.run(words, capture_output=True, text=True, check=False, timeout=UP_S)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr
    yield folder
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    shutil.rmtree(folder)


def test_a_bare_debian_has_a_cluster_after_one_command(bare: Path) -> None:
    python = sorted({sys.prefix, sys.base_prefix, str(SOURCE)} - {"/usr"})
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ENTER, "enter", str(bare), INSIDE, *python],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=UP_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HR-CLUSTER-002: not installed: slurmctld, slurmd, slurmdbd, sbatch" in done.stderr
    assert done.stdout.startswith("refused 4\n")
    assert "\nn1\nn2\n" in done.stdout
    services = ("slurmctld", "slurmd", "slurmdbd", "munge", "mariadb")
    assert not [name for name in services if f"S01{name}" in done.stdout]
    assert not [name for name in services if f"{name}.service" in done.stdout]
    assert "the cluster is gone" in done.stderr
