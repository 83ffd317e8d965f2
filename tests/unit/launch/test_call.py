import subprocess
import sys
from pathlib import Path

import pytest

from headrace.launch.call import NoSuchFunction, find_function


def test_a_function_of_the_working_directory_is_called(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def train(): print('called')\n")
    argv = [sys.executable, "-m", "headrace.launch.call", "mine:train"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "called\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("json", "it has no module or no function part"),
        ("no.such:thing", "there is no module no"),
        ("json:no_such", "module json has no function no_such"),
    ],
)
def test_what_cannot_be_called_is_a_usage_error(name: str, why: str) -> None:
    with pytest.raises(NoSuchFunction) as caught:
        find_function(name)
    assert str(caught.value) == (
        f"error HR-LAUNCH-001: python: {name!r} is not a function that can be called\n"
        f"  why: {why}\n"
        "  fix: name it as package.module:function, importable from the job's workdir"
    )
    assert caught.value.exit_status == 2
