"""What holds on a real Slurm cluster beside what all engines promise: its signals, its losses."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.places import AGAIN_S, Place, place_of
from tests.integration.site import until
from tests.integration.virtual import Virtual

from headrace.core.events import Requeued
from headrace.core.states import State
from headrace.engines.contract import Submitted
from headrace.spec.load import load_file
from headrace.spec.write import to_yaml

pytestmark = pytest.mark.slow
TICKING = (
    "trap 'echo asked to leave; exit 0' TERM; echo ready; while [ ! -e open ]; do sleep 0.05; done"
)


@pytest.fixture
def place(cluster: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


def ticking(place: Place, **fields: Any) -> Submitted:  # noqa: ANN401
    """A run of two ranks on two nodes that leaves when it is asked to, or when there is "open"."""
    given = place.submit("sh", "-c", TICKING, nodes=2, ranks_per_node=1, **fields)
    until(lambda: place.log(given.id).count("ready") == 2)
    return given


def goes_on(place: Place, run_id: str) -> None:
    """It was queued again once, and ends well."""
    with place.telling(run_id):
        until(lambda: place.log(run_id).count("ready") == 4, timeout_s=AGAIN_S)
        (place.folder / "open").touch()
        (row,) = place.end(run_id)
    assert (row.state, row.attempts) == (State.COMPLETED, 2)


def requeues(place: Place, run_id: str) -> list[str]:
    return [e.event.reason for _, e in place.events(run_id) if isinstance(e.event, Requeued)]


@pytest.mark.parametrize(
    "words",
    [
        ("--signal=USR2",),
        ("--signal=TERM",),
        ("--batch", "--signal=USR2"),
        ("--full", "--signal=TERM"),
    ],
)
def test_a_signal_to_any_part_of_the_job_saves_it_and_queues_it_again_once(
    cluster: Virtual, place: Place, words: tuple[str, ...]
) -> None:
    given = ticking(place)
    cluster.slurm("scancel", *words, place.job(given.id))
    goes_on(place, given.id)
    assert requeues(place, given.id) == ["preempt"]
    assert "asked to leave" in place.log(given.id)


def test_a_job_that_is_cancelled_past_us_is_cancelled_and_not_queued_again(
    cluster: Virtual, place: Place
) -> None:
    given = ticking(place)
    cluster.slurm("scancel", place.job(given.id))
    (row,) = place.end(given.id)
    assert row.state is State.CANCELLED
    assert requeues(place, given.id) == []


def test_a_time_limit_ends_a_run_whose_job_file_says_nothing_of_it(place: Place) -> None:
    last = place.submit("sh", "-c", TICKING, time="10s").id
    (row,) = place.end(last)
    assert (row.state, row.exit_code) == (State.TIMEOUT, 124)


def test_a_batch_script_finds_its_job_as_sbatch_leaves_it(place: Place) -> None:
    script = place.folder / "job.sbatch"
    script.write_text(
        "#!/bin/bash\n#SBATCH --job-name=classic\n#SBATCH --nodes=2\n#SBATCH --time=5\n"
        "#SBATCH --ntasks-per-node=2\n#SBATCH --cpus-per-task=1\n"
        "echo batch of $SLURM_NTASKS tasks on $SLURM_NNODES nodes\n"
        "srun sh -c 'echo task $SLURM_PROCID on $SLURMD_NODENAME'\n"
    )
    spec = load_file(script, cwd=place.folder)
    given = place.door.submit(to_yaml(spec), place.environ, script=script.read_text())
    assert place.end(given.id)[0].state is State.COMPLETED
    said = [line.split(" ", 2)[2] for line in place.log(given.id).splitlines()]
    assert said[0] == "batch of 4 tasks on 2 nodes"
    assert sorted(said[1:]) == [
        "task 0 on n1",
        "task 1 on n1",
        "task 2 on n2",
        "task 3 on n2",
    ]
