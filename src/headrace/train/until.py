"""The end of training: "300 steps", "3B tokens", "2 epochs", and how many steps that is.

Pure. The last step of an amount that is no multiple of the global batch is a whole step: the
number of steps is rounded up.
"""

import math
import re
from dataclasses import dataclass

from headrace.core.order import SessionSettings
from headrace.data.batch_sizes import steps_to
from headrace.data.plan import Plan
from headrace.train.errors import Contradiction, MissingValue, UnreadableUntil

_FORM = re.compile(r"\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*([KMBT]?)\s*(step|sample|token|epoch)s?\s*")
_FACTOR = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Until:
    """``amount`` of ``unit``: step, sample, token or epoch."""

    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}s"


def parse_until(text: str) -> Until:
    """Raise ``UnreadableUntil``."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise UnreadableUntil(text)
    number, factor, unit = match.groups()
    try:
        return Until(float(number) * _FACTOR[factor], unit)
    except ValueError as error:
        raise UnreadableUntil(text) from error


def until_in_job(settings: SessionSettings) -> Until | None:
    """What the job file says, if anything."""
    said = (
        (settings.until_steps, "step"),
        (settings.until_samples, "sample"),
        (settings.until_tokens, "token"),
        (settings.until_epochs, "epoch"),
    )
    return next((Until(amount, unit) for amount, unit in said if amount is not None), None)


def choose_until(
    in_code: str | int | None, settings: SessionSettings, *, needed: bool = True
) -> Until | None:
    """The one end that code and job file agree on. Raise ``Contradiction`` or ``MissingValue``."""
    wanted = Until(in_code, "step") if isinstance(in_code, int) else None
    if isinstance(in_code, str):
        wanted = parse_until(in_code)
    in_job = until_in_job(settings)
    if wanted is not None and in_job is not None and wanted != in_job:
        raise Contradiction("until", in_code=wanted, in_job=in_job)
    chosen = wanted or in_job
    if chosen is None and needed:
        raise MissingValue("until", remedy='run.steps(batches, until="300 steps")')
    return chosen


def steps_of(until: Until, plan: Plan, *, window: int) -> int:
    """Optimizer steps that reach ``until``. ``window``: tokens per sample."""
    if until.unit == "step":
        return math.ceil(until.amount)
    samples = {
        "sample": until.amount,
        "token": until.amount / window,
        "epoch": until.amount * sum(source.length for source in plan.sources),
    }[until.unit]
    return steps_to(plan.sizes, math.ceil(samples))
