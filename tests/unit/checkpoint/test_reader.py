"""Boxes of what is stored: whatever box is asked for, the bytes are those that were saved."""

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
