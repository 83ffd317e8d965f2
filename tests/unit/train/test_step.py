import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from headrace.train.agreement import Agreement, Wish
from headrace.train.errors import OutOfOrder
from headrace.train.group import Group
from headrace.train.step import Expected, Micro, Step
from headrace.train.stopwatch import Stopwatch

ALONE = Group(rank=0, world_size=1, device=torch.device("cpu"), control=None, owned=False)
SAMPLES = torch.arange(24, dtype=torch.float64).reshape(8, 3) / 7


class World:
    """A session's surroundings for one process."""

    def __init__(self, model: nn.Module, *, expected: Sequence[float] = ()) -> None:
        self.group = ALONE
        self.watch = Stopwatch(lambda: 0.0)
        self.expected = Expected(ALONE, expected)
        self.agreement = Agreement(ALONE)
        self._models = [model]

    def autocast(self) -> AbstractContextManager[None]:
        return nullcontext()

    def wish(self) -> Wish:
        return Wish.SAVE

    def parameters_of(self, model: nn.Module) -> Sequence[nn.Parameter]:
        return list(model.parameters())

    def models(self) -> Sequence[nn.Module]:
        return self._models


def model() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 1, dtype=torch.float64)


def step_over(world: World, sizes: Sequence[int]) -> Step:
    micros = [Micro(part) for part in torch.split(SAMPLES[: sum(sizes)], list(sizes))]
    return Step(1, micros, global_batch=sum(sizes), session=world)


def squares(net: nn.Module, micro: Micro) -> tuple[Tensor, int]:
    total: Tensor = net(micro.samples).square().sum()
    return total, len(micro)


def reference(net: nn.Linear, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss and gradient of the weight, as plain torch finds them."""
    loss = net(samples).square().mean()
    (gradient,) = torch.autograd.grad(loss, net.weight)
    return loss.detach(), gradient


@pytest.mark.parametrize("expected", [[], [1.0], [3.0]], ids=["found", "right", "wrong"])
@pytest.mark.parametrize("sizes", [[8], [3, 3, 2]])
def test_the_gradient_is_that_of_the_mean_whatever_count_was_expected(
    sizes: list[int], expected: list[float]
) -> None:
    net = model()
    loss = step_over(World(net, expected=expected), sizes).backward(net, squares)
    wanted_loss, wanted = reference(net, SAMPLES)
    assert net.weight.grad is not None
    torch.testing.assert_close(net.weight.grad, wanted)
    torch.testing.assert_close(loss, wanted_loss)


def test_a_loop_over_micro_batches_finds_the_same_gradient_from_means() -> None:
    net = model()
    step = step_over(World(net), [3, 3, 2])
    for micro in step:
        step.scale(net(micro.samples).square().mean()).backward()  # type: ignore[no-untyped-call]
    wanted_loss, wanted = reference(net, SAMPLES)
    assert net.weight.grad is not None
    torch.testing.assert_close(net.weight.grad, wanted)
    assert step.loss is not None
    torch.testing.assert_close(step.loss, wanted_loss)


def test_gradients_that_were_there_are_added_to_and_not_scaled() -> None:
    net = model()
    net.weight.grad = torch.ones_like(net.weight)
    step_over(World(net, expected=[5.0]), [8]).backward(net, squares)
    _, wanted = reference(net, SAMPLES)
    torch.testing.assert_close(net.weight.grad, wanted + 1)


def test_two_losses_of_a_step_have_counts_of_their_own() -> None:
    net = model()
    world = World(net)
    step = step_over(world, [8])

    def thirds(net: nn.Module, micro: Micro) -> tuple[Tensor, int]:
        total, count = squares(net, micro)
        return total, 3 * count

    step.backward(net, squares)
    step.backward(net, thirds)
    assert world.expected.per_sample == [1.0, 3.0]
    _, wanted = reference(net, SAMPLES)
    assert net.weight.grad is not None
    torch.testing.assert_close(net.weight.grad, wanted * 4 / 3)


def test_wishes_ride_on_the_count() -> None:
    world = World(model())
    step_over(world, [8]).backward(world.models()[0], squares)
    assert world.agreement.at_boundary(Wish.NOTHING) == Wish.SAVE


def test_a_stand_in_counts_for_nothing() -> None:
    net = model()
    micros = [Micro(SAMPLES[:4]), Micro(SAMPLES[4:], weight=0.0)]
    loss = Step(1, micros, global_batch=4, session=World(net)).backward(net, squares)
    wanted_loss, wanted = reference(net, SAMPLES[:4])
    assert net.weight.grad is not None
    torch.testing.assert_close(net.weight.grad, wanted)
    torch.testing.assert_close(loss, wanted_loss)


def test_a_step_without_a_single_counted_unit_has_no_loss_and_no_gradient() -> None:
    net = model()

    def masked(net: nn.Module, micro: Micro) -> tuple[Tensor, int]:
        return net(micro.samples).sum() * 0, 0

    loss = step_over(World(net), [8]).backward(net, masked)
    assert math.isnan(float(loss))
    assert net.weight.grad is not None
    assert not net.weight.grad.any()


def test_a_count_may_be_a_tensor() -> None:
    net = model()

    def counted(net: nn.Module, micro: Micro) -> tuple[Tensor, Tensor]:
        total, count = squares(net, micro)
        return total, torch.tensor(count)

    loss = step_over(World(net), [8]).backward(net, counted)
    torch.testing.assert_close(loss, reference(net, SAMPLES)[0])


def test_a_micro_batch_that_went_by_is_an_error() -> None:
    step = step_over(World(model()), [4, 4])
    with pytest.raises(OutOfOrder, match=r"a micro-batch of the step went by without step\.scale"):
        list(step)


def test_scaling_twice_is_an_error() -> None:
    net = model()
    step = step_over(World(net), [8])
    for micro in step:
        loss = net(micro.samples).mean()
        step.scale(loss)
        with pytest.raises(OutOfOrder, match=r"step\.scale was called twice"):
            step.scale(loss)
