"""Modules are loaded by a real shell, from an init file like Lmod's."""

import os
import subprocess
from pathlib import Path

from headrace.spec import make, to_yaml
from headrace.spec.job import JobSpec
from headrace.spec.load import read_submitted
from headrace.spec.modules import with_modules

INIT = 'module() { [ "$2" != nosuch ] && export LOADED="$*"; }\n'


def spec_of(folder: Path, *names: str) -> JobSpec:
    return make(cwd=folder, command=("printenv", "LOADED"), modules=list(names))


def ran(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    (folder / "init").mkdir()
    (folder / "init/bash").write_text(INIT)
    argv = with_modules(spec_of(folder, *names), ("printenv", "LOADED"))
    environ = {"PATH": os.environ["PATH"], "MODULESHOME": str(folder)}
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)


def test_the_program_runs_with_its_modules_loaded(tmp_path: Path) -> None:
    done = ran(tmp_path, "cuda/12.4", "openmpi")
    assert (done.stdout, done.returncode) == ("load cuda/12.4 openmpi\n", 0)


def test_a_module_that_is_not_there_ends_the_rank_with_its_name(tmp_path: Path) -> None:
    done = ran(tmp_path, "nosuch")
    assert done.returncode == 78
    assert done.stderr.startswith("headrace: modules not loaded on ")
    assert done.stderr.endswith(": nosuch\n")


def test_without_modules_the_program_is_started_as_it_is(tmp_path: Path) -> None:
    assert with_modules(spec_of(tmp_path), ("true",)) == ("true",)


def test_modules_survive_being_written_down(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "cuda/12.4")
    assert read_submitted(to_yaml(spec)).modules == ("cuda/12.4",)
