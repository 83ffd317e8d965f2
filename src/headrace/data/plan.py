"""Everything that decides which samples a step takes, as one record; and how far it has come.

A plan is what stays (data, seed, order) and what may change while training goes on (weights, global
batch, number of epochs, sources at the end of the list). A change leaves alone what the plan says
of the steps before, so the plan in the newest checkpoint answers for every step of the run. World
size and number of threads are not in it: they change nothing.

Steps count from 0: step n is the one after n finished steps. Samples are numbered in one space:
those of source 0, then those of source 1, and so on.
"""

from itertools import pairwise
from typing import TypeVar

import numpy as np

from headrace.core.records import DecodeError, Record, convert
from headrace.data.batch_sizes import (
    BatchSize,
    consumed_after,
    consumed_before,
    resized,
    steps_to,
)
from headrace.data.errors import BatchesRefused, StateMismatch
from headrace.data.mixture import PERIOD_MOST, Draws, Segment, consumed_at, draws_at, reweighed
from headrace.data.order import WHOLE, Indices, Order, derived_seed, indices_at

V = TypeVar("V")
VERSION = 1
MOST = 2**53  # of anything that is counted
MIXING = -1  # the number of the seed that mixes sources


class Identity(Record, frozen=True, kw_only=True):
    """Which data set, or which of those mixed. ``fingerprint``: the same for the same samples."""

    length: int
    fingerprint: str


class Asked(Record, frozen=True, kw_only=True):
    """What a program asks for. ``sizes`` and ``shares``: (step, value) in ascending order of steps,
    each valid from its step on, the first from step 0. ``epochs``: None is endless."""

    seed: int
    sources: tuple[Identity, ...]
    sizes: tuple[tuple[int, int], ...]
    shares: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (1,)),)
    order: Order = WHOLE
    epochs: int | None = None


class Plan(Record, frozen=True, kw_only=True):
    """Which samples every step took and will take."""

    seed: int
    order: Order
    sources: tuple[Identity, ...]
    segments: tuple[Segment, ...]
    sizes: tuple[BatchSize, ...]
    epochs: int | None


class State(Record, frozen=True, kw_only=True):
    """Where a stream is: ``step`` batches, ``consumed`` samples of all ranks were given out."""

    version: int = VERSION
    plan: Plan
    step: int
    consumed: int


def planned(asked: Asked, done: State | None = None) -> State:
    """What ``asked`` means for a run that begins, or that goes on where ``done`` is: from there on
    what is asked holds, before it what was.

    Raise ``StateMismatch`` when the data, the seed or the order are others, ``BatchesRefused`` when
    it would end before where ``done`` is.
    """
    step, consumed = 0, 0
    sizes: tuple[BatchSize, ...] = ()
    segments: tuple[Segment, ...] = ()
    if done is not None:
        _check(asked, done)
        step, consumed = done.step, done.consumed
        sizes, segments = done.plan.sizes, done.plan.segments
    for at, size in _from(step, asked.sizes):
        sizes = resized(sizes, at, size, consumed=consumed if at == step else None)
    for at, shares in _from(step, asked.shares):
        segments = reweighed(
            segments, derived_seed(asked.seed, MIXING), consumed_before(sizes, at), shares
        )
    plan = Plan(
        seed=asked.seed,
        order=asked.order,
        sources=asked.sources,
        segments=segments,
        sizes=sizes,
        epochs=asked.epochs,
    )
    epoch = sum(source.length for source in plan.sources)
    if plan.epochs is not None and plan.epochs * epoch < consumed:
        raise BatchesRefused(
            f"{plan.epochs} epochs of {epoch} samples end before the {consumed} that were drawn",
            why="the plan would not say any more what the last steps of the run took",
            remedy=f"give epochs={-(-consumed // epoch)} or more",
        )
    return State(plan=plan, step=step, consumed=consumed)


def decode_state(value: object) -> State:
    """From JSON's dicts and lists. Raise ``StateMismatch`` when it is no state of this version."""
    version = value.get("version") if isinstance(value, dict) else None
    if version != VERSION:
        raise StateMismatch("version", saved=version, given=VERSION)
    try:
        state = convert(value, State)
        _check_form(state)
    except (DecodeError, ValueError) as error:
        raise StateMismatch("form", saved=f"wrong: {error}", given="a state") from error
    return state


def total_samples(plan: Plan) -> int | None:
    """None when it is endless."""
    if plan.epochs is None:
        return None
    return plan.epochs * sum(source.length for source in plan.sources)


def total_steps(plan: Plan) -> int | None:
    """None when it is endless. The last step of a finite plan may be short."""
    samples = total_samples(plan)
    return None if samples is None else steps_to(plan.sizes, samples)


def positions_of(plan: Plan, step: int) -> tuple[int, int]:
    """``[first, stop)`` of what ``step`` takes over all ranks: nothing behind the end."""
    first, stop = consumed_before(plan.sizes, step), consumed_after(plan.sizes, step)
    total = total_samples(plan)
    return (first, stop) if total is None else (min(first, total), min(stop, total))


def samples_at(plan: Plan, positions: Indices) -> Indices:
    """The numbers of the samples at ``positions``, which ascend."""
    draws = draws_at_positions(plan, positions)
    samples = np.empty_like(positions)
    offset = 0
    for number, source in enumerate(plan.sources):
        places = np.flatnonzero(draws.sources == number)
        if places.size:
            seed = plan.seed if number == 0 else derived_seed(plan.seed, number)
            inner = draws.positions[places]
            samples[places] = offset + indices_at(plan.order, seed, inner, source.length)
        offset += source.length
    return samples


def draws_at_positions(plan: Plan, positions: Indices) -> Draws:
    """The source of each sample, and the position in its stream."""
    return draws_at(plan.segments, derived_seed(plan.seed, MIXING), positions)


def consumed_of_sources(plan: Plan, position: int) -> tuple[int, ...]:
    """Samples of each source before ``position``."""
    return consumed_at(plan.segments, derived_seed(plan.seed, MIXING), position)


def _from(step: int, changes: tuple[tuple[int, V], ...]) -> list[tuple[int, V]]:
    """What holds at ``step``, and the changes behind it."""
    held = [value for at, value in changes if at <= step][-1]
    return [(step, held), *((at, value) for at, value in changes if at > step)]


def _check_form(state: State) -> None:
    """Raise ``ValueError``."""
    plan, step = state.plan, state.step
    sizes, segments = plan.sizes, plan.segments
    sound = (
        step >= 0
        and bool(plan.sources and sizes and segments)
        and all(1 <= source.length < MOST for source in plan.sources)
        and state.consumed < MOST
        and (sizes[0].step, sizes[0].consumed, segments[0].start) == (0, 0, 0)
        and all(1 <= one.size < MOST for one in sizes)
        and all(a.step < b.step and a.consumed < b.consumed for a, b in pairwise(sizes))
        and all(a.start < b.start for a, b in pairwise(segments))
        and all(_sound(segment, len(plan.sources)) for segment in segments)
    )
    if not sound:
        raise ValueError("its plan contradicts itself")
    if state.consumed != (positions_of(plan, step - 1)[1] if step else 0):
        raise ValueError(f"step {step} does not begin after {state.consumed} samples")


def _sound(segment: Segment, sources: int) -> bool:
    return (
        len(segment.shares) == len(segment.consumed) <= sources
        and min(segment.shares, default=-1) >= 0
        and 1 <= sum(segment.shares) <= PERIOD_MOST
        and sum(segment.consumed) == segment.start
    )


def _check(asked: Asked, done: State) -> None:
    was = done.plan
    for field, saved, given in (("seed", was.seed, asked.seed), ("order", was.order, asked.order)):
        if saved != given:
            raise StateMismatch(field, saved=saved, given=given)
    if len(was.sources) > len(asked.sources):
        raise StateMismatch("number of sources", saved=len(was.sources), given=len(asked.sources))
    for old, new in zip(was.sources, asked.sources, strict=False):
        for field in ("fingerprint", "length"):
            if getattr(old, field) != getattr(new, field):
                raise StateMismatch(field, saved=getattr(old, field), given=getattr(new, field))
