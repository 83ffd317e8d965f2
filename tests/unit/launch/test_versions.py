"""Versions are read from the names of folders, of the Python that the ranks will use."""

from pathlib import Path

from headrace import __version__
from headrace.launch.versions import driver_version, find_python, python_versions, versions


def venv(root: Path, *packages: str) -> Path:
    python = root / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    for package in packages:
        (root / "lib/python3.11/site-packages" / package).mkdir(parents=True)
    return python


def test_packages_of_a_venv_are_found_beside_its_python(tmp_path: Path) -> None:
    python = venv(
        tmp_path / "v",
        "torch-2.11.0+cu128.dist-info",
        "torchvision-0.26.dist-info",
        "nvidia_nccl_cu12-2.28.3.dist-info",
    )
    assert python_versions(python) == {"Python": "3.11", "torch": "2.11.0+cu128", "NCCL": "2.28.3"}


def test_a_python_of_the_program_itself_comes_before_the_path(tmp_path: Path) -> None:
    ours, first = venv(tmp_path / "a"), venv(tmp_path / "b")
    path = f"{first.parent}:/usr/bin"
    assert find_python([str(ours), "train.py"], path) == ours
    assert find_python(["python", "train.py"], path) == first
    assert find_python(["/bin/bash", "-c", "python train.py"], path) == first
    assert find_python(["/bin/true"], str(tmp_path)) is None


def test_in_an_image_the_python_of_the_node_does_not_matter(tmp_path: Path) -> None:
    path = {"PATH": str(venv(tmp_path / "v", "torch-2.11.0.dist-info").parent)}
    assert "torch" in versions(["python", "train.py"], path)
    assert "torch" not in versions(["apptainer", "exec", "model.sif", "python"], path)
    assert "torch" not in versions(["/bin/bash", "-c", "...", "enroot", "m.sqsh", "python"], path)


def test_without_a_python_headrace_itself_is_still_compared(tmp_path: Path) -> None:
    found = versions(["/bin/true"], {"PATH": str(tmp_path)})
    assert found["headrace"] == __version__
    assert "torch" not in found


def test_the_driver_is_read_from_its_own_file(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 17\nGCC\n")
    assert driver_version(file) == "535.161.08"
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release\n")
    assert driver_version(file) == "570.86.15"
    assert driver_version(tmp_path / "absent") is None
