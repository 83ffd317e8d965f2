"""``headrace data cache`` as users call it."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.data import app
from headrace.core.process import Process, boot_id
from headrace.data.cache.folder import find_folder
from headrace.data.cache.owner import Holder, holder, this_process
from headrace.data.cache.stage import Stager

ENDED = holder(Process(boot_id=boot_id(), pid=1, start_ticks=0), "ended-1")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "disk"))
    monkeypatch.setenv("HEADRACE_CACHE_MEMORY", str(tmp_path / "memory"))
    return tmp_path


def staged(base: Path, name: str, user: Holder) -> Path:
    source = base / name
    source.mkdir()
    (source / "file").write_bytes(os.urandom(1000))
    Stager("nvme", user=user, node="n0").stage(source, in_parts=False)
    return source


def call(*words: str) -> str:
    done = CliRunner().invoke(app, ["cache", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_copies_are_listed_with_who_uses_them(base: Path) -> None:
    assert call("ls") == "no copies of data are here\n"
    used, idle = staged(base, "used", this_process("living-1")), staged(base, "idle", ENDED)
    shown = json.loads(call("ls", "--json"))
    assert shown["schema"] == 1
    rows = {row["source"]: row for row in shown["sets"]}
    assert rows[str(used)]["runs"] == ["living-1"]
    assert rows[str(idle)]["runs"] == []
    assert (rows[str(idle)]["near_bytes"], rows[str(idle)]["files"]) == (1000, 1)
    lines = call("ls").splitlines()
    assert lines[0].split() == ["TIER", "SIZE", "FILES", "UNUSED", "FOR", "RUNS", "SOURCE"]
    assert len(lines) == 3


def test_clear_deletes_what_no_living_run_uses_and_says_so(base: Path) -> None:
    used, idle = staged(base, "used", this_process("living-1")), staged(base, "idle", ENDED)
    planned = call("clear", "--dry-run")
    assert planned == (
        f"would be deleted: 0.00 GiB, {idle} (nvme)\nin use by living-1: {used} (nvme)\n"
    )
    assert call("clear") == planned.replace("would be deleted", "deleted")
    cache = find_folder(base / "disk")
    assert cache is not None
    assert [one.listing.source for one in cache.sets()] == [str(used)]
    assert (idle / "file").exists()


def test_clear_of_a_source_leaves_the_others(base: Path) -> None:
    first, second = staged(base, "first", ENDED), staged(base, "second", ENDED)
    cleared = json.loads(call("clear", str(first), "--json"))
    assert [row["source"] for row in cleared["cleared"]] == [str(first)]
    assert [row["source"] for row in json.loads(call("ls", "--json"))["sets"]] == [str(second)]
