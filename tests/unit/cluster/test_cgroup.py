"""What control groups say of processes that the kernel killed for want of memory."""

from pathlib import Path

from headrace.cluster.nodes.cgroup import read_oom_kills


def test_version_2_counts_in_the_nearest_group_that_has_memory_in_it(tmp_path: Path) -> None:
    groups = tmp_path / "sys/fs/cgroup"
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_7/task_0\n")
    for name, kills in (("slurm", 9), ("slurm/job_7", 2)):
        (groups / name).mkdir(parents=True, exist_ok=True)
        (groups / name / "memory.events").write_text(f"low 0\noom 5\noom_kill {kills}\n")
    assert read_oom_kills(tmp_path) == 2


def test_version_1_counts_in_its_own_hierarchy(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/memory/slurm/job_7"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/slurm/job_7\n0::/\n")
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert read_oom_kills(tmp_path) == 3


def test_no_groups_no_kills(tmp_path: Path) -> None:
    assert read_oom_kills(tmp_path) == 0
