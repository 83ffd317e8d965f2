"""One optimizer step: micro-batches in, the gradient of the global mean out.

The loss of a step is (sum over all samples of all ranks) / (count over all samples of all ranks),
so that unequal and empty shares and masked tokens get the gradient one process would compute. The
global count is known only after the last forward. Backward therefore divides by an expected count,
the count is all-reduced meanwhile, and gradients are scaled afterwards only if the two differ.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from headrace.train.agreement import Agreement, Wish, wish_of
from headrace.train.data_parallel import without_sync
from headrace.train.device import samples_in
from headrace.train.errors import OutOfOrder
from headrace.train.group import Group, Sum
from headrace.train.stopwatch import Stopwatch
from headrace.train.torch_private import scale_in_place


@dataclass(frozen=True, eq=False)
class Micro:
    """Samples of this rank, on its device.

    ``samples``: [n, window + 1] int64 for token data, else what ``collate`` makes, as tensors.
    ``weight``: 1.0, or 0.0 for the stand-in of an empty share, which takes part so that the ranks'
    collectives match and counts for nothing.
    """

    samples: Any
    weight: float = 1.0

    def __len__(self) -> int:
        return samples_in(self.samples)


Count = int | float | torch.Tensor
LossFunction = Callable[[nn.Module, Micro], tuple[torch.Tensor, Count]]


class Expected:
    """Expected count per sample, for each backward of a step in turn.

    Found in the first step of a run and kept in the checkpoint: were it found anew after a restart,
    rounding would differ from a run that was never stopped.
    """

    def __init__(self, group: Group, per_sample: Sequence[float] = ()) -> None:
        self._group = group
        self.per_sample = list(per_sample)

    def get(self, index: int, micro: "Micro", count: Count) -> float:
        """``micro``, ``count``: this rank's first. Waits for device and ranks, but once a run."""
        if index == len(self.per_sample):
            seen = [float(count) * micro.weight, len(micro) * micro.weight]
            counts, samples = self._group.sum(seen)
            ratio = counts / samples if samples > 0 else 1.0
            self.per_sample.append(ratio if ratio > 0 else 1.0)
        return self.per_sample[index]


class Totals:
    """Loss sum and count over the micro-batches of this rank, then over all ranks.

    What the host knows is all-reduced on the host, beside the backward: sum, count, and how many
    ranks wish what (``train.agreement``). On a GPU the sum, and a count that lies there, stay on
    the device.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._loss_sum = 0.0
        self._count = 0.0
        self._count_on_gpu = False
        self._on_gpu = group.device.type == "cuda"
        if self._on_gpu:
            self._device = torch.zeros(2, dtype=torch.float64, device=group.device)
        self._on_device: dist.Work | None = None
        self._on_host: Sum | None = None
        self._wish = Wish.NOTHING

    def add(self, loss_sum: torch.Tensor, count: Count, weight: float) -> None:
        count_on_gpu = isinstance(count, torch.Tensor) and count.is_cuda
        self._count_on_gpu |= count_on_gpu
        if weight == 0.0:
            return
        if self._on_gpu:
            self._device[0] += loss_sum.detach()
        else:
            self._loss_sum += loss_sum.item()
        if count_on_gpu:
            self._device[1] += count
        else:
            self._count += float(count)

    def launch(self, wish: Wish) -> None:
        """Start the sums over all ranks."""
        counts = [self._loss_sum, self._count, *wish.as_counts()]
        self._on_host = self._group.start_sum(counts)
        if self._on_gpu and self._group.world_size > 1:
            self._on_device = dist.all_reduce(self._device, async_op=True)

    def finish(self, expected: float) -> tuple[torch.Tensor, float | torch.Tensor | None]:
        """(global mean loss, factor that gradients still need or None). Waits for the host sums.

        Without a single counted unit in the whole step the loss is NaN and gradients become zero.
        """
        assert self._on_host is not None, "finish before launch"
        total, count_on_host, *wishes = self._on_host.wait()
        self._wish = wish_of(wishes)
        if self._on_device is not None:
            self._on_device.wait()
        if self._count_on_gpu:
            count = self._device[1]
            factor = torch.where(count > 0, expected / count, torch.zeros_like(count))
            return self._device[0] / count, factor
        loss_sum = self._device[0] if self._on_gpu else torch.tensor(total, dtype=torch.float64)
        if count_on_host == 0.0:
            return torch.full_like(loss_sum, float("nan")), 0.0
        factor_on_host = None if count_on_host == expected else expected / count_on_host
        return loss_sum / count_on_host, factor_on_host

    def wish(self) -> Wish:
        """What any rank wished, after ``finish``."""
        return self._wish


class Surroundings(Protocol):
    """What a step needs of its session."""

    group: Group
    watch: Stopwatch
    expected: Expected
    agreement: Agreement

    def wish(self) -> Wish: ...

    def autocast(self) -> AbstractContextManager[None]: ...

    def models(self) -> Sequence[nn.Module]: ...

    def parameters_of(self, model: nn.Module) -> Sequence[nn.Parameter]: ...


class Step:
    """One iteration of ``run.steps``. ``number`` counts from 1; ``loss``: of the last backward."""

    def __init__(
        self,
        number: int,
        micros: Sequence[Micro],
        *,
        global_batch: int,
        session: Surroundings,
    ) -> None:
        self.number = number
        self.loss: torch.Tensor | None = None
        self.global_batch = global_batch
        self._micros = micros
        self._session = session
        self._calls = 0
        self._totals: Totals | None = None
        self._micro: Micro | None = None
        self._expected = 1.0

    def backward(self, model: nn.Module, loss_fn: LossFunction) -> torch.Tensor:
        """Add the gradient of the global mean loss to ``model``; return that mean, 0-dim.

        ``loss_fn(model, micro)`` returns the sum of the losses of a micro-batch and what it is a
        sum over: samples, or tokens that are not masked. On a GPU nothing waits for the device when
        the count is a Python number or a tensor on the device.
        """
        session = self._session
        if session.group.world_size > 1 and all(model is not known for known in session.models()):
            raise OutOfOrder(
                "step.backward got a model that run.parallelize did not return",
                why="its gradients would stay this rank's own",
                remedy="model = run.parallelize(model)",
            )
        with session.watch.during("forward_backward"):
            parameters = session.parameters_of(model)
            kept = _set_aside(parameters)
            totals = Totals(session.group)
            last = len(self._micros) - 1
            for number, micro in enumerate(self._micros):
                with without_sync(model, unless=number == last):
                    with session.autocast():
                        loss_sum, count = loss_fn(model, micro)
                    totals.add(loss_sum, count, micro.weight)
                    factor = self._factor(micro, count, first=number == 0)
                    if number == last:
                        totals.launch(session.wish())
                    (loss_sum * factor).backward()  # type: ignore[no-untyped-call]
        self.loss = self._finish(totals, parameters, kept)
        return self.loss

    def __iter__(self) -> Iterator[Micro]:
        """Micro-batches for a loop of one's own: ``step.scale(loss).backward()`` once for each."""
        session = self._session
        models = session.models()
        parameters = [p for model in models for p in session.parameters_of(model)]
        kept = _set_aside(parameters)
        self._totals = Totals(session.group)
        last = len(self._micros) - 1
        for number, micro in enumerate(self._micros):
            with ExitStack() as stack:
                for model in models:
                    stack.enter_context(without_sync(model, unless=number == last))
                self._micro = micro
                with session.watch.during("forward_backward"):
                    yield micro
            if self._micro is not None:
                raise OutOfOrder(
                    "a micro-batch of the step went by without step.scale",
                    why="its samples would be missing from the gradient",
                    remedy="call step.scale(loss).backward() once for each micro-batch",
                )
        totals, self._totals = self._totals, None
        totals.launch(session.wish())
        self.loss = self._finish(totals, parameters, kept)

    def scale(self, loss: torch.Tensor, *, count: Count | None = None) -> torch.Tensor:
        """What to call ``backward`` on for the current micro-batch.

        Without ``count`` the loss is the mean over the micro-batch's samples; with it, the sum over
        ``count`` units, as in ``backward``.
        """
        if self._totals is None or self._micro is None:
            raise OutOfOrder(
                "step.scale was called twice for one micro-batch, or outside of the loop over them",
                why="the count of the step would be wrong",
                remedy="add the losses first, then call step.scale once for each micro-batch",
            )
        micro, self._micro = self._micro, None
        units: Count = len(micro) if count is None else count
        loss_sum = loss * len(micro) if count is None else loss
        self._totals.add(loss_sum, units, micro.weight)
        first = micro is self._micros[0]
        return loss_sum * self._factor(micro, units, first=first)

    def _factor(self, micro: Micro, count: Count, *, first: bool) -> float:
        """What a loss sum is multiplied by: DDP takes the mean over ranks, we want the sum."""
        session = self._session
        if first:
            per_sample = session.expected.get(self._calls, micro, count)
            self._expected = per_sample * self.global_batch
            self._calls += 1
        return micro.weight * session.group.world_size / self._expected

    def _finish(
        self,
        totals: Totals,
        parameters: Sequence[nn.Parameter],
        kept: dict[nn.Parameter, torch.Tensor],
    ) -> torch.Tensor:
        with self._session.watch.during("sync"):
            loss, factor = totals.finish(self._expected)
            self._session.agreement.hear(totals.wish())
        with self._session.watch.during("forward_backward"):
            if factor is not None:
                gradients = [p.grad for p in parameters if p.grad is not None]
                scale_in_place(gradients, factor)
            for parameter, gradient in kept.items():
                if parameter.grad is None:
                    parameter.grad = gradient
                else:
                    parameter.grad += gradient
        return loss


def _set_aside(parameters: Sequence[nn.Parameter]) -> dict[nn.Parameter, torch.Tensor]:
    """Gradients of an earlier backward, which must not be scaled with the coming ones."""
    kept = {}
    for parameter in parameters:
        if parameter.grad is not None:
            kept[parameter] = parameter.grad.clone()
            parameter.grad = None
    return kept
