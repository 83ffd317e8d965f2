"""``headrace checkpoint`` on real checkpoints."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from headrace import checkpoint
from headrace.checkpoint import verification
from headrace.checkpoint.errors import CheckpointNotFound, FileRefused, OutputInUse
from headrace.checkpoint.manifest import Manifest
from headrace.cli.checkpoint import app
from headrace.cli.progress import Progress


def run(*words: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    saver = checkpoint.Saver(tmp_path)
    for step in (1, 2):
        saver.stage(checkpoint.Snapshot(step, {"w": torch.ones(4)}, {}), must=True)
    saver.close()
    return tmp_path


def flip(root: Path) -> None:
    path = root / "step-000000002" / "shard-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_ls_lists_newest_first_and_marks_latest(root: Path) -> None:
    said = json.loads(run("ls", root, "--json"))
    assert said["schema"] == 1
    rows = [(row["step"], row["tensors"], row["latest"]) for row in said["checkpoints"]]
    assert rows == [(2, 1, True), (1, 1, False)]
    first, second = run("ls", root).splitlines()
    assert first.startswith(f"{root}/step-000000002 ")
    assert first.endswith("1 tensors  ok  latest")
    assert second.endswith("1 tensors  ok")


def test_ls_says_which_one_is_not_whole(root: Path) -> None:
    (root / "step-000000002" / "manifest.json").unlink()
    assert run("ls", root).splitlines()[0] == (
        f"{root}/step-000000002  damaged: manifest.json is missing  latest"
    )


def test_ls_of_an_empty_folder_prints_nothing_and_of_none_is_refused(tmp_path: Path) -> None:
    assert run("ls", tmp_path) == ""
    with pytest.raises(CheckpointNotFound):
        run("ls", tmp_path / "none")


def test_verify_finds_a_flipped_bit_that_ls_does_not_look_for(root: Path) -> None:
    assert run("verify", root).count("ok") == 2
    flip(root)
    assert "damaged" not in run("ls", root)
    said = json.loads(run("verify", root, "--json", status=1))
    assert [row["damage"] for row in said["checkpoints"]] == [
        "shard-00000.safetensors: the hash of w differs",
        None,
    ]
    run("verify", root / "step-000000001")
    run("verify", root / "step-000000002", status=1)


def test_verify_of_nothing_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "step-000000001"):
        with pytest.raises(CheckpointNotFound):
            run("verify", path)


def test_export_import_and_reshard_say_what_they_made(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("export", root, "--out", out / "hf") == f"{out}/hf/model.safetensors\n"
    said = json.loads(run("import", out / "hf", "--out", out / "start", "--json"))
    assert said == {"schema": 1, "paths": [f"{out}/start/step-000000000"]}
    found = checkpoint.load(out / "start" / "step-000000000")
    assert torch.equal(found.tensors["model/w"], torch.ones(4))
    newest = root / "step-000000002"
    made = run("reshard", newest, "--out", out / "new", "--shards", 2).strip()
    assert made == f"{out}/new/step-000000002"
    rows = json.loads(run("verify", made, "--json"))["checkpoints"]
    assert [(row["files"], row["damage"]) for row in rows] == [(2, None)]


def test_export_takes_a_type_and_a_size_and_refuses_others(root: Path, tmp_path: Path) -> None:
    run("export", root, "--out", tmp_path / "a", "--dtype", "bf16", "--max-shard-size", "1M")
    from safetensors.torch import load_file

    assert load_file(tmp_path / "a" / "model.safetensors")["w"].dtype is torch.bfloat16
    run("export", root, "--out", tmp_path / "b", "--dtype", "int8", status=2)
    run("export", root, "--out", tmp_path / "b", "--max-shard-size", "many", status=2)
    with pytest.raises(CheckpointNotFound):
        run("export", tmp_path / "a", "--out", tmp_path / "b")
    with pytest.raises(CheckpointNotFound):
        run("import", tmp_path / "nowhere", "--out", tmp_path / "b")


def test_a_checkpoint_is_one_also_under_another_name_or_as_the_folder_one_stands_in(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = (root / "step-000000002").rename(tmp_path / "copy")
    monkeypatch.chdir(copy)
    for command in ("ls", "verify"):
        assert "1 tensors  ok" in run(command, copy)
        assert run(command, ".").startswith(".  ")


def test_what_a_run_deletes_meanwhile_is_not_damage(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_late(path: Path) -> Manifest:
        shutil.rmtree(root / "step-000000001", ignore_errors=True)
        return verification.check_files(path)

    monkeypatch.setattr(verification, "verify", look_late)
    (row,) = json.loads(run("verify", root, "--json"))["checkpoints"]
    assert (row["step"], row["damage"]) == (2, None)


def test_a_model_is_exported_into_an_empty_folder_that_stays_the_same_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, link = tmp_path / "out", tmp_path / "link"
    out.mkdir()
    link.symlink_to(out)
    monkeypatch.chdir(out)
    for name in (".", link):
        run("export", root, "--out", name)
        assert os.listdir(out) == os.listdir(".") == ["model.safetensors"]
        with pytest.raises(OutputInUse):
            run("export", root, "--out", name)
        (out / "model.safetensors").unlink()


def test_what_the_system_refuses_is_told_in_words(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileRefused) as caught:
        run("export", root, "--out", file / "out")
    assert str(caught.value) == (
        f"error HR-CKPT-009: {file}: File exists\n"
        "  why: the disk is full or gone, or this user may not read or write there; nothing that "
        "is not whole was left behind\n"
        "  fix: free space, or name a folder where you may write"
    )
    shard = root / "step-000000001" / "shard-00000.safetensors"
    for words in (("reshard", root, "--shards", 2), ("import", shard)):
        with pytest.raises(FileRefused):
            run(*words, "--out", file / "out")


def test_a_command_that_is_told_to_end_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(self: Progress, what: str, done: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "__call__", tell)
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for words in (("export", root), ("reshard", root, "--shards", 2)):
            done = CliRunner().invoke(
                app, [*map(str, words), "--out", str(tmp_path / "out" / "it")]
            )
            assert done.exit_code == 130
            assert [path for path in (tmp_path / "out").glob("**/*") if path.name != "it"] == []
    finally:
        signal.signal(signal.SIGTERM, before)
