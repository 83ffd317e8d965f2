"""What follows when a lead in a Slurm job has gone."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.engines.slurm.test_seeing import ASKED

from headrace.core.errors import EXIT_NODE_LOST
from headrace.core.events import Ended, Entry, Event, LeadStarted, Requeued, StopAsked
from headrace.core.order import StopRequest
from headrace.core.records import replace, write_record
from headrace.core.rundir import RunDir
from headrace.core.states import State
from headrace.engines.contract import AttemptRow
from headrace.engines.local.history import History
from headrace.engines.slurm import settle
from headrace.engines.slurm.errors import SlurmRefused, SlurmUnreachable
from headrace.engines.slurm.folders import forget_stop
from headrace.engines.slurm.progress import Progress
from headrace.engines.slurm.settle import decide, why_stopped

PREEMPTED = Ended(state="PREEMPTED", exit_code=130, detail="stopped (preempt)")
SO_FAR = Progress()
LEFT = History(state=State.RUNNING, begun=True, lead_end=PREEMPTED)


def test_a_run_that_ended_by_itself_ends_its_job() -> None:
    done = History(state=State.COMPLETED, exit_code=0)
    assert decide(ASKED, done, "RUNNING", None, None, SO_FAR) is None


def test_a_run_that_completed_is_over_though_its_lead_left_no_last_word() -> None:
    row = AttemptRow(
        number=0,
        world_size=1,
        nodes=("n1",),
        started_s=9.0,
        ended_s=10.0,
        outcome="completed",
        detail="all ranks ended well",
        step=None,
    )
    mute = History(state=State.RUNNING, placed_s=8.0, begun=True, attempts=(row,))
    event = decide(ASKED, mute, "RUNNING", None, None, SO_FAR)
    detail = "all ranks ended well; its lead left no last word"
    assert event == Ended(state=State.COMPLETED, exit_code=0, detail=detail)
    later = replace(mute, placed_s=11.0)  # its user had it queued again, and it has not begun
    assert isinstance(decide(ASKED, later, "RUNNING", None, None, SO_FAR), Requeued)


def test_a_preempted_run_is_queued_again() -> None:
    event = decide(ASKED, LEFT, "RUNNING", "preempt", None, SO_FAR)
    assert event == Requeued(reason="preempt", detail="stopped (preempt)")


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PREEMPTED", "TIMEOUT", "PENDING"])
def test_a_job_that_slurm_has_begun_to_end_is_left_to_slurm(state: str) -> None:
    assert decide(ASKED, LEFT, state, "preempt", None, SO_FAR) is None


def test_a_user_who_asked_for_a_requeue_is_named() -> None:
    stop = StopRequest(reason="requeue", by="ada")
    event = decide(ASKED, LEFT, "RUNNING", "requeue", stop, SO_FAR)
    assert event == Requeued(reason="requeue", detail="stopped (requeue) by ada")


@pytest.mark.parametrize("lead_end", [PREEMPTED, None])
def test_a_user_who_asked_for_a_requeue_gets_it_whatever_restart_on_names(
    lead_end: Ended | None,
) -> None:
    stop = StopRequest(reason="requeue", by="ada")
    asked = replace(ASKED, restart_on=(), restarts_max=0)
    left = replace(LEFT, lead_end=lead_end)
    event = decide(asked, left, "RUNNING", "requeue", stop, SO_FAR)
    assert event == Requeued(reason="requeue", detail="stopped (requeue) by ada")


def test_the_time_limit_queues_again_only_where_the_job_file_says_so() -> None:
    asked = replace(ASKED, restart_on=("time",))
    event = decide(asked, LEFT, "RUNNING", "time", None, SO_FAR)
    assert event == Requeued(reason="time", detail="stopped (time)")
    told = decide(
        replace(ASKED, restart_on=("node",)), LEFT, "RUNNING", "preempt", None, Progress()
    )
    assert isinstance(told, Ended)


@pytest.mark.parametrize(
    "history",
    [
        History(state=State.RUNNING, begun=True),
        replace(LEFT, lead_end=replace(PREEMPTED, exit_code=EXIT_NODE_LOST)),
    ],
)
def test_a_lead_that_died_or_lost_its_place_uses_up_a_restart(history: History) -> None:
    assert isinstance(decide(ASKED, history, "RUNNING", None, None, SO_FAR), Requeued)
    last = decide(
        replace(ASKED, restart_on=("preempt",)), history, "RUNNING", None, None, Progress()
    )
    assert isinstance(last, Ended)
    assert last.state == "NODE_FAIL"


def attempts(count: int) -> tuple[AttemptRow, ...]:
    return tuple(
        AttemptRow(
            number=number,
            world_size=2,
            nodes=("n1",),
            started_s=0.0,
            ended_s=1.0,
            outcome="stopped",
            detail="",
            step=None,
        )
        for number in range(count)
    )


def test_a_run_that_reaches_the_time_limit_at_the_same_step_again_and_again_is_given_up() -> None:
    asked = replace(ASKED, restart_on=("time",), restarts_max=1)
    long = replace(LEFT, attempts=attempts(40))
    going = decide(asked, long, "RUNNING", "time", None, Progress(furthest=4_000, vain=2))
    assert isinstance(going, Requeued)
    event = decide(asked, long, "RUNNING", "time", None, Progress(furthest=7, vain=3))
    assert isinstance(event, Ended)
    assert (event.state, event.exit_code) == ("TIMEOUT", 124)
    assert event.detail == "stopped (time); 3 attempts in a row got no further than step 7"


def test_a_program_that_tells_no_step_reaches_its_time_limit_as_often_as_it_may_restart() -> None:
    asked = replace(ASKED, restart_on=("time",), restarts_max=2)
    kinds = [
        type(decide(asked, replace(LEFT, attempts=attempts(n)), "RUNNING", "time", None, SO_FAR))
        for n in (1, 2, 3)
    ]
    assert kinds == [Requeued, Requeued, Ended]


def test_a_run_that_loses_its_nodes_at_the_same_step_again_and_again_is_given_up() -> None:
    lost = replace(LEFT, lead_end=replace(PREEMPTED, exit_code=EXIT_NODE_LOST, detail="n2 died"))
    event = decide(ASKED, lost, "RUNNING", None, None, Progress(furthest=7, vain=3))
    assert isinstance(event, Ended)
    assert event.state == "NODE_FAIL"
    assert event.detail == "n2 died; 3 attempts in a row got no further than step 7"


@pytest.mark.parametrize("why", ["requeue", "preempt", "time", None])
def test_who_cancels_a_run_that_is_on_its_way_back_to_the_queue_has_cancelled_it(
    why: str | None,
) -> None:
    stop = StopRequest(reason="cancel", by="ada")
    asked = replace(ASKED, restart_on=("time", "preempt"))
    event = decide(asked, LEFT, "RUNNING", why, stop, SO_FAR)
    assert event == Ended(state="CANCELLED", exit_code=130, detail="cancelled by ada")


class Slurmctld:
    """Says the words one after the other to ``scontrol requeue``; an empty one agrees."""

    def __init__(self, *words: str, job: str = "JobState=RUNNING Restarts=0") -> None:
        self.words = list(words)
        self.job = job
        self.asked: list[str] = []

    def __call__(self, argv: Sequence[str]) -> str:
        self.asked.append(argv[1])
        if "show" in argv:
            return f"JobId=1 {self.job}"
        said = self.words.pop(0)
        if "timed out" in said:
            raise SlurmUnreachable(argv, said)
        if said:
            raise SlurmRefused(argv, said)
        return ""

    def requeue(self, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> Ended | None:
        monkeypatch.setattr(settle, "call", self)
        monkeypatch.setattr(settle, "_PAUSE_S", 0.0)
        return settle.requeue(run, "1", {}, None, attempt=0)


LATE, REFUSED = "Socket timed out on send/recv operation", "Access/permission denied"


@pytest.mark.parametrize(
    "slurmctld",
    [
        Slurmctld(""),
        Slurmctld(*[LATE] * 20, ""),
        Slurmctld(LATE, "Job is pending execution for job 1"),
        Slurmctld(LATE, job="JobState=COMPLETING Restarts=0"),
        Slurmctld(LATE, job="JobState=PENDING Restarts=0"),
        Slurmctld(LATE, job="JobState=RUNNING Restarts=1"),
    ],
)
def test_a_requeue_that_slurm_took_is_none_that_failed_however_late_it_says_so(
    slurmctld: Slurmctld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slurmctld.requeue(RunDir(tmp_path), monkeypatch) is None
    assert slurmctld.words == []


def test_a_requeue_that_slurm_refuses_again_and_again_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Slurmctld(*[REFUSED] * 5).requeue(RunDir(tmp_path), monkeypatch)
    assert end is not None
    assert (end.state, REFUSED in end.detail) == ("FAILED", True)


def test_a_cancel_that_comes_before_slurm_has_agreed_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path)
    write_record(run.stop, StopRequest(reason="cancel", by="ada"))
    slurmctld = Slurmctld("")
    end = slurmctld.requeue(run, monkeypatch)
    assert end is not None
    assert (end.state, slurmctld.asked) == ("CANCELLED", [])


@pytest.mark.parametrize(("reason", "stands"), [("cancel", True), ("requeue", False)])
def test_only_a_cancel_outlives_the_place_that_it_was_asked_of(
    reason: str, stands: bool, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    write_record(run.stop, StopRequest(reason=reason, by="ada"))
    forget_stop(run)
    assert run.stop.exists() == stands


def test_a_stop_that_is_newer_than_the_place_is_meant_for_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_record(run.stop, StopRequest(reason="requeue", by="ada"))
    asked_s = run.stop.stat().st_mtime
    forget_stop(run, before_s=asked_s - 1)
    assert run.stop.exists()
    forget_stop(run, before_s=asked_s + 1)
    assert not run.stop.exists()


def test_who_asked_for_a_requeue_before_the_lead_could_hear_is_named_too() -> None:
    stop = StopRequest(reason="requeue", by="ada")
    event = decide(ASKED, LEFT, "RUNNING", None, stop, SO_FAR)
    assert event == Requeued(reason="requeue", detail="stopped (requeue) by ada")


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(("restarts_max", "places"), [(0, 1), (1, 2), (10, 3)])
def test_a_run_in_whose_places_no_attempt_ever_begins_is_given_up(
    begun: bool, restarts_max: int, places: int
) -> None:
    asked = replace(ASKED, restarts_max=restarts_max)
    kinds = []
    for vain in range(places):
        history = History(state=State.RUNNING, begun=begun, vain_places=vain)
        kinds.append(decide(asked, history, "RUNNING", None, None, SO_FAR))
    assert [type(kind) for kind in kinds] == [Requeued] * (places - 1) + [Ended]
    assert isinstance(kinds[-1], Ended)
    assert kinds[-1].state == "NODE_FAIL"


def test_a_stop_of_an_earlier_lead_explains_nothing_of_this_one() -> None:
    started = LeadStarted(pid=1, start_ticks=1, boot_id="b")
    asked = StopAsked(reason="time", deadline_s=1.0)
    words: list[Event] = [started, asked, started]
    lead = [Entry(seq=n, attempt=0, time_s=0.0, event=event) for n, event in enumerate(words)]
    assert why_stopped(lead[:2]) == "time"
    assert why_stopped(lead) is None
