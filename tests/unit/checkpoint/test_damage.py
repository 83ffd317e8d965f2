"""Damage of every kind is found, said, and survived."""

import os
import random
import shutil
from pathlib import Path

import pytest
import torch

from headrace import checkpoint
from headrace.checkpoint import restore
from headrace.checkpoint.errors import CheckpointNotFound, DamagedCheckpoint, NoneUsable
from headrace.checkpoint.folder import step_of
from headrace.checkpoint.manifest import (
    Chunk,
    FileEntry,
    Manifest,
    TensorEntry,
    decode_manifest,
    encode_manifest,
    seal,
)
from headrace.checkpoint.reader import CheckpointReader
from headrace.checkpoint.shard import Placed, encode_header, hash_shard
from headrace.checkpoint.verification import check_files


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    saver = checkpoint.Saver(tmp_path / "root", shard_bytes=1500)
    torch.manual_seed(3)
    tensors = {f"layer.{n}": torch.randn(10, 20) for n in range(3)}
    saver.stage(checkpoint.Snapshot(5, {**tensors, "tied": tensors["layer.0"]}, {"lr": 0.1}))
    saver.close()
    return tmp_path / "root" / "step-000000005"


def test_every_one_of_300_flipped_bits_is_detected(saved: Path) -> None:
    files = sorted(saved.iterdir())
    assert len(files) == 4
    flips = random.Random(17)
    for _ in range(300):
        path = flips.choice(files)
        original = path.read_bytes()
        place = flips.randrange(len(original) * 8)
        changed = bytearray(original)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint):
            checkpoint.load(saved)
        with pytest.raises(DamagedCheckpoint):
            checkpoint.verify(saved)
        path.write_bytes(original)
    assert checkpoint.load(saved).step == 5
    assert checkpoint.verify(saved).step == 5


@pytest.mark.parametrize("name", ["manifest.json", "shard-00000.safetensors"])
@pytest.mark.parametrize("harm", ["empty", "half", "longer", "missing", "folder"])
def test_a_file_that_is_not_whole_is_detected(saved: Path, name: str, harm: str) -> None:
    path = saved / name
    size = path.stat().st_size
    if harm in ("missing", "folder"):
        path.unlink()
    if harm == "folder":
        path.mkdir()
    if harm == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    if harm in ("empty", "half"):
        os.truncate(path, 0 if harm == "empty" else size // 2)
    for check in (checkpoint.load, checkpoint.verify, check_files):
        with pytest.raises(DamagedCheckpoint):
            check(saved)


def test_the_full_text_of_damage(saved: Path) -> None:
    (saved / "shard-00001.safetensors").unlink()
    with pytest.raises(DamagedCheckpoint) as caught:
        checkpoint.load(saved)
    assert str(caught.value) == (
        f"error HR-CKPT-002: {saved}: the checkpoint is damaged: "
        "shard-00001.safetensors is missing\n"
        "  why: every byte of a checkpoint has a hash, and it is checked before use\n"
        f"  fix: load an older one; headrace checkpoint ls {saved.parent} shows them"
    )


def test_when_all_are_damaged_training_does_not_silently_start_anew(saved: Path) -> None:
    (saved / "manifest.json").write_bytes(b"")
    with pytest.raises(NoneUsable) as caught:
        checkpoint.load_newest(saved.parent)
    assert str(caught.value) == (
        f"error HR-CKPT-003: {saved.parent}: none of 1 checkpoints can be used "
        "(step-000000005: the hash of manifest.json differs)\n"
        "  why: starting from nothing would throw away what was trained without saying so\n"
        f"  fix: mend the storage, or move {saved.parent} away to start from nothing"
    )


def test_no_checkpoint_at_all_is_none(tmp_path: Path) -> None:
    assert checkpoint.load_newest(tmp_path) is None
    assert checkpoint.load_newest(tmp_path / "absent") is None


def test_a_named_checkpoint_that_is_absent_is_not_found(tmp_path: Path) -> None:
    for get in (checkpoint.load, checkpoint.verify):
        with pytest.raises(CheckpointNotFound) as caught:
            get(tmp_path / "step-000000001")
        assert str(caught.value) == (
            f"error HR-CKPT-001: {tmp_path}/step-000000001: no such checkpoint\n"
            "  why: a checkpoint is a folder named step-<number>, or a folder of such folders\n"
            f"  fix: see what there is: headrace checkpoint ls {tmp_path}"
        )


def test_a_checkpoint_is_read_from_a_read_only_folder(saved: Path) -> None:
    before = sorted(saved.parent.rglob("*"))
    saved.chmod(0o555)
    saved.parent.chmod(0o555)
    try:
        found = checkpoint.load_newest(saved.parent)
        assert found is not None
        assert found.step == 5
        assert sorted(saved.parent.rglob("*")) == before
    finally:
        saved.parent.chmod(0o755)
        saved.chmod(0o755)


def write_pieces(folder: Path, pieces: list[tuple[tuple[int, ...], torch.Tensor]]) -> Manifest:
    """A checkpoint of one [4, 6] tensor "w", as several ranks would write it: a shard a rank."""
    folder.mkdir()
    files: dict[str, FileEntry] = {}
    chunks = []
    for rank, (offsets, piece) in enumerate(pieces):
        name = f"rank-{rank}.safetensors"
        size = piece.nbytes
        placed = [Placed(f"w@{rank}", "F32", tuple(piece.shape), 0, size)]
        content = encode_header(placed) + piece.contiguous().numpy().tobytes()
        (folder / name).write_bytes(content)
        start = len(content) - size
        spans = [(start, len(content))]
        files[name], (digest,) = hash_shard(memoryview(content), start, spans)
        chunks.append(
            Chunk(
                offsets=offsets,
                sizes=tuple(piece.shape),
                file=name,
                start=start,
                stop=start + size,
                xxh3_128=digest,
            )
        )
    entry = TensorEntry(shape=(4, 6), dtype="F32", chunks=tuple(chunks))
    manifest = Manifest(version=1, step=1, files=files, tensors={"w": entry}, aliases={}, state={})
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return manifest


def test_chunks_that_several_ranks_wrote_are_put_together(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).view(4, 6)
    pieces: list[tuple[tuple[int, ...], torch.Tensor]]
    pieces = [((0, 0), whole[:3, :2]), ((0, 2), whole[:3, 2:]), ((3, 0), whole[3:])]
    write_pieces(tmp_path / "step-000000001", pieces)
    assert torch.equal(checkpoint.load(tmp_path / "step-000000001").tensors["w"], whole)
    assert checkpoint.verify(tmp_path / "step-000000001").step == 1


def test_chunks_that_leave_a_hole_are_damage(tmp_path: Path) -> None:
    whole = torch.zeros(4, 6)
    manifest = write_pieces(tmp_path / "step-000000001", [((0, 0), whole[:3])])
    with pytest.raises(DamagedCheckpoint, match="the chunks of w are not all of it"):
        decode_manifest(encode_manifest(manifest), tmp_path)


def test_a_manifest_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    later = Manifest(version=2, step=1, files={}, tensors={}, aliases={}, state={})
    with pytest.raises(DamagedCheckpoint, match="version 2; this Headrace reads 1"):
        decode_manifest(encode_manifest(later), tmp_path)


def test_a_manifest_that_lacks_a_field_is_not_understood(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match="is not understood"):
        decode_manifest(encode_manifest({"version": 1}), tmp_path)  # type: ignore[arg-type]


def test_one_whole_checkpoint_among_damaged_ones_is_found_with_the_reasons(saved: Path) -> None:
    root = saved.parent
    for step in (6, 7, 8):
        shutil.copytree(saved, root / f"step-{step:09d}")
    (root / "step-000000008" / "manifest.json").unlink()
    os.truncate(root / "step-000000007" / "shard-00002.safetensors", 3)
    found = checkpoint.load_newest(root)
    assert found is not None
    assert found.path == root / "step-000000006"
    assert [(path.name, reason) for path, reason in found.skipped] == [
        ("step-000000008", "manifest.json is missing"),
        ("step-000000007", "shard-00002.safetensors: has 3 bytes, not 880"),
    ]


@pytest.mark.parametrize(
    "body",
    [b"[]", b"7", b"{", b"[" * 100_000, b'{"version":"one"}'],
    ids=["list", "number", "half", "deep", "word"],
)
def test_a_manifest_that_is_no_record_is_damage_though_its_hash_is_right(
    tmp_path: Path, body: bytes
) -> None:
    folder = tmp_path / "step-000000001"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(seal("manifest", body))
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json is not understood"):
        checkpoint.load(folder)


def test_one_that_is_deleted_while_it_is_looked_at_is_not_damaged_and_a_newer_one_is_loaded(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = saved.parent

    def look_late(path: Path) -> CheckpointReader:
        if saved.exists():
            saver = checkpoint.Saver(root, keep=checkpoint.Keep(1))
            saver.stage(checkpoint.Snapshot(6, {"w": torch.ones(2)}, {}))
            saver.close()
        return CheckpointReader(path)

    monkeypatch.setattr(restore, "CheckpointReader", look_late)
    found = checkpoint.load_newest(root)
    assert found is not None
    assert found.step == 6
    assert found.skipped == ()


def test_only_names_that_headrace_gives_are_checkpoints() -> None:
    names = (
        "step-000000012",
        "step-1234567890",
        "step-0000000012",
        "step-12",
        "step-00000001\u0662",
    )
    assert [step_of(Path(name)) for name in names] == [12, 1234567890, None, None, None]
