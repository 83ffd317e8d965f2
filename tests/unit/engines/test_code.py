"""What a snapshot holds, and what it says of where it is from."""

import subprocess
from pathlib import Path

import pytest

from headrace.engines import code
from headrace.engines.code import CodeTooLarge, take, taken


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)
    return done.stdout.decode().strip()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    top = tmp_path / "gpt"
    (top / "scripts").mkdir(parents=True)
    (top / "model.py").write_text("width = 1\n")
    (top / "gone.py").write_text("")
    (top / "scripts/train.py").write_text("")
    (top / ".gitignore").write_text("*.bin\n")
    git(top, "init", "--quiet")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "--message", "first")
    return top


def test_a_snapshot_of_a_repository_is_its_working_folder_without_what_git_ignores(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "model.py").write_text("width = 2\n")
    (repository / "new.py").write_text("")
    (repository / "data.bin").write_text("much")
    (repository / "gone.py").unlink()
    found = take(repository / "scripts", tmp_path / "run", apart_from=tmp_path / "run")
    copy = tmp_path / "run/code"
    assert files(copy) == {".gitignore", "model.py", "new.py", "scripts/train.py"}
    assert (copy / "model.py").read_text() == "width = 2\n"
    assert found.workdir == str(copy / "scripts")
    assert (found.commit, found.dirty) == (git(repository, "rev-parse", "HEAD"), True)
    assert taken(tmp_path / "run") == found
    (repository / "model.py").write_text("width = 3\n")
    assert (copy / "model.py").read_text() == "width = 2\n"


def test_a_repository_with_all_committed_is_not_dirty(repository: Path, tmp_path: Path) -> None:
    assert not take(repository, tmp_path / "run", apart_from=tmp_path / "run").dirty


def test_a_plain_folder_is_copied_without_caches_hidden_folders_and_runs(tmp_path: Path) -> None:
    top = tmp_path / "gpt"
    for name in ("train.py", "lib/net.py", "__pycache__/net.pyc", ".venv/python", "runs/a/log"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("")
    found = take(top, top / "runs/a", apart_from=top / "runs")
    assert files(top / "runs/a/code") == {"train.py", "lib/net.py"}
    assert (found.commit, found.dirty, found.files) == (None, False, 2)


def test_a_folder_with_data_in_it_is_refused_and_the_largest_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "SIZE_MAX_BYTES", 2 << 20)
    top = tmp_path / "gpt"
    top.mkdir()
    (top / "train.py").write_text("")
    (top / "corpus.bin").write_bytes(bytes(3 << 20))
    with pytest.raises(CodeTooLarge) as caught:
        take(top, tmp_path / "run", apart_from=tmp_path / "run")
    assert str(caught.value) == (
        f"error HR-ENGINE-004: {top} is too large for a snapshot: 2 files, 3 MiB\n"
        "  why: at most 20000 files and 2 MiB are copied; the largest are corpus.bin (3 MiB), "
        "train.py (0 MiB)\n"
        "  fix: name data and results in .gitignore, or move them; or leave snapshot out"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_snapshot_has_none(tmp_path: Path) -> None:
    assert taken(tmp_path) is None
