"""Following a run while it is written."""

from pathlib import Path

import pytest

from headrace.core.events import CheckpointSaved, Ended, LimitMoved, RankExited, Staging
from headrace.core.look import format_seconds
from headrace.core.rundir import EventWriter, RunDir
from headrace.monitor.sentences import sentence
from headrace.monitor.series import (
    averaged,
    format_energy,
    format_share,
    smoothed,
    sparkline,
    thinned,
)
from headrace.monitor.tail import Tail
from headrace.monitor.watch import Follower
from headrace.testing.rundirs import Story, loss_at, write_run


def test_a_tail_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.lines() == []
    path.write_bytes(b"a\nb")
    assert tail.lines() == [b"a"]
    assert tail.lines() == []
    with path.open("ab") as file:
        file.write(b"c\nd\n")
    assert tail.lines() == [b"bc", b"d"]


def test_a_frame_shows_the_last_attempt(tmp_path: Path) -> None:
    frame = Follower(write_run(tmp_path, Story()).root).frame(2e9)
    assert (frame.state, frame.attempt, frame.step, frame.total_steps) == ("COMPLETED", 1, 60, 60)
    assert frame.losses == tuple(loss_at(step) for step in range(1, 61))
    assert frame.limit_s == 3600.0
    assert frame.now_s < 2e9
    assert 0 < frame.elapsed_s < 60
    assert [(view.rank, view.step) for view in frame.ranks] == [(0, 60), (1, 60)]
    assert [node.node for node in frame.nodes] == ["node0"]
    assert frame.said[-1].text == "COMPLETED: All 2 ranks ended."
    assert frame.is_final


def test_a_follower_goes_on_where_it_stopped_reading(tmp_path: Path) -> None:
    done = write_run(tmp_path / "a", Story())
    run = RunDir(tmp_path / "b" / done.run_id)
    follower = Follower(run.root)
    assert follower.frame(0.0).state == "PENDING"
    files = [path for path in done.root.rglob("*") if path.is_file()]
    for path in files:
        copy = run.root / path.relative_to(done.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b"")
    for part in range(1, 8):
        for path in files:
            data = path.read_bytes()
            copy = run.root / path.relative_to(done.root)
            copy.write_bytes(data[: len(data) * part // 7])
        frame = follower.frame(2e9)
    assert (frame.state, frame.step, frame.total_steps) == ("COMPLETED", 60, 60)
    assert frame.losses[-27:] == tuple(loss_at(step) for step in range(34, 61))
    assert frame.ranks == Follower(done.root).frame(2e9).ranks


def test_a_time_limit_that_was_put_off_is_the_one_that_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path, Story())
    follower = Follower(run.root)
    frame = follower.frame(2e9)
    began_s = frame.now_s - frame.elapsed_s
    EventWriter(run, "lead", now_s=lambda: frame.now_s).write(
        LimitMoved(limit_s=began_s + 7200.0), attempt=1
    )
    assert follower.frame(2e9).limit_s == pytest.approx(7200.0)


def test_events_are_told_in_words_and_what_every_rank_repeats_is_not() -> None:
    assert sentence(RankExited(rank=3, exit_code=-9)) == "rank 3 was ended by signal 9"
    assert sentence(RankExited(rank=3, exit_code=0)) is None
    assert sentence(Ended(state="FAILED", exit_code=1, detail="why")) == "FAILED: why"
    saved = CheckpointSaved(rank=1, step=5, path="p", size_bytes=1, stall_s=0.1, durable_s=1.0)
    assert sentence(saved) is None


def test_how_far_data_has_come_is_one_line_a_node_and_source(tmp_path: Path) -> None:
    run, follower = RunDir(tmp_path), Follower(tmp_path)
    clock = iter(range(100))
    writer = EventWriter(run, "agent-n1", now_s=lambda: float(next(clock)))

    def come(gib: int, source: str = "/d") -> tuple[str, ...]:
        size_bytes = 4 << 30
        going = Staging(
            node="n1", source=source, tier="nvme", near_bytes=gib << 30, size_bytes=size_bytes
        )
        writer.write(going, attempt=0)
        return tuple(said.text for said in follower.frame(0.0).said)

    first = "copying /d to nvme of n1: 1.00 of 4.00 GiB"
    assert come(1) == (first,)
    other = first.replace("/d", "/e")
    assert come(1, "/e") == (first, other)
    assert come(3) == (other, first.replace("1.00", "3.00"))


def test_lengths_of_time_are_written_for_people() -> None:
    assert [format_seconds(s) for s in (0, 0.236, 41.4, 59.9, 200, 7200, 18_720, 183_600)] == [
        "0 s",
        "0.24 s",
        "41 s",
        "1 min",
        "3 min 20 s",
        "2 h",
        "5 h 12 min",
        "2 d 3 h",
    ]
    assert [format_share(r) for r in (0.0, 0.001, 0.826)] == ["0 %", "<1 %", "83 %"]
    assert (format_energy(12.345), format_energy(0.0123)) == ("12.3 kWh", "12.3 Wh")


def test_a_thinned_curve_keeps_its_peaks_and_its_ends_in_time() -> None:
    points = [(float(x), 100.0 if x == 7_777 else 1.0) for x in range(10_000)]
    kept = thinned(points)
    assert len(kept) <= 1500
    assert (7777.0, 100.0) in kept
    assert kept == sorted(kept)
    assert averaged([(0.0, 1.0), (1.0, 3.0)], 1) == [(0.5, 2.0)]


def test_smoothing_moves_no_step_in_time_and_leaves_a_flat_line_flat() -> None:
    line = [(float(x), 3.0) for x in range(20)]
    assert all(y == pytest.approx(3.0) for _, y in smoothed(line))
    edge = smoothed([(float(x), 0.0 if x < 10 else 1.0) for x in range(20)])
    assert edge[9][1] + edge[10][1] == pytest.approx(1.0)


def test_a_sparkline_falls_as_its_values_do() -> None:
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8) == "█▇▆▅▄▃▂▁"
    assert sparkline([5.0] * 9, 4) == "▁▁▁▁"
    assert sparkline([], 4) == ""
