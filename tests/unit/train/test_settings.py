import pytest
import torch

from headrace.train.errors import Contradiction, MissingValue, UnsupportedLayout
from headrace.train.settings import choose, degrees, precision_of


def test_one_value_of_two_is_chosen() -> None:
    assert choose("global_batch", 8, None) == 8
    assert choose("global_batch", None, 8) == 8
    assert choose("global_batch", 8, 8) == 8
    assert choose("global_batch", None, None) is None


def test_two_values_may_not_differ() -> None:
    with pytest.raises(Contradiction):
        choose("global_batch", 8, 16)


def test_a_needed_value_may_not_be_missing() -> None:
    with pytest.raises(MissingValue):
        choose("global_batch", None, None, needed=True)


def test_precisions_have_the_names_of_the_field() -> None:
    assert precision_of(None) is torch.float32
    assert precision_of("bf16") is torch.bfloat16
    with pytest.raises(UnsupportedLayout, match="precision: fp8"):
        precision_of("fp8")


@pytest.mark.parametrize(
    ("layout", "found"),
    [
        (None, (4, 1)),
        ({}, (4, 1)),
        ({"dp": 4, "tp": 1, "micro_batch": 2}, (4, 1)),
        ({"dp": "auto", "fsdp": "auto"}, (4, 1)),
        ({"fsdp": 4}, (1, 4)),
        ({"fsdp": 2}, (2, 2)),
        ({"dp": 2, "fsdp": 2, "recompute": "none"}, (2, 2)),
    ],
)
def test_data_parallelism_and_fsdp_are_accepted(
    layout: dict[str, int | str] | None, found: tuple[int, int]
) -> None:
    assert degrees(layout, world_size=4) == found


@pytest.mark.parametrize(
    ("layout", "nearest"),
    [
        ({"dp": 2}, "layout: {dp: 4, fsdp: 1}"),
        ({"dp": 4, "fsdp": 2}, "layout: {dp: 2, fsdp: 2}"),
        ({"fsdp": 3}, "layout: {fsdp: 4}"),
        ({"fsdp": 8}, "layout: {fsdp: 4}"),
        ({"tp": 2}, "layout: {tp: 1}"),
        ({"recompute": "full"}, "layout: {recompute: none}"),
    ],
)
def test_other_layouts_are_refused_with_the_nearest(
    layout: dict[str, int | str], nearest: str
) -> None:
    with pytest.raises(UnsupportedLayout) as caught:
        degrees(layout, world_size=4)
    assert caught.value.remedy == nearest
