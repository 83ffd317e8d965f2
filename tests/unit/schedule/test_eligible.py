"""``headrace.schedule.eligible``: what keeps a run from being considered at all."""

import pytest

from headrace.core.records import replace
from headrace.core.states import State
from headrace.schedule.eligible import why_later
from headrace.schedule.queue import After, Queued
from headrace.schedule.reason import Dependency, Hopeless, NotBefore, OnHold
from headrace.schedule.request import Request

JOB = Queued(id="j", request=Request(), submitted_s=0.0)


def after(condition: str, state: State | None) -> Queued:
    return replace(JOB, after=(After(run_id="a", condition=condition, state=state),))


def test_a_plain_run_is_eligible() -> None:
    assert why_later(JOB, 0.0, {}) is None


def test_a_held_run_waits_for_release() -> None:
    assert why_later(replace(JOB, held=True), 0.0, {}) == OnHold()


def test_a_run_with_a_begin_time_waits_for_it() -> None:
    job = replace(JOB, begin_s=60.0)
    assert why_later(job, 59.9, {}) == NotBefore(begin_s=60.0)
    assert why_later(job, 60.0, {}) is None


@pytest.mark.parametrize("condition", ["ok", "notok", "any"])
@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.PREEMPTED])
def test_a_dependency_on_what_has_not_ended_waits(condition: str, state: State) -> None:
    assert why_later(after(condition, state), 0.0, {}) == Dependency(waits_for=("a",))


@pytest.mark.parametrize(
    ("condition", "state", "eligible"),
    [
        ("ok", State.COMPLETED, True),
        ("ok", State.FAILED, False),
        ("ok", None, False),
        ("notok", State.COMPLETED, False),
        ("notok", State.TIMEOUT, True),
        ("notok", None, True),
        ("any", State.COMPLETED, True),
        ("any", State.CANCELLED, True),
        ("any", None, True),
    ],
)
def test_a_dependency_on_what_has_ended(
    condition: str, state: State | None, eligible: bool
) -> None:
    reason = why_later(after(condition, state), 0.0, {})
    assert (reason is None) is eligible
    assert eligible or isinstance(reason, Hopeless)


def test_what_has_ended_since_counts() -> None:
    job = after("ok", State.RUNNING)
    assert why_later(job, 0.0, {"a": State.COMPLETED}) is None
    assert isinstance(why_later(job, 0.0, {"a": State.FAILED}), Hopeless)
