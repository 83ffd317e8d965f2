"""Data sets that are no tokens, damaged samples, and ranks without any, through a session."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from headrace import data, train
from headrace.data.atomic import written
from headrace.data.errors import DamagedData, NotStackable, PackageMissing
from headrace.data.packed import PackWriter
from headrace.data.records import RecordEncoder
from headrace.train.device import Mover, samples_in, split
from headrace.train.errors import BatchNotArrays

SAMPLES = 40


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Records of an array of 2 x 2 and a number."""
    out = tmp_path / "images.packed"
    encode = RecordEncoder()
    with written(out) as file, PackWriter(file, tmp_path) as packed:
        for number in range(SAMPLES):
            image = np.full((2, 2), number, np.float32)
            packed.add_record(encode({"image": image, "label": number % 3}))
        packed.finish(encode.meta())
    return out


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HEADRACE_RUN_DIR", str(tmp_path / "run"))
    threads = torch.get_num_threads()
    yield tmp_path / "run"
    torch.set_num_threads(threads)


def loss_fn(model: nn.Module, micro: train.Micro) -> tuple[Tensor, int]:
    out = model(micro.samples["image"].flatten(1))
    return nn.functional.cross_entropy(out, micro.samples["label"], reduction="sum"), len(micro)


def learn(path: Path, reading: data.Reading, *, global_batch: int, steps: int) -> list[float]:
    losses = []
    with train.session() as run:
        with run.init():
            model = run.parallelize(nn.Linear(4, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        run.track(model=model, optimizer=optimizer)
        batches = run.batches(
            data.open(path), global_batch=global_batch, seed=1, micro_batch=3, reading=reading
        )
        for step in run.steps(batches, until=steps):
            losses.append(float(step.backward(model, loss_fn)))
            optimizer.step()
            optimizer.zero_grad()
    return losses


def damage(path: Path, *samples: int) -> None:
    dataset = data.open(path)
    with path.open("r+b") as file:
        for sample in samples:
            file.seek(dataset.origin(sample)[0].start + 30)
            file.write(b"\xff\xff")


def test_records_of_arrays_are_stacked_and_train(images: Path) -> None:
    losses = learn(images, data.Reading(), global_batch=8, steps=30)
    assert len(losses) == 30
    assert losses[-1] < losses[0]


def test_damage_is_raised_unless_told_otherwise(images: Path) -> None:
    damage(images, 11)
    with pytest.raises(DamagedData, match="of sample 11 are damaged"):
        learn(images, data.Reading(), global_batch=8, steps=5)


def test_a_damaged_sample_is_left_out_counted_and_told(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(images, 11)
    losses = learn(images, data.Reading(on_damage="quarantine"), global_batch=8, steps=5)
    assert len(losses) == 5
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(said) == 1
    assert "warning: rank 0 left 1 damaged of 8 samples out of a batch after step" in said[0]
    assert ": sample 11, " in said[0]


def test_the_loss_of_a_batch_with_damage_is_the_mean_of_the_rest(images: Path) -> None:
    whole = data.open(images)
    with data.batches(whole, global_batch=8, seed=1) as stream:
        first = next(stream).indices.tolist()
    damage(images, first[2])
    (loss,) = learn(images, data.Reading(on_damage="quarantine"), global_batch=8, steps=1)
    with train.session(seed=0) as run, run.init():
        model = nn.Linear(4, 3)
    rest = [number for number in first if number != first[2]]
    tensors = data.to_torch(data.stack(whole.read(rest)))
    expected, _ = loss_fn(model, train.Micro(tensors))
    assert loss == pytest.approx(expected.item() / 7, rel=1e-6)


def test_a_batch_that_is_damaged_altogether_counts_for_nothing(images: Path) -> None:
    """A step without a single sample has no loss; the next goes on."""
    with data.batches(data.open(images), global_batch=1, seed=1) as stream:
        order = [next(stream).indices.tolist()[0] for _ in range(3)]
    damage(images, order[1])
    losses = learn(images, data.Reading(on_damage="quarantine"), global_batch=1, steps=3)
    assert [np.isnan(loss) for loss in losses] == [False, True, False]


def test_bytes_need_a_transform(tmp_path: Path) -> None:
    out = tmp_path / "blobs.packed"
    with written(out) as file, PackWriter(file, tmp_path) as packed:
        for number in range(8):
            packed.add_record(bytes([number]) * 4)
        packed.finish({"format": "records", "fields": None})
    with pytest.raises(NotStackable) as caught:
        learn(out, data.Reading(), global_batch=2, steps=1)
    assert str(caught.value) == (
        "error HR-DATA-015: samples of memoryview do not make a batch\n"
        "  why: a batch is made of numbers and arrays of equal shape, alone or in dicts and "
        "tuples\n"
        "  fix: reading=data.Reading(transform=decode), with a function from a sample to arrays; "
        "or give collate"
    )

    def decode(blob: memoryview) -> dict[str, object]:
        return {"image": np.frombuffer(blob, np.uint8).astype(np.float32), "label": blob[0] % 3}

    assert len(learn(out, data.Reading(transform=decode), global_batch=2, steps=3)) == 3


def test_what_collate_returns_must_be_arrays() -> None:
    with pytest.raises(BatchNotArrays) as caught:
        Mover(torch.device("cpu"))({"image": [1, 2]}, tokens=False)
    assert str(caught.value) == (
        "error HR-TRAIN-012: a batch holds a list, which is no array\n"
        "  why: a batch is an array or tensor, or a dict or tuple of them, with the samples in "
        "dimension 0\n"
        "  fix: return such from the collate of data.Reading"
    )


def test_batches_of_any_shape_are_split_by_samples() -> None:
    tree = {"a": torch.arange(5), "b": (torch.zeros(5, 2), torch.ones(5, 3))}
    parts = split(tree, 2)
    assert [samples_in(part) for part in parts] == [2, 2, 1]
    assert parts[1]["a"].tolist() == [2, 3]
    assert parts[2]["b"][1].shape == (1, 3)


def test_fields_that_differ_are_named() -> None:
    with pytest.raises(NotStackable) as caught:
        data.stack([{"a": 1}, {"a": 2, "b": 3}])
    assert caught.value.problem == (
        "samples of different fields: ['a'] and ['a', 'b'] do not make a batch"
    )


def test_arrays_become_tensors_without_a_copy() -> None:
    array = np.zeros(3, np.float32)
    tensor = data.to_torch({"x": array})["x"]
    array[1] = 5
    assert tensor.tolist() == [0, 5, 0]


@pytest.mark.parametrize(
    "samples",
    [
        *(
            ["a", "b"],
            [np.zeros(2), np.zeros(3)],
            [..., ...],
            [b"1", b"2"],
            [["a"], ["b"]],
        ),
        *([{"a": 1, "b": 2}, {"a": 1}], [{"a": 1}, {"a": 1, "b": 2}], [{"a": 1}, 5], [5, {"a": 1}]),
        *([(1, 2), (1, 2, 3)], [(1, 2), 3], [2**63, -1], [[2**63, -1]], [2**64, 1], [None, 1]),
    ],
    ids=repr,
)
def test_what_makes_no_batch_is_refused(samples: list[object]) -> None:
    with pytest.raises(NotStackable):
        data.stack(samples)


def test_large_integers_stay_what_they_are() -> None:
    for samples in ([2**63 + 1, 5], [5, 2**63 + 1], [[2**63 + 1, 5]], [[5], [2**64 - 1]]):
        stacked = data.stack(samples)
        assert (stacked.dtype, stacked.tolist()) == (np.uint64, samples)
    assert data.stack([1, 2.5]).tolist() == [1.0, 2.5]
    assert data.stack([-1, 2**63 - 1]).dtype == np.int64


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_tokens_that_travel_as_signed_bits_arrive_as_they_were(
    kind: type[np.unsignedinteger],
) -> None:
    most = np.iinfo(kind).max
    tokens = torch.from_numpy(np.array([[0, 1, most // 2, most // 2 + 1, most]], kind))
    moved = Mover(torch.device("cpu"))._tokens_to_gpu(tokens)
    assert moved.dtype == torch.int64
    assert moved.tolist() == [[0, 1, most // 2, most // 2 + 1, most]]


def test_batches_for_jax_go_through_its_own_function(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(asarray=lambda array: ("jax", array.tolist()))
    monkeypatch.setitem(sys.modules, "jax", types.ModuleType("jax"))
    monkeypatch.setitem(sys.modules, "jax.numpy", module)
    batch = {"x": np.arange(2), "y": (np.zeros(1),)}
    assert data.to_jax(batch) == {"x": ("jax", [0, 1]), "y": (("jax", [0.0]),)}


def test_without_jax_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax.numpy", None)
    with pytest.raises(PackageMissing, match="a batch as jax arrays cannot be read without"):
        data.to_jax(np.arange(2))
