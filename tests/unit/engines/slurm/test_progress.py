"""Whether the attempts of a run get anywhere."""

from headrace.core.events import AttemptEnded, AttemptStarted, Entry, Event, StopAsked
from headrace.engines.slurm.progress import Progress, progress


def attempt(outcome: str, step: int | None, *, asked: str | None = None) -> list[Event]:
    return [
        AttemptStarted(world_size=2, nodes=("n1", "n2"), master="n1:1"),
        *([StopAsked(reason=asked, deadline_s=1.0)] if asked else []),
        AttemptEnded(outcome=outcome, detail="", step=step, restart_in_s=None),
    ]


def of(*attempts: list[Event]) -> Progress:
    events = [event for one in attempts for event in one]
    return progress(
        Entry(seq=n, attempt=0, time_s=0.0, event=event) for n, event in enumerate(events)
    )


def test_nothing_has_happened_yet() -> None:
    assert of() == Progress(furthest=-1, vain=0)


def test_attempts_that_end_at_the_same_step_are_in_vain() -> None:
    again = attempt("error", 7)
    assert of(again) == Progress(furthest=7, vain=0)
    assert of(again, again, attempt("hang", 3)) == Progress(furthest=7, vain=2)


def test_one_that_gets_further_clears_the_account() -> None:
    assert of(*[attempt("error", 7)] * 3, attempt("node", 8)) == Progress(furthest=8, vain=0)


def test_who_is_told_to_leave_is_not_to_blame_unless_by_the_time_limit() -> None:
    first = attempt("error", 7)
    left = [attempt("stopped", 7, asked=why) for why in ("preempt", "requeue", "time")]
    assert of(first, *left) == Progress(furthest=7, vain=1)


def test_a_program_that_tells_no_step_is_to_blame_for_its_errors_alone() -> None:
    silent = [attempt("stopped", None, asked="time"), attempt("node", None), attempt("error", None)]
    assert of(*silent) == Progress(furthest=-1, vain=1)
