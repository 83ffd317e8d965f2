"""Boxes of what is stored: whatever box is asked for, the bytes are those that were saved."""

import os
from pathlib import Path

import pytest
import torch

from headrace import checkpoint
from headrace.checkpoint import manifest, reader
from headrace.checkpoint.box import Box, whole
from headrace.checkpoint.errors import DamagedCheckpoint
from headrace.checkpoint.reader import CheckpointReader

WHOLE = torch.arange(7 * 5 * 3, dtype=torch.int32).view(7, 5, 3)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(manifest, "CHUNK_BYTES", 100)
    saver = checkpoint.Saver(tmp_path)
    saver.stage(checkpoint.Snapshot(1, {"w": WHOLE, "n": torch.tensor(7)}, {}))
    saver.close()
    return tmp_path / "step-000000001"


def test_a_large_tensor_is_stored_as_several_chunks(saved: Path) -> None:
    chunks = manifest.read_manifest(saved).tensors["w"].chunks
    assert len(chunks) == 7
    assert all(chunk.stop - chunk.start <= 100 for chunk in chunks)
    assert torch.equal(checkpoint.load(saved).tensors["w"], WHOLE)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_any_box_has_its_bytes(
    saved: Path, monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    monkeypatch.setattr(reader, "_KEPT_BYTES", kept_bytes)
    stored = CheckpointReader(saved)
    for start in range(7):
        for column in range(5):
            box = Box((start, column, 1), (7 - start, 5 - column, 2))
            for data in (stored.read("w", box), stored.read_all({"w": box})["w"]):
                found = torch.from_numpy(data.reshape(-1)).view(torch.int32)
                assert torch.equal(found.view(box.sizes), WHOLE[box.inside(whole((7, 5, 3)))])
    assert stored.read("n", Box((), ())).tobytes() == (7).to_bytes(8, "little")
    assert stored.read("w", Box((0, 0, 0), (0, 5, 3))).size == 0


def test_only_the_chunks_of_a_box_are_read_and_they_are_verified(saved: Path) -> None:
    path = saved / "shard-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # in the last row of w
    path.write_bytes(content)
    first, last = Box((0, 0, 0), (6, 5, 3)), Box((6, 0, 0), (1, 1, 1))
    loaded = checkpoint.load(saved, wanted=lambda name, _: first if name == "w" else None)
    assert torch.equal(loaded.tensors["w"], WHOLE[:6])
    assert loaded.boxes == {"w": first}
    for read in (
        CheckpointReader(saved).read,
        lambda name, box: CheckpointReader(saved).read_all({name: box}),
    ):
        with pytest.raises(DamagedCheckpoint, match="hash of w"):
            read("w", last)


def many() -> dict[str, torch.Tensor]:
    """More than one system call takes, of several widths, some empty and some of several chunks."""
    kinds = (torch.float64, torch.float32, torch.bfloat16, torch.uint8)
    torch.manual_seed(5)
    return {
        f"w{n}": torch.randn(n % 7, 3 + (n == 1000) * 30_000).to(kinds[n % len(kinds)])
        for n in range(1500)
    }


@pytest.mark.parametrize("room_bytes", [0, 10_000, 32 << 20])
def test_many_tensors_are_read_whole_also_when_the_system_gives_less_than_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    monkeypatch.setattr(manifest, "CHUNK_BYTES", 100_000)
    monkeypatch.setattr(reader, "_ROOM_BYTES", room_bytes)
    monkeypatch.setattr(reader, "_RUN_BYTES", 30_000)
    real = os.preadv

    def preadv(descriptor: int, buffers: list[memoryview], start: int) -> int:
        some = buffers[: len(buffers) // 2]
        return real(descriptor, [*some, buffers[len(some)][: max(1, len(buffers[-1]) // 3)]], start)

    saver = checkpoint.Saver(tmp_path, shard_bytes=200_000)
    saver.stage(checkpoint.Snapshot(1, many(), {}))
    saver.close()
    monkeypatch.setattr(os, "preadv", preadv)
    loaded = checkpoint.load(tmp_path / "step-000000001").tensors
    assert loaded.keys() == many().keys()
    for name, tensor in many().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name].nan_to_num(), tensor.nan_to_num()), name
    loaded["w9"].fill_(7)  # what is loaded is the caller's
    assert torch.equal(loaded["w10"], many()["w10"])
