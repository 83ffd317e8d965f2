"""Environments unpacked on a node: once, whole, and only as long as there is room."""

import os
import tarfile
from pathlib import Path

import pytest

from headrace.core.order import PythonPlace
from headrace.core.process import Process
from headrace.data.cache.errors import CacheRefused
from headrace.data.cache.owner import Holder, holder, this_process
from headrace.launch.near_python import bring, relocated

NAMES = ("/home/ada/venv", "/lustre/ada/venv", "venv")


@pytest.mark.parametrize(
    ("script", "moved"),
    [
        ("#!/home/ada/venv/bin/python3\nimport a\n", "#!/tmp/t/bin/python3\nimport a\n"),
        ("#!/lustre/ada/venv/bin/python -E\n", "#!/tmp/t/bin/python -E\n"),
        ("#!/home/ada/venv2/bin/python\n", "#!/home/ada/venv2/bin/python\n"),
        ("#!/usr/bin/env python\nvenv/bin\n", "#!/usr/bin/env python\nvenv/bin\n"),
        ("VIRTUAL_ENV='/home/ada/venv'\n", "VIRTUAL_ENV='/tmp/t'\n"),
        ("#!/bin/sh\n'''exec' /home/ada/venv/bin/python", "#!/bin/sh\n'''exec' /tmp/t/bin/python"),
        ("\0ELF/home/ada/venv/lib", "\0ELF/home/ada/venv/lib"),
    ],
)
def test_scripts_of_a_copy_start_the_python_beside_them(script: str, moved: str) -> None:
    assert relocated(script.encode(), NAMES, "/tmp/t").decode() == moved


def test_a_first_line_too_long_for_a_kernel_becomes_one_of_sh() -> None:
    tree = "/tmp/" + "t" * 130
    moved = relocated(b"#!/home/ada/venv/bin/python\nimport a\n", NAMES, tree)
    assert moved.decode() == (
        f"#!/bin/sh\n'''exec' {tree}/bin/python \"$0\" \"$@\"\n' '''\nimport a\n"
    )


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "nvme"))
    monkeypatch.delenv("HEADRACE_CACHE_LIMIT", raising=False)


def archive(tmp_path: Path, digest: str, text: str = "") -> PythonPlace:
    """Of an environment whose one script says what it was packed with."""
    prefix = tmp_path / "venv"
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    (prefix / "bin/tool").write_text(f"#!{prefix}/bin/python\n{text}\n")
    path = tmp_path / f"{digest}.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(prefix, ".")
    return PythonPlace(names=(str(prefix),), archive=str(path), size_bytes=1 << 20, tier="nvme")


def brought(place: PythonPlace, user: Holder | None = None) -> tuple[Path, int]:
    return bring(place, user or this_process("run-1"), "n1", lambda said: None)


def gone() -> Holder:
    return holder(Process(boot_id="another", pid=1, start_ticks=1), "run-0")


def test_the_second_run_on_a_node_finds_the_copy_there(tmp_path: Path) -> None:
    place = archive(tmp_path, "aa")
    copy, written_bytes = brought(place)
    assert written_bytes == place.size_bytes
    assert (copy / "tree/bin/tool").read_text() == f"#!{copy}/tree/bin/python\n\n"
    (copy / "users/run-0.n1.json").write_bytes(b"torn")
    assert brought(place, this_process("run-2")) == (copy, 0)
    assert {path.name for path in (copy / "users").iterdir()} == {
        "run-1.n1.json",
        "run-2.n1.json",
    }


def test_what_was_half_unpacked_is_unpacked_anew(tmp_path: Path) -> None:
    place = archive(tmp_path, "aa")
    half = tmp_path / f"nvme/headrace-cache-{os.getuid()}/python/.new/tree/bin"
    brought(archive(tmp_path, "bb"))
    half.mkdir(parents=True)
    (half / "half").touch()
    copy, _ = brought(place)
    assert sorted(path.name for path in (copy / "tree/bin").iterdir()) == ["tool"]


def test_an_earlier_state_goes_unless_a_living_run_imports_from_it(tmp_path: Path) -> None:
    first, _ = brought(archive(tmp_path, "aa"))
    second, _ = brought(archive(tmp_path, "bb"))
    assert first.exists()
    for user in first.glob("users/*"):
        user.unlink()
    third, _ = brought(archive(tmp_path, "cc"))
    assert not first.exists()
    assert second.exists()
    assert third.exists()


def test_a_copy_of_another_boot_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = brought(archive(tmp_path, "aa"), gone())
    monkeypatch.setattr("headrace.launch.near_python.boot_id", lambda: "0123456789")
    second, written_bytes = brought(archive(tmp_path, "aa"))
    assert second.name == "aa.01234567"
    assert written_bytes
    assert second != first


def test_what_does_not_fit_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE_LIMIT", "1M")
    with pytest.raises(CacheRefused) as caught:
        brought(PythonPlace(**{**_fields(archive(tmp_path, "aa")), "size_bytes": 2 << 30}))  # type: ignore[arg-type]
    assert caught.value.why == "2.00 GiB do not fit in the 0.00 GiB it may take"


def _fields(place: PythonPlace) -> dict[str, object]:
    return {name: getattr(place, name) for name in place.__struct_fields__}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_an_archive_of_another_user_is_not_unpacked(tmp_path: Path) -> None:
    place = archive(tmp_path, "aa")
    os.chown(place.archive, 12345, 12345)
    with pytest.raises(PermissionError, match="is another user's"):
        brought(place)
