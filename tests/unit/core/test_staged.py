"""How far data has come, in words."""

from pathlib import Path

from headrace.core.events import Staged, Staging
from headrace.core.records import replace
from headrace.core.rundir import EventWriter, RunDir
from headrace.core.staged import in_words, latest

GIB = 1 << 30
GOING = Staging(node="n1", source="/d", tier="nvme", near_bytes=GIB, size_bytes=4 * GIB)
DONE = Staged(
    node="n1",
    source="/d",
    tier="nvme",
    tree="/c/tree",
    root="/c",
    size_bytes=4 * GIB,
    near_bytes=4 * GIB,
    copied_bytes=4 * GIB,
    seconds=4.0,
)


def test_each_way_that_staging_goes_has_its_sentence() -> None:
    part = replace(DONE, tree=None, near_bytes=GIB, why="the rest does not fit")
    assert [
        in_words(GOING),
        in_words(replace(GOING, waits_for="run-7")),
        in_words(DONE),
        in_words(replace(DONE, copied_bytes=0)),
        in_words(part),
        in_words(replace(part, root=None)),
    ] == [
        "copying /d to nvme of n1: 1.00 of 4.00 GiB",
        "copying /d to nvme of n1: waits for run-7, which copies there now",
        "copied /d to nvme of n1: 4.00 GiB in 4.0 s, 1,024 MiB/s",
        "/d is on n1 already (4.00 GiB, nvme)",
        "1.00 of 4.00 GiB of /d are on n1, the rest is read in place: the rest does not fit",
        "/d is read in place by n1: the rest does not fit",
    ]


def test_the_latest_word_of_each_node_and_source_counts(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    writer = EventWriter(run, "agent-n1", now_s=lambda: 0.0)
    other = replace(GOING, source="/e")
    for event in (GOING, replace(GOING, near_bytes=2 * GIB), other, DONE):
        writer.write(event, attempt=0)
    assert latest(run) == [DONE, other]
