"""What a run has written down of its data: the plan of its steps, and where each data set lies.

Rank 0 writes ``data.json`` into the run directory when it begins to draw batches and whenever the
plan changes. With it ``which-samples`` answers for every step: what a later attempt did instead of
an earlier one counts.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headrace.core.records import (
    DecodeError,
    Record,
    read_record,
    replace,
    to_builtins,
    write_record,
)
from headrace.data.batch_sizes import size_at
from headrace.data.dataset import Dataset, Source
from headrace.data.errors import BatchesRefused, NoPlan
from headrace.data.formats.listing import from_legible, legible
from headrace.data.mix import Mix
from headrace.data.mixture import shares_at
from headrace.data.packs import Packs
from headrace.data.plan import (
    MOST,
    State,
    decode_state,
    draws_at_positions,
    positions_of,
    samples_at,
)


class Part(Record, frozen=True, kw_only=True):
    """Samples of the plan that lie in one data set, in the order of the plan's numbers.

    ``first``: the number there of the first of them (a split begins somewhere). ``path`` is empty
    where a data set is made by the program. Of packs, ``table`` is the path of their table and
    ``documents`` what it packs; ``fingerprint`` is the table's.
    """

    name: str
    path: str
    first: int
    length: int
    fingerprint: str
    table: str = ""
    documents: tuple["Part", ...] = ()


class Recorded(Record, frozen=True, kw_only=True):
    """``state``: a ``plan.State``, as JSON."""

    state: object
    parts: tuple[Part, ...]


class Drawn(NamedTuple):
    """One sample of a step: number ``sample`` of ``part``, in ``epoch`` of its source."""

    part: Part
    sample: int
    epoch: int


def parts_of(dataset: Source, name: str = "") -> tuple[Part, ...]:
    """The data sets that ``dataset`` is made of."""
    if isinstance(dataset, Mix):
        return tuple(
            part
            for inner, source in zip(dataset.names, dataset.sources, strict=True)
            for part in parts_of(source, f"{name}.{inner}" if name else inner)
        )
    length = len(dataset)
    if isinstance(dataset, Packs):
        return (
            Part(
                name=name,
                path="",
                first=0,
                length=length,
                fingerprint=dataset.table.fingerprint,
                table=str(dataset.table.path.absolute()),
                documents=parts_of(dataset.dataset),
            ),
        )
    if isinstance(dataset, Dataset):
        path, first = str(dataset.path.absolute()), dataset.first
        fingerprint = dataset.index.fingerprint
    else:
        path, first, fingerprint = "", 0, dataset.fingerprint
    return (Part(name=name, path=path, first=first, length=length, fingerprint=fingerprint),)


def place_in(parts: Sequence[Part], number: int) -> tuple[int, int]:
    """From a number in all of ``parts`` to the number of one, and the sample's in it."""
    ends = list(accumulate(part.length for part in parts))
    found = bisect_right(ends, number)
    return found, number - ends[found] + parts[found].length


def record(path: Path, dataset: Source, state: State) -> None:
    """Raise ``OSError``."""
    write_record(
        path, Recorded(state=to_builtins(state), parts=_spelled(parts_of(dataset), legible))
    )


def changed(before: State, now: State) -> str:
    """What other batch and weights a run goes on with, in words; empty when there are none."""
    told = []
    sizes = [size_at(one.plan.sizes, now.step) for one in (before, now)]
    if sizes[0] != sizes[1]:
        told.append(f"the global batch is {sizes[1]}, it was {sizes[0]}")
    shares = [shares_at(one.plan.segments, now.consumed) for one in (before, now)]
    if shares[0] != shares[1]:
        told.append(f"the sources' shares are {_ratio(shares[1])}, they were {_ratio(shares[0])}")
    return f"from step {now.step + 1} on {', and '.join(told)}" if told else ""


def _ratio(shares: Sequence[int]) -> str:
    return ":".join(map(str, shares))


def recorded(path: Path) -> tuple[State, tuple[Part, ...]]:
    """Raise ``NoPlan``, or ``StateMismatch`` for one of another version."""
    try:
        found = read_record(path, Recorded)
    except (OSError, DecodeError) as error:
        raise NoPlan(path.parent, error) from error
    state = decode_state(found.state)
    samples = sum(source.length for source in state.plan.sources)
    if any(part.length < 0 for part in found.parts) or samples != sum(
        part.length for part in found.parts
    ):
        raise NoPlan(path.parent, ValueError("its data sets do not hold its samples"))
    return state, _spelled(found.parts, from_legible)


def _spelled(parts: tuple[Part, ...], spell: Callable[[str], str]) -> tuple[Part, ...]:
    """With paths as they can stand in JSON, or back."""
    return tuple(
        replace(
            part,
            path=spell(part.path),
            table=spell(part.table),
            documents=_spelled(part.documents, spell),
        )
        for part in parts
    )


def drawn_in(state: State, parts: tuple[Part, ...], step: int) -> Iterator[Drawn]:
    """The samples of ``step`` (counted from 0) over all ranks, in their order. Raise
    ``BatchesRefused`` behind all that is counted."""
    plan = state.plan
    first, stop = positions_of(plan, step)
    if stop > MOST:
        raise BatchesRefused(
            f"step {step + 1} ends after {stop} samples",
            why=f"no run draws more than {MOST}",
            remedy="give an earlier step",
        )
    positions = np.arange(first, stop, dtype=np.int64)
    draws = draws_at_positions(plan, positions)
    lengths = np.array([source.length for source in plan.sources], dtype=np.int64)
    epochs = draws.positions // lengths[draws.sources]
    samples = samples_at(plan, positions)
    for sample, epoch in zip(samples.tolist(), epochs.tolist(), strict=True):
        number, within = place_in(parts, sample)
        yield Drawn(parts[number], within, epoch)
