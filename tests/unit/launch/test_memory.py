"""Whose shared memory is whose, and when it goes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.core.process import Process, identify
from headrace.core.records import write_record
from headrace.core.rundir import RunDir
from headrace.launch.memory import claim, release, sweep

DEAD = Process(boot_id="00000000-0000-0000-0000-000000000000", pid=1, start_ticks=1)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "runs" / "ada-1").mkdir(parents=True)
    return RunDir(tmp_path / "runs" / "ada-1")


def test_a_node_of_a_run_has_a_private_folder_until_it_is_released(
    run: RunDir, tmp_path: Path
) -> None:
    folder = claim(run, "node0", shm=tmp_path)
    other = claim(run, "node1", shm=tmp_path)
    assert folder is not None
    assert other is not None
    assert folder != other
    assert folder.stat().st_mode & 0o777 == 0o700
    release(run, "node0", shm=tmp_path)
    assert not folder.exists()
    assert other.exists()


def test_runs_of_the_same_name_elsewhere_have_their_own(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "ada-1").mkdir(parents=True)
    elsewhere = RunDir(tmp_path / "elsewhere" / "ada-1")
    assert claim(run, "n", shm=tmp_path) != claim(elsewhere, "n", shm=tmp_path)


def test_an_agent_takes_over_what_a_killed_one_of_its_run_left(run: RunDir, tmp_path: Path) -> None:
    folder = claim(run, "node0", shm=tmp_path)
    assert folder is not None
    (folder / "0").mkdir()
    write_record(folder / "owner.json", DEAD)
    assert claim(run, "node0", shm=tmp_path) == folder
    assert (folder / "0").exists()


def test_folders_of_dead_agents_go_when_the_next_one_starts(run: RunDir, tmp_path: Path) -> None:
    left = claim(run, "node0", shm=tmp_path)
    torn = claim(run, "node1", shm=tmp_path)
    alive = claim(run, "node2", shm=tmp_path)
    assert left is not None
    assert torn is not None
    assert alive is not None
    program = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as process:
        write_record(left / "owner.json", identify(process.pid))
        (torn / "owner.json").write_bytes(b"{")
        sweep(shm=tmp_path)
        assert left.exists()
        assert not torn.exists()
        process.kill()
        process.wait()
    assert claim(run, "node3", shm=tmp_path) is not None
    assert not left.exists()
    assert alive.exists()


def test_a_place_that_others_can_enter_is_not_used(run: RunDir, tmp_path: Path) -> None:
    home = tmp_path / f"headrace-{os.geteuid()}"
    home.mkdir()
    home.chmod(0o777)
    assert claim(run, "node0", shm=tmp_path) is None
    home.rmdir()
    home.symlink_to(tmp_path)
    assert claim(run, "node0", shm=tmp_path) is None


def test_without_shared_memory_there_is_none(run: RunDir, tmp_path: Path) -> None:
    assert claim(run, "node0", shm=tmp_path / "none") is None
    sweep(shm=tmp_path / "none")
