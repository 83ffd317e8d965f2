import json
import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from headrace.train.errors import CheckpointMismatch, UnsavableState, UntrackedParameter
from headrace.train.state import Source, Tracked, capture, clean_name, restore, sort_tracked, unwrap


class Tied(nn.Module):
    def __init__(self, *, width: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.embedding(tokens)))
        return logits


class Memory:
    """Anything with a state_dict."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def trained(seed: int, *, width: int = 3, steps: int = 2) -> tuple[Tied, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Tied(width=width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 * (seed + 1))
    for _ in range(steps):
        model(torch.arange(5)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def moved(source: Tracked, target: Tracked) -> None:
    """Capture, pass the plain part through JSON, restore."""
    tensors, plain = capture(source)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    restore(target, Source(copies), json.loads(json.dumps(plain)), path="step-1")


def test_model_and_optimizer_go_on_as_if_they_were_the_others() -> None:
    model, optimizer = trained(0)
    other, other_optimizer = trained(1, steps=0)
    moved(
        sort_tracked({"model": model, "optimizer": optimizer}),
        sort_tracked({"model": other, "optimizer": other_optimizer}),
    )
    for pair in ((model, optimizer), (other, other_optimizer)):
        pair[0](torch.arange(5)).square().sum().backward()
        pair[1].step()
    restored = other.state_dict()
    assert all(torch.equal(restored[name], value) for name, value in model.state_dict().items())
    assert other.head.weight is other.embedding.weight


def test_optimizer_state_keeps_its_type_also_where_the_parameter_has_another() -> None:
    def one(steps: int) -> tuple[nn.Module, torch.optim.NAdam]:
        torch.manual_seed(0)
        model = nn.Linear(3, 3, dtype=torch.bfloat16)
        optimizer = torch.optim.NAdam(model.parameters())
        for _ in range(steps):
            model(torch.ones(1, 3, dtype=torch.bfloat16)).sum().backward()
            optimizer.step()
        return model, optimizer

    model, optimizer = one(3)
    other, restored = one(0)
    moved(
        sort_tracked({"model": model, "optimizer": optimizer}),
        sort_tracked({"model": other, "optimizer": restored}),
    )
    for parameter, like in zip(other.parameters(), model.parameters(), strict=True):
        for slot, value in optimizer.state[like].items():
            found = restored.state[parameter][slot]
            assert found.dtype == value.dtype, slot
            assert torch.equal(found, value), slot
    assert restored.state[parameter]["mu_product"].dtype == torch.float32


def test_names_are_the_models_own_and_slots_belong_to_parameters() -> None:
    model, optimizer = trained(0)
    tensors, plain = capture(sort_tracked({"net": model, "adam": optimizer}))
    assert {"net/embedding.weight", "net/head.weight", "net/norm.running_mean"} <= tensors.keys()
    assert tensors["net/head.weight"].data_ptr() == tensors["net/embedding.weight"].data_ptr()
    assert "adam/net/embedding.weight/exp_avg" in tensors
    assert "adam/net/head.weight/exp_avg" not in tensors
    json.dumps(plain)


def test_the_order_of_parameters_in_the_optimizer_is_free() -> None:
    model, optimizer = trained(0)
    other, _ = trained(1, steps=0)
    backwards = torch.optim.AdamW(list(other.parameters())[::-1], lr=9.0)
    moved(
        sort_tracked({"model": model, "optimizer": optimizer}),
        sort_tracked({"model": other, "optimizer": backwards}),
    )
    for (name, mine), (_, theirs) in zip(
        model.named_parameters(), other.named_parameters(), strict=True
    ):
        expected = optimizer.state[mine]["exp_avg"]
        assert torch.equal(backwards.state[theirs]["exp_avg"], expected), name
    assert backwards.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert backwards.param_groups[0]["betas"] == (0.9, 0.999)


def test_wrappers_leave_no_trace_in_names() -> None:
    model = Tied()
    compiled = nn.Module()
    compiled.add_module("_orig_mod", model)
    assert unwrap(compiled) is model
    assert clean_name("blocks.0._orig_mod.attention.weight") == "blocks.0.attention.weight"


def test_other_objects_keep_their_plain_values_and_tensors() -> None:
    state = {
        "flags": [True, None, "text", 1, 0.1, math.pi],
        "betas": (0.9, (1, 2)),
        "milestones": Counter({3: 1, 5: 2}),
        "by_number": {1: "one", 2: {"$odd": 3}},
        "average": torch.tensor([1.0, 2.0]),
        "nested": [{"tensor": torch.tensor(3)}],
    }
    target = Memory({})
    moved(sort_tracked({"memory": Memory(state)}), sort_tracked({"memory": target}))
    found = target.state
    assert torch.equal(found.pop("average"), torch.tensor([1.0, 2.0]))
    assert found.pop("nested") == [{"tensor": torch.tensor(3)}]
    del state["average"], state["nested"]
    assert found == state
    assert isinstance(found["milestones"], Counter)


def test_what_is_no_plain_value_is_refused_by_its_place() -> None:
    with pytest.raises(UnsavableState, match="the state of memory/seen holds a set"):
        capture(sort_tracked({"memory": Memory({"seen": {1}})}))


def test_only_things_with_a_state_are_tracked() -> None:
    with pytest.raises(UnsavableState, match="the state of rate holds a float"):
        sort_tracked({"rate": 0.1})


def test_an_optimizer_of_another_model_is_refused() -> None:
    model, _ = trained(0)
    stranger = torch.optim.SGD(Tied().parameters(), lr=1.0)
    with pytest.raises(UntrackedParameter, match="sgd holds a parameter of shape"):
        sort_tracked({"model": model, "sgd": stranger})


def test_a_parameter_that_comes_later_and_is_of_no_tracked_model_is_told_in_words() -> None:
    model, optimizer = trained(0)
    tracked = sort_tracked({"model": model, "adam": optimizer})
    optimizer.add_param_group({"params": nn.Linear(2, 3).parameters()})
    with pytest.raises(UntrackedParameter, match=r"adam holds a parameter of shape \(3, 2\)"):
        capture(tracked)


@pytest.mark.parametrize(
    ("objects", "text"),
    [
        ({"model": Tied(width=4)}, r"model/embedding.weight has shape \(5, 3\), the model's is"),
        ({"net": Tied()}, "tracked objects: the checkpoint lacks net and has model, which"),
        ({"model": nn.Linear(1, 1)}, "tensors of model: the checkpoint lacks model/bias, "),
    ],
    ids=["shape", "names", "tensors"],
)
def test_a_checkpoint_of_something_else_is_refused(objects: dict[str, object], text: str) -> None:
    with pytest.raises(CheckpointMismatch, match=text):
        moved(sort_tracked({"model": Tied()}), sort_tracked(objects))


def test_numbers_are_not_cut_to_whole_ones_without_a_word() -> None:
    def one(value: torch.Tensor) -> nn.Module:
        module = nn.Module()
        module.register_buffer("scale", value)
        return module

    target = one(torch.tensor(0))
    with pytest.raises(
        CheckpointMismatch, match=r"scale is torch\.float32, the model's torch\.int"
    ):
        moved(sort_tracked({"m": one(torch.tensor(2.7))}), sort_tracked({"m": target}))
    wider = one(torch.tensor(0.0, dtype=torch.float64))
    moved(sort_tracked({"m": one(torch.tensor(2))}), sort_tracked({"m": wider}))
    assert wider.state_dict()["scale"] == 2


def test_a_name_that_was_of_another_kind_of_object_is_refused() -> None:
    model, optimizer = trained(0)
    tracked = sort_tracked({"net": model, "one": optimizer, "two": Memory({})})
    other = sort_tracked({"net": model, "two": optimizer, "one": Memory({})})
    with pytest.raises(CheckpointMismatch, match="two was no optimizer"):
        moved(tracked, other)
    with pytest.raises(CheckpointMismatch, match="net was no model"):
        moved(sort_tracked({"net": Memory({})}), sort_tracked({"net": model}))


def test_an_optimizer_with_other_groups_is_refused() -> None:
    model, optimizer = trained(0)
    split = torch.optim.AdamW([{"params": [p]} for p in model.parameters()])
    with pytest.raises(CheckpointMismatch, match="the parameter groups of optimizer hold other"):
        moved(
            sort_tracked({"model": model, "optimizer": optimizer}),
            sort_tracked({"model": model, "optimizer": split}),
        )


def test_weights_of_which_only_one_tied_name_was_stored_are_restored_and_the_rest_left() -> None:
    model, _ = trained(0)
    other, optimizer = trained(1)
    tensors = {f"net/{name}": value.clone() for name, value in model.state_dict().items()}
    del tensors["net/head.weight"]
    target = sort_tracked({"net": other, "adam": optimizer})
    plain: dict[str, Any] = {"net": {"extra": {}}}
    before = optimizer.state_dict()["state"][0]["exp_avg"].clone()
    restore(target, Source(tensors), plain, path="start", weights_only=True)
    restored = other.state_dict()
    assert all(torch.equal(restored[name], value) for name, value in model.state_dict().items())
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], before)
    with pytest.raises(CheckpointMismatch, match="tracked objects: the checkpoint lacks adam"):
        restore(target, Source(tensors), plain, path="start")
    del tensors["net/embedding.weight"]
    with pytest.raises(CheckpointMismatch, match=r"lacks net/embedding.weight, net/head.weight"):
        restore(target, Source(tensors), plain, path="start", weights_only=True)
    with pytest.raises(CheckpointMismatch, match="models: the checkpoint has teacher"):
        restore(target, Source({}), {"teacher": {"extra": {}}}, path="start", weights_only=True)


def test_tensors_whose_places_read_the_same_are_not_taken_for_one() -> None:
    state = {"a/b": torch.ones(1), "a": {"b": torch.zeros(1)}, "a/b'": torch.full((1,), 2.0)}
    target = Memory({})
    moved(sort_tracked({"memory": Memory(state)}), sort_tracked({"memory": target}))
    assert target.state == state
