"""Figures, notes and files of a report."""

from pathlib import Path

import pytest

from headrace.core.events import CheckpointFailed, NodeFinding, NodeSample, Placed
from headrace.core.records import read_record, replace
from headrace.core.rundir import RunDir
from headrace.monitor.history import History, NodeSeries, PhasePoint, Span, load
from headrace.monitor.page import page, summary, time_rows
from headrace.monitor.report import Report, report
from headrace.monitor.timeline import Cause, time_by_cause
from headrace.monitor.usage import energy
from headrace.monitor.write import ReportNotWritten, write_report
from headrace.testing.rundirs import Story, loss_at, write_run

PNG = b"\x89PNG\r\n\x1a\n"


def told(tmp_path: Path, story: Story) -> History:
    return load(write_run(tmp_path, story).root)


def test_time_of_a_run_with_a_restart_goes_to_its_causes(tmp_path: Path) -> None:
    found = time_by_cause(told(tmp_path, Story()))
    assert found.seconds == pytest.approx(
        {
            "queue": 30.0,
            "start_up": 8.0,
            "init_restore": 6.0,
            "data": 3.0,
            "forward_backward": 18.0,
            "sync": 3.0,
            "optimizer": 4.5,
            "checkpoint": 0.6,
            "evaluate": 0.0,
            "lost": 6.5 + 5.0,
            "other": 1.5 + 0.5,
        },
        abs=1e-3,
    )
    assert found.useful_s == pytest.approx(30.0, abs=1e-3)


def test_a_silent_attempt_that_failed_is_lost_and_the_last_one_is_other(tmp_path: Path) -> None:
    seconds = time_by_cause(told(tmp_path, Story(speaks=False))).seconds
    assert seconds[Cause.LOST] == pytest.approx(4.0 + 33 * 0.5 + 5.0, abs=1e-3)
    assert seconds[Cause.OTHER] == pytest.approx(4.0 + 60 * 0.5 + 0.5, abs=1e-3)


def test_the_report_counts_steps_once_and_says_what_was_done_twice(tmp_path: Path) -> None:
    found = report(told(tmp_path, Story()))
    assert (found.steps, found.steps_repeated, found.total_steps, found.restarts) == (60, 13, 60, 1)
    assert found.samples == 3840
    assert found.samples_per_s_median == pytest.approx(128.0)
    assert found.samples_per_s_overall == pytest.approx(3840 / 56.6, rel=1e-3)
    assert found.loss is not None
    assert found.loss.best_step == 58
    assert (found.loss.first, found.loss.last) == (loss_at(1), loss_at(60))
    assert found.checkpoints is not None
    assert (found.checkpoints.saved, found.checkpoints.stall_s) == (3, 0.2)
    assert found.goodput == pytest.approx(30 / 86.6, rel=1e-3)
    assert found.usage.cpu_hours_allocated == pytest.approx(4 * 56.6 / 3600, rel=1e-3)
    assert [a.outcome for a in found.attempts] == ["error", "completed"]


def test_a_step_whose_report_was_lost_with_its_rank_still_counts(tmp_path: Path) -> None:
    history = told(tmp_path, Story(restarts=0))
    unheard = replace(history, steps=history.steps[:-1])
    assert report(unheard).steps == 60


def test_leaving_the_session_is_not_taken_for_its_start(tmp_path: Path) -> None:
    history = told(tmp_path, Story(restarts=0))
    last_s = history.steps[-1].metric.time_s
    closing = PhasePoint(attempt=0, time_s=last_s, phase="init")
    longer = replace(
        history,
        phases=(*history.phases, closing),
        attempts=(replace(history.attempts[0], end_s=last_s + 10),),
        end_s=last_s + 10,
    )
    found, before = time_by_cause(longer).seconds, time_by_cause(history).seconds
    assert found[Cause.INIT_RESTORE] == before[Cause.INIT_RESTORE]
    assert found[Cause.OTHER] > before[Cause.OTHER] + 9


def test_gpu_hours_are_held_also_between_attempts(tmp_path: Path) -> None:
    used = report(told(tmp_path, Story(gpus=2))).usage
    assert used.gpu_hours_allocated == pytest.approx(2 * 56.6 / 3600, rel=1e-3)
    assert used.gpu_ratio is not None
    assert used.gpu_hours_used == pytest.approx(used.gpu_hours_allocated * used.gpu_ratio)
    assert used.gpu_memory_peak_bytes == 60 << 30


def sample(**changes: object) -> NodeSample:
    whole = NodeSample(time_s=0.0, cpu_ratio=0.5, cpu_s=3600.0, memory_bytes=1)
    return replace(whole, **changes)


def series(*samples: NodeSample) -> list[NodeSeries]:
    return [NodeSeries(attempt=0, node="a", samples=samples)]


def test_measured_energy_is_not_estimated_again() -> None:
    found = energy(
        series(sample(energy_j=7.2e6, energy_parts=("gpu", "cpu"))), gpu_s=3600.0, gpu_ratio=1.0
    )
    assert (found.total_kwh, found.measured_kwh, found.estimated_kwh) == (2.0, 2.0, 0.0)
    assert found.method == "counters of the devices"


def test_without_a_gpu_counter_a_busy_gpu_is_taken_for_900_w_host_included() -> None:
    found = energy(series(sample()), gpu_s=7200.0, gpu_ratio=0.5)
    assert (found.total_kwh, found.measured_kwh) == (0.9, 0.0)
    assert found.method == "GPU and host: 900 W x busy GPU time"


def test_processors_without_a_counter_are_estimated_beside_measured_gpus() -> None:
    found = energy(series(sample(energy_j=3.6e6, energy_parts=("gpu",))), gpu_s=1.0, gpu_ratio=1.0)
    assert found.measured_kwh == 1.0
    assert found.estimated_kwh == pytest.approx(0.005)
    assert found.method == "counters of the devices; CPU: 5 W x busy CPU time"


def test_energy_of_a_run_that_was_never_sampled_is_unknown() -> None:
    assert energy([], gpu_s=0.0, gpu_ratio=None).total_kwh is None


def test_sampled_gpu_power_is_added_up_over_time(tmp_path: Path) -> None:
    used = report(told(tmp_path, Story(gpus=1, restarts=0))).usage
    assert "sampled power" in used.energy.method
    assert used.energy.total_kwh == pytest.approx(550 * 37 / 3.6e6, rel=0.2)


def test_little_used_cpus_bring_a_note_with_the_line_to_write() -> None:
    wide = Placed(node="a", address="h", cpus=tuple(range(8)))
    idle = [sample(time_s=float(i), cpu_s=0.96 * i, cpu_ratio=0.12) for i in range(101)]
    history = History(
        run_id="r-1",
        user="ada",
        job="",
        begin_s=0.0,
        end_s=100.0,
        state="COMPLETED",
        detail="",
        spans=(Span(state="RUNNING", start_s=0.0, end_s=100.0, placed=(wide,)),),
        nodes=tuple(series(*idle)),
    )
    assert report(history).notes == ("CPU use was 12 % of 8 cores: ask for cpus_per_rank: 2.",)
    few = replace(history, nodes=tuple(series(*idle[:9])))
    assert report(few).notes == ()


def test_a_restart_that_cost_much_and_memory_that_was_not_used_bring_notes(tmp_path: Path) -> None:
    assert report(told(tmp_path, Story())).notes == (
        "Restarts cost 12 s and 13 steps were done twice: a shorter checkpoint interval "
        "(checkpoint: {every: ..}) loses less.",
        "Memory peaked at 2.0 of 16 GiB a node: ask for memory: 3G.",
    )


def test_a_silent_program_is_told_how_to_speak(tmp_path: Path) -> None:
    notes = report(told(tmp_path, Story(speaks=False, restarts=0))).notes
    assert notes[0].startswith("The program reports no steps, so its time cannot be split")


def test_the_files_are_written_beside_the_run_and_say_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path, Story())
    written = write_report(run.root)
    assert written.png.read_bytes().startswith(PNG)
    assert read_record(written.json, Report) == written.report
    html = written.html.read_text()
    assert "data:image/png;base64," in html
    assert "13 done twice" in html
    assert "<script" not in html


def test_a_picture_can_be_drawn_of_every_kind_of_run(tmp_path: Path) -> None:
    stories = [
        Story(run_id="silent-1", speaks=False),
        Story(run_id="gpus-1", gpus=2, energy=True, steps=400, checkpoint_every=100),
        Story(run_id="now-1", end=None, steps=1, restarts=0),
    ]
    for story in stories:
        assert write_report(write_run(tmp_path, story).root).png.read_bytes().startswith(PNG)
    empty = tmp_path / "empty-1"
    empty.mkdir()
    assert write_report(empty).report.state == "PENDING"


def test_names_and_details_are_escaped_in_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    found = replace(
        report(told(tmp_path, Story())), run_id=evil, detail=evil, user=evil, notes=(evil,)
    )
    assert evil not in page(found, PNG)
    assert page(found, PNG).count("&lt;script&gt;") >= 5


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, Story(restarts=0))
    run.root.joinpath("report.png").mkdir()
    with pytest.raises(ReportNotWritten) as caught:
        write_report(run.root)
    assert str(caught.value) == (
        f"error HR-MONITOR-001: cannot write the report into {run.root}: Is a directory\n"
        "  why: a report lies in the run directory, next to what it was made of\n"
        "  fix: make room or ask the run's owner; --json prints the report without writing"
    )


def test_the_summary_marks_an_estimate(tmp_path: Path) -> None:
    rows = dict(summary(report(told(tmp_path, Story()))))
    assert rows["energy"] == "0.183 Wh (estimate: CPU: 5 W x busy CPU time)"
    assert rows["steps"] == "60 of 60, 13 done twice"
    assert rows["attempts"] == "2 (1 restart)"


def test_causes_that_took_no_time_are_left_out_of_the_table(tmp_path: Path) -> None:
    rows = time_rows(report(told(tmp_path, Story(restarts=0))))
    assert [row[0] for row in rows][:2] == ["waiting in the queue", "start-up"]
    assert "evaluation" not in [row[0] for row in rows]


def test_a_report_reads_nothing_but_the_run_directory(tmp_path: Path) -> None:
    run = write_run(tmp_path, Story())
    moved = tmp_path / "elsewhere-1"
    run.root.rename(moved)
    assert write_report(RunDir(moved).root).report.steps == 60


def test_what_was_found_before_the_start_is_said_once_with_its_remedy(tmp_path: Path) -> None:
    found = NodeFinding(nodes=("n2",), check="shm", level="hard", text="no room", remedy="make it")
    note = replace(found, level="note")
    history = replace(told(tmp_path, Story()), findings=(found, found, note))
    said = report(history).notes
    assert said[0] == "n2: cannot be used: no room: make it."
    assert sum("no room" in one for one in said) == 1


def test_saves_that_failed_are_counted_with_the_newest_that_did_not(tmp_path: Path) -> None:
    history = told(tmp_path, Story())
    failed = tuple(
        CheckpointFailed(rank=0, step=step, detail="No space left on device") for step in (70, 80)
    )
    newest = max(checkpoint.step for checkpoint in history.checkpoints)
    assert (
        "2 checkpoints were not saved, the last of step 80: No space left on device; the newest is "
        f"of step {newest}: headrace storage PATH shows what is left of the disk."
    ) in report(replace(history, failed_saves=failed)).notes
