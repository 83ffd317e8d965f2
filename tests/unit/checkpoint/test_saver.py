"""Saving and restoring: what comes back, what is kept, what is reported."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headrace import checkpoint
from headrace.checkpoint import saver as saver_module
from headrace.checkpoint.commit import Save, commit
from headrace.checkpoint.dtypes import TORCH_DTYPES
from headrace.checkpoint.errors import NotSaveable
from headrace.checkpoint.folder import temporary_path
from headrace.checkpoint.manifest import Manifest
from headrace.checkpoint.retention import Keep
from headrace.checkpoint.saver import Failed, Saved, Saver, Skipped, Staged
from headrace.checkpoint.staging import Snapshot, StagedSnapshot


def every_dtype() -> dict[str, torch.Tensor]:
    """Vectors, scalars, empty and strided tensors of all types that safetensors has."""
    torch.manual_seed(5)
    tensors: dict[str, torch.Tensor] = {}
    for name, dtype in TORCH_DTYPES.items():
        high = 2 if dtype is torch.bool else 100
        raw = torch.randint(0, high, (3, 8 * dtype.itemsize), dtype=torch.uint8)
        vector = raw.view(dtype)
        tensors |= {
            f"{name}/matrix": vector,
            f"{name}/strided": vector.t()[::2],
            f"{name}/scalar": vector[0, 0].clone(),
            f"{name}/empty": vector[:, :0].clone(),
        }
    return tensors


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Same type, shape and bytes (NaN included)."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    a, b = (one.contiguous().reshape(-1).view(torch.uint8) for one in (left, right))
    return torch.equal(a, b)


def save(saver: Saver, snapshot: Snapshot) -> Saved:
    assert isinstance(saver.stage(snapshot, must=True), Staged)
    assert saver.wait()
    (report,) = saver.poll()
    assert isinstance(report, Saved), report
    return report


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[Saver]:
    made = Saver(tmp_path / "checkpoints", keep=Keep(2), shard_bytes=2000)
    yield made
    made.close()


def test_every_dtype_and_shape_comes_back_bit_for_bit(saver: Saver) -> None:
    tensors = every_dtype()
    state: dict[str, checkpoint.Json] = {
        "lr": 1e-3,
        "best": float("inf"),
        "seed": 2**127,
        "betas": [0.9, 0.95],
        "none": None,
    }
    saved = save(saver, Snapshot(12, tensors, state))
    found = checkpoint.load(saved.path)
    assert found.step == 12
    assert found.state == state
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same(found.tensors[name], tensor), name
    assert len(list(saved.path.glob("*.safetensors"))) > 1


def test_shards_are_safetensors_files_that_anyone_can_read(saver: Saver) -> None:
    tensors = every_dtype()
    saved = save(saver, Snapshot(1, tensors, {}))
    found = {
        name: tensor
        for path in saved.path.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }
    assert found.keys() == tensors.keys()
    assert all(same(found[name], tensors[name]) for name in tensors)


def test_the_manifest_is_json_that_anyone_can_read(saver: Saver) -> None:
    saved = save(saver, Snapshot(1, {"w": torch.ones(2)}, {"x": float("nan")}))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads((saved.path / "manifest.json").read_text(), parse_constant=refuse)
    assert content["manifest"]["tensors"]["w"]["shape"] == [2]
    assert content["manifest"]["state"] == {"x": {"$float": "nan"}}


def test_tied_tensors_are_stored_once_and_come_back_tied(saver: Saver) -> None:
    weight = torch.randn(50, 10)
    tensors = {
        "embed": weight,
        "head": weight.view(50, 10),
        "other": weight.t(),
        "copy": weight.clone(),
    }
    saved = save(saver, Snapshot(1, tensors, {}))
    found = checkpoint.load(saved.path).tensors
    assert found["head"] is found["embed"]
    assert found["copy"] is not found["embed"]
    assert torch.equal(found["other"], weight.t())
    assert saved.size_bytes == 3 * weight.nbytes


def test_paths_may_be_strings(tmp_path: Path) -> None:
    saved = save(Saver(str(tmp_path)), Snapshot(1, {"x": torch.arange(3)}, {}))
    checkpoint.verify(str(saved.path))
    assert checkpoint.load(str(saved.path)).tensors["x"].tolist() == [0, 1, 2]
    newest = checkpoint.load_newest(str(tmp_path))
    assert newest is not None
    assert newest.path == saved.path


def test_a_snapshot_without_tensors_is_saved(saver: Saver) -> None:
    saved = save(saver, Snapshot(0, {}, {"a": [1, "two", {"b": True}]}))
    assert checkpoint.load(saved.path).tensors == {}
    assert checkpoint.load(saved.path).state == {"a": [1, "two", {"b": True}]}


def test_what_happens_to_tensors_after_stage_never_reaches_the_checkpoint(saver: Saver) -> None:
    weight = torch.nn.Parameter(torch.zeros(1000, 100))
    for step in range(1, 6):
        with torch.no_grad():
            weight.fill_(step)
        staged = saver.stage(Snapshot(step, {"w": weight}, {"step": step}), must=True)
        assert isinstance(staged, Staged)
        with torch.no_grad():
            weight.fill_(-1)
        saver.wait()
        found = checkpoint.load_newest(saver.root)
        assert found is not None
        assert found.state == {"step": step}
        assert torch.equal(found.tensors["w"], torch.full((1000, 100), float(step)))


def test_memory_is_taken_once_and_again_only_for_other_tensors(saver: Saver) -> None:
    first = Snapshot(1, {"w": torch.zeros(100)}, {})
    saver.prepare(first)
    memory = saver._staging._slots[0][0].data.data_ptr()
    for step in (1, 2):
        save(saver, Snapshot(step, {"w": torch.full((100,), float(step))}, {}))
    assert saver._staging._slots[0][0].data.data_ptr() == memory
    save(saver, Snapshot(3, {"w": torch.zeros(300)}, {}))
    assert checkpoint.load(saver.root / "step-000000003").tensors["w"].shape == (300,)


class Gate:
    """Holds the writer thread before it writes, until opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self._open = threading.Event(), threading.Event()

        def held(save: Save, staged: StagedSnapshot) -> Manifest:
            self.entered.set()
            assert self._open.wait(60)
            return commit(save, staged)

        monkeypatch.setattr(saver_module, "commit", held)

    def open(self) -> None:
        self._open.set()


def test_a_save_that_comes_while_one_is_written_is_skipped(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    assert isinstance(saver.stage(Snapshot(1, {"w": torch.ones(3)}, {})), Staged)
    assert gate.entered.wait(60)
    assert saver.stage(Snapshot(2, {"w": torch.zeros(3)}, {})) == Skipped(
        step=2, reason="step 1 is still being written"
    )
    assert saver.poll() == []
    assert not saver.wait(0.01)
    gate.open()
    assert isinstance(saver.stage(Snapshot(3, {"w": torch.zeros(3)}, {}), must=True), Staged)
    saver.close()
    assert [report.step for report in saver.poll()] == [1, 3]
    assert torch.equal(checkpoint.load(saver.root / "step-000000001").tensors["w"], torch.ones(3))


def test_old_ones_go_and_latest_names_the_newest(saver: Saver) -> None:
    for step in (10, 20, 30):
        assert save(saver, Snapshot(step, {"w": torch.ones(3)}, {})).note == ""
    assert sorted(os.listdir(saver.root)) == ["latest", "step-000000020", "step-000000030"]
    assert (saver.root / "latest").read_text() == "step-000000030\n"


def test_a_damaged_newest_one_is_passed_over_and_never_pushes_out_a_whole_one(
    tmp_path: Path,
) -> None:
    first = Saver(tmp_path, keep=Keep(1))
    save(first, Snapshot(90, {"w": torch.ones(3)}, {}))
    first._keep = Keep(2)
    save(first, Snapshot(100, {"w": torch.ones(3)}, {}))
    first.close()
    (shard,) = (tmp_path / "step-000000100").glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)

    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found.step == 90
    assert found.skipped == (
        (tmp_path / "step-000000100", "shard-00000.safetensors: the hash of w differs"),
    )
    again = Saver(tmp_path, keep=Keep(1))
    save(again, Snapshot(95, {"w": torch.ones(3)}, {}))
    again.close()
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == [
        "step-000000095",
        "step-000000100",
    ]
    newest = checkpoint.load_newest(tmp_path)
    assert newest is not None
    assert newest.step == 95


def test_a_step_that_is_saved_again_replaces_the_former(saver: Saver) -> None:
    save(saver, Snapshot(7, {"w": torch.zeros(3)}, {}))
    save(saver, Snapshot(7, {"w": torch.ones(3)}, {}))
    assert torch.equal(checkpoint.load(saver.root / "step-000000007").tensors["w"], torch.ones(3))
    assert sorted(os.listdir(saver.root)) == ["latest", "step-000000007"]


DEAD = "00000000-0000-0000-0000-000000000000_1_1"


def test_leftovers_of_a_dead_writer_are_removed(saver: Saver) -> None:
    save(saver, Snapshot(1, {"w": torch.ones(3)}, {}))
    saver.close()
    (saver.root / f".step-000000002.tmp-{DEAD}").mkdir()
    (saver.root / f".step-000000001.old-{DEAD}").mkdir()
    living = temporary_path(saver.root, 3)
    living.mkdir()
    (saver.root / "notes.txt").write_text("mine")
    Saver(saver.root).close()
    assert sorted(os.listdir(saver.root)) == [living.name, "latest", "notes.txt", "step-000000001"]


def test_what_a_dead_writer_had_set_aside_is_found_and_put_back(saver: Saver) -> None:
    path = save(saver, Snapshot(1, {"w": torch.ones(3)}, {})).path
    saver.close()
    path.rename(saver.root / f".step-000000001.old-{DEAD}")
    found = checkpoint.load_newest(saver.root)
    assert found is not None
    assert found.step == 1
    Saver(saver.root).close()
    assert checkpoint.load(path).step == 1


@pytest.mark.parametrize(
    ("snapshot", "problem"),
    [
        (
            Snapshot(1, {"z": torch.ones(2, dtype=torch.complex128)}, {}),
            "z is a torch.strided tensor of torch.complex128, which a checkpoint cannot hold",
        ),
        (
            Snapshot(1, {}, {"scheduler": {"lambdas": [1, len]}}),  # type: ignore[list-item]
            "state.scheduler.lambdas[1] is a builtin_function_or_method, "
            "which a checkpoint cannot hold",
        ),
        (
            Snapshot(1, {}, {"a": {1: 2}}),  # type: ignore[dict-item]
            "a key of state.a is 1, which a checkpoint cannot hold",
        ),
        (
            Snapshot(1, {}, {"files": ["caf\udce9"]}),
            "state.files[0] is 'caf\\udce9', which a checkpoint cannot hold",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused_before_training_and_reported_later(
    saver: Saver, snapshot: Snapshot, problem: str
) -> None:
    with pytest.raises(NotSaveable) as caught:
        saver.prepare(snapshot)
    assert caught.value.problem == problem
    assert saver.stage(snapshot) == Skipped(step=1, reason=problem)
    assert saver.poll() == [Failed(step=1, reason=problem)]


def test_the_refusal_tells_what_a_checkpoint_takes() -> None:
    assert str(NotSaveable("state.f", "a function", takes="put it elsewhere")) == (
        "error HR-CKPT-004: state.f is a function, which a checkpoint cannot hold\n"
        "  why: nothing is pickled, so that a checkpoint can be read by any program and never "
        "runs code\n"
        "  fix: put it elsewhere"
    )


def test_ls_and_verify_need_no_torch() -> None:
    import subprocess
    import sys

    probe = (
        "import sys, headrace.cli.checkpoint, headrace.cli.data, headrace.checkpoint\n"
        "headrace.checkpoint.verify\n"
        "print([name for name in ('torch', 'numpy', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = checkpoint.nothing_like_it


def test_the_best_one_stays_also_after_a_restart(tmp_path: Path) -> None:
    keep = checkpoint.Keep(last=1, best=checkpoint.Best("loss", "min"))
    first = Saver(tmp_path, keep=keep)
    for step, loss in ((1, 2.0), (2, 0.5), (3, float("nan")), (4, 1.0)):
        save(first, Snapshot(step, {"w": torch.ones(3)}, {"metrics": {"loss": loss}}))
    first.close()
    assert [path.name[-1] for path in sorted(tmp_path.glob("step-*"))] == ["2", "4"]
    again = Saver(tmp_path, keep=keep)
    save(again, Snapshot(5, {"w": torch.ones(3)}, {"metrics": {"loss": 0.7}}))
    assert [path.name[-1] for path in sorted(tmp_path.glob("step-*"))] == ["2", "5"]
    save(again, Snapshot(6, {"w": torch.ones(3)}, {"metrics": {"loss": 0.5}}))
    again.close()
    assert [path.name[-1] for path in sorted(tmp_path.glob("step-*"))] == ["6"]
