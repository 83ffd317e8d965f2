from pathlib import Path

import pytest

from headrace.core.order import SessionSettings
from headrace.train.environment import Environment, read_environment
from headrace.train.errors import BadEnvironment

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}


def read(environ: dict[str, str]) -> Environment:
    return read_environment(environ, script="work/train.py", cwd=Path("/home/ada"))


def test_plain_python_is_a_world_of_one_with_its_run_directory_below_the_working_directory() -> (
    None
):
    found = read({})
    assert (found.rank, found.world_size, found.local_rank) == (0, 1, 0)
    assert found.run_dir == Path("/home/ada/headrace-runs/train")
    assert found.settings == SessionSettings()
    assert not found.has_agent


def test_torchrun_sets_the_ranks() -> None:
    found = read(TORCHRUN | {"OMP_NUM_THREADS": "4"})
    assert (found.rank, found.world_size, found.local_rank, found.threads) == (3, 8, 1, 4)


def test_the_agent_sets_run_attempt_settings_and_channel() -> None:
    found = read(
        {
            "HEADRACE_RUN_DIR": "/runs/a-1",
            "HEADRACE_RUN_ID": "a-1",
            "HEADRACE_ATTEMPT": "2",
            "HEADRACE_SESSION": '{"global_batch": 512}',
            "HEADRACE_CHANNEL_FD": "7",
        }
    )
    assert found.run_dir == Path("/runs/a-1")
    assert (found.run_id, found.attempt, found.channel_fd) == ("a-1", 2, 7)
    assert found.settings == SessionSettings(global_batch=512)
    assert found.has_agent


@pytest.mark.parametrize("name", ["MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"])
def test_a_missing_variable_of_the_launcher_is_named(name: str) -> None:
    with pytest.raises(BadEnvironment, match=f"{name} is not set"):
        read({key: value for key, value in TORCHRUN.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"), [("RANK", "8"), ("RANK", "-1"), ("RANK", "one"), ("WORLD_SIZE", "0")]
)
def test_a_number_out_of_range_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadEnvironment, match=f'{name} is "{value}"'):
        read(TORCHRUN | {name: value})


@pytest.mark.parametrize("value", ["", "0", "many"])
def test_threads_that_are_no_count_are_left_to_torch(value: str) -> None:
    assert read({"OMP_NUM_THREADS": value}).threads is None
