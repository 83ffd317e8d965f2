"""Stagers of several runs in one cache too small for all, killed at random moments."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.data.cache.folder import find_folder
from headrace.data.cache.listing import list_source
from headrace.data.cache.owner import this_process
from headrace.data.cache.stage import Stager

MIB = 1 << 20
LIMIT = 20 * MIB
STAGER = """
import sys
from pathlib import Path
from headrace.data.cache.owner import this_process
from headrace.data.cache.stage import Stager
source, base, run, in_parts = sys.argv[1:]
environ = {"HEADRACE_CACHE": base, "HEADRACE_CACHE_LIMIT": "20M"}
stager = Stager("nvme", user=this_process(run), node="n", environ=environ)
stager.stage(Path(source), in_parts=bool(in_parts))
"""


def sources_in(folder: Path) -> list[Path]:
    found = []
    for name in ("a", "b", "c"):
        (folder / name / "sub").mkdir(parents=True)
        for number in range(12):
            (folder / name / "sub" / str(number)).write_bytes(os.urandom(MIB))
        found.append(folder / name)
    return found


def check(base: Path) -> None:
    """Whoever died when: copies are right, and take no more than they may."""
    cache = find_folder(base)
    if cache is None:
        return
    for one in cache.sets():
        for file in one.present():
            assert one.copy(file).read_bytes() == one.listing.path(file).read_bytes()
    files = (path for path in cache.root.glob("sets/*/tree/**/*") if path.is_file())
    assert sum(file.stat().st_size for file in files) <= LIMIT


@pytest.mark.parametrize("rounds", [4, pytest.param(200, marks=pytest.mark.chaos, id="200 rounds")])
def test_killed_stagers_leave_right_copies_within_the_limit(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(rounds)
    sources, base = sources_in(tmp_path / "far"), tmp_path / "near"
    before = [list_source(source) for source in sources]
    for number in range(rounds):
        stagers = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", STAGER, str(rng.choice(sources)), str(base)),
                    *(f"run-{number}{letter}", rng.choice(["", "x"])),
                ]
            )
            for letter in "xyz"
        ]
        time.sleep(rng.uniform(0.2, 1.2))
        for victim in stagers:
            if rng.random() < 0.7:
                victim.send_signal(signal.SIGKILL)
        for stager in stagers:
            assert stager.wait(60) in (0, -signal.SIGKILL)
        check(base)
    environ = {"HEADRACE_CACHE": str(base), "HEADRACE_CACHE_LIMIT": "20M"}
    last = Stager("nvme", user=this_process("last"), node="n", environ=environ)
    staged = last.stage(sources[0], in_parts=False)
    assert staged.tree is not None
    assert list_source(Path(staged.tree)).size_bytes == before[0].size_bytes
    assert not list(base.rglob("*.part"))
    assert [list_source(source) for source in sources] == before
    check(base)
