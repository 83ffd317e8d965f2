"""What follows when a lead in a Slurm job has gone."""

import pytest
from tests.unit.engines.slurm.test_seeing import ASKED

from headrace.core.errors import EXIT_NODE_LOST
from headrace.core.events import Ended, Requeued
from headrace.core.order import StopRequest
from headrace.core.records import replace
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.slurm.settle import decide

PREEMPTED = Ended(state="PREEMPTED", exit_code=130, detail="stopped (preempt)")
LEFT = History(state=State.RUNNING, begun=True, lead_end=PREEMPTED)


def test_a_run_that_ended_by_itself_ends_its_job() -> None:
    done = History(state=State.COMPLETED, exit_code=0)
    assert decide(ASKED, done, "RUNNING", None, None) is None


def test_a_preempted_run_is_queued_again() -> None:
    event = decide(ASKED, LEFT, "RUNNING", "preempt", None)
    assert event == Requeued(reason="preempt", detail="stopped (preempt)")


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PREEMPTED", "TIMEOUT", "PENDING"])
def test_a_job_that_slurm_has_begun_to_end_is_left_to_slurm(state: str) -> None:
    assert decide(ASKED, LEFT, state, "preempt", None) is None


def test_a_user_who_asked_for_a_requeue_is_named() -> None:
    stop = StopRequest(reason="requeue", by="ada")
    event = decide(ASKED, LEFT, "RUNNING", "requeue", stop)
    assert event == Requeued(reason="requeue", detail="stopped (requeue) by ada")


def test_the_time_limit_queues_again_only_where_the_job_file_says_so() -> None:
    asked = replace(ASKED, restart_on=("time",))
    event = decide(asked, LEFT, "RUNNING", "time", None)
    assert event == Requeued(reason="time", detail="stopped (time)")
    told = decide(replace(ASKED, restart_on=("node",)), LEFT, "RUNNING", "preempt", None)
    assert isinstance(told, Ended)


@pytest.mark.parametrize(
    "history",
    [
        History(state=State.RUNNING, begun=True),
        replace(LEFT, lead_end=replace(PREEMPTED, exit_code=EXIT_NODE_LOST)),
    ],
)
def test_a_lead_that_died_or_lost_its_place_uses_up_a_restart(history: History) -> None:
    assert isinstance(decide(ASKED, history, "RUNNING", None, None), Requeued)
    last = decide(replace(ASKED, restart_on=("preempt",)), history, "RUNNING", None, None)
    assert isinstance(last, Ended)
    assert last.state == "NODE_FAIL"
