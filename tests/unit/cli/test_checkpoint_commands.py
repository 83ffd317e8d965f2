"""``headrace checkpoint`` on real checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from headrace import checkpoint
from headrace.checkpoint.errors import CheckpointNotFound
from headrace.cli.checkpoint import app


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
