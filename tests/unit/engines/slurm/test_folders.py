"""What the files of a run say, whoever wrote them, and in what order they came to be seen."""

import os
from pathlib import Path

from tests.unit.engines.slurm.test_seeing import ASKED

from headrace.core.events import Ended, Event, LeadStarted, Placed, Started
from headrace.core.process import Process
from headrace.core.records import write_record
from headrace.core.rundir import EventWriter, RunDir
from headrace.engines.local.lead import lead_file
from headrace.engines.slurm.folders import read_history, sweep_arrays

ME = Process(boot_id="b", pid=1, start_ticks=1)
LED = LeadStarted(pid=1, start_ticks=1, boot_id="b")
STARTED = Started(placed=(Placed(node="n1", address="127.0.0.1", cpus=()),))


def tell(run: RunDir, writer: str, *told: Event, at_s: float) -> None:
    events = EventWriter(run, writer, now_s=lambda: at_s)
    for event in told:
        events.write(event, attempt=0)
    events.close()


def test_the_leads_word_that_arrives_late_comes_before_what_was_made_out_from_slurms(
    tmp_path: Path,
) -> None:
    run = RunDir(tmp_path)
    guess = Ended(state="FAILED", exit_code=1, detail="Slurm says FAILED")
    tell(run, "engine", guess, at_s=30.0)
    assert read_history(run, ASKED).exit_code == 1
    tell(run, "batch", STARTED, at_s=10.0)
    assert read_history(run, ASKED).exit_code == 1
    write_record(lead_file(run), ME)
    last = Ended(state="FAILED", exit_code=3, detail="rank 0 ended with exit code 3")
    tell(run, "lead", LED, last, at_s=20.0)
    assert read_history(run, ASKED).exit_code == 3


def test_what_the_elements_of_an_array_share_goes_when_all_their_directories_have_gone(
    tmp_path: Path,
) -> None:
    shared, day_s = tmp_path / ".arrays", 86_400.0
    for name in ("sweep_a-1", "sweep_a-2", "sweep_a-3"):
        (shared / name / "code").mkdir(parents=True)
        os.utime(shared / name, (0.0, day_s if name == "sweep_a-3" else 0.0))
    last = tmp_path / "sweep_a-1_17"
    last.mkdir()
    sweep_arrays(tmp_path, day_s + 60.0)
    assert sorted(os.listdir(shared)) == ["sweep_a-1", "sweep_a-3"]
    last.rmdir()
    sweep_arrays(tmp_path, 2 * day_s)
    assert os.listdir(shared) == []


def test_a_folder_of_runs_without_arrays_has_nothing_to_be_swept(tmp_path: Path) -> None:
    sweep_arrays(tmp_path / "not there", 0.0)
    (tmp_path / "job-1").mkdir()
    sweep_arrays(tmp_path, 1e9)
    assert os.listdir(tmp_path) == ["job-1"]
