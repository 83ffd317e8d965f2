"""From the arguments of ``batches`` to what is asked of a plan, or a refusal in words.

A value that changes in mid-run is given as ``{step: value}``, each valid from its step on; the
first step is 0.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import TypedDict, TypeVar, Unpack, cast

from headrace.data.dataset import Source
from headrace.data.errors import BatchesRefused
from headrace.data.mix import Mix
from headrace.data.mixture import PERIOD, shares_of
from headrace.data.order import WHOLE, Blocks, Order
from headrace.data.plan import MOST, Asked, Identity

V = TypeVar("V")
Sizes = int | Mapping[int, int]
Weights = Mapping[str, float]


class Besides(TypedDict, total=False):
    """What may be said besides.

    ``weights``: of the sources of a ``Mix``, by name; without them a mix is one data set. Each
    ``period`` samples from the first have each source's share, to less than one sample.
    ``epochs``: the stream ends after so many; its last batch may be short.
    """

    weights: Weights | Mapping[int, Weights] | None
    period: int
    order: Order
    epochs: int | None


class Asking(Besides):
    """What ``ask``, ``batches`` and ``resume`` take."""

    global_batch: Sizes
    seed: int


def ask(dataset: Source, **asking: Unpack[Asking]) -> Asked:
    """Raise ``BatchesRefused``, or ``TypeError`` for an argument that is none."""
    known = Asking.__required_keys__ | Asking.__optional_keys__
    for name in asking:
        if name not in known:
            takes = ", ".join(sorted(known))
            raise TypeError(f"unexpected argument {name!r}: batches take {takes}")
    for name in Asking.__required_keys__:
        if name not in asking:
            raise TypeError(f"batches need the argument {name!r}")
    epochs, weights = asking.get("epochs"), asking.get("weights")
    if epochs is not None:
        epochs = whole("epochs", epochs)
    sizes = tuple(
        (step, whole("global_batch", size))
        for step, size in _by_step("global_batch", asking["global_batch"])
    )
    for what, count in (
        *((f"a batch of {size} samples", size) for _, size in sizes),
        (f"{epochs} epochs", 1 if epochs is None else epochs),
        (f"a data set of {len(dataset)} samples", len(dataset)),
    ):
        need(1 <= count < MOST, what)
    asked = Asked(
        seed=whole("seed", asking["seed"]),
        sources=(Identity(length=len(dataset), fingerprint=dataset.fingerprint),),
        sizes=sizes,
        order=_order(asking.get("order", WHOLE)),
        epochs=epochs,
    )
    if weights is None:
        return asked
    return _weighed(asked, dataset, weights, whole("period", asking.get("period", PERIOD)))


def whole(what: str, value: object) -> int:
    """An int, whoever's it is. Raise ``BatchesRefused`` for what is none: a plan with it could not
    be gone on with."""
    try:
        return int(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        raise BatchesRefused(
            f"{what} is {value!r}",
            why=f"it has to be a whole number, and that is of type {type(value).__name__}",
            remedy="give an int",
        ) from None


def need(holds: bool, what: str) -> None:
    """Raise ``BatchesRefused`` unless it holds."""
    if not holds:
        raise BatchesRefused(
            f"no batches can be drawn with {what}",
            why="batch and data set need at least 1 sample, and 0 <= rank < world",
            remedy="correct that number; a split may have left the data set empty",
        )


def _order(order: Order) -> Order:
    if not isinstance(order, Order):
        raise BatchesRefused(
            f"order is {order!r}",
            why="it is none of the orders",
            remedy="data.Whole(), data.Sequential(), or data.Blocks(block=1024, window=4)",
        )
    if isinstance(order, Blocks):
        return Blocks(block=whole("block", order.block), window=whole("window", order.window))
    return order


def _weighed(
    asked: Asked, dataset: Source, weights: Weights | Mapping[int, Weights], period: int
) -> Asked:
    if not isinstance(dataset, Mix):
        raise BatchesRefused(
            "a data set that is no mix has no weights",
            why="weights name the sources of a mix",
            remedy="data.mix(wiki=first, code=second)",
        )
    if asked.epochs is not None:
        raise BatchesRefused(
            "a mix with weights has no epochs",
            why="its sources end at different times, each begins anew when it has ended",
            remedy='leave out epochs and say until="300 steps", or leave out the weights: '
            "a mix without weights is one data set",
        )
    if all(isinstance(key, str) for key in weights):
        weights = {0: cast(Weights, weights)}
    changes: tuple[tuple[int, Weights], ...]
    changes = _by_step("weights", cast(Mapping[int, Weights], weights))
    return Asked(
        seed=asked.seed,
        sources=tuple(
            Identity(length=len(one), fingerprint=one.fingerprint) for one in dataset.sources
        ),
        sizes=asked.sizes,
        shares=tuple((step, _shares(dataset.names, held, period)) for step, held in changes),
        order=asked.order,
    )


def _shares(names: Sequence[str], weights: Weights, period: int) -> tuple[int, ...]:
    unknown = sorted(set(weights) - set(names))
    if unknown:
        raise BatchesRefused(
            f"there is a weight for {unknown[0]}, which is no source of the mix",
            why=f"the sources are {', '.join(names)}",
            remedy="a source without a weight has weight 0",
        )
    try:
        return shares_of([weights.get(name, 0) for name in names], period)
    except (TypeError, ValueError) as error:
        raise BatchesRefused(
            f"the weights {dict(weights)} cannot be met",
            why=str(error),
            remedy="correct the weights, or give a longer period=",
        ) from error


def _by_step(what: str, value: V | Mapping[int, V]) -> tuple[tuple[int, V], ...]:
    if not isinstance(value, Mapping):
        return ((0, value),)
    value = {whole(f"a step of {what}", step): held for step, held in value.items()}
    steps = sorted(value)
    if not steps or steps[0] != 0:
        raise BatchesRefused(
            f"{what} has no value for step 0",
            why=f"it is given by step: {dict(value)}",
            remedy=f"{what}={{0: ..., 1000: ...}}",
        )
    return tuple((step, value[step]) for step in steps)
