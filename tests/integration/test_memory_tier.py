"""Restarts from the node's memory, and that nothing of it is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.launched import Launched

from headrace import data
from headrace.core.events import AttemptStarted, CheckpointFailed, Ended, Placed, Restored
from headrace.core.order import SessionSettings
from headrace.launch import memory

PROGRAM = Path(__file__).with_name("memory_program.py")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"line {n} of {n * n % 97}, the end.\n" for n in range(200)))
    data.pack_text([text], tmp_path / "text.tokens", window=16)
    return tmp_path / "text.tokens"


def launch(
    root: Path, corpus: Path, *, nodes: int = 1, ranks: int = 2, **session: object
) -> Launched:
    return Launched(
        root,
        (sys.executable, str(PROGRAM), str(corpus)),
        placed=tuple(Placed(node=f"n{n}", address="127.0.0.1", cpus=(0,)) for n in range(nodes)),
        ranks_per_node=ranks,
        session=SessionSettings(checkpoint_every_steps=2, **session),  # type: ignore[arg-type]
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def left(launched: Launched) -> list[Path]:
    home = memory.SHM / f"headrace-{os.geteuid()}"
    return list(home.glob(f"{launched.run.run_id}-*")) if home.exists() else []


def until(what: Callable[[], object], timeout_s: float = 90.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until_s, "it did not come"
        time.sleep(0.05)


def test_a_killed_rank_goes_on_from_memory_that_is_newer_than_the_disk(
    tmp_path: Path, corpus: Path
) -> None:
    launched = launch(tmp_path / "run-memory", corpus)
    assert launched.end(120).state == "COMPLETED", launched.log(0) + launched.log(1)
    restored = launched.events_of(Restored)
    assert [one.tier for one in restored] == ["memory", "memory"]
    assert restored[0].step == restored[1].step > 2
    failed = [one for one in launched.events_of(CheckpointFailed) if one.rank == 0]
    assert "Input/output error" in failed[0].detail
    assert left(launched) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "ranks", "session"), [(1, 2, {"checkpoint_memory": 0}), (2, 1, {})]
)
def test_where_memory_is_off_or_other_nodes_lack_it_the_disk_is_used(
    tmp_path: Path, corpus: Path, nodes: int, ranks: int, session: dict[str, object]
) -> None:
    launched = launch(tmp_path / "run-disk", corpus, nodes=nodes, ranks=ranks, **session)
    assert launched.end(120).state == "COMPLETED", launched.log(0) + launched.log(1)
    restored = launched.events_of(Restored)
    assert {(one.step, one.tier) for one in restored} == {(2, "disk")}
    assert left(launched) == []


@pytest.mark.slow
def test_after_everything_was_killed_the_next_lead_goes_on_from_memory(
    tmp_path: Path, corpus: Path
) -> None:
    launched = launch(tmp_path / "run-killed", corpus)
    until(lambda: len(launched.events_of(AttemptStarted)) == 2)
    for pid in (launched.lead.pid, *launched.left()):
        os.kill(pid, signal.SIGKILL)
    launched.lead.wait()
    until(lambda: not launched.left())
    assert len(left(launched)) == 1
    argv = [sys.executable, "-m", "headrace.launch.lead", str(launched.run.root)]
    environ = os.environ | {"HEADRACE_RUN_DIR": str(launched.run.root)}
    order = launched.run.order.read_text().replace('"attempt":0', '"attempt":2')
    launched.run.order.write_text(order)
    assert subprocess.run(argv, env=environ, timeout=120, check=False).returncode == 0
    assert launched.events_of(Ended)[-1].state == "COMPLETED"
    assert launched.events_of(Restored)[-1].tier == "memory"
    assert left(launched) == []


def test_what_a_killed_run_leaves_in_memory_is_removed_by_the_next_run(tmp_path: Path) -> None:
    program = "import os, time; open(os.environ['HEADRACE_MEMORY'] + '/f', 'w'); time.sleep(600)"
    launched = Launched(tmp_path / "run-lost", (sys.executable, "-c", program))
    until(lambda: all((folder / "f").exists() for folder in left(launched)) and left(launched))
    for pid in (launched.lead.pid, *launched.left()):
        os.kill(pid, signal.SIGKILL)
    launched.lead.wait()
    until(lambda: not launched.left())
    assert len(left(launched)) == 2
    other = Launched(tmp_path / "run-other", (sys.executable, "-c", "pass"))
    assert other.end().state == "COMPLETED"
    assert left(launched) == []
