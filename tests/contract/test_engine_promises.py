"""What every engine promises, held on each: this machine's queue, the fake Slurm, a real one."""

import os
import re
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from tests.contract.places import Place
from tests.integration.site import until

from headrace.core.errors import HeadraceError
from headrace.core.events import Ended, LeadStarted, Requeued, Staged
from headrace.core.order import Order
from headrace.core.process import marked
from headrace.core.rundir import read_events
from headrace.core.states import State
from headrace.schedule.reason import Dependency, OnHold, Reason, Resources, Told
from headrace.spec import make, to_yaml

GATE = ("sh", "-c", "echo ready; while [ ! -e open ]; do sleep 0.05; done")


def test_a_run_on_two_nodes_ends_well_with_its_log_and_its_events(place: Place) -> None:
    text = "echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"
    given = place.submit("sh", "-c", text, nodes=2, ranks_per_node=1)
    assert re.fullmatch(r"job-\d+", given.id)
    assert given.runs == (given.id,)
    (row,) = place.end(given.id)
    assert (row.state, row.exit_code, row.attempts) == (State.COMPLETED, 0, 1)
    assert len(row.placed) == 2
    said = sorted(re.findall(r"rank (\d) of (\d) at \S+:\d+", place.log(given.id)))
    assert said == [("0", "2"), ("1", "2")]
    assert place.door.find(row.id.rpartition("-")[2])[0] == row
    for path in place.folder_of(row.id).events.glob("*.jsonl"):
        lines = path.read_bytes().splitlines()
        assert [entry.seq for entry in read_events(path)] == list(range(len(lines)))


def test_a_submission_is_made_once_however_often_it_is_sent(place: Place) -> None:
    first = place.submit("true", token="ab" * 16)
    assert place.submit("true", token="ab" * 16).runs == first.runs
    place.end(first.id)
    assert len(place.door.runs(ended=True)) == 1


def test_a_program_that_fails_ends_the_run_with_its_exit_code(place: Place) -> None:
    given = place.submit("sh", "-c", "exit 3")
    (row,) = place.end(given.id)
    assert (row.state, row.exit_code) == (State.FAILED, 3)
    assert row.reason.startswith("rank 0 ended with exit code 3")


def test_a_running_run_is_asked_to_leave_and_then_cancelled(place: Place) -> None:
    text = "trap 'echo asked to leave; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    given = place.submit("sh", "-c", text)
    until(lambda: "ready" in place.log(given.id))
    assert [acted.text for acted in place.door.cancel(given.id, now=False)] == ["asked to stop"]
    (row,) = place.end(given.id)
    assert (row.state, row.exit_code) == (State.CANCELLED, 130)
    assert "asked to leave" in place.log(given.id)
    assert "ended CANCELLED" in place.door.cancel(given.id, now=False)[0].text


def test_a_waiting_run_is_held_released_and_cancelled(place: Place) -> None:
    gate = place.submit(*GATE, nodes=2, cpus_per_rank=place.cpus).id
    place.until(gate, State.RUNNING)
    waits = place.submit("true", nodes=2, cpus_per_rank=place.cpus).id
    assert place.row(waits).state is State.PENDING
    assert place.door.hold(waits)[0].text == "held"
    assert "not waiting" in place.door.hold(gate)[0].text
    assert place.door.release(waits)[0].text == "released"
    assert place.door.cancel(waits, now=False)[0].text == "cancelled"
    (row,) = place.end(waits)
    assert (row.state, row.attempts) == (State.CANCELLED, 0)
    (place.folder / "open").touch()
    assert place.end(gate)[0].state is State.COMPLETED


def test_elements_of_a_sweep_have_their_own_values_and_are_named_alone_or_together(
    place: Place,
) -> None:
    given = place.submit("sh", "-c", "echo lr $HEADRACE_SWEEP_LR", sweep={"lr": ["1e-3", "3e-4"]})
    assert given.runs == (f"{given.id}_0", f"{given.id}_1")
    rows = place.end(given.id)
    assert [(row.id, row.state) for row in rows] == [(run, State.COMPLETED) for run in given.runs]
    assert "lr 1e-3" in place.log(given.runs[0])
    assert "lr 3e-4" in place.log(given.runs[1])
    number = given.id.rpartition("-")[2]
    assert place.door.find(f"{number}_1")[0].id == given.runs[1]


def test_an_array_runs_as_many_elements_at_a_time_as_it_says(place: Place) -> None:
    given = place.submit("sh", "-c", "echo $SLURM_ARRAY_TASK_ID >> seen; sleep 0.2", array="0-3%1")
    rows = place.end(given.id, timeout_s=60.0)
    assert {row.state for row in rows} == {State.COMPLETED}
    seen = (place.folder / "seen").read_text().split()
    assert sorted(seen) == ["0", "1", "2", "3"]
    spans = sorted((row.started_s or 0.0, row.ended_s or 0.0) for row in rows)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_cancelling_an_array_leaves_the_elements_that_have_ended(place: Place) -> None:
    script = "[ $SLURM_ARRAY_TASK_ID -gt 0 ] && sleep 60 || true"
    given = place.submit("sh", "-c", script, array="0-5%1")
    first, *others = given.runs
    place.until(first, State.COMPLETED)
    family = first.rpartition("_")[0]
    place.door.cancel(family, now=False)
    assert {row.id: row.state for row in place.end(family)} == {
        first: State.COMPLETED,
        **dict.fromkeys(others, State.CANCELLED),
    }


def test_a_run_that_waits_is_explained_and_one_that_runs_is_not(place: Place) -> None:
    gate = place.submit(*GATE, nodes=2, cpus_per_rank=place.cpus).id
    place.until(gate, State.RUNNING)
    waits = place.submit("true", nodes=2, cpus_per_rank=place.cpus).id
    after = place.submit("true", after={"ok": [gate]}).id
    until(lambda: isinstance(place.door.explain(waits).reasons[0], Resources), 60.0)
    found = place.door.explain(waits)
    assert (found.run, found.standing and found.standing.place) == (waits, 1)
    (short, *_) = [one for one in found.reasons if isinstance(one, Resources)]
    assert short.short[0].holders[0].run == gate
    assert place.door.explain(after).reasons == (Dependency(waits_for=(gate,)),)
    assert [row.run for row in place.door.ranking()] == [waits]
    place.door.hold(waits)
    until(lambda: is_held(place.door.explain(waits).reasons[0]), 60.0)
    with pytest.raises(HeadraceError) as error:
        place.door.explain(gate)
    assert error.value.code == "HR-ENGINE-003"


def is_held(reason: Reason) -> bool:
    """What root holds on Slurm is held by an administrator."""
    return reason == OnHold() or (isinstance(reason, Told) and reason.word == "JobHeldAdmin")


def test_a_run_waits_for_another_to_end_well(place: Place) -> None:
    first = place.submit(*GATE).id
    second = place.submit("true", after={"ok": [first]}).id
    place.until(first, State.RUNNING)
    assert place.row(second).state is State.PENDING
    (place.folder / "open").touch()
    assert place.end(second)[0].state is State.COMPLETED
    ended, began = place.row(first).ended_s, place.row(second).started_s
    assert ended is not None
    assert began is not None
    assert ended <= began


def test_a_run_that_is_queued_again_by_its_user_goes_on_whatever_restart_says_and_uses_up_none(
    place: Place,
) -> None:
    restart = {"max": 0, "on": ["node"]}
    given = place.submit(*GATE, nodes=2, ranks_per_node=1, restart=restart)
    until(lambda: place.log(given.id).count("ready") == 2)
    assert "queued again" in place.door.requeue(given.id)[0].text
    until(lambda: place.log(given.id).count("ready") == 4, timeout_s=60.0)
    (place.folder / "open").touch()
    (row,) = place.end(given.id)
    assert (row.state, row.attempts) == (State.COMPLETED, 2)
    reasons = [e.event.reason for _, e in place.events(row.id) if isinstance(e.event, Requeued)]
    assert reasons == ["requeue"]


def test_a_lead_that_is_killed_is_not_the_end_of_the_run(place: Place) -> None:
    given = place.submit(*GATE)
    until(lambda: place.log(given.id).count("ready") == 1)
    os.kill(lead_of(place, given.id), signal.SIGKILL)
    until(lambda: place.log(given.id).count("ready") == 2, timeout_s=60.0)
    (place.folder / "open").touch()
    (row,) = place.end(given.id)
    assert (row.state, row.attempts) == (State.COMPLETED, 2)
    ends = [e for _, e in place.events(row.id) if isinstance(e.event, Ended)]
    assert len(ends) == 1
    until(lambda: not marked("HEADRACE_RUN_DIR", row.run_dir))


def lead_of(place: Place, run_id: str) -> int:
    """Its process in our own numbers: on a virtual cluster the lead counts from 1 anew."""
    begun = [e.event for _, e in place.events(run_id) if isinstance(e.event, LeadStarted)][-1]
    for pid in marked("HEADRACE_RUN_DIR", str(place.folder_of(run_id).root)):
        status = Path(f"/proc/{pid}/status").read_text()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        inside = re.search(r"^NSpid:\s.*\b(\d+)$", status, re.MULTILINE)
        if inside and int(inside[1]) == begun.pid and b"headrace.launch.lead" in words:
            return pid
    pytest.fail("the lead is not to be found")


def test_secrets_lie_in_one_file_that_only_their_user_reads(place: Place) -> None:
    place.environ["WORD"] = "sesame-open-4711"
    given = place.submit("sh", "-c", 'echo "${#WORD} letters"', secrets=["WORD"])
    place.end(given.id)
    assert "16 letters" in place.log(given.id)
    root = place.folder_of(given.id).root
    holders = [
        path
        for path in (*root.rglob("*"), *root.parent.glob(".arrays/**/*"))
        if path.is_file() and b"sesame-open-4711" in path.read_bytes()
    ]
    assert holders == [root / "environment.json"]
    assert holders[0].stat().st_mode & 0o777 == 0o600


def test_a_name_that_is_no_run_is_not_found(place: Place) -> None:
    with pytest.raises(HeadraceError) as error:
        place.door.find("nobody-99")
    assert (error.value.code, error.value.exit_status) == ("HR-ENGINE-001", 3)


def test_a_field_that_the_engine_cannot_honour_is_refused(place: Place) -> None:
    with pytest.raises(HeadraceError) as error:
        place.submit("true", image="docker://python:3.12")
    assert error.value.exit_status == 4
    assert "docker://python:3.12" in error.value.problem
    assert "apptainer pull python.sif docker://python:3.12" in error.value.remedy
    assert place.door.runs(ended=True) == []


APPTAINER = """#!/bin/sh
[ "$1" = exec ] || exit 64
shift
while [ "${1#--}" != "$1" ]; do
    [ "$1" = --bind ] && bound="$bound $2"
    [ "$1" = --pwd ] && cd "$2"
    [ "$1" = --nv ] || shift
    shift
done
[ -f "$1" ] || { echo "FATAL: could not open image $1" >&2; exit 255; }
export IMAGE="$1" BOUND="$bound"
shift
exec "$@"
"""


def test_ranks_run_in_the_image_and_a_killed_one_is_started_in_it_again(place: Place) -> None:
    programs = place.folder / "programs"
    programs.mkdir()
    (programs / "apptainer").write_text(APPTAINER)
    (programs / "apptainer").chmod(0o755)
    (place.folder / "model.sif").touch()
    place.environ["PATH"] = f"{programs}:{place.environ['PATH']}"
    script = 'echo rank $RANK in $IMAGE; mkdir again && kill -9 $$; [ "$BOUND" ]'
    given = place.submit("sh", "-c", script, image="model.sif", restart={"on": ["error"]})
    (row,) = place.end(given.id)
    assert (row.state, row.attempts) == (State.COMPLETED, 2)
    said = place.log(given.id).count(f"rank 0 in {place.folder}/model.sif")
    assert said == 2


def test_a_dry_run_shows_what_would_be_sent_and_starts_nothing(place: Place) -> None:
    spec = make(cwd=place.folder, command=("true",), name="dry", nodes=2, time="10m")
    order = place.door.dry_run(to_yaml(spec))
    if isinstance(order, Order):
        assert order.command == ("true",)
    else:
        assert "#SBATCH --nodes=2" in order.script
    assert place.door.runs(ended=True) == []


def test_each_node_has_its_data_near_before_its_ranks_start(place: Place) -> None:
    corpus = place.folder / "corpus"
    corpus.mkdir()
    (corpus / "part").write_text("a line of data")
    given = place.submit(
        *("sh", "-c", 'echo "$HEADRACE_DATA has $(cat $HEADRACE_DATA/part)"'),
        nodes=2,
        ranks_per_node=1,
        data=[{"source": "corpus", "stage": "nvme"}],
        env={"HEADRACE_CACHE": str(place.folder / "disk")},
    )
    (row,) = place.end(given.id)
    assert row.state is State.COMPLETED
    found = re.findall(r"o (\S+) has a line of data", place.log(given.id))
    assert len(found) == 2
    staged = [one.event for _, one in place.events(given.id) if isinstance(one.event, Staged)]
    near = f"{place.folder}/disk/headrace-cache-"
    assert [tree for tree in found if not tree.startswith(near)] == [], staged
    assert len({one.node for one in staged}) == 2
    assert sorted(one.copied_bytes for one in staged) == [0, 14], "both nodes share this folder"
