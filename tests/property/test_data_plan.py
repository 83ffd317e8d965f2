"""Which samples every step takes: the same at any world size, through every change and restart."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.records import encode, replace
from headrace.data.errors import StateMismatch
from headrace.data.mixture import consumed_at, draws_at, shares_of
from headrace.data.order import (
    WHOLE,
    Blocks,
    Indices,
    Sequential,
    derived_seed,
    rank_slice,
)
from headrace.data.plan import (
    MIXING,
    Asked,
    Identity,
    Plan,
    State,
    consumed_of_sources,
    decode_state,
    planned,
    positions_of,
    samples_at,
    total_steps,
)

WORLDS = (1, 2, 3, 4, 8)
seeds = st.integers(0, 2**63)
orders = st.one_of(
    st.just(WHOLE),
    st.just(Sequential()),
    st.builds(Blocks, block=st.integers(1, 20), window=st.integers(1, 4)),
)


@st.composite
def mixtures(draw: st.DrawFn, *, most_sources: int = 4) -> Asked:
    count = draw(st.integers(1, most_sources))
    share = st.lists(st.integers(0, 6), min_size=count, max_size=count).filter(any)
    steps = st.sets(st.integers(1, 12), max_size=3).map(lambda later: [0, *sorted(later)])
    return Asked(
        seed=draw(seeds),
        order=draw(orders),
        sources=tuple(
            Identity(length=draw(st.integers(1, 60)), fingerprint=f"source {number}")
            for number in range(count)
        ),
        sizes=tuple((step, draw(st.integers(1, 40))) for step in draw(steps)),
        shares=tuple((step, tuple(draw(share))) for step in draw(steps)),
    )


def step_of_all(plan: Plan, step: int, world: int) -> Indices:
    """What the ranks of a world take in one step, one after the other."""
    first, stop = positions_of(plan, step)
    slices = [rank_slice(stop - first, rank, world) for rank in range(world)]
    return np.concatenate(
        [samples_at(plan, np.arange(first + start, first + end)) for start, end in slices]
    )


def after(state: State, steps: int) -> State:
    step = state.step + steps
    consumed = state.consumed if steps == 0 else positions_of(state.plan, step - 1)[1]
    return replace(state, step=step, consumed=consumed)


@given(mixtures())
def test_every_world_size_takes_the_same_samples_in_the_same_order(asked: Asked) -> None:
    plan = planned(asked).plan
    for step in range(0, 15, 4):
        whole = samples_at(plan, np.arange(*positions_of(plan, step)))
        for world in WORLDS:
            assert np.array_equal(step_of_all(plan, step, world), whole)


@given(mixtures(), mixtures(), mixtures(), st.integers(0, 9), st.integers(0, 9))
def test_a_run_resized_in_mid_epoch_loses_nothing_and_repeats_nothing(
    first: Asked, second: Asked, third: Asked, steps: int, more: int
) -> None:
    """4 ranks, then 2, then 3, each time with another batch, other weights and perhaps more
    sources; the plan at the end knows what every step took."""
    taken: list[Indices] = []
    state = planned(first)
    for asked, world, count in ((first, 4, steps), (second, 2, more), (third, 3, 5)):
        known = state.plan.sources
        sources = known if len(asked.sources) <= len(known) else known + asked.sources[len(known) :]
        shares = tuple(
            (at, (share + (0,) * len(sources))[: len(sources)]) for at, share in asked.shares
        )
        asked = replace(asked, seed=first.seed, order=first.order, sources=sources, shares=shares)
        state = planned(asked, decode_state(json.loads(encode(state))))
        taken += [step_of_all(state.plan, state.step + n, world) for n in range(count)]
        state = after(state, count)
    for step, samples in enumerate(taken):
        assert np.array_equal(step_of_all(state.plan, step, 1), samples)
    whole = samples_at(state.plan, np.arange(state.consumed))
    assert np.array_equal(np.concatenate([np.empty(0, np.int64), *taken]), whole)
    assert_each_source_is_read_without_gap(state.plan, whole)


def assert_each_source_is_read_without_gap(plan: Plan, samples: Indices) -> None:
    """Epoch by epoch, each sample of the source once in each whole epoch."""
    offset = 0
    for source, consumed in zip(
        plan.sources, consumed_of_sources(plan, len(samples)), strict=False
    ):
        of_source = samples[(samples >= offset) & (samples < offset + source.length)] - offset
        assert len(of_source) == consumed
        for start in range(0, consumed, source.length):
            epoch = of_source[start : start + source.length]
            assert len(np.unique(epoch)) == len(epoch)
        offset += source.length


@given(mixtures(), st.integers(0, 500), st.integers(1, 100))
def test_a_source_is_consumed_in_its_own_order(asked: Asked, first: int, count: int) -> None:
    plan = planned(asked).plan
    seed = derived_seed(plan.seed, MIXING)
    draws = draws_at(plan.segments, seed, np.arange(first, first + count))
    before = consumed_at(plan.segments, seed, first)
    for number in range(len(plan.sources)):
        inner = draws.positions[draws.sources == number]
        assert inner.tolist() == list(range(before[number], before[number] + len(inner)))


@given(seeds, st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(any), st.integers(0, 9))
def test_every_period_has_exactly_its_shares(seed: int, shares: list[int], period: int) -> None:
    plan = planned(
        Asked(
            seed=seed,
            sources=(Identity(length=9, fingerprint=""),) * len(shares),
            sizes=((0, 1),),
            shares=((0, tuple(shares)),),
        )
    ).plan
    size = sum(shares)
    draws = draws_at(plan.segments, seed, np.arange(period * size, (period + 1) * size))
    assert np.bincount(draws.sources, minlength=len(shares)).tolist() == shares


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=20), st.sampled_from([10**3, 10**5]))
def test_shares_are_off_by_less_than_one(weights: list[float], period: int) -> None:
    try:
        shares = shares_of(weights, period)
    except ValueError:
        assert min(weights) / sum(weights) < 1 / period
        return
    assert sum(shares) == period
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - weight * period / sum(weights)) < 1


@pytest.mark.parametrize("weights", [[], [0.0], [1.0, -0.5], [float("nan")], [float("inf")]])
def test_weights_that_make_no_sense_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        shares_of(weights)


@pytest.mark.parametrize("period", [0, -1, 10**5 + 1])
def test_a_period_that_is_none_is_refused(period: int) -> None:
    with pytest.raises(ValueError, match="a period has 1 to 100000 samples"):
        shares_of([1.0], period)


@given(st.integers(1, 50), st.integers(1, 4), mixtures(most_sources=1), st.sampled_from(WORLDS))
def test_epochs_end_at_one_step_for_all_ranks_with_every_sample_once_each(
    length: int, epochs: int, asked: Asked, world: int
) -> None:
    source = Identity(length=length, fingerprint="")
    plan = planned(replace(asked, sources=(source,), shares=((0, (1,)),), epochs=epochs)).plan
    steps = total_steps(plan)
    assert steps is not None
    taken = [step_of_all(plan, step, world) for step in range(steps)]
    assert all(len(samples) for samples in taken)
    assert positions_of(plan, steps) == (length * epochs, length * epochs)
    whole = np.concatenate(taken)
    for epoch in range(epochs):
        assert np.array_equal(
            np.sort(whole[epoch * length : (epoch + 1) * length]), np.arange(length)
        )


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 20))
def test_epochs_may_be_added_behind_a_short_last_batch(length: int, size: int, then: int) -> None:
    asked = Asked(
        seed=1, sources=(Identity(length=length, fingerprint=""),), sizes=((0, size),), epochs=1
    )
    state = planned(asked)
    steps = total_steps(state.plan)
    assert steps is not None
    ended = after(state, steps)
    longer = planned(replace(asked, sizes=((0, then),), epochs=2), ended)
    more = total_steps(longer.plan)
    assert more is not None
    whole = np.concatenate([step_of_all(longer.plan, step, 1) for step in range(more)])
    assert len(whole) == 2 * length
    assert [positions_of(longer.plan, n) for n in range(steps)] == [
        positions_of(state.plan, n) for n in range(steps)
    ]


@given(mixtures(), st.integers(0, 20))
def test_a_state_is_the_same_after_a_trip_through_json(asked: Asked, steps: int) -> None:
    state = after(planned(asked), steps)
    assert decode_state(json.loads(encode(state))) == state


@given(mixtures(), st.integers(0, 20))
def test_asking_for_the_same_again_changes_nothing(asked: Asked, steps: int) -> None:
    state = after(planned(asked), steps)
    assert planned(asked, state) == state


STATE = planned(Asked(seed=7, sources=(Identity(length=9, fingerprint="abc"),), sizes=((0, 4),)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 8}, "seed"),
        ({"order": Sequential()}, "order"),
        ({"sources": (Identity(length=8, fingerprint="abc"),)}, "length"),
        ({"sources": (Identity(length=9, fingerprint="abd"),)}, "fingerprint"),
        ({"sources": ()}, "number of sources"),
    ],
)
def test_a_state_of_other_data_is_refused(change: dict[str, object], field: str) -> None:
    asked = Asked(seed=7, sources=(Identity(length=9, fingerprint="abc"),), sizes=((0, 4),))
    with pytest.raises(StateMismatch) as caught:
        planned(replace(asked, **change), STATE)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "version"),
        ({}, "version"),
        ({"version": 2}, "version"),
        ({"version": 1}, "form"),
        ({"version": 1, "plan": {"seed": 1}, "step": 0, "consumed": 0}, "form"),
        ({**json.loads(encode(STATE)), "step": -1}, "form"),
        ({**json.loads(encode(STATE)), "consumed": 3}, "form"),
        (
            {**json.loads(encode(STATE)), "plan": {**json.loads(encode(STATE.plan)), "sizes": []}},
            "form",
        ),
    ],
)
def test_what_is_no_state_is_refused(value: object, field: str) -> None:
    with pytest.raises(StateMismatch) as caught:
        decode_state(value)
    assert caught.value.field == field


def test_changes_are_told_apart_by_step() -> None:
    asked = Asked(
        seed=7,
        sources=(Identity(length=9, fingerprint="a"), Identity(length=5, fingerprint="b")),
        sizes=((0, 4), (3, 6)),
        shares=((0, (1, 1)), (2, (1, 0))),
    )
    plan = planned(asked).plan
    assert [positions_of(plan, step) for step in range(5)] == [
        (0, 4), (4, 8), (8, 12), (12, 18), (18, 24),
    ]  # fmt: skip
    assert [(one.start, one.shares, one.consumed) for one in plan.segments] == [
        (0, (1, 1), (0, 0)),
        (8, (1, 0), (4, 4)),
    ]
    starts = [positions_of(plan, step) for step in range(20)]
    assert all(before[1] == behind[0] for before, behind in pairwise(starts))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(mixtures(), st.integers(0, 9), st.data())
def test_a_state_with_one_value_changed_is_refused_or_contradicts_nothing(
    asked: Asked, steps: int, data: st.DataObject
) -> None:
    """Whatever is decoded can be gone on from."""
    value = json.loads(encode(after(planned(asked), steps)))
    place: object = value
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    try:
        state = decode_state(value)
    except StateMismatch:
        return
    samples = samples_at(state.plan, np.arange(state.consumed, state.consumed + 10))
    assert samples.max() < sum(source.length for source in state.plan.sources)
