"""Checkpoints written again: in another number of files, and to and from Hugging Face."""

import errno
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file
from torch import nn

from headrace import checkpoint
from headrace.checkpoint import hugging_face, stream
from headrace.checkpoint.conversion import FLOATS, convert
from headrace.checkpoint.dtypes import TORCH_DTYPES
from headrace.checkpoint.errors import BadSafetensors, DamagedCheckpoint, NoSuchModel, OutputInUse
from headrace.checkpoint.hugging_face import export_model, import_model, model_files
from headrace.checkpoint.rewrite import reshard
from headrace.checkpoint.safetensors import read_header


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.inner = nn.Linear(6, 6, dtype=torch.bfloat16)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("calls", torch.tensor(3))


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    raw = [one.detach().contiguous().reshape(-1).view(torch.uint8) for one in (left, right)]
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*raw)


def save(root: Path, tensors: dict[str, torch.Tensor], models: list[str] | None) -> Path:
    state: dict[str, checkpoint.Json] = {}
    if models is not None:
        state["objects"] = {**{name: {"extra": {}} for name in models}, "opt": {"groups": []}}
    saver = checkpoint.Saver(root)
    saver.stage(checkpoint.Snapshot(7, tensors, state))
    saver.close()
    return root / "step-000000007"


@pytest.fixture
def model() -> Tied:
    torch.manual_seed(1)
    return Tied()


@pytest.fixture
def saved(tmp_path: Path, model: Tied, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stream, "CHUNK_BYTES", 64)
    tensors = {f"net/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors["opt/net/inner.weight/exp_avg"] = torch.ones(6, 6)
    return save(tmp_path / "root", tensors, ["net"])


def test_an_exported_model_is_one_that_safetensors_loads(
    saved: Path, model: Tied, tmp_path: Path
) -> None:
    assert export_model(saved, tmp_path / "out") == ["model.safetensors"]
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "head.weight": "embedding.weight"}
        assert set(file.keys()) == {"embedding.weight", "inner.weight", "inner.bias", "calls"}
    other = Tied()
    load_model(other, tmp_path / "out" / "model.safetensors")
    for name, tensor in model.state_dict().items():
        assert same(other.state_dict()[name], tensor), name


def test_a_large_model_is_exported_as_several_files_with_an_index(
    saved: Path, model: Tied, tmp_path: Path
) -> None:
    files = export_model(saved, tmp_path / "out", file_bytes=100, dtype="BF16")
    assert files[0] == "model-00001-of-00003.safetensors"
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files[:-1])
    assert index["metadata"]["total_size"] == 11 * 6 * 2 + 6 * 6 * 2 + 6 * 2 + 8
    found: dict[str, torch.Tensor] = {}
    for name in set(index["weight_map"].values()):
        found |= load_file(tmp_path / "out" / name)
    assert found.keys() == index["weight_map"].keys()
    assert same(found["embedding.weight"], model.embedding.weight.to(torch.bfloat16))
    assert found["calls"].dtype == torch.int64


def test_of_several_models_one_must_be_named(tmp_path: Path) -> None:
    tensors = {"actor/w": torch.ones(2), "critic/w": torch.zeros(2)}
    path = save(tmp_path / "root", tensors, ["actor", "critic"])
    with pytest.raises(NoSuchModel) as caught:
        export_model(path, tmp_path / "out")
    assert str(caught.value) == (
        f"error HR-CKPT-008: {path}: no model is named; it holds actor, critic\n"
        "  why: one model is exported at a time\n"
        "  fix: --model actor"
    )
    with pytest.raises(NoSuchModel, match='there is no model "opt"'):
        export_model(path, tmp_path / "out", model="opt")
    export_model(path, tmp_path / "out", model="critic")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found["w"], torch.zeros(2))


def test_what_a_model_shares_with_another_is_exported_with_each(tmp_path: Path) -> None:
    trunk, own = torch.ones(2), torch.zeros(2)
    tensors = {"actor/trunk": trunk, "critic/a": trunk, "critic/b": trunk, "critic/own": own}
    path = save(tmp_path / "root", tensors, ["actor", "critic"])
    export_model(path, tmp_path / "out", model="critic")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "b": "a"}
        assert set(file.keys()) == {"a", "own"}
        assert torch.equal(file.get_tensor("a"), trunk)


def test_a_checkpoint_that_no_session_made_is_exported_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "root", {"a": torch.ones(2), "b/c": torch.zeros(3)}, None)
    export_model(path, tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == {"a", "b/c"}


def test_nothing_is_written_over_and_damage_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(OutputInUse) as caught:
        export_model(saved, tmp_path / "out")
    assert str(caught.value) == (
        f"error HR-CKPT-007: {tmp_path}/out is there already\n"
        "  why: a checkpoint or a model is never mixed with, or written over, another\n"
        "  fix: name another folder with --out, or move that one away"
    )
    with pytest.raises(OutputInUse):
        reshard(saved, saved.parent, shards=2)
    path = saved / "shard-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for write in (
        lambda: export_model(saved, tmp_path / "new"),
        lambda: reshard(saved, tmp_path / "new", shards=2),
    ):
        with pytest.raises(DamagedCheckpoint):
            write()
        assert not list((tmp_path).glob("**/*new*/*"))
        assert not (tmp_path / "new" / "step-000000007").exists()


def test_what_another_has_made_meanwhile_is_not_written_over(saved: Path, tmp_path: Path) -> None:
    made = tmp_path / "out" / saved.name

    def other(done: int, of: int) -> None:
        made.mkdir(parents=True, exist_ok=True)
        (made / "mine").touch()

    for write in (
        lambda: export_model(saved, tmp_path / "out", report=other),
        lambda: reshard(saved, tmp_path / "out", shards=2, report=other),
    ):
        with pytest.raises(OutputInUse):
            write()
        assert [path.name for path in tmp_path.glob("**/mine")] == ["mine"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "root"]
        shutil.rmtree(tmp_path / "out")


def test_a_full_disk_says_which_file_did_not_fit_and_a_source_that_fails_is_named(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    export_model(saved, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            OSError, match=r"No space left on device: '.*/shard-00000\.safetensors'"
        ):
            reshard(saved, tmp_path / "new", shards=1)
    source = tmp_path / "out" / "model.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(hugging_face, "_index", lambda box, shape: -(10**6))
        with pytest.raises(BadSafetensors, match="Invalid argument") as caught:
            import_model(source, tmp_path / "imported")
    assert caught.value.path == source
    assert list((tmp_path / "imported").iterdir()) == list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 40])
def test_a_resharded_checkpoint_is_the_same_in_other_files(
    saved: Path, tmp_path: Path, shards: int
) -> None:
    made = reshard(saved, tmp_path / "new", shards=shards)
    manifest = checkpoint.verify(made)
    assert 1 <= len(manifest.files) <= shards
    if shards <= 3:
        sizes = [file.size_bytes - file.header_bytes for file in manifest.files.values()]
        assert len(sizes) == shards
        assert max(sizes) - min(sizes) <= 2 * 24  # two rows
    before, after = checkpoint.load(saved), checkpoint.load(made)
    assert after.tensors.keys() == before.tensors.keys()
    assert all(same(after.tensors[name], before.tensors[name]) for name in before.tensors)
    assert (after.step, after.state) == (before.step, before.state)
    assert after.tensors["net/head.weight"] is after.tensors["net/embedding.weight"]
    assert (tmp_path / "new" / "latest").read_text() == "step-000000007\n"


def test_what_was_exported_is_imported_bit_for_bit(
    saved: Path, model: Tied, tmp_path: Path
) -> None:
    export_model(saved, tmp_path / "out", file_bytes=100)
    made = import_model(tmp_path / "out", tmp_path / "start", model="net")
    found = checkpoint.load(made)
    assert found.step == 0
    for name, tensor in model.state_dict().items():
        if name != "head.weight":
            assert same(found.tensors[f"net/{name}"], tensor), name
    as_half = import_model(tmp_path / "out", tmp_path / "half", dtype="F16")
    weight = checkpoint.load(as_half).tensors["model/embedding.weight"]
    assert same(weight, model.embedding.weight.half())


def test_an_index_that_lies_is_refused(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_model(saved, out, file_bytes=100)
    path = out / "model.safetensors.index.json"
    good = json.loads(path.read_text())
    assert len(model_files(out)) == 3
    first = good["weight_map"]["calls"]
    lies: list[object] = [
        {"weight_map": {**good["weight_map"], "calls": "../x.safetensors"}},
        {"weight_map": {**good["weight_map"], "calls": "model.bin"}},
        {"weight_map": {**good["weight_map"], "calls": 3}},
        {"weight_map": {**good["weight_map"], "more": first}},
        {"weight_map": {k: v for k, v in good["weight_map"].items() if k != "inner.bias"}},
        {"weight_map": []},
        [],
        {"weight_map": {}},
    ]
    for lie in lies:
        path.write_text(json.dumps(lie))
        with pytest.raises(BadSafetensors):
            model_files(out)
    path.write_text("{" * 100_000)
    with pytest.raises(BadSafetensors):
        model_files(out)
    path.unlink()
    save_file({"calls": torch.ones(1)}, out / "other.safetensors")
    with pytest.raises(BadSafetensors, match="'calls' is also in"):
        model_files(out)


def header_of(**entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def entry(dtype: object, shape: object, start: object, stop: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x00\x00",
        (1 << 62).to_bytes(8, "little") + b"{}",
        (10).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        (2).to_bytes(8, "little") + b"\xff\xfe",
        (9).to_bytes(8, "little") + b'{"a":1e9}',
        header_of(a=entry("F32", [2], 0, 8)),
        header_of(a=entry("F32", [2], 0, 8)) + bytes(9),
        header_of(a=entry("F32", [2], 0, 4)) + bytes(4),
        header_of(a=entry("F32", [-2], 0, -8)),
        header_of(a=entry("F32", [True], 0, 4)) + bytes(4),
        header_of(a=entry("F32", [1.0], 0, 4)) + bytes(4),
        header_of(a=entry("F32", [1 << 70], 0, 1 << 72)) + bytes(4),
        header_of(a=entry("F31", [1], 0, 4)) + bytes(4),
        header_of(a=entry("F32", [1], 0, 4), b=entry("F32", [1], 0, 4)) + bytes(4),
        header_of(a=entry("F32", [2], 0, 8), b=entry("F32", [2], 4, 12)) + bytes(12),
        header_of(a=entry("F32", [1], 0, 4), b=entry("F32", [1], 8, 12)) + bytes(12),
        header_of(a={**entry("F32", [1], 0, 4), "extra": 1}) + bytes(4),
        header_of(a={"dtype": "F32", "shape": [1]}) + bytes(4),
        header_of(__metadata__={"a": 1}),
        (22).to_bytes(8, "little") + b'{"a":{"x":1},"a":null}',
    ],
)
def test_a_header_that_does_not_fit_its_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadSafetensors):
        read_header(path)


def test_the_full_text_of_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(header_of(a=entry("F32", [2], 0, 8)))
    with pytest.raises(BadSafetensors) as caught:
        read_header(path)
    assert str(caught.value) == (
        f"error HR-CKPT-006: {path}: not a safetensors file to rely on: "
        "it has 69 bytes, its header says 77\n"
        "  why: every byte must belong to exactly one tensor, as the header says\n"
        "  fix: fetch the file again, and compare its size or hash with the source's"
    )


def test_a_harmed_file_is_refused_or_read_as_safetensors_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"one": torch.arange(12.0).view(3, 4), "two": torch.arange(5), "none": torch.ones(0)}
    save_file(tensors, path, metadata={"format": "pt"})
    original = path.read_bytes()
    draw = random.Random(4)
    accepted = 0
    for _ in range(2000):
        content = bytearray(original)
        for _ in range(draw.choice([1, 1, 2, 5])):
            place = draw.randrange(min(len(content), 300))
            kind = draw.randrange(4)
            if kind == 0:
                content[place] ^= 1 << draw.randrange(8)
            elif kind == 1:
                content[place] = draw.choice(b'{}[]",:0123456789-e ')
            elif kind == 2:
                del content[place : place + draw.randrange(1, 9)]
            else:
                content[place:place] = content[draw.randrange(len(content)) :][:6]
        path.write_bytes(content)
        try:
            header = read_header(path)
        except BadSafetensors:
            continue
        accepted += 1
        try:
            theirs = load_file(path)
        except SafetensorError as error:
            raise AssertionError(f"{bytes(content)!r} is refused by safetensors") from error
        data = bytes(content)[header.data_start :]
        assert theirs.keys() == {tensor.name for tensor in header.tensors}
        for tensor in header.tensors:
            raw = theirs[tensor.name].reshape(-1).view(torch.uint8).numpy().tobytes()
            assert raw == data[tensor.start : tensor.stop]
            assert tuple(theirs[tensor.name].shape) == tensor.shape
    assert accepted > 10


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("target", FLOATS)
def test_floats_are_converted_as_torch_does(source: str, target: str) -> None:
    torch.manual_seed(2)
    raw = torch.randint(0, 256, (4000 * 8,), dtype=torch.uint8)
    special = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1.0, 65520.0, 1e-8, 3.4e38]
    usual = torch.cat([torch.tensor(special), torch.randn(3000)])
    own = TORCH_DTYPES[source]
    numbers = torch.cat([raw.view(own), usual.to(own)])
    want = numbers.to(TORCH_DTYPES[target])
    got = torch.from_numpy(convert(numbers.view(torch.uint8).numpy(), source, target))
    found = got.view(TORCH_DTYPES[target])
    assert torch.equal(found.isnan(), want.isnan())
    assert same(found[~want.isnan()], want[~want.isnan()])
