"""The promises of ``headrace.checkpoint.retention``."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.checkpoint.retention import to_delete

histories = st.dictionaries(st.integers(0, 200), st.booleans())


@given(histories, st.integers(0, 200), st.integers(-1, 6), st.none() | st.integers(1, 50))
def test_the_newest_verified_ones_always_stay(
    verified: dict[int, bool], saved: int, keep: int, keep_every: int | None
) -> None:
    deleted = to_delete(verified, saved=saved, keep=keep, keep_every=keep_every)
    whole = sorted((step for step, good in verified.items() if good and step <= saved))
    assert not set(deleted) & set(whole[-max(1, keep) :])


@given(histories, st.integers(1, 6), st.integers(1, 50))
def test_only_old_ones_that_are_not_to_be_kept_forever_go(
    verified: dict[int, bool], keep: int, keep_every: int
) -> None:
    saved = max(verified, default=0)
    deleted = to_delete(verified, saved=saved, keep=keep, keep_every=keep_every)
    assert deleted == tuple(sorted(deleted))
    for step in verified:
        newer = sum(good for other, good in verified.items() if other > step)
        assert (step in deleted) == (newer >= keep and step % keep_every != 0)


@given(histories, st.integers(0, 200))
def test_steps_beyond_the_one_saved_are_neither_counted_nor_deleted(
    verified: dict[int, bool], saved: int
) -> None:
    behind = {step: good for step, good in verified.items() if step <= saved}
    assert to_delete(verified, saved=saved, keep=2) == to_delete(behind, saved=saved, keep=2)


def test_a_damaged_one_does_not_push_out_the_last_whole_one() -> None:
    assert to_delete({90: True, 100: False, 110: False}, saved=110, keep=1) == ()
    assert to_delete({90: True, 100: False, 110: True}, saved=110, keep=1) == (90, 100)
