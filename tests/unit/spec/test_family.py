from headrace.spec.family import ArrayElement, element_spec, expand
from headrace.spec.job import JobSpec
from headrace.spec.load import make


def test_a_description_of_one_run_has_no_elements() -> None:
    assert expand(JobSpec(run="a")) == ()


def test_a_sweep_is_the_product_of_its_values_in_order() -> None:
    spec = make(run="a", sweep={"lr": ["1e-3", "3e-4"], "seed": [1, 2]})
    assert expand(spec) == (
        ArrayElement(0, {"lr": "1e-3", "seed": "1"}),
        ArrayElement(1, {"lr": "1e-3", "seed": "2"}),
        ArrayElement(2, {"lr": "3e-4", "seed": "1"}),
        ArrayElement(3, {"lr": "3e-4", "seed": "2"}),
    )


def test_an_array_keeps_its_indices() -> None:
    indices = [element.index for element in expand(make(run="a", array="3,7-11:2"))]
    assert indices == [3, 7, 9, 11]


def test_values_reach_the_command_and_the_environment() -> None:
    spec = make(run="train --lr {lr} --x {other} ${lr}", sweep={"lr": ["1e-3"]}, env={"A": "b"})
    element = element_spec(spec, expand(spec)[0])
    assert element.run == "train --lr 1e-3 --x {other} ${lr}"
    assert element.env == {"A": "b", "HEADRACE_SWEEP_LR": "1e-3"}
    assert (element.sweep, element.array) == ({}, None)


def test_values_reach_the_words_of_a_command() -> None:
    spec = make(command=["train", "--lr={lr}"], sweep={"lr": ["1e-3"]})
    assert element_spec(spec, expand(spec)[0]).argv == ("train", "--lr=1e-3")
