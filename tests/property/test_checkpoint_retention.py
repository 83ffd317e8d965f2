"""The promises of ``headrace.checkpoint.retention``."""

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.checkpoint.retention import METRICS, Best, Keep, Known, best_step, to_delete

values = st.none() | st.floats(-10, 10)
histories = st.dictionaries(st.integers(0, 200), st.builds(Known, st.booleans(), values))
modes: st.SearchStrategy[Literal["min", "max"]] = st.sampled_from(["min", "max"])
keeps = st.builds(
    Keep,
    last=st.integers(-1, 6),
    every=st.none() | st.integers(1, 50),
    best=st.none() | st.builds(Best, st.just("loss"), modes),
)


@given(histories, st.integers(0, 200), keeps)
def test_the_newest_verified_ones_always_stay(
    known: dict[int, Known], saved: int, keep: Keep
) -> None:
    deleted = to_delete(known, keep, saved=saved)
    whole = sorted(step for step, one in known.items() if one.verified and step <= saved)
    assert not set(deleted) & set(whole[-max(1, keep.last) :])


@given(histories, keeps.filter(lambda keep: keep.last > 0))
def test_only_old_ones_that_are_not_to_be_kept_go(known: dict[int, Known], keep: Keep) -> None:
    saved = max(known, default=0)
    deleted = to_delete(known, keep, saved=saved)
    assert deleted == tuple(sorted(deleted))
    best = best_step(known, keep, saved=saved)
    for step in known:
        newer = sum(one.verified for other, one in known.items() if other > step)
        kept = step == best or (keep.every is not None and step % keep.every == 0)
        assert (step in deleted) == (newer >= keep.last and not kept)


@given(histories, st.integers(0, 200), keeps)
def test_steps_beyond_the_one_saved_are_neither_counted_nor_deleted(
    known: dict[int, Known], saved: int, keep: Keep
) -> None:
    behind = {step: one for step, one in known.items() if step <= saved}
    assert to_delete(known, keep, saved=saved) == to_delete(behind, keep, saved=saved)


@given(histories, st.integers(0, 200), modes)
def test_no_verified_one_is_better_than_the_best(
    known: dict[int, Known], saved: int, mode: Literal["min", "max"]
) -> None:
    keep = Keep(last=1, best=Best("loss", mode))
    best = best_step(known, keep, saved=saved)
    values = [
        one.value
        for step, one in known.items()
        if one.verified and one.value is not None and step <= saved
    ]
    assert (best is None) == (not values)
    if best is not None:
        assert best not in to_delete(known, keep, saved=saved)
        assert known[best].value == (max(values) if mode == "max" else min(values))


@given(st.lists(st.tuples(st.booleans(), values), min_size=1, max_size=30), keeps)
def test_over_a_whole_run_the_best_of_all_that_were_saved_is_still_there(
    saves: list[tuple[bool, float | None]], keep: Keep
) -> None:
    known: dict[int, Known] = {}
    ever: dict[int, Known] = {}
    for step, (verified, value) in enumerate(saves):
        known[step] = ever[step] = Known(verified, value)
        for old in to_delete(known, keep, saved=step):
            del known[old]
        assert best_step(known, keep, saved=step) == best_step(ever, keep, saved=step)
        newest = max((s for s, one in ever.items() if one.verified), default=None)
        assert newest is None or newest in known


def test_a_damaged_one_does_not_push_out_the_last_whole_one() -> None:
    good, bad = Known(True), Known(False)
    assert to_delete({90: good, 100: bad, 110: bad}, Keep(last=1), saved=110) == ()
    assert to_delete({90: good, 100: bad, 110: good}, Keep(last=1), saved=110) == (90, 100)


@pytest.mark.parametrize(
    ("state", "value"),
    [
        ({METRICS: {"loss": 1.5}}, 1.5),
        ({METRICS: {"loss": 2}}, 2.0),
        ({METRICS: {"loss": True}}, None),
        ({METRICS: {"loss": math.nan}}, None),
        ({METRICS: {"loss": {"$float": "inf"}}}, None),
        ({METRICS: {"other": 1.0}}, None),
        ({METRICS: 3}, None),
        ({}, None),
    ],
)
def test_only_a_finite_number_is_a_value(state: dict[str, object], value: float | None) -> None:
    assert Best("loss").value(state) == value
