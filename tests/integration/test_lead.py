"""A real lead, real agents, real ranks, without an engine: what the launch room promises."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.launched import Launched
from tests.integration.site import until

from headrace.cluster.nodes.cgroup import parse_membership
from headrace.core.events import (
    AttemptEnded,
    AttemptStarted,
    Ended,
    LimitMoved,
    NodeLost,
    Placed,
    RankStarted,
    TreeKilled,
)
from headrace.core.order import RestartPolicy, StopRequest
from headrace.core.records import write_record
from headrace.core.rundir import read_events

DOUBLE_FORK = """
import os, sys, time
if os.environ["RANK"] == os.environ.get("FORKER", "1"):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], flush=True)
time.sleep(float(sys.argv[1]))
"""


LATE_STEP = """
import os, pathlib, sys, time
calls, *words = sys.argv[1:]
new = pathlib.Path(calls, "new-" + words[-1])
new.write_text(" ".join(words))
new.rename(pathlib.Path(calls, words[-1]))
while words[-1] != "1" and not pathlib.Path(calls, "over").exists():
    time.sleep(0.1)
"""


def python(text: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text, *arguments)


def test_ranks_get_the_contract_and_their_output_is_tagged(
    launch: Callable[..., Launched],
) -> None:
    names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK SLURM_PROCID OMP_NUM_THREADS"
    text = f"import os, sys; print(*(os.environ[n] for n in '{names}'.split()), file=sys.stderr)"
    run = launch(*python(text))
    assert run.end() == Ended(state="COMPLETED", exit_code=0, detail="all ranks ended well")
    assert run.log().splitlines() == ["0 e 0 2 0 1 0 0 1", "1 e 1 2 0 1 1 1 1"]
    assert run.left() == []


def test_a_failed_rank_ends_the_others_and_gives_up_after_attempts_without_progress(
    launch: Callable[..., Launched],
) -> None:
    text = "import os, sys, time; os.environ['RANK'] == '1' and sys.exit(3); time.sleep(600)"
    run = launch(*python(text))
    ended = run.end()
    assert (ended.state, ended.exit_code) == ("FAILED", 3)
    assert len(run.events_of(AttemptStarted)) == 2
    assert [over.outcome for over in run.events_of(AttemptEnded)] == ["error", "error"]
    assert run.left() == []


def test_a_program_that_does_not_exist_says_so_and_fails_with_127(
    launch: Callable[..., Launched],
) -> None:
    run = launch("/no/such/program", restart=RestartPolicy())
    ended = run.end()
    assert (ended.state, ended.exit_code) == ("FAILED", 127)
    assert "headrace: /no/such/program: not found" in run.log()


def test_double_forked_children_are_killed_when_the_ranks_end_well(
    launch: Callable[..., Launched],
) -> None:
    run = launch(*python(DOUBLE_FORK, "0.3"))
    assert run.end().state == "COMPLETED"
    assert len(run.events_of(TreeKilled)) == 1
    assert run.left() == []


@pytest.mark.parametrize("victims", [("inner",), ("guard",), ("inner", "guard")])
def test_after_kill_of_an_agent_its_tree_is_gone_and_the_run_goes_on(
    launch: Callable[..., Launched], victims: tuple[str, ...]
) -> None:
    run = launch(*python(DOUBLE_FORK, "600"))
    until(lambda: run.log().count("of 2") == 2)
    first = {event.pid for event in run.events_of(RankStarted)}
    before = set(run.left())
    pids = {"inner": run.inner("node-1"), "guard": run.guards()["node-1"]}
    for victim in victims:
        os.kill(pids[victim], signal.SIGKILL)
    until(lambda: len(run.events_of(AttemptStarted)) == 2, timeout_s=10.0)
    survivors = set(run.left()) & before
    assert not survivors & first, "ranks of the first attempt live on"
    assert len(survivors) == 2, "only the guard and agent of the other node stay"
    assert [lost.node for lost in run.events_of(NodeLost)] == ["node-1"]
    until(lambda: run.log(1).count("of 2") == 2)
    run.lead.send_signal(signal.SIGTERM)
    assert run.end().state == "CANCELLED"
    assert run.left() == []


def test_agents_that_come_up_after_others_took_their_place_are_sent_away(
    launch: Callable[..., Launched], tmp_path: Path
) -> None:
    """The first step of a batch system fails, as far as the lead can see, and is only late."""
    calls = tmp_path / "calls"
    calls.mkdir()
    done = tmp_path / "done"
    run = launch(
        *python(f"import os, time\nwhile not os.path.exists({str(done)!r}): time.sleep(0.1)"),
        agents_by=(*python(LATE_STEP), str(calls), "{nodes}", "{host}", "{port}", "{start}"),
    )

    def come_up(start: int) -> list[subprocess.Popen[bytes]]:
        until(lambda: (calls / str(start)).exists())
        nodes, *words = (calls / str(start)).read_text().split()
        guard = (sys.executable, "-m", "headrace.launch.guard", str(run.run.root))
        return [subprocess.Popen([*guard, node, *words]) for node in nodes.split(",")]

    present = come_up(2) + come_up(3)
    until(lambda: len(run.events_of(RankStarted)) == 2)
    ranks = [event.pid for event in run.events_of(RankStarted)]
    late = come_up(1)
    assert [agent.wait(30.0) for agent in late] == [0, 0]
    assert all(os.path.exists(f"/proc/{pid}") for pid in ranks)
    done.touch()
    until(lambda: run.events_of(AttemptEnded))
    (calls / "over").touch()
    assert run.end().state == "COMPLETED"
    assert [agent.wait(30.0) for agent in present] == [0, 0]
    assert len(run.events_of(AttemptStarted)) == 1
    assert len(run.events_of(RankStarted)) == 2


@pytest.mark.slow
def test_agents_that_stand_still_for_a_while_on_hosts_that_live_are_not_lost(
    launch: Callable[..., Launched],
) -> None:
    """As when their file system does, or when they are suspended and wake up after the lead."""
    run = launch(*python(DOUBLE_FORK, "5"))
    until(lambda: run.log().count("of 2") == 2)
    stopped = run.left()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(35.0)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert run.end().state == "COMPLETED"
    assert len(run.events_of(AttemptStarted)) == 1


def test_after_kill_of_the_lead_everything_is_gone_within_10_s(
    launch: Callable[..., Launched],
) -> None:
    run = launch(*python(DOUBLE_FORK, "600"))
    until(lambda: run.log().count("of 2") == 2)
    run.lead.kill()
    until(lambda: run.left() == [], timeout_s=10.0)
    assert run.events_of(Ended) == []


def test_a_stop_request_names_the_reason_and_silent_ranks_get_sigterm(
    launch: Callable[..., Launched],
) -> None:
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('asked to leave'), sys.exit(0)))\n"
        "print('ready'); time.sleep(600)"
    )
    run = launch(*python(text))
    until(lambda: run.log().count("ready") == 2)
    write_record(run.run.stop, StopRequest(reason="preempt", by="test"))
    run.lead.send_signal(signal.SIGTERM)
    assert run.end().state == "PREEMPTED"
    assert run.log().count("asked to leave") == 2


def test_ranks_that_ignore_sigterm_are_killed_after_the_kill_wait(
    launch: Callable[..., Launched],
) -> None:
    text = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(600)"
    )
    run = launch(*python(text), time_limit_s=1.5)
    assert run.end() == Ended(state="TIMEOUT", exit_code=124, detail="stopped (time)")
    assert run.left() == []


def test_a_run_whose_time_limit_was_put_off_goes_on(launch: Callable[..., Launched]) -> None:
    more = ("sh", "-c", "echo $(($(date +%s) + 60))")
    run = launch(*python("import time; time.sleep(4)"), time_limit_s=3.0, limit_by=more)
    assert run.end().state == "COMPLETED"
    assert len(run.events_of(LimitMoved)) == 1


def test_setup_runs_once_a_node_before_the_ranks_and_its_failure_is_the_runs(
    launch: Callable[..., Launched],
) -> None:
    run = launch(*python("print('rank')"), setup="echo set up")
    assert run.end().state == "COMPLETED"
    assert run.log().splitlines() == ["-1 o set up", "0 o rank", "-1 o set up", "1 o rank"]
    run = launch(*python("print('rank')"), setup="exit 3", restart=RestartPolicy())
    ended = run.end()
    assert (ended.state, ended.exit_code) == ("FAILED", 3)
    assert "rank" not in run.log()


def test_more_memory_than_asked_for_ends_the_run(launch: Callable[..., Launched]) -> None:
    placed = (Placed(node="n", address="127.0.0.1", cpus=(0,), memory_bytes=64 << 20),)
    text = "import time; data = bytearray(256 << 20); time.sleep(600)"
    run = launch(*python(text), placed=placed)
    assert run.end().state == "OUT_OF_MEMORY"


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group of memory, of version 1 or 2."""
    top = Path("/sys/fs/cgroup")
    group = (top / "memory" if (top / "memory").exists() else top) / f"headrace-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("may make no control group")
    yield group
    until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_a_rank_that_the_kernel_kills_for_want_of_memory_ends_the_run_for_that(
    launch: Callable[..., Launched], memory_group: Path
) -> None:
    limits = [memory_group / name for name in ("memory.limit_in_bytes", "memory.max")]
    limit = next((file for file in limits if file.exists()), None)
    if limit is None:
        pytest.skip("control groups do not limit memory here")
    home = parse_membership(Path("/proc/self/cgroup").read_text())
    before = home["memory"] if "memory" in home else home[""]
    (memory_group / "cgroup.procs").write_text("0")
    try:
        run = launch(*python("held = b'x' * (1 << 30)"), restart=RestartPolicy(on=()))
    finally:
        Path(f"{memory_group.parent}{before}", "cgroup.procs").write_text("0")
    limit.write_text(str(300 << 20))
    ended = run.end()
    assert ended.state == "OUT_OF_MEMORY"
    assert "the kernel killed rank" in ended.detail


def test_a_lead_whose_last_word_finds_no_room_waits_for_some(
    launch: Callable[..., Launched],
) -> None:
    run = launch(*python(DOUBLE_FORK, "2"))
    until(lambda: run.log().count("of 2") == 2)
    written = run.run.events / "lead.jsonl"
    _, most = resource.prlimit(run.lead.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(run.lead.pid, resource.RLIMIT_FSIZE, (written.stat().st_size + 20, most))
    until(lambda: not run.left())
    assert run.lead.poll() is None
    resource.prlimit(run.lead.pid, resource.RLIMIT_FSIZE, (most, most))
    assert run.end().state == "COMPLETED"


def test_event_files_have_no_gaps(launch: Callable[..., Launched]) -> None:
    run = launch(*python("pass"))
    run.end()
    for path in run.run.events.glob("*.jsonl"):
        assert [entry.seq for entry in read_events(path)] == list(
            range(len(path.read_bytes().splitlines()))
        )
