"""A whole Slurm cluster on this machine: what it does, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.machine import User
from tests.integration.virtual import Virtual, no_cluster, virtual_cluster

from headrace.cluster.bringup import boxes
from headrace.core.process import marked

pytestmark = pytest.mark.slow
PATIENT_S = 120.0
FLAGS = ("--gpus-per-node", "2", "--partitions", "main,short=1-2@10:00")


@pytest.fixture(scope="module")
def ada() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("a virtual cluster needs root")
    user = User(f"ada{os.getpid()}")
    yield user.name
    user.remove()


@pytest.fixture(scope="module")
def cluster(ada: str) -> Iterator[Virtual]:
    with virtual_cluster(3, "--user", ada, *FLAGS) as made:
        yield made


def eventually(
    what: Callable[[], bool], *, limit_s: float = PATIENT_S, pause_s: float = 0.5
) -> None:
    end_s = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(pause_s)


def test_a_job_of_an_ordinary_user_runs_on_all_nodes(cluster: Virtual, ada: str) -> None:
    said = cluster.slurm("srun", "-N3", "sh", "-c", "hostname; id -un", user=ada).split()
    assert sorted(said) == [*[ada] * 3, "n1", "n2", "n3"]


def test_a_user_who_was_not_named_may_not_submit(cluster: Virtual) -> None:
    with pytest.raises(AssertionError, match="Invalid account"):
        cluster.slurm("srun", "hostname", user="nobody")


def test_the_printed_environment_is_all_a_shell_needs(cluster: Virtual, ada: str) -> None:
    line = cluster("env")
    assert line == f"export SLURM_CONF={cluster.folder}/etc/slurm.conf\n"
    words = ["env", "-u", "SLURM_CONF", "sh", "-c", f"{line.strip()}; sinfo -h -o %P"]
    assert cluster.run(words, user=ada).split() == ["main*", "short"]


def test_a_job_sees_the_gpus_it_was_given_and_can_open_no_other(cluster: Virtual, ada: str) -> None:
    holder = cluster.slurm(
        "sbatch", "--parsable", "-wn1", "-n1", "--mem=100", "--gres=gpu:1", "--wrap=sleep 600",
        "-o/dev/null", user=ada,
    ).strip()  # fmt: skip
    eventually(lambda: cluster.slurm("squeue", "-hj", holder, "-o%T").strip() == "RUNNING")
    ask = "echo $SLURM_STEP_GPUS $CUDA_VISIBLE_DEVICES; cat /dev/nvidia0 /dev/nvidia1 2>&1"
    asked = ("srun", "-wn1", "-n1", "--mem=100", "--gres=gpu:1", "--overlap", "sh", "-c")
    said = cluster.slurm(*asked, f"{ask}; true", user=ada)
    cluster.slurm("scancel", holder)
    assert said.splitlines()[0] == "1 0", "CUDA counts only the devices that the job may open"
    assert "nvidia0: Operation not permitted" in said
    assert "nvidia1: No such device or address" in said


def test_accounting_knows_the_job_its_account_and_its_end(cluster: Virtual, ada: str) -> None:
    wrap = ("sbatch", "--parsable", "--wait", "-o/dev/null", "--account=lab2", "--wrap=exit 3")
    done = subprocess.run(
        wrap, env=cluster.environ, user=ada, cwd="/", capture_output=True, text=True,
        timeout=PATIENT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    asked = ("sacct", "-nXPj", done.stdout.strip(), "-o", "user,account,state,exitcode")
    eventually(lambda: cluster.slurm(*asked).strip() == f"{ada}|lab2|FAILED|3:0")


def test_a_higher_qos_takes_the_place_of_a_lower_one(cluster: Virtual, ada: str) -> None:
    common = ("sbatch", "--parsable", "-o/dev/null", "-N3", "--exclusive")
    low = cluster.slurm(*common, "--qos=low", "--wrap=sleep 600", user=ada).strip()
    eventually(lambda: cluster.slurm("squeue", "-hj", low, "-o%T").strip() == "RUNNING")
    high = cluster.slurm(*common, "--qos=high", "--wrap=true", user=ada).strip()
    eventually(lambda: "COMPLETED" in cluster.slurm("sacct", "-nXPj", high, "-ostate"))
    eventually(lambda: cluster.slurm("squeue", "-hj", low, "-o%T").strip() == "RUNNING")
    assert "Restarts=1" in cluster.slurm("scontrol", "show", "job", low)
    cluster.slurm("scancel", low)


def test_memory_beyond_what_was_asked_for_ends_the_job(cluster: Virtual, ada: str) -> None:
    hog = "head -c 400M /dev/zero | tail | wc -c"
    script = ("sbatch", "--parsable", "-o/dev/null", "-n1", "--mem=50", f"--wrap={hog}")
    job = cluster.slurm(*script, user=ada).strip()
    eventually(lambda: "OUT_OF_ME" in cluster.slurm("sacct", "-nXPj", job, "-ostate"))


def outlives_its_job(cluster: Virtual) -> bool:
    """Whether a process that has left its parents and its session does."""
    mark = f"{os.getpid()}.{len(cluster.plan.hierarchies)}"
    leave = f"setsid sh -c '(sleep 9{mark} &)' >/dev/null 2>&1; sleep 1"
    cluster.slurm("srun", "-wn1", "-n1", "sh", "-c", leave)
    cluster.slurm("srun", "-wn1", "-n1", "--exclusive", "true")
    left = subprocess.run(["pgrep", "-f", f"^sleep 9{mark}"], capture_output=True, check=False)
    return left.returncode == 0


def test_control_groups_let_no_process_of_a_job_escape(cluster: Virtual) -> None:
    assert outlives_its_job(cluster) is not bool(cluster.plan.hierarchies)


def test_a_node_without_power_and_one_without_a_cable_are_down_and_come_back(
    cluster: Virtual,
) -> None:
    cluster("kill-node", "n2")
    cluster("cut", "n3")
    found = {box["name"]: box for box in json.loads(cluster("status", "--json"))["boxes"]}
    assert (found["n2"]["powered"], found["n3"]["powered"]) == (False, True)
    assert (found["n1"]["cable"], found["n3"]["cable"]) == ("up", "cut")
    eventually(lambda: [cluster.states()[name] for name in ("n2", "n3")] == ["down*", "down*"])
    cluster("start-node", "n2")
    cluster("join", "n3")
    eventually(lambda: set(cluster.states().values()) == {"idle"}, limit_s=400)
    said = cluster.slurm("srun", "-wn2,n3", "-N2", "hostname").split()
    assert sorted(said) == ["n2", "n3"]


def test_a_node_is_started_anew_while_the_kernel_still_has_its_old_cable(cluster: Virtual) -> None:
    init = boxes.find_init(cluster.plan, cluster.plan.nodes[0])
    with subprocess.Popen(["nsenter", f"--target={init}", "--net", "sleep", "60"]) as holder:
        cluster("kill-node", "n1")
        cluster("start-node", "n1")
        holder.kill()
    eventually(lambda: cluster.states()["n1"] == "idle")
    assert cluster.slurm("srun", "-wn1", "-n1", "hostname") == "n1\n"


def test_a_node_has_its_own_network_devices_and_processes(cluster: Virtual) -> None:
    look = "hostname; ls /sys/class/net; ls /sys/fs/cgroup; ps -e -o comm="
    said = cluster("exec", "n1", "--", "sh", "-c", look).split()
    assert said[:3] == ["n1", "eth0", "lo"]
    assert "slurmd" in said
    assert "slurmctld" not in said
    assert "memory" in said or not cluster.plan.hierarchies


def test_a_second_one_is_refused(cluster: Virtual) -> None:
    with pytest.raises(AssertionError, match="HR-CLUSTER-003: there is a virtual cluster already"):
        cluster("up", "--virtual", "1")


# --- and nothing is left --------------------------------------------------------------------


KINDS = ("mnt", "pid", "net", "uts", "ipc", "cgroup")
TELLING = ("slurm", "munge", "mysql", "mariadb", "nvidia", "headrace")


def namespaces_of(pids: Iterable[int | str]) -> set[str]:
    found = set()
    for pid in pids:
        for kind in KINDS:
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
    return found


def telling_files() -> set[str]:
    """What Slurm, munge and MariaDB would leave outside the cluster's folder."""
    folders = ("/run", "/run/lock", "/dev", "/dev/shm", "/var/lib", "/var/spool", "/etc")
    return {
        f"{folder}/{name}"
        for folder in folders
        if Path(folder).is_dir()
        for name in os.listdir(folder)
        if any(word in name for word in TELLING)
    }


class Traces:
    """What one cluster has on this machine, beside others; and what is left of it afterwards."""

    def __init__(self, made: Virtual, files: set[str]) -> None:
        self.parent, self.id, self.files = made.folder.parent, made.plan.id, files
        self.namespaces = namespaces_of(self._processes()) - namespaces_of(["self"])

    def _processes(self) -> list[int]:
        return marked("HEADRACE_CLUSTER_ID", self.id)

    def left(self) -> list[str]:
        everyone = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        links = [name for name in os.listdir("/sys/class/net") if self.id[:6] in name]
        mounts = [
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if str(self.parent) in line
        ]
        groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/headrace-{self.id}")]
        return [
            *(f"process {pid}" for pid in self._processes()),
            *sorted(namespaces_of(everyone) & self.namespaces),
            *links,
            *mounts,
            *groups,
            *(telling_files() - self.files),
            *os.listdir(self.parent),
        ]

    def none_is_left(self) -> None:
        end_s = time.monotonic() + 20
        while (left := self.left()) and time.monotonic() < end_s:
            time.sleep(0.5)
        assert left == []


def down_leaves_nothing(made: Virtual, files: set[str]) -> Traces:
    traces = Traces(made, files)
    made("down")
    traces.none_is_left()
    return traces


@pytest.fixture
def place() -> Iterator[Virtual]:
    with no_cluster() as made:
        yield made


SEND = """
import os, socket, time
SIZE = 10_000_000
if os.environ["SLURM_PROCID"] == "0":
    with socket.create_server(("", 5555)) as server, server.accept()[0] as peer:
        started_s, left = time.monotonic(), SIZE
        while part := peer.recv(1 << 16):
            left -= len(part)
        print(left, SIZE * 8 / (time.monotonic() - started_s) / 1e6)
else:
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        try:
            with socket.create_connection(("n1", 5555)) as peer:
                peer.sendall(bytes(SIZE))
            break
        except OSError:
            time.sleep(0.1)
"""


def test_cables_can_be_slow_and_control_groups_absent(place: Virtual) -> None:
    place(
        *("up", "--install", "--virtual", "2", "--proctrack", "linuxproc"),
        *("--bandwidth", "50mbit", "--cpus-per-node", "8", "--memory-mib", "2000"),
    )
    said = place.slurm("srun", "-N2", "-c8", "python3", "-c", SEND).split()
    assert said[0] == "0"
    assert float(said[1]) < 60
    assert outlives_its_job(place)


def test_down_leaves_nothing_while_jobs_run_or_are_suspended(place: Virtual) -> None:
    files = telling_files()
    place("up", "--install", "--virtual", "2", *FLAGS)
    jobs = [
        place.slurm("sbatch", "--parsable", "-o/dev/null", f"-wn{n}", "--wrap=sleep 600").strip()
        for n in (1, 2)
    ]
    eventually(lambda: place.slurm("squeue", "-ho%T").split() == ["RUNNING"] * 2)
    place.slurm("scontrol", "suspend", jobs[0])
    time.sleep(4)
    traces = down_leaves_nothing(place, files)
    assert len(traces.namespaces) >= 3 * 5, "each box has its own"
    place("down")


DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd", "init")


def named(made: Virtual, name: str) -> list[int]:
    """Processes of the cluster; "init" is what holds the boxes: shells and those who wait for them.

    Slurm's step daemon writes its title over the mark, so it is known by the box that it is in.
    """
    bearers = marked("HEADRACE_CLUSTER_ID", made.plan.id)
    boxes = namespaces_of(bearers) - namespaces_of(["self"])
    names = ("sh", "unshare") if name == "init" else (name,)
    found = []
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]:
        with suppress(FileNotFoundError, ProcessLookupError):
            known = Path(f"/proc/{pid}/comm").read_text().strip() in names
            if known and (pid in bearers or namespaces_of([pid]) & boxes):
                found.append(pid)
    return found


def kill_9(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "names",
    [
        DAEMONS,
        ("slurmd",),
        *(pytest.param((name,), marks=pytest.mark.chaos) for name in DAEMONS if name != "slurmd"),
    ],
    ids="+".join,
)
def test_down_leaves_nothing_after_kill_9_of_a_daemon(
    place: Virtual, names: tuple[str, ...]
) -> None:
    files = telling_files()
    place("up", "--install", "--virtual", "1", *FLAGS[:2])
    job = place.slurm("sbatch", "--parsable", "-o/dev/null", "--wrap=sleep 600").strip()
    eventually(lambda: place.slurm("squeue", "-hj", job, "-o%T").strip() == "RUNNING")
    traces = Traces(place, files)
    pids = {name: named(place, name) for name in names}
    assert all(pids.values())
    kill_9(pid for found in pids.values() for pid in found)
    place("down")
    traces.none_is_left()


@pytest.mark.parametrize("after_s", [0.3, 0.5, 0.7])
def test_down_leaves_nothing_after_kill_9_of_another_down(place: Virtual, after_s: float) -> None:
    files = telling_files()
    place("up", "--install", "--virtual", "2", *FLAGS[:2])
    traces = Traces(place, files)
    first = subprocess.Popen(place.command("down"), env=place.environ, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    first.kill()
    first.wait()
    place("down")
    traces.none_is_left()


def test_down_finds_a_cluster_whose_plan_is_damaged(place: Virtual) -> None:
    files = telling_files()
    place("up", "--install", "--virtual", "1")
    traces = Traces(place, files)
    (place.folder / "cluster.json").write_text("{")
    for verb in (["status"], ["env"], ["kill-node", "n1"], ["up", "--virtual", "1"]):
        with pytest.raises(AssertionError, match="HR-CLUSTER-011") as caught:
            place(*verb)
        assert "Traceback" not in str(caught.value)
    place("down")
    traces.none_is_left()


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 1.0, 4.0])
def test_down_leaves_nothing_after_kill_9_of_the_bring_up(place: Virtual, after_s: float) -> None:
    files = telling_files()
    maker = subprocess.Popen(
        place.command("up", "--install", "--virtual", "2"),
        env=place.environ,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    eventually((place.folder / "cluster.json").exists, pause_s=0.01)
    time.sleep(after_s)
    maker.kill()
    maker.wait()
    down_leaves_nothing(place, files)


def test_down_ends_a_bring_up_that_is_still_at_work(place: Virtual) -> None:
    files = telling_files()
    maker = subprocess.Popen(
        place.command("up", "--install", "--virtual", "2"),
        env=place.environ,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    eventually((place.folder / "cluster.json").exists)
    down_leaves_nothing(place, files)
    assert maker.wait(timeout=20) != 0
