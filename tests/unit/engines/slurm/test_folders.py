"""What the files of a run say, whoever wrote them, and in what order they came to be seen."""

from pathlib import Path

from tests.unit.engines.slurm.test_seeing import ASKED

from headrace.core.events import Ended, Event, LeadStarted, Placed, Started
from headrace.core.process import Process
from headrace.core.records import write_record
from headrace.core.rundir import EventWriter, RunDir
from headrace.engines.local.lead import lead_file
from headrace.engines.slurm.folders import read_history

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
