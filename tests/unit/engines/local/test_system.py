"""The ledger of a machine's daemon, in one process. Needs root, who is the user here, too."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.core.events import CancelAsked, Ended, Placed, Requeued
from headrace.core.order import Order, RestartPolicy, SessionSettings
from headrace.core.process import wait_readable
from headrace.core.states import State
from headrace.engines.local.groups import Groups
from headrace.engines.local.history import History
from headrace.engines.local.settle import verdict
from headrace.engines.local.store import Left, Live
from headrace.engines.local.submission import Element, Submission
from headrace.engines.local.system import Ledger
from headrace.schedule.request import Request

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes the run's user")
PLACE = (Placed(node="box", address="127.0.0.1", cpus=(0,)),)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def ledger_of(state: Path, clock: Clock, script: str = "sleep 60") -> Ledger:
    environ = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return Ledger(
        state,
        runs=str(state.parent / "{user}"),
        program=("/bin/sh", "-c", script, "lead"),
        environ=environ,
        groups=Groups("", "none"),
        now_s=clock,
    )


@pytest.fixture
def ledger(state: Path, clock: Clock) -> Iterator[Ledger]:
    made = ledger_of(state, clock)
    made.open(set())
    yield made
    made.close()


def submitted(ledger: Ledger, state: Path) -> Submission:
    asked = Submission(
        host="box",
        run_id="gpt-1",
        number=1,
        name="gpt",
        user="root",
        token="0" * 32,
        submitted_s=1.0,
        priority=0,
        request=Request(),
        restarts_max=3,
        restart_on=("node",),
        uid=0,
        runs=str(state.parent / "root"),
    )
    element = Element(submission=asked, job="name: gpt\n")
    ledger.add([element], {"SECRET": "hunter2"}, None)
    return asked


def order(limit_s: float | None) -> Order:
    return Order(
        run_id="gpt-1",
        name="gpt",
        attempt=0,
        placed=PLACE,
        ranks_per_node=1,
        cpus_per_rank=1,
        framework="none",
        command=("true",),
        workdir="/",
        env={},
        environment_file="/",
        session=SessionSettings(),
        setup=None,
        time_limit_s=limit_s,
        time_used_s=0.0,
        stop_grace_s=5.0,
        kill_wait_s=10.0,
        hang_s=None,
        restart=RestartPolicy(),
        restarts_used=0,
    )


def start(ledger: Ledger, asked: Submission, limit_s: float | None = None) -> Live:
    def make(history: History, attempt: int) -> Order:
        return order(limit_s)

    return ledger.start(asked, PLACE, make)


def left(ledger: Ledger, asked: Submission, live: Live | None) -> Left:
    """Wait until the lead, and who looks after it, are gone."""
    found: Left | Live | None = live
    while not isinstance(found, Left):
        if found is not None:
            assert wait_readable(found.pidfd, 20.0)
            os.close(found.pidfd)
        found = ledger.collect(asked, found)
    return found


def test_a_lead_that_outlives_its_time_limit_is_killed_and_the_run_timed_out(
    ledger: Ledger, state: Path, clock: Clock
) -> None:
    asked = submitted(ledger, state)
    live = start(ledger, asked, limit_s=100.0)
    due_s = ledger.overdue(clock.now_s)
    assert clock.now_s + 100 < due_s < clock.now_s + 300
    clock.now_s = due_s
    ledger.overdue(clock.now_s)
    found = left(ledger, asked, live)
    follows = verdict(asked, found.history, lead_error=found.lead_error)
    assert follows is None
    assert ledger.settle(asked, found, follows).state is State.TIMEOUT


def test_a_run_goes_on_under_the_next_daemon_and_is_known_by_the_kernels_word(
    ledger: Ledger, state: Path, clock: Clock
) -> None:
    asked = submitted(ledger, state)
    first = start(ledger, asked)
    assert first.lead is not None
    ledger.close()
    second = ledger_of(state, clock)
    ((known, history),) = second.open(set()).runs
    assert (known, history.state) == (asked, State.RUNNING)
    live = second.adopt(asked)
    assert live is not None
    assert live.lead == first.lead
    os.kill(first.lead.pid, 9)
    os.waitpid(first.lead.pid, 0)
    os.close(first.pidfd)
    found = left(second, asked, live)
    assert found.lead_error is None
    follows = verdict(asked, found.history, lead_error=found.lead_error)
    assert isinstance(follows, Requeued)
    second.close()


def test_a_secret_is_in_no_journal_and_gone_from_roots_folder_when_the_run_has_ended(
    ledger: Ledger, state: Path
) -> None:
    asked = submitted(ledger, state)
    copies = list((state / "environments").iterdir())
    assert len(copies) == 1
    assert copies[0].stat().st_mode & 0o077 == 0
    ledger.write(asked, CancelAsked(by="root"))
    ledger.write(asked, Ended(state="CANCELLED", exit_code=130, detail=""))
    assert list((state / "environments").iterdir()) == []
    assert "hunter2" not in (state / "journal").read_text()
