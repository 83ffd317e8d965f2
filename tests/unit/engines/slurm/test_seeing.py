"""The state of a run from its files, the queue and accounting."""

from typing import Any

import pytest

from headrace.core.events import Ended
from headrace.core.order import StopRequest
from headrace.core.records import replace
from headrace.core.states import State
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission
from headrace.engines.slurm.jobs import SlurmJob
from headrace.engines.slurm.rows import AccountingRow, QueueRow
from headrace.engines.slurm.seeing import NEVER_HANDED, Queue, Seen, from_accounting, is_over, see
from headrace.schedule.request import Request

JOB = SlurmJob(job_id="4711", cluster="c", submitted_s=100.0)
ASKED = Submission(
    host="slurm:c",
    run_id="gpt-1",
    number=1,
    name="gpt",
    user="ada",
    token="t",
    submitted_s=100.0,
    priority=0,
    request=Request(),
    restarts_max=10,
    restart_on=("preempt", "node"),
)
CANCEL = StopRequest(reason="cancel", by="ada")


def row(state: str, reason: str = "None", **changes: Any) -> QueueRow:  # noqa: ANN401
    fields = {
        "job_id": "4711",
        "array_job_id": "4711",
        "elements": (),
        "state": state,
        "start_s": None,
        "end_s": None,
        "partition": "gpu",
        "priority": 1,
        "nodes": 1,
        "node_list": "",
        "name": "gpt",
        "reason": reason,
    }
    return QueueRow(**(fields | changes))


def seen(
    queued: QueueRow | None,
    *,
    history: History | None = None,
    job: SlurmJob | None = JOB,
    stop: StopRequest | None = None,
    asked_s: float = 200.0,
    now_s: float = 201.0,
    submits: bool | None = None,
) -> Seen:
    queue = Queue(asked_s=asked_s, row=queued)
    return see(ASKED, history or History(), job, queue, stop, now_s, submits=submits)


def test_the_leads_word_on_the_end_counts_before_slurms() -> None:
    done = History(state=State.FAILED, detail="rank 0 ended with exit code 3")
    assert seen(row("RUNNING"), history=done).reason == "rank 0 ended with exit code 3"


def test_a_waiting_run_says_why_in_words_and_keeps_slurms_word() -> None:
    found = seen(row("PENDING", "Resources"))
    assert found.state is State.PENDING
    assert found.reason == "first in line; waits for nodes to become free (Resources)"


def test_a_run_that_is_newer_than_the_queues_answer_is_not_lost() -> None:
    assert seen(None, asked_s=99.0).state is State.PENDING
    started = History(state=State.RUNNING, placed_s=199.5)
    assert seen(row("PENDING"), history=started, asked_s=199.0).state is State.RUNNING
    assert seen(None, history=started, asked_s=199.0).state is State.RUNNING
    assert seen(None, history=started, asked_s=50.0).state is State.RUNNING


def test_a_run_that_was_queued_again_by_slurm_waits_whatever_its_last_lead_said() -> None:
    was = History(state=State.RUNNING, placed_s=150.0)
    assert seen(row("PENDING", "BeginTime"), history=was).state is State.PENDING


def test_a_job_that_has_gone_after_a_cancel_is_cancelled() -> None:
    found = seen(None, stop=CANCEL)
    assert found.end == Ended(state="CANCELLED", exit_code=130, detail="cancelled by ada")


def test_a_job_whose_script_died_of_the_cancel_before_it_could_hear_it_is_cancelled() -> None:
    assert seen(row("FAILED", end_s=140.0), stop=CANCEL).state is State.CANCELLED
    assert seen(row("FAILED", end_s=200.5), stop=CANCEL).state is State.RUNNING
    assert seen(row("COMPLETED", end_s=140.0), stop=CANCEL).state is State.COMPLETED


def test_a_job_that_another_cluster_of_a_federation_took_has_not_ended() -> None:
    assert seen(row("REVOKED", end_s=1.0)).state is State.RUNNING


def test_a_job_that_has_gone_without_a_word_is_asked_for_and_then_unknown() -> None:
    found = seen(None)
    assert (found.state, found.ask, found.end) == (State.UNKNOWN, True, None)
    assert from_accounting(None, missed_s=3600.0).state is State.UNKNOWN


def test_a_job_that_accounting_does_not_know_yet_is_waited_for() -> None:
    found = from_accounting(None, missed_s=5.0)
    assert (found.state, found.end) == (State.RUNNING, None)
    assert "does not know it yet" in found.reason


@pytest.mark.parametrize(
    ("word", "code", "number", "state", "exit_code"),
    [
        ("COMPLETED", 0, 0, State.COMPLETED, 0),
        ("FAILED", 3, 0, State.FAILED, 3),
        ("FAILED", 0, 9, State.FAILED, 137),
        ("TIMEOUT", 0, 15, State.TIMEOUT, 124),
        ("OUT_OF_MEMORY", 0, 125, State.OUT_OF_MEMORY, 253),
        ("NODE_FAIL", 1, 0, State.NODE_FAIL, 1),
    ],
)
def test_accounting_has_the_last_word_where_there_is_no_other(
    word: str, code: int, number: int, state: State, exit_code: int
) -> None:
    told = AccountingRow(
        job_id="4711", state=word, exit_code=code, signal=number, start_s=1.0, end_s=2.0
    )
    found = from_accounting(told, missed_s=0.0)
    assert found.end is not None
    assert (found.state, found.end.exit_code) == (state, exit_code)


def test_an_end_that_slurm_has_just_seen_leaves_the_lead_time_to_say_its_word() -> None:
    """Also over NFS, which shows a file of another host up to a minute late."""
    assert seen(row("FAILED", end_s=142.0)).state is State.RUNNING
    settled = seen(row("FAILED", "NonZeroExitCode", end_s=140.0))
    assert settled.state is State.FAILED
    assert "its program ended with an error" in settled.reason


@pytest.mark.parametrize(
    ("submits", "seen_s", "state"),
    [
        (True, 100_000.0, State.PENDING),
        (False, 119.0, State.PENDING),
        (False, 121.0, State.FAILED),
        (None, 3_599.0, State.PENDING),
        (None, 3_601.0, State.FAILED),
    ],
)
def test_a_submission_was_cut_off_when_nobody_can_be_at_it_any_more(
    submits: bool | None, seen_s: float, state: State
) -> None:
    found = seen(None, job=None, now_s=100.0 + seen_s, submits=submits)
    assert found.state is state


def test_a_job_is_proof_that_it_was_handed_over() -> None:
    failed = History(state=State.FAILED, exit_code=1, detail="rank 0 ended with exit code 3")
    assert is_over(failed)
    cut_off = replace(failed, detail=NEVER_HANDED)
    assert not is_over(cut_off)
    assert seen(None, job=None, history=cut_off).state is State.FAILED
    assert seen(row("PENDING"), history=cut_off).state is State.PENDING
