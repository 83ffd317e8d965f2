"""Data brought to nodes before ranks start: real leads, agents, stagers and ranks."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.launched import Launched
from tests.integration.site import Site, until

from headrace import data
from headrace.core.events import Noted, RankStarted, Staged, Staging
from headrace.core.order import DataPlace, RestartPolicy
from headrace.data.cache.folder import find_folder, open_folder
from headrace.data.cache.owner import owned, this_process

READ = """
import os, sys
import numpy as np
from headrace import data
opened = data.open(os.environ["SOURCE"])
opened.read(np.arange(len(opened)))
print(os.environ["HEADRACE_DATA"], opened.files.get(0).path)
"""
SHOW = "import os; print(os.environ['HEADRACE_DATA'], os.environ['HEADRACE_DATA_1'])"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("it was the best of times " * 2000)
    folder = tmp_path / "corpus"
    folder.mkdir()
    data.pack_text([text], folder / "train.tokens", window=31)
    return folder


def cache_of(tmp_path: Path) -> dict[str, str]:
    """Ranks find the same Headrace as we."""
    return {
        "PYTHONPATH": str(Path(data.__file__).parents[2]),
        "HEADRACE_CACHE": str(tmp_path / "nvme"),
        "HEADRACE_CACHE_MEMORY": str(tmp_path / "shm"),
    }


def places(*sources: tuple[Path, str | None]) -> tuple[DataPlace, ...]:
    return tuple(DataPlace(source=str(source), tier=tier) for source, tier in sources)


def test_nodes_of_a_host_and_a_later_run_share_one_copy(
    launch: Callable[..., Launched], corpus: Path, tmp_path: Path
) -> None:
    environ = cache_of(tmp_path) | {"SOURCE": str(corpus / "train.tokens")}
    wanted = places((corpus, "nvme"))
    first = launch(sys.executable, "-c", READ, data=wanted, env=environ)
    assert first.end().state == "COMPLETED"
    later = launch(sys.executable, "-c", READ, data=wanted, env=environ)
    assert later.end().state == "COMPLETED"
    copied = [sorted(one.copied_bytes for one in run.events_of(Staged)) for run in (first, later)]
    size_bytes = (corpus / "train.tokens").stat().st_size
    assert copied == [[0, size_bytes], [0, 0]]
    cache = find_folder(tmp_path / "nvme")
    assert cache is not None
    (one,) = cache.sets()
    assert later.log().count(f"{one.tree} {one.tree}/train.tokens") == 2
    assert one.users() == []


def test_ranks_find_each_source_by_its_number(
    launch: Callable[..., Launched], corpus: Path, tmp_path: Path
) -> None:
    wanted = places((corpus, "memory"), (tmp_path / "text.txt", None))
    run = launch(sys.executable, "-c", SHOW, data=wanted, env=cache_of(tmp_path))
    assert run.end().state == "COMPLETED"
    (tree, *_) = {one.tree for one in run.events_of(Staged)}
    assert tree is not None
    assert tree.startswith(str(tmp_path / "shm"))
    assert run.log().count(f"{tree} {tmp_path}/text.txt") == 2


def test_what_does_not_fit_is_read_in_place_and_the_run_says_so(
    launch: Callable[..., Launched], corpus: Path, tmp_path: Path
) -> None:
    environ = cache_of(tmp_path) | {"HEADRACE_CACHE_LIMIT": "8K", "SOURCE": str(corpus)}
    wanted = places((corpus, "nvme"), (corpus, None))
    run = launch(sys.executable, "-c", SHOW, data=wanted, env=environ)
    assert run.end().state == "COMPLETED"
    assert run.log().count(f"{corpus} {corpus}") == 2
    assert run.log().count(f"headrace: {corpus} is read in place by node-0: 0.00 GiB do not") == 1


def test_a_source_that_is_not_there_fails_the_run_with_the_reason(
    launch: Callable[..., Launched], tmp_path: Path
) -> None:
    wanted = places((tmp_path / "none", "nvme"))
    run = launch(
        "true", data=wanted, env=cache_of(tmp_path), restart=RestartPolicy(silent_error=False)
    )
    ended = run.end()
    assert (ended.state, ended.exit_code) == ("FAILED", 3)
    assert f"staging of data ended with exit code 3: {tmp_path}/none: no data to" in ended.detail
    assert run.events_of(RankStarted) == []


def waiting_run(
    launch: Callable[..., Launched], corpus: Path, tmp_path: Path, **changes: object
) -> Launched:
    """A run whose stagers wait for the owner of the cache, which is this test."""
    run = launch("true", data=places((corpus, "nvme")), env=cache_of(tmp_path), **changes)
    until(lambda: len(run.events_of(Staging)) >= 2)
    assert {event.waits_for for event in run.events_of(Staging)} == {"other-7"}
    return run


def test_a_run_is_cancelled_at_once_while_its_data_is_being_staged(
    launch: Callable[..., Launched], corpus: Path, tmp_path: Path
) -> None:
    cache = open_folder(tmp_path / "nvme")
    with owned(cache.root, this_process("other-7")):
        run = waiting_run(launch, corpus, tmp_path)
        asked_s = time.monotonic()
        run.lead.send_signal(signal.SIGTERM)
        assert run.end().state == "CANCELLED"
        assert time.monotonic() - asked_s < 5.0
    assert run.left() == []


def test_the_time_limit_counts_while_data_is_being_staged(
    launch: Callable[..., Launched], corpus: Path, tmp_path: Path
) -> None:
    cache = open_folder(tmp_path / "nvme")
    with owned(cache.root, this_process("other-7")):
        run = waiting_run(launch, corpus, tmp_path, time_limit_s=6.0)
        assert run.end().state == "TIMEOUT"
    assert run.left() == []


def test_damaged_copies_are_counted_and_the_next_run_copies_anew(
    launch: Callable[..., Launched], corpus: Path, tmp_path: Path
) -> None:
    environ = cache_of(tmp_path) | {"SOURCE": str(corpus / "train.tokens")}
    spoil = (
        "import os\ncopy = os.environ['HEADRACE_DATA'] + '/train.tokens'\nold = os.stat(copy)\n"
        "os.chmod(copy, 0o600)\nwith open(copy, 'r+b') as file:\n"
        "    file.seek(old.st_size // 2)\n    file.write(bytes(4096))\n"
        "os.utime(copy, ns=(old.st_atime_ns, old.st_mtime_ns))\n"
    )
    argv = (sys.executable, "-c")
    wanted = places((corpus, "nvme"))
    assert launch(*argv, spoil, data=wanted, env=environ).end().state == "COMPLETED"
    run = launch(*argv, READ, data=wanted, env=environ)
    assert run.end().state == "COMPLETED"
    said = {note.text for note in run.events_of(Noted)}
    assert said == {
        f"1 copy of {corpus} on {node} had wrong bytes; the source was read instead, "
        "and the next run copies anew"
        for node in ("node-0", "node-1")
    }
    again = launch(*argv, READ, data=wanted, env=environ)
    assert again.end().state == "COMPLETED"
    assert sum(one.copied_bytes for one in again.events_of(Staged)) > 0
    assert again.events_of(Noted) == []


@pytest.mark.parametrize("tier", ["nvme", "memory"])
def test_a_job_file_says_where_data_is_staged(site: Site, corpus: Path, tier: str) -> None:
    folder = corpus.parent
    job = folder / "job.yaml"
    environ = cache_of(folder)
    (folder / "show.py").write_text("import os; print(os.environ['HEADRACE_DATA'])")
    job.write_text(
        f"run: {sys.executable} show.py\n"
        f"nodes: 2\ndata: [{{source: corpus, stage: {tier}}}]\nworkdir: {folder}\n"
        f"env: {{HEADRACE_CACHE: {environ['HEADRACE_CACHE']}, "
        f"HEADRACE_CACHE_MEMORY: {environ['HEADRACE_CACHE_MEMORY']}}}\n"
    )
    said = site("run", "--follow", str(job))
    base = folder / ("nvme" if tier == "nvme" else "shm")
    cache = find_folder(base)
    assert cache is not None
    (one,) = cache.sets()
    assert said.count(str(one.tree)) == 2
    assert one.present() == list(one.listing.files)
