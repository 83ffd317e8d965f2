"""Sampling a process tree, on a /proc made of files and on real processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.cluster.nodes.rapl import Rapl, counter_step, readable_domains
from headrace.cluster.nodes.sample import (
    RESCAN_S,
    Sampler,
    parse_busy_ticks,
    parse_pss_bytes,
    parse_stat,
)

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Proc:
    """A /proc with processes that tests bring up and end."""

    def __init__(self, root: Path) -> None:
        self.path = root / "proc"
        self.path.mkdir(parents=True)
        self.busy(0)

    def busy(self, ticks: int) -> None:
        (self.path / "stat").write_text(f"cpu  {ticks} 0 0 999 5 0 0 0 0 0\n")

    def put(
        self,
        pid: int,
        *,
        parent: int,
        own: int,
        children: int = 0,
        start: int = 7,
        rss_pages: int = 1,
        pss_kib: int | None = 3,
    ) -> None:
        folder = self.path / str(pid)
        folder.mkdir(exist_ok=True)
        head = f"{pid} (a b) c) S {parent} " + "0 " * 9
        times = f"{own} 0 {children} 0 20 0 1 0 {start} "
        (folder / "stat").write_text(head + times + "0 " * 30)
        (folder / "statm").write_text(f"900 {rss_pages} 1 1 0 1 0\n")
        if pss_kib is not None:
            (folder / "smaps_rollup").write_text(f"Rss: 9 kB\nPss: {pss_kib} kB\n")

    def end(self, pid: int) -> None:
        for path in (self.path / str(pid)).iterdir():
            path.unlink()
        (self.path / str(pid)).rmdir()


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def sampler(proc: Proc, cpus: int = 2) -> Sampler:
    return Sampler(cpus=cpus, gpus=(), proc=proc.path)


def test_the_whole_tree_below_the_ranks_is_counted_and_strangers_are_not(proc: Proc) -> None:
    proc.put(10, parent=1, own=TICKS)
    proc.put(11, parent=10, own=2 * TICKS, children=TICKS)
    proc.put(12, parent=11, own=4 * TICKS)
    proc.put(99, parent=1, own=100 * TICKS)
    sample = sampler(proc).sample([10], now_s=0.0)
    assert sample.cpu_s == 8.0
    assert sample.cpu_ratio == 0.0
    assert (sample.memory_bytes, sample.memory_kind) == (9 * 1024, "pss")
    assert (sample.energy_j, sample.gpus) == (None, ())


def test_the_ratio_is_that_of_the_allocated_cpus_since_the_last_sample(proc: Proc) -> None:
    proc.put(10, parent=1, own=0)
    found = sampler(proc, cpus=4)
    found.sample([10], now_s=100.0)
    proc.put(10, parent=1, own=4 * TICKS)
    assert found.sample([10], now_s=102.0).cpu_ratio == 0.5


def test_time_of_a_child_that_was_waited_for_is_not_counted_twice(proc: Proc) -> None:
    proc.put(10, parent=1, own=0)
    proc.put(11, parent=10, own=3 * TICKS)
    found = sampler(proc)
    assert found.sample([10], now_s=0.0).cpu_s == 3.0
    proc.end(11)
    proc.put(10, parent=1, own=0, children=3 * TICKS)
    assert found.sample([10], now_s=1.0).cpu_s == 3.0


def test_time_of_a_rank_that_ended_stays(proc: Proc) -> None:
    proc.put(10, parent=1, own=5 * TICKS)
    proc.put(20, parent=1, own=2 * TICKS)
    found = sampler(proc)
    found.sample([10, 20], now_s=0.0)
    proc.end(10)
    assert found.sample([20], now_s=1.0).cpu_s == 7.0
    proc.end(20)
    after = found.sample([], now_s=10.0)
    assert (after.cpu_s, after.memory_bytes, after.cpu_ratio) == (7.0, 0, 0.0)


def test_a_pid_that_now_is_another_process_brings_no_negative_time(proc: Proc) -> None:
    proc.put(10, parent=1, own=5 * TICKS)
    found = sampler(proc)
    found.sample([10], now_s=0.0)
    proc.put(10, parent=1, own=TICKS, start=8)
    assert found.sample([10], now_s=RESCAN_S).cpu_s == 6.0


def test_new_children_are_found_at_the_next_scan(proc: Proc) -> None:
    proc.put(10, parent=1, own=0)
    found = sampler(proc)
    found.sample([10], now_s=0.0)
    proc.put(11, parent=10, own=2 * TICKS)
    assert found.sample([10], now_s=1.0).cpu_s == 0.0
    assert found.sample([10], now_s=RESCAN_S).cpu_s == 2.0


def test_memory_is_rss_where_a_process_is_large_or_pss_is_refused(proc: Proc) -> None:
    large = (1 << 30) // PAGE + 1
    proc.put(10, parent=1, own=0, rss_pages=large)
    sample = sampler(proc).sample([10], now_s=0.0)
    assert (sample.memory_bytes, sample.memory_kind) == (large * PAGE, "rss")
    proc.put(20, parent=1, own=0, rss_pages=2, pss_kib=None)
    sample = sampler(proc).sample([20], now_s=0.0)
    assert (sample.memory_bytes, sample.memory_kind) == (2 * PAGE, "rss")


def test_pss_is_asked_for_at_scans_and_follows_rss_in_between(proc: Proc) -> None:
    proc.put(10, parent=1, own=0, rss_pages=10, pss_kib=8 * PAGE // 1024)
    found = sampler(proc)
    assert found.sample([10], now_s=0.0).memory_bytes == 8 * PAGE
    proc.put(10, parent=1, own=0, rss_pages=15, pss_kib=1)
    sample = found.sample([10], now_s=1.0)
    assert (sample.memory_bytes, sample.memory_kind) == (13 * PAGE, "pss")
    assert found.sample([10], now_s=RESCAN_S).memory_bytes == 1024


def write_rapl(root: Path, package: int, energy_uj: int, range_uj: int = 1000) -> None:
    folder = root / f"sys/class/powercap/intel-rapl:{package}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"package-{package}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")


def test_processor_energy_is_shared_out_by_cpu_time(proc: Proc, tmp_path: Path) -> None:
    write_rapl(tmp_path, 0, 0, range_uj=10**12)
    proc.put(10, parent=1, own=0)
    found = sampler(proc)
    assert found.sample([10], now_s=0.0).energy_j == 0.0
    proc.put(10, parent=1, own=TICKS)
    proc.busy(4 * TICKS)
    write_rapl(tmp_path, 0, 200_000_000, range_uj=10**12)
    sample = found.sample([10], now_s=1.0)
    assert (sample.energy_j, sample.energy_parts) == (50.0, ("cpu",))


def test_a_counter_that_wrapped_counts_on() -> None:
    assert counter_step(10, 30, 100) == 20
    assert counter_step(90, 30, 100) == 40
    assert counter_step(5, 5, 100) == 0


def test_all_packages_add_up_and_their_parts_are_not_counted_again(tmp_path: Path) -> None:
    write_rapl(tmp_path, 0, 100)
    write_rapl(tmp_path, 1, 900)
    core = tmp_path / "sys/class/powercap/intel-rapl:0:0"
    core.mkdir()
    rapl = Rapl(tmp_path)
    write_rapl(tmp_path, 0, 300)
    write_rapl(tmp_path, 1, 50)
    assert rapl.step_j() == pytest.approx((200 + 150) / 1e6)
    assert readable_domains(tmp_path) == (("package-0", "package-1"), True)


def test_a_machine_without_counters_has_no_energy(tmp_path: Path) -> None:
    assert not Rapl(tmp_path).is_readable
    assert readable_domains(tmp_path) == ((), False)


def test_texts_of_proc_are_parsed() -> None:
    stat = b"42 (x) S) S 7 1 1 0 -1 0 0 0 0 0 10 20 30 40 20 0 1 0 555 0 0"
    assert (parse_stat(stat).parent, parse_stat(stat).ticks) == (7, 100)
    assert parse_stat(stat).start_ticks == 555
    assert parse_busy_ticks("cpu  1 2 3 100 50 4 5 6 7 8\ncpu0 1\n") == 21
    assert parse_pss_bytes(b"Rss: 4 kB\n") is None


def test_a_real_process_and_its_child_are_measured_and_survive_in_the_sum() -> None:
    code = "import os; os.fork(); x = sum(range(3_000_000)); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        found = Sampler(cpus=2, gpus=())
        sample = found.sample([process.pid], now_s=time.time())
        assert sample.memory_bytes > 1 << 20
        assert sample.cpu_s > 0.0
        process.communicate("\n\n")
    assert found.sample([], now_s=time.time()).cpu_s >= sample.cpu_s
