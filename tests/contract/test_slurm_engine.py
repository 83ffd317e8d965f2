"""The Slurm engine where the cluster is unkind, on the fake Slurm."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.places import CPUS, Place, environ_of
from tests.integration.site import until

from headrace.control.cluster import cluster_door
from headrace.core.errors import HeadraceError
from headrace.core.events import CheckpointSaved, Requeued
from headrace.core.order import Order
from headrace.core.process import boot_id
from headrace.core.records import read_record
from headrace.core.rundir import EventWriter
from headrace.core.states import State
from headrace.engines.contract import Batch
from headrace.engines.local.submission import Submission
from headrace.engines.slurm.engine import SlurmEngine
from headrace.spec import make, to_yaml
from headrace.testing.fake_slurm import FakeSlurm


class Site:
    """A fake cluster and a place on it."""

    def __init__(self, folder: Path, *, accounting: bool = True, pyxis: bool = False) -> None:
        self.folder = folder
        self.slurm = FakeSlurm(
            folder / "slurm", max_array_size=11, accounting=accounting, pyxis=pyxis
        )
        self.environ = self.slurm.environ(environ_of(folder))

    def place(self, poll_s: float = 0.1) -> Place:
        door = cluster_door(self.environ, poll_s=poll_s)
        return Place(self.folder, door, self.environ, cpus=CPUS)

    def forget_jobs(self) -> None:
        """As Slurm does MinJobAge after they ended."""
        (self.slurm.folder / "jobs.json").write_text("[]")

    def kill_batch(self) -> None:
        until(lambda: self.batch_pid() is not None)
        os.kill(self.batch_pid() or 0, 9)

    def batch_pid(self) -> int | None:
        (job,) = json.loads((self.slurm.folder / "jobs.json").read_text())
        found: int | None = job["batch_pid"]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for row in made.place().door.runs(ended=False):
        made.place().door.cancel(row.id, now=True)


def test_a_job_that_was_killed_before_it_could_say_a_word_ends_as_slurm_says(site: Site) -> None:
    place = site.place()
    given = place.submit("sleep", "60")
    place.until(given.id, State.RUNNING)
    site.kill_batch()
    (row,) = place.end(given.id)
    assert (row.state, row.exit_code) == (State.FAILED, 1)
    assert "Slurm says FAILED" in row.reason
    assert site.place().row(given.id) == row


@pytest.mark.parametrize("accounting", [True, False])
def test_a_run_that_nobody_knows_the_end_of_is_unknown(tmp_path: Path, accounting: bool) -> None:
    site = Site(tmp_path, accounting=accounting)
    place = site.place()
    given = place.submit("sleep", "60")
    place.until(given.id, State.RUNNING)
    site.kill_batch()
    until(lambda: '"FAILED"' in (site.slurm.folder / "jobs.json").read_text())
    site.forget_jobs()
    (row,) = place.end(given.id)
    assert row.state is State.UNKNOWN
    asked = [words for words in site.slurm.calls() if words[0] == "sacct"]
    assert bool(asked) == accounting


@pytest.mark.parametrize("state", [State.RUNNING, State.UNKNOWN])
def test_a_run_that_nobody_saw_for_a_while_can_be_cancelled(tmp_path: Path, state: State) -> None:
    """A squeue that tells of it only when asked for hidden partitions, or that tells nothing."""
    site = Site(tmp_path, accounting=False)
    place = site.place()
    given = place.submit("sleep", "60")
    place.until(given.id, State.RUNNING)
    until(lambda: place.folder_of(given.id).attempts() != [])
    squeue = site.slurm.folder / "bin" / "squeue"
    kept = squeue.read_text()
    word = "--all" if state is State.RUNNING else "nothing"
    squeue.write_text(f'#!/bin/sh\ncase "$*" in *{word}*) ;; *) exit 0 ;; esac\n{kept}')
    time.sleep(2.0)
    for answer in (tmp_path / "state").rglob("queue-*.json"):
        answer.unlink()
    assert place.row(given.id).state is state
    squeue.write_text(kept)
    (acted,) = place.door.cancel(given.id, now=True)
    assert "ended" not in acted.text
    jobs = site.slurm.folder / "jobs.json"
    until(lambda: json.loads(jobs.read_text())[0]["state"] == "CANCELLED")


def test_what_no_partition_can_run_is_refused_by_what_the_cluster_is_now(site: Site) -> None:
    place = site.place()
    for fields in ({"partition": "nowhere"}, {"nodes": 99}):
        with pytest.raises(HeadraceError) as error:
            place.submit("true", **fields)
        assert error.value.code in ("HR-SLURM-006", "HR-SLURM-007")
    assert not any(words[0] == "sbatch" for words in site.slurm.calls())
    assert place.door.runs(ended=True) == []


def test_what_slurm_refuses_leaves_no_run_behind(site: Site) -> None:
    place = site.place()
    with pytest.raises(HeadraceError) as error:
        place.submit("true", reservation="nowhere")
    assert (error.value.code, error.value.exit_status) == ("HR-SLURM-002", 4)
    assert "Requested reservation is invalid" in error.value.why
    assert place.door.runs(ended=True) == []
    assert [path.name for path in Path(place.door.runs_folder()).iterdir()] == [".numbers"]


@pytest.mark.parametrize(
    "place", ["fake-25.11", pytest.param("real", marks=pytest.mark.slow)], indirect=True
)
@pytest.mark.parametrize("fields", [{}, {"array": "0-1"}])
def test_a_job_that_slurm_took_without_saying_so_in_time_is_found(
    place: Place, fields: dict[str, str]
) -> None:
    late = place.folder / "late"
    late.mkdir()
    program = late / "sbatch"
    program.write_text(
        f'#!/bin/sh\nPATH={place.environ["PATH"]} sbatch "$@" >&2\n'
        "echo sbatch: error: Batch job submission failed: Socket timed out >&2\nexit 1\n"
    )
    program.chmod(0o755)
    path = f"{late}:{place.environ['PATH']}"
    door = cluster_door(place.environ | {"PATH": path}, poll_s=0.1)
    spec = make(cwd=place.folder, command=("true",), name="job", time="10m", **fields)
    given = door.submit(to_yaml(spec), place.environ, token=None)
    assert [row.state for row in place.end(given.id)] == [State.COMPLETED] * len(given.runs)


def test_mpi_ranks_are_started_in_an_image_of_enroots_where_srun_has_pyxis(
    site: Site, tmp_path: Path
) -> None:
    with pytest.raises(HeadraceError) as error:
        site.place().submit("true", framework="mpi", image="model.sqsh")
    assert (error.value.code, "ask an admin for pyxis" in error.value.remedy) == (
        "HR-SLURM-003",
        True,
    )
    other = Site(tmp_path / "other", pyxis=True)
    place = other.place()
    (row,) = place.end(place.submit("true", framework="mpi", image="model.sqsh").id)
    assert row.state is State.COMPLETED
    started = [words for words in other.slurm.calls() if words[0] == "srun"]
    assert f"--container-image={other.folder}/model.sqsh" in started[-1]
    assert started[-1][-1] == "true"


def test_the_job_file_counts_and_not_what_the_user_has_set_for_sbatch(site: Site) -> None:
    site.environ |= {"SBATCH_TIMELIMIT": "1", "SBATCH_ARRAY_INX": "0-3", "SBATCH_WCKEY": "x"}
    given = site.place().submit("true", time="8h")
    assert [note for note in given.notes if "SBATCH" in note] == [
        "SBATCH_TIMELIMIT is left out: the job file asks for --time=08:01:00"
    ]
    (job,) = json.loads((site.slurm.folder / "jobs.json").read_text())
    assert [name for name in job["environ"] if name.startswith("SBATCH")] == ["SBATCH_WCKEY"]


def test_a_partition_that_only_the_users_variable_names_is_the_one_that_is_looked_at(
    site: Site,
) -> None:
    site.environ |= {"SBATCH_PARTITION": "short"}
    notes = site.place().submit("true", time="8h").notes
    assert any("short gives a run at most 10m" in note for note in notes), notes
    assert any("would give it that" in note and "main" in note for note in notes), notes
    site.environ |= {"SBATCH_PARTITION": "nowhere"}
    with pytest.raises(HeadraceError, match="there is no partition nowhere"):
        site.place().submit("true")


def test_a_job_that_another_cluster_took_is_cancelled_there_and_no_job_here(site: Site) -> None:
    place = site.place()
    ours = place.submit("sleep", "60").id
    place.until(ours, State.RUNNING)
    (site.slurm.folder / "bin" / "sbatch").write_text("#!/bin/sh\necho '1;b'\n")
    with pytest.raises(HeadraceError) as error:
        place.submit("true", slurm={"sbatch": {"clusters": "b"}})
    assert (error.value.code, error.value.exit_status) == ("HR-SLURM-008", 4)
    assert ["scancel", "--clusters=b", "1"] in site.slurm.calls()
    assert [row.id for row in place.door.runs(ended=True)] == [ours]
    assert place.row(ours).state is State.RUNNING


def test_an_array_that_is_too_large_is_refused_with_the_number(site: Site) -> None:
    with pytest.raises(HeadraceError) as error:
        site.place().submit("true", array="0-11")
    assert error.value.code == "HR-SLURM-004"
    assert "MaxArraySize of this cluster is 11" in error.value.why
    assert "sbatch" not in {words[0] for words in site.slurm.calls()}


def test_a_run_may_not_wait_for_one_that_ended_the_wrong_way(site: Site) -> None:
    place = site.place()
    failed = place.submit("false").id
    place.end(failed)
    with pytest.raises(HeadraceError) as error:
        place.submit("true", after={"ok": [failed]})
    assert error.value.code == "HR-SLURM-005"
    assert place.end(place.submit("true", after={"notok": [failed]}).id)[0].state == "COMPLETED"


def test_what_earlier_runs_took_to_save_is_said_when_a_run_of_that_name_is_submitted(
    site: Site,
) -> None:
    place = site.place()
    first = place.submit("true")
    place.end(first.id)
    writer = EventWriter(place.folder_of(first.id), "lead", now_s=time.time)
    saved = CheckpointSaved(rank=0, step=9, path="", size_bytes=1, stall_s=0.1, durable_s=200.0)
    writer.write(saved, attempt=0)
    writer.close()
    for more in (("--dry-run",), ("--array", "0-3", "--nodes", "2"), ()):
        words = ("run", "--name", "job", "--checkpoint-grace", "1m", *more, "--", "sleep", "60")
        said = subprocess.run(
            [sys.executable, "-m", "headrace.cli.main", *words],
            env=site.environ,
            cwd=place.folder,
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        assert "note: checkpoint.grace is 1m, but earlier runs of this name took 3m20s" in said


def test_many_commands_ask_slurm_once(site: Site) -> None:
    given = site.place(poll_s=60.0).submit("sleep", "60", array="0-5")
    for _ in range(10):
        assert len(site.place(poll_s=60.0).door.runs(ended=False)) == 6
        site.place(poll_s=60.0).door.find(f"{given.id}_3")
    asked = [words[0] for words in site.slurm.calls()]
    assert asked.count("squeue") == 1
    assert asked.count("sinfo") == 1


def test_a_run_is_also_found_by_the_number_that_slurm_gave_its_job(site: Site) -> None:
    place = site.place()
    first = place.submit("true", array="0-4").id
    second = place.submit("true").id
    place.end(first)
    assert place.door.find("6")[0].id == second


def test_a_controller_that_is_gone_is_said_and_no_run_is_lost(site: Site) -> None:
    place = site.place()
    given = place.submit("sleep", "60").id
    place.until(given, State.RUNNING)
    program = site.slurm.folder / "bin" / "squeue"
    kept = program.read_text()
    program.write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n"
    )
    assert site.place(poll_s=0.01).row(given).state is State.RUNNING
    sbatch = site.slurm.folder / "bin" / "sbatch"
    kept_too = sbatch.read_text()
    sbatch.write_text(program.read_text())
    with pytest.raises(HeadraceError) as error:
        place.submit("true")
    assert (error.value.code, error.value.exit_status) == ("HR-SLURM-001", 5)
    program.write_text(kept)
    sbatch.write_text(kept_too)
    assert [row.id for row in place.door.runs(ended=True)] == [given]


def test_a_controller_that_is_away_when_a_job_begins_ends_no_run(site: Site) -> None:
    program = site.slurm.folder / "bin" / "scontrol"
    real = program.rename(program.with_name("real"))
    up = site.folder / "up"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" job "*) [ -e {up} ] || {{ touch {up}\n'
        f'echo "Unable to contact slurm controller" >&2; exit 1; }};; esac\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    place = site.place()
    (row,) = place.end(place.submit("true").id)
    assert (row.state, up.exists()) == (State.COMPLETED, True)


def test_a_requeue_that_is_asked_for_while_python_loads_is_one(site: Site) -> None:
    late = site.folder / "late"
    (site.folder / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        f"if 'headrace.engines.slurm.job' in sys.orig_argv and not os.path.exists('{late}'):\n"
        "    time.sleep(2)\n"
    )
    paths = f"{site.folder}:{os.environ.get('PYTHONPATH', '')}"
    site.environ["PYTHONPATH"] = paths
    place = site.place()
    given = place.submit("true")
    until(lambda: site.batch_pid() is not None)
    time.sleep(0.3)
    place.until(given.id, State.RUNNING)
    place.door.requeue(given.id)
    late.touch()
    (row,) = place.end(given.id)
    assert row.state is State.COMPLETED
    told = [entry.event for _, entry in place.events(given.id)]
    assert [event.reason for event in told if isinstance(event, Requeued)] == ["requeue"]


def test_a_time_limit_that_was_put_off_while_the_run_waited_is_its_limit(site: Site) -> None:
    place = site.place()
    first = place.submit("sleep", "60", nodes=2, ranks_per_node=2).id
    later = place.submit("true", nodes=2, time="5s", after={"any": [first]}).id
    update = [str(site.slurm.folder / "bin/scontrol"), "update", "JobId=2", "TimeLimit=10"]
    subprocess.run(update, check=True)
    place.door.cancel(first, now=True)
    place.until(later, State.COMPLETED)
    order = read_record(place.folder_of(later).order, Order)
    assert order.time_limit_s == pytest.approx(600.0 - 20.0, abs=8.0)


@pytest.mark.slow
def test_a_run_goes_on_when_scontrol_puts_its_time_limit_off(site: Site) -> None:
    place = site.place()
    more = "scontrol update JobId=$SLURM_JOB_ID TimeLimit=10; sleep 22"
    given = place.submit("sh", "-c", more, time="20s")
    (row,) = place.end(given.id)
    assert row.state is State.COMPLETED, row
    shown = [words for words in site.slurm.calls() if words[:1] == ["scontrol"] and "job" in words]
    assert len(shown) == 2  # when it began, and before it would have been stopped


def test_a_run_whose_submission_took_long_runs_whatever_a_look_from_afar_made_of_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, hand_over = site.place(), SlurmEngine._hand_over
    seen: list[State] = []

    def late(self: SlurmEngine, batch: Batch, asked: Submission) -> None:
        other = site.place()
        other.door._engine._poller.now_s = lambda: time.time() + 7_200.0  # type: ignore[attr-defined]
        seen.append(other.row(asked.run_id).state)
        monkeypatch.setattr("headrace.engines.slurm.view.boot_id", lambda: "another host")
        seen.append(other.row(asked.run_id).state)
        monkeypatch.setattr("headrace.engines.slurm.view.boot_id", boot_id)
        hand_over(self, batch, asked)

    monkeypatch.setattr(SlurmEngine, "_hand_over", late)
    given = place.submit("true")
    assert seen == [State.PENDING, State.FAILED]
    place.until(given.id, State.COMPLETED)


@pytest.mark.parametrize("said", ["Connection refused", "Problem talking to the database"])
def test_a_run_whose_end_only_accounting_knows_waits_until_that_answers(
    site: Site, said: str
) -> None:
    place = site.place()
    given = place.submit("sleep", "60")
    place.until(given.id, State.RUNNING)
    program = site.slurm.folder / "bin" / "sacct"
    real = program.rename(program.with_name("real"))
    program.write_text(f"#!/bin/sh\necho 'sacct: error: {said}' >&2\nexit 1\n")
    program.chmod(0o755)
    site.kill_batch()
    until(lambda: '"FAILED"' in (site.slurm.folder / "jobs.json").read_text())
    site.forget_jobs()
    until(lambda: "accounting gives no answer" in place.row(given.id).reason)
    assert [row.state for row in place.door.runs(ended=False)] == [State.RUNNING]
    real.rename(program)
    assert place.end(given.id)[0].state is State.UNKNOWN


def test_a_run_that_accounting_knows_late_ends_as_it_says(site: Site) -> None:
    place = site.place()
    given = place.submit("sleep", "60")
    place.until(given.id, State.RUNNING)
    site.kill_batch()
    jobs = site.slurm.folder / "jobs.json"
    until(lambda: '"FAILED"' in jobs.read_text())
    site.forget_jobs()
    program = site.slurm.folder / "bin" / "sacct"
    until(lambda: "does not know it yet" in place.row(given.id).reason)
    assert [row.state for row in site.place().door.runs(ended=False)] == [State.RUNNING]
    program.write_text("#!/bin/sh\necho '1|FAILED|1:0|Unknown|Unknown'\n")
    (row,) = place.end(given.id)
    assert (row.state, "Slurm says FAILED" in row.reason) == (State.FAILED, True)
