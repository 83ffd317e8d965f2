"""Tells a data set that is near only in part what comes next, where the order makes that useful.

Under a global shuffle nothing comes next more than anything else. In the other orders a few
thousand places of the coming epoch name the files in the order in which they are needed.
"""

import contextlib

import numpy as np

from headrace.core.errors import HeadraceError
from headrace.data.dataset import Dataset, Source
from headrace.data.order import Whole
from headrace.data.plan import Plan, samples_at, total_samples

_PLACES = 4096
_TIMES_AN_EPOCH = 64


class Foresight:
    """Of one stream of batches."""

    def __init__(self, dataset: Source, plan: Plan) -> None:
        self._dataset = None
        if isinstance(dataset, Dataset) and not isinstance(plan.order, Whole):
            self._dataset = dataset if dataset.files.go_with_the_order else None
        self._plan = plan
        self._next = 0

    def tell(self, position: int) -> None:
        """``position``: samples of all ranks up to now. Cheap, and mostly nothing."""
        if self._dataset is None or position < self._next:
            return
        length = len(self._dataset)
        self._next = position + -(-length // _TIMES_AN_EPOCH)
        total = total_samples(self._plan)
        stop = position + length if total is None else min(position + length, total)
        positions = np.arange(position, stop, -(-length // _PLACES))
        with contextlib.suppress(HeadraceError):  # a damaged index is met again by who reads
            self._dataset.ahead(samples_at(self._plan, positions))
