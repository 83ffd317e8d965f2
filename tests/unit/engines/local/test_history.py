"""What became of a run, from what engine and leads wrote; and what follows when a lead is gone."""

from collections.abc import Sequence

import pytest

from headrace.core import events
from headrace.core.events import Ended, Entry, Event, Placed, Requeued
from headrace.core.process import Process
from headrace.engines.local.history import History, fold
from headrace.engines.local.settle import verdict
from headrace.engines.local.submission import Submission
from headrace.schedule.request import Request

PLACE = (Placed(node="box", address="127.0.0.1", cpus=(0,)),)
SUBMITTED = events.Submitted(run_id="a-1", user="ada", token="t")
STARTED = events.Started(placed=PLACE)
COMPLETED = Ended(state="COMPLETED", exit_code=0, detail="all ranks ended well")
PREEMPTED = Ended(state="PREEMPTED", exit_code=1, detail="stopped (preempt)")


def entries(*told: Event, begin_s: float = 0.0) -> list[Entry]:
    """One a second."""
    return [
        Entry(seq=seq, attempt=0, time_s=begin_s + seq, event=event)
        for seq, event in enumerate(told)
    ]


def process(pid: int) -> Process:
    return Process(boot_id="b", pid=pid, start_ticks=pid)


def led(pid: int) -> events.LeadStarted:
    return events.LeadStarted(pid=pid, start_ticks=pid, boot_id="b")


def history(
    engine: Sequence[Event], lead: Sequence[Event] = (), present: int | None = None
) -> History:
    who = None if present is None else process(present)
    return fold(entries(*engine), entries(*lead, begin_s=100.0), who)


def test_a_run_waits_until_the_engine_has_started_it() -> None:
    assert history([SUBMITTED]).state == "PENDING"
    started = history([SUBMITTED, STARTED])
    assert (started.state, started.placed, started.begun) == ("RUNNING", PLACE, False)


def test_the_present_leads_end_is_the_runs_without_a_word_of_the_engine() -> None:
    found = history([SUBMITTED, STARTED], [led(5), COMPLETED], present=5)
    assert (found.state, found.exit_code, found.ended_s) == ("COMPLETED", 0, 101.0)
    assert found.detail == "all ranks ended well"


def test_an_earlier_leads_end_says_nothing_about_the_present() -> None:
    engine: list[Event] = [
        SUBMITTED,
        STARTED,
        Requeued(reason="node", detail="the lead died"),
        STARTED,
    ]
    found = history(engine, [led(5), COMPLETED, led(6)], present=6)
    assert (found.state, found.begun, found.lead_end) == ("RUNNING", True, None)
    assert history(engine, [led(5), COMPLETED], present=6).begun is False


def test_a_lead_with_the_same_pid_but_another_start_is_another_lead() -> None:
    other = events.LeadStarted(pid=5, start_ticks=4, boot_id="b")
    assert history([SUBMITTED, STARTED], [other, COMPLETED], present=5).state == "RUNNING"


def test_places_that_were_lost_before_an_attempt_began_are_counted_until_one_begins() -> None:
    lost = Requeued(reason="node", detail="the lead died")
    begun = events.AttemptStarted(world_size=1, nodes=("box",), master="box:1")
    twice: list[Event] = [SUBMITTED, STARTED, lost, STARTED, lost, STARTED]
    found = history(twice)
    assert (found.vain_places, found.unstarted, found.restarts_used) == (2, 3, 2)
    found = history(twice, [led(5), begun], present=5)
    assert (found.vain_places, found.unstarted, found.restarts_used) == (0, 0, 1)
    willing = Requeued(reason="preempt", detail="")
    assert history([SUBMITTED, STARTED, willing, STARTED]).vain_places == 0


def test_hold_and_release_the_last_one_counts() -> None:
    held, released = events.Held(by="ada"), events.Released(by="ada")
    assert history([SUBMITTED, held]).held
    assert not history([SUBMITTED, held, released]).held


def test_time_limits_count_what_earlier_leads_used_and_not_the_open_stretch() -> None:
    engine: list[Event] = [
        SUBMITTED,
        STARTED,
        Requeued(reason="node", detail="the lead died"),
        STARTED,
    ]
    attempt = events.AttemptStarted(world_size=1, nodes=("box",), master="m")
    found = history(engine, [led(5), attempt, led(6), attempt], present=6)
    assert found.lead_time_s == 1.0


def asked(*, on: tuple[str, ...] = ("node", "preempt"), restarts_max: int = 2) -> Submission:
    return Submission(
        host="box",
        run_id="a-1",
        number=1,
        name="a",
        user="ada",
        token="t",
        submitted_s=0.0,
        priority=0,
        request=Request(),
        restarts_max=restarts_max,
        restart_on=on,
    )


def test_an_end_that_the_lead_wrote_stands() -> None:
    ended = history([SUBMITTED, STARTED], [led(5), COMPLETED], present=5)
    assert verdict(asked(), ended, lead_error=None) is None


def test_a_preempted_run_goes_back_to_the_queue_if_its_policy_says_so() -> None:
    left = history([SUBMITTED, STARTED], [led(5), PREEMPTED], present=5)
    assert isinstance(verdict(asked(), left, lead_error=None), Requeued)
    ended = verdict(asked(on=("node",)), left, lead_error=None)
    assert isinstance(ended, Ended)
    assert ended.detail == "stopped (preempt); restart.on does not name preempt"


def test_a_cancelled_run_is_never_queued_again() -> None:
    engine: list[Event] = [SUBMITTED, STARTED, events.CancelAsked(by="ada")]
    leads: list[list[Event]] = [[], [led(5)], [led(5), PREEMPTED]]
    for lead in leads:
        ended = verdict(asked(), history(engine, lead, present=5), lead_error=None)
        assert isinstance(ended, Ended)
        assert (ended.state, ended.detail) == ("CANCELLED", "cancelled by ada")


@pytest.mark.parametrize(("attempts", "again"), [(1, True), (2, True), (3, False)])
def test_a_lead_that_dies_is_replaced_while_restarts_are_left(attempts: int, again: bool) -> None:
    rows = [
        Entry(
            seq=seq + 1,
            attempt=seq,
            time_s=float(seq),
            event=events.AttemptStarted(world_size=1, nodes=("box",), master="m"),
        )
        for seq in range(attempts)
    ]
    first = Entry(seq=0, attempt=0, time_s=0.0, event=led(5))
    found = fold(entries(SUBMITTED, STARTED), [first, *rows], process(5))
    event = verdict(asked(restarts_max=2), found, lead_error=None)
    assert isinstance(event, Requeued) == again
    if isinstance(event, Ended):
        assert (event.state, event.detail) == (
            "NODE_FAIL",
            "the lead died; 2 of 2 restarts are used",
        )


def test_a_lead_that_never_began_is_tried_again_only_if_it_was_never_let_go() -> None:
    started = history([SUBMITTED, STARTED], present=5)
    assert isinstance(verdict(asked(), started, lead_error=None), Requeued)
    ended = verdict(asked(), started, lead_error="exit status 1, no room")
    assert isinstance(ended, Ended)
    assert ended.detail == "its lead did not start: exit status 1, no room"
