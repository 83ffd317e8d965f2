"""The engine on real run directories and processes; a played lead stands in for the real one."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.control.wiring import local_engine
from headrace.core.process import marked, wait_readable
from headrace.core.rundir import RunDir, read_events
from headrace.core.states import State
from headrace.engines.contract import Caller, NotWaiting, RunNotFound, Submitted
from headrace.engines.local.engine import LocalEngine
from headrace.engines.local.refusals import NeverFitsHere
from headrace.schedule.reason import Dependency
from headrace.spec import make

LEAD = (sys.executable, str(Path(__file__).with_name("played_lead.py")))
ADA = Caller(uid=os.getuid(), name="ada")


class Place:
    """One user's machine; each ``engine`` is a daemon's life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.environ = dict(os.environ) | {
            "HEADRACE_RUNS": str(self.runs),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        self._engines: list[LocalEngine] = []

    def engine(self) -> LocalEngine:
        opened = local_engine(self.environ, lead=LEAD)
        opened.open()
        self._engines.append(opened)
        return opened

    def submit(self, engine: LocalEngine, part: str, **fields: object) -> Submitted:
        spec = make(cwd=self.folder, command=(part,), **{"name": "a"} | fields)
        token = os.urandom(16).hex()
        return engine.submit(spec, token=token, who=ADA, environment={}, script=None)

    def kinds(self, run_id: str) -> list[str]:
        """The engine's own events about a run."""
        entries = read_events(RunDir(self.runs / run_id).events / "engine.jsonl")
        return [type(entry.event).__name__ for entry in entries]

    def close(self) -> None:
        for engine in self._engines:
            for run_id in engine.leads():
                engine.cancel(run_id, who=ADA, now=True)
            engine.close()
        for run in self.runs.glob("*-*"):
            for pid in marked("HEADRACE_RUN_DIR", str(run)):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def collect(engine: LocalEngine, run_id: str) -> None:
    assert wait_readable(engine.leads()[run_id], 20.0), "its lead goes on"
    engine.collect(run_id)


def until_begun(place: Place, run_id: str) -> None:
    path = RunDir(place.runs / run_id).events / "lead.jsonl"
    deadline_s = time.monotonic() + 20
    while len(list(read_events(path))) < 2:
        assert time.monotonic() < deadline_s, "its lead does not begin"
        time.sleep(0.02)


def state(engine: LocalEngine, run_id: str) -> State:
    return engine.run(run_id, who=ADA).run.state


def test_a_run_waits_starts_and_ends_as_its_lead_says(place: Place) -> None:
    engine = place.engine()
    run_id = place.submit(engine, "completes").id
    assert state(engine, run_id) is State.PENDING
    engine.schedule()
    collect(engine, run_id)
    row = engine.run(run_id, who=ADA).run
    assert (row.state, row.exit_code, row.reason) == ("COMPLETED", 0, "all ranks ended well")
    assert not engine.busy()


def test_a_submission_that_is_repeated_is_one_run(place: Place) -> None:
    engine = place.engine()
    spec = make(cwd=place.folder, name="a", command=("completes",))
    first, again = (
        engine.submit(spec, token="f" * 32, who=ADA, environment={}, script=None) for _ in range(2)
    )
    assert first == again
    assert [row.id for row in engine.runs(ended=True, who=ADA)] == [first.id]


def test_an_array_has_one_id_and_its_elements_one_each(place: Place) -> None:
    engine = place.engine()
    submitted = place.submit(engine, "completes", array="3-5")
    assert submitted.runs == tuple(f"{submitted.id}_{index}" for index in (3, 4, 5))
    assert [row.id for row in engine.find(submitted.id, who=ADA)] == list(submitted.runs)
    with pytest.raises(RunNotFound):
        engine.run(submitted.id, who=ADA)


def test_what_can_never_run_is_refused_and_leaves_nothing(place: Place) -> None:
    engine = place.engine()
    with pytest.raises(NeverFitsHere):
        place.submit(engine, "completes", nodes=100_000)
    assert engine.runs(ended=True, who=ADA) == []
    assert [path.name for path in place.runs.iterdir() if path.is_dir()] == []


def test_a_waiting_run_is_explained_and_one_that_runs_is_not(place: Place) -> None:
    engine = place.engine()
    running = place.submit(engine, "hangs", time="1h").id
    waiting = place.submit(engine, "completes", after={"ok": [running]}, array="0-1").id
    engine.schedule()
    found = engine.explain(waiting, who=ADA)
    assert found.run == f"{waiting}_0"
    assert found.reasons == (Dependency(waits_for=(running,)),)
    assert found.forecast.start_s == pytest.approx(time.time() + 3600, abs=60)
    assert engine.ranking(who=ADA) == []
    with pytest.raises(NotWaiting, match="does not wait: it is RUNNING"):
        engine.explain(running, who=ADA)


def test_a_waiting_run_is_there_after_the_engine_was_lost(place: Place) -> None:
    run_id = place.submit(place.engine(), "completes").id
    assert state(place.engine(), run_id) is State.PENDING


def test_a_lead_that_runs_is_adopted_and_not_started_twice(place: Place) -> None:
    first = place.engine()
    run_id = place.submit(first, "hangs").id
    first.schedule()
    until_begun(place, run_id)
    second = place.engine()
    second.schedule()
    assert state(second, run_id) is State.RUNNING
    assert place.kinds(run_id) == ["Submitted", "Started"]
    second.cancel(run_id, who=ADA, now=False)
    collect(second, run_id)
    assert state(second, run_id) is State.CANCELLED


def test_an_end_that_nobody_saw_is_found_when_the_engine_is_back(place: Place) -> None:
    first = place.engine()
    run_id = place.submit(first, "completes").id
    first.schedule()
    assert wait_readable(first.leads()[run_id], 20.0)
    second = place.engine()
    assert state(second, run_id) is State.COMPLETED
    assert second.leads() == {}


@pytest.mark.parametrize(
    ("on", "max_restarts", "wanted"),
    [(["node"], 3, "PENDING"), (["error"], 3, "NODE_FAIL"), (["node"], 0, "NODE_FAIL")],
)
def test_a_lead_that_dies_without_a_word_is_a_lost_node(
    place: Place, on: list[str], max_restarts: int, wanted: str
) -> None:
    engine = place.engine()
    run_id = place.submit(engine, "dies", restart={"on": on, "max": max_restarts}).id
    engine.schedule()
    collect(engine, run_id)
    assert state(engine, run_id) == wanted


def test_a_lead_that_never_begins_fails_the_run_with_its_last_words(place: Place) -> None:
    engine = place.engine()
    run_id = place.submit(engine, "stillborn").id
    engine.schedule()
    collect(engine, run_id)
    row = engine.run(run_id, who=ADA).run
    assert (row.state, row.exit_code) == ("FAILED", 1)
    assert "the lead has no room" in row.reason


def test_a_held_run_starts_when_it_is_released(place: Place) -> None:
    engine = place.engine()
    run_id = place.submit(engine, "completes").id
    engine.hold(run_id, who=ADA)
    engine.schedule()
    assert engine.leads() == {}
    engine.release(run_id, who=ADA)
    engine.schedule()
    assert list(engine.leads()) == [run_id]


def test_a_waiting_run_that_is_cancelled_never_starts(place: Place) -> None:
    engine = place.engine()
    run_id = place.submit(engine, "completes").id
    engine.cancel(run_id, who=ADA, now=False)
    engine.schedule()
    row = engine.run(run_id, who=ADA).run
    assert (row.state, row.reason) == ("CANCELLED", "cancelled by ada before it started")
    assert place.kinds(run_id) == ["Submitted", "CancelAsked", "Ended"]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"\xff\xfe run")])
def test_a_spoilt_description_fails_its_run_and_no_other(
    place: Place, spoil: Callable[[Path], object]
) -> None:
    engine = place.engine()
    spoilt, sound = place.submit(engine, "completes").id, place.submit(engine, "completes").id
    spoil(RunDir(place.runs / spoilt).job)
    engine.schedule()
    assert state(engine, spoilt) is State.FAILED
    assert list(engine.leads()) == [sound]


def test_a_deleted_index_is_rebuilt_and_no_number_comes_twice(place: Place) -> None:
    first = place.engine()
    ended, waits = place.submit(first, "completes").id, place.submit(first, "completes").id
    first.cancel(ended, who=ADA, now=False)
    rows = first.runs(ended=True, who=ADA)
    shutil.rmtree(place.folder / "state")
    second = place.engine()
    assert second.runs(ended=True, who=ADA) == rows
    shutil.rmtree(place.runs / waits)
    third = place.engine()
    assert [row.id for row in third.runs(ended=True, who=ADA)] == [ended]
    assert place.submit(third, "completes").id == "a-3"


def test_folders_of_others_among_the_runs_are_left_alone(place: Place) -> None:
    first = place.engine()
    run_id = place.submit(first, "completes").id
    stranger = place.runs / "b-9"
    shutil.copytree(place.runs / run_id, stranger)
    path = stranger / "submission.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))
    (place.runs / "notes").mkdir()
    second = place.engine()
    assert [row.id for row in second.runs(ended=True, who=ADA)] == [run_id]
    assert place.submit(second, "completes").id == "a-10"
