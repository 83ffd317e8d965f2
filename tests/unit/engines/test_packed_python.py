"""Which environment a run has, and when it is packed anew."""

import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.core.order import PythonPlace
from headrace.engines import packed_python
from headrace.engines.local.refusals import notes_on
from headrace.engines.packed_python import KEPT_S, NoEnvironment, NotPacked, find, pack
from headrace.spec import JobSpec, make


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """What looks like one."""
    prefix = tmp_path / "home/venv"
    for name in ("bin/python", "bin/torchrun", "lib/python3.12/site-packages/net.py"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text("")
        (prefix / name).chmod(0o755)
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (prefix / "lib64").symlink_to("lib")
    return prefix


def job(venv: Path, **fields: Any) -> JobSpec:  # noqa: ANN401
    given = {"run": "python train.py", "stage_python": "nvme"} | fields
    return make(cwd=venv.parent, **given)


def packed(venv: Path, **fields: Any) -> PythonPlace:  # noqa: ANN401
    environ = {"PATH": f"{venv}/bin:/usr/bin"}
    return pack(job(venv, **fields), "nvme", environ, venv.parent / "runs")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"run": "source venv/bin/activate && python train.py"}, "venv"),
        ({"run": "exec ./venv/bin/torchrun train.py"}, "./venv"),
        ({"run": "/bin/bash -c '{venv}/bin/python train.py'"}, "{venv}"),
        ({"run": None, "command": ["venv/bin/torchrun", "train.py"]}, "venv"),
        ({"env": {"PATH": "{venv}/bin"}}, None),
    ],
)
@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta"])
def test_the_environment_is_the_one_that_the_command_names_or_finds(
    venv: Path, fields: dict[str, Any], named: str | None, mark: str
) -> None:
    (venv / "pyvenv.cfg").rename(venv / mark)
    filled = {
        key: value.replace("{venv}", str(venv))
        if isinstance(value, str)
        else {name: text.replace("{venv}", str(venv)) for name, text in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in fields.items()
    }
    found = find(job(venv, **filled), {"PATH": "/usr/bin"})
    assert found == (str(venv), named and named.replace("{venv}", str(venv)))


def test_a_python_that_is_no_environment_is_refused_with_what_to_do(venv: Path) -> None:
    (venv / "pyvenv.cfg").unlink()
    with pytest.raises(NoEnvironment) as caught:
        packed(venv)
    assert str(caught.value) == (
        "error HR-ENGINE-005: stage_python: there is no Python environment to copy\n"
        f"  why: python is {venv}/bin/python, which belongs to no venv and no conda environment, "
        "and the command names none\n"
        "  fix: activate it before you submit, or name it: run: .venv/bin/python train.py"
    )
    with pytest.raises(NoEnvironment, match="stage_python") as caught:
        find(job(venv), {"PATH": ""})
    assert caught.value.why.startswith("there is no python on PATH")


def test_an_environment_is_packed_once_for_each_of_its_states(venv: Path) -> None:
    first = packed(venv)
    written = os.stat(first.archive).st_ino
    with tarfile.open(first.archive) as tar:
        assert set(tar.getnames()) >= {"bin/python", "lib64", "lib/python3.12/site-packages/net.py"}
        assert "lib64/python3.12" not in tar.getnames()
    cache = venv / "lib/python3.12/site-packages/__pycache__"
    cache.mkdir()
    (cache / "net.pyc").write_bytes(b"what Python wrote by itself")
    assert packed(venv, run="venv/bin/python train.py").archive == first.archive
    assert os.stat(first.archive).st_ino == written
    (venv / "lib/python3.12/site-packages/net.py").write_text("width = 2\n")
    second = packed(venv)
    assert second.archive != first.archive
    with tarfile.open(second.archive) as tar:
        assert "lib/python3.12/site-packages/__pycache__/net.pyc" in tar.getnames()


def test_the_base_environment_of_conda_goes_without_the_others_that_it_holds(venv: Path) -> None:
    for name in ("conda-meta", "envs/other/bin", "pkgs/torch", "lib/pkgs"):
        (venv / name).mkdir(parents=True)
    with tarfile.open(packed(venv).archive) as tar:
        tops = {name.split("/")[0] for name in tar.getnames()}
        assert tops == {"bin", "conda-meta", "lib", "lib64", "pyvenv.cfg"}
        assert "lib/pkgs" in tar.getnames()


def test_all_names_of_an_environment_are_kept(venv: Path, tmp_path: Path) -> None:
    other = tmp_path / "linked"
    other.symlink_to(venv.parent)
    place = packed(venv, run="../linked/venv/bin/python train.py")
    assert place.names == (f"{other}/venv", str(venv), "../linked/venv")


def test_an_archive_that_nothing_has_used_for_long_makes_room(venv: Path) -> None:
    first = packed(venv)
    os.utime(first.archive, (0, time.time() - KEPT_S - 60))
    (venv / "lib/python3.12/site-packages/net.py").write_text("width = 2\n")
    second = packed(venv)
    assert [str(path) for path in Path(second.archive).parent.glob("*.tar")] == [second.archive]


def test_an_environment_that_changes_while_it_is_packed_is_refused(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter([("one", 1), ("two", 1)])
    monkeypatch.setattr(packed_python, "_state", lambda prefix: next(states))
    with pytest.raises(NotPacked) as caught:
        packed(venv)
    assert str(caught.value) == (
        f"error HR-ENGINE-006: stage_python: {venv} could not be packed\n"
        "  why: it changed meanwhile\n"
        "  fix: mend that and submit again, or leave stage_python out"
    )
    assert not list((venv.parent / "runs/.python").glob("*.[tp]ar*"))


def test_a_file_system_without_room_is_said_to_have_none(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_python, "_state", lambda prefix: ("large", 1 << 60))
    with pytest.raises(NotPacked) as caught:
        packed(venv)
    assert "the file system of your runs has no room for it" in caught.value.why
    assert f"{(1 << 60) / (1 << 30):.2f} GiB" in caught.value.why


def test_on_one_machine_nothing_is_copied_and_a_note_says_so(venv: Path) -> None:
    assert notes_on(job(venv)) == (
        "stage_python is for Slurm; here ranks import from the environment itself",
    )
